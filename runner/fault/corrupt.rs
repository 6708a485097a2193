//! `corrupt`: one bit of some packets is turned over.

use super::packets::{Filter, check_chance, counted, some_chosen};
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{Chance, Effect, Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::Mistakes;
use crate::units::Ratio;

record! {
    /// Turns over one random bit in a share of the target's packets. Checksums find that, so their receiver drops
    /// them: TCP sends them again, datagrams are lost. What the receiver counts as damaged (`InCsumErrors` in
    /// /proc/net/snmp) tells it from `loss`.
    pub struct Corrupt ("corrupt") {
        /// The target whose packets are damaged.
        pub on: Located<String>,
        /// Which share of packets is damaged.
        pub share: Located<Ratio>,
        /// How much each packet's luck takes after the one before. The share stays as asked.
        pub correlation: Located<Ratio> = Located { value: Ratio::new(0.0), span: crate::error::Span::default() },
        ..pub filter: Filter,
    }
}

impl FaultKind for Corrupt {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn peers(&self) -> Vec<&Located<String>> {
        self.filter.entries()
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let (share, correlation) = (self.share.get(), self.correlation.get());
        self.filter.changes(cast, &self.on, |seed| Effect::Corrupt(Chance { share, correlation, seed }))
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        kernel.packet_engine()
    }

    fn summary(&self) -> String {
        format!("{} of packets {} {} are damaged", self.share.value, self.filter.way(), self.on.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        counted(evidence, |counters| some_chosen(counters, counters.corrupted_packets, self.share.get()))
    }

    fn check(&self, mistakes: &mut Mistakes) {
        check_chance(&self.share, &self.correlation, mistakes);
    }
}
