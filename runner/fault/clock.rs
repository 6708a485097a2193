//! `clock`: the container's processes read a wrong clock.

use super::{Cast, Change, FaultKind, counted};
use crate::agent::task::Task;
use crate::agent::task::skew::Skew;
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::amount::{Drift, Shift};
use crate::spec::decode::Mistakes;
use crate::units::Duration;

record! {
    /// Has every process of the target read a wrong clock, without a change to its image: our agent changes the code
    /// by which a process asks for the time (the kernel's vDSO, in each process's own memory) and puts back the very
    /// bytes that were there. On x86-64. A program that is started meanwhile reads the right clock for up to 50 ms. Not
    /// reached: programs that ask the kernel by themselves instead of the vDSO, 32-bit programs, and what the kernel
    /// does by the clock: timers, sleeps, times of files. How many processes were reached is in the evidence.
    pub struct Clock ("clock") {
        /// The target.
        pub on: Located<String>,
        /// How far the clock jumps: ahead (`5m`), or back (`-1h`).
        pub offset: Option<Located<Shift>>,
        /// Jump again by `offset` whenever this much time has passed, 100ms or more.
        pub every: Option<Located<Duration>>,
        /// How much faster it goes from then on: `500ppm` is half a millisecond a second; slower: `-20ppm`. From
        /// -900000ppm to 1000000ppm.
        pub drift: Option<Located<Drift>>,
        /// Skew clocks that count since boot, too. Programs rely on them to measure time, and the kernel's timers don't
        /// follow: expect hangs and busy loops.
        pub monotonic: bool = false,
    }
}

/// Each jump stops every process for an instant.
const SHORTEST_EVERY: Duration = Duration::from_ms(100);
/// A clock that went backwards by drifting is another thing than a slow one; one twice as fast is fast enough.
const DRIFT_PER_S: std::ops::RangeInclusive<f64> = -0.9..=1.0;
/// Jumps that keep every date within what 64 bits of nanoseconds hold.
const LARGEST_JUMP_NS: u64 = 50 * 365 * 86_400 * 1_000_000_000;

impl FaultKind for Clock {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let skew = Task::Skew(Skew {
            offset: self.offset.as_ref().map_or(Shift::ZERO, |offset| offset.value),
            every: self.every.as_ref().map(|every| every.value),
            drift: self.drift.as_ref().map_or(Drift::ZERO, |drift| drift.value),
            monotonic: self.monotonic,
        });
        cast.inside(&self.on, |_| skew.clone())
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(Engine::Vdso)
    }

    fn summary(&self) -> String {
        let mut parts = Vec::new();
        if let Some(offset) = &self.offset {
            let every = self.every.as_ref().map_or(String::new(), |every| format!(" every {}", every.value));
            parts.push(format!("jumps by {}{every}", offset.value));
        }
        if let Some(drift) = &self.drift {
            parts.push(format!("drifts by {}", drift.value));
        }
        format!("the clock of {} {}", self.on.value, parts.join(" and "))
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        counted(evidence)
            .iter()
            .any(|counted| counted.get("skewed_processes").is_some_and(|count| *count > 0))
    }

    fn check(&self, mistakes: &mut Mistakes) {
        if self.offset.is_none() && self.drift.is_none() {
            mistakes.add(
                self.on.span,
                "`clock` needs `offset` or `drift`",
                "write `offset: 5m`, or `drift: 500ppm`",
            );
        }
        if let Some(offset) = &self.offset {
            if offset.as_ns() == 0 {
                mistakes.add(
                    offset.span,
                    "`offset` must not be zero",
                    "write a duration such as `5m` or `-1h`",
                );
            }
            if offset.as_ns().unsigned_abs() > LARGEST_JUMP_NS {
                mistakes.add(offset.span, "`offset` is more than 50 years", "write a shorter one");
            }
        }
        if let Some(drift) =
            self.drift.as_ref().filter(|drift| drift.per_s() == 0.0 || !DRIFT_PER_S.contains(&drift.per_s()))
        {
            let message =
                format!("`drift` must be from -900000ppm to 1000000ppm and not zero, got `{}`", drift.value);
            mistakes.add(drift.span, message, "write one such as `500ppm`");
        }
        if let Some(every) = &self.every {
            if every.value < SHORTEST_EVERY {
                let message = format!("`every` must be at least {SHORTEST_EVERY}, got `{}`", every.value);
                mistakes.add(every.span, message, "write a duration such as `5s`");
            }
            if self.offset.is_none() {
                mistakes.add(
                    every.span,
                    "`every` repeats an `offset`, and there is none",
                    "add `offset: 1m`",
                );
            }
        }
    }
}
