//! `processes`: what the container may have of processes and threads is used up, or is less.

use super::step::{Limit, Op};
use super::{Cast, Change, FaultKind, cgroups, counted};
use crate::agent::task::Task;
use crate::agent::task::crowd::Crowd;
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::amount::Room;
use crate::spec::decode::Mistakes;

record! {
    /// Leaves the target no room for new processes and threads, one way or the other. With `fill` a process of ours
    /// enters its cgroup and starts threads that do nothing; `limit` lowers how many it may have through Docker's
    /// API. Those it has live on; beyond the limit no new one can be made. The former limit is written back when the
    /// phase ends.
    pub struct Processes ("processes") {
        /// The target.
        pub on: Located<String>,
        /// How many threads to start: a number, or `all` that its limit leaves room for.
        pub fill: Option<Located<Room>>,
        /// The most processes and threads, all together. May be lower than what it has.
        pub limit: Option<Located<u32>>,
    }
}

impl FaultKind for Processes {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let (apply, undo) = match (&self.fill, &self.limit) {
            (None, Some(limit)) => (Op::Limit(Limit::Processes(limit.value)), Op::Unlimit(None)),
            (fill, _) => {
                let crowd = Task::Crowd(Crowd { count: fill.as_ref().and_then(|room| room.count()) });
                (Op::Inside(crowd.clone()), Op::Restore(crowd))
            }
        };
        cast.same(&self.on, &apply, Some(&undo))
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(if self.fill.is_some() { Engine::Cgroup } else { Engine::Docker })
    }

    fn summary(&self) -> String {
        let on = &self.on.value;
        match (&self.fill, &self.limit) {
            (None, Some(limit)) => format!("{on} has at most {} processes and threads", limit.value),
            (Some(fill), _) if fill.count().is_some() => format!("{} more threads run in {on}", fill.value),
            _ => format!("{on} has as many threads as it may have"),
        }
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        match &self.limit {
            Some(limit) => {
                let limit = Some(u64::from(limit.value));
                let seen = cgroups(evidence);
                seen.len() > 1 && seen[1..].iter().any(|after| after.pids_limit == limit)
            }
            // They must be on the target's account, as many as were asked for or as there was room for.
            None => counted(evidence).iter().any(|counted| {
                let of = |name: &str| counted.get(name).copied().unwrap_or_default();
                let started = of("started_threads");
                let asked = self.fill.as_ref().and_then(|room| room.count()).map_or(u64::MAX, u64::from);
                let full = of("target_pids_limit") > 0 && of("target_pids") >= of("target_pids_limit");
                started > 0 && of("target_pids") >= started && (started >= asked || full)
            }),
        }
    }

    fn check(&self, mistakes: &mut Mistakes) {
        if self.fill.is_some() == self.limit.is_some() {
            mistakes.add(
                self.on.span,
                "`processes` takes exactly one of `fill` and `limit`",
                "write `fill: all` to use up what it may have, or `limit: 20` to lower that",
            );
        }
        if let Some(limit) = self.limit.as_ref().filter(|limit| limit.value == 0) {
            mistakes.add(
                limit.span,
                "`limit` must be positive, got `0`",
                "write `1`: then no new process can be made",
            );
        }
    }
}
