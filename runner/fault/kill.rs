//! `kill`: the container's first process gets a signal.

use super::step::Op;
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::{Mistakes, list_of, nearest};

/// The signals that Docker takes by name.
const SIGNALS: [&str; 12] = [
    "SIGKILL", "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGABRT", "SIGUSR1", "SIGUSR2", "SIGSTOP",
    "SIGCONT", "SIGSEGV", "SIGPIPE",
];

record! {
    /// Sends a signal to the first process of the target, through Docker's API. Docker takes that for a
    /// stop by hand, so its restart policy does not bring the container back: ask for `restart: true`.
    pub struct Kill ("kill") {
        /// The target.
        pub on: Located<String>,
        /// The signal's name.
        pub signal: Located<String> = Located { value: "SIGKILL".into(), span: crate::error::Span::default() },
        /// Start the container again when the phase ends. Without it the kill is irreversible.
        pub restart: bool = false,
    }
}

impl FaultKind for Kill {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        cast.containers(&self.on)
            .iter()
            .map(|container| Change {
                container: container.clone(),
                apply: Op::Kill(self.signal.value.clone()),
                undo: match self.signal.value.as_str() {
                    // A stopped process runs on by a signal, not by a start.
                    "SIGSTOP" => Some(Op::Kill("SIGCONT".into())),
                    _ => self.restart.then_some(Op::Start),
                },
            })
            .collect()
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(Engine::Docker)
    }

    fn summary(&self) -> String {
        let after = if self.restart { ", started again after" } else { ", not started again" };
        format!("{} gets {}{after}", self.on.value, self.signal.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        // A signal that need not end a process is proven by its delivery.
        let delivered = evidence.iter().any(|seen| matches!(seen, Evidence::Signalled(_)));
        if delivered && self.signal.value != "SIGKILL" {
            return true;
        }
        // The states before and after: gone, or another process, or restarted meanwhile.
        let states: Vec<_> = evidence
            .iter()
            .filter_map(|seen| match seen {
                Evidence::State(state) => Some(state),
                Evidence::Packets(_) | Evidence::Signalled(_) => None,
            })
            .collect();
        match states.as_slice() {
            [before, .., after] => {
                before.pid.is_some() && (before.pid != after.pid || before.started_at != after.started_at)
            }
            _ => false,
        }
    }

    fn check(&self, mistakes: &mut Mistakes) {
        if !SIGNALS.contains(&self.signal.as_str()) {
            // A number is no misspelt name.
            let named = self.signal.parse::<u8>().is_err();
            let upper = self.signal.to_uppercase();
            let full = format!("SIG{}", upper.trim_start_matches("SIG"));
            let hint = nearest(&full, &SIGNALS).filter(|_| named).map_or_else(
                || format!("one of {}", list_of(&SIGNALS)),
                |near| format!("did you mean `{near}`?"),
            );
            mistakes.add(self.signal.span, format!("unknown signal: `{}`", self.signal.value), hint);
        }
    }
}
