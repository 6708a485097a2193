//! What was measured over time and by phase, for plots: load records merged exactly, then thinned.
//!
//! Records of one interval may repeat, one per load and one more for late answers; they add up before
//! anything is computed. Long runs are thinned to at most [`POINTS_MAX`] points that keep each line's worst
//! interval, so that a bad second never disappears into a good minute.

use std::collections::BTreeMap;

use crate::event::{Entry, Event};
use crate::load::record::{Boxes, Hist, Stats};
use crate::units::NS_PER_S;
use crate::verdict::PhaseReport;

/// The most points of a line: about two screen columns each on a wide screen, and what keeps an hour's page
/// under a megabyte.
pub(super) const POINTS_MAX: usize = 600;

/// The latency percentiles that are plotted over time: quantile and label.
pub(super) const LINES: [(f64, &str); 4] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (1.0, "max")];

/// Percentiles of send lag that are plotted over time.
pub(super) const LAG_LINES: [(f64, &str); 3] =
    [(0.5, "send lag p50"), (0.99, "send lag p99"), (1.0, "send lag max")];

/// Cells of the heatmap in a decade of latency: the eye tells a third more from a third less, not a tenth.
pub(super) const CELLS_PER_DECADE: usize = 8;

/// Decades of latency from [`HEAT_FROM_NS`]: 1 µs to beyond an hour.
const HEAT_DECADES: usize = 10;

/// The latency at which the heatmap's first cell begins.
const HEAT_FROM_NS: f64 = 1e3;

/// Cells of a column of the heatmap before it is cropped.
pub(super) const CELLS: usize = HEAT_DECADES * CELLS_PER_DECADE;

/// The latency in milliseconds at which cell `cell` begins.
pub(super) fn cell_from_ms(cell: usize) -> f64 {
    HEAT_FROM_NS / 1e6 * 10f64.powf(cell as f64 / CELLS_PER_DECADE as f64)
}

/// Reads one box.
type Count = fn(&Boxes) -> u64;

/// How requests end: label and count, in the order in which they are stacked.
pub(super) const OUTCOMES: [(&str, Count); 6] = [
    ("good", |boxes| boxes.good),
    ("bad", |boxes| boxes.bad),
    ("timed out", |boxes| boxes.timed_out),
    ("failed", |boxes| boxes.failed),
    ("dropped", |boxes| boxes.dropped),
    ("cut off", |boxes| boxes.cut_off),
];

/// One point in time: an interval, or several in a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    /// Start, in seconds since the run's start.
    pub from_s: f64,
    /// End.
    pub to_s: f64,
    /// What ended how.
    pub boxes: Boxes,
    /// Latency in milliseconds by [`LINES`], each the worst interval's; nothing if nothing ended.
    pub latency_ms: Option<[f64; LINES.len()]>,
    /// Send lag in milliseconds by [`LAG_LINES`], each the worst interval's; nothing if nothing was sent.
    pub lag_ms: Option<[f64; LAG_LINES.len()]>,
    /// Requests that were not good by class, as the engine names them.
    pub errors: BTreeMap<String, u64>,
    /// Requests that ended by latency: [`CELLS`] counts, the first of latencies from [`cell_from_ms`]`(0)` on.
    pub heat: Vec<u32>,
}

impl Point {
    /// Its middle.
    pub fn middle_s(&self) -> f64 {
        f64::midpoint(self.from_s, self.to_s)
    }

    /// How many a second ended so.
    pub fn per_s(&self, count: u64) -> f64 {
        count as f64 / (self.to_s - self.from_s)
    }
}

/// All loads together over time, in order, at most about [`POINTS_MAX`] points. Points do not span the
/// instants `edges_s`.
pub(super) fn over_time(entries: &[Entry], edges_s: &[f64]) -> Vec<Point> {
    let intervals: Vec<Point> = gather(entries).iter().map(Interval::measure).collect();
    let together = intervals.len().div_ceil(POINTS_MAX).max(1);
    let mut points: Vec<Point> = Vec::new();
    let mut room = 0;
    for interval in intervals {
        let begins_anew = |last: &Point| {
            edges_s.iter().any(|edge_s| *edge_s > last.middle_s() && *edge_s <= interval.middle_s())
        };
        match points.last_mut() {
            Some(last) if room > 0 && !begins_anew(last) => {
                last.extend(&interval);
                room -= 1;
            }
            _ => {
                points.push(interval);
                room = together - 1;
            }
        }
    }
    points
}

impl Point {
    fn extend(&mut self, next: &Self) {
        self.to_s = next.to_s;
        self.boxes.add(&next.boxes);
        self.latency_ms = worse(self.latency_ms, next.latency_ms);
        self.lag_ms = worse(self.lag_ms, next.lag_ms);
        for (class, count) in &next.errors {
            *self.errors.entry(class.clone()).or_default() += count;
        }
        self.heat.iter_mut().zip(&next.heat).for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
    }
}

/// Line by line the higher of two.
fn worse<const N: usize>(one: Option<[f64; N]>, other: Option<[f64; N]>) -> Option<[f64; N]> {
    match (one, other) {
        (Some(mine), Some(theirs)) => Some(std::array::from_fn(|line| mine[line].max(theirs[line]))),
        (mine, theirs) => mine.or(theirs),
    }
}

/// The records of one stretch of time, by reference: open histograms of an hour do not fit in memory.
struct Interval<'e> {
    from_ns: u64,
    to_ns: u64,
    records: Vec<&'e Stats>,
}

impl Interval<'_> {
    fn measure(&self) -> Point {
        let mut boxes = Boxes::default();
        self.records.iter().for_each(|record| boxes.add(&record.boxes));
        let mut errors = BTreeMap::new();
        for (class, count) in self.records.iter().flat_map(|record| &record.errors) {
            *errors.entry(class.clone()).or_insert(0) += count;
        }
        let mut heat = vec![0_u32; CELLS];
        let latency_ms = self.read(
            |stats| &stats.latency,
            |hist| {
                hist.walk(|ns, count| {
                    let decades = (ns as f64 / HEAT_FROM_NS).log10();
                    let cell = ((decades * CELLS_PER_DECADE as f64).max(0.0) as usize).min(CELLS - 1);
                    heat[cell] = heat[cell].saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
                });
                quantiles_ms(hist, LINES)
            },
        );
        let lag_ms = self.read(|stats| &stats.send_lag, |hist| quantiles_ms(hist, LAG_LINES));
        let seconds = |ns| ns as f64 / NS_PER_S as f64;
        Point {
            from_s: seconds(self.from_ns),
            to_s: seconds(self.to_ns),
            boxes,
            latency_ms,
            lag_ms,
            errors,
            heat,
        }
    }

    /// What `look` sees in one of the records' histograms, all of them together; nothing if they are empty.
    fn read<T>(&self, which: impl Fn(&Stats) -> &Hist, look: impl FnOnce(&Hist) -> Option<T>) -> Option<T> {
        let told: Vec<&Hist> =
            self.records.iter().map(|record| which(record)).filter(|hist| hist.count() > 0).collect();
        let mut sum = Hist::default();
        let hist = match told.as_slice() {
            [] => return None,
            // The usual case, and most of the work: nothing to add.
            [one] => one,
            several => {
                several.iter().for_each(|hist| sum.merge(hist));
                &sum
            }
        };
        look(hist)
    }
}

fn quantiles_ms<const N: usize>(hist: &Hist, lines: [(f64, &str); N]) -> Option<[f64; N]> {
    let quantiles = lines.map(|(quantile, _)| quantile);
    hist.quantiles_ns(quantiles).map(|ns| ns.map(|ns| ns as f64 / 1e6))
}

/// Load records by stretch of time, in order. Loads whose intervals do not start together share the stretch
/// that holds the interval's middle.
fn gather(entries: &[Entry]) -> Vec<Interval<'_>> {
    let mut records: BTreeMap<(u64, u64), Vec<&Stats>> = BTreeMap::new();
    for entry in entries {
        if let Event::Load { from_ns, to_ns, stats, .. } = &entry.event
            && to_ns > from_ns
        {
            records.entry((*from_ns, *to_ns)).or_default().push(stats);
        }
    }
    let mut intervals: Vec<Interval<'_>> = Vec::new();
    for ((from_ns, to_ns), records) in records {
        match intervals.last_mut() {
            Some(last) if u64::midpoint(from_ns, to_ns) < last.to_ns => last.records.extend(records),
            _ => intervals.push(Interval { from_ns, to_ns, records }),
        }
    }
    intervals
}

/// A phase's requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    /// What ended how.
    pub boxes: Boxes,
    /// How long they took; of those cut off, how long at least.
    pub latency: Hist,
    /// How late they were sent.
    pub send_lag: Hist,
}

/// All loads together in each phase, in the order of `phases`. A record belongs to the phase that holds its
/// interval's middle.
pub(super) fn by_phase(entries: &[Entry], phases: &[PhaseReport]) -> Vec<Sum> {
    let mut sums = vec![Sum::default(); phases.len()];
    for entry in entries {
        if let Event::Load { from_ns, to_ns, stats, .. } = &entry.event {
            let middle_s = u64::midpoint(*from_ns, *to_ns) as f64 / NS_PER_S as f64;
            let held_by = phases.iter().position(|phase| (phase.from_s..phase.to_s).contains(&middle_s));
            if let Some(at) = held_by {
                sums[at].boxes.add(&stats.boxes);
                sums[at].latency.merge(&stats.latency);
                sums[at].latency.merge(&stats.censored);
                sums[at].send_lag.merge(&stats.send_lag);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(load: &str, from_s: u64, to_s: u64, good: u64, latency_ms: u64) -> Entry {
        let mut stats = Stats::default();
        stats.boxes.good = good;
        stats.latency.record_n(latency_ms * 1_000_000, good);
        let (from_ns, to_ns) = (from_s * NS_PER_S, to_s * NS_PER_S);
        Entry {
            t_ns: to_ns,
            event: Event::Load { load: load.into(), from_ns, to_ns, stats: Box::new(stats) },
        }
    }

    #[test]
    fn records_of_one_interval_add_up() {
        let entries = [
            record("a", 0, 1, 10, 5),
            record("a", 1, 2, 7, 5),
            record("b", 0, 1, 3, 50),
            record("a", 0, 1, 1, 900),
        ];
        let points = over_time(&entries, &[]);
        let goods: Vec<u64> = points.iter().map(|point| point.boxes.good).collect();
        assert_eq!(goods, [14, 7]);
        let [p50, .., max] = points[0].latency_ms.unwrap();
        assert!((4.9..5.1).contains(&p50) && (899.0..901.0).contains(&max), "{p50} {max}");
    }

    #[test]
    fn a_bad_second_of_an_hour_stays_visible() {
        let hour = 3_600;
        let entries: Vec<Entry> = (0..hour)
            .map(|second| record("a", second, second + 1, 1, if second == 2_000 { 300 } else { 5 }))
            .collect();
        let points = over_time(&entries, &[1_000.5]);
        assert!(points.len() <= POINTS_MAX + 1, "{}", points.len());
        assert_eq!(points.iter().map(|point| point.boxes.good).sum::<u64>(), hour);
        let worst =
            points.iter().filter_map(|point| point.latency_ms).map(|lines| lines[2]).fold(0.0, f64::max);
        assert!(worst > 299.0, "{worst}");
        let spans = |point: &Point| point.from_s < 1_000.0 && point.to_s > 1_001.0;
        assert!(!points.iter().any(spans), "no point spans the edge");
    }

    #[test]
    fn heat_is_counted_where_it_belongs() {
        let points = over_time(&[record("a", 0, 1, 10, 5), record("b", 0, 1, 3, 50)], &[]);
        let heat: Vec<(usize, u32)> =
            points[0].heat.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect();
        let holds = |cell: usize, ms: f64| cell_from_ms(cell) <= ms && ms < cell_from_ms(cell + 1);
        assert!(
            matches!(heat[..], [(low, 10), (high, 3)] if holds(low, 5.0) && holds(high, 50.0)),
            "{heat:?}"
        );
    }

    #[test]
    fn intervals_without_answers_have_no_latency() {
        let points = over_time(&[record("a", 0, 1, 0, 0)], &[]);
        assert_eq!(points[0].latency_ms, None);
    }
}
