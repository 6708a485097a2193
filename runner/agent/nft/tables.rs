//! The tables of a step: which rules pick its packets, and where they hang.
//!
//! Each step has a table per address family (`ip` and `ip6`, since `inet` lacks two of the expressions), with a
//! line of chains for packets that leave and one for packets that enter: peers, ports, hit. Staging makes
//! these; firing adds the base chains that lead to them, in one small commit. (Making tables dormant and
//! waking them would be simpler, but since Linux 6.9 a table with an owner can't be woken.) Tables belong to
//! our socket where the kernel knows owners, and vanish with it. Start at [`stage`].

use super::chains::Chains;
use super::rule::{Disown, QueueWay, Side};
use super::{Batch, CREATE, Family, NEWCHAIN};
use crate::agent::wire::{Direction, Impairment};

const TABLE_OWNER: u32 = 2;

const ACCEPT: i32 = libc::NF_ACCEPT;

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
        /// Connection tracking runs here: somebody else has rules.
        tracked: bool,
    },
    /// It vanishes. Leaving packets go to a queue where nobody listens, if there is one: a rule that drops
    /// them tells the sender (`EPERM`), which a broken path never would.
    Drop {
        /// How, and the queue's number.
        silent: Option<(QueueWay, u16)>,
    },
    /// TCP is answered with a reset, everything else with port unreachable.
    Reset,
    /// What asks for a connection goes to queue `number`, which marks what is to be refused.
    Gate {
        /// How.
        way: QueueWay,
        /// The queue's number.
        number: u16,
    },
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
        // Where resets can be sent.
        let gate = matches!(self.hit, Hit::Gate { .. });
        let reset = gate || self.hit == Hit::Reset;
        let mut bases = Vec::new();
        if self.filter.direction != Direction::Ingress {
            if reset {
                bases.push(base("leave", libc::NF_INET_LOCAL_OUT, RESET_PRIORITY, Side::Leaving));
                // What only passes through is nobody's connection here.
                if !gate {
                    bases.push(base("forth", libc::NF_INET_FORWARD, RESET_PRIORITY, Side::Leaving));
                }
            } else {
                bases.push(base("leave", libc::NF_INET_POST_ROUTING, LEAVE_PRIORITY, Side::Leaving));
            }
        }
        if self.filter.direction != Direction::Egress {
            if reset {
                bases.push(base("enter", libc::NF_INET_LOCAL_IN, RESET_PRIORITY, Side::Entering));
                if !gate {
                    bases.push(base("through", libc::NF_INET_FORWARD, RESET_PRIORITY, Side::Entering));
                }
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

    pub(super) fn copies(&self) -> bool {
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
