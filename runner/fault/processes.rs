//! `processes`: the container may have fewer processes and threads.

use super::step::{Limit, Op};
use super::{Cast, Change, FaultKind, cgroups};
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::Mistakes;

record! {
    /// Lowers how many processes and threads the target may have, through Docker's API. Those it has live on;
    /// beyond the limit no new one can be made. The former limit is written back when the phase ends.
    pub struct Processes ("processes") {
        /// The target.
        pub on: Located<String>,
        /// The most processes and threads, all together. May be lower than what it has.
        pub limit: Located<u32>,
    }
}

impl FaultKind for Processes {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let change = |container: &String| Change {
            container: container.clone(),
            apply: Op::Limit(Limit::Processes(self.limit.value)),
            undo: Some(Op::Unlimit(None)),
        };
        cast.containers(&self.on).iter().map(change).collect()
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(Engine::Docker)
    }

    fn summary(&self) -> String {
        format!("{} has at most {} processes and threads", self.on.value, self.limit.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        let limit = Some(u64::from(self.limit.value));
        let seen = cgroups(evidence);
        seen.len() > 1 && seen[1..].iter().any(|after| after.pids_limit == limit)
    }

    fn check(&self, mistakes: &mut Mistakes) {
        if self.limit.value == 0 {
            mistakes.add(
                self.limit.span,
                "`limit` must be positive, got `0`",
                "write `1`: then no new process can be made",
            );
        }
    }
}
