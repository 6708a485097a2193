//! The kernel's own list of this namespace's TCP connections, by its netlink: who is connected, and ending that.
//!
//! Ending a connection here (`SOCK_DESTROY`) is what `ss -K` does: the program that has it is told that it was
//! aborted, and the other end gets a reset. It takes no packet to come by, so that idle connections break too, and
//! nothing but CAP_NET_ADMIN. Connections to this host itself are never among those listed.

use std::net::{IpAddr, SocketAddr};

use super::netlink::{Message, Received, Refusal, Socket};
use super::wire::{Direction, Impairment, Net};

/// struct inet_diag_req_v2 and what it asks for.
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
/// struct inet_diag_sockid: ports, addresses, interface, cookie.
const ID_BYTES: usize = 48;
/// Where it lies in struct inet_diag_msg.
const ID_AT: usize = 4;

/// States of a connection, as bits.
pub mod state {
    /// Both ends know of it.
    pub const ESTABLISHED: u32 = 1 << 1;
    /// Asked for from here, not answered yet.
    pub const SYN_SENT: u32 = 1 << 2;
    /// Asked for from there, not acknowledged yet.
    pub const SYN_RECEIVED: u32 = 1 << 3;
    /// The other end has nothing more to say.
    pub const CLOSE_WAIT: u32 = 1 << 8;
    /// Not a connection: somebody waits for one.
    pub const LISTEN: u32 = 1 << 10;
}

/// Both ends of a connection: ours, theirs.
pub type Ends = (SocketAddr, SocketAddr);

/// A connection as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Our end and theirs; IPv4 addresses as such, also of sockets that are of IPv6.
    pub ends: Ends,
    /// Its state, a bit of [`state`]; what is not known there is 0.
    pub state: u32,
    family: u8,
    /// The kernel's name of it.
    id: [u8; ID_BYTES],
}

impl Connection {
    fn read(message: &Received<'_>) -> Option<Self> {
        let (family, state) = (*message.payload.first()?, *message.payload.get(1)?);
        let id: [u8; ID_BYTES] = message.payload.get(ID_AT..ID_AT + ID_BYTES)?.try_into().ok()?;
        let port = |at: usize| u16::from_be_bytes([id[at], id[at + 1]]);
        let address = |at: usize| -> Option<IpAddr> {
            if i32::from(family) == libc::AF_INET {
                return Some(IpAddr::from(<[u8; 4]>::try_from(&id[at..at + 4]).ok()?));
            }
            Some(IpAddr::from(<[u8; 16]>::try_from(&id[at..at + 16]).ok()?).to_canonical())
        };
        let ends = (SocketAddr::new(address(4)?, port(0)), SocketAddr::new(address(20)?, port(2)));
        Some(Self { ends, state: 1u32.checked_shl(state.into()).unwrap_or_default(), family, id })
    }

    /// True unless it leads to this very host.
    fn leaves(&self) -> bool {
        let (ours, theirs) = self.ends;
        !theirs.ip().is_loopback() && !ours.ip().is_loopback() && ours.ip() != theirs.ip()
    }
}

/// A request about connections of `family` in `states`; `id` names one of them.
fn request(kind: u16, flags: u16, family: u8, states: u32, id: &[u8; ID_BYTES]) -> Message {
    let mut fixed = vec![family, libc::IPPROTO_TCP as u8, 0, 0];
    fixed.extend_from_slice(&states.to_ne_bytes());
    fixed.extend_from_slice(id);
    let mut message = Message::new();
    message.push(kind, flags, &fixed, |_| {});
    message
}

/// Opens the netlink of sockets.
///
/// # Errors
/// The kernel has none.
pub fn open() -> std::io::Result<Socket> {
    Socket::open(libc::NETLINK_SOCK_DIAG)
}

/// Everything in one of `states`, what leads to this very host included; in the kernel's order.
fn everything(socket: &Socket, states: u32) -> Result<Vec<Connection>, Refusal> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let asked = request(BY_FAMILY, libc::NLM_F_DUMP as u16, family as u8, states, &[0; ID_BYTES]);
        match socket.dump(&asked, |message| found.extend(Connection::read(message))) {
            // No IPv6 here.
            Err(refusal) if family == libc::AF_INET6 && refusal.errno == libc::ENOENT => {}
            other => other?,
        }
    }
    Ok(found)
}

/// True if this kernel lists connections here.
pub fn can_list() -> bool {
    open().is_ok_and(|socket| everything(&socket, state::LISTEN).is_ok())
}

/// True if this kernel ends connections for us: a question about one that there is not.
pub fn can_destroy() -> bool {
    let asked = || {
        let socket = open().ok()?;
        let mut message = request(DESTROY, 0, libc::AF_INET as u8, u32::MAX, &[0xff; ID_BYTES]);
        message.acknowledge_last();
        socket.transact(&message).err()
    };
    asked().is_some_and(|refusal| refusal.errno == libc::ENOENT)
}

/// Ends a connection. False if it had ended already.
///
/// # Errors
/// The kernel refuses.
pub fn destroy(socket: &Socket, connection: &Connection) -> Result<bool, Refusal> {
    let mut message = request(DESTROY, 0, connection.family, connection.state, &connection.id);
    message.acknowledge_last();
    match socket.transact(&message) {
        Ok(()) => Ok(true),
        Err(refusal) if refusal.errno == libc::ENOENT => Ok(false),
        Err(refusal) => Err(refusal),
    }
}

/// Which connections are meant.
#[derive(Clone, Debug)]
pub struct Choice {
    direction: Direction,
    peers: Vec<Net>,
    except: Vec<Net>,
    ports: Vec<u16>,
}

impl Choice {
    /// Those whose packets an impairment is about. Direction is who opened it: `egress` this end.
    pub fn of(impairment: &Impairment) -> Self {
        let Impairment { direction, peers, except, ports, .. } = impairment;
        Self { direction: *direction, peers: peers.clone(), except: except.clone(), ports: ports.clone() }
    }

    /// Those of them that are in one of `states`; sorted by their ends.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn list(&self, socket: &Socket, states: u32) -> Result<Vec<Connection>, Refusal> {
        let all = everything(socket, states | state::LISTEN)?;
        // A connection that came in has the port of somebody who waits for connections.
        let open: std::collections::BTreeSet<u16> = all
            .iter()
            .filter(|found| found.state == state::LISTEN)
            .map(|found| found.ends.0.port())
            .collect();
        let mut found: Vec<Connection> = all
            .into_iter()
            .filter(|found| found.state != state::LISTEN && found.leaves())
            .filter(|found| self.has(found.ends, open.contains(&found.ends.0.port())))
            .collect();
        found.sort_by_key(|found| found.ends);
        Ok(found)
    }

    /// True if it is one of those; `came_in`: somebody else opened it.
    fn has(&self, (ours, theirs): Ends, came_in: bool) -> bool {
        let way = match self.direction {
            Direction::Both => true,
            Direction::Ingress => came_in,
            Direction::Egress => !came_in,
        };
        let within = |nets: &[Net]| nets.iter().any(|net| net.has(theirs.ip()));
        let port = |port: &u16| [ours.port(), theirs.port()].contains(port);
        way && (self.peers.is_empty() || within(&self.peers))
            && !within(&self.except)
            && (self.ports.is_empty() || self.ports.iter().any(port))
    }
}

/// Both ends, of a packet that asks for a connection: `entering` from there, otherwise from here. Nothing for what
/// is not TCP, or has more headers than anybody uses.
pub fn ends(packet: &[u8], entering: bool) -> Option<Ends> {
    let (from, to, ports): (IpAddr, IpAddr, &[u8]) = match packet.first()? >> 4 {
        4 if i32::from(*packet.get(9)?) == libc::IPPROTO_TCP => {
            let header = usize::from(packet[0] & 0xf) * 4;
            let address = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
            (address(12)?, address(16)?, packet.get(header..header + 4)?)
        }
        6 if i32::from(*packet.get(6)?) == libc::IPPROTO_TCP => {
            let address =
                |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
            (address(8)?, address(24)?, packet.get(40..44)?)
        }
        _ => return None,
    };
    let from = SocketAddr::new(from, u16::from_be_bytes([ports[0], ports[1]]));
    let to = SocketAddr::new(to, u16::from_be_bytes([ports[2], ports[3]]));
    Some(if entering { (to, from) } else { (from, to) })
}

/// For tests: what a dump's bytes say.
#[cfg(test)]
fn read_all(bytes: &[u8]) -> Vec<Connection> {
    super::netlink::messages(bytes).filter_map(|message| Connection::read(&message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn end(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_choice_goes_by_peer_port_and_who_opened_it() {
        let net = |text: &str, prefix| Net { addr: text.parse().unwrap(), prefix };
        let all = Choice { direction: Direction::Both, peers: vec![], except: vec![], ports: vec![] };
        let came = (end("10.0.0.1:8080"), end("10.0.1.2:40000"));
        let went = (end("10.0.0.1:40001"), end("[fd00::2]:5432"));
        let check = |choice: &Choice, expected: [bool; 2]| {
            assert_eq!([choice.has(came, true), choice.has(went, false)], expected, "{choice:?}");
        };
        check(&all, [true, true]);
        check(&Choice { direction: Direction::Ingress, ..all.clone() }, [true, false]);
        check(&Choice { direction: Direction::Egress, ..all.clone() }, [false, true]);
        check(&Choice { peers: vec![net("10.0.1.0", 24)], ..all.clone() }, [true, false]);
        check(&Choice { except: vec![net("fd00::", 64)], ..all.clone() }, [true, false]);
        check(&Choice { ports: vec![5432], ..all.clone() }, [false, true]);
    }

    #[test]
    fn the_ends_of_a_packet_are_ours_and_theirs() {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0x9c, 0x40, 0x1f, 0x90]);
        assert_eq!(ends(&packet, false), Some((end("10.0.0.1:40000"), end("10.0.0.2:8080"))));
        assert_eq!(ends(&packet, true), Some((end("10.0.0.2:8080"), end("10.0.0.1:40000"))));
        packet[9] = libc::IPPROTO_UDP as u8;
        assert_eq!(ends(&packet, false), None);
    }

    proptest! {
        #[test]
        fn garbage_is_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (ends(&bytes, true), read_all(&bytes));
        }
    }
}
