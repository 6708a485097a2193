//! Which packets are chosen: netem's models, so that both engines mean the same by the same words.
//!
//! [`Luck`] chooses a share of packets, [`Chain`] those that a chain of two states loses. Pure and seeded: the
//! same seed makes the same choices.
//!
//! Correlated numbers crowd around the middle, so fewer than asked lie below a small share: netem asked for 1%
//! of loss with a correlation of 25% loses 0.05%. The threshold is therefore set where the asked share of the
//! correlated numbers lies below it, for both engines.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::wire::{Bursts, Chance};

/// Random numbers of 32 bits, one after another, each leaning on the one before.
#[derive(Debug)]
pub struct Draws {
    /// Weight of the previous number, in 2^-32.
    rho: u64,
    last: u64,
    random: ChaCha8Rng,
}

impl Draws {
    /// Numbers from `seed`; `correlation` is from 0 to 1.
    pub fn new(seed: u64, correlation: f64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let rho = (correlation.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u64;
        Self { rho, last: u64::from(random.next_u32()), random }
    }

    /// The next one.
    pub fn draw(&mut self) -> u64 {
        let fresh = u64::from(self.random.next_u32());
        self.last = (fresh * (u64::from(u32::MAX) - self.rho) + self.last * self.rho) / u64::from(u32::MAX);
        self.last
    }
}

/// A share of packets, chosen one after another.
#[derive(Debug)]
pub struct Luck {
    draws: Draws,
    threshold: Option<u32>,
}

impl Luck {
    /// Choices as `asked`, from its seed.
    pub fn new(asked: &Chance) -> Self {
        Self { draws: Draws::new(asked.seed, asked.correlation), threshold: threshold(asked) }
    }

    /// True if the next packet is chosen.
    pub fn strikes(&mut self) -> bool {
        self.threshold.is_some_and(|threshold| self.draws.draw() <= u64::from(threshold))
    }
}

/// The chain of Gilbert and Elliott.
#[derive(Debug)]
pub struct Chain {
    asked: Bursts,
    bad: bool,
    random: ChaCha8Rng,
}

impl Chain {
    /// A chain as `asked`, from its seed.
    pub fn new(asked: &Bursts) -> Self {
        Self { asked: asked.clone(), bad: false, random: ChaCha8Rng::seed_from_u64(asked.seed) }
    }

    /// True if the next packet is lost. As netem has it, the state it is judged by is the one before the step.
    pub fn strikes(&mut self) -> bool {
        let (leave, loss) = if self.bad {
            (self.asked.bad_to_good, self.asked.bad_loss)
        } else {
            (self.asked.good_to_bad, self.asked.good_loss)
        };
        if self.happens(leave) {
            self.bad = !self.bad;
        }
        self.happens(loss)
    }

    fn happens(&mut self, probability: f64) -> bool {
        f64::from(self.random.next_u32()) < probability * 2f64.powi(32)
    }
}

/// The largest of the random numbers that mean "chosen", as netem has it too; nothing if none is.
pub fn threshold(asked: &Chance) -> Option<u32> {
    if asked.share <= 0.0 {
        return None;
    }
    let below = if asked.correlation > 0.0 && asked.share < 1.0 {
        quantile(asked.share, asked.correlation)
    } else {
        asked.share
    };
    // netem takes 0 for "never".
    Some((below * 2f64.powi(32) - 1.0).round().clamp(1.0, f64::from(u32::MAX)) as u32)
}

/// Below which value, from 0 to 1, a share of correlated numbers lies in the long run.
///
/// Such a number is `(1-ρ)u + ρx` of an even `u` and the number before, so the share below `x` of the numbers to
/// come is the mean of the share below `(x-(1-ρ)u)/ρ` of those before, over all `u`. That is repeated until it
/// no longer changes, which takes as many turns as ρ takes to vanish.
fn quantile(share: f64, rho: f64) -> f64 {
    /// Points at which the distribution is kept; between two it is a straight line.
    const POINTS: usize = 4_096;
    /// Changes below this are of no consequence: a tenth of netem's own grain.
    const STILL: f64 = 2e-11;
    /// As many turns as a correlation of 99% needs, and some more.
    const MOST_TURNS: usize = 3_000;
    let step = 1.0 / POINTS as f64;
    let mut below: Vec<f64> = (0..=POINTS).map(|point| point as f64 * step).collect();
    let mut area = vec![0.0; POINTS + 1];
    for _ in 0..MOST_TURNS {
        for point in 0..POINTS {
            area[point + 1] = area[point] + f64::midpoint(below[point], below[point + 1]) * step;
        }
        // The area under the distribution from 0 to `x`; it is 0 before 0 and 1 from 1 on.
        let area_to = |x: f64| {
            if x <= 0.0 {
                return 0.0;
            }
            if x >= 1.0 {
                return area[POINTS] + (x - 1.0);
            }
            let (point, rest) = ((x / step) as usize, x % step);
            let slope = (below[point + 1] - below[point]) / step;
            area[point] + rest * (below[point] + slope * rest / 2.0)
        };
        let mut moved = 0.0f64;
        let next: Vec<f64> = (0..=POINTS)
            .map(|point| {
                let x = point as f64 * step;
                let mean = (area_to(x / rho) - area_to((x - (1.0 - rho)) / rho)) * rho / (1.0 - rho);
                mean.clamp(0.0, 1.0)
            })
            .collect();
        for (old, new) in below.iter().zip(&next) {
            moved = moved.max((old - new).abs());
        }
        below = next;
        if moved < STILL {
            break;
        }
    }
    let above = below.partition_point(|value| *value < share).clamp(1, POINTS);
    let (low, high) = (below[above - 1], below[above]);
    let rest = if high > low { (share - low) / (high - low) } else { 0.0 };
    (above as f64 - 1.0 + rest) * step
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chance(share: f64, correlation: f64, seed: u64) -> Chance {
        Chance { share, correlation, seed }
    }

    fn struck(asked: &Chance, count: usize) -> usize {
        let mut luck = Luck::new(asked);
        (0..count).filter(|_| luck.strikes()).count()
    }

    /// Half of the 99% interval of a share of `count` independent choices.
    fn margin(share: f64, count: usize) -> f64 {
        2.576 * (share * (1.0 - share) / count as f64).sqrt()
    }

    #[test]
    fn the_share_is_what_was_asked() {
        const COUNT: usize = 20_000;
        for share in [0.01, 0.1, 0.5, 0.99] {
            let found = struck(&chance(share, 0.0, 7), COUNT) as f64 / COUNT as f64;
            assert!((found - share).abs() < margin(share, COUNT), "asked {share}, found {found}");
        }
        assert_eq!(struck(&chance(0.0, 0.0, 7), COUNT), 0);
        assert_eq!(struck(&chance(1.0, 0.0, 7), COUNT), COUNT);
        assert_eq!(struck(&chance(1.0, 0.5, 7), COUNT), COUNT);
    }

    #[test]
    fn correlation_does_not_change_the_share() {
        const COUNT: usize = 1_000_000;
        for correlation in [0.05, 0.25, 0.5, 0.9] {
            for share in [0.01, 0.1, 0.5, 0.9] {
                let found = struck(&chance(share, correlation, 3), COUNT) as f64 / COUNT as f64;
                // Choices that lean on each other spread (1+ρ)/(1-ρ) as much.
                let spread = ((1.0 + correlation) / (1.0 - correlation)).sqrt();
                let margin = spread * margin(share, COUNT);
                assert!((found - share).abs() < margin, "{share} at {correlation}: found {found}");
            }
        }
    }

    #[test]
    fn correlated_choices_come_in_bunches() {
        let pairs = |correlation| {
            let mut luck = Luck::new(&chance(0.1, correlation, 5));
            let struck: Vec<bool> = (0..200_000).map(|_| luck.strikes()).collect();
            let after = struck.windows(2).filter(|pair| pair[0] && pair[1]).count();
            after as f64 / struck.iter().filter(|struck| **struck).count() as f64
        };
        let (none, some, much) = (pairs(0.0), pairs(0.5), pairs(0.9));
        assert!((none - 0.1).abs() < 0.01 && some > 0.25 && much > some + 0.2, "{none} {some} {much}");
    }

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        let choices = |seed| {
            let mut luck = Luck::new(&chance(0.5, 0.3, seed));
            (0..64).map(|_| luck.strikes()).collect::<Vec<_>>()
        };
        assert_eq!(choices(1), choices(1));
        assert_ne!(choices(1), choices(2));
    }

    fn chain(p: f64, r: f64, bad_loss: f64, good_loss: f64) -> Chain {
        Chain::new(&Bursts { good_to_bad: p, bad_to_good: r, bad_loss, good_loss, seed: 11 })
    }

    #[test]
    fn bursts_are_as_long_as_the_chain_makes_them() {
        // With a bad state that loses everything, a burst ends at each packet with probability r.
        const R: f64 = 0.25;
        let mut chain = chain(0.02, R, 1.0, 0.0);
        let mut lengths = [0u32; 8];
        let (mut length, mut bursts) = (0usize, 0u32);
        while bursts < 20_000 {
            if chain.strikes() {
                length += 1;
            } else if length > 0 {
                lengths[(length - 1).min(7)] += 1;
                bursts += 1;
                length = 0;
            }
        }
        let chi_square: f64 = lengths
            .iter()
            .enumerate()
            .map(|(index, found)| {
                let share = (1.0 - R).powf(index as f64) * if index == 7 { 1.0 } else { R };
                let expected = share * f64::from(bursts);
                (f64::from(*found) - expected).powi(2) / expected
            })
            .sum();
        // Seven degrees of freedom: exceeded by one sample in a hundred; the seed is fixed.
        assert!(chi_square < 18.48, "{lengths:?}: {chi_square}");
    }

    #[test]
    fn a_chains_share_is_that_of_its_states() {
        const COUNT: u32 = 1_000_000;
        for (p, r, bad_loss, good_loss) in
            [(0.01, 0.1, 1.0, 0.0), (0.05, 0.2, 0.6, 0.01), (0.3, 0.3, 0.5, 0.0)]
        {
            let mut chain = chain(p, r, bad_loss, good_loss);
            let found = (0..COUNT).filter(|_| chain.strikes()).count() as f64 / f64::from(COUNT);
            let bad = p / (p + r);
            let asked = bad * bad_loss + (1.0 - bad) * good_loss;
            assert!((found - asked).abs() < 0.01 * asked.max(0.2), "asked {asked}, found {found}");
        }
    }
}
