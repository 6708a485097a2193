//! `latency`: packets of a container are held before they go on.

use super::packets::{Filter, counted};
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{Delay, Distribution, Effect, Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::Mistakes;
use crate::units::{Duration, Ratio};

record! {
    /// Holds packets of the target for a while, on every interface, IPv4 and IPv6, but never on loopback.
    /// One exchange over an open connection takes `delay` longer; opening a connection pays it once more.
    pub struct Latency ("latency") {
        /// The target whose packets are held.
        pub on: Located<String>,
        /// How long a packet is held.
        pub delay: Located<Duration>,
        /// How much that varies. Packets then overtake each other, as on a real path.
        pub jitter: Duration = Duration::ZERO,
        /// The shape of the variation.
        pub distribution: Distribution = Distribution::Normal,
        /// How much each packet's delay takes after the one before it.
        pub correlation: Ratio = Ratio::new(0.0),
        ..pub filter: Filter,
    }
}

impl FaultKind for Latency {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn peers(&self) -> Vec<&Located<String>> {
        self.filter.entries()
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        self.filter.changes(cast, &self.on, |seed| {
            Effect::Delay(Delay {
                delay_ns: self.delay.as_ns(),
                jitter_ns: self.jitter.as_ns(),
                distribution: self.distribution,
                correlation: self.correlation.get(),
                seed,
            })
        })
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        kernel.packet_engine()
    }

    fn summary(&self) -> String {
        let way = self.filter.way();
        let jitter = if self.jitter.is_zero() { String::new() } else { format!(" ± {}", self.jitter) };
        format!("packets {way} {} are held {}{jitter}", self.on.value, self.delay.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        // Our own engine counts what it released late. netem only counts what passed through it, and a
        // packet that passed a queue which holds everything was held.
        counted(evidence, |counters| counters.delayed_packets.unwrap_or(counters.matched_packets) > 0)
    }

    fn check(&self, mistakes: &mut Mistakes) {
        if self.delay.is_zero() {
            mistakes.add(
                self.delay.span,
                "`delay` must be positive, got `0s`",
                "write a duration such as `200ms`, or remove the fault",
            );
        }
    }
}
