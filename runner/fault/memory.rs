//! `memory`: the container gets less memory than it has.

use super::step::{BelowUse, Limit, Op};
use super::{Cast, Change, FaultKind, cgroups};
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::amount::MemoryAmount;
use crate::spec::decode::Mistakes;

record! {
    /// Takes memory away from the target, by lowering its limit through Docker's API. Refused if the target
    /// uses more than that already. The former limit is written back when the phase ends, and a container
    /// that the kernel killed meanwhile for lack of memory is started again.
    pub struct Memory ("memory") {
        /// The target.
        pub on: Located<String>,
        /// Its memory limit from now on: a size (`64MiB`), or a share of the limit it has (`50%`). At least 6MiB,
        /// as Docker demands.
        pub limit: Located<MemoryAmount>,
        /// Lower the limit even below what is in use: the kernel takes back what it can, and then kills.
        pub below_use: bool = false,
    }
}

/// The least that Docker takes.
const LEAST_BYTES: u64 = 6 << 20;

impl FaultKind for Memory {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let below = if self.below_use { BelowUse::Allow } else { BelowUse::Refuse };
        let change = |container: &String| Change {
            container: container.clone(),
            apply: Op::Limit(Limit::Memory(self.limit.value, below)),
            undo: Some(Op::Unlimit(None)),
        };
        cast.containers(&self.on).iter().map(change).collect()
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(Engine::Docker)
    }

    fn summary(&self) -> String {
        match self.limit.value {
            MemoryAmount::Bytes(_) => format!("{} has {} of memory", self.on.value, self.limit.value),
            MemoryAmount::Share(share) => format!("{} has {share} of its memory", self.on.value),
        }
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        // Living with less is what is tried; that the kernel's limit is lower says that it did.
        let seen = cgroups(evidence);
        let lower = seen.first().is_some_and(|before| {
            seen[1..].iter().any(|after| after.memory_limit_bytes < before.memory_limit_bytes)
        });
        lower || evidence.iter().any(|seen| matches!(seen, Evidence::OutOfMemory))
    }

    fn check(&self, mistakes: &mut Mistakes) {
        let least = crate::spec::amount::size_text(LEAST_BYTES);
        let too_little = match self.limit.value {
            MemoryAmount::Bytes(bytes) => bytes < LEAST_BYTES,
            MemoryAmount::Share(share) => share.get() == 0.0,
        };
        if too_little {
            let message = format!("`limit` must be at least {least}, got `{}`", self.limit.value);
            mistakes.add(self.limit.span, message, "Docker takes no less");
        }
    }
}
