//! What this kernel can do, found out by trying rather than by reading its configuration.
//!
//! Every question is put so that nothing changes: nftables batches that end in an error and are taken back
//! whole, and requests for a netem or an ifb with a part missing, which are refused for the missing part by
//! a kernel that knows the thing and for the thing by one that doesn't. So an agent may ask inside a target.

use std::process::{Command, Stdio};

use super::conntrack;
use super::links;
use super::netlink::{Message, Refusal, Socket};
use super::nfqueue;
use super::nft::redirect::{Origin, Owner, Redirect};
use super::nft::rule::{Bypass, Disown, Disowned, OwnerKey, QueueWay};
use super::nft::{self, Batch, FAMILIES, Family};
use super::sockets;
use super::wire::{Kernel, Protocol};

/// The table that tried batches would make.
const TRIED: &str = "chaos_try";
/// nft's flag for tables that vanish with their socket.
const OWNER: u32 = 2;

/// Tries everything in this process's network namespace. Without CAP_NET_ADMIN everything is refused, and so
/// reported as missing.
pub fn probe() -> Kernel {
    let nft = Socket::open(libc::NETLINK_NETFILTER).ok();
    let tried = |batch: &dyn Fn(&mut Batch)| {
        nft.as_ref().is_some_and(|socket| {
            let mut trial = Batch::begin();
            batch(&mut trial);
            trial.try_out(socket).is_ok()
        })
    };
    let queued = |way| {
        tried(&|batch| {
            batch.add_table(Family::Ip as u8, TRIED, 0);
            batch.add_chain(Family::Ip as u8, TRIED, "hit");
            batch.add_rule(Family::Ip as u8, TRIED, "hit", |rule| rule.queue(way, 0, Bypass::Yes));
        })
    };
    let route = Socket::open(libc::NETLINK_ROUTE).ok();
    let known = |request: fn(&mut Message)| {
        route.as_ref().is_some_and(|socket| {
            let mut message = Message::new();
            request(&mut message);
            message.acknowledge_last();
            matches!(socket.transact(&message), Err(Refusal { errno: libc::EINVAL, .. }))
        })
    };
    Kernel {
        release: release(),
        netem: known(|message| qdisc_without_options(message, "netem")),
        ifb: known(ifb_with_a_bad_address),
        nft: tried(&|batch| batch.add_table(Family::Ip as u8, TRIED, 0)),
        nft_owner: tried(&|batch| batch.add_table(Family::Ip as u8, TRIED, OWNER)),
        nft_queue: queued(QueueWay::Native),
        xt_queue: queued(QueueWay::Xtables),
        nfqueue: nfqueue::is_there(),
        nft_redirect: redirects(),
        conntrack: Socket::open(libc::NETLINK_NETFILTER).is_ok_and(|socket| conntrack::is_there(&socket)),
        tbf: known(|message| qdisc_without_options(message, "tbf")),
        sock_diag: sockets::can_list(),
        sock_destroy: sockets::can_destroy(),
    }
}

/// True if flows can be redirected to a port of ours, by rules of both hooks.
fn redirects() -> bool {
    let Ok(socket) = Socket::open(libc::NETLINK_NETFILTER) else { return false };
    [Origin::Inside, Origin::Outside].into_iter().all(|origin| {
        let mut trial = Batch::begin();
        let protocols = &[Protocol::Tcp, Protocol::Udp];
        let owner = Owner::Nobody;
        let redirect = Redirect { name: TRIED, owner, place: 1, origin, protocols, port: 1, to: 1 };
        trial.redirect(&[Family::Ip], &redirect);
        trial.try_out(&socket).is_ok()
    })
}

/// The families that nftables has tables for here.
pub fn families(socket: &Socket) -> Vec<Family> {
    FAMILIES
        .into_iter()
        .filter(|family| {
            let mut trial = Batch::begin();
            trial.add_table(*family as u8, TRIED, 0);
            trial.try_out(socket).is_ok()
        })
        .collect()
}

/// The way to take packets from their sockets that works in this namespace, if one does; `nobody` is a queue
/// where nobody listens. Not where routes depend on more than the destination, as copies are sent by that alone.
pub fn disown(socket: &Socket, families: &[Family], way: QueueWay, nobody: u16) -> Option<Disown> {
    Socket::open(libc::NETLINK_ROUTE).ok().filter(has_plain_routing)?;
    let mtu = least_mtu()?;
    // Nobody can depend on connection tracking where nobody has rules, and it may not even run.
    let tracked = has_rules(socket);
    let works = |disown: &Disown| {
        let mut trial = Batch::begin();
        for family in families {
            trial.add_table(*family as u8, TRIED, 0);
            trial.add_chain(*family as u8, TRIED, "hit");
            trial.add_rule(*family as u8, TRIED, "hit", |rule| {
                rule.disown(*family, way, *disown, Disowned::Segments);
            });
        }
        trial.try_out(socket).is_ok()
    };
    let ways = [OwnerKey::Cgroup, OwnerKey::User].map(|owner| Disown { nobody, owner, tracked, mtu });
    ways.into_iter().find(works)
}

/// True if nftables can send copies of packets here.
pub fn can_copy(socket: &Socket, families: &[Family]) -> bool {
    families.iter().all(|family| {
        let mut trial = Batch::begin();
        trial.add_table(*family as u8, TRIED, 0);
        trial.add_chain(*family as u8, TRIED, "hit");
        trial.add_rule(*family as u8, TRIED, "hit", |rule| rule.copy(*family));
        trial.try_out(socket).is_ok()
    })
}

/// The longest packet that every interface of this namespace takes whole, in bytes; nothing if there is none.
pub fn least_mtu() -> Option<u16> {
    /// The least that IPv6 asks of every interface.
    const LEAST_MTU: u32 = 1_280;
    let route = Socket::open(libc::NETLINK_ROUTE).ok()?;
    let links = links::list(&route).ok()?;
    let mtu = links.iter().filter(|link| !link.loopback).map(|link| link.mtu).min()?.max(LEAST_MTU);
    Some(u16::try_from(mtu).unwrap_or(u16::MAX))
}

/// True if anybody else has packet filter rules in this namespace, of nftables or its forerunner.
pub fn has_rules(socket: &Socket) -> bool {
    let legacy = ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"];
    let ours = |tables: Vec<nft::Table>| tables.iter().all(|table| table.name.starts_with("chaos_"));
    !nft::tables(socket).is_ok_and(ours) || legacy.iter().any(|path| !read_proc(path).is_empty())
}

/// True if this namespace has the routing rules that every namespace has, and no others.
fn has_plain_routing(socket: &Socket) -> bool {
    /// Rules for the tables `local`, `main` and, in IPv4, `default`.
    const PLAIN: [(i32, usize); 2] = [(libc::AF_INET, 3), (libc::AF_INET6, 2)];
    PLAIN.into_iter().all(|(family, plain)| {
        let mut request = Message::new();
        // struct fib_rule_hdr: the family, then zeroes.
        request.push(
            libc::RTM_GETRULE,
            libc::NLM_F_DUMP as u16,
            &[family as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            |_| {},
        );
        let mut rules = 0;
        match socket.dump(&request, |_| rules += 1) {
            Ok(()) => rules <= plain,
            // A kernel without policy routing, or without IPv6.
            Err(refusal) => [libc::EOPNOTSUPP, libc::EAFNOSUPPORT].contains(&refusal.errno),
        }
    })
}

/// Tries everything in a fresh network namespace on this machine, in a child process. Nothing if no
/// namespace can be had: neither root nor unprivileged user namespaces.
pub fn probe_kernel() -> Option<Kernel> {
    let output = Command::new("/proc/self/exe")
        .args(["inside", "probe"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| serde_json::from_slice(&output.stdout).ok())?
}

/// Moves this process into a fresh network namespace and tries everything there. Nothing if it may not.
pub fn probe_in_fresh_namespace() -> Option<Kernel> {
    // SAFETY: no pointers; this process has one thread.
    let may = unsafe {
        libc::unshare(libc::CLONE_NEWNET) == 0 || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) == 0
    };
    may.then(probe)
}

/// The kernel's release, as `uname -r`; empty if it can't be read.
pub fn release() -> String {
    read_proc("/proc/sys/kernel/osrelease")
}

/// Which boot this is; empty if it can't be read.
pub fn boot_id() -> String {
    read_proc("/proc/sys/kernel/random/boot_id")
}

fn read_proc(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// A queueing discipline says EINVAL to a lack of options; a kernel without it says ENOENT before it looks.
fn qdisc_without_options(message: &mut Message, kind: &str) {
    // struct tcmsg: family, padding, interface 1 (loopback), handle, parent TC_H_ROOT, info.
    let mut tcmsg = [0; 20];
    tcmsg[4..8].copy_from_slice(&1i32.to_ne_bytes());
    tcmsg[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
    message.push(libc::RTM_NEWQDISC, libc::NLM_F_CREATE as u16, &tcmsg, |m| {
        m.text(libc::TCA_KIND, kind);
    });
}

/// ifb says EINVAL to a hardware address of two bytes; a kernel without ifb says EOPNOTSUPP before it looks.
fn ifb_with_a_bad_address(message: &mut Message) {
    let flags = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    // struct ifinfomsg: all zeroes.
    message.push(libc::RTM_NEWLINK, flags, &[0; 16], |m| {
        m.attr(libc::IFLA_ADDRESS, &[0; 2]);
        m.nest(libc::IFLA_LINKINFO, |m| m.text(libc::IFLA_INFO_KIND, "ifb"));
    });
}
