//! A diversion: flows of this namespace led to a proxy of ours, for as long as this process has its socket.
//!
//! The rules are [`nft::redirect`](super::nft::redirect)'s. Where the kernel knows owners they vanish with the
//! agent, and traffic goes straight again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::netlink::Socket;
use super::nft::redirect::{MAX_PLACES, Origin, Owner, Redirect, mark};
use super::nft::{self, Batch, Family, tables::table_prefix};
use super::wire::Protocol;
use super::{conntrack, kernel};

/// Diversions of this process so far: each gets the next place.
static MADE: AtomicU32 = AtomicU32::new(0);

/// The one port whose datagrams are ever led away.
pub const DNS_PORT: u16 = 53;

/// What is to be led away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Which flows.
    pub origin: Origin,
    /// TCP, UDP or both.
    pub protocols: &'static [Protocol],
    /// The port they are meant for.
    pub port: u16,
}

/// Flows led to a port of ours.
#[derive(Debug)]
pub struct Diversion {
    socket: Socket,
    table: String,
    owner: Owner,
    families: Vec<Family>,
    place: u32,
    traffic: Traffic,
    to: u16,
}

impl Diversion {
    /// One of `traffic` to our port `to`, tried out but not yet made. `tag` and the port name its tables.
    ///
    /// # Errors
    /// The kernel can't do it.
    pub fn stage(tag: &str, traffic: Traffic, to: u16) -> Result<Self, String> {
        let socket = Socket::open(libc::NETLINK_NETFILTER)
            .map_err(|error| format!("could not open a netlink socket: {error}"))?;
        let families = kernel::families(&socket);
        if families.is_empty() {
            return Err("this kernel has no nftables (CONFIG_NF_TABLES)".into());
        }
        let mut made = Self {
            table: format!("{}port{to}", table_prefix(tag)),
            owner: Owner::Socket,
            families,
            place: MADE.fetch_add(1, Ordering::Relaxed) % MAX_PLACES,
            traffic,
            to,
            socket,
        };
        if made.whole().try_out(&made.socket).is_err() {
            made.owner = Owner::Nobody;
            made.whole().try_out(&made.socket).map_err(|refusal| {
                format!("this kernel can't redirect (CONFIG_NFT_NAT, CONFIG_NFT_REDIR): {refusal}")
            })?;
        }
        Ok(made)
    }

    /// Refuses where a proxy could not find out where a datagram was going.
    ///
    /// # Errors
    /// What the kernel lacks.
    pub fn check_conntrack(&self) -> Result<(), String> {
        if conntrack::is_there(&self.socket) {
            return Ok(());
        }
        Err("this kernel does not tell where redirected datagrams were going (CONFIG_NF_CT_NETLINK)".into())
    }

    /// The mark that the proxy's own sockets must have, lest what they send is led to it again.
    pub const fn mark(&self) -> u32 {
        mark(self.place)
    }

    /// Leads new flows to the proxy, and those of datagrams that there are.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn begin(&self) -> Result<(), String> {
        self.whole()
            .commit(&self.socket)
            .map_err(|refusal| format!("could not redirect port {}: {refusal}", self.traffic.port))?;
        if self.traffic.protocols.contains(&Protocol::Udp) {
            let port = self.traffic.port;
            conntrack::forget(&self.socket, |flow| flow.forth.to.port() == port)
                .map_err(|refusal| format!("could not have flows to port {port} begin anew: {refusal}"))?;
        }
        Ok(())
    }

    /// Lets new flows go straight; those of the proxy go on.
    pub fn stop(&self) {
        let mut batch = Batch::begin();
        batch.stop_redirecting(&self.families, &self.redirect());
        // What can't be taken back shows when the kernel is looked at.
        let _ = batch.commit(&self.socket);
    }

    /// Removes everything; true if a look found nothing left. The proxy should have ended: its flows lose their
    /// way.
    pub fn end(&self) -> bool {
        for family in &self.families {
            let mut batch = Batch::begin();
            batch.remove_table(*family as u8, &self.table);
            // It may never have been made.
            let _ = batch.commit(&self.socket);
        }
        if self.traffic.protocols.contains(&Protocol::Udp) {
            // Else a client that keeps its socket would go on asking a proxy that is gone.
            let _ = conntrack::forget(&self.socket, |flow| flow.back.from.port() == self.to);
        }
        nft::tables(&self.socket).is_ok_and(|tables| tables.iter().all(|table| table.name != self.table))
    }

    /// Flows that were led to the proxy so far.
    pub fn flows(&self) -> u64 {
        nft::read(&self.socket, &self.table).map_or(0, |counted| counted.packets)
    }

    fn redirect(&self) -> Redirect<'_> {
        Redirect {
            name: &self.table,
            owner: self.owner,
            place: self.place,
            origin: self.traffic.origin,
            protocols: self.traffic.protocols,
            port: self.traffic.port,
            to: self.to,
        }
    }

    fn whole(&self) -> Batch {
        let mut batch = Batch::begin();
        batch.redirect(&self.families, &self.redirect());
        batch
    }
}

/// Removes what a dead agent with this tag left of its diversions. How many things.
///
/// # Errors
/// What is left and why.
pub fn restore(tag: &str) -> Result<u32, String> {
    let socket = Socket::open(libc::NETLINK_NETFILTER)
        .map_err(|error| format!("could not open a netlink socket: {error}"))?;
    let removed = nft::purge(&socket, &format!("{}port", table_prefix(tag)))?;
    // Datagrams that were led to a port of ours: to loopback, from where they were not meant to go.
    let led_away = |flow: &conntrack::Flow| {
        let (meant, went) = (flow.forth.to, flow.back.from);
        went.ip() == loopback(meant.is_ipv4()) && went.ip() != meant.ip() && went.port() != meant.port()
    };
    // A kernel that can't tell had no datagrams led away either.
    let forgotten = conntrack::forget(&socket, |flow| flow.forth.to.port() == DNS_PORT && led_away(flow));
    Ok(removed + forgotten.unwrap_or(0))
}

/// Where a connection was going before it was led here.
pub fn meant_for(stream: &TcpStream) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let meant = match stream.local_addr().ok()?.ip() {
        IpAddr::V4(_) => socket.original_dst_v4(),
        IpAddr::V6(_) => socket.original_dst_v6(),
    };
    meant.ok()?.as_socket()
}

fn loopback(v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}
