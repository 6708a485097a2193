//! `kill`: the container's first process gets a signal, once or again and again.

use super::signal;
use super::step::{AfterBeat, Beat, Op};
use super::{Cast, Change, FaultKind, replaced};
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::Mistakes;
use crate::units::Duration;

record! {
    /// Sends a signal to the first process of the target, through Docker's API. Docker takes that for a
    /// stop by hand, so its restart policy does not bring the container back: ask for `restart: true`.
    pub struct Kill ("kill") {
        /// The target.
        pub on: Located<String>,
        /// The signal's name.
        pub signal: Located<String> = Located { value: "SIGKILL".into(), span: crate::error::Span::default() },
        /// Start the container again when the phase ends; with `every`, as soon as the signal ended it.
        /// Without it a signal that ends the container is irreversible.
        pub restart: bool = false,
        /// Send the signal again whenever this much time has passed, 100ms or more, for as long as the phase
        /// lasts: a crash loop with `restart: true`. A container that does not run when the time has come is
        /// passed over.
        pub every: Option<Located<Duration>>,
    }
}

/// More often than this, and a container that is started again has no time to run.
const SHORTEST_BEAT: Duration = Duration::from_ms(100);

impl Kill {
    fn undo(&self) -> Option<Op> {
        match self.signal.value.as_str() {
            // A stopped process runs on by a signal, not by a start.
            "SIGSTOP" => Some(Op::Kill("SIGCONT".into())),
            // One that was asked to end may do so long after the phase: it is replaced if it has not.
            name if signal::asks_to_end(name) => self.restart.then_some(Op::Renew(None)),
            _ => self.restart.then_some(Op::Start),
        }
    }
}

impl FaultKind for Kill {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let signal = self.signal.value.clone();
        let apply = match &self.every {
            None => Op::Kill(signal),
            Some(every) => Op::Beat(Beat {
                signal,
                every: every.value,
                then: if self.restart { AfterBeat::Start } else { AfterBeat::Leave },
            }),
        };
        let change = |container: &String| Change {
            container: container.clone(),
            apply: apply.clone(),
            undo: self.undo(),
        };
        cast.containers(&self.on).iter().map(change).collect()
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(Engine::Docker)
    }

    fn summary(&self) -> String {
        let after = match (&self.every, self.restart) {
            (None, true) => ", started again after".to_owned(),
            (None, false) => ", not started again".to_owned(),
            (Some(every), true) => format!(" every {}, started again each time", every.value),
            (Some(every), false) => format!(" every {}", every.value),
        };
        format!("{} gets {}{after}", self.on.value, self.signal.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        // A signal that need not end a process is proven by its delivery.
        let delivered = evidence.iter().any(|seen| matches!(seen, Evidence::Signalled(_)));
        delivered && self.signal.value != "SIGKILL" || replaced(evidence)
    }

    fn check(&self, mistakes: &mut Mistakes) {
        signal::check(&self.signal, mistakes);
        if let Some(every) = self.every.as_ref().filter(|every| every.value < SHORTEST_BEAT) {
            mistakes.add(
                every.span,
                format!("`every` must be at least {SHORTEST_BEAT}, got `{}`", every.value),
                "write a duration such as `5s`",
            );
        }
    }
}
