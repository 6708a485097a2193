//! `disk`: a file system that the container writes to is filled.

use super::{Cast, Change, FaultKind, counted};
use crate::agent::task::Task;
use crate::agent::task::disk::Disk as Filled;
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::amount::DiskLevel;
use crate::spec::decode::Mistakes;
use crate::spec::flow::Size;
use crate::units::Ratio;

record! {
    /// Fills the file system that a folder of the target lies on, with a file that has no name and is gone when the
    /// phase ends, or when our process does. Mind what else lies there: a container's own root and Docker's volumes
    /// usually share the machine's disk with everything else; a `tmpfs` is the target's own, and counts as its memory.
    pub struct Disk ("disk") {
        /// The target.
        pub on: Located<String>,
        /// A folder on the file system, as the target names it: `/data`. It must be writable.
        pub path: Located<String>,
        /// How full it is to be, as `df` shows it: `90%`.
        pub fill: Option<Located<Ratio>>,
        /// How much is to be left free: `100MB`.
        pub leave: Option<Located<Size>>,
    }
}

impl Disk {
    /// How full; a fault that passed [`FaultKind::check`] says so.
    fn level(&self) -> DiskLevel {
        match (&self.fill, &self.leave) {
            (None, Some(leave)) => DiskLevel::Leave(leave.bytes()),
            (fill, _) => DiskLevel::Used(fill.as_ref().map_or(Ratio::new(0.0), |fill| fill.value)),
        }
    }
}

impl FaultKind for Disk {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let task = Task::Disk(Filled { path: self.path.value.clone(), level: self.level() });
        cast.inside(&self.on, |_| task.clone())
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(Engine::Agent)
    }

    fn summary(&self) -> String {
        let (path, on) = (&self.path.value, &self.on.value);
        match self.level() {
            DiskLevel::Used(share) => format!("the file system of {path} in {on} is filled to {share}"),
            left @ DiskLevel::Leave(_) => format!("the file system of {path} in {on} is filled, {left}"),
        }
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        counted(evidence).iter().any(|counted| {
            let of = |name: &str| counted.get(name).copied().unwrap_or_default();
            of("held_bytes") > 0 && of("reached") == 1 && of("free_bytes") < of("free_bytes_before")
        })
    }

    fn check(&self, mistakes: &mut Mistakes) {
        if self.fill.is_some() == self.leave.is_some() {
            mistakes.add(
                self.on.span,
                "`disk` takes exactly one of `fill` and `leave`",
                "write `fill: 90%`, or `leave: 100MB`",
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
