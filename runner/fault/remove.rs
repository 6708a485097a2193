//! `remove`: the container is gone for good.

use super::step::Op;
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::Mistakes;

record! {
    /// Kills and removes the target, as `docker rm --force` does; its named volumes stay. Nothing brings it
    /// back: what it wrote into itself is lost. For systems that replace what they lose.
    pub struct Remove ("remove") {
        /// The target.
        pub on: Located<String>,
        /// Must be `true`: this fault is never undone.
        pub irreversible: Located<bool>,
    }
}

impl FaultKind for Remove {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        cast.same(&self.on, &Op::Remove, None)
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(Engine::Docker)
    }

    fn summary(&self) -> String {
        format!("{} is removed for good", self.on.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        evidence.iter().any(|seen| matches!(seen, Evidence::State(state) if state.status == "removed"))
    }

    fn check(&self, mistakes: &mut Mistakes) {
        if !self.irreversible.value {
            mistakes.add(
                self.irreversible.span,
                "`remove` can't be taken back",
                "write `irreversible: true`, or use `stop`, which starts the container again",
            );
        }
    }
}
