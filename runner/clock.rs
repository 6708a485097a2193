//! The run's one clock: CLOCK_MONOTONIC, counted from the run's start.
//!
//! Load, faults and judgement read this and nothing else, so their instants compare. An agent's instants
//! are of its kernel's monotonic clock; [`Clock::at_mono`] brings them over.

use crate::units::NS_PER_S;

/// A monotonic clock with a zero. Copies share the zero.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero_mono_ns: u64,
}

/// CLOCK_MONOTONIC now, in nanoseconds: the same count in every process of one kernel (outside time
/// namespaces).
pub fn mono_ns() -> u64 {
    read_ns(libc::CLOCK_MONOTONIC).expect("every Linux has this clock")
}

/// CPU time that the calling thread has used, user and system, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    read_ns(libc::CLOCK_THREAD_CPUTIME_ID).expect("every thread has a CPU clock")
}

/// What a clock of the kernel's shows, in nanoseconds; nothing if there is none of that number.
pub fn read_ns(clock: libc::clockid_t) -> Option<u64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec for the call to fill.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut now) };
    (failed == 0).then(|| now.tv_sec.unsigned_abs() * NS_PER_S + now.tv_nsec.unsigned_abs())
}

impl Clock {
    /// A clock that is zero now.
    pub fn start() -> Self {
        Self { zero_mono_ns: mono_ns() }
    }

    /// Nanoseconds since zero.
    pub fn now_ns(&self) -> u64 {
        self.at_mono(mono_ns())
    }

    /// The instant of this clock at which CLOCK_MONOTONIC showed `mono_ns`; 0 for anything before zero.
    pub const fn at_mono(&self, mono_ns: u64) -> u64 {
        mono_ns.saturating_sub(self.zero_mono_ns)
    }

    /// What CLOCK_MONOTONIC shows at instant `t_ns` of this clock.
    pub const fn to_mono(&self, t_ns: u64) -> u64 {
        self.zero_mono_ns + t_ns
    }
}
