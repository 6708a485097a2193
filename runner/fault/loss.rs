//! `loss`: some packets vanish.

use super::packets::{Filter, check_correlation, counted};
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{self, Bursts, Effect, Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::Mistakes;
use crate::units::Ratio;

record! {
    /// Lets packets of the target vanish: a `share` of them at random, or those that `burst` chooses. TCP sends
    /// again what was lost, so that loss comes to delay for those above it; the first packet of a connection is
    /// only sent again after a second.
    pub struct Loss ("loss") {
        /// The target whose packets vanish.
        pub on: Located<String>,
        /// Which share of packets vanishes.
        pub share: Option<Located<Ratio>>,
        /// How much each packet's luck takes after the one before: losses then come in bunches. The share stays
        /// as asked.
        pub correlation: Located<Ratio> = Located { value: Ratio::new(0.0), span: crate::error::Span::default() },
        /// Losses in bursts, as radio and full queues make them, instead of a `share`.
        pub burst: Option<Located<Burst>>,
        ..pub filter: Filter,
    }
}

record! {
    /// The chain of Gilbert and Elliott, in the terms of netem's `gemodel`: the path is good or bad, and each
    /// packet may change that. It begins as good. In the long run p / (p + r) of packets meet a bad path, and a bad
    /// stretch is 1 / r packets long on average.
    pub struct Burst ("burst") {
        /// How likely a packet turns a good path bad.
        pub p: Located<Ratio>,
        /// How likely a packet turns a bad path good; 100% less `p` where it is left out, which makes losses random.
        pub r: Option<Located<Ratio>>,
        /// How likely a packet is lost on a bad path. Less than 100% is Gilbert's model.
        pub bad_loss ("1-h"): Ratio = Ratio::new(1.0),
        /// How likely a packet is lost on a good path. More than 0% is Elliott's model.
        pub good_loss ("1-k"): Ratio = Ratio::new(0.0),
    }
}

impl Burst {
    fn r(&self) -> f64 {
        self.r.as_ref().map_or(1.0 - self.p.get(), |r| r.get())
    }
}

impl FaultKind for Loss {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn peers(&self) -> Vec<&Located<String>> {
        self.filter.entries()
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        self.filter.changes(cast, &self.on, |seed| {
            Effect::Loss(match &self.burst {
                Some(burst) => wire::Loss::Bursts(Box::new(Bursts {
                    good_to_bad: burst.p.get(),
                    bad_to_good: burst.r(),
                    bad_loss: burst.bad_loss.get(),
                    good_loss: burst.good_loss.get(),
                    seed,
                })),
                None => wire::Loss::Random(wire::Chance {
                    share: self.share.as_ref().map_or(0.0, |share| share.get()),
                    correlation: self.correlation.get(),
                    seed,
                }),
            })
        })
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        kernel.packet_engine()
    }

    fn summary(&self) -> String {
        let (way, on) = (self.filter.way(), &self.on.value);
        match (&self.share, &self.burst) {
            (Some(share), _) => format!("{} of packets {way} {on} vanish", share.value),
            (None, Some(burst)) => {
                let lasting = 1.0 / burst.r();
                format!("packets {way} {on} vanish in bursts of {lasting:.1} on average")
            }
            (None, None) => format!("no packets {way} {on} vanish"),
        }
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        counted(evidence, |counters| counters.dropped_packets.is_some_and(|dropped| dropped > 0))
    }

    fn check(&self, mistakes: &mut Mistakes) {
        match (&self.share, &self.burst) {
            (Some(_), Some(burst)) => mistakes.add(
                burst.span,
                "`share` and `burst` are two ways to choose packets",
                "leave one of them out",
            ),
            (None, None) => mistakes.add(
                self.on.span,
                "`loss` does not say which packets vanish",
                "write `share: 10%`, or `burst: { p: 1%, r: 25% }`",
            ),
            (Some(share), None) if share.get() <= 0.0 => mistakes.add(
                share.span,
                "`share` must be positive, got `0%`",
                "write a share such as `10%`, or remove the fault",
            ),
            _ => {}
        }
        check_correlation(&self.correlation, mistakes);
        if let Some(burst) = &self.burst {
            if burst.p.get() <= 0.0 && burst.good_loss.get() <= 0.0 {
                let message = "with `p: 0%` the path never turns bad";
                mistakes.add(burst.p.span, message, "write a probability such as `1%`");
            }
            if self.correlation.get() > 0.0 {
                let message = "`correlation` has no say in bursts";
                mistakes.add(
                    self.correlation.span,
                    message,
                    "leave it out: `p` and `r` say how losses bunch",
                );
            }
        }
    }
}
