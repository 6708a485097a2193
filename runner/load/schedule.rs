//! When requests are meant to be sent, and which: a pure function of the arrival model and the seed.
//!
//! The open model's whole honesty rests on this: the k-th intended instant is known before anything is
//! sent and does not move when answers are late. Lazy and in constant memory, because a load has no end of
//! its own. Must never read a clock or depend on how the engine keeps up. Start at [`Schedule`].

mod even;
mod piece;
mod profile;

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use self::even::{Exponential, Multiples, unit_gap};
use self::piece::ARRIVAL;
use self::profile::Walk;
use crate::plan::LoadPlan;
use crate::spec::{Arrivals, Shape};
use crate::units::Rate;

pub use profile::Profile;

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

/// The arrivals of a load in order of their instants. Ends only with the last recorded offset of a replay,
/// where a rate goes to zero for ever, and where instants no longer fit in 64 bits (584 years).
#[derive(Debug)]
pub struct Schedule {
    source: Source,
    /// Arrivals at each instant, at least 1.
    burst: u32,
    /// What the source's instants count from, in nanoseconds from the load's start.
    base_ns: u64,
    /// Another source that takes over at an instant.
    then: Option<(u64, Box<Source>)>,
    /// How many of them are still to come at `at_ns`.
    left: u32,
    at_ns: u64,
    draw: Draw,
    number: u64,
}

impl Schedule {
    /// The arrivals of a planned load: none of one without a rate, nor of a replay, whose instants are in a
    /// file ([`Schedule::replaying`]).
    pub fn of(plan: &LoadPlan) -> Self {
        let shape = plan.load.rate.as_ref().map_or(Shape::Held(Rate::per_s(0.0)), |rate| rate.value.clone());
        Self::shaped(&shape, plan.load.arrivals, plan.load.burst.value, &weights(plan), plan.seed)
    }

    /// The arrivals of a load that replays recorded offsets, given in nanoseconds from the load's start; an
    /// offset before the one before it counts as the same.
    pub fn replaying(plan: &LoadPlan, offsets_ns: impl Iterator<Item = u64> + Send + 'static) -> Self {
        Self::from(Source::Replayed(Offsets(Box::new(offsets_ns))), 1, &weights(plan), plan.seed)
    }

    /// The arrivals of a load at a `rate` that stays, its requests drawn by `weights` (one each; a load whose
    /// weights are all zero draws its first).
    pub fn new(arrivals: Arrivals, rate: Rate, weights: &[u32], seed: u64) -> Self {
        Self::shaped(&Shape::Held(rate), arrivals, 1, weights, seed)
    }

    /// The arrivals of a load whose rate has a shape, `burst` (at least 1) at each instant.
    pub fn shaped(shape: &Shape, arrivals: Arrivals, burst: u32, weights: &[u32], seed: u64) -> Self {
        let burst = burst.max(1);
        let rng = || stream(seed, ARRIVALS_STREAM);
        let source = match (shape, arrivals) {
            (Shape::Held(rate), Arrivals::Constant) => Source::Even(Multiples::of_period(*rate, burst)),
            (Shape::Held(rate), Arrivals::Poisson) => {
                Source::Poisson(Box::new(Exponential::new(*rate, burst, rng())))
            }
            (shape, arrivals) => match Profile::of(shape) {
                None => Source::Replayed(Offsets(Box::new(std::iter::empty()))),
                Some(profile) => Source::Shaped(Box::new(Shaped {
                    walk: Walk::along(profile),
                    rng: (arrivals == Arrivals::Poisson).then(rng),
                    mass: ARRIVAL * u128::from(burst),
                })),
            },
        };
        Self::from(source, burst, weights, seed)
    }

    /// The same load at another rate that stays, to be given to [`Schedule::switch`]; `nth` tells the random
    /// gaps of one switch from those of the others.
    pub fn at_rate(plan: &LoadPlan, rate: Rate, nth: u64) -> Self {
        // Any odd factor will do: the generator mixes its seed.
        let seed = plan.seed ^ nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self::shaped(&Shape::Held(rate), plan.load.arrivals, plan.load.burst.value, &weights(plan), seed)
    }

    /// From `at_ns` after the load's start on, arrivals are those of `other`, counted from there; those due
    /// before stay. `ahead_ns` are the instants (ascending) of what was taken and not used yet: those before
    /// `at_ns` still count, the others are void. Numbers and requests go on as if those had never been.
    pub fn switch(&mut self, at_ns: u64, other: Self, ahead_ns: &[u64]) {
        self.then = Some((at_ns, Box::new(other.source)));
        let void = ahead_ns.len() - ahead_ns.partition_point(|taken_ns| *taken_ns < at_ns);
        if void > 0 {
            self.number -= void as u64;
            self.draw.seek(self.number);
            self.left = 0;
            // Whatever the old source still has is past the switch: it has nothing to say any more.
            self.source = Source::Replayed(Offsets(Box::new(std::iter::empty())));
            self.at_ns = at_ns;
        }
    }

    fn from(source: Source, burst: u32, weights: &[u32], seed: u64) -> Self {
        Self {
            source,
            burst,
            base_ns: 0,
            then: None,
            left: 0,
            at_ns: 0,
            draw: Draw::new(weights, seed),
            number: 0,
        }
    }
}

fn weights(plan: &LoadPlan) -> Vec<u32> {
    plan.load.requests.iter().map(|request| request.weight.value).collect()
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        if self.left == 0 {
            let mut at_ns = self.source.next().and_then(|at_ns| self.base_ns.checked_add(at_ns));
            if let Some((from_ns, _)) = &self.then
                && at_ns.is_none_or(|at_ns| at_ns >= *from_ns)
                && let Some((from_ns, source)) = self.then.take()
            {
                (self.base_ns, self.source) = (from_ns, *source);
                at_ns = self.source.next().and_then(|at_ns| from_ns.checked_add(at_ns));
            }
            self.at_ns = self.at_ns.max(at_ns?);
            self.left = self.burst;
        }
        self.left -= 1;
        self.number += 1;
        Some(Arrival { number: self.number, at_ns: self.at_ns, request: self.draw.next() })
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

/// Where instants come from.
#[derive(Debug)]
enum Source {
    /// A rate that stays, at equal gaps.
    Even(Multiples),
    /// A rate that stays, at exponential gaps.
    Poisson(Box<Exponential>),
    /// A rate that changes.
    Shaped(Box<Shaped>),
    /// A recording.
    Replayed(Offsets),
}

impl Source {
    fn next(&mut self) -> Option<u64> {
        match self {
            Self::Even(multiples) => multiples.next(),
            Self::Poisson(exponential) => exponential.next(),
            Self::Shaped(shaped) => shaped.next(),
            Self::Replayed(Offsets(offsets)) => offsets.next(),
        }
    }
}

/// Instants of a rate that changes: those at which its integral has grown by the next gap. Equal gaps make
/// the k-th arrival where the integral reaches k; exponential ones of mean 1 make a Poisson process of that
/// rate (time rescaling, after Papangelou).
#[derive(Debug)]
struct Shaped {
    walk: Walk,
    /// What draws the gaps; nothing: they are equal.
    rng: Option<ChaCha8Rng>,
    /// The mean gap, as mass.
    mass: u128,
}

impl Shaped {
    fn next(&mut self) -> Option<u64> {
        let mass = match &mut self.rng {
            None => self.mass,
            Some(rng) => (unit_gap(rng) * self.mass as f64) as u128,
        };
        self.walk.advance(mass)
    }
}

/// Recorded offsets, read by whoever made the schedule.
struct Offsets(Box<dyn Iterator<Item = u64> + Send>);

impl fmt::Debug for Offsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offsets")
    }
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

    /// Goes to where `count` requests have been drawn.
    fn seek(&mut self, count: u64) {
        // Of weights that leave no choice nothing was drawn.
        if self.upto.len() >= 2 {
            self.rng.set_word_pos(u128::from(count) * 2);
        }
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
mod shape_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::NS_PER_S;
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
