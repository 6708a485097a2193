//! A check over every sliding window of a phase, at the cost of merging each interval once.
//!
//! A window that moves on by an interval takes one in and gives one up, and histograms are counts: what was
//! added can be taken away again. Merging each window anew would cost an hour-long run its length times the
//! window's.

use std::borrow::Cow;

use crate::event::Measured;
use crate::load::record::Stats;

/// What was measured in one interval, as far as a figure is about it.
pub(super) struct Piece<'i> {
    pub from_ns: u64,
    pub to_ns: u64,
    pub stats: Cow<'i, Stats>,
}

impl<'i> Piece<'i> {
    /// All of an interval.
    pub const fn whole(from_ns: u64, to_ns: u64, stats: &'i Stats) -> Self {
        Self { from_ns, to_ns, stats: Cow::Borrowed(stats) }
    }

    /// What was taken out of an interval.
    pub const fn part(from_ns: u64, to_ns: u64, stats: Stats) -> Self {
        Self { from_ns, to_ns, stats: Cow::Owned(stats) }
    }
}

/// A window over a figure's pieces, sorted by start, that only moves forward.
struct Sliding<'i> {
    pieces: &'i [Piece<'i>],
    /// Of `pieces[first..last]`.
    stats: Stats,
    first: usize,
    last: usize,
}

impl<'i> Sliding<'i> {
    fn new(pieces: &'i [Piece<'i>]) -> Self {
        Self { pieces, stats: Stats::default(), first: 0, last: 0 }
    }

    /// Moves on to what begins between two instants, neither of which is before where it was.
    fn advance(&mut self, from_ns: u64, to_ns: u64) {
        let first = self.pieces.partition_point(|piece| piece.from_ns < from_ns);
        let last = self.pieces.partition_point(|piece| piece.from_ns < to_ns);
        for piece in &self.pieces[self.first..first.min(self.last)] {
            self.stats.take_away(&piece.stats);
        }
        for piece in &self.pieces[first.max(self.last)..last] {
            self.stats.merge_total(&piece.stats);
        }
        (self.first, self.last) = (first, last);
    }

    /// How long the window is, in seconds: whole intervals may cover a little more than was asked for.
    fn seconds(&self) -> f64 {
        let window = &self.pieces[self.first..self.last];
        let from_ns = window.iter().map(|piece| piece.from_ns).min().unwrap_or(0);
        let to_ns = window.iter().map(|piece| piece.to_ns).max().unwrap_or(0);
        (to_ns - from_ns) as f64 / 1e9
    }
}

/// The first sliding window of `over_ns` that does not hold, else the last one, and the instant of its end.
/// Windows start where pieces, which are sorted by start in each list, do, and end by `to_ns`. `measure` is given
/// what each list's window adds up to and its seconds; nothing and 0 where there is no window.
pub(super) fn worst_window(
    lists: &[&[Piece<'_>]],
    over_ns: u64,
    to_ns: u64,
    measure: impl Fn(&[(&Stats, f64)]) -> Measured,
) -> (Measured, u64) {
    let mut answer = None;
    let mut starts: Vec<_> = lists.iter().flat_map(|list| list.iter().map(|piece| piece.from_ns)).collect();
    starts.sort_unstable();
    starts.dedup();
    let mut windows: Vec<Sliding<'_>> = lists.iter().map(|list| Sliding::new(list)).collect();
    for start in starts.into_iter().filter(|start| start + over_ns <= to_ns) {
        windows.iter_mut().for_each(|window| window.advance(start, start + over_ns));
        let seen: Vec<_> = windows.iter().map(|window| (&window.stats, window.seconds())).collect();
        let measured = measure(&seen);
        let failed = measured.holds == Some(false);
        answer = Some((measured, start + over_ns));
        if failed {
            break;
        }
    }
    let nothing = Stats::default();
    answer.unwrap_or_else(|| (measure(&vec![(&nothing, 0.0); lists.len()]), to_ns))
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
        intervals: &[Piece<'_>],
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
                stats.merge_total(&interval.stats);
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
                .map(|(from_s, to_s, stats)| Piece::whole(from_s * 1_000_000_000, to_s * 1_000_000_000, stats))
                .collect();
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
                let sliding =
                    worst_window(&[&intervals], over_ns, to_ns, |seen| measure(seen[0].0, seen[0].1));
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
