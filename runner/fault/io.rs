//! `io`: a device that the container uses is kept busy.

use super::{Cast, Change, FaultKind, counted};
use crate::agent::task::Task;
use crate::agent::task::churn::Churn;
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::amount::ByteRate;
use crate::spec::decode::Mistakes;

record! {
    /// Reads and writes on the file system that a folder of the target lies on, past its cache, over and over in a
    /// file of 64 MiB at most that has no name and is gone when the phase ends. By a process of ours that enters the target's
    /// cgroup, so that limits on its I/O hold for both together. The device is everybody's who uses it.
    pub struct Io ("io") {
        /// The target.
        pub on: Located<String>,
        /// A folder on the file system, as the target names it: `/data`. It must be writable.
        pub path: Located<String>,
        /// How fast to read, as `20MiB/s`.
        pub read: Option<Located<ByteRate>>,
        /// How fast to write, as `20MiB/s`.
        pub write: Option<Located<ByteRate>>,
    }
}

impl FaultKind for Io {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let churn = Task::Churn(Churn {
            path: self.path.value.clone(),
            read: self.read.as_ref().map(|rate| rate.value),
            write: self.write.as_ref().map(|rate| rate.value),
        });
        cast.inside(&self.on, |_| churn.clone())
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(Engine::Cgroup)
    }

    fn summary(&self) -> String {
        let read = self.read.as_ref().map(|rate| format!("read at {}", rate.value));
        let write = self.write.as_ref().map(|rate| format!("written at {}", rate.value));
        let both: Vec<String> = read.into_iter().chain(write).collect();
        format!("the file system of {} in {} is {}", self.path.value, self.on.value, both.join(" and "))
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        counted(evidence).iter().any(|counted| {
            let some = |name: &str| counted.get(name).is_some_and(|count| *count > 0);
            (self.read.is_none() || some("read_bytes")) && (self.write.is_none() || some("written_bytes"))
        })
    }

    fn check(&self, mistakes: &mut Mistakes) {
        if self.read.is_none() && self.write.is_none() {
            mistakes.add(
                self.on.span,
                "`io` needs `read` or `write`",
                "write `write: 20MiB/s`, or `read: 20MiB/s`",
            );
        }
        if !self.path.starts_with('/') {
            mistakes.add(
                self.path.span,
                format!("`path` must be absolute, got `{}`", self.path.value),
                "write it as the target names it, such as `/data`",
            );
        }
    }
}
