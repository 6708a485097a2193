//! Real-time priority, kept only while the thread leaves something of its core to others.
//!
//! The kernel stops a real-time thread for up to 50 ms in every second where it lets nobody else run (the fair
//! server of Linux 6.12 and later, the throttle of earlier kernels): at a rate that fills the core, the priority
//! that was to make sends punctual makes them late. So it is given back there, and taken again when there is air.
//! The decision is [`Urgency::next`]; all else is system calls.

use super::poll;
use crate::clock;

/// Of its core, a real-time thread may use so much: 5% less than the kernel allows.
const GIVEN_BACK_ABOVE: f64 = 0.9;

/// With less than this it is taken again; awake before each send, a real-time thread uses a third more.
const TAKEN_AGAIN_BELOW: f64 = 0.6;

/// A thread's standing with the scheduler.
#[derive(Debug)]
pub struct Urgency {
    /// True if it was asked for and may be had.
    granted: bool,
    held: bool,
    throughout: bool,
    /// Wall and CPU time of the thread when it was last weighed.
    weighed_ns: (u64, u64),
}

impl Urgency {
    /// Takes real-time priority for the calling thread if that is wanted and permitted.
    pub fn of(wanted: bool, now_ns: u64) -> Self {
        let granted = wanted && poll::realtime();
        Self { granted, held: granted, throughout: granted, weighed_ns: (now_ns, clock::thread_cpu_ns()) }
    }

    /// True while the thread has real-time priority.
    pub const fn is_held(&self) -> bool {
        self.held
    }

    /// True if the thread had it all the time.
    pub const fn throughout(&self) -> bool {
        self.throughout
    }

    /// Looks at what the thread has used since the last time, and gives the priority back or takes it again.
    pub fn weigh(&mut self, now_ns: u64) {
        if !self.granted {
            return;
        }
        let cpu_ns = clock::thread_cpu_ns();
        let (wall_before_ns, cpu_before_ns) = std::mem::replace(&mut self.weighed_ns, (now_ns, cpu_ns));
        let share = (cpu_ns - cpu_before_ns) as f64 / (now_ns - wall_before_ns).max(1) as f64;
        let held = Self::next(self.held, share);
        if held != self.held {
            // Where it is refused on the way the thread stays as it is, and tries again the next time.
            let changed = if held { poll::realtime() } else { poll::ordinary() };
            self.held = if changed { held } else { self.held };
            self.throughout = false;
        }
    }

    /// Whether a thread should have real-time priority that used so much of its core.
    fn next(held: bool, share: f64) -> bool {
        if held { share <= GIVEN_BACK_ABOVE } else { share < TAKEN_AGAIN_BELOW }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_core_gives_it_back_and_an_idle_one_takes_it_again() {
        let check =
            |held, share, expected| assert_eq!(Urgency::next(held, share), expected, "{held} {share}");
        check(true, 0.5, true);
        check(true, 0.9, true);
        check(true, 0.97, false);
        check(false, 0.97, false);
        check(false, 0.7, false);
        check(false, 0.5, true);
    }

    #[test]
    fn what_was_not_asked_for_is_not_taken() {
        let mut urgency = Urgency::of(false, 0);
        urgency.weigh(50_000_000);
        assert!(!urgency.is_held() && !urgency.throughout());
    }
}
