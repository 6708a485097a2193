//! When an effect that is on and off in turns changes: a schedule of instants, pure and seeded.

use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::wire::Turns;

/// The shortest turn, whatever jitter says: one that the agent can keep without doing nothing else.
const SHORTEST_NS: u64 = 1_000_000;

/// Whether an effect is on now, and until when.
#[derive(Debug)]
pub struct Schedule {
    asked: Turns,
    random: ChaCha8Rng,
    /// True while the effect is on.
    pub on: bool,
    /// When that changes; nothing until it begins.
    next_ns: Option<u64>,
    /// How often it was switched on.
    pub switched_on: u64,
}

impl Schedule {
    /// A schedule as `asked`, from its seed, not begun.
    pub fn new(asked: &Turns) -> Self {
        let random = ChaCha8Rng::seed_from_u64(asked.seed);
        Self { asked: asked.clone(), random, on: false, next_ns: None, switched_on: 0 }
    }

    /// Begins at `now_ns`, with being on.
    pub fn begin(&mut self, now_ns: u64) {
        self.change(now_ns);
    }

    /// When the next change is due; nothing before it begins.
    pub const fn next_ns(&self) -> Option<u64> {
        self.next_ns
    }

    /// Makes the change that is due. The next one is counted from when this one was due, so that none drifts;
    /// from `now_ns` where that is past already.
    pub fn change_at(&mut self, now_ns: u64) {
        let due_ns = self.next_ns.unwrap_or(now_ns);
        self.change(due_ns);
        if self.next_ns.is_some_and(|next| next <= now_ns) {
            self.next_ns = Some(now_ns + SHORTEST_NS);
        }
    }

    fn change(&mut self, at_ns: u64) {
        self.on = !self.on;
        self.switched_on += u64::from(self.on);
        let mean_ns = if self.on { self.asked.on_ns } else { self.asked.off_ns };
        let jitter_ns = self.asked.jitter_ns;
        let shift_ns = if jitter_ns == 0 { 0 } else { self.random.random_range(0..=2 * jitter_ns) };
        let turn_ns = mean_ns.saturating_add(shift_ns).saturating_sub(jitter_ns).max(SHORTEST_NS);
        self.next_ns = Some(at_ns.saturating_add(turn_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(jitter_ns: u64) -> Schedule {
        Schedule::new(&Turns { on_ns: 200_000_000, off_ns: 300_000_000, jitter_ns, seed: 4 })
    }

    #[test]
    fn turns_do_not_drift() {
        let mut schedule = schedule(0);
        schedule.begin(1_000);
        let mut expected_ns = 1_000;
        for turn in 0..20 {
            assert_eq!(schedule.on, turn % 2 == 0);
            expected_ns += if schedule.on { 200_000_000 } else { 300_000_000 };
            assert_eq!(schedule.next_ns(), Some(expected_ns));
            // Noticed late, as always.
            schedule.change_at(expected_ns + 900_000);
        }
        assert_eq!(schedule.switched_on, 11);
    }

    #[test]
    fn jitter_spreads_turns_evenly_to_both_sides() {
        let mut schedule = schedule(100_000_000);
        schedule.begin(0);
        let (mut shortest, mut longest, mut sum) = (u64::MAX, 0, 0);
        for _ in 0..1_000 {
            let at = schedule.next_ns().unwrap();
            let mean = if schedule.on { 200_000_000 } else { 300_000_000 };
            schedule.change_at(at);
            let next_mean = if schedule.on { 200_000_000 } else { 300_000_000 };
            let turn = schedule.next_ns().unwrap() - at + mean - next_mean;
            let _ = mean;
            let off_by = turn + 100_000_000 - mean;
            shortest = shortest.min(off_by);
            longest = longest.max(off_by);
            sum += off_by;
        }
        assert!(longest <= 200_000_000 && longest > 190_000_000 && shortest < 10_000_000);
        assert!((95_000_000..105_000_000).contains(&(sum / 1_000)), "{}", sum / 1_000);
    }

    #[test]
    fn turns_that_were_slept_through_are_skipped() {
        let mut schedule = schedule(0);
        schedule.begin(0);
        schedule.change_at(10_000_000_000);
        assert_eq!(schedule.next_ns(), Some(10_000_000_000 + SHORTEST_NS));
    }
}
