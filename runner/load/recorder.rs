//! From ended arrivals to intervals: who belongs where, cut at the instants that phases really began.
//!
//! An arrival belongs to the interval of its *intended* instant, whenever it ended; intervals lie on a grid
//! of [`GRID_NS`] and are cut wherever [`Recorder::cut`] says, so none spans a phase change. Those cuts are
//! measured (the first onset of a fault, say) and so are announced a little late: samples are kept
//! raw for [`RAW_KEPT_NS`] after they ended, and until then a cut splits them exactly. No instant is read
//! here; the caller passes it.
//!
//! Every request of every thread passes here, so what is done for each is little: raw samples stay in the
//! batches they came in, an interval counts in the plain numbers of [`super::counts`], and names and
//! histograms are made when it is handed out.

use std::collections::{BTreeMap, VecDeque};

use super::counts::{Counts, Named};
use super::outcome::{Example, Opened, Sample};
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

/// An interval that counts.
#[derive(Debug)]
struct Open {
    from_ns: u64,
    to_ns: u64,
    counts: Counts,
}

/// What a thread has handed over and can still be cut.
#[derive(Debug, Default)]
struct Raw {
    batches: VecDeque<Vec<Sample>>,
    /// How many of the first batch are sorted already.
    sorted: usize,
}

/// Sorts ended arrivals into intervals.
#[derive(Debug)]
pub struct Recorder {
    loads: Vec<Named>,
    /// Ascending.
    cuts: Vec<u64>,
    /// By sending thread: each hands its samples over in the order in which they ended.
    raw: Vec<Raw>,
    /// In the order in which they were begun, nearly.
    raw_opened: VecDeque<Opened>,
    /// By load, ascending in time: the present second, and some more where answers are late.
    open: Vec<Vec<Open>>,
    emitted_ns: BTreeMap<Place, u64>,
}

impl Recorder {
    /// A recorder of these loads, sent by so many threads.
    pub fn new(loads: impl IntoIterator<Item = Named>, threads: usize) -> Self {
        let loads: Vec<Named> = loads.into_iter().collect();
        Self {
            open: loads.iter().map(|_| Vec::new()).collect(),
            loads,
            cuts: Vec::new(),
            raw: (0..threads).map(|_| Raw::default()).collect(),
            raw_opened: VecDeque::new(),
            emitted_ns: BTreeMap::new(),
        }
    }

    /// Takes samples of a thread in.
    pub fn take(&mut self, thread: usize, mut samples: Vec<Sample>) {
        // A slow load's batches are kept for a second, too, and need not keep room for a fast one's.
        if samples.len() < samples.capacity() / 2 {
            samples.shrink_to_fit();
        }
        self.raw[thread].batches.push_back(samples);
    }

    /// Takes in which connections were opened.
    pub fn take_opened(&mut self, opened: &[Opened]) {
        self.raw_opened.extend(opened);
    }

    /// Takes in what an error looked like; of each class of a load the first one counts.
    pub fn take_example(&mut self, example: Example) {
        let (load, at_ns) = (example.load, example.at_ns);
        self.counts(load, at_ns).example(example.class, example.text);
    }

    /// No interval may span `t_ns`. Exact for samples still raw. Announced later than that, what is
    /// already sorted into the interval that `t_ns` cuts counts before the cut, and what is emitted stays.
    pub fn cut(&mut self, t_ns: u64) {
        let Err(at) = self.cuts.binary_search(&t_ns) else {
            return;
        };
        self.cuts.insert(at, t_ns);
        for open in self.open.iter_mut().flatten() {
            if open.from_ns < t_ns && t_ns < open.to_ns {
                open.to_ns = t_ns;
            }
        }
    }

    /// Sorts what ended at least [`RAW_KEPT_NS`] before `now_ns` into its intervals.
    pub fn fold(&mut self, now_ns: u64) {
        for thread in 0..self.raw.len() {
            while let Some(batch) = self.raw[thread].batches.pop_front() {
                let sorted = self.raw[thread].sorted;
                let ripe = batch[sorted..]
                    .iter()
                    .take_while(|sample| sample.ended_ns.saturating_add(RAW_KEPT_NS) <= now_ns)
                    .count();
                self.sort(&batch[sorted..sorted + ripe]);
                let raw = &mut self.raw[thread];
                if sorted + ripe < batch.len() {
                    raw.sorted += ripe;
                    raw.batches.push_front(batch);
                    break;
                }
                raw.sorted = 0;
            }
        }
        while let Some(opened) = self.raw_opened.front()
            && opened.at_ns.saturating_add(RAW_KEPT_NS) <= now_ns
        {
            let opened = *opened;
            self.raw_opened.pop_front();
            self.counts(opened.load, opened.at_ns).opened(&opened);
        }
    }

    /// The intervals that are over (and can no longer be cut) at `now_ns`, in order of load and time, with
    /// what is known of them that was not handed out before.
    pub fn drain(&mut self, now_ns: u64) -> Vec<Interval> {
        self.fold(now_ns);
        let mut over = Vec::new();
        for (load, open) in (0u32..).zip(&mut self.open) {
            let ripe = |open: &mut Open| {
                let place = (load, open.from_ns, open.to_ns);
                let again_ns = self.emitted_ns.get(&place).map_or(0, |emitted_ns| emitted_ns + AGAIN_NS);
                open.to_ns.saturating_add(RAW_KEPT_NS).max(again_ns) <= now_ns
            };
            over.extend(open.extract_if(.., ripe).map(|open| (load, open)));
        }
        // What an interval waits for to be emitted again is kept only as long as it matters.
        self.emitted_ns.retain(|_, emitted_ns| emitted_ns.saturating_add(AGAIN_NS) > now_ns);
        for (load, open) in &over {
            self.emitted_ns.insert((*load, open.from_ns, open.to_ns), now_ns);
        }
        self.intervals(over)
    }

    /// What was measured of a load between two cuts and not handed out yet, raw or sorted.
    pub fn undrained(&self, load: u32, from_ns: u64, to_ns: u64) -> Stats {
        let named = &self.loads[load as usize];
        let mut raw = Counts::default();
        for thread in &self.raw {
            let samples = thread.batches.iter().flatten().skip(thread.sorted);
            for sample in samples.filter(|sample| sample.load == load) {
                if (from_ns..to_ns).contains(&sample.intended_ns) {
                    raw.count(sample);
                }
            }
        }
        let mut sum = raw.stats(named);
        for open in &self.open[load as usize] {
            if (from_ns..to_ns).contains(&open.from_ns) && open.to_ns <= to_ns {
                sum.merge(&open.counts.clone().stats(named));
            }
        }
        sum
    }

    /// Everything that is left, raw or sorted.
    pub fn finish(&mut self) -> Vec<Interval> {
        self.fold(u64::MAX);
        let open = self.open.iter_mut().map(std::mem::take);
        let left = (0u32..).zip(open).flat_map(|(load, open)| open.into_iter().map(move |open| (load, open)));
        let left = left.collect();
        self.intervals(left)
    }

    fn intervals(&self, over: Vec<(u32, Open)>) -> Vec<Interval> {
        over.into_iter()
            .map(|(load, Open { from_ns, to_ns, counts })| {
                let named = &self.loads[load as usize];
                Interval { load: named.load.clone(), from_ns, to_ns, stats: counts.stats(named) }
            })
            .collect()
    }

    fn sort(&mut self, samples: &[Sample]) {
        for sample in samples {
            self.counts(sample.load, sample.intended_ns).count(sample);
        }
    }

    /// The counts of the interval in which `t_ns` lies.
    #[inline]
    fn counts(&mut self, load: u32, t_ns: u64) -> &mut Counts {
        let intervals = &mut self.open[load as usize];
        // Nearly always the newest.
        let at = match intervals.last() {
            Some(last) if last.from_ns <= t_ns => intervals.len(),
            _ => intervals.partition_point(|open| open.from_ns <= t_ns),
        };
        if at > 0 && t_ns < intervals[at - 1].to_ns {
            return &mut intervals[at - 1].counts;
        }
        let (from_ns, to_ns) = bounds(&self.cuts, t_ns);
        intervals.insert(at, Open { from_ns, to_ns, counts: Counts::default() });
        &mut intervals[at].counts
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::{Class, End};
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn named(load: &str) -> Named {
        Named { load: load.into(), requests: vec!["GET /".into()], slos: vec!["slo".into()] }
    }

    fn recorder() -> Recorder {
        Recorder::new([named("a"), named("b")], 2)
    }

    fn sample(intended_ns: u64, ended_ns: u64) -> Sample {
        Sample {
            load: 0,
            request: 0,
            end: End::Good(200),
            intended_ns,
            sent_ns: intended_ns,
            first_byte_ns: 0,
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
        recorder.take(0, vec![sample(500 * MS, 600 * MS)]);
        assert_eq!(places(&recorder.drain(1_999 * MS)), [], "cuts may still come");
        assert_eq!(places(&recorder.drain(2_000 * MS)), [(0, 1_000, 1)]);
        assert_eq!(places(&recorder.drain(2_001 * MS)), []);
        // Two that took long: once more, together, not at every look.
        recorder.take(0, vec![sample(100 * MS, 2_100 * MS), sample(200 * MS, 2_500 * MS)]);
        assert_eq!(places(&recorder.drain(3_100 * MS)), [(0, 1_000, 1)]);
        assert_eq!(places(&recorder.drain(3_600 * MS)), []);
        assert_eq!(places(&recorder.finish()), [(0, 1_000, 1)]);
    }

    #[test]
    fn a_cut_announced_too_late_keeps_what_is_sorted_before_it() {
        let mut recorder = recorder();
        recorder.take(0, vec![sample(100 * MS, 110 * MS), sample(800 * MS, 810 * MS)]);
        recorder.fold(1_900 * MS);
        recorder.cut(500 * MS);
        assert_eq!(places(&recorder.finish()), [(0, 500, 2)]);
    }

    #[test]
    fn connections_and_examples_belong_to_their_instant() {
        let mut recorder = recorder();
        recorder.take_opened(&[
            Opened { load: 0, at_ns: 900 * MS, connect_ns: 3 * MS, tls_ns: 0 },
            Opened { load: 0, at_ns: 1_100 * MS, connect_ns: 4 * MS, tls_ns: 5 * MS },
        ]);
        for at_ns in [950 * MS, 970 * MS] {
            let text = format!("at {at_ns}");
            recorder.take_example(Example { load: 0, class: Class::Reset, at_ns, text });
        }
        recorder.cut(1_000 * MS);
        let found: Vec<_> = recorder
            .finish()
            .into_iter()
            .map(|one| {
                (one.from_ns / MS, one.stats.connect.count(), one.stats.tls.count(), one.stats.examples)
            })
            .collect();
        let first = BTreeMap::from([("reset".to_owned(), "at 950000000".to_owned())]);
        assert_eq!(found, [(0, 1, 0, first), (1_000, 1, 1, BTreeMap::new())]);
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
                        recorder.take(all.len() % 2, vec![sample]);
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
