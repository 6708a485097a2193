//! A piece of a rate's course, and at which instant so many arrivals of it have come: in closed form.
//!
//! Masses are whole numbers, so that pieces add up without loss however many follow each other; only where
//! in a piece an instant lies is found in floating point, from whichever end keeps its digits. Start at
//! [`Piece::instant`].

use std::f64::consts::{FRAC_PI_2, TAU};

use crate::units::{NS_PER_S, Rate};

/// Binary digits of a rate behind the point: a grain is one arrival in 35,000 years.
const GRAIN_BITS: i32 = 40;

/// The mass of one arrival. A rate of `r` grains has a mass of 2·r in each nanosecond: twice, so that the
/// area under a slope, (from + to)·length, is a whole number too.
pub const ARRIVAL: u128 = (2 * NS_PER_S as u128) << GRAIN_BITS;

/// The most grains of a rate, 4 million a second: what a piece of 584 years then holds still fits in 128 bits.
const MAX_GRAINS: f64 = (1u64 << 62) as f64;

/// A stretch of time and the rate in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    /// How long it is.
    pub length_ns: u64,
    course: Course,
}

/// How the rate moves in a piece; in grains.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Course {
    /// In a straight line.
    Line { from: u64, to: u64 },
    /// Through one whole wave, which begins at the mean, rising; `swing` is the amplitude over the mean, 0 to 1.
    Wave { mean: u64, swing: f64 },
}

fn grains(rate: Rate) -> u64 {
    (rate.as_per_s() * f64::from(GRAIN_BITS).exp2()).round().clamp(0.0, MAX_GRAINS) as u64
}

impl Piece {
    /// A rate that goes from one to the other in a straight line.
    pub fn line(length_ns: u64, from: Rate, to: Rate) -> Self {
        Self { length_ns, course: Course::Line { from: grains(from), to: grains(to) } }
    }

    /// One wave around a mean; a swing beyond the mean is cut to it.
    pub fn wave(length_ns: u64, mean: Rate, amplitude: Rate) -> Self {
        let swing = (amplitude.as_per_s() / mean.as_per_s()).clamp(0.0, 1.0);
        let swing = if swing.is_nan() { 0.0 } else { swing };
        Self { length_ns, course: Course::Wave { mean: grains(mean), swing } }
    }

    /// The mass of all of it.
    pub fn mass(&self) -> u128 {
        let twice_mean = match self.course {
            Course::Line { from, to } => u128::from(from) + u128::from(to),
            Course::Wave { mean, .. } => 2 * u128::from(mean),
        };
        twice_mean * u128::from(self.length_ns)
    }

    /// The instant, in nanoseconds from its start, at which `mass` of it has come; at most all of it.
    pub fn instant(&self, mass: u128) -> u64 {
        let all = self.mass();
        if mass == 0 || all == 0 {
            return 0;
        }
        if mass >= all {
            return self.length_ns;
        }
        let instant = match self.course {
            Course::Line { from, to } if from == to => {
                let (mass, rate) = (mass, u128::from(from));
                return u64::try_from((mass + rate) / (2 * rate)).unwrap_or(u64::MAX);
            }
            Course::Line { from, to } if from < to => climb(from, to, self.length_ns, mass),
            // Seen backwards it climbs: near its foot, which may be at 0, only that keeps the digits.
            Course::Line { from, to } => {
                return self.length_ns - climb(to, from, self.length_ns, all - mass).round() as u64;
            }
            Course::Wave { swing, .. } => {
                let anomaly = wave_angle(TAU * (mass as f64 / all as f64 - 0.75) - swing, swing);
                (anomaly / TAU + 0.75) * self.length_ns as f64
            }
        };
        (instant.round() as u64).min(self.length_ns)
    }

    /// Arrivals up to an instant, in nanoseconds from its start.
    pub fn arrivals_until(&self, t_ns: u64) -> f64 {
        let (t, length) = (t_ns.min(self.length_ns) as f64, self.length_ns as f64);
        let mass = match self.course {
            Course::Line { from, to } => (2.0 * from as f64 + (to as f64 - from as f64) * t / length) * t,
            Course::Wave { mean, swing } => {
                let wave = swing * length / TAU * (1.0 - (TAU * t / length).cos());
                2.0 * mean as f64 * (t + wave)
            }
        };
        if self.length_ns == 0 { 0.0 } else { mass / ARRIVAL as f64 }
    }
}

/// When a rate that climbs from `from` to `to` has brought `mass`: the root of
/// 2·from·t + (to − from)/length·t² = mass, in the form whose terms are all positive.
fn climb(from: u64, to: u64, length_ns: u64, mass: u128) -> f64 {
    let (from, mass) = (from as f64, mass as f64);
    let slope = (to as f64 - from) / length_ns as f64;
    let root = (from * from + slope * mass).sqrt();
    if mass == 0.0 { 0.0 } else { mass / (from + root) }
}

/// Solves θ − swing·sin θ = `z` (Kepler's equation), θ being the angle from the wave's trough: counted from
/// there, because in a trough that touches 0 the left side is flat and any other origin loses digits.
/// Newton's steps, kept in a bracket that halves where they leave it.
fn wave_angle(z: f64, swing: f64) -> f64 {
    /// Halving alone gets from a whole turn to the last digit of an angle in these.
    const MOST_STEPS: usize = 64;
    let (mut low, mut high) = (-3.0 * FRAC_PI_2, FRAC_PI_2);
    let mut angle = z.clamp(low, high);
    for _ in 0..MOST_STEPS {
        let excess = (1.0 - swing) * angle + swing * angle_less_sine(angle) - z;
        if excess > 0.0 {
            high = angle
        } else {
            low = angle
        }
        let slope = (1.0 - swing) + 2.0 * swing * (angle / 2.0).sin().powi(2);
        let newton = angle - excess / slope;
        let next = if (low..=high).contains(&newton) { newton } else { low.midpoint(high) };
        let step = (next - angle).abs();
        angle = next;
        if step <= f64::EPSILON * angle.abs().max(f64::MIN_POSITIVE) || excess == 0.0 {
            break;
        }
    }
    angle
}

/// θ − sin θ, also where both are nearly the same.
fn angle_less_sine(angle: f64) -> f64 {
    if angle.abs() > 0.5 {
        return angle - angle.sin();
    }
    let square = angle * angle;
    let rest = [156.0, 110.0, 72.0, 42.0, 20.0].into_iter().fold(1.0, |rest, of| 1.0 - square / of * rest);
    angle * square / 6.0 * rest
}
