//! `duplicate`: some packets come twice.

use super::packets::{Filter, check_chance, counted, some_chosen};
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{Chance, Effect, Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::Mistakes;
use crate::units::Ratio;

record! {
    /// Sends a share of the target's packets twice, the copy at once after the packet. TCP throws the second away;
    /// what is built on UDP has to see to it itself. Packets too long for an interface, which are cut on their
    /// way, come once.
    pub struct Duplicate ("duplicate") {
        /// The target whose packets come twice.
        pub on: Located<String>,
        /// Which share of packets comes twice.
        pub share: Located<Ratio>,
        /// How much each packet's luck takes after the one before. The share stays as asked.
        pub correlation: Located<Ratio> = Located { value: Ratio::new(0.0), span: crate::error::Span::default() },
        ..pub filter: Filter,
    }
}

impl FaultKind for Duplicate {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn peers(&self) -> Vec<&Located<String>> {
        self.filter.entries()
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let (share, correlation) = (self.share.get(), self.correlation.get());
        self.filter.changes(cast, &self.on, |seed| Effect::Duplicate(Chance { share, correlation, seed }))
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        kernel.packet_engine()
    }

    fn summary(&self) -> String {
        format!("{} of packets {} {} come twice", self.share.value, self.filter.way(), self.on.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        counted(evidence, |counters| some_chosen(counters, counters.duplicated_packets, self.share.get()))
    }

    fn check(&self, mistakes: &mut Mistakes) {
        check_chance(&self.share, &self.correlation, mistakes);
    }
}
