//! `blackhole`: packets of a container to or from a peer or port vanish.

use super::packets::{Filter, counted};
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{Effect, Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;

record! {
    /// Packets vanish without a word: connections hang until somebody's patience ends. On every interface, IPv4
    /// and IPv6, but never on loopback.
    pub struct Blackhole ("blackhole") {
        /// The target whose packets vanish.
        pub on: Located<String>,
        ..pub filter: Filter,
    }
}

impl FaultKind for Blackhole {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn peers(&self) -> Vec<&Located<String>> {
        self.filter.entries()
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        self.filter.changes(cast, &self.on, |_| Effect::Drop)
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        kernel.nft.then_some(Engine::Nft)
    }

    fn summary(&self) -> String {
        format!("packets {} {} vanish", self.filter.way(), self.on.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        counted(evidence, |counters| counters.matched_packets > 0)
    }
}
