//! A rate over time and its integral, walked forwards: at which instant so many more arrivals have come.
//!
//! A few pieces that come once, then some that come again and again for ever. What lies between two
//! arrivals is taken off in whole numbers, so that the millionth period begins as exactly as the first.
//! Start at [`Walk::advance`].

use super::piece::Piece;
use crate::spec::shape::{RampPoint, Shape, Sine, Spikes, Steps, Varying};
use crate::units::{Duration, NS_PER_S, Rate};

/// The most pieces of a profile; the language takes no more.
const MAX_PIECES: usize = 1_001;

/// A rate over time, from the load's start to no end.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// What comes first, once. May be empty.
    lead: Vec<Piece>,
    /// What comes then, again and again. Never empty.
    cycle: Vec<Piece>,
}

impl Profile {
    /// The profile of a shape; nothing for recorded arrivals.
    pub fn of(shape: &Shape) -> Option<Self> {
        let held = |rate| Piece::line(NS_PER_S, rate, rate);
        let varying = match shape {
            Shape::Held(rate) => return Some(Self { lead: Vec::new(), cycle: vec![held(*rate)] }),
            Shape::Varying(varying) => varying,
        };
        Some(match varying {
            Varying::Ramp(points) => {
                let last = points.last().map_or(Rate::per_s(0.0), |point| point.rate.value);
                Self { lead: ramp(points), cycle: vec![held(last)] }
            }
            Varying::Steps(steps) => Self { lead: stairs(steps), cycle: vec![held(steps.to.value)] },
            Varying::Spikes(Spikes { base, peak, every, duration }) => {
                let spike_ns = duration.as_ns().min(every.as_ns());
                let cycle = vec![
                    Piece::line(every.as_ns() - spike_ns, base.value, base.value),
                    Piece::line(spike_ns, peak.value, peak.value),
                ];
                Self { lead: Vec::new(), cycle }
            }
            Varying::Sine(Sine { mean, amplitude, period }) => {
                let wave = Piece::wave(period.as_ns(), mean.value, amplitude.value);
                Self { lead: Vec::new(), cycle: vec![wave] }
            }
            Varying::Replay(_) => return None,
        })
    }

    /// Arrivals expected until an instant.
    pub fn arrivals_until(&self, until: Duration) -> f64 {
        let mut left_ns = until.as_ns();
        let mut sum = 0.0;
        for piece in &self.lead {
            sum += piece.arrivals_until(left_ns);
            left_ns = left_ns.saturating_sub(piece.length_ns);
        }
        let cycle_ns = self.cycle_ns();
        if cycle_ns == 0 {
            return sum;
        }
        let whole: f64 = self.cycle.iter().map(|piece| piece.arrivals_until(u64::MAX)).sum();
        sum += whole * (left_ns / cycle_ns) as f64;
        left_ns %= cycle_ns;
        for piece in &self.cycle {
            sum += piece.arrivals_until(left_ns);
            left_ns = left_ns.saturating_sub(piece.length_ns);
        }
        sum
    }

    fn cycle_ns(&self) -> u64 {
        self.cycle.iter().fold(0, |sum, piece| sum.saturating_add(piece.length_ns))
    }
}

fn ramp(points: &[RampPoint]) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(points.len());
    if let Some(first) = points.first().filter(|first| !first.at.is_zero()) {
        pieces.push(Piece::line(first.at.as_ns(), first.rate.value, first.rate.value));
    }
    let pairs = points.iter().zip(points.iter().skip(1)).take(MAX_PIECES);
    pieces.extend(pairs.map(|(from, to)| {
        Piece::line(to.at.as_ns().saturating_sub(from.at.as_ns()), from.rate.value, to.rate.value)
    }));
    pieces
}

/// Every step but the last, which holds.
fn stairs(steps: &Steps) -> Vec<Piece> {
    let (from, to, by) = (steps.from.as_per_s(), steps.to.as_per_s(), steps.by.as_per_s());
    let by = if to < from { -by } else { by };
    (0..MAX_PIECES)
        .map(|step| from + step as f64 * by)
        .take_while(|rate| if by > 0.0 { *rate < to } else { *rate > to })
        .map(|rate| Piece::line(steps.every.as_ns(), Rate::per_s(rate), Rate::per_s(rate)))
        .collect()
}

/// A walk along a profile.
#[derive(Clone, Debug)]
pub struct Walk {
    profile: Profile,
    cycle_mass: u128,
    cycle_ns: u64,
    /// Which piece it is in: those of the lead, then those of the cycle.
    piece: usize,
    /// Where that piece begins.
    start_ns: u64,
    /// How much of its mass is behind.
    behind: u128,
}

impl Walk {
    /// A walk from the start of a profile.
    pub fn along(profile: Profile) -> Self {
        let cycle_mass = profile.cycle.iter().fold(0u128, |sum, piece| sum.saturating_add(piece.mass()));
        let cycle_ns = profile.cycle_ns();
        Self { profile, cycle_mass, cycle_ns, piece: 0, start_ns: 0, behind: 0 }
    }

    /// Walks on until `mass` more has come, and says at which instant that is, in nanoseconds from the
    /// start; nothing if it never comes or later than 584 years from there.
    pub fn advance(&mut self, mass: u128) -> Option<u64> {
        let mut wanted = self.behind.checked_add(mass)?;
        let lead = self.profile.lead.len();
        loop {
            if self.piece == lead {
                // Whole cycles in one go: of a rate of one a day not every millisecond is looked at.
                let whole = wanted.saturating_sub(1).checked_div(self.cycle_mass)?;
                wanted -= whole * self.cycle_mass;
                let skipped_ns = u64::try_from(whole).ok()?.checked_mul(self.cycle_ns)?;
                self.start_ns = self.start_ns.checked_add(skipped_ns)?;
            }
            let piece = match self.piece.checked_sub(lead) {
                None => self.profile.lead[self.piece],
                Some(index) => self.profile.cycle[index],
            };
            let all = piece.mass();
            if wanted <= all {
                self.behind = wanted;
                return self.start_ns.checked_add(piece.instant(wanted));
            }
            wanted -= all;
            self.start_ns = self.start_ns.checked_add(piece.length_ns)?;
            self.piece += 1;
            if self.piece == lead + self.profile.cycle.len() {
                self.piece = lead;
            }
        }
    }
}
