//! Are these gaps exponential, as those of poisson arrivals are? Anderson and Darling's test.
//!
//! Of n gaps with an unknown mean, as D'Agostino and Stephens, Goodness-of-Fit Techniques (1986), section
//! 4.9 and table 4.14: A² of the gaps over their mean, times 1 + 0.6/n, is compared with percentage points
//! that hold for any n.

/// Larger than this are 1 in 100 values of [`exponential_misfit`] of gaps that are exponential.
pub const CRITICAL_1_PERCENT: f64 = 1.959;

/// The smallest gap told apart, as a share of the mean: two sent at once would count as infinitely unlikely.
const LEAST: f64 = 1e-9;

/// Anderson and Darling's A² with Stephens' correction for the mean being estimated; nothing of fewer than
/// ten gaps, or gaps that are all zero. The order of `gaps` is of no matter and is changed.
pub fn exponential_misfit(gaps: &mut [u64]) -> Option<f64> {
    let n = gaps.len();
    let mean = gaps.iter().map(|gap| *gap as f64).sum::<f64>() / n as f64;
    if n < 10 || mean <= 0.0 {
        return None;
    }
    gaps.sort_unstable();
    let scaled = |at: usize| (gaps[at] as f64 / mean).max(LEAST);
    let sum: f64 = (0..n)
        .map(|i| {
            let below = -(-scaled(i)).exp_m1();
            // The logarithm of what is above is the scaled gap itself, with its sign turned.
            (2 * i + 1) as f64 * (below.ln() - scaled(n - 1 - i))
        })
        .sum();
    let squared = -(n as f64) - sum / n as f64;
    Some(squared * (1.0 + 0.6 / n as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    fn exponential(rng: &mut rand_chacha::ChaCha8Rng, n: usize) -> Vec<u64> {
        (0..n).map(|_| (-(1.0 - rng.random::<f64>()).ln() * 1e6) as u64).collect()
    }

    #[test]
    fn the_published_points_are_exceeded_as_often_as_they_should_be() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let found: Vec<f64> =
            (0..4_000).filter_map(|_| exponential_misfit(&mut exponential(&mut rng, 50))).collect();
        // Table 4.14: 10%, 5%, 2.5% and 1%; within four standard deviations of 4,000 draws.
        for (point, share) in [(1.062, 0.10), (1.321, 0.05), (1.591, 0.025), (CRITICAL_1_PERCENT, 0.01)] {
            let beyond = found.iter().filter(|value| **value > point).count() as f64 / 4_000.0;
            let slack = 4.0 * (share * (1.0 - share) / 4_000.0f64).sqrt();
            assert!((beyond - share).abs() < slack, "{beyond} beyond {point}, {share} expected");
        }
    }

    #[test]
    fn equal_gaps_and_bunches_are_not_exponential() {
        assert!(exponential_misfit(&mut [1_000; 200]).unwrap() > 10.0);
        let mut bunches: Vec<u64> = (0..200).map(|at| if at % 4 == 0 { 4_000 } else { 1 }).collect();
        assert!(exponential_misfit(&mut bunches).unwrap() > 10.0);
        assert_eq!(exponential_misfit(&mut [5; 9]), None, "too few");
        assert_eq!(exponential_misfit(&mut [0; 20]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Against the definition: n times the integral of (Fn − F)² / (F (1 − F)) over F, summed in strips.
        #[test]
        fn it_is_the_weighted_distance_of_the_distributions(gaps in prop::collection::vec(1_000u64..1_000_000, 10..40)) {
            const STRIPS: u32 = 400_000;
            let n = gaps.len() as f64;
            let mean = gaps.iter().sum::<u64>() as f64 / n;
            let mut sorted: Vec<f64> = gaps.iter().map(|gap| 1.0 - (-(*gap as f64) / mean).exp()).collect();
            sorted.sort_by(f64::total_cmp);
            let mut integral = 0.0;
            let mut below = 0;
            for strip in 0..STRIPS {
                let f = (f64::from(strip) + 0.5) / f64::from(STRIPS);
                while below < sorted.len() && sorted[below] <= f {
                    below += 1;
                }
                integral += (below as f64 / n - f).powi(2) / (f * (1.0 - f)) / f64::from(STRIPS);
            }
            let expected = n * integral * (1.0 + 0.6 / n);
            let found = exponential_misfit(&mut gaps.clone()).unwrap();
            prop_assert!((found - expected).abs() < 1e-3 * expected.max(1.0), "{} is not {}", found, expected);
        }
    }
}
