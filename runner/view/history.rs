//! What the stream was like so far, in as little room as a screen can show.
//!
//! Looks are kept by stretches of time; when there are more stretches than any terminal has columns, neighbours
//! become one and stretches twice as long. Of several looks the worst is kept, so that a bad second stays in sight
//! for the rest of a day's run.

use crate::event::Tick;
use crate::units::NS_PER_S;

/// The most stretches that are kept: more than columns of the widest terminal.
const STRETCHES_MAX: usize = 1_024;

/// The shortest stretch: ticks come once a second.
const SHORTEST_NS: u64 = NS_PER_S;

/// A look at the stream, or several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    /// Arrivals that ended, a second: the fewest.
    pub rate_per_s: f64,
    /// Share of them that ended well: the smallest; nothing if none ended.
    pub good_ratio: Option<f64>,
    /// 99th percentile of latency: the largest.
    pub p99_ms: Option<f64>,
}

impl Look {
    fn with(self, other: Self) -> Self {
        let worse = |one: Option<f64>, other: Option<f64>, pick: fn(f64, f64) -> f64| match (one, other) {
            (Some(one), Some(other)) => Some(pick(one, other)),
            (one, other) => one.or(other),
        };
        Self {
            rate_per_s: self.rate_per_s.min(other.rate_per_s),
            good_ratio: worse(self.good_ratio, other.good_ratio, f64::min),
            p99_ms: worse(self.p99_ms, other.p99_ms, f64::max),
        }
    }
}

/// Looks by stretch of time, from the run's start on.
#[derive(Debug)]
pub(super) struct History {
    every_ns: u64,
    looks: Vec<Option<Look>>,
}

impl Default for History {
    fn default() -> Self {
        Self { every_ns: SHORTEST_NS, looks: Vec::new() }
    }
}

impl History {
    /// Takes a look in, made at `t_ns`.
    pub fn on(&mut self, t_ns: u64, tick: &Tick) {
        while t_ns / self.every_ns >= STRETCHES_MAX as u64 {
            self.every_ns *= 2;
            self.looks = self.looks.chunks(2).map(|pair| worst(pair.iter().copied())).collect();
        }
        let at = (t_ns / self.every_ns) as usize;
        if self.looks.len() <= at {
            self.looks.resize(at + 1, None);
        }
        let look = Look { rate_per_s: tick.rate_per_s, good_ratio: tick.good_ratio, p99_ms: tick.p99_ms };
        self.looks[at] = worst([self.looks[at], Some(look)].into_iter());
    }

    /// The worst of what was seen from one instant to another; nothing if nobody looked.
    pub fn between(&self, from_ns: u64, to_ns: u64) -> Option<Look> {
        let from = (from_ns / self.every_ns) as usize;
        let to = (to_ns.div_ceil(self.every_ns) as usize).max(from + 1).min(self.looks.len());
        worst(self.looks.get(from..to)?.iter().copied())
    }
}

fn worst(looks: impl Iterator<Item = Option<Look>>) -> Option<Look> {
    looks.flatten().reduce(Look::with)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_second_of_a_day_stays() {
        let mut history = History::default();
        for second in 0..86_400 {
            let bad = second == 50_000;
            let tick = Tick {
                rate_per_s: 100.0,
                good_ratio: Some(if bad { 0.2 } else { 1.0 }),
                p99_ms: Some(if bad { 900.0 } else { 5.0 }),
                ..Tick::default()
            };
            history.on(second * NS_PER_S, &tick);
        }
        assert!(history.looks.len() <= STRETCHES_MAX, "{}", history.looks.len());
        let whole = history.between(0, 86_400 * NS_PER_S).expect("looks");
        assert_eq!((whole.good_ratio, whole.p99_ms), (Some(0.2), Some(900.0)));
        let calm = history.between(0, 40_000 * NS_PER_S).expect("looks");
        assert_eq!(calm.p99_ms, Some(5.0));
        assert_eq!(history.between(90_000 * NS_PER_S, 90_001 * NS_PER_S), None);
    }
}
