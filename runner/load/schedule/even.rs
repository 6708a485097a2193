//! Instants at a rate that stays: multiples of its period, exactly, and sums of exponential gaps.
//!
//! Start at [`Multiples`] and [`Exponential`].

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::units::{NS_PER_S, Rate};

/// A gap of a Poisson process of one arrival a unit: exponential, of mean 1.
pub fn unit_gap(rng: &mut ChaCha8Rng) -> f64 {
    // 53 random bits, from just above 0 to 1: the logarithm of 0 never comes up.
    let uniform = ((rng.next_u64() >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64);
    -uniform.ln()
}

/// The instants k·10⁹/rate for k = 1, 2, …, each rounded to the nearest nanosecond, by integers alone:
/// a binary floating-point rate is a fraction m/2^s, so the period is 10⁹·2^s/m exactly.
#[derive(Clone, Debug)]
pub struct Multiples {
    whole_ns: u64,
    part: u128,
    of: u128,
    at_ns: u64,
    rest: u128,
}

impl Multiples {
    /// Multiples of the period of a rate with `burst` arrivals at each instant; none for a rate of zero or below one in 1,000 years.
    pub fn of_period(rate: Rate, burst: u32) -> Self {
        let never = Self { whole_ns: u64::MAX, part: 0, of: 1, at_ns: u64::MAX, rest: 0 };
        let (mantissa, exponent) = fraction(rate.as_per_s());
        if mantissa == 0 || exponent < -90 {
            return never;
        }
        // rate = mantissa · 2^exponent. Beyond 2^63 a second the period is below a nanosecond's billionth.
        let Some(scaled) = (u128::from(NS_PER_S) << (-exponent).max(0)).checked_mul(u128::from(burst)) else {
            return never;
        };
        let of = u128::from(mantissa) << exponent.clamp(0, 63);
        let Ok(whole_ns) = u64::try_from(scaled / of) else {
            return never;
        };
        // Starting half a unit up makes every truncation a rounding.
        Self { whole_ns, part: scaled % of, of, at_ns: 0, rest: of / 2 }
    }

    pub fn next(&mut self) -> Option<u64> {
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
pub struct Exponential {
    rng: ChaCha8Rng,
    mean_ns: f64,
    at_ns: u64,
    fraction_ns: f64,
}

impl Exponential {
    pub fn new(rate: Rate, burst: u32, rng: ChaCha8Rng) -> Self {
        let mean_ns = NS_PER_S as f64 * f64::from(burst) / rate.as_per_s();
        Self { rng, mean_ns, at_ns: 0, fraction_ns: 0.0 }
    }

    pub fn next(&mut self) -> Option<u64> {
        let gap_ns = unit_gap(&mut self.rng) * self.mean_ns + self.fraction_ns;
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
