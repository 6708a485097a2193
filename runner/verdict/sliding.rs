//! A check over every sliding window of a phase, at the cost of merging each interval once.
//!
//! A window that moves on by an interval takes one in and gives one up, and histograms are counts: what was
//! added can be taken away again. Merging each window anew would cost an hour-long run its length times the
//! window's.

use super::timeline::Interval;
use crate::event::Measured;
use crate::load::record::Stats;

/// A window over a load's intervals, sorted by start, that only moves forward.
struct Sliding<'i> {
    intervals: &'i [&'i Interval<'i>],
    /// Of `intervals[first..last]`.
    stats: Stats,
    first: usize,
    last: usize,
}

impl<'i> Sliding<'i> {
    fn new(intervals: &'i [&'i Interval<'i>]) -> Self {
        Self { intervals, stats: Stats::default(), first: 0, last: 0 }
    }

    /// Moves on to `first..last`, neither of which is before where it was.
    fn advance(&mut self, first: usize, last: usize) {
        for interval in &self.intervals[self.first..first.min(self.last)] {
            self.stats.take_counts_away(interval.stats);
        }
        for interval in &self.intervals[first.max(self.last)..last] {
            self.stats.add_counts(interval.stats);
        }
        (self.first, self.last) = (first, last);
    }

    /// How long the window is, in seconds: whole intervals may cover a little more than was asked for.
    fn seconds(&self) -> f64 {
        let window = &self.intervals[self.first..self.last];
        let from_ns = window.iter().map(|interval| interval.from_ns).min().unwrap_or(0);
        let to_ns = window.iter().map(|interval| interval.to_ns).max().unwrap_or(0);
        (to_ns - from_ns) as f64 / 1e9
    }
}

/// The first sliding window of `over_ns` that does not hold, else the last one, and the instant of its end.
/// Windows start where intervals, which are sorted by start, do, and end by `to_ns`. `measure` is given what
/// a window's intervals add up to and its seconds; nothing and 0 where there is no window.
pub(super) fn worst_window(
    intervals: &[&Interval<'_>],
    over_ns: u64,
    to_ns: u64,
    measure: impl Fn(&Stats, f64) -> Measured,
) -> (Measured, u64) {
    let mut answer = None;
    let mut starts: Vec<_> = intervals.iter().map(|interval| interval.from_ns).collect();
    starts.dedup();
    let mut window = Sliding::new(intervals);
    for start in starts.into_iter().filter(|start| start + over_ns <= to_ns) {
        window.advance(
            intervals.partition_point(|interval| interval.from_ns < start),
            intervals.partition_point(|interval| interval.from_ns < start + over_ns),
        );
        let measured = measure(&window.stats, window.seconds());
        let failed = measured.holds == Some(false);
        answer = Some((measured, start + over_ns));
        if failed {
            break;
        }
    }
    answer.unwrap_or_else(|| (measure(&Stats::default(), 0.0), to_ns))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::slo::{self, Sample};
    use crate::spec::expr::Check;
    use crate::spec::{Named, fragment};

    /// The same, merging every window anew.
    fn obvious(
        intervals: &[&Interval<'_>],
        over_ns: u64,
        to_ns: u64,
        measure: impl Fn(&Stats, f64) -> Measured,
    ) -> (Measured, u64) {
        let mut answer = None;
        for start in intervals.iter().map(|interval| interval.from_ns) {
            let end_ns = start + over_ns;
            if end_ns > to_ns {
                break;
            }
            let mut stats = Stats::default();
            let mut covered_ns = start;
            for interval in intervals.iter().filter(|one| (start..end_ns).contains(&one.from_ns)) {
                stats.merge(interval.stats);
                covered_ns = covered_ns.max(interval.to_ns);
            }
            let measured = measure(&stats, (covered_ns - start) as f64 / 1e9);
            let failed = measured.holds == Some(false);
            answer = Some((measured, end_ns));
            if failed {
                break;
            }
        }
        answer.unwrap_or_else(|| (measure(&Stats::default(), 0.0), to_ns))
    }

    /// What one interval measured: how many ended well, badly and not at all, at which latencies.
    fn stats(good: u64, bad: u64, refused: u64, latency_ms: &[u64]) -> Stats {
        let mut stats = Stats::default();
        (stats.boxes.good, stats.boxes.bad, stats.boxes.failed) = (good, bad, refused);
        latency_ms.iter().for_each(|ms| stats.latency.record(ms * 1_000_000));
        for (status, count) in [(200, good), (503, bad)].into_iter().filter(|(_, count)| *count > 0) {
            stats.statuses.insert(status, count);
        }
        stats.errors.insert("refused".into(), refused);
        stats
    }

    proptest! {
        // A case is some thousand merges.
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn sliding_is_merging_every_window_anew(
            made in prop::collection::vec(
                // Gaps before intervals, and several that start together, as loads and late answers make.
                (0u64..4, 1u64..3, 0u64..40, 0u64..3, 0u64..2, prop::collection::vec(1u64..20_000, 0..6)),
                0..30,
            ),
            over_s in 1u64..8,
            bound_ms in 1u64..20_000,
        ) {
            let mut from_s = 0;
            let all: Vec<_> = made
                .iter()
                .map(|(gap_s, long_s, good, bad, refused, latency_ms)| {
                    from_s += gap_s;
                    (from_s, from_s + long_s, stats(*good, *bad, *refused, latency_ms))
                })
                .collect();
            let intervals: Vec<_> = all
                .iter()
                .map(|(from_s, to_s, stats)| Interval {
                    load: "a",
                    from_ns: from_s * 1_000_000_000,
                    to_ns: to_s * 1_000_000_000,
                    stats,
                })
                .collect();
            let intervals: Vec<_> = intervals.iter().collect();
            for text in [
                format!("p90(latency) < {bound_ms}ms"),
                format!("max(latency) < {bound_ms}ms"),
                format!("mean(latency) < {bound_ms}ms"),
                "rate(good) >= 90%".into(),
                "rate(good) > 5/s".into(),
                "count(failed) <= 1".into(),
            ] {
                let check: Check = fragment(&format!("'{text}'")).expect("a check");
                let slos = Named::default();
                let seen = std::cell::RefCell::new(Vec::new());
                let measure = |stats: &Stats, seconds| {
                    let refused = stats.errors.get("refused").copied().unwrap_or_default();
                    let maps = (stats.statuses.clone(), refused);
                    seen.borrow_mut().push((stats.boxes, maps));
                    slo::measure(&check, &Sample::of(stats, seconds, &slos))
                };
                let over_ns = over_s * 1_000_000_000;
                let to_ns = (from_s + 2) * 1_000_000_000;
                let sliding = worst_window(&intervals, over_ns, to_ns, measure);
                let mut windows = seen.take();
                prop_assert_eq!(sliding, obvious(&intervals, over_ns, to_ns, measure), "{}", text);
                // Where several intervals start together, the obvious way looks at their window again.
                let mut anew = seen.take();
                windows.dedup();
                anew.dedup();
                prop_assert_eq!(windows, anew, "{}", text);
            }
        }
    }
}
