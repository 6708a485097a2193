//! Skewing the clock that processes read, in the vDSO of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration as StdDuration;

use serde::{Deserialize, Serialize};

use super::watching::Watching;
use super::{Capability, Place, SYS_PTRACE, TaskKind, Work};
use crate::agent::processes::{self, Process};
use crate::agent::skewed::{Parameters, Skew as Words};
use crate::agent::vdso::{Image, Kind, Place as Vdso};
use crate::agent::wire::{Counters, Engine};
use crate::clock::read_ns;
use crate::spec::amount::{Drift, Shift};
use crate::units::Duration;

/// How often to look for programs that were started meanwhile: those read the right clock until then.
pub const WATCH_EVERY: StdDuration = StdDuration::from_millis(50);
/// Looks for processes that are forked from skewed ones while others are healed; each finds fewer.
const PASSES: usize = 8;
/// Clocks of the time of day by the kernel's numbers: REALTIME, REALTIME_COARSE.
const REAL_CLOCKS: u64 = 1 << libc::CLOCK_REALTIME | 1 << libc::CLOCK_REALTIME_COARSE;
/// Clocks since boot: MONOTONIC, MONOTONIC_RAW, MONOTONIC_COARSE, BOOTTIME.
const MONOTONIC_CLOCKS: u64 = 1 << libc::CLOCK_MONOTONIC
    | 1 << libc::CLOCK_MONOTONIC_RAW
    | 1 << libc::CLOCK_MONOTONIC_COARSE
    | 1 << libc::CLOCK_BOOTTIME;

/// Has every process read another time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skew {
    /// Added to the clock.
    pub offset: Shift,
    /// Added again whenever this much time has passed; nothing: once.
    pub every: Option<Duration>,
    /// How much faster it goes from then on.
    pub drift: Drift,
    /// Also clocks that count since boot.
    pub monotonic: bool,
}

impl Skew {
    /// For an agent's tag, after `jumps` offsets, since these instants of both kinds of clock.
    fn parameters(&self, tag: &str, jumps: i64, since: [i64; 2]) -> Parameters {
        let skew = |since_ns| Words {
            offset_ns: self.offset.as_ns().saturating_mul(jumps),
            since_ns,
            drift: (self.drift.per_s() * 2f64.powi(32)).round() as i64,
        };
        Parameters {
            real: skew(since[0]),
            monotonic: if self.monotonic { skew(since[1]) } else { Words::default() },
            real_clocks: REAL_CLOCKS,
            monotonic_clocks: if self.monotonic { MONOTONIC_CLOCKS } else { 0 },
            owner: owner(tag),
        }
    }
}

/// What marks our code as this tag's (FNV-1a).
fn owner(tag: &str) -> u64 {
    tag.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Both kinds of clock now, in nanoseconds.
fn now() -> [i64; 2] {
    [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC]
        .map(|clock| read_ns(clock).unwrap_or_default().cast_signed())
}

impl TaskKind for Skew {
    fn place(&self) -> Place {
        Place::Processes
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[SYS_PTRACE]
    }

    fn engine(&self) -> Engine {
        Engine::Vdso
    }

    fn stage(&self, tag: &str) -> Result<Box<dyn Work>, String> {
        let image = Image::own()?;
        let mut reached = 0;
        for process in processes::all()? {
            let kind = Vdso::of(process.pid, &image).and_then(|place| place.kind(&image));
            match kind {
                Some(Kind::Skewed(_)) => {
                    return Err(format!(
                        "the clock of process {} ({}) is skewed already",
                        process.pid, process.name
                    ));
                }
                Some(Kind::Pristine) => reached += 1,
                // Counted when it is fired.
                Some(Kind::Foreign) | None => {}
            }
        }
        if reached == 0 {
            return Err("no process there has this kernel's vDSO, by which its clock could be skewed".into());
        }
        let state = State { image, seen: BTreeMap::new(), counted: Counted::default() };
        Ok(Box::new(Skewing {
            task: self.clone(),
            tag: tag.into(),
            state: Arc::new(Mutex::new(state)),
            watch: None,
        }))
    }

    fn restore(&self, tag: &str) -> Result<u32, String> {
        heal(&Image::own()?, tag)
    }

    fn summary(&self) -> String {
        let mut parts = Vec::new();
        if self.offset.as_ns() != 0 {
            let every = self.every.map_or(String::new(), |every| format!(" every {every}"));
            parts.push(format!("by {}{every}", self.offset));
        }
        if self.drift.per_s() != 0.0 {
            parts.push(format!("drifting by {}", self.drift));
        }
        let which = if self.monotonic { "every clock" } else { "the time of day" };
        format!("skew {which} {}", parts.join(", "))
    }
}

/// Makes every vDSO with this tag's code pristine again; how many there were.
fn heal(image: &Image, tag: &str) -> Result<u32, String> {
    let mut healed = 0;
    let mut why = None;
    for _ in 0..PASSES {
        let mut failed = None;
        let mut found = 0;
        for process in processes::all()? {
            let Some(place) = Vdso::of(process.pid, image) else { continue };
            if place.kind(image) != Some(Kind::Skewed(owner(tag))) {
                continue;
            }
            found += 1;
            match place.make(image, image.pristine()) {
                Ok(()) => healed += 1,
                // One that ended meanwhile is no loss.
                Err(_) if place.kind(image).is_none() => {}
                Err(why) => failed = Some(why),
            }
        }
        if failed.is_none() && found == 0 {
            return Ok(healed);
        }
        why = failed;
    }
    let why = why.unwrap_or_else(|| "there are ever new ones".into());
    Err(format!("some processes still have a skewed clock after {healed} were healed: {why}"))
}

#[derive(Debug, Default)]
struct Counted {
    /// Times that a vDSO was written to.
    patched: u64,
    /// Looks at all processes.
    looks: u64,
    /// Processes that could not be reached.
    failed: BTreeSet<i32>,
}

/// What is known of processes.
#[derive(Debug)]
struct State {
    image: Image,
    /// Programs that were dealt with: the process, and where its vDSO is, which is new for each program.
    seen: BTreeMap<i32, (u64, Vdso)>,
    counted: Counted,
}

impl State {
    /// Skews every program that is not yet, as `wanted`.
    fn look(&mut self, wanted: &[u8]) -> Result<(), String> {
        let all = processes::all()?;
        self.counted.looks += 1;
        self.seen
            .retain(|pid, (started, _)| all.iter().any(|one| one.pid == *pid && one.started == *started));
        self.counted.failed.retain(|pid| all.iter().any(|one| one.pid == *pid));
        for process in all.iter().filter(|process| process.state != 'Z') {
            self.look_at(process, wanted);
        }
        Ok(())
    }

    fn look_at(&mut self, process: &Process, wanted: &[u8]) {
        let Some(place) = Vdso::of(process.pid, &self.image) else {
            self.counted.failed.insert(process.pid);
            return;
        };
        if self.seen.get(&process.pid) == Some(&(process.started, place)) {
            return;
        }
        match place.make(&self.image, wanted) {
            Ok(()) => {
                self.counted.patched += 1;
                self.counted.failed.remove(&process.pid);
                self.seen.insert(process.pid, (process.started, place));
            }
            Err(_) => drop(self.counted.failed.insert(process.pid)),
        }
    }
}

/// The work of skewing.
#[derive(Debug)]
struct Skewing {
    task: Skew,
    tag: String,
    state: Arc<Mutex<State>>,
    /// Looks for new programs.
    watch: Option<Watching>,
}

impl Work for Skewing {
    fn fire(&mut self) -> Result<(), String> {
        let since = now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let first = state.image.skewed(&self.task.parameters(&self.tag, 1, since));
        state.look(&first)?;
        if state.seen.is_empty() {
            return Err("no process could be reached to skew its clock".into());
        }
        drop(state);
        let (task, tag, shared) = (self.task.clone(), self.tag.clone(), Arc::clone(&self.state));
        let mut jumps = 1;
        self.watch = Some(Watching::every(WATCH_EVERY, move || {
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let passed = now()[1] - since[1];
            let due = task.every.map_or(1, |every| 1 + passed / every.as_ns().max(1).cast_signed());
            if due != jumps {
                jumps = due;
                state.seen.clear();
            }
            let wanted = state.image.skewed(&task.parameters(&tag, jumps, since));
            // What can't be read now is looked at again.
            let _ = state.look(&wanted);
        }));
        Ok(())
    }

    fn undo(&mut self) -> bool {
        self.watch = None;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        heal(&state.image, &self.tag).is_ok()
    }

    fn counters(&mut self) -> Counters {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = Some(Kind::Skewed(owner(&self.tag)));
        let skewed = state.seen.values().filter(|(_, place)| place.kind(&state.image) == ours).count();
        let counted = BTreeMap::from([
            ("skewed_processes".into(), skewed as u64),
            ("skewed_programs".into(), state.counted.patched),
            ("unreached_processes".into(), state.counted.failed.len() as u64),
        ]);
        Counters { counted, ..Counters::default() }
    }
}
