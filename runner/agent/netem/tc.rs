//! Traffic control, message by message: ifb devices, queueing disciplines, and what hangs at an interface's edge.

use crate::agent::netlink::{Message, Refusal, Socket, attr, u32_at};

pub(in crate::agent) const TCA_KIND: u16 = libc::TCA_KIND;
pub(in crate::agent) const TCA_OPTIONS: u16 = libc::TCA_OPTIONS;
pub(in crate::agent) const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
/// The parent of everything that hangs at an interface's edge, and its handle.
pub(in crate::agent) const CLSACT_PARENT: u32 = 0xffff_fff1;
pub(in crate::agent) const CLSACT_HANDLE: u32 = 0xffff_0000;
pub(in crate::agent) const ROOT: u32 = u32::MAX;

/// Which edge of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::agent) enum Edge {
    Leaving = 0xffff_fff3,
    Entering = 0xffff_fff2,
}

/// What netem counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets that came in, held ones included.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Packets held now.
    pub held: u64,
    /// Packets dropped because the queue was full.
    pub lost: u64,
    /// How often a packet had to wait because a limit said so.
    pub waited: u64,
}

/// struct tcmsg.
pub(in crate::agent) fn tcmsg(interface: u32, handle: u32, parent: u32, info: u32) -> [u8; 20] {
    let mut bytes = [0; 20];
    for (at, field) in [(4, interface), (8, handle), (12, parent), (16, info)] {
        bytes[at..at + 4].copy_from_slice(&field.to_ne_bytes());
    }
    bytes
}

pub(in crate::agent) fn make_ifb(socket: &Socket, name: &str) -> Result<(), Refusal> {
    const AF_SPEC: u16 = 26;
    const INET6_ADDR_GEN_MODE: u16 = 8;
    const NO_ADDRESS: u8 = 1;
    // struct ifinfomsg with flags and mask of flags.
    let ifinfomsg = |flags: u32| {
        let mut bytes = [0; 16];
        bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
        bytes[12..16].copy_from_slice(&flags.to_ne_bytes());
        bytes
    };
    let mut make = Message::new();
    make.push(libc::RTM_NEWLINK, CREATE, &ifinfomsg(0), |m| {
        m.text(libc::IFLA_IFNAME, name);
        m.nest(libc::IFLA_LINKINFO, |m| m.text(libc::IFLA_INFO_KIND, "ifb"));
    });
    make.acknowledge_last();
    socket.transact(&make)?;
    // It carries packets and takes no part in IPv6 itself. Where there is no IPv6 this is refused, rightly.
    let mut quiet = Message::new();
    quiet.push(libc::RTM_NEWLINK, 0, &ifinfomsg(0), |m| {
        m.text(libc::IFLA_IFNAME, name);
        m.nest(AF_SPEC, |m| m.nest(libc::AF_INET6 as u16, |m| m.attr(INET6_ADDR_GEN_MODE, &[NO_ADDRESS])));
    });
    quiet.acknowledge_last();
    let _ = socket.transact(&quiet);
    let mut up = Message::new();
    up.push(libc::RTM_NEWLINK, 0, &ifinfomsg(libc::IFF_UP.cast_unsigned()), |m| {
        m.text(libc::IFLA_IFNAME, name);
    });
    up.acknowledge_last();
    socket.transact(&up)
}

pub(in crate::agent) fn remove_device(socket: &Socket, index: u32) -> Result<(), Refusal> {
    let mut ifinfomsg = [0; 16];
    ifinfomsg[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut message = Message::new();
    message.push(libc::RTM_DELLINK, 0, &ifinfomsg, |_| {});
    message.acknowledge_last();
    socket.transact(&message)
}

pub(in crate::agent) fn add_clsact(message: &mut Message, interface: u32) {
    let tcmsg = tcmsg(interface, CLSACT_HANDLE, CLSACT_PARENT, 0);
    message.push(libc::RTM_NEWQDISC, CREATE, &tcmsg, |m| m.text(TCA_KIND, "clsact"));
}

pub(in crate::agent) fn remove_clsact(socket: &Socket, interface: u32) -> Result<(), Refusal> {
    let mut message = Message::new();
    message.push(libc::RTM_DELQDISC, 0, &tcmsg(interface, CLSACT_HANDLE, CLSACT_PARENT, 0), |_| {});
    message.acknowledge_last();
    socket.transact(&message)
}

/// A queueing discipline as listed.
pub(in crate::agent) struct Qdisc {
    pub(in crate::agent) interface: u32,
    pub(in crate::agent) handle: u32,
    pub(in crate::agent) parent: u32,
    pub(in crate::agent) counted: Counted,
}

pub(in crate::agent) fn qdiscs(socket: &Socket) -> Result<Vec<Qdisc>, Refusal> {
    let mut request = Message::new();
    request.push(libc::RTM_GETQDISC, libc::NLM_F_DUMP as u16, &[0; 20], |_| {});
    let mut found = Vec::new();
    socket.dump(&request, |message| {
        let field = |at| u32_at(message.payload, at).unwrap_or_default();
        let body = message.payload.get(20..).unwrap_or_default();
        found.push(Qdisc {
            interface: field(4),
            handle: field(8),
            parent: field(12),
            counted: counted(attr(body, libc::TCA_STATS2).unwrap_or_default()),
        });
    })?;
    Ok(found)
}

pub(in crate::agent) fn counted(stats: &[u8]) -> Counted {
    const BASIC: u16 = 1;
    const QUEUE: u16 = 3;
    // struct gnet_stats_basic: bytes (64 bits), packets. struct gnet_stats_queue: qlen, backlog, drops, requeues,
    // overlimits.
    let basic = attr(stats, BASIC).unwrap_or_default();
    let queue = attr(stats, QUEUE).unwrap_or_default();
    let number = |from: &[u8], at| u64::from(u32_at(from, at).unwrap_or_default());
    let bytes = basic.get(..8).and_then(|value| value.try_into().ok()).map_or(0, u64::from_ne_bytes);
    let (held, backlog, lost) = (number(queue, 0), number(queue, 4), number(queue, 8));
    // The basic counters are of packets that have left.
    let waited = number(queue, 16);
    Counted { packets: number(basic, 8) + held + lost, bytes: bytes + backlog, held, lost, waited }
}
