//! `kill`: the container's first process gets a signal, or others by name, once or again and again.

use super::signal;
use super::step::{AfterBeat, Beat, Op};
use super::{Cast, Change, FaultKind, counted, replaced};
use crate::agent::task::Task;
use crate::agent::task::signal::Signal;
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::Mistakes;
use crate::units::Duration;

record! {
    /// Sends a signal to the first process of the target, through Docker's API. Docker takes that for a
    /// stop by hand, so its restart policy does not bring the container back: ask for `restart: true`. With
    /// `processes` only those get it, from inside.
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
        /// Only processes with one of these names, as `ps -o comm` shows them or as their command line begins;
        /// with `every` also those that came meanwhile. The container's first process can be one of them only if it
        /// handles the signal: the kernel shields it from all others that come from inside.
        pub processes: Vec<String>,
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

impl Kill {
    /// Signals to processes by name, from inside.
    fn changes_inside(&self, cast: &Cast<'_>) -> Vec<Change> {
        let task = Task::Signal(Signal {
            names: self.processes.clone(),
            signal: signal::number(&self.signal).unwrap_or_default(),
            every: self.every.as_ref().map(|every| every.value),
        });
        // A signal that was sent can't be taken back, unless it is the one that stops; what goes on can be ended.
        let lasts = self.every.is_some() || self.signal.value == "SIGSTOP";
        let undo = lasts.then(|| Op::Restore(task.clone()));
        cast.same(&self.on, &Op::Inside(task), undo.as_ref())
    }
}

impl FaultKind for Kill {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        if !self.processes.is_empty() {
            return self.changes_inside(cast);
        }
        let signal = self.signal.value.clone();
        let apply = match &self.every {
            None => Op::Kill(signal),
            Some(every) => Op::Beat(Beat {
                signal,
                every: every.value,
                then: if self.restart { AfterBeat::Start } else { AfterBeat::Leave },
            }),
        };
        cast.same(&self.on, &apply, self.undo().as_ref())
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(if self.processes.is_empty() { Engine::Docker } else { Engine::Agent })
    }

    fn summary(&self) -> String {
        if !self.processes.is_empty() {
            let every = self.every.as_ref().map_or(String::new(), |every| format!(" every {}", every.value));
            let names = self.processes.join(", ");
            return format!("processes {names} of {} get {}{every}", self.on.value, self.signal.value);
        }
        let after = match (&self.every, self.restart) {
            (None, true) => ", started again after".to_owned(),
            (None, false) => ", not started again".to_owned(),
            (Some(every), true) => format!(" every {}, started again each time", every.value),
            (Some(every), false) => format!(" every {}", every.value),
        };
        format!("{} gets {}{after}", self.on.value, self.signal.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        if !self.processes.is_empty() {
            // SIGKILL ends a process, whatever it does.
            let proof = if self.signal.value == "SIGKILL" { "ended_processes" } else { "signals_sent" };
            return counted(evidence).iter().any(|counted| counted.get(proof).is_some_and(|n| *n > 0));
        }
        // A signal that need not end a process is proven by its delivery.
        let delivered = evidence.iter().any(|seen| matches!(seen, Evidence::Signalled(_)));
        delivered && self.signal.value != "SIGKILL" || replaced(evidence)
    }

    fn check(&self, mistakes: &mut Mistakes) {
        signal::check(&self.signal, mistakes);
        if self.restart && !self.processes.is_empty() {
            mistakes.add(
                self.signal.span,
                "`restart` starts the container again, which `processes` leaves running",
                "leave out one of them",
            );
        }
        if let Some(every) = self.every.as_ref().filter(|every| every.value < SHORTEST_BEAT) {
            mistakes.add(
                every.span,
                format!("`every` must be at least {SHORTEST_BEAT}, got `{}`", every.value),
                "write a duration such as `5s`",
            );
        }
    }
}
