//! `io`: a device that the container uses is kept busy, or it gets less of it.

use super::{Cast, Change, FaultKind, counted};
use crate::agent::task::Task;
use crate::agent::task::churn::Churn;
use crate::agent::task::throttle::Throttle;
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::amount::ByteRate;
use crate::spec::decode::Mistakes;

record! {
    /// Reads and writes on the file system that a folder of the target lies on, past its cache, over and over in a
    /// file of 64 MiB at most that has no name and is gone when the phase ends. By a process of ours that enters the target's
    /// cgroup, so that limits on its I/O hold for both together. The device is everybody's who uses it. With `limit_read`
    /// and `limit_write` the target itself gets less of the disk: the kernel's limits of its cgroup are lowered, and
    /// written back when the phase ends. With cgroup version 1 they hold for what is read from the disk and for what is
    /// written past the cache or synced; what the kernel writes back later is on nobody's account.
    pub struct Io ("io") {
        /// The target.
        pub on: Located<String>,
        /// A folder on the file system, as the target names it: `/data`. For `read` and `write` it must be writable.
        pub path: Located<String>,
        /// How fast to read, as `20MiB/s`.
        pub read: Option<Located<ByteRate>>,
        /// How fast to write, as `20MiB/s`.
        pub write: Option<Located<ByteRate>>,
        /// The most that the target may read from the disk under that folder, as `1MiB/s`.
        pub limit_read: Option<Located<ByteRate>>,
        /// The most that it may write to that disk, as `1MiB/s`.
        pub limit_write: Option<Located<ByteRate>>,
    }
}

impl Io {
    const fn throttles(&self) -> bool {
        self.limit_read.is_some() || self.limit_write.is_some()
    }
}

impl FaultKind for Io {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let value = |rate: &Option<Located<ByteRate>>| rate.as_ref().map(|rate| rate.value);
        if self.throttles() {
            let throttle = Task::Throttle(Throttle {
                path: self.path.value.clone(),
                read: value(&self.limit_read),
                write: value(&self.limit_write),
                former: None,
            });
            return cast.inside(&self.on, |_| throttle.clone());
        }
        let churn = Task::Churn(Churn {
            path: self.path.value.clone(),
            read: value(&self.read),
            write: value(&self.write),
        });
        cast.inside(&self.on, |_| churn.clone())
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(if self.throttles() { Engine::Agent } else { Engine::Cgroup })
    }

    fn summary(&self) -> String {
        if self.throttles() {
            let read = self.limit_read.as_ref().map(|rate| format!("read {}", rate.value));
            let write = self.limit_write.as_ref().map(|rate| format!("write {}", rate.value));
            let both: Vec<String> = read.into_iter().chain(write).collect();
            let what = both.join(" and ");
            return format!("{} may {what} at most on the disk of {}", self.on.value, self.path.value);
        }
        let read = self.read.as_ref().map(|rate| format!("read at {}", rate.value));
        let write = self.write.as_ref().map(|rate| format!("written at {}", rate.value));
        let both: Vec<String> = read.into_iter().chain(write).collect();
        format!("the file system of {} in {} is {}", self.path.value, self.on.value, both.join(" and "))
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        counted(evidence).iter().any(|counted| {
            let some = |name: &str| counted.get(name).is_some_and(|count| *count > 0);
            if self.throttles() {
                // A limit on nothing changes nothing.
                return some("in_force") && some("target_io_bytes");
            }
            (self.read.is_none() || some("read_bytes")) && (self.write.is_none() || some("written_bytes"))
        })
    }

    fn check(&self, mistakes: &mut Mistakes) {
        let presses = self.read.is_some() || self.write.is_some();
        if presses == self.throttles() {
            mistakes.add(
                self.on.span,
                "`io` takes either `read` and `write`, or `limit_read` and `limit_write`",
                "write `write: 20MiB/s` to keep the device busy, or `limit_write: 1MiB/s` for the target to have less of it",
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
