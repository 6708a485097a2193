//! `reorder`: some packets overtake others.

use super::packets::{Filter, check_chance, counted, some_chosen};
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{self, Chance, Delay, Distribution, Effect, Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::Mistakes;
use crate::units::{Duration, Ratio};

record! {
    /// Lets a share of the target's packets go at once while the others are held for `delay`, so that they overtake
    /// those sent up to `delay` before them.
    pub struct Reorder ("reorder") {
        /// The target whose packets are put out of order.
        pub on: Located<String>,
        /// Which share of packets goes at once.
        pub share: Located<Ratio>,
        /// How much each packet's luck takes after the one before. The share stays as asked.
        pub correlation: Located<Ratio> = Located { value: Ratio::new(0.0), span: crate::error::Span::default() },
        /// How long the others are held.
        pub delay: Located<Duration>,
        /// How much that varies (a normal distribution's deviation).
        pub jitter: Duration = Duration::ZERO,
        /// So many packets make a group of which only the last may go at once: with `gap: 5` and `share: 100%`
        /// every fifth packet does.
        pub gap: Located<u32> = Located { value: 1, span: crate::error::Span::default() },
        ..pub filter: Filter,
    }
}

impl FaultKind for Reorder {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn peers(&self) -> Vec<&Located<String>> {
        self.filter.entries()
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        self.filter.changes(cast, &self.on, |seed| {
            Effect::Reorder(Box::new(wire::Reorder {
                chance: Chance { share: self.share.get(), correlation: self.correlation.get(), seed },
                gap: self.gap.value,
                delay: Delay {
                    delay_ns: self.delay.as_ns(),
                    jitter_ns: self.jitter.as_ns(),
                    distribution: Distribution::Normal,
                    correlation: 0.0,
                    // Numbers of its own, or those that go at once would be those held longest.
                    seed: seed.wrapping_add(1),
                },
            }))
        })
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        kernel.packet_engine()
    }

    fn summary(&self) -> String {
        format!(
            "{} of packets {} {} go at once, the others are held {}",
            self.share.value,
            self.filter.way(),
            self.on.value,
            self.delay.value
        )
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        let share = self.share.get() / f64::from(self.gap.value);
        counted(evidence, |counters| some_chosen(counters, counters.reordered_packets, share))
    }

    fn check(&self, mistakes: &mut Mistakes) {
        check_chance(&self.share, &self.correlation, mistakes);
        if self.delay.is_zero() {
            mistakes.add(
                self.delay.span,
                "`delay` must be positive, got `0s`",
                "nothing can be overtaken that is not held: write a duration such as `20ms`",
            );
        }
        if self.gap.value == 0 {
            mistakes.add(
                self.gap.span,
                "`gap` must be at least 1",
                "leave it out: every packet may overtake then",
            );
        }
    }
}
