//! Which packets are led to netem: a step's filter as filters of the kernel's flower classifier.

use std::net::IpAddr;

use super::tc::{CREATE, Edge, TCA_KIND, TCA_OPTIONS, tcmsg};
use crate::agent::netlink::{Message, Refusal, Socket, attr, attrs, text_of, u32_at};
use crate::agent::wire::{Impairment, Net, Protocol};

/// Our filters' priorities start here, so that they can be told from others.
pub(super) const FIRST_PRIORITY: u32 = 0xc0a0;
const FLOWER_ACT: u16 = 3;
const ACT_OPTIONS: u16 = 2;
const MIRRED_PARMS: u16 = 2;
/// Where the interface stands in struct tc_mirred.
const MIRRED_TO_AT: usize = 24;

/// What one flower filter matches, and whether it leads to netem or past it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) ipv6: bool,
    pub(super) peer: Option<Net>,
    pub(super) protocol: Option<u8>,
    /// The port, at the packet's source or destination.
    pub(super) port: Option<(End, u16)>,
    pub(super) icmpv6_type: Option<u8>,
    pub(super) delayed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
}

impl Filter {
    /// Every packet of a family, past netem.
    const fn all(ipv6: bool) -> Self {
        Self { ipv6, peer: None, protocol: None, port: None, icmpv6_type: None, delayed: false }
    }
}

/// The filters of a step, first match first.
pub(super) fn filters(impairment: &Impairment) -> Vec<Filter> {
    let mut filters = Vec::new();
    let icmpv6 = libc::IPPROTO_ICMPV6 as u8;
    // Neighbour discovery, as for our own engine.
    for kind in 133..=137 {
        filters.push(Filter { protocol: Some(icmpv6), icmpv6_type: Some(kind), ..Filter::all(true) });
    }
    for net in &impairment.except {
        filters.push(Filter { peer: Some(*net), ..Filter::all(net.addr.is_ipv6()) });
    }
    for ipv6 in [false, true] {
        let peers: Vec<Option<Net>> = if impairment.peers.is_empty() {
            vec![None]
        } else {
            impairment.peers.iter().filter(|net| net.addr.is_ipv6() == ipv6).copied().map(Some).collect()
        };
        for kind in kinds(impairment, ipv6) {
            filters.extend(peers.iter().map(|peer| Filter { peer: *peer, delayed: true, ..kind.clone() }));
        }
    }
    filters
}

/// The combinations of protocol and port that a step asks for, for every peer.
pub(super) fn kinds(impairment: &Impairment, ipv6: bool) -> Vec<Filter> {
    let number = |protocol| match (protocol, ipv6) {
        (Protocol::Tcp, _) => libc::IPPROTO_TCP as u8,
        (Protocol::Udp, _) => libc::IPPROTO_UDP as u8,
        (Protocol::Icmp, false) => libc::IPPROTO_ICMP as u8,
        (Protocol::Icmp, true) => libc::IPPROTO_ICMPV6 as u8,
    };
    if impairment.ports.is_empty() {
        return vec![Filter { protocol: impairment.protocol.map(number), ..Filter::all(ipv6) }];
    }
    let mut kinds = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        if impairment.protocol.is_some_and(|only| only != protocol) {
            continue;
        }
        for port in &impairment.ports {
            for end in [End::Source, End::Destination] {
                let (protocol, port) = (Some(number(protocol)), Some((end, *port)));
                kinds.push(Filter { protocol, port, ..Filter::all(ipv6) });
            }
        }
    }
    kinds
}

pub(super) fn add_filter(
    message: &mut Message,
    interface: u32,
    edge: Edge,
    priority: u32,
    filter: &Filter,
    to: u32,
) {
    let ether = if filter.ipv6 { libc::ETH_P_IPV6 } else { libc::ETH_P_IP } as u16;
    let info = priority << 16 | u32::from(ether.to_be());
    message.push(libc::RTM_NEWTFILTER, CREATE, &tcmsg(interface, 0, edge as u32, info), |m| {
        m.text(TCA_KIND, "flower");
        m.nest(TCA_OPTIONS, |m| {
            flower_keys(m, filter, ether, edge);
            if filter.delayed {
                redirect(m, to);
            }
        });
    });
}

/// Adds the removal of a filter that was added with the same words.
pub(super) fn drop_filter(message: &mut Message, interface: u32, edge: Edge, priority: u32, filter: &Filter) {
    let ether = if filter.ipv6 { libc::ETH_P_IPV6 } else { libc::ETH_P_IP } as u16;
    let info = priority << 16 | u32::from(ether.to_be());
    message.push(libc::RTM_DELTFILTER, 0, &tcmsg(interface, 0, edge as u32, info), |_| {});
}

pub(super) fn flower_keys(m: &mut Message, filter: &Filter, ether: u16, edge: Edge) {
    const ETH_TYPE: u16 = 8;
    const IP_PROTO: u16 = 9;
    const IPV4_SRC: u16 = 10;
    const IPV6_SRC: u16 = 14;
    const TCP_SRC: u16 = 18;
    const UDP_SRC: u16 = 20;
    const ICMPV6_TYPE: u16 = 55;
    m.be16(ETH_TYPE, ether);
    if let Some(protocol) = filter.protocol {
        m.attr(IP_PROTO, &[protocol]);
    }
    if let Some(net) = filter.peer {
        // Source, its mask, destination, its mask.
        let first = if filter.ipv6 { IPV6_SRC } else { IPV4_SRC };
        let key = if edge == Edge::Leaving { first + 2 } else { first };
        let (addr, mask) = match net.addr {
            IpAddr::V4(addr) => {
                let ones = u32::MAX.checked_shl(32 - u32::from(net.prefix)).unwrap_or(0);
                (addr.octets().to_vec(), ones.to_be_bytes().to_vec())
            }
            IpAddr::V6(addr) => {
                let ones = u128::MAX.checked_shl(128 - u32::from(net.prefix)).unwrap_or(0);
                (addr.octets().to_vec(), ones.to_be_bytes().to_vec())
            }
        };
        m.attr(key, &addr);
        m.attr(key + 1, &mask);
    }
    if let Some((end, port)) = filter.port {
        let first = if filter.protocol == Some(libc::IPPROTO_TCP as u8) { TCP_SRC } else { UDP_SRC };
        m.be16(first + u16::from(end == End::Destination), port);
    }
    if let Some(kind) = filter.icmpv6_type {
        m.attr(ICMPV6_TYPE, &[kind]);
    }
}

/// The action that sends a packet to interface `to`.
pub(super) fn redirect(m: &mut Message, to: u32) {
    const ACT_KIND: u16 = 1;
    const STOLEN: u32 = 4;
    const EGRESS_REDIR: u32 = 1;
    m.nest(FLOWER_ACT, |m| {
        m.nest(1, |m| {
            m.text(ACT_KIND, "mirred");
            m.nest(ACT_OPTIONS, |m| {
                // struct tc_mirred: index, capab, action, refcnt, bindcnt, eaction, ifindex.
                let fields = [0, 0, STOLEN, 0, 0, EGRESS_REDIR, to];
                let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_ne_bytes()).collect();
                m.attr(MIRRED_PARMS, &bytes);
            });
        });
    });
}

/// A filter at an interface's edge, as listed.
pub(super) struct Listed {
    pub(super) parent: u32,
    pub(super) info: u32,
    pub(super) priority: u32,
    pub(super) leads_to: Option<u32>,
}

pub(super) fn edge_filters(socket: &Socket, interface: u32) -> Result<Vec<Listed>, Refusal> {
    let mut found = Vec::new();
    for edge in [Edge::Leaving, Edge::Entering] {
        let mut request = Message::new();
        let tcmsg = tcmsg(interface, 0, edge as u32, 0);
        request.push(libc::RTM_GETTFILTER, libc::NLM_F_DUMP as u16, &tcmsg, |_| {});
        socket.dump(&request, |message| {
            let info = u32_at(message.payload, 16).unwrap_or_default();
            let body = message.payload.get(20..).unwrap_or_default();
            let leads_to = attr(body, TCA_OPTIONS)
                .and_then(|options| attr(options, FLOWER_ACT))
                .and_then(|actions| attrs(actions).next())
                .and_then(|(_, action)| attr(action, ACT_OPTIONS))
                .and_then(|options| attr(options, MIRRED_PARMS))
                .and_then(|parms| u32_at(parms, MIRRED_TO_AT));
            let flower = attr(body, TCA_KIND).map(text_of).as_deref() == Some("flower");
            let priority = if flower { info >> 16 } else { 0 };
            found.push(Listed { parent: edge as u32, info, priority, leads_to });
        })?;
    }
    Ok(found)
}

pub(super) fn remove_filter(socket: &Socket, interface: u32, filter: &Listed) -> Result<(), Refusal> {
    let mut message = Message::new();
    message.push(libc::RTM_DELTFILTER, 0, &tcmsg(interface, 0, filter.parent, filter.info), |_| {});
    message.acknowledge_last();
    match socket.transact(&message) {
        // A filter is listed once for its priority and once for itself.
        Err(refusal) if refusal.errno == libc::ENOENT => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::wire::{Direction, Effect};

    #[test]
    fn filters_are_the_product_of_peers_protocols_and_ports() {
        let net = |text: &str, prefix| Net { addr: text.parse().unwrap(), prefix };
        let check = |peers: &[Net], ports: &[u16], protocol, expected: usize| {
            let impairment = Impairment {
                step: 0,
                direction: Direction::Both,
                peers: peers.to_vec(),
                except: vec![],
                ports: ports.to_vec(),
                protocol,
                effect: Effect::Drop,
            };
            let delayed = filters(&impairment).into_iter().filter(|filter| filter.delayed);
            assert_eq!(delayed.count(), expected, "{impairment:?}");
        };
        let (four, six) = (net("10.0.0.1", 32), net("fd00::1", 128));
        check(&[], &[], None, 2);
        check(&[four], &[], None, 1);
        check(&[four, six], &[80], None, 8);
        check(&[four, six], &[80, 81], Some(Protocol::Tcp), 8);
        check(&[], &[], Some(Protocol::Icmp), 2);
    }
}
