//! Burning CPU inside the target's own quota.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Place, Task, TaskKind, Work};
use crate::agent::cgroup::Cgroup;
use crate::agent::hand::{self, Chore, Doing, spawn};
use crate::agent::wire::Engine;
use crate::clock::{mono_ns, thread_cpu_ns};
use crate::spec::amount::CpuAmount;

/// A turn of the arithmetic between two looks at the clock: tens of microseconds.
const TURN: u32 = 20_000;
/// A thread that has burnt what it should sleeps this long at most: a hundredth of the kernel's usual period, so
/// that load is even within it.
const SHORTEST_SLEEP_NS: i64 = 1_000_000;
/// What a thread could not burn because others had the CPU, or because the quota had run out, it makes up for
/// later, up to this much: the kernel's usual period. With more, a quota that was lowered would be fought for long.
const MOST_OWED_NS: i64 = 100_000_000;
/// How often the quota is read again: it may be changed meanwhile.
const QUOTA_EVERY: Duration = Duration::from_millis(250);
/// More threads than a machine has CPUs; a bound on what a wrong figure could start.
const MOST_THREADS: usize = 1_024;

/// Uses CPU time that counts as the target's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Burn {
    /// How much: cores, or a share of the target's quota as it is at the time; of all its CPUs without a quota.
    pub amount: CpuAmount,
}

impl TaskKind for Burn {
    fn place(&self) -> Place {
        Place::Cgroup
    }

    fn engine(&self) -> Engine {
        Engine::Cgroup
    }

    fn stage(&self, tag: &str) -> Result<Box<dyn Work>, String> {
        hand::stage(tag, &Task::Burn(self.clone()))
    }

    fn restore(&self, tag: &str) -> Result<u32, String> {
        hand::kill_left(tag)
    }

    fn summary(&self) -> String {
        match self.amount {
            CpuAmount::Cores(cores) => format!("burn {cores} cores"),
            CpuAmount::Share(share) => format!("burn {share} of its CPU"),
        }
    }

    fn chore(&self) -> Option<&dyn Chore> {
        Some(self)
    }
}

impl Chore for Burn {
    fn hierarchies(&self) -> &'static [&'static str] {
        &["cpuset", "cpu", "cpuacct"]
    }

    fn begin(&self, _: &str, cgroup: Cgroup, _: File) -> Result<Box<dyn Doing>, String> {
        // Of this process as it is now, within the target's set of CPUs.
        let cpus = cpus();
        let cores = move |amount: CpuAmount, cgroup: &Cgroup| {
            amount.of(cgroup.quota_cores().map_or(cpus, |quota| quota.min(cpus))).min(cpus)
        };
        let wanted = cores(self.amount, &cgroup);
        let count = (wanted.ceil() as usize).clamp(1, MOST_THREADS);
        let pace = Arc::new(Pace::default());
        pace.set(wanted / count as f64);
        for number in 0..count {
            let pace = Arc::clone(&pace);
            spawn(&format!("burn-{number}"), move || burn(&pace))?;
        }
        let (amount, setter) = (self.amount, Arc::clone(&pace));
        spawn("burn-pace", move || {
            loop {
                std::thread::sleep(QUOTA_EVERY);
                setter.set((cores(amount, &cgroup) / count as f64).min(1.0));
            }
        })?;
        Ok(Box::new(Burning { pace, count }))
    }
}

/// CPUs that this process may run on.
fn cpus() -> f64 {
    // SAFETY: `set` is plain data, as large as said, and outlives the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) == 0 {
            f64::from(libc::CPU_COUNT(&set).max(1))
        } else {
            1.0
        }
    }
}

/// What the burning threads share.
#[derive(Debug, Default)]
struct Pace {
    /// How much of a core each burns, in parts of 2³².
    share: AtomicU64,
}

impl Pace {
    fn set(&self, share: f64) {
        self.share.store((share * f64::from(u32::MAX)) as u64, Ordering::Relaxed);
    }

    fn share(&self) -> f64 {
        self.share.load(Ordering::Relaxed) as f64 / f64::from(u32::MAX)
    }
}

/// Uses the thread's share of a core, forever.
fn burn(pace: &Pace) {
    let (mut wall, mut cpu) = (mono_ns(), thread_cpu_ns());
    let mut owed_ns = 0i64;
    let mut figure = 1u64;
    loop {
        let (now, used) = (mono_ns(), thread_cpu_ns());
        let share = pace.share();
        owed_ns += ((now - wall) as f64 * share) as i64 - (used - cpu).cast_signed();
        owed_ns = owed_ns.min(MOST_OWED_NS);
        (wall, cpu) = (now, used);
        if owed_ns > 0 {
            for _ in 0..TURN {
                figure = std::hint::black_box(figure.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7));
            }
        } else {
            std::thread::sleep(Duration::from_nanos((-owed_ns).max(SHORTEST_SLEEP_NS).unsigned_abs()));
        }
    }
}

/// Threads at work.
#[derive(Debug)]
struct Burning {
    pace: Arc<Pace>,
    count: usize,
}

impl Doing for Burning {
    fn counted(&mut self) -> BTreeMap<String, u64> {
        let asked = self.pace.share() * self.count as f64 * 1_000.0;
        // What it used is its agent's to tell: it may not get to answer.
        BTreeMap::from([("asked_millicores".into(), asked.round() as u64)])
    }
}
