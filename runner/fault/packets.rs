//! What all faults of packets have in common: which packets they pick, the steps that come of it, and proof
//! by counters.
//!
//! Each such fault has a [`Filter`] among its own fields. Start at [`Filter::changes`].

use super::step::{Op, Packets};
use super::{Cast, Change};
use crate::agent::wire::{Counters, Direction, Effect, Protocol};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::Mistakes;
use crate::units::Ratio;

/// A fault that leaves its choice to chance, and whose engine does not count what was chosen, counts as proven
/// once it is this unlikely that nothing was: one in a thousand.
const UNLIKELY: f64 = 1e-3;

record! {
    /// Which packets of the target.
    pub struct Filter ("filter") {
        /// Packets leaving the target, entering it, or both (what is done then happens on both ways).
        pub direction: Direction = Direction::Egress,
        /// Only packets to or from these: targets, services (`service:api`), addresses, networks
        /// (`10.0.0.0/8`) or host names.
        pub peers: Vec<Located<String>>,
        /// Never packets to or from these.
        pub except: Vec<Located<String>>,
        /// Only packets with one of these ports at either end.
        pub ports: Vec<u16>,
        /// Only this protocol.
        pub protocol: Option<Protocol>,
    }
}

impl Filter {
    /// Entries of `peers` and `except`.
    pub fn entries(&self) -> Vec<&Located<String>> {
        self.peers.iter().chain(&self.except).collect()
    }

    /// One step for each container of target `on`, with the effect that `effect` makes of the container's own
    /// seed: each container draws its own luck.
    pub fn changes(&self, cast: &Cast<'_>, on: &str, effect: impl Fn(u64) -> Effect) -> Vec<Change> {
        let packets = Packets {
            direction: self.direction,
            peers: cast.peers(&self.peers),
            except: cast.peers(&self.except),
            ports: self.ports.clone(),
            protocol: self.protocol,
        };
        let change = |(index, container): (usize, &String)| Change {
            container: container.clone(),
            apply: Op::Impair(packets.clone(), effect(cast.seed.wrapping_add(index as u64))),
            undo: Some(Op::Clear),
        };
        cast.containers(on).iter().enumerate().map(change).collect()
    }

    /// Which way, in words: `leaving`.
    pub const fn way(&self) -> &'static str {
        match self.direction {
            Direction::Egress => "leaving",
            Direction::Ingress => "entering",
            Direction::Both => "leaving and entering",
        }
    }
}

/// What a share and its correlation must be.
pub fn check_chance(share: &Located<Ratio>, correlation: &Located<Ratio>, mistakes: &mut Mistakes) {
    if share.get() <= 0.0 {
        mistakes.add(
            share.span,
            "`share` must be positive, got `0%`",
            "write a share such as `10%`, or remove the fault",
        );
    }
    check_correlation(correlation, mistakes);
}

/// What a correlation must be.
pub fn check_correlation(correlation: &Located<Ratio>, mistakes: &mut Mistakes) {
    /// Beyond this every packet is as good as the first, and a phase is too short to see the share.
    const MOST: f64 = 0.99;
    if correlation.get() > MOST {
        let message = format!("`correlation` must be at most 99%, got `{}`", correlation.value);
        mistakes.add(correlation.span, message, "with more every packet would fare like the first");
    }
}

/// True if any of the counters seen satisfy `proof`.
pub fn counted(evidence: &[Evidence], proof: impl Fn(&Counters) -> bool) -> bool {
    evidence.iter().any(|seen| matches!(seen, Evidence::Packets(counters) if proof(counters)))
}

/// True if a share of the matched packets was chosen beyond doubt: `chosen` were counted, or, where the engine
/// counts none, so many were matched that hardly none can have been.
pub fn some_chosen(counters: &Counters, chosen: Option<u64>, share: f64) -> bool {
    match chosen {
        Some(chosen) => chosen > 0,
        None => share > 0.0 && (1.0 - share).powf(counters.matched_packets as f64) < UNLIKELY,
    }
}
