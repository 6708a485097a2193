//! Filling memory inside the target's own limit.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration as StdDuration, Instant};

use serde::{Deserialize, Serialize};

use super::{Place, Task, TaskKind, Work};
use crate::agent::cgroup::Cgroup;
use crate::agent::hand::{self, Chore, Doing, spawn};
use crate::agent::takings::{Machine, PAGE_BYTES, Takings};
use crate::agent::wire::Engine;
use crate::clock::mono_ns;
use crate::spec::amount::MemoryAmount;
use crate::units::Duration;

/// Taken at once: small against any limit, so that the level is not overshot between two looks at it.
const PIECE_BYTES: u64 = 1 << 20;
/// The most pieces: a terabyte. A bound on what a wrong figure could take.
const MOST_PIECES: usize = 1 << 20;
/// How often to look while waiting for the rate, or for the target to give back what it holds too much.
const LOOK_EVERY: StdDuration = StdDuration::from_millis(10);
/// How often to look whether the machine as a whole runs short.
const WATCH_EVERY: StdDuration = StdDuration::from_millis(100);

/// Takes memory that counts as the target's, until the target's use of it is at a level, and holds that much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fill {
    /// The level: a size, or a share of the target's limit.
    pub level: MemoryAmount,
    /// How fast to get there, in bytes per second; nothing: as fast as the kernel gives.
    pub rate_bytes_per_s: Option<u64>,
    /// Give it back this long after the level was reached; nothing: when undone.
    pub hold: Option<Duration>,
}

impl Fill {
    /// The level in bytes.
    fn level_bytes(&self, cgroup: &Cgroup) -> Result<u64, String> {
        match (self.level, cgroup.memory_limit_bytes()) {
            (MemoryAmount::Bytes(bytes), None) => Ok(bytes),
            (MemoryAmount::Bytes(bytes), Some(limit)) if bytes > limit => Err(format!(
                "its memory limit is {limit} bytes, less than {}: that can't be filled",
                self.level
            )),
            (level, Some(limit)) => Ok(level.of(limit)),
            (MemoryAmount::Share(_), None) => {
                Err("it has no memory limit to take a share of: write a size, such as `256MiB`".into())
            }
        }
    }
}

impl TaskKind for Fill {
    fn place(&self) -> Place {
        Place::Cgroup
    }

    fn engine(&self) -> Engine {
        Engine::Cgroup
    }

    fn stage(&self, tag: &str) -> Result<Box<dyn Work>, String> {
        self.level_bytes(&Cgroup::of_target()?)?;
        hand::stage(tag, &Task::Fill(self.clone()))
    }

    fn restore(&self, tag: &str) -> Result<u32, String> {
        hand::kill_left(tag)
    }

    fn summary(&self) -> String {
        let rate = self
            .rate_bytes_per_s
            .map_or(String::new(), |rate| format!(" at {}/s", crate::spec::amount::size_text(rate)));
        let hold = self.hold.map_or(String::new(), |hold| format!(" for {hold}"));
        format!("fill memory to {}{rate}{hold}", self.level)
    }

    fn chore(&self) -> Option<&dyn Chore> {
        Some(self)
    }
}

impl Chore for Fill {
    fn hierarchies(&self) -> &'static [&'static str] {
        &["memory"]
    }

    fn begin(&self, _: &str, cgroup: Cgroup, kept: File) -> Result<Box<dyn Doing>, String> {
        let goal_bytes = self.level_bytes(&cgroup)?;
        let bounded = cgroup
            .memory_limit_bytes()
            .zip(Machine::now())
            .is_some_and(|(limit, machine)| limit < machine.total_bytes);
        let takings = if bounded { Takings::kept_in(kept) } else { Takings::own() };
        let state = Arc::new(State::default());
        let (task, of_thread, seen) = (self.clone(), Arc::clone(&state), cgroup.clone());
        spawn("fill", move || fill(&task, goal_bytes, takings, &seen, &of_thread))?;
        Ok(Box::new(Filling { cgroup, goal_bytes, state }))
    }
}

/// What the filling thread says.
#[derive(Debug, Default)]
struct State {
    held_bytes: AtomicU64,
    /// The most that it held.
    peak_bytes: AtomicU64,
    reached: AtomicBool,
    /// The machine ran short of memory, and has it all back.
    machine_short: AtomicBool,
}

/// Takes memory up to the level, holds it, and gives it back if it is to.
fn fill(task: &Fill, goal_bytes: u64, mut takings: Takings, cgroup: &Cgroup, state: &State) {
    let kept = takings.is_kept();
    let machine_short = || kept && Machine::now().is_some_and(Machine::is_short);
    let mut held_bytes = 0;
    let began_ns = mono_ns();
    for _ in 0..MOST_PIECES {
        let missing = goal_bytes.saturating_sub(cgroup.memory_bytes().unwrap_or(goal_bytes));
        if missing < PAGE_BYTES || machine_short() {
            break;
        }
        let seconds = (mono_ns() - began_ns) as f64 / 1e9;
        let due = task.rate_bytes_per_s.map_or(u64::MAX, |rate| (rate as f64 * seconds) as u64);
        let len = missing.min(PIECE_BYTES).min(due.saturating_sub(held_bytes)) / PAGE_BYTES * PAGE_BYTES;
        // A rate is walked in whole pieces, the last one excepted.
        if len < missing.min(PIECE_BYTES) / PAGE_BYTES * PAGE_BYTES {
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        if !takings.take(len as usize) {
            break;
        }
        held_bytes += len;
        state.held_bytes.store(held_bytes, Ordering::Relaxed);
        state.peak_bytes.store(held_bytes, Ordering::Relaxed);
    }
    state.reached.store(true, Ordering::Relaxed);
    let until = task.hold.map(|hold| Instant::now() + hold.to_std());
    // Without an end until this process is killed.
    while until.is_none_or(|until| Instant::now() < until) {
        if machine_short() {
            state.machine_short.store(true, Ordering::Relaxed);
            break;
        }
        let left = until.map_or(WATCH_EVERY, |until| until.saturating_duration_since(Instant::now()));
        std::thread::sleep(left.min(WATCH_EVERY));
    }
    drop(takings);
    state.held_bytes.store(0, Ordering::Relaxed);
}

/// Filling under way.
#[derive(Debug)]
struct Filling {
    cgroup: Cgroup,
    goal_bytes: u64,
    state: Arc<State>,
}

impl Doing for Filling {
    fn counted(&mut self) -> BTreeMap<String, u64> {
        let mut counted = BTreeMap::from([
            ("asked_bytes".into(), self.goal_bytes),
            ("held_bytes".into(), self.state.held_bytes.load(Ordering::Relaxed)),
            ("peak_held_bytes".into(), self.state.peak_bytes.load(Ordering::Relaxed)),
            ("reached".into(), self.state.reached.load(Ordering::Relaxed).into()),
            ("machine_short".into(), self.state.machine_short.load(Ordering::Relaxed).into()),
        ]);
        let of_target = [
            ("target_memory_bytes", self.cgroup.memory_bytes()),
            ("target_memory_limit_bytes", self.cgroup.memory_limit_bytes()),
        ];
        counted.extend(of_target.into_iter().filter_map(|(name, value)| Some((name.into(), value?))));
        counted
    }
}
