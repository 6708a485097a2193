//! The network interfaces of this namespace.

use super::netlink::{Message, Refusal, Socket, attr, attrs, text_of, u16_at, u32_at};

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index, unique in the namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The largest packet it takes, in bytes.
    pub mtu: u32,
    /// What made it, as `veth`; empty for hardware.
    pub kind: String,
    /// True if it is the namespace's own loopback.
    pub loopback: bool,
    /// True if its packets also pass another interface of this namespace: a VLAN, a bridge port, a bond's slave.
    pub stacked: bool,
}

/// Every interface of this namespace, loopback too. `socket` speaks NETLINK_ROUTE.
pub fn list(socket: &Socket) -> Result<Vec<Link>, Refusal> {
    let mut request = Message::new();
    // struct ifinfomsg: all zeroes.
    request.push(libc::RTM_GETLINK, libc::NLM_F_DUMP as u16, &[0; 16], |_| {});
    let mut links = Vec::new();
    socket.dump(&request, |message| links.extend(read(message.payload)))?;
    Ok(links)
}

fn read(payload: &[u8]) -> Option<Link> {
    /// The other end of IFLA_LINK is in another namespace.
    const LINK_NETNSID: u16 = 37;
    let hardware = u16_at(payload, 2)?;
    let index = u32_at(payload, 4)?;
    let body = payload.get(16..)?;
    let number = |kind| attr(body, kind).and_then(|value| u32_at(value, 0));
    let kind = attr(body, libc::IFLA_LINKINFO)
        .and_then(|info| attrs(info).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND))
        .map(|(_, value)| text_of(value))
        .unwrap_or_default();
    let over = number(libc::IFLA_LINK).is_some_and(|under| under != index && under != 0);
    let here = attr(body, LINK_NETNSID).is_none();
    Some(Link {
        index,
        name: attr(body, libc::IFLA_IFNAME).map(text_of).unwrap_or_default(),
        mtu: number(libc::IFLA_MTU).unwrap_or_default(),
        // A veth whose other end is in the same namespace does not pass its packets on to it: it delivers them.
        stacked: number(libc::IFLA_MASTER).is_some() || (over && here && kind != "veth"),
        kind,
        loopback: hardware == libc::ARPHRD_LOOPBACK,
    })
}
