//! The generator's thread: releases arrivals at their instants, moves bytes, and notes how each ended.
//!
//! An open model: an arrival takes an idle connection or opens one, whatever the answers do. Nothing is
//! released early; what is released late (this thread was not scheduled, or had too much to do) is sent
//! at once and its lateness recorded as send lag, so it is seen and never hidden. The thread shares
//! nothing it could wait for: ended arrivals leave in batches through a channel.
//!
//! All state is in [`Worker`]; start at [`Worker::run`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use super::connection::{Connection, Event, READ_BYTES, Stage};
use super::flight::{Flight, Flights, Ticket};
use super::outcome::{Class, End, Sample};
use super::poll::{self, Poll, Ready};
use super::pool::{Link, Pool};
use super::protocol::Answer;
use super::request::Prepared;
use super::schedule::{Arrival, Schedule};
use super::window::{Now, OVERDUE_NS};
use crate::clock::Clock;

/// How often ended arrivals are handed over: the live view is at most this much behind.
const HAND_OVER_NS: u64 = 50_000_000;

/// Ended arrivals that are handed over without waiting for that: bounds a batch at a quarter of a megabyte.
const BATCH: usize = 4_096;

/// How many due arrivals are released before sockets get a turn: when a backlog is worked off, answers
/// must be read meanwhile or they would all look slow.
const RELEASED_AT_ONCE: u32 = 64;

/// How many due arrivals are looked at meanwhile: dropping one costs a hundredth of sending it.
const LOOKED_AT_AT_ONCE: u32 = 4_096;

/// An arrival later than this finds the generator behind its schedule: a hundred times the lag of an idle
/// machine, and a share of any latency worth measuring over a network.
pub const BEHIND_NS: u64 = 10_000_000;

/// How long an unsent backlog is counted at the end.
const BACKLOG_COUNTED_NS: u64 = 1_000_000_000;

/// What ended since the last batch, and what is under way.
#[derive(Debug)]
pub struct Batch {
    /// In the order in which they ended.
    pub samples: Vec<Sample>,
    /// The present as of this batch.
    pub now: Now,
    /// When the loads ended, once they have: no arrival is intended at or after it.
    pub stop_ns: Option<u64>,
}

/// How a running worker is told to end. The worker decides the instant: only it knows what it has released
/// already, and an arrival after the end would lie in no phase.
#[derive(Debug, Default)]
pub struct Control {
    stop: AtomicBool,
    abandon: AtomicBool,
    /// True while there are switches to be made.
    switched: AtomicBool,
    switches: Mutex<Vec<Switch>>,
}

/// Another schedule for a load, from an instant on.
#[derive(Debug)]
pub struct Switch {
    /// Which load.
    pub load: usize,
    /// From when on, in nanoseconds since the loads began.
    pub at_ns: u64,
    /// Its arrivals, counted from there.
    pub schedule: Schedule,
}

impl Control {
    /// Ends the loads; what is under way gets its grace.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Gives a load another schedule; the last switch of a load given counts.
    pub fn switch(&self, switch: Switch) {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner).push(switch);
        self.switched.store(true, Ordering::Release);
    }

    /// The switches to be made; without a lock as long as there are none.
    fn switches(&self) -> Vec<Switch> {
        if !self.switched.load(Ordering::Relaxed) || !self.switched.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut self.switches.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends at once; whatever is under way is cut off.
    pub fn abandon(&self) {
        self.abandon.store(true, Ordering::Release);
        self.stop();
    }
}

/// How the thread fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fared {
    /// CPU time it used.
    pub cpu_ns: u64,
    /// How long it ran.
    pub wall_ns: u64,
    /// Arrivals taken from the schedule: each of them is in one sample.
    pub scheduled: u64,
    /// How long it was behind its schedule by more than [`BEHIND_NS`].
    pub behind_ns: u64,
    /// Arrivals it worked off meanwhile: over `behind_ns`, the rate that it can hold.
    pub behind_count: u64,
    /// The furthest it was behind.
    pub furthest_ns: u64,
}

/// One load in the worker's hands.
#[derive(Debug)]
pub struct Lane {
    /// Its requests.
    pub prepared: Prepared,
    /// Its arrivals.
    pub schedule: Schedule,
    /// Its timeout, from the intended instant.
    pub timeout_ns: u64,
    /// The most requests under way at once.
    pub max_in_flight: u32,
    /// How long what is under way may still take when the load ends.
    pub grace_ns: u64,
}

#[derive(Debug)]
struct Running {
    lane: Lane,
    next: Option<Arrival>,
}

/// The thread's state.
pub struct Worker {
    clock: Clock,
    begin_ns: u64,
    /// Milliseconds since 1970 at the clock's zero.
    unix_zero_ms: u64,
    poll: Poll,
    lanes: Vec<Running>,
    flights: Flights,
    pool: Pool,
    control: Arc<Control>,
    /// When the loads end; never, until told.
    stop_ns: u64,
    outbox: mpsc::Sender<Batch>,
    batch: Vec<Sample>,
    buffer: Box<[u8]>,
    scratch: Vec<u8>,
    /// Connections with more to read than one turn allows.
    unfinished: Vec<Ready>,
    behind_since_ns: Option<u64>,
    fared: Fared,
}

impl Worker {
    /// A worker whose loads begin at `begin_ns`; `unix_zero_ms` is the wall-clock time of the clock's zero.
    pub fn new(
        clock: Clock,
        (begin_ns, unix_zero_ms): (u64, u64),
        poll: Poll,
        lanes: Vec<Lane>,
        control: Arc<Control>,
        outbox: mpsc::Sender<Batch>,
    ) -> Self {
        let flights = Flights::new(lanes.len());
        let pool = Pool::new(lanes.iter().map(|lane| lane.prepared.addresses.len()));
        let lanes = lanes
            .into_iter()
            .map(|mut lane| {
                let next = lane.schedule.next();
                Running { next, lane }
            })
            .collect();
        Self {
            clock,
            begin_ns,
            unix_zero_ms,
            poll,
            lanes,
            flights,
            pool,
            control,
            stop_ns: u64::MAX,
            outbox,
            batch: Vec::with_capacity(BATCH),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            scratch: Vec::new(),
            unfinished: Vec::new(),
            behind_since_ns: None,
            fared: Fared::default(),
        }
    }

    /// Runs until told to end, and says how it fared.
    pub fn run(mut self) -> Fared {
        poll::precise_timers();
        poll::run_first();
        let started_ns = self.clock.now_ns();
        let mut hand_over_ns = started_ns + HAND_OVER_NS;
        let mut ready = Vec::new();
        loop {
            if self.stop_ns == u64::MAX && self.control.stop.load(Ordering::Acquire) {
                // Whatever was released so far was due before this instant.
                self.stop_ns = self.clock.now_ns() + 1;
            }
            let now_ns = self.release();
            self.expire(now_ns);
            if now_ns >= hand_over_ns || self.batch.len() >= BATCH {
                self.hand_over(now_ns);
                hand_over_ns = now_ns + HAND_OVER_NS;
            }
            if self.is_over(now_ns) {
                break;
            }
            let until_ns = self.wake_ns(now_ns).min(hand_over_ns);
            let until_mono_ns = if until_ns <= now_ns { 0 } else { self.clock.to_mono(until_ns) };
            self.poll.wait(until_mono_ns, &mut ready).expect("an epoll of our own can be waited for");
            // First what came due while waiting: a full load's arrivals must not take the places that open
            // only now.
            self.release();
            for ready in std::mem::take(&mut self.unfinished) {
                self.attend(ready);
            }
            for ready in &ready {
                self.attend(*ready);
            }
        }
        self.cut_off();
        let ended_ns = self.clock.now_ns();
        self.note_progress(ended_ns, 0);
        self.hand_over(ended_ns);
        Fared { cpu_ns: poll::thread_cpu_ns(), wall_ns: ended_ns - started_ns, ..self.fared }
    }

    /// The next instant at which something is to be done without any socket asking for it; now if that
    /// can't wait.
    fn wake_ns(&self, now_ns: u64) -> u64 {
        if !self.unfinished.is_empty() {
            return now_ns;
        }
        let stop_ns = self.stop_ns;
        let mut wake_ns = u64::MAX;
        for (load, running) in self.lanes.iter().enumerate() {
            // Of a full load nothing can be sent before something ends, and what comes due until then is
            // dropped whenever that is looked at: nothing to wake up for.
            if let Some(next) = running.next
                && !self.is_full(load)
            {
                let at_ns = self.begin_ns.saturating_add(next.at_ns);
                wake_ns = wake_ns.min(if at_ns < stop_ns { at_ns } else { u64::MAX });
            }
            if let Some((_, oldest)) = self.flights.oldest(load) {
                wake_ns = wake_ns.min(oldest.intended_ns.saturating_add(running.lane.timeout_ns));
            }
            if stop_ns != u64::MAX {
                wake_ns = wake_ns.min(stop_ns + running.lane.grace_ns);
            }
        }
        wake_ns
    }

    /// True once nothing is left to do: told to stop, all released, and none under way or out of grace.
    fn is_over(&self, now_ns: u64) -> bool {
        let stop_ns = self.stop_ns;
        if self.control.abandon.load(Ordering::Acquire) {
            return true;
        }
        stop_ns != u64::MAX
            && self.lanes.iter().enumerate().all(|(load, running)| {
                let due = running.next.is_some_and(|next| self.begin_ns.saturating_add(next.at_ns) < stop_ns);
                now_ns >= stop_ns.saturating_add(running.lane.grace_ns)
                    || (!due && self.flights.count(load) == 0)
            })
    }

    /// Releases what is due, in order of intended instants, up to a bound; returns the instant at which it
    /// looked last.
    fn release(&mut self) -> u64 {
        // Before anything is released: a thread that was not scheduled for a while must not release by the old
        // schedule what is due by the new one.
        for Switch { load, at_ns, schedule } in self.control.switches() {
            let running = &mut self.lanes[load];
            running.next = running.lane.schedule.switch(at_ns, schedule, running.next);
        }
        let stop_ns = self.stop_ns;
        let mut now_ns = self.clock.now_ns();
        let mut sent = 0;
        for _ in 0..LOOKED_AT_AT_ONCE {
            if sent == RELEASED_AT_ONCE {
                break;
            }
            let first = self
                .lanes
                .iter()
                .enumerate()
                .filter_map(|(load, running)| {
                    running.next.map(|next| (self.begin_ns.saturating_add(next.at_ns), load))
                })
                .min();
            let Some((intended_ns, load)) = first.filter(|(at_ns, _)| *at_ns <= now_ns && *at_ns < stop_ns)
            else {
                if self.behind_since_ns.is_some() {
                    self.note_progress(now_ns, 0);
                }
                break;
            };
            let running = &mut self.lanes[load];
            let Some(arrival) = running.next else { break };
            running.next = running.lane.schedule.next();
            self.fared.scheduled += 1;
            if self.is_full(load) {
                self.fared.behind_count += u64::from(self.behind_since_ns.is_some());
                self.note(load, End::Dropped, (intended_ns, now_ns, now_ns), 0);
            } else {
                self.note_progress(now_ns, now_ns - intended_ns);
                self.depart(load, &arrival, intended_ns, now_ns);
                sent += 1;
                now_ns = self.clock.now_ns();
            }
        }
        now_ns
    }

    /// True if a load has as many requests under way as it may.
    fn is_full(&self, load: usize) -> bool {
        self.flights.count(load) >= self.lanes[load].lane.max_in_flight
    }

    /// Keeps account of being behind the schedule; `lag_ns` is the lateness of the arrival released now, 0
    /// if none is due.
    fn note_progress(&mut self, now_ns: u64, lag_ns: u64) {
        self.fared.furthest_ns = self.fared.furthest_ns.max(lag_ns);
        match (self.behind_since_ns, lag_ns > BEHIND_NS) {
            (None, true) => self.behind_since_ns = Some(now_ns),
            (Some(since_ns), false) => {
                self.fared.behind_ns += now_ns - since_ns;
                self.behind_since_ns = None;
            }
            (Some(_), true) => self.fared.behind_count += 1,
            (None, false) => {}
        }
    }

    /// Sends an arrival on an idle connection, or on a new one.
    fn depart(&mut self, load: usize, arrival: &Arrival, intended_ns: u64, now_ns: u64) {
        let ticket = self.flights.add(Flight {
            load: load as u32,
            request: arrival.request,
            number: arrival.number,
            intended_ns,
            sent_ns: now_ns,
            connection: u32::MAX,
            retried: false,
        });
        let address = self.lanes[load].lane.prepared.requests[arrival.request as usize].address;
        match self.pool.take_idle(load, address as usize) {
            Some(number) => self.send(number, ticket),
            None => self.open(load, address, ticket),
        }
    }

    /// Opens a connection for a request under way; it is sent once connected.
    fn open(&mut self, load: usize, address: u32, ticket: Ticket) {
        let to = self.lanes[load].lane.prepared.addresses[address as usize];
        let (number, token) = self.pool.vacant();
        let opened = Connection::open(to).and_then(|connection| {
            self.poll.add(connection.socket(), token)?;
            Ok(connection)
        });
        match opened {
            Ok(connection) => {
                self.pool.put(number, Link::new(connection, load as u32, address, ticket));
                self.flights.get_mut(ticket).connection = number;
            }
            Err(error) => {
                self.pool.give_back(number);
                self.land(ticket, Class::of(&error).end(), 0);
            }
        }
    }

    /// Sends the request behind `ticket` on connection `number`.
    fn send(&mut self, number: u32, ticket: Ticket) {
        let flight = self.flights.get_mut(ticket);
        flight.connection = number;
        let prepared = &self.lanes[flight.load as usize].lane.prepared;
        let unix_ms = self.unix_zero_ms + flight.intended_ns / 1_000_000;
        let wired = prepared.wire(flight.request, flight.number, unix_ms, &mut self.scratch);
        let request = &prepared.requests[flight.request as usize];
        let link = self.pool.get(number);
        link.ticket = Some(ticket);
        let event = link.connection.send(&wired, request.head_only, request.close);
        self.follow(number, event);
    }

    /// Lets a connection go on whose socket is ready.
    fn attend(&mut self, ready: Ready) {
        let Some(number) = self.pool.number(ready.token) else {
            return;
        };
        let link = self.pool.get(number);
        let event = link.connection.advance(ready, &mut self.buffer);
        if event == Event::Unfinished {
            self.unfinished.push(ready);
        }
        self.follow(number, event);
        // Between two sockets the schedule has its turn; it looks at the clock only, mostly.
        self.release();
    }

    /// Does what an event on connection `number` asks for.
    fn follow(&mut self, number: u32, event: Event) {
        let link = self.pool.get(number);
        match event {
            Event::Pending | Event::Unfinished => {}
            Event::Connected => {
                let ticket = link.ticket.expect("a connection is opened for a request");
                self.send(number, ticket);
            }
            Event::Answered(answer) => {
                let ticket = link.ticket.take().expect("only what is under way is answered");
                self.answered(ticket, answer);
                if answer.reusable { self.pool.rest(number) } else { self.pool.close(number) }
            }
            Event::Broken(broken) => {
                let ticket = link.ticket.take().expect("only what is under way breaks");
                let (load, address) = (link.load as usize, link.address);
                self.pool.close(number);
                let flight = self.flights.get_mut(ticket);
                let request = &self.lanes[load].lane.prepared.requests[flight.request as usize];
                // A server may close a kept connection just as a request is on its way; every client
                // sends such a request again where that can do no harm (RFC 9112, 9.3.1), so users do not
                // see it. Once, and only if the server can't have acted on it or may act twice.
                if broken.stale && !flight.retried && (broken.unsent || request.idempotent) {
                    flight.retried = true;
                    self.open(load, address, ticket);
                } else {
                    self.land(ticket, broken.class.end(), 0);
                }
            }
            Event::Closed => self.pool.close(number),
        }
    }

    fn answered(&mut self, ticket: Ticket, answer: Answer) {
        let flight = self.flights.get_mut(ticket);
        let prepared = &self.lanes[flight.load as usize].lane.prepared;
        let good = prepared.expects(flight.request, answer.status);
        let end = if good { End::Good(answer.status) } else { End::Bad(answer.status) };
        self.land(ticket, end, answer.bytes);
    }

    /// Ends a request under way.
    fn land(&mut self, ticket: Ticket, end: End, bytes: u64) {
        let flight = self.flights.remove(ticket);
        let now_ns = self.clock.now_ns();
        self.note(flight.load as usize, end, (flight.intended_ns, flight.sent_ns, now_ns), bytes);
        if let Some(sample) = self.batch.last_mut() {
            sample.retried = flight.retried;
        }
    }

    /// Notes how an arrival ended; the instants are when it was intended, sent and ended.
    fn note(&mut self, load: usize, end: End, (intended_ns, sent_ns, ended_ns): (u64, u64, u64), bytes: u64) {
        let slos = match end {
            End::Good(status) | End::Bad(status) => {
                self.lanes[load].lane.prepared.good_for(status, ended_ns - intended_ns)
            }
            _ => 0,
        };
        let load = load as u32;
        self.batch.push(Sample { load, end, intended_ns, sent_ns, ended_ns, bytes, slos, retried: false });
    }

    /// Gives up what has run into its timeout.
    fn expire(&mut self, now_ns: u64) {
        for load in 0..self.lanes.len() {
            let timeout_ns = self.lanes[load].lane.timeout_ns;
            while let Some((ticket, flight)) = self.flights.oldest(load)
                && flight.intended_ns.saturating_add(timeout_ns) <= now_ns
            {
                let number = flight.connection;
                let connecting = self.pool.get(number).connection.stage() == Stage::Connecting;
                let class = if connecting { Class::ConnectTimeout } else { Class::AnswerTimeout };
                self.pool.close(number);
                self.land(ticket, class.end(), 0);
            }
        }
    }

    /// Ends what is still under way when its grace is over, and drops what was due but is still unsent: the
    /// backlog of a generator that could not keep its schedule.
    fn cut_off(&mut self) {
        for load in 0..self.lanes.len() {
            while let Some((ticket, flight)) = self.flights.oldest(load) {
                let number = flight.connection;
                self.pool.close(number);
                self.land(ticket, End::CutOff, 0);
            }
        }
        // A rate far beyond any machine leaves a backlog that can't even be counted.
        let give_up_ns = self.clock.now_ns() + BACKLOG_COUNTED_NS;
        for load in 0..self.lanes.len() {
            while let Some(next) = self.lanes[load].next
                && self.begin_ns.saturating_add(next.at_ns) < self.stop_ns
            {
                let now_ns = self.clock.now_ns();
                if now_ns > give_up_ns {
                    break;
                }
                self.lanes[load].next = self.lanes[load].lane.schedule.next();
                self.fared.scheduled += 1;
                self.note(load, End::Dropped, (self.begin_ns + next.at_ns, now_ns, now_ns), 0);
                if self.batch.len() >= BATCH {
                    self.hand_over(now_ns);
                }
            }
        }
    }

    fn hand_over(&mut self, now_ns: u64) {
        let overdue = self.lanes.iter().enumerate().map(|(load, running)| {
            let limit_ns = running.lane.timeout_ns.min(OVERDUE_NS);
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
        let stop_ns = (self.stop_ns != u64::MAX).then_some(self.stop_ns);
        let _ = self.outbox.send(Batch { samples, now, stop_ns });
    }
}
