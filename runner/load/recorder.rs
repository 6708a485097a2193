//! From ended arrivals to intervals: who belongs where, cut at the instants that phases really began.
//!
//! An arrival belongs to the interval of its *intended* instant, whenever it ended; intervals lie on a grid
//! of [`GRID_NS`] and are cut wherever [`Recorder::cut`] says, so none spans a phase change. Those cuts are
//! measured (the first onset of a fault, say) and so are announced a little late: samples are kept
//! raw for [`RAW_KEPT_NS`] after they ended, and until then a cut splits them exactly. No instant is read
//! here; the caller passes it.

use std::collections::{BTreeMap, VecDeque};

use super::outcome::{End, Sample};
use super::record::Stats;
use crate::units::NS_PER_S;

/// Length of an interval that nothing cuts: a second is what a latency plot needs, and few enough records
/// for a journal of hours.
pub const GRID_NS: u64 = NS_PER_S;

/// How late a cut may be announced and still split every sample exactly. Onsets are known once an agent or
/// Docker has answered: usually within some 10 ms, but a daemon freezing or killing a container on a busy
/// machine takes hundreds. At 20,000/s a second of raw samples is 1.3 MB.
pub const RAW_KEPT_NS: u64 = NS_PER_S;

/// An interval with late answers still to come is emitted again at most this often.
const AGAIN_NS: u64 = NS_PER_S;

/// What a load measured in an interval. Of the arrivals intended in it only those that have ended by now;
/// later ones come in further intervals with the same bounds, and all of them add up.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// The load's name.
    pub load: String,
    /// The interval's start.
    pub from_ns: u64,
    /// The interval's end, not part of it.
    pub to_ns: u64,
    /// What was measured.
    pub stats: Stats,
}

/// Where an interval lies: load, start, end.
type Place = (u32, u64, u64);

/// Sorts ended arrivals into intervals.
#[derive(Debug)]
pub struct Recorder {
    names: Vec<String>,
    /// SLO names of each load.
    slos: Vec<Vec<String>>,
    /// Ascending.
    cuts: Vec<u64>,
    /// In the order they came, which is nearly the order in which they ended.
    raw: VecDeque<Sample>,
    open: BTreeMap<Place, Stats>,
    emitted_ns: BTreeMap<Place, u64>,
}

impl Recorder {
    /// A recorder of these loads, each with its name and the names of its SLOs.
    pub fn new(loads: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        let (names, slos) = loads.into_iter().unzip();
        Self {
            names,
            slos,
            cuts: Vec::new(),
            raw: VecDeque::new(),
            open: BTreeMap::new(),
            emitted_ns: BTreeMap::new(),
        }
    }

    /// Takes samples in.
    pub fn take(&mut self, samples: &[Sample]) {
        self.raw.extend(samples);
    }

    /// No interval may span `t_ns`. Exact for samples still raw. Announced later than that, what is
    /// already sorted into the interval that `t_ns` cuts counts before the cut, and what is emitted stays.
    pub fn cut(&mut self, t_ns: u64) {
        let Err(at) = self.cuts.binary_search(&t_ns) else {
            return;
        };
        self.cuts.insert(at, t_ns);
        let spanning: Vec<Place> =
            self.open.keys().filter(|(_, from, to)| *from < t_ns && t_ns < *to).copied().collect();
        for place @ (load, from_ns, _) in spanning {
            if let Some(stats) = self.open.remove(&place) {
                self.open.insert((load, from_ns, t_ns), stats);
            }
        }
    }

    /// Sorts what ended at least [`RAW_KEPT_NS`] before `now_ns` into its intervals.
    pub fn fold(&mut self, now_ns: u64) {
        while let Some(sample) = self.raw.front()
            && sample.ended_ns.saturating_add(RAW_KEPT_NS) <= now_ns
        {
            let sample = *sample;
            self.raw.pop_front();
            self.sort(&sample);
        }
    }

    /// The intervals that are over (and can no longer be cut) at `now_ns`, in order of load and time, with
    /// what is known of them that was not handed out before.
    pub fn drain(&mut self, now_ns: u64) -> Vec<Interval> {
        self.fold(now_ns);
        let over: Vec<Place> = self
            .open
            .keys()
            .filter(|place| {
                let again_ns = self.emitted_ns.get(place).map_or(0, |emitted_ns| emitted_ns + AGAIN_NS);
                place.2.saturating_add(RAW_KEPT_NS).max(again_ns) <= now_ns
            })
            .copied()
            .collect();
        // What an interval waits for to be emitted again is kept only as long as it matters.
        self.emitted_ns.retain(|_, emitted_ns| emitted_ns.saturating_add(AGAIN_NS) > now_ns);
        over.into_iter()
            .filter_map(|place| {
                self.emitted_ns.insert(place, now_ns);
                self.open.remove(&place).map(|stats| self.interval(place, stats))
            })
            .collect()
    }

    /// What was measured of a load between two cuts and not handed out yet, raw or sorted.
    pub fn undrained(&self, load: u32, from_ns: u64, to_ns: u64) -> Stats {
        let mut sum = Stats::default();
        for ((_, from, to), stats) in self.open.iter().filter(|(place, _)| place.0 == load) {
            if (from_ns..to_ns).contains(from) && *to <= to_ns {
                sum.merge(stats);
            }
        }
        let within = |sample: &&Sample| sample.load == load && (from_ns..to_ns).contains(&sample.intended_ns);
        for sample in self.raw.iter().filter(within) {
            count(&mut sum, sample, &self.slos[load as usize]);
        }
        sum
    }

    /// Everything that is left, raw or sorted.
    pub fn finish(&mut self) -> Vec<Interval> {
        while let Some(sample) = self.raw.pop_front() {
            self.sort(&sample);
        }
        let open = std::mem::take(&mut self.open);
        open.into_iter().map(|(place, stats)| self.interval(place, stats)).collect()
    }

    fn interval(&self, (load, from_ns, to_ns): Place, stats: Stats) -> Interval {
        Interval { load: self.names[load as usize].clone(), from_ns, to_ns, stats }
    }

    fn sort(&mut self, sample: &Sample) {
        let (from_ns, to_ns) = bounds(&self.cuts, sample.intended_ns);
        let stats = self.open.entry((sample.load, from_ns, to_ns)).or_default();
        count(stats, sample, &self.slos[sample.load as usize]);
    }
}

/// The interval of an instant: the piece of the grid's second around it that the cuts leave.
fn bounds(cuts: &[u64], t_ns: u64) -> (u64, u64) {
    let floor = t_ns / GRID_NS * GRID_NS;
    let after = cuts.partition_point(|cut| *cut <= t_ns);
    let from = after.checked_sub(1).map_or(0, |before| cuts[before]).max(floor);
    let to = cuts.get(after).copied().unwrap_or(u64::MAX).min(floor.saturating_add(GRID_NS));
    (from, to)
}

/// Counts one ended arrival. `slos` names the bits of [`Sample::slos`].
pub fn count(stats: &mut Stats, sample: &Sample, slos: &[String]) {
    let boxes = &mut stats.boxes;
    match sample.end {
        End::Good(status) | End::Bad(status) => {
            *if matches!(sample.end, End::Good(_)) { &mut boxes.good } else { &mut boxes.bad } += 1;
            *stats.statuses.entry(status).or_default() += 1;
        }
        End::TimedOut(class) | End::Failed(class) => {
            *if matches!(sample.end, End::TimedOut(_)) { &mut boxes.timed_out } else { &mut boxes.failed } +=
                1;
            add_one(&mut stats.errors, class.word());
        }
        End::Dropped => boxes.dropped += 1,
        End::CutOff => boxes.cut_off += 1,
    }
    if sample.end != End::Dropped {
        stats.send_lag.record(sample.sent_ns.saturating_sub(sample.intended_ns));
        // How long a request would have taken that was cut off is not known; a number here would claim it.
        if sample.end != End::CutOff {
            stats.latency.record(sample.ended_ns.saturating_sub(sample.intended_ns));
            stats.service.record(sample.ended_ns.saturating_sub(sample.sent_ns));
        }
    }
    for (bit, slo) in slos.iter().enumerate() {
        if sample.slos & (1 << bit) != 0 {
            add_one(&mut stats.slo_good, slo);
        }
    }
    stats.bytes += sample.bytes;
    stats.retried += u64::from(sample.retried);
}

/// Counts one under `name`, which is copied only the first time.
fn add_one(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::Class;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn recorder() -> Recorder {
        Recorder::new([("a".to_owned(), vec!["slo".to_owned()]), ("b".to_owned(), Vec::new())])
    }

    fn sample(intended_ns: u64, ended_ns: u64) -> Sample {
        Sample {
            load: 0,
            end: End::Good(200),
            intended_ns,
            sent_ns: intended_ns,
            ended_ns,
            bytes: 1,
            slos: 0,
            retried: false,
        }
    }

    fn places(intervals: &[Interval]) -> Vec<(u64, u64, u64)> {
        intervals.iter().map(|one| (one.from_ns / MS, one.to_ns / MS, one.stats.boxes.scheduled())).collect()
    }

    #[test]
    fn late_answers_come_again_for_their_interval() {
        let mut recorder = recorder();
        recorder.take(&[sample(500 * MS, 600 * MS)]);
        assert_eq!(places(&recorder.drain(1_999 * MS)), [], "cuts may still come");
        assert_eq!(places(&recorder.drain(2_000 * MS)), [(0, 1_000, 1)]);
        assert_eq!(places(&recorder.drain(2_001 * MS)), []);
        // Two that took long: once more, together, not at every look.
        recorder.take(&[sample(100 * MS, 2_100 * MS), sample(200 * MS, 2_500 * MS)]);
        assert_eq!(places(&recorder.drain(3_100 * MS)), [(0, 1_000, 1)]);
        assert_eq!(places(&recorder.drain(3_600 * MS)), []);
        assert_eq!(places(&recorder.finish()), [(0, 1_000, 1)]);
    }

    #[test]
    fn a_cut_announced_too_late_keeps_what_is_sorted_before_it() {
        let mut recorder = recorder();
        recorder.take(&[sample(100 * MS, 110 * MS), sample(800 * MS, 810 * MS)]);
        recorder.fold(1_900 * MS);
        recorder.cut(500 * MS);
        assert_eq!(places(&recorder.finish()), [(0, 500, 2)]);
    }

    #[test]
    fn each_end_counts_where_it_should() {
        let at = Sample { sent_ns: 3 * MS, ended_ns: 13 * MS, slos: 1, ..sample(MS, 0) };
        let slos = ["slo".to_owned()];
        let none = Stats::default();
        let timed = {
            let mut stats = Stats { bytes: 1, ..none.clone() };
            stats.latency.record(12 * MS);
            stats.service.record(10 * MS);
            stats.send_lag.record(2 * MS);
            stats
        };
        let one = |name: &str| BTreeMap::from([(name.to_owned(), 1)]);
        let boxes = super::super::record::Boxes::default();
        for (end, slo_good, expected) in [
            (
                End::Good(200),
                1,
                Stats {
                    boxes: super::super::record::Boxes { good: 1, ..boxes },
                    statuses: BTreeMap::from([(200, 1)]),
                    slo_good: one("slo"),
                    ..timed.clone()
                },
            ),
            (
                End::Bad(500),
                0,
                Stats {
                    boxes: super::super::record::Boxes { bad: 1, ..boxes },
                    statuses: BTreeMap::from([(500, 1)]),
                    ..timed.clone()
                },
            ),
            (
                End::TimedOut(Class::AnswerTimeout),
                0,
                Stats {
                    boxes: super::super::record::Boxes { timed_out: 1, ..boxes },
                    errors: one("timeout: answer"),
                    ..timed.clone()
                },
            ),
            (
                End::Failed(Class::Refused),
                0,
                Stats {
                    boxes: super::super::record::Boxes { failed: 1, ..boxes },
                    errors: one("refused"),
                    ..timed.clone()
                },
            ),
            (
                End::Dropped,
                0,
                Stats {
                    boxes: super::super::record::Boxes { dropped: 1, ..boxes },
                    bytes: 1,
                    ..none.clone()
                },
            ),
            (
                End::CutOff,
                0,
                Stats {
                    boxes: super::super::record::Boxes { cut_off: 1, ..boxes },
                    latency: none.latency.clone(),
                    service: none.service.clone(),
                    ..timed.clone()
                },
            ),
        ] {
            let mut stats = Stats::default();
            count(&mut stats, &Sample { end, slos: slo_good, ..at }, &slos);
            assert_eq!(stats, expected, "{end:?}");
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ended { load: u32, took_ms: u64 },
        Cut { ago_ms: u64 },
        Drain,
    }

    prop_compose! {
        fn step()(kind in 0..10, load in 0u32..2, took_ms in 0u64..4_000, ago_ms in 0u64..1_000) -> Step {
            match kind {
                0 => Step::Cut { ago_ms },
                1 | 2 => Step::Drain,
                _ => Step::Ended { load, took_ms },
            }
        }
    }

    proptest! {
        // Histograms of many intervals are slow unoptimised.
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Against the obvious: all samples and cuts at hand, each sample put between its neighbours.
        #[test]
        fn intervals_hold_exactly_their_arrivals(steps in prop::collection::vec((0u64..300, step()), 1..120)) {
            let mut recorder = recorder();
            let (mut now_ns, mut all, mut cuts, mut out) = (0, Vec::new(), Vec::new(), Vec::new());
            for (gap_ms, step) in steps {
                now_ns += gap_ms * MS;
                match step {
                    Step::Ended { load, took_ms } => {
                        let sample = Sample { load, ..sample(now_ns.saturating_sub(took_ms * MS), now_ns) };
                        all.push(sample);
                        recorder.take(&[sample]);
                    }
                    Step::Cut { ago_ms } => {
                        cuts.push(now_ns.saturating_sub(ago_ms * MS));
                        recorder.cut(now_ns.saturating_sub(ago_ms * MS));
                    }
                    Step::Drain => out.extend(recorder.drain(now_ns)),
                }
            }
            out.extend(recorder.finish());
            prop_assert_eq!(out.iter().map(|one| one.stats.boxes.scheduled()).sum::<u64>(), all.len() as u64);
            let mut sums: BTreeMap<(String, u64, u64), u64> = BTreeMap::new();
            for one in &out {
                prop_assert!(one.from_ns / GRID_NS == (one.to_ns - 1) / GRID_NS, "spans the grid: {:?}", one);
                prop_assert!(!cuts.iter().any(|cut| one.from_ns < *cut && *cut < one.to_ns), "spans a cut: {:?}", one);
                *sums.entry((one.load.clone(), one.from_ns, one.to_ns)).or_default() += one.stats.boxes.good;
            }
            for ((load, from_ns, to_ns), count) in sums {
                let load = u32::from(load == "b");
                let inside = |sample: &&Sample| sample.load == load && (from_ns..to_ns).contains(&sample.intended_ns);
                prop_assert_eq!(count, all.iter().filter(inside).count() as u64, "in {}..{}", from_ns, to_ns);
            }
        }
    }
}
