//! The collector: takes what the sending threads hand over, into the intervals and the live view.
//!
//! One channel leads here from all of them, so they share no lock, and nothing here is in their way. Whole-run
//! figures are the sum of the intervals, added when those are handed out: nothing is counted twice.

use super::counts::Named;
use super::fitness::Measured;
use super::machine::Machine;
use super::outcome::Class;
use super::record::Stats;
use super::recorder::{Interval, Recorder};
use super::stretch::Stretch;
use super::window::{Live, Window};
use super::worker::Batch;
use crate::units::NS_PER_S;

/// How often the machine is looked at.
const LOOK_NS: u64 = NS_PER_S;

/// What has been measured so far.
#[derive(Debug)]
pub struct Collector {
    recorder: Recorder,
    live: Live,
    measured: Measured,
    /// By load.
    stretches: Vec<Stretch>,
    machine: Machine,
    looked_ns: u64,
    /// Arrivals that have ended: the ledger's left side.
    ended: u64,
    /// When the last of them did.
    last_ns: u64,
}

impl Collector {
    /// Nothing measured yet of loads that begin at `begin_ns` and are sent by so many threads.
    pub fn new(loads: Vec<Named>, begin_ns: u64, threads: usize) -> Self {
        let slos = loads.iter().map(|load| load.slos.clone()).collect();
        let stretches = (0u32..).zip(&loads).map(|(load, _)| Stretch::new(load, begin_ns)).collect();
        let mut recorder = Recorder::new(loads, threads);
        recorder.cut(begin_ns);
        Self {
            recorder,
            live: Live::new(slos, begin_ns, threads),
            measured: Measured::default(),
            stretches,
            machine: Machine::watch(),
            looked_ns: begin_ns,
            ended: 0,
            last_ns: begin_ns,
        }
    }

    /// Takes a batch in.
    pub fn take(&mut self, batch: Batch) {
        let (thread, now_ns) = (batch.thread as usize, batch.now.at_ns);
        self.ended += batch.samples.len() as u64;
        // A thread's samples are in the order in which they ended.
        self.last_ns = self.last_ns.max(batch.samples.last().map_or(0, |sample| sample.ended_ns));
        for stretch in &mut self.stretches {
            stretch.take(&batch.samples, now_ns);
        }
        self.live.take(&batch.samples, thread, batch.now);
        self.recorder.take(thread, batch.samples);
        self.recorder.take_opened(&batch.opened);
        batch.examples.into_iter().for_each(|example| self.recorder.take_example(example));
        self.recorder.fold(now_ns);
        if now_ns >= self.looked_ns + LOOK_NS {
            self.machine.look();
            self.looked_ns = now_ns;
        }
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
    pub fn finish(&mut self) -> (Vec<Interval>, Measured) {
        let intervals = self.recorder.finish();
        self.measure(&intervals);
        self.machine.look();
        let measured = Measured {
            steal_ratio: self.machine.steal_ratio(),
            open_files: self.machine.open_files(),
            ports: self.machine.ports(),
            stretches: std::mem::take(&mut self.stretches),
            ..std::mem::take(&mut self.measured)
        };
        (intervals, measured)
    }

    /// See [`Live::window`].
    pub fn window(&mut self, load: Option<usize>, over_ns: u64) -> Window {
        self.live.window(load, over_ns)
    }

    /// See [`Live::in_flight`].
    pub fn in_flight(&self) -> u64 {
        self.live.in_flight()
    }

    /// How many arrivals have ended, and when the last of them did.
    pub const fn ended(&self) -> (u64, u64) {
        (self.ended, self.last_ns)
    }

    /// See [`Recorder::undrained`] and [`Live::overdue`].
    pub fn undrained(&self, load: usize, from_ns: u64, to_ns: u64) -> (Stats, Vec<u64>) {
        let mut hanging = self.live.overdue(load);
        hanging.retain(|intended_ns| (from_ns..to_ns).contains(intended_ns));
        (self.recorder.undrained(load as u32, from_ns, to_ns), hanging)
    }

    /// How many requests of a load hang at present.
    pub fn hanging(&self, load: usize) -> usize {
        self.live.overdue(load).len()
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
