//! The generator's thread: releases arrivals at their instants, moves bytes, and notes how each ended.
//!
//! An open model: an arrival takes an idle connection or opens one, whatever the answers do. Nothing is
//! released early; what is released late (this thread was not scheduled, or had too much to do) is sent
//! at once and its lateness recorded as send lag, so it is seen and never hidden. The thread shares
//! nothing it could wait for: ended arrivals leave in batches through a channel.
//!
//! All state is in [`Worker`]; start at [`Worker::run`].

mod redirecting;
mod sharing;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc;

use super::connection::{Cause, Connection, Event, READ_BYTES, Stage};
use super::examples::{Case, Examples};
use super::flight::{Flight, Flights, Ticket, UNCARRIED};
use super::follow::Step;
use super::kept::Kept;
use super::lane::{Control, Lane, Mailbox, Switch};
use super::outcome::{Class, End, Example, Opened, Sample};
use super::poll::{self, Poll, Ready};
use super::pool::{Line, Link, Pool};
use super::progress::{Fared, Progress};
use super::protocol::http1::LastHead;
use super::protocol::tcp::Tcp;
use super::protocol::{Answer, Speech, h2};
use super::redirect::{Trail, is_redirect};
use super::request::Entry;
use super::schedule::Arrival;
use super::scrutiny::Unexpected;
use super::shared::Shared;
use super::visit::{NO_VISIT, Visits};
use super::window::{Now, OVERDUE_NS};
use super::wire::{Occasion, Wired};
use crate::clock::Clock;
use crate::units::Duration;

/// How often ended arrivals are handed over: the live view is at most this much behind.
const HAND_OVER_NS: u64 = 50_000_000;

/// Ended arrivals that are handed over without waiting for that: bounds a batch at a quarter of a megabyte.
const BATCH: usize = 4_096;

/// How many due arrivals are released before sockets get a turn: when a backlog is worked off, answers
/// must be read meanwhile or they would all look slow.
const RELEASED_AT_ONCE: u32 = 64;

/// How many due arrivals are looked at meanwhile: dropping one costs a hundredth of sending it.
const LOOKED_AT_AT_ONCE: u32 = 4_096;

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
            progress: Progress::default(),
        }
    }

    /// Runs until told to end, and says how it fared.
    pub fn run(mut self) -> Fared {
        poll::precise_timers();
        poll::run_first();
        let realtime = self.manner.realtime && poll::realtime();
        let started_ns = self.clock.now_ns();
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
                hand_over_ns = now_ns + HAND_OVER_NS;
            }
            if self.is_over(now_ns) {
                break;
            }
            self.write_shared();
            until_ns = self.wake_ns(now_ns).min(hand_over_ns);
            let until_mono_ns = if until_ns <= now_ns { 0 } else { self.clock.to_mono(until_ns) };
            self.poll.wait(until_mono_ns, &mut ready).expect("an epoll of our own can be waited for");
            // First what came due while waiting: a full load's arrivals must not take the places that open
            // only now.
            self.look();
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
        self.progress.caught_up(ended_ns);
        self.hand_over(ended_ns);
        Fared {
            cpu_ns: poll::thread_cpu_ns(),
            wall_ns: ended_ns - started_ns,
            realtime,
            ..self.progress.fared
        }
    }

    /// The next instant at which something is to be done without any socket asking for it; now if that
    /// can't wait.
    fn wake_ns(&self, now_ns: u64) -> u64 {
        if !self.unfinished.is_empty() {
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

    /// Sends the first request of an arrival.
    fn arrive(&mut self, load: usize, arrival: &Arrival, intended_ns: u64, now_ns: u64) {
        let prepared = &mut self.lanes[load].prepared;
        let Entry { first: request, carried } = prepared.entries[arrival.request as usize];
        let visit = match carried {
            None => NO_VISIT,
            Some(carried) => match prepared.visit(carried) {
                Some(visit) => self.visits.open(visit),
                None => return self.without_row(load, request, intended_ns, now_ns),
            },
        };
        self.depart(load, &Step { at_ns: intended_ns, number: arrival.number, visit, request }, now_ns);
    }

    /// Ends an arrival that there is no row of data for.
    fn without_row(&mut self, load: usize, request: u32, intended_ns: u64, now_ns: u64) {
        let lane = &mut self.lanes[load];
        let late = || "rows of data are not read as fast as they are used".to_owned();
        let tell = || lane.prepared.data_fault().unwrap_or_else(late);
        self.examples.meet(load as u32, Class::Data, intended_ns, tell);
        lane.source.ended(now_ns - self.begin_ns);
        self.note(load, Class::Data.end(), (intended_ns, now_ns, now_ns), 0);
        if let Some(sample) = self.batch.last_mut() {
            sample.request = request;
        }
    }

    /// Sends a request on an idle connection, or on a new one.
    fn depart(&mut self, load: usize, step: &Step, now_ns: u64) {
        let address = self.lanes[load].prepared.requests[step.request as usize].address;
        let ticket = self.flights.add(Flight {
            load: load as u32,
            request: step.request,
            address,
            number: step.number,
            intended_ns: step.at_ns,
            sent_ns: now_ns,
            first_byte_ns: 0,
            connection: UNCARRIED,
            visit: step.visit,
            retried: false,
            redirected: false,
        });
        self.carry(load, address, ticket);
    }

    /// Sends a request under way on an idle connection to one of the load's places, or on a new one.
    fn carry(&mut self, load: usize, address: u32, ticket: Ticket) {
        match self.pool.take_idle(load, address as usize) {
            Some(number) => self.send(number, ticket),
            None => self.open(load, address, ticket),
        }
    }

    /// Closes a connection; a request that waited for one gets its place.
    fn close(&mut self, number: u32) {
        let link = self.pool.get(number);
        let (load, address) = (link.load as usize, link.address);
        self.pool.close(number);
        while self.pool.count(load, address as usize) < self.lanes[load].connections
            && let Some(ticket) = self.pool.queue(load, address as usize).pop_front()
        {
            self.open(load, address, ticket);
        }
    }

    /// Opens a connection for a request under way, which is sent once connected; of a load that has all the
    /// connections it may have, it waits for one.
    fn open(&mut self, load: usize, address: u32, ticket: Ticket) {
        let lane = &self.lanes[load];
        if self.pool.count(load, address as usize) >= lane.connections {
            self.flights.get_mut(ticket).connection = UNCARRIED;
            self.pool.queue(load, address as usize).push_back(ticket);
            return;
        }
        let place = &lane.prepared.places[address as usize];
        let to = place.address(self.turns);
        self.turns += 1;
        let (number, token) = self.pool.vacant();
        let limits = (lane.streams, lane.requests_each);
        let opened = match lane.streams {
            0 => Connection::open(to, place.secure.as_ref()).map(Line::Own),
            _ => Shared::open(to, place.secure.as_ref(), limits).map(|shared| Line::Shared(Box::new(shared))),
        };
        let watched = opened.and_then(|line| {
            self.poll.add(line.socket(), token)?;
            Ok(line)
        });
        match watched {
            Ok(line) => {
                let intended_ns = self.flights.get_mut(ticket).intended_ns;
                let instants = (self.now_ns, intended_ns);
                let link = Link::new(line, (load as u32, address), instants, lane.requests_each);
                self.pool.put(number, link);
                self.send(number, ticket);
            }
            Err(error) => {
                self.pool.give_back(number);
                self.broke(ticket, address, true, Class::of(&error), Cause::of(&error));
            }
        }
    }

    /// Sends the request behind `ticket` on connection `number`, as soon as that is connected.
    fn send(&mut self, number: u32, ticket: Ticket) {
        let flight = self.flights.get_mut(ticket);
        flight.connection = number;
        let link = self.pool.get(number);
        let connection = match &mut link.line {
            Line::Own(connection) => connection,
            Line::Shared(_) => return self.send_shared(number, ticket),
        };
        link.ticket = Some(ticket);
        if connection.stage() != Stage::Idle {
            return;
        }
        link.left -= 1;
        let prepared = &self.lanes[flight.load as usize].prepared;
        let unix_ms = self.unix_zero_ms + flight.intended_ns / 1_000_000;
        let occasion = Occasion { number: flight.number, unix_ms, visit: self.visits.get(flight.visit) };
        let wired = if flight.redirected {
            let trail = &self.trails[&ticket.number()];
            self.scratch = prepared.hop(flight.request, trail, occasion);
            Wired::Made(&self.scratch)
        } else {
            prepared.wire(flight.request, occasion, &mut self.scratch)
        };
        let request = &prepared.requests[flight.request as usize];
        if let Some(expected) = &request.bytes {
            connection.speak(Speech::Tcp(Tcp::new(expected.clone())));
        }
        let event = connection.send(&wired, request.head_only, request.close || link.left == 0);
        if let Some(keep) = prepared.keep(flight.request) {
            connection.keep_answer(keep);
        }
        self.follow(number, event);
    }

    /// Lets a connection go on whose socket is ready.
    fn attend(&mut self, ready: Ready) {
        let Some(number) = self.pool.number(ready.token) else {
            return;
        };
        let link = self.pool.get(number);
        match &mut link.line {
            Line::Own(connection) => {
                let event = connection.advance(ready, &mut self.buffer, &mut self.last_head);
                if event == Event::Unfinished {
                    self.unfinished.push(ready);
                }
                let securing = connection.stage() == Stage::Securing;
                // An answer that comes at once has its first byte with its last.
                let begun = connection.is_answering().then_some(link.ticket).flatten();
                self.now_ns = self.clock.now_ns();
                if securing && link.connected_ns == 0 {
                    link.connected_ns = self.now_ns;
                }
                if let Some(ticket) = begun {
                    let flight = self.flights.get_mut(ticket);
                    if flight.first_byte_ns == 0 {
                        flight.first_byte_ns = self.now_ns;
                    }
                }
                self.follow(number, event);
            }
            Line::Shared(_) => self.attend_shared(number, ready),
        }
        if !self.turned.is_empty() {
            self.turn();
        }
        // Between two sockets the schedule has its turn.
        self.release();
    }

    /// Does what an event on connection `number` asks for.
    fn follow(&mut self, number: u32, event: Event) {
        let link = self.pool.get(number);
        match event {
            Event::Pending | Event::Unfinished => {}
            Event::Connected => {
                let ticket = link.ticket.expect("a connection is opened for a request");
                self.opened.push(link.opened(self.now_ns));
                self.send(number, ticket);
            }
            Event::Answered(answer) => {
                let ticket = link.ticket.take().expect("only what is under way is answered");
                let (load, address) = (link.load as usize, link.address as usize);
                let kept = match &mut link.line {
                    Line::Own(connection) => connection.take_kept(),
                    Line::Shared(_) => None,
                };
                self.answered(ticket, answer, kept.as_deref());
                if !answer.reusable {
                    self.close(number);
                } else if let Some(next) = self.pool.queue(load, address).pop_front() {
                    self.send(number, next);
                } else {
                    self.pool.rest(number);
                }
            }
            Event::Broken(broken) => {
                let ticket = link.ticket.take().expect("only what is under way breaks");
                let (load, address) = (link.load as usize, link.address);
                let connecting = matches!(link.line.stage(), Stage::Connecting | Stage::Securing);
                self.close(number);
                let idempotent = self.is_idempotent(ticket);
                let flight = self.flights.get_mut(ticket);
                // A server may close a kept connection just as a request is on its way; every client
                // sends such a request again where that can do no harm (RFC 9112, 9.3.1), so users do not
                // see it. Once, and only if the server can't have acted on it or may act twice.
                if broken.stale && !flight.retried && (broken.unsent || idempotent) {
                    flight.retried = true;
                    self.open(load, address, ticket);
                } else {
                    self.broke(ticket, address, connecting, broken.class, broken.cause);
                }
            }
            Event::Closed => self.close(number),
        }
    }

    fn answered(&mut self, ticket: Ticket, answer: Answer, kept: Option<&Kept>) {
        let flight = self.flights.get_mut(ticket);
        let (load, request, intended_ns) = (flight.load, flight.request, flight.intended_ns);
        let lane = &self.lanes[load as usize];
        let address = flight.address;
        if lane.prepared.redirects.as_ref().is_some_and(|_| is_redirect(answer.status)) {
            return self.redirected(ticket, answer, kept);
        }
        let trail = if flight.redirected { self.trails.get(&ticket.number()) } else { None };
        let bytes = answer.bytes + trail.map_or(0, Trail::bytes);
        let mut end = End::Good(answer.status);
        if !lane.prepared.expects(request, answer.status) {
            end = End::Bad(answer.status, Class::Status);
            self.examples.meet(load, Class::Status, intended_ns, || {
                case(lane, request, address).status(answer.status, lane.prepared.expected(request))
            });
        } else if let Some(kept) = kept {
            let unix_ms = self.unix_zero_ms + self.now_ns / 1_000_000;
            let visit = (self.visits.get(flight.visit), trail);
            if let Err(Unexpected { class, text }) = lane.prepared.examine(request, kept, visit, unix_ms) {
                end = End::Bad(answer.status, class);
                self.examples
                    .meet(load, class, intended_ns, || case(lane, request, address).unexpected(&text));
            }
        }
        self.land(ticket, end, bytes);
    }

    /// Ends a request under way whose connection broke, or could not be had.
    fn broke(&mut self, ticket: Ticket, address: u32, connecting: bool, class: Class, cause: Cause) {
        let flight = self.flights.get_mut(ticket);
        let (load, request, intended_ns) = (flight.load, flight.request, flight.intended_ns);
        let lane = &self.lanes[load as usize];
        self.examples
            .meet(load, class, intended_ns, || case(lane, request, address).broken(connecting, cause));
        self.land(ticket, class.end(), 0);
    }

    /// Ends a request under way.
    fn land(&mut self, ticket: Ticket, end: End, bytes: u64) {
        let flight = self.flights.remove(ticket);
        if flight.redirected {
            self.trails.remove(&ticket.number());
        }
        let now_ns = self.now_ns;
        let load = flight.load as usize;
        self.note(load, end, (flight.intended_ns, flight.sent_ns, now_ns), bytes);
        if let Some(sample) = self.batch.last_mut() {
            sample.request = flight.request;
            sample.retried = flight.retried;
            sample.first_byte_ns = match end {
                End::Good(_) | End::Bad(..) if flight.first_byte_ns == 0 => now_ns,
                _ => flight.first_byte_ns,
            };
        }
        if flight.visit == NO_VISIT || !self.follows(&flight, end, now_ns) {
            self.lanes[load].source.ended(now_ns - self.begin_ns);
        }
    }

    /// Sets the next step of a visit to be sent, if there is one and this one was answered as expected; else
    /// the visit is over.
    fn follows(&mut self, flight: &Flight, end: End, now_ns: u64) -> bool {
        let lane = &mut self.lanes[flight.load as usize];
        let after_ns = lane.prepared.requests[flight.request as usize].next_after_ns;
        let at_ns = after_ns.filter(|_| matches!(end, End::Good(_))).map(|ns| now_ns.saturating_add(ns));
        match at_ns.filter(|at_ns| *at_ns < self.control.stop_ns()) {
            Some(at_ns) => {
                let Flight { number, visit, request, .. } = *flight;
                lane.follow.add(Step { at_ns, number, visit, request: request + 1 });
                true
            }
            None => {
                self.visits.close(flight.visit);
                false
            }
        }
    }

    /// Notes how an arrival ended; the instants are when it was intended, sent and ended.
    fn note(&mut self, load: usize, end: End, (intended_ns, sent_ns, ended_ns): (u64, u64, u64), bytes: u64) {
        let slos = match end {
            End::Good(status) | End::Bad(status, _) => {
                self.lanes[load].prepared.good_for(status, ended_ns - intended_ns)
            }
            _ => 0,
        };
        let load = load as u32;
        self.batch.push(Sample {
            load,
            request: 0,
            end,
            intended_ns,
            sent_ns,
            first_byte_ns: 0,
            ended_ns,
            bytes,
            slos,
            retried: false,
        });
    }

    /// Gives up what has run into its timeout.
    fn expire(&mut self, now_ns: u64) {
        for load in 0..self.lanes.len() {
            let timeout_ns = self.lanes[load].timeout_ns;
            while let Some((ticket, flight)) = self.flights.oldest(load)
                && flight.intended_ns.saturating_add(timeout_ns) <= now_ns
            {
                let (number, request) = (flight.connection, flight.request);
                let (intended_ns, sent_ns) = (flight.intended_ns, flight.sent_ns);
                let address = flight.address;
                let class = if number == UNCARRIED {
                    // The oldest first, mostly; one that was sent before and is to be sent again is not.
                    self.pool.queue(load, address as usize).retain(|other| *other != ticket);
                    Class::ConnectTimeout
                } else {
                    self.give_up(number, ticket, sent_ns)
                };
                let lane = &self.lanes[load];
                self.examples
                    .meet(load as u32, class, intended_ns, || case(lane, request, address).timed_out(class));
                self.land(ticket, class.end(), 0);
            }
        }
    }

    /// Gives up a request on connection `number`; returns what it was waiting for.
    fn give_up(&mut self, number: u32, ticket: Ticket, sent_ns: u64) -> Class {
        let line = &mut self.pool.get(number).line;
        let class = match line.stage() {
            Stage::Connecting => Class::ConnectTimeout,
            Stage::Securing => Class::TlsTimeout,
            Stage::Busy | Stage::Idle => Class::AnswerTimeout,
        };
        let answering = match line {
            Line::Own(connection) => {
                let answering = connection.is_answering();
                self.close(number);
                answering
            }
            Line::Shared(shared) => {
                let answering = shared.give_up(ticket, sent_ns);
                self.settle(number);
                answering
            }
        };
        if answering { Class::BodyTimeout } else { class }
    }

    /// Ends what is still under way when its grace is over, and drops what was due but is still unsent: the
    /// backlog of a generator that could not keep its schedule.
    fn cut_off(&mut self) {
        for load in 0..self.lanes.len() {
            while let Some((ticket, flight)) = self.flights.oldest(load) {
                if flight.connection != UNCARRIED {
                    self.pool.close(flight.connection);
                }
                self.land(ticket, End::CutOff, 0);
            }
        }
        // A rate far beyond any machine leaves a backlog that can't even be counted.
        let give_up_ns = self.look() + BACKLOG_COUNTED_NS;
        for load in 0..self.lanes.len() {
            while let Some(intended_ns) = self.due(load) {
                let now_ns = self.look();
                if now_ns > give_up_ns {
                    break;
                }
                let lane = &mut self.lanes[load];
                if lane.follow.next_ns() == Some(intended_ns) {
                    lane.follow.take();
                } else {
                    lane.source.take();
                }
                self.progress.dropped();
                self.note(load, End::Dropped, (intended_ns, now_ns, now_ns), 0);
                if self.batch.len() >= BATCH {
                    self.hand_over(now_ns);
                }
            }
        }
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

/// What an example of an error tells of a request.
fn case(lane: &Lane, request: u32, address: u32) -> Case<'_> {
    Case {
        request: lane.names.get(request as usize).map_or("", String::as_str),
        to: &lane.prepared.places[address as usize].shown,
        timeout: Duration::from_ns(lane.timeout_ns),
    }
}
