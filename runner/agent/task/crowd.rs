//! Using up the processes and threads that the target may have.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::{Place, Task, TaskKind, Work};
use crate::agent::cgroup::Cgroup;
use crate::agent::hand::{self, Chore, Doing};
use crate::agent::wire::Engine;

/// More than a machine has room for. A bound on what a wrong figure could start where there is no limit.
const MOST: u64 = 30_000;
/// Of a thread that does nothing.
const STACK_BYTES: usize = 16 << 10;

/// Starts threads that do nothing and count as the target's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crowd {
    /// How many; nothing: as many as the target's limit leaves room for.
    pub count: Option<u32>,
}

impl TaskKind for Crowd {
    fn place(&self) -> Place {
        Place::Cgroup
    }

    fn engine(&self) -> Engine {
        Engine::Cgroup
    }

    fn stage(&self, tag: &str) -> Result<Box<dyn Work>, String> {
        if self.count.is_none() && Cgroup::of_target()?.pids_limit().is_none() {
            return Err("it has no limit of processes to fill: write how many, such as `fill: 100`".into());
        }
        hand::stage(tag, &Task::Crowd(self.clone()))
    }

    fn restore(&self, tag: &str) -> Result<u32, String> {
        hand::kill_left(tag)
    }

    fn summary(&self) -> String {
        let count =
            self.count.map_or("as many threads as it may have".into(), |count| format!("{count} threads"));
        format!("start {count}")
    }

    fn chore(&self) -> Option<&dyn Chore> {
        Some(self)
    }
}

impl Chore for Crowd {
    fn hierarchies(&self) -> &'static [&'static str] {
        &["pids"]
    }

    fn begin(&self, _: &str, cgroup: Cgroup, _: File) -> Result<Box<dyn Doing>, String> {
        let started = Arc::new(AtomicU64::new(0));
        let (of_thread, most) = (Arc::clone(&started), self.count.map_or(MOST, u64::from).min(MOST));
        // By a thread of its own, so that thousands don't keep the agent waiting.
        hand::spawn("crowd", move || gather(&of_thread, most))?;
        Ok(Box::new(Crowding { started, cgroup }))
    }
}

/// Starts threads until there are `most`, or no room for another. This one is the first of them; the process's main
/// thread, which the kernel counts too, is another.
fn gather(started: &AtomicU64, most: u64) {
    started.store(2, Ordering::Relaxed);
    while started.load(Ordering::Relaxed) < most {
        if std::thread::Builder::new().stack_size(STACK_BYTES).spawn(idle).is_err() {
            break;
        }
        started.fetch_add(1, Ordering::Relaxed);
    }
    idle();
}

/// Until the process is killed.
fn idle() {
    loop {
        std::thread::park();
    }
}

/// A crowd that stands about.
#[derive(Debug)]
struct Crowding {
    started: Arc<AtomicU64>,
    cgroup: Cgroup,
}

impl Doing for Crowding {
    fn counted(&mut self) -> BTreeMap<String, u64> {
        let mut counted = BTreeMap::from([("started_threads".into(), self.started.load(Ordering::Relaxed))]);
        let of_target =
            [("target_pids", self.cgroup.pids()), ("target_pids_limit", self.cgroup.pids_limit())];
        counted.extend(of_target.into_iter().filter_map(|(name, value)| Some((name.into(), value?))));
        counted
    }
}
