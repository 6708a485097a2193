//! `pause`: every process of the container is frozen.

use super::step::Op;
use super::{Cast, Change, FaultKind};
use crate::agent::task::Task;
use crate::agent::task::freeze::Freeze;
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;

record! {
    /// Freezes every process of the target through its cgroup: connections stay open, nothing answers. With
    /// `processes` only those are stopped, by signal, and the rest goes on.
    pub struct Pause ("pause") {
        /// The target.
        pub on: Located<String>,
        /// Only processes with one of these names, as `ps -o comm` shows them or as their command line begins.
        /// Not the container's first process: the kernel shields it.
        pub processes: Vec<String>,
    }
}

impl FaultKind for Pause {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        if self.processes.is_empty() {
            return cast.same(&self.on, &Op::Pause, Some(&Op::Unpause));
        }
        cast.inside(&self.on, |_| Task::Freeze(Freeze { names: self.processes.clone() }))
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(if self.processes.is_empty() { Engine::Docker } else { Engine::Agent })
    }

    fn summary(&self) -> String {
        match &self.processes[..] {
            [] => format!("{} is frozen", self.on.value),
            names => format!("processes {} of {} are frozen", names.join(", "), self.on.value),
        }
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        evidence.iter().any(|seen| match seen {
            Evidence::State(state) => state.status == "paused",
            Evidence::Packets(counters) => counters.counted.get("stopped_processes").is_some_and(|n| *n > 0),
            _ => false,
        })
    }
}
