//! Times counted by the bucket that a histogram would put them in, cheaply.
//!
//! A histogram of the `hdrhistogram` crate checks and updates half a dozen things for every value. Here a
//! time is two bytes pushed to a list, and the list is added to plain counters when it is long; the
//! histogram is made once, when an interval is handed out, and is the same to the last count.

use super::record::Hist;

/// Values that one code stands for share their first 11 bits.
const CODE_BITS: u32 = 10;

/// How many codes wait before they are counted: few enough to stay in the nearest cache, and so many that a
/// handful of late answers don't cost a table of counters.
const WAITING: usize = 4_096;

/// Counters grow by this many codes (four octaves of time) at once.
const GROWN_BY: usize = 4 << CODE_BITS;

/// A time as 16 bits: the bucket that an HdrHistogram of 3 significant digits from 1 ns would count it in.
#[inline]
pub const fn code(ns: u64) -> u16 {
    // Everything above is one code: 2^62 ns are 146 years.
    let ns = if ns >> 62 != 0 { (1 << 62) - 1 } else { ns };
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(CODE_BITS + 1);
    ((shift as u16) << CODE_BITS) + (ns >> shift) as u16
}

/// The smallest time of a code.
pub const fn value(code: u16) -> u64 {
    let shift = (code >> CODE_BITS).saturating_sub(1);
    (code as u64 - ((shift as u64) << CODE_BITS)) << shift
}

/// Counted times. At most 2^32 of each code: an interval is a second long.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    waiting: Vec<u16>,
    /// By code, as long as the largest one so far asked for.
    counts: Vec<u32>,
}

impl Tally {
    /// Counts a time.
    #[inline]
    pub fn add(&mut self, ns: u64) {
        if self.waiting.len() == WAITING {
            self.settle();
        }
        self.waiting.push(code(ns));
    }

    /// Counts times given as codes.
    pub fn add_codes(&mut self, codes: &[u16]) {
        let longest = codes.iter().max().map_or(0, |code| usize::from(*code) + 1);
        self.reach(longest);
        for code in codes {
            self.counts[usize::from(*code)] += 1;
        }
    }

    /// True if nothing was counted.
    pub const fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.counts.is_empty()
    }

    #[cold]
    fn settle(&mut self) {
        let longest = self.waiting.iter().max().map_or(0, |code| usize::from(*code) + 1);
        self.reach(longest);
        for code in self.waiting.drain(..) {
            self.counts[usize::from(code)] += 1;
        }
    }

    fn reach(&mut self, longest: usize) {
        if longest > self.counts.len() {
            self.counts.resize(longest.next_multiple_of(GROWN_BY), 0);
        }
    }

    /// Adds all that was counted to a histogram.
    pub fn pour(&self, hist: &mut Hist) {
        // Sorted they are runs, and a run is one addition.
        let mut waiting = self.waiting.clone();
        waiting.sort_unstable();
        for run in waiting.chunk_by(|one, other| one == other) {
            hist.record_n(value(run[0]), run.len() as u64);
        }
        for (code, count) in (0u16..=u16::MAX).zip(&self.counts).filter(|(_, count)| **count > 0) {
            hist.record_n(value(code), u64::from(*count));
        }
    }

    /// The histogram of all that was counted.
    pub fn hist(&self) -> Hist {
        let mut hist = Hist::default();
        self.pour(&mut hist);
        hist
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn codes_lose_no_more_than_the_histogram(ns in prop_oneof![0u64..5_000, any::<u64>()]) {
            let ns = ns.min((1 << 62) - 1);
            let back = value(code(ns));
            prop_assert!(back <= ns);
            let mut hist = Hist::default();
            hist.record(1);
            let same = hist.open().equivalent(back.max(1), ns.max(1));
            prop_assert!(same, "{} became {}", ns, back);
        }

        /// Against recording each in a histogram, over more times than wait at once.
        #[test]
        fn a_tally_is_the_histogram(
            times in prop::collection::vec(prop_oneof![0u64..5_000, 0u64..10_000_000_000], 0..50),
            again in prop_oneof![Just(1usize), Just(200)],
        ) {
            let (mut tally, mut hist) = (Tally::default(), Hist::default());
            for ns in times.iter().cycle().take(times.len() * again) {
                tally.add(*ns);
                hist.record(*ns);
            }
            prop_assert_eq!(tally.is_empty(), times.is_empty());
            prop_assert_eq!(tally.hist(), hist);
            let mut by_codes = Tally::default();
            by_codes.add_codes(&times.iter().map(|ns| code(*ns)).collect::<Vec<_>>());
            let mut plain = Hist::default();
            times.iter().for_each(|ns| plain.record(*ns));
            prop_assert_eq!(by_codes.hist(), plain);
        }
    }
}
