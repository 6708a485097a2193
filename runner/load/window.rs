//! The live view: what ended in the last seconds, for guards, the steady state and people watching.
//!
//! Kept apart from the intervals because it asks another question: those sort by intended instant, exactly
//! and late; this one by the instant of ending, at once. Requests that hang are in no box yet, so the
//! oldest ones under way are counted along: otherwise a system that stopped answering would look like one
//! that nobody asks. Start at [`Live::window`].

use std::collections::{BTreeMap, VecDeque};

use super::outcome::{Class, End, Sample};
use super::record::{Boxes, Stats};
use super::tally::{Tally, code};
use crate::units::NS_PER_S;

/// Length of a slot: the grain at which samples leave a window. A thirtieth of the shortest window that
/// guards use (3 s).
pub const SLOT_NS: u64 = 100_000_000;

/// The longest window.
pub const LONGEST_NS: u64 = 60 * NS_PER_S;

/// What is kept before anybody has asked for more: the default window of guards. A sample takes 6 bytes
/// here, so a minute at 20,000/s is 7 MB that most runs never ask for.
const KEPT_AT_FIRST_NS: u64 = 10 * NS_PER_S;

/// A request under way for longer than this (or its timeout, if that is shorter) counts as not answered
/// until it is: long enough that a slow answer is not mistaken for none, short enough that a hung server
/// fires a guard within about a second.
pub const OVERDUE_NS: u64 = NS_PER_S;

/// What ended in a stretch of time just past, and what should have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// What ended in it, by the instant of ending. Its latencies hold the present ages of overdue requests,
    /// too; its boxes do not: whoever judges adds [`Window::overdue`] to what was not answered. When such a
    /// request ends, it is counted as what it became.
    pub stats: Stats,
    /// Requests under way at `to_ns`.
    pub in_flight: u64,
    /// Requests under way at `to_ns` for longer than [`OVERDUE_NS`] or their timeout; in no box.
    pub overdue: u64,
    /// Its start: later than asked for while the load is younger than the window.
    pub from_ns: u64,
    /// Its end: when the generator last reported, some 50 ms ago.
    pub to_ns: u64,
}

/// The last seconds of every load.
#[derive(Debug)]
pub struct Live {
    slos: Vec<Vec<String>>,
    begin_ns: u64,
    /// Consecutive, the first one's number is `first`.
    slots: VecDeque<Slot>,
    first: u64,
    kept_ns: u64,
    /// By sending thread.
    now: Vec<Now>,
}

/// What one of the generator's threads says of the present.
#[derive(Clone, Debug, Default)]
pub struct Now {
    /// When it said so.
    pub at_ns: u64,
    /// Requests under way, by load.
    pub in_flight: Vec<u64>,
    /// Intended instants of the overdue ones, by load.
    pub overdue: Vec<Vec<u64>>,
}

/// By load.
type Slot = Vec<Piece>;

/// One load's part of a slot. Times are kept as [`code`]s: two bytes each, nothing lost against a
/// histogram of 3 significant digits.
#[derive(Clone, Debug, Default)]
struct Piece {
    boxes: Boxes,
    /// In the order in which they were first seen: mostly there is one.
    statuses: Vec<(u16, u64)>,
    errors: BTreeMap<Class, u64>,
    slo_good: Vec<u64>,
    bytes: u64,
    retried: u64,
    latency: Vec<u16>,
    service: Vec<u16>,
    send_lag: Vec<u16>,
}

impl Live {
    /// Nothing seen yet of loads with these SLO names, which begin at `begin_ns` and are sent by so many
    /// threads.
    pub fn new(slos: Vec<Vec<String>>, begin_ns: u64, threads: usize) -> Self {
        let now =
            Now { at_ns: begin_ns, in_flight: vec![0; slos.len()], overdue: vec![Vec::new(); slos.len()] };
        let first = begin_ns / SLOT_NS;
        Self {
            slos,
            begin_ns,
            slots: VecDeque::new(),
            first,
            kept_ns: KEPT_AT_FIRST_NS,
            now: vec![now; threads],
        }
    }

    /// Takes samples of a thread in, and what it knows of the present.
    pub fn take(&mut self, samples: &[Sample], thread: usize, now: Now) {
        // They ended one after the other: a slot is looked up once for all that fall into it.
        for together in samples.chunk_by(|one, other| one.ended_ns / SLOT_NS == other.ended_ns / SLOT_NS) {
            if let Some(slot) = self.slot(together[0].ended_ns / SLOT_NS) {
                together.iter().for_each(|sample| slot[sample.load as usize].count(sample));
            }
        }
        self.now[thread] = now;
        let oldest = self.at_ns().saturating_sub(self.kept_ns) / SLOT_NS;
        while self.first < oldest && self.slots.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// The slot of this number, made if it is new; nothing if it is forgotten.
    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        // A gap of more than the longest window leaves nothing worth keeping.
        if at > self.slots.len() + (LONGEST_NS / SLOT_NS) as usize {
            self.slots.clear();
            self.first = number;
        }
        let at = usize::try_from(number - self.first).ok()?;
        while self.slots.len() <= at {
            self.slots.push_back(vec![Piece::default(); self.slos.len()]);
        }
        self.slots.get_mut(at)
    }

    /// What ended in the last `over_ns` of one load, or of all; at most [`LONGEST_NS`]. The first request
    /// for a window longer than any before finds only what was kept so far, and says so in `from_ns`.
    pub fn window(&mut self, load: Option<usize>, over_ns: u64) -> Window {
        let over_ns = over_ns.min(LONGEST_NS);
        self.kept_ns = self.kept_ns.max(over_ns + SLOT_NS);
        let to_ns = self.at_ns();
        let first = to_ns.saturating_sub(over_ns).div_ceil(SLOT_NS).max(self.first);
        let skipped = usize::try_from(first - self.first).unwrap_or(usize::MAX);
        let loads = load.map_or(0..self.slos.len(), |load| load..load + 1);

        let mut sum = Sum::default();
        for slot in self.slots.iter().skip(skipped) {
            for load in loads.clone() {
                sum.add(&slot[load], &self.slos[load]);
            }
        }
        let mut stats = sum.stats();
        let (mut in_flight, mut overdue) = (0, 0);
        for load in loads {
            for now in &self.now {
                in_flight += now.in_flight[load];
                for intended_ns in &now.overdue[load] {
                    overdue += 1;
                    stats.latency.record(to_ns.saturating_sub(*intended_ns));
                }
            }
        }
        Window { stats, in_flight, overdue, from_ns: (first * SLOT_NS).clamp(self.begin_ns, to_ns), to_ns }
    }

    /// Intended instants of a load's overdue requests when the generator's threads last said so, ascending.
    pub fn overdue(&self, load: usize) -> Vec<u64> {
        let mut overdue: Vec<u64> =
            self.now.iter().filter_map(|now| now.overdue.get(load)).flatten().copied().collect();
        overdue.sort_unstable();
        overdue
    }

    /// Requests under way when the generator last said so.
    pub fn in_flight(&self) -> u64 {
        self.now.iter().flat_map(|now| &now.in_flight).sum()
    }

    /// The instant up to which every thread has reported.
    fn at_ns(&self) -> u64 {
        self.now.iter().map(|now| now.at_ns).min().unwrap_or(self.begin_ns)
    }
}

impl Piece {
    fn status(&mut self, status: u16) {
        match self.statuses.iter_mut().find(|(seen, _)| *seen == status) {
            Some((_, count)) => *count += 1,
            None => self.statuses.push((status, 1)),
        }
    }

    fn count(&mut self, sample: &Sample) {
        match sample.end {
            End::Good(status) => {
                self.boxes.good += 1;
                self.status(status);
            }
            End::Bad(status, class) => {
                self.boxes.bad += 1;
                self.status(status);
                *self.errors.entry(class).or_default() += 1;
            }
            End::TimedOut(class) => {
                self.boxes.timed_out += 1;
                *self.errors.entry(class).or_default() += 1;
            }
            End::Failed(class) => {
                self.boxes.failed += 1;
                *self.errors.entry(class).or_default() += 1;
            }
            End::Dropped => self.boxes.dropped += 1,
            End::CutOff => self.boxes.cut_off += 1,
        }
        if sample.end != End::Dropped {
            self.send_lag.push(code(sample.send_lag_ns()));
            if sample.end != End::CutOff {
                self.latency.push(code(sample.latency_ns()));
                self.service.push(code(sample.service_ns()));
            }
        }
        sample.count_slos(&mut self.slo_good);
        self.bytes += sample.bytes;
        self.retried += u64::from(sample.retried);
    }
}

/// A sum of pieces, its times counted by code: adding to an array is what makes a minute of samples cheap
/// enough to look at ten times a second.
#[derive(Default)]
struct Sum {
    stats: Stats,
    latency: Tally,
    service: Tally,
    send_lag: Tally,
}

impl Sum {
    fn add(&mut self, piece: &Piece, slos: &[String]) {
        let stats = &mut self.stats;
        stats.boxes.add(&piece.boxes);
        for (status, count) in &piece.statuses {
            *stats.statuses.entry(*status).or_default() += count;
        }
        for (class, count) in &piece.errors {
            *stats.errors.entry(class.word().to_owned()).or_default() += count;
        }
        for (slo, count) in slos.iter().zip(&piece.slo_good).filter(|(_, count)| **count > 0) {
            *stats.slo_good.entry(slo.clone()).or_default() += count;
        }
        stats.bytes += piece.bytes;
        stats.retried += piece.retried;
        self.latency.add_codes(&piece.latency);
        self.service.add_codes(&piece.service);
        self.send_lag.add_codes(&piece.send_lag);
    }

    fn stats(mut self) -> Stats {
        self.stats.latency = self.latency.hist();
        self.stats.service = self.service.hist();
        self.stats.send_lag = self.send_lag.hist();
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::counts::{Counts, Named};
    use crate::load::record::Hist;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn ended(ended_ns: u64, latency_ns: u64) -> Sample {
        Sample {
            load: 0,
            request: 0,
            end: End::Good(200),
            first_byte_ns: 0,
            intended_ns: ended_ns.saturating_sub(latency_ns),
            sent_ns: ended_ns.saturating_sub(latency_ns),
            ended_ns,
            bytes: 10,
            slos: 1,
            retried: false,
        }
    }

    fn now(at_ns: u64, overdue: Vec<u64>) -> Now {
        Now { at_ns, in_flight: vec![overdue.len() as u64 + 1], overdue: vec![overdue] }
    }

    fn live() -> Live {
        Live::new(vec![vec!["slo".to_owned()]], 0, 1)
    }

    #[test]
    fn a_window_holds_what_ended_in_it() {
        let mut live = live();
        live.take(&[ended(50 * MS, MS), ended(950 * MS, 2 * MS)], 0, now(960 * MS, Vec::new()));
        let window = live.window(None, 10_000 * MS);
        assert_eq!((window.from_ns, window.to_ns), (0, 960 * MS), "the load is younger than the window");
        assert_eq!((window.stats.boxes.good, window.in_flight), (2, 1));
        assert_eq!(window.stats.slo_good, BTreeMap::from([("slo".to_owned(), 2)]));
        let window = live.window(Some(0), 500 * MS);
        assert_eq!((window.from_ns, window.stats.boxes.good, window.stats.bytes), (500 * MS, 1, 10));
        live.take(&[], 0, now(20_000 * MS, Vec::new()));
        assert_eq!(live.window(None, 60_000 * MS).stats, Stats::default(), "all of it is long ago");
    }

    #[test]
    fn what_hangs_is_counted_apart_and_seen_in_latency() {
        let mut live = live();
        live.take(&[ended(1_900 * MS, MS)], 0, now(2_000 * MS, vec![500 * MS, 900 * MS]));
        let window = live.window(None, 1_000 * MS);
        assert_eq!((window.overdue, window.in_flight), (2, 3));
        assert_eq!((window.stats.boxes.scheduled(), window.stats.latency.count()), (1, 3));
        assert_eq!(window.stats.latency.quantile_s(1.0).map(|s| (s * 10.0).round()), Some(15.0));
    }

    #[test]
    fn a_minute_is_kept_once_asked_for() {
        let mut live = live();
        live.window(None, LONGEST_NS * 2);
        for second in 1..200 {
            let at_ns = second * NS_PER_S;
            live.take(&[ended(at_ns - 1, MS)], 0, now(at_ns, Vec::new()));
        }
        let window = live.window(None, LONGEST_NS * 2);
        assert_eq!((window.to_ns - window.from_ns, window.stats.boxes.good), (LONGEST_NS, 60));
        assert!(live.slots.len() <= 602, "{} slots are kept", live.slots.len());
    }

    proptest! {
        // Windows over long times are slow unoptimised.
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Against the obvious: every sample at hand.
        #[test]
        fn windows_match_a_plain_filter(
            steps in prop::collection::vec((0u64..400, 1u64..5_000), 1..150),
            over_ms in 1u64..9_000,
        ) {
            let mut live = live();
            let (mut at_ns, mut all) = (0, Vec::new());
            for (gap_ms, latency_ms) in steps {
                at_ns += gap_ms * MS;
                let sample = ended(at_ns, latency_ms * MS);
                all.push(sample);
                live.take(&[sample], 0, now(at_ns, Vec::new()));
            }
            let window = live.window(None, over_ms * MS);
            prop_assert!(window.to_ns == at_ns && at_ns - window.from_ns <= over_ms * MS);
            prop_assert!(at_ns.saturating_sub(over_ms * MS) + SLOT_NS > window.from_ns || window.from_ns == at_ns);
            let mut expected = Counts::default();
            for sample in all.iter().filter(|sample| sample.ended_ns >= window.from_ns.div_ceil(SLOT_NS) * SLOT_NS) {
                expected.count(sample);
            }
            let named = Named { slos: vec!["slo".to_owned()], ..Named::default() };
            let expected = expected.stats(&named);
            prop_assert_eq!(&window.stats.boxes, &expected.boxes);
            prop_assert_eq!(&window.stats.slo_good, &expected.slo_good);
            for quantile in [0.0, 0.5, 0.99, 1.0] {
                let close = |hist: &Hist| hist.open().highest_equivalent(hist.quantile_ns(quantile).unwrap_or(0));
                prop_assert_eq!(close(&window.stats.latency), close(&expected.latency));
            }
        }
    }
}
