//! `exec`: a fault of the user's own, as two commands.

use super::step::{Exec as Command, Op, Where};
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::Mistakes;
use crate::units::Duration;

record! {
    /// Runs a command of your own in each of the target's containers when the phase begins, and another that
    /// takes it back when it ends. Each is a list: the program and its arguments, which no shell reads. The
    /// first must end, and with exit code 0: what is to last is started by it. The second may be run more than
    /// once, and by `chaos recover` after a crash: it must not mind that there is nothing to take back. How
    /// each ended and the beginning of what it wrote are in the journal.
    pub struct Exec ("exec") {
        /// The target.
        pub on: Located<String>,
        /// What is run, as `[touch, /tmp/maintenance]`.
        pub run: Located<Vec<String>>,
        /// What takes it back, as `[rm, -f, /tmp/maintenance]`. Needed unless `irreversible: true`.
        pub undo: Located<Vec<String>>,
        /// There is nothing that takes it back.
        pub irreversible: bool = false,
        /// Where the commands run: inside the container; or on this machine, once for each container, with its
        /// name in `CHAOS_CONTAINER` and its id in `CHAOS_CONTAINER_ID`, which `chaos run` does only with `--allow-host-exec`.
        pub place: Where = Where::Container,
        /// In a container: the user that the commands run as; left out: the container's own.
        pub user: Option<String>,
        /// How long each may take. On this machine it is killed then; a command in a container can't be.
        pub timeout: Located<Duration> = Located { value: Duration::from_s(10), span: crate::error::Span::default() },
    }
}

impl FaultKind for Exec {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let op = |command: &[String]| {
            Op::Exec(Command {
                place: self.place,
                command: command.to_vec(),
                user: self.user.clone(),
                timeout: self.timeout.value,
            })
        };
        let undo = (!self.undo.is_empty()).then(|| op(&self.undo));
        cast.same(&self.on, &op(&self.run), undo.as_ref())
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(match self.place {
            Where::Container => Engine::Docker,
            Where::Host => Engine::Host,
        })
    }

    fn summary(&self) -> String {
        let program = self.run.first().map_or("", String::as_str);
        match self.place {
            Where::Container => format!("{program:?} is run inside {}", self.on.value),
            Where::Host => format!("{program:?} is run on this machine for {}", self.on.value),
        }
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        // What it changed only its author knows; that it ended well is what it says itself.
        evidence.iter().any(|seen| matches!(seen, Evidence::Ran(ran) if ran.exit_code == Some(0)))
    }

    fn check(&self, mistakes: &mut Mistakes) {
        let empty = |command: &[String]| command.first().is_none_or(String::is_empty);
        if empty(&self.run) {
            mistakes.add(self.run.span, "`run` names no program", "write `[PROGRAM, ARGUMENT, …]`");
        }
        if self.undo.is_empty() && !self.irreversible {
            mistakes.add(
                if self.undo.span == crate::error::Span::default() { self.run.span } else { self.undo.span },
                "nothing takes this command back",
                "write `undo: [PROGRAM, …]`, or `irreversible: true` if nothing can",
            );
        } else if !self.undo.is_empty() && empty(&self.undo) {
            mistakes.add(self.undo.span, "`undo` names no program", "write `[PROGRAM, ARGUMENT, …]`");
        }
        if !self.undo.is_empty() && self.irreversible {
            mistakes.add(self.undo.span, "`undo` contradicts `irreversible: true`", "leave out one of them");
        }
        let nul = self.run.iter().chain(self.undo.iter()).any(|word| word.contains('\0'));
        if nul {
            mistakes.add(
                self.run.span,
                "an argument has a zero byte in it",
                "leave it out: no program can take it",
            );
        }
        if self.timeout.is_zero() {
            mistakes.add(
                self.timeout.span,
                "`timeout` must be positive, got `0s`",
                "write a duration such as `10s`",
            );
        }
        if let (Some(user), Where::Host) = (&self.user, self.place) {
            mistakes.add(
                self.run.span,
                format!("`user: {user}` is of commands in a container"),
                "leave it out: on this machine commands run as the user who runs `chaos`",
            );
        }
    }
}
