//! What a count of bad requests says of the system behind it, with confidence.
//!
//! Exact (Clopper and Pearson, 1934): the interval of a binomial share by the binomial distribution itself,
//! not by a normal curve that fails where nothing was bad.

/// The bad ratio that `bad` of `n` requests exclude with 95% confidence: the share at which so few would come
/// up in one of 20 tries. 1 where nothing was counted or all were bad.
pub fn bad_ratio_below(bad: u64, n: u64) -> f64 {
    /// One-sided: how bad it may be is asked, not how good.
    const DOUBT: f64 = 0.05;
    if bad == 0 && n > 0 {
        return super::bad_ratio_excluded_by(n);
    }
    share_below(bad, n, DOUBT)
}

/// Between which shares that of `met` of `n` lies with 95% confidence, each end missing it in one of 40 tries (Clopper
/// and Pearson); nothing where nothing was counted.
pub fn share_interval(met: u64, n: u64) -> Option<(f64, f64)> {
    /// Half of 5% at each end.
    const DOUBT: f64 = 0.025;
    let met = met.min(n);
    (n > 0).then(|| (1.0 - share_below(n - met, n, DOUBT), share_below(met, n, DOUBT)))
}

/// The share at which so few as `bad` of `n` would come up with this chance.
fn share_below(bad: u64, n: u64, doubt: f64) -> f64 {
    if bad >= n {
        return 1.0;
    }
    if bad == 0 {
        return -(doubt.ln() / n as f64).exp_m1();
    }
    let (mut low, mut high) = (bad as f64 / n as f64, 1.0f64);
    // A double has 53 digits; halving an interval more often changes nothing.
    for _ in 0..60 {
        let middle = low.midpoint(high);
        if at_most(bad, n, middle) > doubt { low = middle } else { high = middle }
    }
    high
}

/// The chance that at most `bad` of `n` are bad if each is with chance `p`; `p` above bad/n.
fn at_most(bad: u64, n: u64, p: f64) -> f64 {
    if p >= 1.0 {
        return 0.0;
    }
    let (bad_f, n_f) = (bad as f64, n as f64);
    let choices = ln_factorial(n) - ln_factorial(bad) - ln_factorial(n - bad);
    let first = (choices + bad_f * p.ln() + (n_f - bad_f) * (-p).ln_1p()).exp();
    // Downwards from `bad` terms shrink ever faster: it lies below the mean.
    let (mut term, mut sum) = (first, first);
    for k in (0..bad).rev() {
        term *= (k + 1) as f64 / (n - k) as f64 * (1.0 - p) / p;
        sum += term;
        if term < sum * f64::EPSILON {
            break;
        }
    }
    sum
}

/// ln n!, by Stirling's series; by multiplication where that is not exact enough.
fn ln_factorial(n: u64) -> f64 {
    if n < 20 {
        return (2..=n).map(|k| k as f64).product::<f64>().ln();
    }
    let n = n as f64;
    let rest = 1.0 / (12.0 * n) - 1.0 / (360.0 * n.powi(3)) + 1.0 / (1_260.0 * n.powi(5));
    n * n.ln() - n + 0.5 * (std::f64::consts::TAU * n).ln() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_are_those_of_the_tables() {
        // One-sided 95% limits by the beta distribution: 1 − 0.05^(1/n) for none, and published values.
        for (bad, n, expected) in [
            (0, 10, 0.258_866),
            (1, 10, 0.394_163),
            (5, 10, 0.777_559),
            (2, 100, 0.061_620),
            (0, 6_250, 0.000_479_2),
            (10, 10, 1.0),
            (0, 0, 1.0),
        ] {
            let found = bad_ratio_below(bad, n);
            assert!((found / expected - 1.0).abs() < 1e-4, "{bad} of {n}: {found}, expected {expected}");
        }
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        // Two-sided 95% limits of Clopper and Pearson, as R's binom.test prints them.
        for (met, n, low, high) in [
            (0, 10, 0.0, 0.308_497_1),
            (10, 10, 0.691_502_9, 1.0),
            (5, 10, 0.187_086_0, 0.812_914_0),
            (1, 10, 0.002_528_579, 0.445_016_1),
            (999, 1_000, 0.994_441, 0.999_974_7),
        ] {
            let (found_low, found_high) = share_interval(met, n).unwrap();
            assert!((found_low - low).abs() < 2e-6, "{met} of {n}: {found_low}, expected {low}");
            assert!((found_high - high).abs() < 2e-6, "{met} of {n}: {found_high}, expected {high}");
        }
        assert_eq!(share_interval(0, 0), None);
    }

    proptest! {
        /// Against the distribution summed from the other end, term by term.
        #[test]
        fn the_bound_leaves_one_in_twenty(n in 1u64..400, share in 0f64..1.0) {
            let bad = ((n as f64 * share) as u64).min(n - 1);
            let p = bad_ratio_below(bad, n);
            let mut term = (n as f64 * (-p).ln_1p()).exp();
            let mut sum = 0.0;
            for k in 0..=bad {
                sum += term;
                term *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
            }
            // Where the first term is too small for a double the slow way says nothing.
            prop_assume!(n as f64 * (-p).ln_1p() > -600.0);
            prop_assert!((sum - 0.05).abs() < 1e-6, "{bad} of {n}: {p} leaves {sum}");
        }

        #[test]
        fn more_of_the_same_says_more(n in 1u64..1_000_000, bad in 0u64..1_000) {
            let bad = bad.min(n - 1);
            let once = bad_ratio_below(bad, n);
            prop_assert!(once > bad as f64 / n as f64);
            prop_assert!(bad_ratio_below(2 * bad, 2 * n) <= once);
        }
    }
}
