//! How far the clock of another kernel is from ours: measured where agents are on another machine. Pure.
//!
//! After Cristian: the agent read its clock between our question and its answer, most likely halfway. The true offset
//! is off by half of the time that took at most, so the quickest of several answers is the best.

/// What to add to their clock to get ours, give or take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    add_ns: i128,
    unsure_ns: u64,
}

impl Offset {
    /// Of one and the same clock.
    pub const NONE: Self = Self { add_ns: 0, unsure_ns: 0 };

    /// By one exchange: asked and answered by our clock, and what theirs showed meanwhile; in nanoseconds.
    pub fn of(asked_ns: u64, theirs_ns: u64, answered_ns: u64) -> Self {
        let unsure_ns = answered_ns.saturating_sub(asked_ns) / 2;
        Self { add_ns: i128::from(asked_ns) + i128::from(unsure_ns) - i128::from(theirs_ns), unsure_ns }
    }

    /// The surer one.
    pub fn better(self, other: Self) -> Self {
        if other.unsure_ns < self.unsure_ns { other } else { self }
    }

    /// An instant of theirs by our clock; 0 for one before ours began.
    pub fn to_ours(self, theirs_ns: u64) -> u64 {
        u64::try_from(i128::from(theirs_ns) + self.add_ns).unwrap_or(0)
    }

    /// An instant of ours by their clock; 0 for one before theirs began.
    pub fn to_theirs(self, ours_ns: u64) -> u64 {
        u64::try_from(i128::from(ours_ns) - self.add_ns).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_truth_is_within_what_is_unsure_however_the_way_there_and_back_differ() {
        // Their clock is 1,000 behind; (ours when asked, there takes, back takes).
        for (asked_ns, there_ns, back_ns) in
            [(5_000, 10, 10), (5_000, 0, 300), (5_000, 300, 0), (900, 200, 200), (5_000, 0, 0)]
        {
            let theirs_ns = asked_ns + there_ns - 1_000;
            let offset = Offset::of(asked_ns, theirs_ns, asked_ns + there_ns + back_ns);
            let off = (offset.add_ns - 1_000).unsigned_abs();
            assert!(off <= u128::from(offset.unsure_ns), "{offset:?}");
            assert_eq!(offset.to_theirs(offset.to_ours(7_000)), 7_000);
        }
    }

    #[test]
    fn the_quickest_answer_counts() {
        let (slow, quick) = (Offset::of(0, 0, 100), Offset::of(1_000, 990, 1_010));
        assert_eq!(slow.better(quick), quick);
        assert_eq!(quick.better(slow), quick);
    }

    #[test]
    fn what_was_before_a_clock_began_is_its_beginning() {
        let ahead = Offset::of(0, 1_000, 0);
        assert_eq!(ahead.to_ours(400), 0);
        assert_eq!(Offset::of(1_000, 0, 1_000).to_theirs(400), 0);
        assert_eq!((Offset::NONE.to_ours(7), Offset::NONE.to_theirs(7)), (7, 7));
    }
}
