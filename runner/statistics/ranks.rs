//! A confidence interval of a percentile, by order statistics: exact, and of any distribution.
//!
//! Of n independent values, how many lie below the true q-quantile is binomial(n, q). So the true one lies
//! between the l-th and the u-th smallest with the probability that this number is in l..u (Conover,
//! Practical Nonparametric Statistics, 3rd edition, section 3.2; Hahn and Meeker, Statistical Intervals,
//! section 5.2). Nothing is assumed but independence; see [`super::succession`] for that.

/// Probabilities this much smaller than the largest don't count: their sum is below the last digit.
const NEGLIGIBLE: f64 = 1e-20;

/// Between which values a quantile lies, by rank: 1 is the smallest value. Nothing where so few values
/// can't bound it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks {
    /// The rank that bounds it from below.
    pub low: Option<u64>,
    /// The rank that bounds it from above.
    pub high: Option<u64>,
}

/// The ranks that enclose the `quantile` (above 0, below 1) of what `n` independent values were drawn from,
/// each end missing it with at most half of 1 − `confidence`. Takes time and memory of the order of √n.
pub fn quantile_ranks(n: u64, quantile: f64, confidence: f64) -> Ranks {
    let missed = (1.0 - confidence) / 2.0;
    let (first, weights) = binomial(n, quantile);
    let total: f64 = weights.iter().sum();
    // Summed from the far ends, where the terms are small: nothing is lost beside a larger sum.
    let below = count_while(weights.iter(), missed * total);
    let above = count_while(weights.iter().rev(), missed * total);
    // B values lie below the quantile. B ≤ l − 1 must be improbable enough, and so must B ≥ u.
    let low = first + below as u64;
    let high = first + (weights.len() - above) as u64;
    Ranks { low: (low > 0).then_some(low), high: (high <= n).then_some(high) }
}

/// How many of `weights` can be added without exceeding `most`.
fn count_while<'w>(weights: impl Iterator<Item = &'w f64>, most: f64) -> usize {
    let mut sum = 0.0;
    weights
        .take_while(|weight| {
            sum += **weight;
            sum <= most
        })
        .count()
}

/// The binomial distribution's probabilities from a first number of successes on, up to one factor and
/// without negligible ones: from its peak outwards, each by its ratio to its neighbour.
fn binomial(n: u64, p: f64) -> (u64, Vec<f64>) {
    let peak = (((n as f64 + 1.0) * p).floor() as u64).min(n);
    let odds = p / (1.0 - p);
    let mut down = Vec::new();
    let (mut weight, mut k) = (1.0, peak);
    while k > 0 {
        weight *= k as f64 / ((n - k + 1) as f64 * odds);
        if weight < NEGLIGIBLE {
            break;
        }
        k -= 1;
        down.push(weight);
    }
    let first = k;
    let mut weights: Vec<f64> = down.into_iter().rev().collect();
    weights.push(1.0);
    let (mut weight, mut k) = (1.0, peak);
    while k < n {
        weight *= (n - k) as f64 * odds / (k + 1) as f64;
        if weight < NEGLIGIBLE {
            break;
        }
        k += 1;
        weights.push(weight);
    }
    (first, weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_medians_table_is_reproduced() {
        // The table of 95% confidence intervals of the median in many textbooks, as Hahn and Meeker's A.15.
        for (n, low, high) in
            [(6, 1, 6), (10, 2, 9), (20, 6, 15), (25, 8, 18), (30, 10, 21), (50, 18, 33), (100, 40, 61)]
        {
            let expected = Ranks { low: Some(low), high: Some(high) };
            assert_eq!(quantile_ranks(n, 0.5, 0.95), expected, "{n} values");
        }
        assert_eq!(quantile_ranks(5, 0.5, 0.95), Ranks { low: None, high: None }, "five are too few");
    }

    #[test]
    fn a_high_percentile_needs_many_values() {
        // The largest of n bounds the 99th percentile from above with 97.5% once 0.99^n ≤ 2.5%: n ≥ 368.
        assert_eq!(quantile_ranks(367, 0.99, 0.95).high, None);
        assert_eq!(quantile_ranks(368, 0.99, 0.95).high, Some(368));
        // An hour at 20,000/s, against the normal approximation: the mean ± 1.96 standard deviations.
        let n = 72_000_000;
        let Ranks { low: Some(low), high: Some(high) } = quantile_ranks(n, 0.999, 0.95) else {
            panic!("so many values bound it");
        };
        let half = 1.959_964 * (n as f64 * 0.999 * 0.001).sqrt();
        assert!((low as f64 - (n as f64 * 0.999 - half)).abs() < 2.0, "{low}");
        assert!((high as f64 - (n as f64 * 0.999 + half)).abs() < 3.0, "{high}");
    }

    proptest! {
        /// Against adding up the binomial distribution's own terms, one by one.
        #[test]
        fn each_end_misses_as_rarely_as_promised(n in 1u64..150, percent in 1u32..100) {
            let p = f64::from(percent) / 100.0;
            let term = |k: u64| {
                let ways = (0..k).fold(1.0, |ways, i| ways * (n - i) as f64 / (i + 1) as f64);
                ways * p.powf(k as f64) * (1.0 - p).powf((n - k) as f64)
            };
            let below = |k: u64| (0..k).map(term).sum::<f64>();
            let found = quantile_ranks(n, p, 0.95);
            let low = (1..=n).take_while(|l| below(*l) <= 0.025).last();
            let high = (1..=n).find(|u| (*u..=n).map(term).sum::<f64>() <= 0.025);
            prop_assert_eq!(found, Ranks { low, high });
        }
    }
}
