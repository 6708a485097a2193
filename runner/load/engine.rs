//! The generator: starts the threads that send, collects what they measured, and judges how well they did.
//!
//! Some threads send ([`super::worker`]) and never wait for anybody, each with its own part of every load;
//! one collects their batches ([`super::collector`]), whose lock the run
//! loop shares. So however long the run loop holds that lock, no request is late for it. Start at
//! [`Generator::start`].

use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use super::collector::Collector;
use super::counts::Named;
use super::fitness::{self, Asked};
use super::lane::{Control, Lane, Mailbox, Switch, connections};
use super::offsets;
use super::poll::{self, Poll, Waker};
use super::progress::Fared;
use super::record::Stats;
use super::recorder::Interval;
use super::request::{Endpoints, Prepared, prepare};
use super::schedule::Schedule;
use super::source::Share;
use super::window::Window;
use super::worker::{Manner, Worker};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event;
use crate::plan::LoadPlan;
use crate::spec::{Arrivals, Shape};
use crate::units::{Duration, Rate};

/// Arrivals a second that one thread takes on before there is another: half of what one sends on a slow
/// core, and no more threads than that, because each costs the system under test a core where it shares
/// the machine.
const ARRIVALS_PER_THREAD: f64 = 30_000.0;

/// Users of a closed model that one thread takes on before there is another.
const USERS_PER_THREAD: u32 = 1_000;

/// Open files besides the requests under way: journals, agents, Docker, and connections between two requests.
const FILES_BESIDE: u64 = 1_000;

/// How far ahead the end of loads is set, so that every thread knows of it before it comes.
const STOP_AHEAD_NS: u64 = 1_000_000;

/// How a generator goes about its work; by default as most runs want it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Sending threads; by default one, and another for every 30,000 arrivals a second or 1,000 users, at
    /// most one a core.
    pub threads: Option<NonZeroU32>,
    /// How each goes about its work.
    pub manner: Manner,
    /// The most arrivals of each load of users who wait; by default there is no end to them.
    pub answers: Option<NonZeroU64>,
}

/// A generator at work on one or more loads. Dropping it ends them at once.
#[derive(Debug)]
pub struct Generator {
    clock: Clock,
    begin_ns: u64,
    names: Vec<String>,
    rate_per_s: f64,
    plans: Vec<LoadPlan>,
    asked: Vec<Asked>,
    /// How often a rate was set.
    switches: AtomicU64,
    collected: Arc<Mutex<Collector>>,
    control: Arc<Control>,
    mailboxes: Vec<Arc<Mailbox>>,
    wakers: Vec<Waker>,
    threads: Option<(Vec<JoinHandle<Fared>>, JoinHandle<()>)>,
}

impl Generator {
    /// Starts the loads, which begin at once, at [`Generator::begin_ns`]. Fails with exit 2 where a request
    /// is wrong and with exit 3 where a host does not resolve or the machine can't do it.
    pub async fn start(
        loads: &[LoadPlan],
        endpoints: &Endpoints,
        clock: Clock,
        setup: Setup,
    ) -> Result<Self> {
        let mut prepared = Vec::with_capacity(loads.len());
        for plan in loads {
            prepared.push(prepare(plan, endpoints).await?);
        }
        let in_flight: u64 = loads.iter().map(|plan| u64::from(plan.load.max_in_flight.value)).sum();
        poll::reserve_files(in_flight + FILES_BESIDE, poll::raise_open_files());
        let of = threads(loads, setup.threads);
        let polls = (0..of).map(|_| Poll::new()).collect::<Result<Vec<_>, _>>();
        let polls = polls.map_err(|error| cannot("make an epoll, a timer and an eventfd", error))?;
        let wakers = polls.iter().map(Poll::waker).collect();
        let control = Arc::new(Control::default());
        // Without a bound of its own: a sending thread must never wait. What it holds is what ended while
        // the collector waited for its lock, some milliseconds' worth.
        let (outbox, inbox) = mpsc::channel();

        let begin_ns = clock.now_ns();
        let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let unix_zero_ms = unix_ns.saturating_sub(begin_ns) / 1_000_000;
        let named: Vec<Named> = loads.iter().map(Named::of).collect();
        let names: Vec<String> = loads.iter().map(|load| load.name.clone()).collect();
        let collected = Arc::new(Mutex::new(Collector::new(named, begin_ns, of as usize)));

        let mailboxes: Vec<Arc<Mailbox>> = (0..of).map(|_| Arc::default()).collect();
        let mut workers = Vec::with_capacity(of as usize);
        for (index, (poll, mailbox)) in (0..of).zip(polls.into_iter().zip(&mailboxes)) {
            let lane = |(plan, prepared): (&LoadPlan, &Prepared)| {
                let share = Share { index, of };
                Ok(Lane::new(plan, prepared.clone(), schedule(plan)?, share, setup.answers))
            };
            let lanes = loads.iter().zip(&prepared).map(lane).collect::<Result<_>>()?;
            let (times, told) = ((clock, begin_ns, unix_zero_ms), (control.clone(), mailbox.clone()));
            let worker = Worker::new(index, times, poll, lanes, told, setup.manner, outbox.clone());
            workers.push(spawn("chaos-load", move || worker.run())?);
        }
        drop(outbox);
        let shared = collected.clone();
        let collector = spawn("chaos-collect", move || {
            // Ends when the workers are gone and their last batches taken.
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
            asked: loads.iter().map(asked).collect(),
            switches: AtomicU64::new(0),
            collected,
            control,
            mailboxes,
            wakers,
            threads: Some((workers, collector)),
        })
    }

    /// When the loads began, on the run's clock: arrivals are intended from here on.
    pub const fn begin_ns(&self) -> u64 {
        self.begin_ns
    }

    /// No interval may span `t_ns`, a phase's measured boundary. Exact if called within a second of that
    /// instant; later, what is sorted already counts before it.
    pub fn cut(&self, t_ns: u64) {
        lock(&self.collected).cut(t_ns);
    }

    /// What was measured in intervals that are over, since the last call. Up to a second behind, so that
    /// cuts can still come; an interval whose answers were late comes again with those.
    pub fn drain(&self) -> Vec<Interval> {
        lock(&self.collected).drain(self.clock.now_ns())
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
        lock(&self.collected).window(index, over.as_ns())
    }

    /// Arrivals that had ended some 50 ms ago, and when the last of them did.
    pub fn ended(&self) -> (u64, u64) {
        lock(&self.collected).ended()
    }

    /// Gives a load that has a rate another one that stays (nothing: its own again, counted anew) and returns
    /// from when on. Arrivals due before that are not touched. Nothing for a load that there is not, or that
    /// replays a recording and has no rate to go back to.
    pub fn set_rate(&self, load: &str, rate: Option<Rate>) -> Option<u64> {
        /// The sending threads must know of it before that instant. They are woken at once, and look before
        /// they release anything; this is for what they may be in the middle of.
        const AHEAD_NS: u64 = 50_000_000;
        let index = self.names.iter().position(|name| name == load)?;
        let plan = &self.plans[index];
        if rate.is_none() && plan.load.rate.as_ref()?.replay().is_some() {
            return None;
        }
        let nth = self.switches.fetch_add(1, Ordering::Relaxed) + 1;
        let at_ns = self.clock.now_ns() + AHEAD_NS;
        for mailbox in &self.mailboxes {
            let schedule = match rate {
                Some(rate) => Schedule::at_rate(plan, rate, nth),
                None => Schedule::of(plan),
            };
            mailbox.switch(Switch { load: index, at_ns: at_ns - self.begin_ns, schedule });
        }
        self.wakers.iter().for_each(Waker::wake);
        Some(at_ns)
    }

    /// What of a load's requests intended in a stretch between two cuts has ended and was not drained yet,
    /// and the intended instants of those that hang: under way for longer than a second or their timeout.
    pub fn undrained(&self, load: &str, from_ns: u64, to_ns: u64) -> (Stats, Vec<u64>) {
        let Some(index) = self.names.iter().position(|name| name == load) else {
            return (Stats::default(), Vec::new());
        };
        lock(&self.collected).undrained(index, from_ns, to_ns)
    }

    /// Requests of a load that hang at present.
    pub fn hanging(&self, load: &str) -> usize {
        let index = self.names.iter().position(|name| name == load);
        index.map_or(0, |index| lock(&self.collected).hanging(index))
    }

    /// Requests under way, some 50 ms ago.
    pub fn in_flight(&self) -> u64 {
        lock(&self.collected).in_flight()
    }

    /// Sets the instant at which the loads end, which is still to come: nothing intended at or after it is
    /// sent. [`Generator::stop`] is still to be called, soon after it.
    pub fn end_at(&self, at_ns: u64) {
        self.control.stop(at_ns);
        self.wakers.iter().for_each(Waker::wake);
    }

    /// Ends the loads: nothing intended from now on is sent, what is under way may still be answered for
    /// [`GRACE_NS`] or its timeout, the rest is cut off. Returns what was not drained yet, and how well the
    /// generator did its own job.
    ///
    /// # Panics
    ///
    /// If an arrival ended in no box or in two, or a thread of the generator panicked: our own bugs.
    pub async fn stop(mut self) -> (Vec<Interval>, event::Generator) {
        let stop_ns = self.control.stop_ns().min(self.clock.now_ns() + STOP_AHEAD_NS);
        self.control.stop(stop_ns);
        self.cut(stop_ns);
        self.wakers.iter().for_each(Waker::wake);
        let (workers, collector) = self.threads.take().expect("a generator is stopped once");
        let joined = tokio::task::spawn_blocking(move || {
            let join = |worker: JoinHandle<Fared>| worker.join().expect("a sending thread does not panic");
            let fared: Vec<Fared> = workers.into_iter().map(join).collect();
            collector.join().expect("the collecting thread does not panic");
            fared
        });
        let fared = joined.await.expect("joining threads does not panic");
        let mut collected = lock(&self.collected);
        let scheduled: u64 = fared.iter().map(|fared| fared.scheduled).sum();
        assert_eq!(collected.ended().0, scheduled, "every scheduled arrival ends in exactly one box");
        let (intervals, measured) = collected.finish();
        let verdict = fitness::judge(&measured, &self.asked, &fared, self.rate_per_s);
        (intervals, verdict)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.control.abandon();
        self.wakers.iter().for_each(Waker::wake);
    }
}

/// How many threads send these loads.
fn threads(loads: &[LoadPlan], asked: Option<NonZeroU32>) -> u32 {
    let share = |plan: &LoadPlan| match (&plan.load.rate, &plan.load.users) {
        (Some(rate), _) => rate.peak().map_or(1.0, Rate::as_per_s) / ARRIVALS_PER_THREAD,
        (None, Some(users)) => f64::from(users.value) / f64::from(USERS_PER_THREAD),
        (None, None) => 0.0,
    };
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let useful = (loads.iter().map(share).sum::<f64>().ceil() as u32).clamp(1, cores);
    // Of a cap smaller than the threads some would have no part at all, and drop all that falls to them.
    let cap = |plan: &LoadPlan| connections(plan).unwrap_or(u32::MAX).min(plan.load.max_in_flight.value);
    let cap = loads.iter().map(cap).min().unwrap_or(1);
    asked.map_or(useful, NonZeroU32::get).min(cap.max(1))
}

/// What the generator is judged by.
fn asked(plan: &LoadPlan) -> Asked {
    let held = plan.load.rate.as_ref().is_some_and(|rate| matches!(**rate, Shape::Held(_)));
    let poisson = held && plan.load.burst.value == 1 && plan.load.arrivals == Arrivals::Poisson;
    // Later steps of flows are sent when answers come, and nobody asked for these to be poisson.
    let alone = plan.load.requests.iter().all(|entry| entry.sent().len() == 1);
    Asked { load: plan.name.clone(), poisson: poisson && alone }
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
fn lock(collected: &Mutex<Collector>) -> MutexGuard<'_, Collector> {
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
