//! The chains of a step's tables, rule by rule: peers, then ports, then what becomes of a packet that matched.

use std::net::IpAddr;

use super::rule::{Bypass, Disowned, QueueWay, Rule, Side};
use super::tables::{COPY_CHAINS, Hit, INNER_CHAINS, Tables};
use super::{Batch, Family};
use crate::agent::nfqueue::mark::{self, Marks};
use crate::agent::wire::{Net, Protocol};

const ACCEPT: i32 = libc::NF_ACCEPT;
const DROP: i32 = libc::NF_DROP;

/// Loopback's interface index, the same in every network namespace.
const LOOPBACK: u32 = 1;

/// The chains of one family and direction.
pub(super) struct Chains<'a> {
    pub(super) family: Family,
    pub(super) tables: &'a Tables<'a>,
    pub(super) side: Side,
}

impl Chains<'_> {
    pub(super) const fn peers(&self) -> &'static str {
        INNER_CHAINS[self.side as usize]
    }

    pub(super) const fn ports(&self) -> &'static str {
        INNER_CHAINS[2 + self.side as usize]
    }

    pub(super) const fn hit(&self) -> &'static str {
        INNER_CHAINS[4 + self.side as usize]
    }

    pub(super) const fn copy(&self) -> &'static str {
        COPY_CHAINS[self.side as usize]
    }

    fn rule(&self, batch: &mut Batch, chain: &str, body: impl FnOnce(&mut Rule<'_>)) {
        batch.add_rule(self.family as u8, self.tables.name, chain, body);
    }

    /// What is never touched, then the peers.
    pub(super) fn add_peers(&self, batch: &mut Batch) {
        let filter = self.tables.filter;
        let place = self.tables.place;
        if self.side == Side::Leaving && self.tables.copies() {
            self.rule(batch, self.peers(), |rule| {
                rule.marked(mark::MASK, Marks::requested(place));
                rule.goto(self.copy());
            });
        }
        if self.side == Side::Leaving {
            // A copy that a later step made has been here before, as the packet that it was made of.
            self.rule(batch, self.peers(), |rule| {
                rule.copied_since(place);
                rule.verdict(ACCEPT, None);
            });
        }
        let key = if self.side == Side::Leaving { libc::NFT_META_OIF } else { libc::NFT_META_IIF };
        self.rule(batch, self.peers(), |rule| {
            rule.meta(key, 1);
            rule.compare(libc::NFT_CMP_EQ, &LOOPBACK.to_ne_bytes());
            rule.verdict(ACCEPT, None);
        });
        // A packet that NAT has just turned to this very host still shows the interface it was to leave by.
        let own = match self.family {
            Family::Ip => Net { addr: IpAddr::from([127, 0, 0, 0]), prefix: 8 },
            Family::Ip6 => Net { addr: std::net::Ipv6Addr::LOCALHOST.into(), prefix: 128 },
        };
        for net in std::iter::once(&own).chain(&filter.except).filter(|net| self.family.has(net.addr)) {
            self.rule(batch, self.peers(), |rule| {
                rule.peer(self.family, self.side, net);
                rule.verdict(ACCEPT, None);
            });
        }
        if self.family == Family::Ip6 {
            // Neighbour discovery is to IPv6 what ARP, which no rule here sees, is to IPv4.
            self.rule(batch, self.peers(), |rule| {
                rule.l4(libc::IPPROTO_ICMPV6 as u8);
                rule.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, 1);
                rule.compare(libc::NFT_CMP_GTE, &[133]);
                rule.compare(libc::NFT_CMP_LTE, &[137]);
                rule.verdict(ACCEPT, None);
            });
        }
        if let Some(protocol) = filter.protocol {
            self.rule(batch, self.peers(), |rule| {
                rule.meta(libc::NFT_META_L4PROTO, 1);
                rule.compare(libc::NFT_CMP_NEQ, &[self.family.protocol(protocol)]);
                rule.verdict(ACCEPT, None);
            });
        }
        if filter.peers.is_empty() {
            self.rule(batch, self.peers(), |rule| rule.goto(self.ports()));
        }
        for peer in filter.peers.iter().filter(|peer| self.family.has(peer.addr)) {
            self.rule(batch, self.peers(), |rule| {
                rule.peer(self.family, self.side, peer);
                rule.goto(self.ports());
            });
        }
    }

    pub(super) fn add_ports(&self, batch: &mut Batch) {
        let ports = &self.tables.filter.ports;
        if ports.is_empty() {
            self.rule(batch, self.ports(), |rule| rule.goto(self.hit()));
        }
        for protocol in [libc::IPPROTO_TCP as u8, libc::IPPROTO_UDP as u8] {
            for port in ports {
                for offset in [0, 2] {
                    self.rule(batch, self.ports(), |rule| {
                        rule.l4(protocol);
                        rule.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, offset, 2, 1);
                        rule.compare(libc::NFT_CMP_EQ, &port.to_be_bytes());
                        rule.goto(self.hit());
                    });
                }
            }
        }
    }

    pub(super) fn add_hit(&self, batch: &mut Batch) {
        match self.tables.hit {
            Hit::Queue { way, number, disown, tracked, .. } => {
                if tracked && self.side == Side::Leaving {
                    self.rule(batch, self.hit(), |rule| {
                        rule.refuses_a_connection();
                        rule.verdict(ACCEPT, None);
                    });
                }
                if let (Some(disown), Side::Leaving) = (disown, self.side) {
                    for what in [Disowned::Segments, Disowned::Datagrams] {
                        self.rule(batch, self.hit(), |rule| rule.disown(self.family, way, disown, what));
                    }
                }
                self.rule(batch, self.hit(), |rule| {
                    rule.counter();
                    rule.queue(way, number, Bypass::Yes);
                });
            }
            Hit::Drop { silent } => self.rule(batch, self.hit(), |rule| {
                rule.counter();
                match silent {
                    Some((way, nobody)) if self.side == Side::Leaving => {
                        rule.queue(way, nobody, Bypass::No);
                    }
                    _ => rule.verdict(DROP, None),
                }
            }),
            Hit::Reset => self.add_reset(batch),
            Hit::Gate { way, number } => self.add_gate(batch, way, number),
        }
    }

    /// Copies what is marked, and takes the mark off again.
    pub(super) fn add_copy(&self, batch: &mut Batch) {
        let place = self.tables.place;
        let requested = Marks::requested(place);
        self.rule(batch, self.copy(), |rule| match self.side {
            Side::Leaving => {
                rule.counter();
                // The copy passes all rules once more and skips those that its packet has passed.
                rule.mark(Marks::copied(place));
                rule.copy(self.family);
                rule.mark(0);
                rule.verdict(ACCEPT, None);
            }
            Side::Entering => {
                /// Meant for this very machine: a copy of a broadcast would be sent to everyone.
                const UNICAST: u8 = libc::PACKET_HOST;
                rule.marked(mark::MASK, requested);
                rule.mark(0);
                rule.meta(libc::NFT_META_PKTTYPE, 1);
                rule.compare(libc::NFT_CMP_EQ, &[UNICAST]);
                rule.counter();
                rule.copy_here(self.family);
            }
        });
    }

    /// Refuses what the gate has marked, and asks it about all others.
    fn add_gate(&self, batch: &mut Batch, way: QueueWay, number: u16) {
        self.rule(batch, self.hit(), |rule| {
            rule.marked(mark::MASK, Marks::requested(self.tables.place));
            rule.l4(libc::IPPROTO_TCP as u8);
            rule.reject(libc::NFT_REJECT_TCP_RST, 0);
        });
        self.rule(batch, self.hit(), |rule| {
            rule.l4(libc::IPPROTO_TCP as u8);
            rule.asks_for_a_connection();
            rule.counter();
            rule.queue(way, number, Bypass::Yes);
        });
    }

    fn add_reset(&self, batch: &mut Batch) {
        let tcp = libc::IPPROTO_TCP as u8;
        // The resets and refusals themselves must get through, ours above all.
        self.rule(batch, self.hit(), |rule| {
            const RST: u8 = 4;
            rule.l4(tcp);
            rule.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1, 1);
            rule.mask(&[RST]);
            rule.compare(libc::NFT_CMP_NEQ, &[0]);
            rule.verdict(ACCEPT, None);
        });
        self.rule(batch, self.hit(), |rule| {
            // ICMP errors: 3 in IPv4; below 128 in IPv6.
            let (how, bound) =
                if self.family == Family::Ip { (libc::NFT_CMP_EQ, 3) } else { (libc::NFT_CMP_LT, 128) };
            rule.l4(self.family.protocol(Protocol::Icmp));
            rule.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, 1);
            rule.compare(how, &[bound]);
            rule.verdict(ACCEPT, None);
        });
        self.rule(batch, self.hit(), |rule| {
            rule.l4(tcp);
            rule.counter();
            rule.reject(libc::NFT_REJECT_TCP_RST, 0);
        });
        self.rule(batch, self.hit(), |rule| {
            // Port unreachable: code 3 of ICMP's, code 4 of ICMPv6's destination unreachable.
            let code = if self.family == Family::Ip { 3 } else { 4 };
            rule.counter();
            rule.reject(libc::NFT_REJECT_ICMP_UNREACH, code);
        });
    }
}
