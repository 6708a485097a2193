//! Does one latency tell of the next? Spearman's rank correlation of each value with its successor.
//!
//! Confidence intervals count every value as a draw of its own. Latencies that come in stretches, slow ones
//! beside slow ones, are fewer draws than values; how many fewer is what is told here.

/// A rank correlation times √(n − 1) is standard normal where there is none; beyond this lie 1 in 100.
pub const CRITICAL_Z: f64 = 2.576;

/// How successive values hang together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Succession {
    /// Spearman's rank correlation of each value with the next, −1 to 1; 0 where they are independent.
    pub correlation: f64,
    /// True if there is more of it than chance has in 99 of 100 cases.
    pub is_dependent: bool,
    /// So many independent values say as much as one of these, 0 to 1: (1 − r)/(1 + r), as of a first-order
    /// autoregression (Bayley and Hammersley 1946); 1 where there is no dependence.
    pub worth: f64,
}

/// Looks at values in the order in which they came. Nothing of fewer than ten, or where all are the same.
pub fn succession(values: &[u64]) -> Option<Succession> {
    if values.len() < 10 {
        return None;
    }
    let pairs: Vec<(u64, u64)> = values.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let correlation = rank_correlation(&pairs)?;
    let z = correlation * ((pairs.len() - 1) as f64).sqrt();
    let is_dependent = z.abs() > CRITICAL_Z;
    let worth = if is_dependent { ((1.0 - correlation) / (1.0 + correlation)).clamp(0.0, 1.0) } else { 1.0 };
    Some(Succession { correlation, is_dependent, worth })
}

/// Spearman's rank correlation of pairs; equal values share the mean of their ranks. Nothing of fewer than
/// two pairs, or where all values of one side are the same.
pub fn rank_correlation(pairs: &[(u64, u64)]) -> Option<f64> {
    let ones = ranks(pairs.iter().map(|(one, _)| *one).collect());
    let others = ranks(pairs.iter().map(|(_, other)| *other).collect());
    let middle = (pairs.len() as f64 + 1.0) / 2.0;
    let (mut both, mut one_alone, mut other_alone) = (0.0, 0.0, 0.0);
    for (one, other) in ones.iter().zip(&others) {
        both += (one - middle) * (other - middle);
        one_alone += (one - middle).powi(2);
        other_alone += (other - middle).powi(2);
    }
    (one_alone > 0.0 && other_alone > 0.0).then(|| both / (one_alone * other_alone).sqrt())
}

/// Each value's rank, from 1.
fn ranks(values: Vec<u64>) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by_key(|at| values[*at]);
    let mut ranks = vec![0.0; values.len()];
    let mut next = 1;
    for equal in order.chunk_by(|one, other| values[*one] == values[*other]) {
        let rank = (next + next + equal.len() - 1) as f64 / 2.0;
        equal.iter().for_each(|at| ranks[*at] = rank);
        next += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_published_example_is_reproduced() {
        // Intelligence and hours of television a week: −29/165.
        let pairs = [
            (106, 7),
            (100, 27),
            (86, 2),
            (101, 50),
            (99, 28),
            (103, 29),
            (97, 20),
            (113, 12),
            (112, 6),
            (110, 17),
        ];
        let found = rank_correlation(&pairs).unwrap();
        assert!((found + 29.0 / 165.0).abs() < 1e-12, "{found}");
    }

    #[test]
    fn stretches_are_dependent_and_noise_is_not() {
        let mut state = 7u64;
        let noise: Vec<u64> = (0..2_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state >> 40
            })
            .collect();
        let found = succession(&noise).unwrap();
        assert!(!found.is_dependent && found.worth == 1.0, "{found:?}");
        let stretches: Vec<u64> =
            noise.iter().enumerate().map(|(at, ns)| ns % 100 + at as u64 / 50 * 1_000).collect();
        let found = succession(&stretches).unwrap();
        assert!(found.is_dependent && found.correlation > 0.9 && found.worth < 0.1, "{found:?}");
        assert_eq!(succession(&[5; 100]), None, "nothing varies");
        assert_eq!(succession(&[1, 2, 3]), None, "too few");
    }

    proptest! {
        /// Without ties, against Spearman's own formula: 1 − 6 Σd² / (n (n² − 1)).
        #[test]
        fn it_is_spearmans(order in Just((0u64..40).collect::<Vec<_>>()).prop_shuffle()) {
            let pairs: Vec<(u64, u64)> = (0..40).zip(order.iter().copied()).collect();
            let squares: f64 = pairs.iter().map(|(one, other)| (*one as f64 - *other as f64).powi(2)).sum();
            let expected = 1.0 - 6.0 * squares / (40.0 * (40.0 * 40.0 - 1.0));
            prop_assert!((rank_correlation(&pairs).unwrap() - expected).abs() < 1e-12);
        }
    }
}
