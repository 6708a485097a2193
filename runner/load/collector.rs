//! The collector: takes what the sending threads hand over, into the intervals and the live view.
//!
//! One channel leads here from all of them, so they share no lock, and nothing here is in their way. Whole-run
//! figures are the sum of the intervals, added when those are handed out: nothing is counted twice.

use super::counts::Named;
use super::fitness::Measured;
use super::outcome::Class;
use super::recorder::{Interval, Recorder};
use super::window::{Live, Window};
use super::worker::Batch;

/// What has been measured so far.
#[derive(Debug)]
pub struct Collector {
    recorder: Recorder,
    live: Live,
    measured: Measured,
    /// Arrivals that have ended: the ledger's left side.
    ended: u64,
}

impl Collector {
    /// Nothing measured yet of loads that begin at `begin_ns`.
    pub fn new(loads: Vec<Named>, begin_ns: u64) -> Self {
        let live = Live::new(loads.iter().map(|load| load.slos.clone()).collect(), begin_ns);
        let mut recorder = Recorder::new(loads);
        recorder.cut(begin_ns);
        Self { recorder, live, measured: Measured::default(), ended: 0 }
    }

    /// Takes a batch in.
    pub fn take(&mut self, batch: Batch) {
        self.ended += batch.samples.len() as u64;
        if let Some(stop_ns) = batch.stop_ns {
            self.recorder.cut(stop_ns);
        }
        let now_ns = batch.now.at_ns;
        self.live.take(&batch.samples, batch.now);
        self.recorder.take(batch.samples);
        self.recorder.take_opened(&batch.opened);
        batch.examples.into_iter().for_each(|example| self.recorder.take_example(example));
        self.recorder.fold(now_ns);
    }

    /// See [`Recorder::cut`].
    pub fn cut(&mut self, t_ns: u64) {
        self.recorder.cut(t_ns);
    }

    /// See [`Recorder::drain`].
    pub fn drain(&mut self, now_ns: u64) -> Vec<Interval> {
        let intervals = self.recorder.drain(now_ns);
        self.measure(&intervals);
        intervals
    }

    /// Everything that is left, and what was measured over the whole run.
    pub fn finish(&mut self) -> (Vec<Interval>, &Measured) {
        let intervals = self.recorder.finish();
        self.measure(&intervals);
        (intervals, &self.measured)
    }

    /// See [`Live::window`].
    pub fn window(&mut self, load: Option<usize>, over_ns: u64) -> Window {
        self.live.window(load, over_ns)
    }

    /// See [`Live::in_flight`].
    pub fn in_flight(&self) -> u64 {
        self.live.in_flight()
    }

    /// How many arrivals have ended.
    pub const fn ended(&self) -> u64 {
        self.ended
    }

    fn measure(&mut self, intervals: &[Interval]) {
        for Interval { stats, .. } in intervals {
            self.measured.send_lag.merge(&stats.send_lag);
            self.measured.latency.merge(&stats.latency);
            for class in Class::ALL.into_iter().filter(|class| class.is_local()) {
                if let Some(count) = stats.errors.get(class.word()) {
                    *self.measured.local_errors.entry(class.word()).or_default() += count;
                }
            }
        }
    }
}
