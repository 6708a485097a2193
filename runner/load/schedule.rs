//! When requests are meant to be sent, and which: a pure function of the arrival model and the seed.
//!
//! The open model's whole honesty rests on this: the k-th intended instant is known before anything is
//! sent and does not move when answers are late. Lazy and in constant memory, because a load has no end of
//! its own. Must never read a clock or depend on how the engine keeps up. Start at [`Schedule`].

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::plan::LoadPlan;
use crate::spec::Arrivals;
use crate::units::{NS_PER_S, Rate};

/// The generator's stream that spaces arrivals. Streams of one seed are independent of each other, so
/// changing the requests of a load does not move its arrivals.
const ARRIVALS_STREAM: u64 = 0;
/// The generator's stream that draws requests by weight.
const REQUESTS_STREAM: u64 = 1;
/// Templates of arrival k draw from stream `TEMPLATES_STREAM + k`: each arrival has its own, whoever
/// sends it and whatever was dropped before it.
const TEMPLATES_STREAM: u64 = 2;

/// One intended request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its number in the load, from 1.
    pub number: u64,
    /// Its intended instant, in nanoseconds from the load's start.
    pub at_ns: u64,
    /// Which request, as an index into the load's list.
    pub request: u32,
}

/// The arrivals of a load in order of their instants. Ends only where instants no longer fit in 64 bits
/// (584 years), at once for a rate of zero.
#[derive(Clone, Debug)]
pub struct Schedule {
    gaps: Gaps,
    draw: Draw,
    number: u64,
}

impl Schedule {
    /// The arrivals of a planned load.
    pub fn of(plan: &LoadPlan) -> Self {
        let weights = weights(plan);
        let rate = plan.load.rate.as_ref().map_or(Rate::per_s(0.0), |rate| rate.value);
        Self::new(plan.load.arrivals, rate, &weights, plan.seed)
    }

    /// The arrivals of a load at `rate`, its requests drawn by `weights` (one each; a load whose weights
    /// are all zero draws its first).
    pub fn new(arrivals: Arrivals, rate: Rate, weights: &[u32], seed: u64) -> Self {
        let gaps = match arrivals {
            Arrivals::Constant => Gaps::Constant(Multiples::of_period(rate)),
            Arrivals::Poisson => Gaps::Poisson(Box::new(Exponential::new(rate, seed))),
        };
        Self { gaps, draw: Draw::new(weights, seed), number: 0 }
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let at_ns = match &mut self.gaps {
            Gaps::Constant(multiples) => multiples.next(),
            Gaps::Poisson(exponential) => exponential.next(),
        }?;
        self.number += 1;
        Some(Arrival { number: self.number, at_ns, request: self.draw.next() })
    }
}

/// The random values of arrival `number`'s templates: its own stream of the load's seed.
pub fn template_rng(seed: u64, number: u64) -> ChaCha8Rng {
    stream(seed, TEMPLATES_STREAM.wrapping_add(number))
}

/// Draws a whole number from 0 to `below` - 1 by scaling: its bias is below 2^-32 for any weight there is.
pub fn below(rng: &mut ChaCha8Rng, below: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(below)) >> 64) as u64
}

fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

#[derive(Clone, Debug)]
enum Gaps {
    Constant(Multiples),
    Poisson(Box<Exponential>),
}

/// The instants k·10⁹/rate for k = 1, 2, …, each rounded to the nearest nanosecond, by integers alone:
/// a binary floating-point rate is a fraction m/2^s, so the period is 10⁹·2^s/m exactly.
#[derive(Clone, Debug)]
struct Multiples {
    whole_ns: u64,
    part: u128,
    of: u128,
    at_ns: u64,
    rest: u128,
}

impl Multiples {
    /// Multiples of the rate's period; none for a rate of zero or below one in 1,000 years.
    fn of_period(rate: Rate) -> Self {
        let never = Self { whole_ns: u64::MAX, part: 0, of: 1, at_ns: u64::MAX, rest: 0 };
        let (mantissa, exponent) = fraction(rate.as_per_s());
        if mantissa == 0 || exponent < -90 {
            return never;
        }
        // rate = mantissa · 2^exponent. Beyond 2^63 a second the period is below a nanosecond's billionth.
        let scaled = u128::from(NS_PER_S) << (-exponent).max(0);
        let of = u128::from(mantissa) << exponent.clamp(0, 63);
        let Ok(whole_ns) = u64::try_from(scaled / of) else {
            return never;
        };
        // Starting half a unit up makes every truncation a rounding.
        Self { whole_ns, part: scaled % of, of, at_ns: 0, rest: of / 2 }
    }

    fn next(&mut self) -> Option<u64> {
        self.rest += self.part;
        let carry = self.rest >= self.of;
        if carry {
            self.rest -= self.of;
        }
        self.at_ns = self.at_ns.checked_add(self.whole_ns)?.checked_add(u64::from(carry))?;
        Some(self.at_ns)
    }
}

/// A positive finite number as mantissa · 2^exponent, mantissa odd; 0 for anything else.
const fn fraction(value: f64) -> (u64, i32) {
    if !value.is_finite() || value <= 0.0 {
        return (0, 0);
    }
    let bits = value.to_bits();
    let biased = ((bits >> 52) & 0x7ff) as i32;
    let digits = bits & ((1 << 52) - 1);
    let (mantissa, exponent) =
        if biased == 0 { (digits, -1074) } else { (digits | (1 << 52), biased - 1075) };
    let even = mantissa.trailing_zeros();
    (mantissa >> even, exponent + even.cast_signed())
}

/// Instants with exponential gaps. Whole nanoseconds and the fraction are summed apart, so that the
/// millionth gap is added as exactly as the first.
#[derive(Clone, Debug)]
struct Exponential {
    rng: ChaCha8Rng,
    mean_ns: f64,
    at_ns: u64,
    fraction_ns: f64,
}

impl Exponential {
    fn new(rate: Rate, seed: u64) -> Self {
        let mean_ns = NS_PER_S as f64 / rate.as_per_s();
        Self { rng: stream(seed, ARRIVALS_STREAM), mean_ns, at_ns: 0, fraction_ns: 0.0 }
    }

    fn next(&mut self) -> Option<u64> {
        // 53 random bits, from just above 0 to 1: the logarithm of 0 never comes up.
        let uniform = ((self.rng.next_u64() >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64);
        let gap_ns = -uniform.ln() * self.mean_ns + self.fraction_ns;
        // Of a rate of zero every gap is infinite, or no number where the logarithm is 0.
        if gap_ns.is_nan() || gap_ns >= u64::MAX as f64 {
            return None;
        }
        let whole_ns = gap_ns.floor();
        self.fraction_ns = gap_ns - whole_ns;
        self.at_ns = self.at_ns.checked_add(whole_ns as u64)?;
        Some(self.at_ns)
    }
}

fn weights(plan: &LoadPlan) -> Vec<u32> {
    plan.load.requests.iter().map(|request| request.weight.value).collect()
}

/// Draws requests by weight.
#[derive(Clone, Debug)]
pub struct Draw {
    rng: ChaCha8Rng,
    /// Running sums of the weights.
    upto: Vec<u64>,
}

impl Draw {
    /// The requests of a planned load, as its schedule draws them.
    pub fn of(plan: &LoadPlan) -> Self {
        Self::new(&weights(plan), plan.seed)
    }

    fn new(weights: &[u32], seed: u64) -> Self {
        let upto = weights
            .iter()
            .scan(0u64, |sum, weight| {
                *sum += u64::from(*weight);
                Some(*sum)
            })
            .collect();
        Self { rng: stream(seed, REQUESTS_STREAM), upto }
    }

    /// The next one, as an index into the load's list.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so an Option would be noise")]
    pub fn next(&mut self) -> u32 {
        let total = self.upto.last().copied().unwrap_or(0);
        if self.upto.len() < 2 || total == 0 {
            return 0;
        }
        let drawn = below(&mut self.rng, total);
        u32::try_from(self.upto.partition_point(|upto| *upto <= drawn)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn instants(arrivals: Arrivals, per_s: f64, seed: u64) -> impl Iterator<Item = u64> {
        Schedule::new(arrivals, Rate::per_s(per_s), &[1], seed).map(|arrival| arrival.at_ns)
    }

    #[test]
    fn constant_instants_are_exact() {
        for (per_s, number, at_ns) in [
            (2_000.0, 1u64, 500_000u64),
            (3.0, 1, 333_333_333),
            (3.0, 2, 666_666_667),
            (3.0, 3, NS_PER_S),
            (1.0 / 60.0, 7, 420 * NS_PER_S),
            (10.0 / 60.0, 1, 6 * NS_PER_S),
            (1e9, 1_000_000, 1_000_000),
            (30_000.0, 3_000_000, 100 * NS_PER_S),
            (4e9, 4_000, 1_000),
        ] {
            let found = instants(Arrivals::Constant, per_s, 1).nth(number as usize - 1);
            assert_eq!(found, Some(at_ns), "arrival {number} at {per_s}/s");
        }
    }

    #[test]
    fn a_rate_of_zero_has_no_arrivals() {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            for per_s in [0.0, 1e-300] {
                assert_eq!(instants(arrivals, per_s, 1).next(), None, "{arrivals:?} at {per_s}/s");
            }
        }
    }

    proptest! {
        /// Against the same by 128-bit division of each multiple; rates with few digits, so that it fits.
        #[test]
        fn constant_instants_match_division(eighths in 1u32..1_000_000, upto in 1usize..2_000) {
            let rate = f64::from(eighths) / 8.0;
            for (k, at_ns) in (1u128..).zip(instants(Arrivals::Constant, rate, 1).take(upto)) {
                let of = u128::from(eighths);
                let slow = (k * 8 * u128::from(NS_PER_S) + of / 2) / of;
                prop_assert_eq!(u128::from(at_ns), slow);
            }
        }

        #[test]
        fn a_schedule_is_a_function_of_its_seed(seed: u64, per_s in 0.1f64..1e6) {
            let weights = [3, 1, 0, 5];
            let make = |seed| Schedule::new(Arrivals::Poisson, Rate::per_s(per_s), &weights, seed).take(50);
            let (first, again, other): (Vec<_>, Vec<_>, Vec<_>) =
                (make(seed).collect(), make(seed).collect(), make(seed ^ 1).collect());
            prop_assert_eq!(&first, &again);
            prop_assert_ne!(&first, &other);
            prop_assert!(first.is_sorted_by_key(|arrival| arrival.at_ns));
            prop_assert!(first.iter().all(|arrival| arrival.request != 2), "a weight of zero is never drawn");
        }

        /// Weights change which request is sent, never when.
        #[test]
        fn weights_do_not_move_arrivals(seed: u64, weights in prop::collection::vec(0u32..9, 1..6)) {
            let rate = Rate::per_s(1_000.0);
            let some = Schedule::new(Arrivals::Poisson, rate, &weights, seed).take(100);
            let one = Schedule::new(Arrivals::Poisson, rate, &[1], seed).take(100);
            prop_assert!(some.map(|arrival| arrival.at_ns).eq(one.map(|arrival| arrival.at_ns)));
        }
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        const N: usize = 200_000;
        const MEAN_NS: f64 = 50_000.0;
        let at: Vec<u64> = instants(Arrivals::Poisson, 1e9 / MEAN_NS, 7).take(N).collect();
        let gaps: Vec<f64> = std::iter::once(at[0])
            .chain(at.windows(2).map(|two| two[1] - two[0]))
            .map(|ns| ns as f64)
            .collect();
        let mean = gaps.iter().sum::<f64>() / N as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / N as f64;
        // Five standard errors: 1/√N of the mean, √8/√N of the variance.
        let error = 5.0 / (N as f64).sqrt();
        assert!((mean / MEAN_NS - 1.0).abs() < error, "mean {mean}");
        assert!((variance / MEAN_NS.powi(2) - 1.0).abs() < error * 8f64.sqrt(), "variance {variance}");
        // And the shape: each tenth of the distribution holds a tenth of the gaps.
        let mut tenths = [0usize; 10];
        for gap in &gaps {
            tenths[(((1.0 - (-gap / MEAN_NS).exp()) * 10.0) as usize).min(9)] += 1;
        }
        for count in tenths {
            assert!((count as f64 / N as f64 - 0.1).abs() < 5.0 * (0.09 / N as f64).sqrt(), "{tenths:?}");
        }
        // Neighbours do not know of each other.
        let lag_1: f64 =
            gaps.windows(2).map(|two| (two[0] - mean) * (two[1] - mean)).sum::<f64>() / (variance * N as f64);
        assert!(lag_1.abs() < error, "lag-1 correlation {lag_1}");
    }

    #[test]
    fn poisson_does_not_drift() {
        // A million arrivals at 3·10⁸/s, each gap some nanoseconds that rounding each would lose: within five
        // standard deviations (√N gaps).
        let last = instants(Arrivals::Poisson, 3e8, 3).nth(999_999).unwrap() as f64;
        assert!((last / (1e6 / 0.3) - 1.0).abs() < 5.0 / 1e3, "{last}");
    }

    #[test]
    fn requests_come_by_weight() {
        const N: usize = 100_000;
        let weights = [4u32, 1, 0, 5];
        let mut counts = [0usize; 4];
        for arrival in Schedule::new(Arrivals::Constant, Rate::per_s(1.0), &weights, 9).take(N) {
            counts[arrival.request as usize] += 1;
        }
        for (count, weight) in counts.into_iter().zip(weights) {
            let share = f64::from(weight) / 10.0;
            let error = 5.0 * (share * (1.0 - share) / N as f64).sqrt();
            assert!((count as f64 / N as f64 - share).abs() <= error, "{counts:?}");
        }
    }
}
