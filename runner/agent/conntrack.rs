//! Connection tracking, by its netlink: where a redirected flow was going, and forgetting flows.
//!
//! A socket can tell where a redirected TCP connection was going, but not a datagram: only the kernel's table of
//! flows knows. And a flow of datagrams keeps its translation as long as packets come, so it must be forgotten
//! for a redirect to take it up, or to let go of it.

use std::net::{IpAddr, SocketAddr};

use super::netlink::{Message, Refusal, Socket, attr};
use super::nft::{FAMILIES, Family};

const SUBSYS: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8;
const GET: u16 = SUBSYS | 1;
const DELETE: u16 = SUBSYS | 2;
/// Attributes of a flow: its first direction and the way back.
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
/// Attributes of a direction.
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const UDP: u8 = libc::IPPROTO_UDP as u8;

/// One direction of a flow of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where its packets come from.
    pub from: SocketAddr,
    /// Where they go.
    pub to: SocketAddr,
}

/// A flow of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// As it was sent first.
    pub forth: Way,
    /// As answers are expected; other ends than those of `forth` turned round are translations.
    pub back: Way,
}

impl Way {
    fn family(self) -> Family {
        if self.from.is_ipv4() { Family::Ip } else { Family::Ip6 }
    }

    fn put(self, message: &mut Message, kind: u16) {
        message.nest(kind, |m| {
            m.nest(TUPLE_IP, |m| match (self.from.ip(), self.to.ip()) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    m.attr(1, &from.octets());
                    m.attr(2, &to.octets());
                }
                (from, to) => {
                    m.attr(3, &as_v6(from));
                    m.attr(4, &as_v6(to));
                }
            });
            m.nest(TUPLE_PROTO, |m| {
                m.attr(1, &[UDP]);
                m.be16(2, self.from.port());
                m.be16(3, self.to.port());
            });
        });
    }

    /// The direction that `bytes` describe; nothing unless it is UDP's.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (ip, proto) = (attr(bytes, TUPLE_IP)?, attr(bytes, TUPLE_PROTO)?);
        if attr(proto, 1)? != [UDP] {
            return None;
        }
        let address = |v4: u16, v6: u16| -> Option<IpAddr> {
            match (attr(ip, v4), attr(ip, v6)) {
                (Some(octets), _) => Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?)),
                (_, Some(octets)) => Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?)),
                _ => None,
            }
        };
        let port = |kind: u16| Some(u16::from_be_bytes(attr(proto, kind)?.try_into().ok()?));
        Some(Self {
            from: SocketAddr::new(address(1, 3)?, port(2)?),
            to: SocketAddr::new(address(2, 4)?, port(3)?),
        })
    }
}

fn as_v6(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

impl Flow {
    fn read(payload: &[u8]) -> Option<Self> {
        // struct nfgenmsg comes first.
        let body = payload.get(4..)?;
        Some(Self { forth: Way::read(attr(body, TUPLE_ORIG)?)?, back: Way::read(attr(body, TUPLE_REPLY)?)? })
    }
}

/// True if this kernel answers questions about flows.
pub fn is_there(socket: &Socket) -> bool {
    let nowhere = SocketAddr::from(([0; 4], 0));
    flow(socket, Way { from: nowhere, to: nowhere }).is_ok()
}

/// The flow whose answers go this way; nothing if there is none.
pub fn flow(socket: &Socket, back: Way) -> Result<Option<Flow>, Refusal> {
    let mut request = Message::new();
    request.push(GET, 0, &[back.family() as u8, 0, 0, 0], |m| back.put(m, TUPLE_REPLY));
    // The acknowledgement ends the answer, as the end of a dump does.
    request.acknowledge_last();
    let mut found = None;
    match socket.dump(&request, |message| found = found.or(Flow::read(message.payload))) {
        Err(refusal) if refusal.errno == libc::ENOENT => Ok(None),
        Err(refusal) => Err(refusal),
        Ok(()) => Ok(found),
    }
}

/// Forgets the flows of datagrams that `chosen` picks: their next packet begins a new one. How many.
pub fn forget(socket: &Socket, chosen: impl Fn(&Flow) -> bool) -> Result<u32, Refusal> {
    let mut flows = Vec::new();
    for family in FAMILIES {
        let mut request = Message::new();
        request.push(GET, libc::NLM_F_DUMP as u16, &[family as u8, 0, 0, 0], |_| {});
        socket.dump(&request, |message| flows.extend(Flow::read(message.payload)))?;
    }
    let mut forgotten = 0;
    for flow in flows.iter().filter(|flow| chosen(flow)) {
        let mut request = Message::new();
        let family = flow.forth.family() as u8;
        request.push(DELETE, 0, &[family, 0, 0, 0], |m| flow.forth.put(m, TUPLE_ORIG));
        request.acknowledge_last();
        match socket.transact(&request) {
            Ok(()) => forgotten += 1,
            Err(refusal) if refusal.errno == libc::ENOENT => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(forgotten)
}
