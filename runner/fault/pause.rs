//! `pause`: every process of the container is frozen.

use super::step::Op;
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;

record! {
    /// Freezes every process of the target through its cgroup: connections stay open, nothing answers.
    pub struct Pause ("pause") {
        /// The target.
        pub on: Located<String>,
    }
}

impl FaultKind for Pause {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        cast.containers(&self.on)
            .iter()
            .map(|container| Change {
                container: container.clone(),
                apply: Op::Pause,
                undo: Some(Op::Unpause),
            })
            .collect()
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(Engine::Docker)
    }

    fn summary(&self) -> String {
        format!("{} is frozen", self.on.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        evidence.iter().any(|seen| matches!(seen, Evidence::State(state) if state.status == "paused"))
    }
}
