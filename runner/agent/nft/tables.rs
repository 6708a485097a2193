//! The tables of a step: which rules pick its packets, and where they hang.
//!
//! Each step has a table per address family (`ip` and `ip6`, since `inet` lacks two of the expressions), with a
//! line of chains for packets that leave and one for packets that enter: peers, ports, hit. Staging makes
//! these; firing adds the base chains that lead to them, in one small commit. (Making tables dormant and
//! waking them would be simpler, but since Linux 6.9 a table with an owner can't be woken.) Tables belong to
//! our socket where the kernel knows owners, and vanish with it. Start at [`stage`].

use std::net::IpAddr;

use super::rule::{Bypass, Disown, Disowned, QueueWay, Rule, Side};
use super::{Batch, CREATE, Family, NEWCHAIN};
use crate::agent::nfqueue::mark::{self, Marks};
use crate::agent::wire::{Direction, Impairment, Net, Protocol};

const TABLE_OWNER: u32 = 2;

const ACCEPT: i32 = libc::NF_ACCEPT;
const DROP: i32 = libc::NF_DROP;

/// Loopback's interface index, the same in every network namespace.
const LOOPBACK: u32 = 1;

/// Packets that enter are taken before connection tracking (-200) sees them, as if they had come later,
/// and after it has put fragments together (-400), so that each has its ports.
const ENTER_PRIORITY: i32 = -290;

/// Packets that leave are taken after source NAT (100): as they will be on the wire.
const LEAVE_PRIORITY: i32 = 300;

/// Resets are sent where the kernel can: beside the usual filters (0).
const RESET_PRIORITY: i32 = 10;

/// Packets that entered are copied when address translation (-100) has turned them to whom they are for, and
/// filters (0) have let them in.
const COPY_PRIORITY: i32 = 200;

/// Steps alive at once in one agent. Each has its own place in the order of hooks, and the hooks between two
/// of the places above must not run out.
pub const MAX_STEPS: u32 = 64;

/// Chains that only other chains lead to.
pub(super) const INNER_CHAINS: [&str; 8] = [
    "peers_leaving",
    "peers_entering",
    "ports_leaving",
    "ports_entering",
    "hit_leaving",
    "hit_entering",
    COPY_CHAINS[0],
    COPY_CHAINS[1],
];

/// Those of them where packets are copied: the counters there are of copies.
pub(super) const COPY_CHAINS: [&str; 2] = ["copy_leaving", "copy_entering"];

/// What becomes of a packet that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// It goes to queue `number`, or on its way if nobody listens there.
    Queue {
        /// How.
        way: QueueWay,
        /// The queue's number.
        number: u16,
        /// Packets that a local socket sent are replaced by copies that no socket accounts for.
        disown: Option<Disown>,
        /// Packets that the queue marks are sent twice.
        copies: Copies,
    },
    /// It vanishes. Leaving packets go to a queue where nobody listens, if there is one: a rule that drops
    /// them tells the sender (`EPERM`), which a broken path never would.
    Drop {
        /// How, and the queue's number.
        silent: Option<(QueueWay, u16)>,
    },
    /// TCP is answered with a reset, everything else with port unreachable.
    Reset,
}

/// Whether a step's queue may ask for copies of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// It may, by marks.
    ByMark,
    /// It does not.
    None,
}

/// A step's tables, to be made.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// Their name.
    pub name: &'a str,
    /// Should they vanish with the socket?
    pub owner: bool,
    /// Place among this agent's steps, below [`MAX_STEPS`]; later steps see packets after earlier ones.
    pub place: u32,
    /// Which packets.
    pub filter: &'a Impairment,
    /// What becomes of them.
    pub hit: Hit,
    /// The families that this kernel has tables for.
    pub families: &'a [Family],
}

/// A base chain: where it hangs, and which way its packets go.
struct Base {
    name: &'static str,
    hook: i32,
    priority: i32,
    side: Side,
    /// The chain that it leads to.
    to: &'static str,
}

/// The name of a step's tables.
pub fn table_name(tag: &str, step: u32) -> String {
    format!("chaos_{tag}_{step}")
}

/// The prefix of the names of a run's tables.
pub fn table_prefix(tag: &str) -> String {
    format!("chaos_{tag}_")
}

impl Tables<'_> {
    fn bases(&self) -> Vec<Base> {
        let place = self.place.min(MAX_STEPS - 1).cast_signed();
        let base = |name, hook, priority, side: Side| {
            let to = INNER_CHAINS[side as usize];
            Base { name, hook, priority: priority + place, side, to }
        };
        let reset = self.hit == Hit::Reset;
        let mut bases = Vec::new();
        if self.filter.direction != Direction::Ingress {
            if reset {
                bases.push(base("leave", libc::NF_INET_LOCAL_OUT, RESET_PRIORITY, Side::Leaving));
                bases.push(base("forth", libc::NF_INET_FORWARD, RESET_PRIORITY, Side::Leaving));
            } else {
                bases.push(base("leave", libc::NF_INET_POST_ROUTING, LEAVE_PRIORITY, Side::Leaving));
            }
        }
        if self.filter.direction != Direction::Egress {
            if reset {
                bases.push(base("enter", libc::NF_INET_LOCAL_IN, RESET_PRIORITY, Side::Entering));
                bases.push(base("through", libc::NF_INET_FORWARD, RESET_PRIORITY, Side::Entering));
            } else {
                bases.push(base("enter", libc::NF_INET_PRE_ROUTING, ENTER_PRIORITY, Side::Entering));
            }
            if self.copies() {
                let to = COPY_CHAINS[Side::Entering as usize];
                for (name, hook) in
                    [("copy_here", libc::NF_INET_LOCAL_IN), ("copy_through", libc::NF_INET_FORWARD)]
                {
                    bases.push(Base { to, ..base(name, hook, COPY_PRIORITY, Side::Entering) });
                }
            }
        }
        bases
    }

    fn copies(&self) -> bool {
        matches!(self.hit, Hit::Queue { copies: Copies::ByMark, .. })
    }

    /// Families in which the filter can match at all.
    fn families(&self) -> impl Iterator<Item = Family> {
        let peers = &self.filter.peers;
        self.families
            .iter()
            .copied()
            .filter(|family| peers.is_empty() || peers.iter().any(|peer| family.has(peer.addr)))
    }
}

impl Batch {
    fn add_base(&mut self, family: Family, table: &str, base: &Base) {
        self.push(NEWCHAIN, CREATE, family as u8, |m| {
            m.text(1, table);
            m.text(3, base.name);
            m.nest(4, |m| {
                m.be32(1, base.hook.cast_unsigned());
                m.be32(2, base.priority.cast_unsigned());
            });
            m.be32(5, ACCEPT.cast_unsigned());
            m.text(7, "filter");
        });
    }

    /// Puts a step's tables into effect: hooks them where packets come by.
    pub fn attach(&mut self, tables: &Tables<'_>) {
        for family in tables.families() {
            for base in tables.bases() {
                self.add_base(family, tables.name, &base);
                self.lead(family, tables, &base);
            }
        }
    }

    /// Puts tables that were detached into effect again.
    pub fn attach_again(&mut self, tables: &Tables<'_>) {
        for family in tables.families() {
            for base in tables.bases() {
                self.lead(family, tables, &base);
            }
        }
    }

    fn lead(&mut self, family: Family, tables: &Tables<'_>, base: &Base) {
        self.add_rule(family as u8, tables.name, base.name, |rule| rule.goto(base.to));
    }

    /// Takes a step's rules out of the packets' way and leaves its counters.
    pub fn detach(&mut self, tables: &Tables<'_>) {
        for family in tables.families() {
            for base in tables.bases() {
                self.clear_chain(family, tables.name, base.name);
            }
        }
    }

    /// Removes a step's tables. Unhooking a chain makes the kernel drop every packet that any queue of this
    /// namespace holds, so nothing may be held.
    pub fn remove(&mut self, tables: &Tables<'_>) {
        for family in tables.families() {
            self.remove_table(family as u8, tables.name);
        }
    }
}

const fn owner_flag(owner: bool) -> u32 {
    if owner { TABLE_OWNER } else { 0 }
}

/// Everything of a step but its hooks.
pub fn stage(batch: &mut Batch, tables: &Tables<'_>) {
    for family in tables.families() {
        batch.add_table(family as u8, tables.name, owner_flag(tables.owner));
        for side in [Side::Leaving, Side::Entering] {
            if tables.bases().iter().any(|base| base.side == side) {
                let chains = Chains { family, tables, side };
                for chain in [chains.hit(), chains.ports(), chains.peers(), chains.copy()] {
                    batch.add_chain(family as u8, tables.name, chain);
                }
                if tables.copies() {
                    chains.add_copy(batch);
                }
                chains.add_hit(batch);
                chains.add_ports(batch);
                chains.add_peers(batch);
            }
        }
    }
}

/// The chains of one family and direction.
struct Chains<'a> {
    family: Family,
    tables: &'a Tables<'a>,
    side: Side,
}

impl Chains<'_> {
    const fn peers(&self) -> &'static str {
        INNER_CHAINS[self.side as usize]
    }

    const fn ports(&self) -> &'static str {
        INNER_CHAINS[2 + self.side as usize]
    }

    const fn hit(&self) -> &'static str {
        INNER_CHAINS[4 + self.side as usize]
    }

    const fn copy(&self) -> &'static str {
        COPY_CHAINS[self.side as usize]
    }

    fn rule(&self, batch: &mut Batch, chain: &str, body: impl FnOnce(&mut Rule<'_>)) {
        batch.add_rule(self.family as u8, self.tables.name, chain, body);
    }

    /// What is never touched, then the peers.
    fn add_peers(&self, batch: &mut Batch) {
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

    fn add_ports(&self, batch: &mut Batch) {
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

    fn add_hit(&self, batch: &mut Batch) {
        match self.tables.hit {
            Hit::Queue { way, number, disown, .. } => {
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
        }
    }

    /// Copies what is marked, and takes the mark off again.
    fn add_copy(&self, batch: &mut Batch) {
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
