//! How a sending thread keeps up with its schedule.

/// An arrival later than this finds the thread behind its schedule: a hundred times the lag of an idle
/// machine, and a share of any latency worth measuring over a network.
pub const BEHIND_NS: u64 = 10_000_000;

/// How a thread fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fared {
    /// CPU time it used.
    pub cpu_ns: u64,
    /// How long it ran.
    pub wall_ns: u64,
    /// Arrivals taken from its schedule: each of them is in one sample.
    pub scheduled: u64,
    /// How long it was behind its schedule by more than [`BEHIND_NS`].
    pub behind_ns: u64,
    /// Arrivals it worked off meanwhile: over `behind_ns`, the rate that it can hold.
    pub behind_count: u64,
    /// The furthest it was behind.
    pub furthest_ns: u64,
    /// The longest that it came too late to its sockets and its schedule.
    pub longest_stall_ns: u64,
    /// True if it ran with real-time priority.
    pub realtime: bool,
}

/// Keeps account of being behind.
#[derive(Debug, Default)]
pub struct Progress {
    /// The account so far.
    pub fared: Fared,
    behind_since_ns: Option<u64>,
}

impl Progress {
    /// Notes an arrival that was dropped at the cap, which is work done all the same.
    pub const fn dropped(&mut self) {
        self.fared.scheduled += 1;
        self.fared.behind_count += self.behind_since_ns.is_some() as u64;
    }

    /// Notes an arrival released now, `lag_ns` after its instant.
    pub fn released(&mut self, now_ns: u64, lag_ns: u64) {
        self.fared.scheduled += 1;
        self.fared.furthest_ns = self.fared.furthest_ns.max(lag_ns);
        if lag_ns <= BEHIND_NS {
            self.caught_up(now_ns);
        } else if self.behind_since_ns.is_some() {
            self.fared.behind_count += 1;
        } else {
            self.behind_since_ns = Some(now_ns);
        }
    }

    /// Notes that the thread looks around at `now_ns`, and was to do so by `until_ns` at the latest.
    pub const fn looked(&mut self, now_ns: u64, until_ns: u64) {
        let late_ns = now_ns.saturating_sub(until_ns);
        if late_ns > self.fared.longest_stall_ns {
            self.fared.longest_stall_ns = late_ns;
        }
    }

    /// Notes that nothing is due.
    pub const fn caught_up(&mut self, now_ns: u64) {
        if let Some(since_ns) = self.behind_since_ns.take() {
            self.fared.behind_ns += now_ns - since_ns;
        }
    }
}
