//! Percentiles when some requests never got to end. Pure.
//!
//! A request cut off took at least as long as it had been under way, and nothing more is known. Leaving it
//! out would make a system look the faster the more slow requests are cut off (survival analysis calls it
//! right-censored). So it is counted, from either side as it can't flatter: as longer than everything that
//! ended where a percentile must be below something, and with its age where one must be above.

use super::record::Hist;

/// A quantile of requests of which some were cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The time, in nanoseconds.
    pub ns: u64,
    /// True if the quantile is among those cut off: it is this long or longer.
    pub at_least: bool,
}

/// What is known of requests cut off.
#[derive(Clone, Copy, Debug)]
pub enum Cut<'h> {
    /// How long each had taken so far.
    Ages(&'h Hist),
    /// Only how many there were.
    Count(u64),
}

impl Cut<'_> {
    /// How many.
    pub fn count(&self) -> u64 {
        match self {
            Self::Ages(ages) => ages.count(),
            Self::Count(count) => *count,
        }
    }
}

/// The time that `quantile` (0 to 1) of all did not exceed, those cut off taken for longer than any that
/// `ended`; where the quantile is among them, the most that can be said of it. Nothing where there were none.
pub fn quantile(ended: &Hist, cut: Cut<'_>, quantile: f64) -> Option<Reached> {
    if cut.count() == 0 {
        return ended.quantile_ns(quantile).map(|ns| Reached { ns, at_least: false });
    }
    let all = ended.count() + cut.count();
    let rank = rank_of(quantile, all);
    if rank <= ended.count() {
        return Some(Reached { ns: at_rank(ended, rank)?, at_least: false });
    }
    Some(Reached { ns: shortest(ended, cut, quantile)?, at_least: true })
}

/// The least that the quantile can be: those cut off counted as if they had ended when they were.
pub fn shortest(ended: &Hist, cut: Cut<'_>, quantile: f64) -> Option<u64> {
    let rank = rank_of(quantile, ended.count() + cut.count());
    match cut {
        Cut::Ages(ages) => {
            let mut all = ended.clone();
            all.merge(ages);
            at_rank(&all, rank)
        }
        // They may have taken no time at all, and then all that ended stand behind them.
        Cut::Count(count) if rank > count => at_rank(ended, rank - count),
        Cut::Count(count) => (ended.count() + count > 0).then_some(0),
    }
}

/// The rank of a quantile among `n`: 1 is the shortest.
fn rank_of(quantile: f64, n: u64) -> u64 {
    // A hair less, so that 0.99 of 100 is the 99th although the product is a little more than 99.
    ((quantile * n as f64 * (1.0 - f64::EPSILON)).ceil() as u64).clamp(1, n.max(1))
}

/// The time of this rank; nothing of an empty histogram.
pub fn at_rank(hist: &Hist, rank: u64) -> Option<u64> {
    // Half a rank less rounds up to it, whatever the division loses.
    hist.quantile_ns((rank as f64 - 0.5) / hist.count() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hist(times: &[u64]) -> Hist {
        let mut hist = Hist::default();
        times.iter().for_each(|ns| hist.record(*ns));
        hist
    }

    #[test]
    fn a_percentile_among_those_cut_off_is_a_lower_bound() {
        let ended = hist(&[100; 97]);
        let ages = hist(&[500, 600, 700]);
        let at = |quantile_of| quantile(&ended, Cut::Ages(&ages), quantile_of);
        assert_eq!(at(0.97), Some(Reached { ns: 100, at_least: false }));
        assert_eq!(at(0.98), Some(Reached { ns: 500, at_least: true }));
        assert_eq!(at(1.0), Some(Reached { ns: 700, at_least: true }));
        // Young ones: cut off before they were as old as those that ended.
        assert_eq!(
            quantile(&ended, Cut::Ages(&hist(&[5; 3])), 0.99),
            Some(Reached { ns: 100, at_least: true })
        );
        assert_eq!(quantile(&ended, Cut::Count(3), 0.99), Some(Reached { ns: 100, at_least: true }));
        assert_eq!(quantile(&Hist::default(), Cut::Count(3), 0.5), Some(Reached { ns: 0, at_least: true }));
        assert_eq!(quantile(&Hist::default(), Cut::Count(0), 0.5), None);
    }

    proptest! {
        /// Against the truth: every latency known, those longer than their cut lost to all but this test.
        #[test]
        fn cutting_off_never_flatters(
            requests in prop::collection::vec((1u64..2_000, 1u64..2_000), 1..80),
            percent in 1u32..=100,
        ) {
            let q = f64::from(percent) / 100.0;
            let mut truth: Vec<u64> = requests.iter().map(|(latency, _)| *latency).collect();
            truth.sort_unstable();
            let true_ns = truth[rank_of(q, truth.len() as u64) as usize - 1];
            // Times below 2,048 are exact in a histogram of three digits.
            let known: Vec<u64> = requests.iter().filter(|(took, cut)| took <= cut).map(|(took, _)| *took).collect();
            let ages: Vec<u64> = requests.iter().filter(|(took, cut)| took > cut).map(|(_, cut)| *cut).collect();
            let (known, ages) = (hist(&known), hist(&ages));
            for cut in [Cut::Ages(&ages), Cut::Count(ages.count())] {
                let found = quantile(&known, cut, q).unwrap();
                if found.at_least {
                    prop_assert!(true_ns >= found.ns, "{} is below the bound {}", true_ns, found.ns);
                } else {
                    prop_assert!(true_ns <= found.ns, "{} is flattered to {}", true_ns, found.ns);
                    prop_assert!(!ages.is_empty() || true_ns == found.ns);
                }
                prop_assert!(shortest(&known, cut, q).unwrap() <= true_ns);
            }
        }

        /// However many are cut off, a system is not faster than if they had ended right then.
        #[test]
        fn cutting_off_more_never_helps(ended in prop::collection::vec(1u64..2_000, 1..40), cut in 1u64..40) {
            let with = |count| quantile(&hist(&ended), Cut::Count(count), 0.9).unwrap();
            let (fewer, more) = (with(cut - 1), with(cut));
            prop_assert!(more.at_least || (!fewer.at_least && more.ns >= fewer.ns));
        }
    }
}
