//! Who the kernel remembers as a neighbour in this namespace: looked at, and forgotten where we made it remember.
//!
//! The table is one for all namespaces of the machine and small, so a look at many containers must give back what it
//! took. Entries that were there before are left alone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::netlink::{Message, Refusal, Socket, attr, u32_at};

/// Length of the fixed part, struct ndmsg.
const NDMSG_BYTES: usize = 12;
/// The address.
const NDA_DST: u16 = 1;
/// NUD_NOARP: made by the kernel itself, as for broadcasts, and not counted.
const NOARP: u16 = 0x40;

/// An interface's index and the neighbour's address.
pub type Neighbour = (u32, IpAddr);

/// Every neighbour that this namespace knows. `socket` speaks NETLINK_ROUTE.
pub fn known(socket: &Socket) -> Result<BTreeSet<Neighbour>, Refusal> {
    let mut request = Message::new();
    // All zeroes: every family.
    request.push(libc::RTM_GETNEIGH, libc::NLM_F_DUMP as u16, &[0; NDMSG_BYTES], |_| {});
    let mut known = BTreeSet::new();
    socket.dump(&request, |message| known.extend(read(message.payload)))?;
    Ok(known)
}

fn read(payload: &[u8]) -> Option<Neighbour> {
    let index = u32_at(payload, 4)?;
    let state = u16::from_ne_bytes(payload.get(8..10)?.try_into().ok()?);
    let address = attr(payload.get(NDMSG_BYTES..)?, NDA_DST)?;
    let address = match address.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    (state & NOARP == 0).then_some((index, address))
}

/// Has the kernel forget a neighbour. One that it has forgotten by itself is no error.
pub fn forget(socket: &Socket, (index, address): Neighbour) -> Result<(), Refusal> {
    let (family, bytes) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let mut fixed = [0; NDMSG_BYTES];
    fixed[0] = family as u8;
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut request = Message::new();
    request.push(libc::RTM_DELNEIGH, 0, &fixed, |body| body.attr(NDA_DST, &bytes));
    request.acknowledge_last();
    match socket.transact(&request) {
        Err(refusal) if refusal.errno != libc::ENOENT => Err(refusal),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_and_those_of_the_kernel_itself_passed_over() {
        let entry = |state: u16, address: &[u8]| {
            let mut message = Message::new();
            message.raw(&[2, 0, 0, 0]);
            message.raw(&7_u32.to_ne_bytes());
            message.raw(&[&state.to_ne_bytes()[..], &[0, 1]].concat());
            message.attr(NDA_DST, address);
            message.bytes().to_vec()
        };
        let reachable = 0x02;
        assert_eq!(read(&entry(reachable, &[172, 18, 0, 3])), Some((7, "172.18.0.3".parse().unwrap())));
        let six = "fd00::3".parse::<std::net::Ipv6Addr>().unwrap();
        assert_eq!(read(&entry(reachable, &six.octets())), Some((7, six.into())));
        assert_eq!(read(&entry(NOARP, &[255; 4])), None);
        assert_eq!(read(&entry(reachable, &[1, 2])), None);
        assert_eq!(read(&[0; 3]), None);
    }
}
