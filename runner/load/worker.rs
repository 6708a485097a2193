//! The generator's thread: releases arrivals at their instants, moves bytes, and notes how each ended.
//!
//! An open model: an arrival takes an idle connection or opens one, whatever the answers do. Nothing is
//! released early; what is released late (this thread was not scheduled, or had too much to do) is sent
//! at once and its lateness recorded as send lag, so it is seen and never hidden. The thread shares
//! nothing it could wait for: ended arrivals leave in batches through a channel.
//!
//! All state is in [`Worker`]; start at [`Worker::run`].

mod carrying;
mod landing;
mod redirecting;
mod sharing;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc;

use super::connection::{READ_BYTES, Stage};
use super::examples::Examples;
use super::flight::{Flights, Ticket, UNCARRIED};
use super::lane::{Control, Lane, Mailbox, Switch};
use super::outcome::{End, Example, Opened, Sample};
use super::poll::{self, Poll, Ready};
use super::pool::Pool;
use super::progress::{Fared, Progress};
use super::protocol::h2;
use super::protocol::http1::LastHead;
use super::redirect::Trail;
use super::stamp::Stamps;
use super::urgency::Urgency;
use super::visit::Visits;
use super::window::{Now, OVERDUE_NS};
use crate::clock::{self, Clock};

/// How often ended arrivals are handed over: the live view is at most this much behind.
const HAND_OVER_NS: u64 = 50_000_000;

/// Ended arrivals that are handed over without waiting for that: bounds a batch at a quarter of a megabyte.
const BATCH: usize = 4_096;

/// How many due arrivals are released before sockets get a turn: when a backlog is worked off, answers
/// must be read meanwhile or they would all look slow.
const RELEASED_AT_ONCE: u32 = 64;

/// How many connections are opened before sockets get a turn. Opening one takes as long as sending some requests:
/// one for each arrival of a backlog and the backlog grows, though the connections there are would soon be idle.
/// A request that finds none waits for the next turn, or for one that becomes idle first.
const OPENED_AT_ONCE: u32 = 8;

/// How many due arrivals are looked at meanwhile: dropping one costs a hundredth of sending it.
const LOOKED_AT_AT_ONCE: u32 = 4_096;

/// An arrival this near is slept for without listening to sockets, whose answers are read at its instant: two
/// wake-ups for each request would be twice the price. The longest that an answer waits to be read.
const NAP_NS: u64 = 100_000;

/// How long an unsent backlog is counted at the end.
const BACKLOG_COUNTED_NS: u64 = 1_000_000_000;

/// What ended on a thread since its last batch, and what is under way there.
#[derive(Debug)]
pub struct Batch {
    /// Which thread, from 0.
    pub thread: u32,
    /// In the order in which they ended.
    pub samples: Vec<Sample>,
    /// Connections opened.
    pub opened: Vec<Opened>,
    /// Of each class of errors that a load met for the first time on this thread, what it was.
    pub examples: Vec<Example>,
    /// The present as of this batch.
    pub now: Now,
}

/// How a thread goes about its work; the same for all of a generator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Whether each arrival has a wake-up of its own.
    pub pacing: Pacing,
    /// Ask for real-time priority.
    pub realtime: bool,
}

/// How precisely arrivals are released: precision costs a wake-up each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pacing {
    /// Each at its own instant.
    #[default]
    Precise,
    /// Together, every [`BATCHED_NS`]: late by half of that on average, for about half the CPU time.
    Batched,
}

/// The grain of [`Pacing::Batched`]: what most load generators have as their only one.
pub const BATCHED_NS: u64 = 1_000_000;

/// The thread's state.
pub struct Worker {
    /// Which of the sending threads, from 0.
    thread: u32,
    clock: Clock,
    /// The last look at the clock.
    now_ns: u64,
    /// When what is attended to came: the last look, or earlier where the kernel says so.
    heard_ns: u64,
    stamps: Stamps,
    /// True if the thread sleeps for its next arrival alone where that is near, and reads in passing.
    naps: bool,
    begin_ns: u64,
    /// Milliseconds since 1970 at the clock's zero.
    unix_zero_ms: u64,
    poll: Poll,
    lanes: Vec<Lane>,
    flights: Flights,
    pool: Pool,
    control: Arc<Control>,
    mailbox: Arc<Mailbox>,
    manner: Manner,
    outbox: mpsc::Sender<Batch>,
    batch: Vec<Sample>,
    opened: Vec<Opened>,
    examples: Examples,
    buffer: Box<[u8]>,
    last_head: LastHead,
    scratch: Vec<u8>,
    /// Connections with more to read than one turn allows.
    unfinished: Vec<Ready>,
    visits: Visits,
    /// A request as a shared connection sends it, while it is made.
    laid: Vec<u8>,
    /// What ended on a shared connection, while it is gone through.
    ended: Vec<h2::Event>,
    /// Shared connections with something to write: written once a turn, however many requests it had.
    unwritten: Vec<u32>,
    /// Where requests were redirected, by ticket.
    trails: HashMap<u32, Trail>,
    /// Requests that were just redirected, until what answered them is put where it belongs.
    turned: Vec<Ticket>,
    /// Connections opened so far, by which a host's addresses take turns.
    turns: usize,
    /// Connections opened since sockets last had a turn.
    opened_at_once: u32,
    /// Where requests wait because so many were, by load and address; each once.
    held_back: Vec<(usize, u32)>,
    progress: Progress,
}

/// The earlier of two instants, where there are any.
fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Worker {
    /// A worker whose loads begin at `begin_ns`; `unix_zero_ms` is the wall-clock time of the clock's zero.
    pub fn new(
        thread: u32,
        (clock, begin_ns, unix_zero_ms): (Clock, u64, u64),
        poll: Poll,
        lanes: Vec<Lane>,
        (control, mailbox): (Arc<Control>, Arc<Mailbox>),
        manner: Manner,
        outbox: mpsc::Sender<Batch>,
    ) -> Self {
        Self {
            thread,
            clock,
            now_ns: begin_ns,
            heard_ns: begin_ns,
            stamps: Stamps::default(),
            naps: manner.pacing == Pacing::Precise && lanes.iter().all(Lane::is_stamped),
            begin_ns,
            unix_zero_ms,
            poll,
            flights: Flights::new(lanes.len()),
            examples: Examples::new(lanes.len()),
            opened: Vec::new(),
            pool: Pool::new(lanes.iter().map(|lane| lane.prepared.places.len())),
            lanes,
            control,
            mailbox,
            manner,
            outbox,
            batch: Vec::with_capacity(BATCH),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            last_head: LastHead::default(),
            scratch: Vec::new(),
            unfinished: Vec::new(),
            visits: Visits::new(),
            laid: Vec::new(),
            ended: Vec::new(),
            unwritten: Vec::new(),
            trails: HashMap::new(),
            turned: Vec::new(),
            turns: 0,
            opened_at_once: 0,
            held_back: Vec::new(),
            progress: Progress::default(),
        }
    }

    /// Runs until told to end, and says how it fared.
    pub fn run(mut self) -> Fared {
        poll::precise_timers();
        poll::run_first();
        let started_ns = self.clock.now_ns();
        let mut urgency = Urgency::of(self.manner.realtime, started_ns);
        let mut hand_over_ns = started_ns + HAND_OVER_NS;
        let mut ready = Vec::new();
        let mut until_ns = u64::MAX;
        loop {
            self.look();
            let now_ns = self.release();
            self.progress.looked(now_ns, until_ns);
            self.expire(now_ns);
            if now_ns >= hand_over_ns || self.batch.len() >= BATCH {
                self.hand_over(now_ns);
                urgency.weigh(now_ns);
                hand_over_ns = now_ns + HAND_OVER_NS;
            }
            if self.is_over(now_ns) {
                break;
            }
            self.write_shared();
            until_ns = self.wake_ns(now_ns).min(hand_over_ns);
            let until_mono_ns = if until_ns <= now_ns { 0 } else { self.clock.to_mono(until_ns) };
            let ahead_ns = until_ns.saturating_sub(now_ns);
            let napping = self.naps && ahead_ns > 0 && ahead_ns <= NAP_NS;
            // First what came due while waiting: a full load's arrivals must not take the places that open
            // only now.
            if napping {
                if urgency.is_held() {
                    self.poll.watch(until_mono_ns);
                } else {
                    self.poll.nap(until_mono_ns);
                }
                self.look();
                self.release();
                let now_ns = self.look();
                self.stamps.ask(now_ns);
                self.poll.wait(0, &mut ready).expect("an epoll of our own can be waited for");
            } else {
                self.stamps.rest();
                self.poll.wait(until_mono_ns, &mut ready).expect("an epoll of our own can be waited for");
                self.look();
                self.release();
            }
            for ready in std::mem::take(&mut self.unfinished) {
                self.attend(ready);
            }
            for ready in &ready {
                self.attend(*ready);
            }
            self.open_held_back();
        }
        self.cut_off();
        let ended_ns = self.clock.now_ns();
        self.progress.caught_up(ended_ns);
        self.hand_over(ended_ns);
        Fared {
            cpu_ns: clock::thread_cpu_ns(),
            wall_ns: ended_ns - started_ns,
            realtime: urgency.throughout(),
            ..self.progress.fared
        }
    }

    /// The next instant at which something is to be done without any socket asking for it; now if that
    /// can't wait.
    fn wake_ns(&self, now_ns: u64) -> u64 {
        if !self.unfinished.is_empty() || !self.held_back.is_empty() {
            return now_ns;
        }
        let stop_ns = self.control.stop_ns();
        let mut wake_ns = u64::MAX;
        for (load, lane) in self.lanes.iter().enumerate() {
            // Of a full load nothing can be sent before something ends, and what comes due until then is
            // dropped whenever that is looked at: nothing to wake up for.
            let arrival_ns = lane.source.next_ns().filter(|_| !self.is_full(load));
            let arrival_ns = arrival_ns.map(|next_ns| self.begin_ns.saturating_add(next_ns));
            if let Some(at_ns) = earlier(arrival_ns, lane.follow.next_ns()) {
                let at_ns = match self.manner.pacing {
                    Pacing::Precise => at_ns,
                    Pacing::Batched => at_ns.next_multiple_of(BATCHED_NS),
                };
                wake_ns = wake_ns.min(if at_ns < stop_ns { at_ns } else { u64::MAX });
            }
            if let Some((_, oldest)) = self.flights.oldest(load) {
                wake_ns = wake_ns.min(oldest.intended_ns.saturating_add(lane.timeout_ns));
            }
            wake_ns = wake_ns.min(stop_ns.saturating_add(lane.grace_ns));
        }
        wake_ns
    }

    /// True once nothing is left to do: told to stop, all released, and none under way or out of grace.
    fn is_over(&self, now_ns: u64) -> bool {
        let stop_ns = self.control.stop_ns();
        if stop_ns == u64::MAX {
            return false;
        }
        self.control.is_abandoned()
            || self.lanes.iter().enumerate().all(|(load, lane)| {
                now_ns >= stop_ns.saturating_add(lane.grace_ns)
                    || (now_ns >= stop_ns && self.due(load).is_none() && self.flights.count(load) == 0)
            })
    }

    /// The instant of a load's next arrival or step, if the load does not end before it.
    fn due(&self, load: usize) -> Option<u64> {
        let lane = &self.lanes[load];
        let arrival_ns = lane.source.next_ns().map(|next_ns| self.begin_ns.saturating_add(next_ns));
        let at_ns = earlier(arrival_ns, lane.follow.next_ns())?;
        (at_ns < self.control.stop_ns()).then_some(at_ns)
    }

    /// Looks at the clock. What follows from one look is dated by it: reading the clock costs a fortieth of
    /// sending a request, so it is read where time may have passed, not wherever an instant is noted.
    fn look(&mut self) -> u64 {
        self.now_ns = self.clock.now_ns();
        self.heard_ns = self.now_ns;
        self.now_ns
    }

    /// Releases what was due at the last look, in order of intended instants, up to a bound; returns the
    /// instant of the last look.
    fn release(&mut self) -> u64 {
        // Before anything is released: a thread that was not scheduled for a while must not release by the old
        // schedule what is due by the new one.
        for Switch { load, at_ns, schedule } in self.mailbox.switches() {
            self.lanes[load].source.switch(at_ns, schedule);
        }
        let mut sent = 0;
        for _ in 0..LOOKED_AT_AT_ONCE {
            if sent == RELEASED_AT_ONCE {
                break;
            }
            let first = (0..self.lanes.len()).filter_map(|load| Some((self.due(load)?, load))).min();
            let Some((intended_ns, load)) = first.filter(|(at_ns, _)| *at_ns <= self.now_ns) else {
                self.progress.caught_up(self.now_ns);
                break;
            };
            // Sending the one before took as long as several looks.
            let now_ns = if sent > 0 { self.look() } else { self.now_ns };
            let lane = &mut self.lanes[load];
            if lane.follow.next_ns() == Some(intended_ns) {
                let Some(step) = lane.follow.take() else { break };
                self.progress.released(now_ns, now_ns - intended_ns);
                self.depart(load, &step, now_ns);
                sent += 1;
                continue;
            }
            let Some(arrival) = lane.source.take() else { break };
            if self.is_full(load) {
                self.progress.dropped();
                self.note(load, End::Dropped, (intended_ns, now_ns, now_ns), 0);
            } else {
                self.progress.released(now_ns, now_ns - intended_ns);
                self.arrive(load, &arrival, intended_ns, now_ns);
                sent += 1;
            }
        }
        self.now_ns
    }

    /// True if a load has as many requests under way as it may; a flow between two steps is under way.
    fn is_full(&self, load: usize) -> bool {
        let lane = &self.lanes[load];
        self.flights.count(load) + lane.follow.count() >= lane.max_in_flight
    }

    fn hand_over(&mut self, now_ns: u64) {
        let overdue = self.lanes.iter().enumerate().map(|(load, lane)| {
            let limit_ns = lane.timeout_ns.min(OVERDUE_NS);
            let overdue = self.flights.of(load).map(|flight| flight.intended_ns);
            overdue.take_while(|intended_ns| intended_ns + limit_ns < now_ns).collect()
        });
        let now = Now {
            at_ns: now_ns,
            overdue: overdue.collect(),
            in_flight: (0..self.lanes.len()).map(|load| u64::from(self.flights.count(load))).collect(),
        };
        let samples = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        // Nobody listens any more only when the generator was dropped: then there is nobody to tell.
        let _ = self.outbox.send(Batch {
            thread: self.thread,
            samples,
            opened: std::mem::take(&mut self.opened),
            examples: self.examples.take(),
            now,
        });
    }
}
