//! A stretch of successive arrivals, none left out, on which independence is tested.
//!
//! Arrivals end in another order than they were due, so the stretch is settled by instants: the first
//! [`WANTED`] that were due after a second of warming up. Bounded in memory, exact in what it holds.

use super::outcome::{End, Sample};
use crate::event::{ArrivalCheck, SuccessionCheck};
use crate::statistics::{CRITICAL_1_PERCENT, exponential_misfit, succession};
use crate::units::NS_PER_S;

/// How many arrivals make the stretch: enough to see gaps that are off by a tenth, few enough that a
/// difference too small to matter to any queue is not made an issue of.
pub const WANTED: usize = 2_000;

/// Connections are opened and caches filled first.
const WARM_UP_NS: u64 = NS_PER_S;

/// After this long nothing of the stretch can still be under way, whatever its timeout.
const LOOKED_FOR_NS: u64 = 120 * NS_PER_S;

/// A stretch of one load.
#[derive(Clone, Debug)]
pub struct Stretch {
    load: u32,
    from_ns: u64,
    /// Arrivals due from then on are not of it.
    until_ns: u64,
    /// Due, sent, took.
    arrivals: Vec<(u64, u64, u64)>,
    dropped: bool,
}

impl Stretch {
    /// A stretch of this load, which begins at `begin_ns`.
    pub const fn new(load: u32, begin_ns: u64) -> Self {
        Self {
            load,
            from_ns: begin_ns + WARM_UP_NS,
            until_ns: u64::MAX,
            arrivals: Vec::new(),
            dropped: false,
        }
    }

    /// Looks for arrivals of the stretch among samples handed over at `now_ns`.
    pub fn take(&mut self, samples: &[Sample], now_ns: u64) {
        if now_ns > self.until_ns.saturating_add(LOOKED_FOR_NS) {
            return;
        }
        for sample in samples.iter().filter(|sample| sample.load == self.load) {
            if !(self.from_ns..self.until_ns).contains(&sample.intended_ns) {
                continue;
            }
            match sample.end {
                End::Dropped => self.dropped = true,
                _ => self.arrivals.push((sample.intended_ns, sample.sent_ns, sample.latency_ns())),
            }
        }
        if self.arrivals.len() > 2 * WANTED {
            self.arrivals.sort_unstable();
            self.until_ns = self.arrivals[WANTED].0;
            self.arrivals.retain(|(intended_ns, ..)| *intended_ns < self.until_ns);
        }
    }

    /// Whether the gaps between these arrivals, as they were sent, are exponential. Nothing where too few
    /// were sent, or not all.
    pub fn arrivals(&self) -> Option<ArrivalCheck> {
        if self.dropped {
            return None;
        }
        let mut sent: Vec<u64> = self.arrivals.iter().map(|(_, sent_ns, _)| *sent_ns).collect();
        sent.sort_unstable();
        sent.truncate(WANTED + 1);
        let mut gaps: Vec<u64> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let misfit = exponential_misfit(&mut gaps)?;
        Some(ArrivalCheck {
            gaps: gaps.len() as u64,
            misfit,
            critical: CRITICAL_1_PERCENT,
            poisson: misfit <= CRITICAL_1_PERCENT,
        })
    }

    /// How the latency of one arrival hangs together with that of the next. Nothing where too few ended.
    pub fn succession(&self) -> Option<SuccessionCheck> {
        let mut arrivals = self.arrivals.clone();
        arrivals.sort_unstable();
        arrivals.truncate(WANTED);
        let latencies: Vec<u64> = arrivals.iter().map(|(.., latency_ns)| *latency_ns).collect();
        let found = succession(&latencies)?;
        Some(SuccessionCheck {
            latencies: latencies.len() as u64,
            correlation: found.correlation,
            independent: !found.is_dependent,
            worth: found.worth,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn sample(intended_ns: u64, took_ns: u64) -> Sample {
        Sample {
            load: 0,
            request: 0,
            end: End::Good(200),
            intended_ns,
            sent_ns: intended_ns,
            first_byte_ns: 0,
            ended_ns: intended_ns + took_ns,
            bytes: 0,
            slos: 0,
            retried: false,
        }
    }

    /// Arrivals a millisecond apart on average, in the order in which they end: every tenth is slow.
    fn arrivals(constant: bool) -> Vec<Sample> {
        let (mut state, mut at_ns) = (3u64, 0);
        let mut samples: Vec<Sample> = (0..10_000u64)
            .map(|number| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let even = ((state >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
                at_ns += if constant { MS } else { (-even.ln() * MS as f64) as u64 };
                sample(at_ns, if number % 10 == 0 { 900 * MS } else { (state >> 50) * 100 })
            })
            .collect();
        samples.sort_by_key(|sample| sample.ended_ns);
        samples
    }

    fn stretch(samples: &[Sample]) -> Stretch {
        let mut stretch = Stretch::new(0, 0);
        for batch in samples.chunks(97) {
            stretch.take(batch, batch.last().unwrap().ended_ns);
        }
        stretch
    }

    #[test]
    fn a_stretch_is_the_first_of_its_load_whatever_ends_first() {
        let samples = arrivals(false);
        let mut due: Vec<u64> =
            samples.iter().map(|sample| sample.intended_ns).filter(|due| *due >= WARM_UP_NS).collect();
        due.sort_unstable();
        let found = stretch(&samples);
        let mut held: Vec<u64> = found.arrivals.iter().map(|(intended_ns, ..)| *intended_ns).collect();
        held.sort_unstable();
        assert_eq!(held, due[..WANTED], "slow ones are among them");
    }

    #[test]
    fn poisson_arrivals_are_told_from_constant_ones() {
        let check = stretch(&arrivals(false)).arrivals().unwrap();
        assert!(check.poisson && check.gaps >= WANTED as u64 - 1, "{check:?}");
        let check = stretch(&arrivals(true)).arrivals().unwrap();
        assert!(!check.poisson && check.misfit > 100.0, "{check:?}");
        let mut with_drop = arrivals(false);
        with_drop[3_000].end = End::Dropped;
        with_drop[3_000].intended_ns = WARM_UP_NS;
        assert_eq!(stretch(&with_drop).arrivals(), None, "not all were sent");
        assert_eq!(stretch(&[]).arrivals(), None);
    }

    #[test]
    fn independent_latencies_are_told_from_stretches_of_slow_ones() {
        assert!(stretch(&arrivals(false)).succession().unwrap().independent);
        let mut slow = arrivals(false);
        slow.iter_mut().for_each(|sample| {
            sample.ended_ns =
                sample.intended_ns + (sample.intended_ns / (50 * MS)) % 2 * MS + sample.intended_ns % 1_000
        });
        let found = stretch(&slow).succession().unwrap();
        assert!(!found.independent && found.worth < 0.5, "{found:?}");
    }
}
