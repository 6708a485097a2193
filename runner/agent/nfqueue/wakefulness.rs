//! When the queue's thread stays awake for a packet instead of sleeping until its time.
//!
//! A core that was asleep takes tens of microseconds to come back, on a virtual machine a hundred and more, and
//! a sleep until the very instant is late by that. So the thread sleeps until a little before, by as much as its
//! sleeps have turned out to be late, and is awake for the rest. What it may spend on that is bounded: the core is
//! the target's too. Pure: knows neither kernel nor clock.

/// The share of time that may be spent awake, as one part of so many.
const AWAKE_ONE_IN: i64 = 10;
/// The most that is saved up for a burst: some tens of packets.
const MOST_SAVED_NS: i64 = 2_000_000;
/// What a sleep is taken to be late by before one was seen.
const FIRST_MARGIN_NS: u64 = 50_000;
/// Where sleeps are later than this, the core has other things to do, and being awake earlier would not help.
const MOST_MARGIN_NS: u64 = 150_000;
/// The margin goes up by this for a sleep that was later, and down by a nineteenth of it for one that was not, so
/// that it comes to rest where one sleep in twenty is later.
const STEP_UP_NS: u64 = 3_800;
const STEP_DOWN_NS: u64 = STEP_UP_NS / 19;

/// What to do until the next packet's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Look again at once.
    Awake,
    /// Sleep for so many nanoseconds.
    Asleep(u64),
}

/// How late sleeps are, and what may still be spent on it.
#[derive(Debug)]
pub(super) struct Wakefulness {
    margin_ns: u64,
    /// Below 0 after a look that took longer than what was left; paid back before the next one.
    saved_ns: i64,
    /// When it was last asked, and whether the thread was awake since.
    seen_ns: u64,
    awake: bool,
}

impl Wakefulness {
    pub(super) const fn new(now_ns: u64) -> Self {
        Self { margin_ns: FIRST_MARGIN_NS, saved_ns: MOST_SAVED_NS, seen_ns: now_ns, awake: false }
    }

    /// What to do at `now_ns` until `due_ns`.
    pub(super) fn until(&mut self, due_ns: u64, now_ns: u64) -> Rest {
        let passed_ns = now_ns.saturating_sub(self.seen_ns).cast_signed();
        let spent_ns = if self.awake { passed_ns } else { 0 };
        self.saved_ns = (self.saved_ns + passed_ns / AWAKE_ONE_IN - spent_ns).min(MOST_SAVED_NS);
        self.seen_ns = now_ns;
        let wait_ns = due_ns.saturating_sub(now_ns);
        let affordable = self.saved_ns > 0;
        self.awake = affordable && wait_ns <= self.margin_ns;
        match (self.awake, affordable) {
            (true, _) => Rest::Awake,
            (false, true) => Rest::Asleep(wait_ns - self.margin_ns),
            (false, false) => Rest::Asleep(wait_ns),
        }
    }

    /// A sleep that nothing ended before its time ended `late_ns` after it.
    pub(super) fn overslept(&mut self, late_ns: u64) {
        self.margin_ns = if late_ns > self.margin_ns {
            (self.margin_ns + STEP_UP_NS).min(MOST_MARGIN_NS)
        } else {
            self.margin_ns.saturating_sub(STEP_DOWN_NS)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn sleeps_until_just_before_and_is_awake_for_the_rest() {
        let mut wakefulness = Wakefulness::new(0);
        assert_eq!(wakefulness.until(5 * MS, 0), Rest::Asleep(5 * MS - FIRST_MARGIN_NS));
        assert_eq!(wakefulness.until(5 * MS, 5 * MS - FIRST_MARGIN_NS), Rest::Awake);
        assert_eq!(wakefulness.until(5 * MS, 5 * MS - 1), Rest::Awake);
    }

    #[test]
    fn the_margin_is_what_one_sleep_in_twenty_exceeds() {
        let mut wakefulness = Wakefulness::new(0);
        for round in 0..20_000 {
            wakefulness.overslept(if round % 20 == 0 { 120_000 } else { 30_000 + round % 19 * 1_000 });
        }
        assert!((45_000..90_000).contains(&wakefulness.margin_ns), "{}", wakefulness.margin_ns);
    }

    #[test]
    fn the_margin_has_bounds() {
        let mut wakefulness = Wakefulness::new(0);
        (0..1_000).for_each(|_| wakefulness.overslept(10 * MS));
        assert_eq!(wakefulness.margin_ns, MOST_MARGIN_NS);
        (0..10_000).for_each(|_| wakefulness.overslept(0));
        assert!(wakefulness.margin_ns < STEP_UP_NS);
    }

    #[test]
    fn no_more_than_its_share_of_a_core_is_spent_awake() {
        let mut wakefulness = Wakefulness::new(0);
        let (mut now_ns, mut awake_ns) = (0, 0);
        // Something is always due in 40 µs, as at a high rate.
        while now_ns < 1_000 * MS {
            let step_ns = match wakefulness.until(now_ns + 40_000, now_ns) {
                Rest::Awake => {
                    awake_ns += 1_000;
                    1_000
                }
                Rest::Asleep(ns) => ns.max(1),
            };
            now_ns += step_ns;
        }
        let share_ns = 1_000 * MS / AWAKE_ONE_IN.unsigned_abs();
        let most_ns = share_ns + MOST_SAVED_NS.unsigned_abs() + 1_000;
        assert!((share_ns / 2..=most_ns).contains(&awake_ns), "{awake_ns} ns of a second");
    }
}
