//! `flaky`: another fault of packets, on and off in turns.

use std::collections::BTreeMap;

use super::step::Op;
use super::{Cast, Change, Fault, FaultKind, Misfit, Proof};
use crate::agent::wire::{Effect, Engine, Kernel, Turns};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::Mistakes;
use crate::units::Duration;

/// The shortest turn. A switch takes a millisecond, and shorter turns would be made of switching.
const SHORTEST: Duration = Duration::from_ms(10);

record! {
    /// Puts another fault of packets on and off in turns, beginning with on, as a loose cable would. The agent
    /// switches by itself. All containers of the fault follow the same pattern.
    pub struct Flaky ("flaky") {
        /// How long it is on.
        pub on_for: Located<Duration>,
        /// How long it is off.
        pub off_for: Located<Duration>,
        /// How much each turn's length varies, evenly, to either side.
        pub jitter: Located<Duration> = Located { value: Duration::ZERO, span: crate::error::Span::default() },
        /// The fault, one of packets: `fault: { loss: { on: one-api, share: 30% } }`.
        pub fault: Located<Box<Fault>>,
    }
}

impl Flaky {
    fn kind(&self) -> &dyn FaultKind {
        self.fault.value.kind()
    }

    /// True if every step of the fault is about packets, so that an agent can switch it.
    fn is_of_packets(&self) -> bool {
        let one = |aim: &Located<String>| (aim.value.clone(), vec!["one".to_owned()]);
        let targets: BTreeMap<_, _> = self.kind().aims().into_iter().map(one).collect();
        let cast = Cast { targets: &targets, services: &BTreeMap::new(), seed: 0 };
        let changes = self.kind().changes(&cast);
        let steady = |effect: &Effect| !matches!(effect, Effect::Flaky(..));
        !changes.is_empty()
            && changes.iter().all(|change| matches!(&change.apply, Op::Impair(_, effect) if steady(effect)))
    }
}

impl FaultKind for Flaky {
    fn aims(&self) -> Vec<&Located<String>> {
        self.kind().aims()
    }

    fn peers(&self) -> Vec<&Located<String>> {
        self.kind().peers()
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let turns = Turns {
            on_ns: self.on_for.as_ns(),
            off_ns: self.off_for.as_ns(),
            jitter_ns: self.jitter.as_ns(),
            seed: cast.seed,
        };
        let mut changes = self.kind().changes(cast);
        for change in &mut changes {
            if let Op::Impair(_, effect) = &mut change.apply {
                let steady = std::mem::replace(effect, Effect::Drop);
                *effect = Effect::Flaky(Box::new(turns.clone()), Box::new(steady));
            }
        }
        changes
    }

    fn misfit(&self, cast: &Cast<'_>) -> Option<Misfit> {
        self.kind().misfit(cast)
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        self.kind().engine(kernel)
    }

    fn summary(&self) -> String {
        format!("{}: {} on and {} off in turns", self.kind().summary(), self.on_for.value, self.off_for.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        self.kind().proven(evidence)
    }

    fn proof(&self) -> Proof {
        self.kind().proof()
    }

    fn check(&self, mistakes: &mut Mistakes) {
        for (name, turn) in [("on_for", &self.on_for), ("off_for", &self.off_for)] {
            if turn.value < SHORTEST {
                let message = format!("`{name}` must be at least {SHORTEST}, got `{}`", turn.value);
                mistakes.add(turn.span, message, "write a duration such as `2s`");
            }
        }
        let shortest = self.on_for.value.min(self.off_for.value);
        if self.jitter.value > shortest {
            let message = format!("`jitter` ({}) is longer than a turn ({shortest})", self.jitter.value);
            mistakes.add(self.jitter.span, message, "a turn can't be shorter than nothing: write less");
        }
        self.kind().check(mistakes);
        if !self.is_of_packets() {
            mistakes.add(
                self.fault.span,
                format!("`flaky` takes a fault of packets, not `{}`", self.fault.value.word()),
                "such as `latency`, `loss` or `partition`; other faults end with their phase",
            );
        }
    }
}
