//! `stop`: the container is stopped as `docker stop` does it.

use super::step::Op;
use super::{Cast, Change, FaultKind, replaced};
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::units::Duration;

record! {
    /// Stops the target: its first process gets the container's stop signal (SIGTERM unless its image says
    /// otherwise), and SIGKILL if it still runs after `grace`. Started again when the phase ends.
    pub struct Stop ("stop") {
        /// The target.
        pub on: Located<String>,
        /// How long it may take to end by itself; 0: it is killed at once.
        pub grace: Duration = Duration::from_s(10),
    }
}

impl FaultKind for Stop {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        // It may still be ending when the phase is over.
        cast.same(&self.on, &Op::Stop(self.grace), Some(&Op::Renew(None)))
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(Engine::Docker)
    }

    fn summary(&self) -> String {
        format!("{} is stopped with a grace of {}", self.on.value, self.grace)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        replaced(evidence)
    }
}
