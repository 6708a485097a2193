//! `restart`: the container is stopped and started again at once.

use super::step::Op;
use super::{Cast, Change, FaultKind, replaced};
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::units::Duration;

record! {
    /// Restarts the target: its first process gets the container's stop signal, and SIGKILL if it still runs
    /// after `grace`; then the container is started again, while the phase goes on.
    pub struct Restart ("restart") {
        /// The target.
        pub on: Located<String>,
        /// How long it may take to end by itself; 0: it is killed at once.
        pub grace: Duration = Duration::from_s(10),
    }
}

impl FaultKind for Restart {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        // Whoever dies halfway leaves a container that is down.
        cast.same(&self.on, &Op::Restart(self.grace), Some(&Op::Renew(None)))
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(Engine::Docker)
    }

    fn summary(&self) -> String {
        format!("{} is restarted with a grace of {}", self.on.value, self.grace)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        replaced(evidence)
    }
}
