//! `reset`: packets of a container to or from a peer or port are refused.

use super::packets::{Filter, counted};
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{Effect, Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;

record! {
    /// Packets are refused: TCP is answered with a reset, so that connections break and new ones fail at once;
    /// everything else with ICMP port unreachable. On every interface, IPv4
    /// and IPv6, but never on loopback.
    pub struct Reset ("reset") {
        /// The target whose packets are refused.
        pub on: Located<String>,
        ..pub filter: Filter,
    }
}

impl FaultKind for Reset {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn peers(&self) -> Vec<&Located<String>> {
        self.filter.entries()
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        self.filter.changes(cast, &self.on, |_| Effect::Reset)
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        kernel.nft.then_some(Engine::Nft)
    }

    fn summary(&self) -> String {
        format!("packets {} {} are refused", self.filter.way(), self.on.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        counted(evidence, |counters| counters.matched_packets > 0)
    }
}
