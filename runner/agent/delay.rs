//! How long each packet is held: netem's model, so that both engines mean the same by the same words.
//!
//! A delay is `mean + jitter × x`, where `x` comes from a table of 4,096 equally likely values, or evenly from
//! -1 to 1. Correlation makes each random number lean on the one before. Pure and seeded: the same seed gives
//! the same delays. Never negative.
//!
//! Correlated numbers crowd around the middle, so a correlated jitter is narrower than asked; netem's is too.

use super::chance::Draws;
use super::wire::{Delay, Distribution};

/// Values in a table, as netem's own have them.
pub const TABLE_LEN: usize = 4_096;
/// What a table's values are multiplied by: netem's fixed point.
pub const TABLE_SCALE: f64 = 8_192.0;

/// The delays of one step, one after another.
#[derive(Debug)]
pub struct Delays {
    mean_ns: i64,
    jitter_ns: i64,
    table: Option<Vec<i16>>,
    draws: Draws,
}

impl Delays {
    /// Delays as `asked`, from its seed.
    pub fn new(asked: &Delay) -> Self {
        Self {
            mean_ns: i64::try_from(asked.delay_ns).unwrap_or(i64::MAX),
            jitter_ns: i64::try_from(asked.jitter_ns).unwrap_or(i64::MAX),
            table: table(asked.distribution),
            draws: Draws::new(asked.seed, asked.correlation),
        }
    }

    /// True if every packet is held equally long, so that none overtakes another.
    pub const fn is_constant(&self) -> bool {
        self.jitter_ns == 0
    }

    /// How long the next packet is held, in nanoseconds.
    pub fn next_ns(&mut self) -> u64 {
        if self.jitter_ns == 0 {
            return self.mean_ns.unsigned_abs();
        }
        let drawn = self.draws.draw();
        // Shares of the jitter from -4 to 4: no product of these leaves an i128.
        let (numerator, denominator) = match &self.table {
            Some(table) => (i128::from(table[drawn as usize % TABLE_LEN]), TABLE_SCALE as i128),
            None => (2 * i128::from(drawn) - i128::from(u32::MAX), i128::from(u32::MAX)),
        };
        let spread = i128::from(self.jitter_ns) * numerator / denominator;
        u64::try_from((i128::from(self.mean_ns) + spread).max(0)).unwrap_or(u64::MAX)
    }
}

/// The distribution's table: its inverse, at the middle of each of [`TABLE_LEN`] equal shares, times
/// [`TABLE_SCALE`]. Nothing for the even one, which needs none.
pub fn table(distribution: Distribution) -> Option<Vec<i16>> {
    let inverse = match distribution {
        Distribution::Uniform => return None,
        Distribution::Normal => normal_inverse,
        Distribution::Pareto => pareto_inverse,
    };
    let value = |index: usize| {
        let share = (index as f64 + 0.5) / TABLE_LEN as f64;
        // Beyond four deviations the fixed point ends; there lie 1 in 31,000 of the normal's values and 1 in
        // 113 of Pareto's.
        (inverse(share) * TABLE_SCALE).round().clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16
    };
    Some((0..TABLE_LEN).map(value).collect())
}

/// The standard normal distribution's inverse, by bisection of its integral.
fn normal_inverse(share: f64) -> f64 {
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if normal_share(middle) < share { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The share of the standard normal distribution below `x`, by the series x + x³/3 + x⁵/(3·5) + …, which
/// converges for every x and is exact to a few digits less than the machine's for |x| < 8.
fn normal_share(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for k in 1..300 {
        term *= x * x / f64::from(2 * k + 1);
        sum += term;
        if term.abs() < 1e-17 * sum.abs() {
            break;
        }
    }
    0.5 + sum * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The inverse of Pareto's distribution with exponent 3, moved to mean 0 and scaled to deviation 1.
fn pareto_inverse(share: f64) -> f64 {
    const EXPONENT: f64 = 3.0;
    const MEAN: f64 = EXPONENT / (EXPONENT - 1.0);
    let deviation = (EXPONENT / (EXPONENT - 2.0)).sqrt() / (EXPONENT - 1.0);
    ((1.0 - share).powf(-1.0 / EXPONENT) - MEAN) / deviation
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn asked(distribution: Distribution, delay_ms: u64, jitter_ms: u64, correlation: f64) -> Delay {
        let (delay_ns, jitter_ns) = (delay_ms * MS, jitter_ms * MS);
        Delay { delay_ns, jitter_ns, distribution, correlation, seed: 7 }
    }

    fn draws(asked: &Delay, count: usize) -> Vec<f64> {
        let mut delays = Delays::new(asked);
        (0..count).map(|_| delays.next_ns() as f64 / MS as f64).collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    /// The largest distance between the empirical distribution and `share_below`.
    fn kolmogorov_smirnov(mut values: Vec<f64>, share_below: impl Fn(f64) -> f64) -> f64 {
        values.sort_by(f64::total_cmp);
        let count = values.len() as f64;
        values
            .iter()
            .enumerate()
            .map(|(index, value)| ((index as f64 + 0.5) / count - share_below(*value)).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn each_distribution_is_what_its_name_says() {
        // 1.95 / sqrt(n) is exceeded by one sample in a thousand; the seed is fixed, so this never flickers.
        let check = |distribution, share_below: fn(f64) -> f64| {
            let values = draws(&asked(distribution, 200, 20, 0.0), 10_000);
            let distance = kolmogorov_smirnov(values, share_below);
            assert!(distance < 1.95 / 100.0, "{distribution:?}: {distance}");
        };
        check(Distribution::Normal, |ms| normal_share((ms - 200.0) / 20.0));
        check(Distribution::Uniform, |ms| ((ms - 180.0) / 40.0).clamp(0.0, 1.0));
        check(Distribution::Pareto, |ms| {
            let x: f64 = (ms - 200.0) / 20.0 * 0.75f64.sqrt() + 1.5;
            1.0 - x.powi(-3)
        });
    }

    #[test]
    fn constant_delays_are_exact() {
        let mut delays = Delays::new(&asked(Distribution::Normal, 200, 0, 0.5));
        assert!(delays.is_constant());
        assert!((0..100).all(|_| delays.next_ns() == 200 * MS));
    }

    #[test]
    fn delays_are_never_negative() {
        let values = draws(&asked(Distribution::Normal, 1, 50, 0.0), 10_000);
        assert!(values.contains(&0.0));
    }

    #[test]
    fn correlation_is_what_was_asked() {
        for correlation in [0.0, 0.25, 0.9] {
            let values = draws(&asked(Distribution::Uniform, 200, 20, correlation), 20_000);
            let middle = mean(&values);
            let variance = mean(&values.iter().map(|v| (v - middle).powi(2)).collect::<Vec<_>>());
            let products: Vec<_> = values.windows(2).map(|w| (w[0] - middle) * (w[1] - middle)).collect();
            let found = mean(&products) / variance;
            assert!((found - correlation).abs() < 0.02, "asked {correlation}, found {found}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_delays() {
        let first = asked(Distribution::Pareto, 200, 20, 0.3);
        assert_eq!(draws(&first, 100), draws(&first, 100));
        assert_ne!(draws(&first, 100), draws(&Delay { seed: 8, ..first.clone() }, 100));
    }

    #[test]
    fn tables_have_mean_zero_and_deviation_one() {
        for distribution in [Distribution::Normal, Distribution::Pareto] {
            let table = table(distribution).unwrap();
            let values: Vec<_> = table.iter().map(|v| f64::from(*v) / TABLE_SCALE).collect();
            let (middle, square) = (mean(&values), mean(&values.iter().map(|v| v * v).collect::<Vec<_>>()));
            assert!(middle.abs() < 0.03, "{distribution:?} has mean {middle}");
            // Pareto's tail is cut at four deviations, and almost half of its variance lies beyond.
            assert!((0.7..1.01).contains(&square.sqrt()), "{distribution:?} deviates by {}", square.sqrt());
        }
    }
}
