//! The generator: starts the thread that sends, collects what it measured, and judges how well it did.
//!
//! Two threads. One sends ([`super::worker`]) and never waits for anybody; one collects its batches into
//! the [`super::recorder`] and the [`super::window`], whose lock the run loop shares. So however long the
//! run loop holds that lock, no request is late for it. Start at [`Generator::start`].

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use super::fitness::{self, Measured};
use super::offsets;
use super::outcome::{End, Sample};
use super::poll::{self, Poll, Waker};
use super::record::Stats;
use super::recorder::{Interval, Recorder};
use super::request::{Endpoints, prepare};
use super::schedule::Schedule;
use super::window::{Live, Window};
use super::worker::{Batch, Control, Fared, Lane, Switch, Worker};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event;
use crate::plan::LoadPlan;
use crate::units::{Duration, NS_PER_S, Rate};

/// The longest that requests under way may still take once a load ends; a shorter timeout cuts it further.
/// What is not answered by then is cut off, and said to be.
pub const GRACE_NS: u64 = 2 * NS_PER_S;

/// A generator at work on one or more loads. Dropping it ends them at once.
#[derive(Debug)]
pub struct Generator {
    clock: Clock,
    begin_ns: u64,
    names: Vec<String>,
    rate_per_s: f64,
    plans: Vec<LoadPlan>,
    /// How often a rate was set.
    switches: AtomicU64,
    collected: Arc<Mutex<Collected>>,
    control: Arc<Control>,
    waker: Waker,
    threads: Option<(JoinHandle<Fared>, JoinHandle<()>)>,
}

/// What has been measured so far.
#[derive(Debug)]
struct Collected {
    recorder: Recorder,
    live: Live,
    measured: Measured,
    /// Arrivals that have ended: the ledger's left side.
    ended: u64,
}

impl Collected {
    fn take(&mut self, batch: Batch) {
        self.ended += batch.samples.len() as u64;
        for sample in &batch.samples {
            self.measure(sample);
        }
        if let Some(stop_ns) = batch.stop_ns {
            self.recorder.cut(stop_ns);
        }
        self.recorder.take(&batch.samples);
        self.recorder.fold(batch.now.at_ns);
        self.live.take(&batch.samples, batch.now);
    }

    fn measure(&mut self, sample: &Sample) {
        if sample.end == End::Dropped {
            return;
        }
        self.measured.send_lag.record(sample.sent_ns - sample.intended_ns);
        if let End::Failed(class) = sample.end
            && class.is_local()
        {
            *self.measured.local_errors.entry(class.word()).or_default() += 1;
        }
        if sample.end != End::CutOff {
            self.measured.latency.record(sample.ended_ns - sample.intended_ns);
        }
    }
}

impl Generator {
    /// Starts the loads, which begin at once, at [`Generator::begin_ns`]. Fails with exit 2 where a request
    /// is wrong and with exit 3 where a host does not resolve or the machine can't do it.
    pub async fn start(loads: &[LoadPlan], endpoints: &Endpoints, clock: Clock) -> Result<Self> {
        let mut lanes = Vec::with_capacity(loads.len());
        for plan in loads {
            let load = &plan.load;
            lanes.push(Lane {
                prepared: prepare(plan, endpoints).await?,
                schedule: schedule(plan)?,
                timeout_ns: load.timeout.as_ns(),
                max_in_flight: load.max_in_flight.value,
                grace_ns: load.timeout.as_ns().min(GRACE_NS),
            });
        }
        poll::raise_open_files();
        let poll = Poll::new().map_err(|error| cannot("make an epoll, a timer and an eventfd", error))?;
        let waker = poll.waker();
        let control = Arc::new(Control::default());
        // Without a bound of its own: the sending thread must never wait. What it holds is what ended while
        // the collector waited for its lock, some milliseconds' worth.
        let (outbox, inbox) = mpsc::channel();

        let begin_ns = clock.now_ns();
        let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let unix_zero_ms = unix_ns.saturating_sub(begin_ns) / 1_000_000;
        let slos: Vec<Vec<String>> =
            loads.iter().map(|load| load.slos.iter().map(|(name, _)| name.clone()).collect()).collect();
        let names: Vec<String> = loads.iter().map(|load| load.name.clone()).collect();
        let mut recorder = Recorder::new(names.iter().cloned().zip(slos.iter().cloned()));
        recorder.cut(begin_ns);
        let live = Live::new(slos, begin_ns);
        let collected =
            Arc::new(Mutex::new(Collected { recorder, live, measured: Measured::default(), ended: 0 }));

        let worker = Worker::new(clock, (begin_ns, unix_zero_ms), poll, lanes, control.clone(), outbox);
        let worker = spawn("chaos-load", move || worker.run())?;
        let shared = collected.clone();
        let collector = spawn("chaos-collect", move || {
            // Ends when the worker is gone and its last batch taken.
            while let Ok(batch) = inbox.recv() {
                lock(&shared).take(batch);
            }
        })?;
        Ok(Self {
            clock,
            begin_ns,
            names,
            rate_per_s: loads
                .iter()
                .filter_map(|plan| plan.load.rate.as_ref()?.peak())
                .map(Rate::as_per_s)
                .sum(),
            plans: loads.to_vec(),
            switches: AtomicU64::new(0),
            collected,
            control,
            waker,
            threads: Some((worker, collector)),
        })
    }

    /// When the loads began, on the run's clock: arrivals are intended from here on.
    pub const fn begin_ns(&self) -> u64 {
        self.begin_ns
    }

    /// No interval may span `t_ns`, a phase's measured boundary. Exact if called within a second of that
    /// instant; later, what is sorted already counts before it.
    pub fn cut(&self, t_ns: u64) {
        lock(&self.collected).recorder.cut(t_ns);
    }

    /// What was measured in intervals that are over, since the last call. Up to a second behind, so that
    /// cuts can still come; an interval whose answers were late comes again with those.
    pub fn drain(&self) -> Vec<Interval> {
        lock(&self.collected).recorder.drain(self.clock.now_ns())
    }

    /// What ended in the last `over` (at most a minute) of one load, or of all together. Empty for a load
    /// that there is not.
    pub fn window(&self, load: Option<&str>, over: Duration) -> Window {
        let index = match load {
            Some(name) => match self.names.iter().position(|other| other == name) {
                Some(index) => Some(index),
                None => return Window::default(),
            },
            None => None,
        };
        lock(&self.collected).live.window(index, over.as_ns())
    }

    /// Gives a load that has a rate another one that stays (nothing: its own again, counted anew) and returns
    /// from when on. Arrivals due before that are not touched. Nothing for a load that there is not, or that
    /// replays a recording and has no rate to go back to.
    pub fn set_rate(&self, load: &str, rate: Option<Rate>) -> Option<u64> {
        /// The sending thread must know of it before that instant. It is woken at once, and looks before it
        /// releases anything; this is for what it may be in the middle of.
        const AHEAD_NS: u64 = 50_000_000;
        let index = self.names.iter().position(|name| name == load)?;
        let plan = &self.plans[index];
        let schedule = match rate {
            Some(rate) => Schedule::at_rate(plan, rate, self.switches.fetch_add(1, Ordering::Relaxed) + 1),
            None if plan.load.rate.as_ref()?.replay().is_some() => return None,
            None => Schedule::of(plan),
        };
        let at_ns = self.clock.now_ns() + AHEAD_NS;
        self.control.switch(Switch { load: index, at_ns: at_ns - self.begin_ns, schedule });
        self.waker.wake();
        Some(at_ns)
    }

    /// What of a load's requests intended in a stretch between two cuts has ended and was not drained yet,
    /// and the intended instants of those that hang: under way for longer than a second or their timeout.
    pub fn undrained(&self, load: &str, from_ns: u64, to_ns: u64) -> (Stats, Vec<u64>) {
        let Some(index) = self.names.iter().position(|name| name == load) else {
            return (Stats::default(), Vec::new());
        };
        let collected = lock(&self.collected);
        let mut hanging = collected.live.overdue(index).to_vec();
        hanging.retain(|intended_ns| (from_ns..to_ns).contains(intended_ns));
        (collected.recorder.undrained(index as u32, from_ns, to_ns), hanging)
    }

    /// Requests of a load that hang at present.
    pub fn hanging(&self, load: &str) -> usize {
        let index = self.names.iter().position(|name| name == load);
        index.map_or(0, |index| lock(&self.collected).live.overdue(index).len())
    }

    /// Requests under way, some 50 ms ago.
    pub fn in_flight(&self) -> u64 {
        lock(&self.collected).live.in_flight()
    }

    /// Ends the loads: nothing intended from now on is sent, what is under way may still be answered for
    /// [`GRACE_NS`] or its timeout, the rest is cut off. Returns what was not drained yet, and how well the
    /// generator did its own job.
    ///
    /// # Panics
    ///
    /// If an arrival ended in no box or in two, or a thread of the generator panicked: our own bugs.
    pub async fn stop(mut self) -> (Vec<Interval>, event::Generator) {
        self.control.stop();
        self.waker.wake();
        let (worker, collector) = self.threads.take().expect("a generator is stopped once");
        let joined = tokio::task::spawn_blocking(move || {
            let fared = worker.join().expect("the sending thread does not panic");
            collector.join().expect("the collecting thread does not panic");
            fared
        });
        let fared = joined.await.expect("joining threads does not panic");
        let mut collected = lock(&self.collected);
        assert_eq!(collected.ended, fared.scheduled, "every scheduled arrival ends in exactly one box");
        let intervals = collected.recorder.finish();
        let verdict = fitness::judge(&collected.measured, &fared, self.rate_per_s);
        (intervals, verdict)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.control.abandon();
        self.waker.wake();
    }
}

/// A load's arrivals; of a replay, from its file.
fn schedule(plan: &LoadPlan) -> Result<Schedule> {
    match plan.load.rate.as_ref().and_then(|rate| rate.replay()) {
        None => Ok(Schedule::of(plan)),
        Some(file) => {
            let offsets = offsets::open(Path::new(&file.value)).map_err(|refusal| {
                Error::mistake(format!("load `{}`: {}", plan.name, refusal.message)).hint(refusal.hint)
            })?;
            Ok(Schedule::replaying(plan, offsets))
        }
    }
}

/// The lock is never poisoned for longer than it takes to end: a panic in its holders is our own bug.
fn lock(collected: &Mutex<Collected>) -> MutexGuard<'_, Collected> {
    collected.lock().expect("nothing panics while it records")
}

fn cannot(what: &str, error: std::io::Error) -> Error {
    Error::environment(format!("the load generator could not {what}"))
        .because(error)
        .hint("raise the limits on open files and threads (`ulimit -n`, `ulimit -u`)")
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    thread::Builder::new().name(name.into()).spawn(run).map_err(|error| cannot("start a thread", error))
}
