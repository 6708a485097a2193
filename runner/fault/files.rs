//! `files`: the container's processes can open no more files.

use super::{Cast, Change, FaultKind, counted};
use crate::agent::task::Task;
use crate::agent::task::files::{Files as Scarce, Room};
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::Mistakes;

record! {
    /// Leaves the target's processes no room for open files, sockets included: beyond their limit `open`, `accept` and
    /// `socket` fail with EMFILE. What is open stays open. The limit (RLIMIT_NOFILE, the soft one) is each process's
    /// own, and so is what it gets back when the phase ends. Processes that come meanwhile have their parent's limit;
    /// those that `docker exec` starts are found within 20ms, and with `leave` are left alone. A process that raises its
    /// own limit is lowered again.
    pub struct Files ("files") {
        /// The target.
        pub on: Located<String>,
        /// The most files that each process may have open. May be less than it has.
        pub limit: Option<Located<u32>>,
        /// How many more than it has each process may open. 0: none.
        pub leave: Option<Located<u32>>,
    }
}

impl Files {
    fn room(&self) -> Room {
        match (&self.limit, &self.leave) {
            (Some(most), _) => Room::Limit(most.value),
            (None, more) => Room::Leave(more.as_ref().map_or(0, |more| more.value)),
        }
    }
}

impl FaultKind for Files {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        cast.inside(&self.on, |_| Task::Files(Scarce { room: self.room(), former: Vec::new() }))
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(Engine::Agent)
    }

    fn summary(&self) -> String {
        let on = &self.on.value;
        match self.room() {
            Room::Limit(most) => format!("each process of {on} may have {most} files open at most"),
            Room::Leave(0) => format!("no process of {on} may open another file"),
            Room::Leave(more) => format!("each process of {on} may open {more} more files"),
        }
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        // A limit that nobody came to changed nothing. Only a process itself can tell that it was refused a file; that
        // it had no number left for one can be seen.
        let of = |counted: &std::collections::BTreeMap<String, u64>, name: &str| {
            counted.get(name).copied().unwrap_or_default()
        };
        counted(evidence)
            .iter()
            .any(|counted| of(counted, "limited_processes") > 0 && of(counted, "full_processes") > 0)
    }

    fn why_unproven(&self, evidence: &[Evidence]) -> Option<String> {
        let left = *counted(evidence).last()?.get("least_left")?;
        Some(format!("no process came to its limit: each could always open {left} more files at least"))
    }

    fn check(&self, mistakes: &mut Mistakes) {
        if self.limit.is_some() == self.leave.is_some() {
            mistakes.add(
                self.on.span,
                "`files` takes exactly one of `limit` and `leave`",
                "write `leave: 0` so that no process can open another file, or `limit: 64` for so many in all",
            );
        }
        if let Some(limit) = self.limit.as_ref().filter(|limit| limit.value == 0) {
            mistakes.add(
                limit.span,
                "`limit` must be positive, got `0`",
                "write `1`: then nothing can be opened",
            );
        }
    }
}
