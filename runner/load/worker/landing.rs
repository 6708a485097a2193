//! How requests end: answered, broken, given up or cut off, each noted in one sample.

use super::super::connection::{Cause, Stage};
use super::super::examples::Case;
use super::super::flight::{Flight, Ticket, UNCARRIED};
use super::super::follow::Step;
use super::super::kept::Kept;
use super::super::lane::Lane;
use super::super::outcome::{Class, End, Sample};
use super::super::pool::Line;
use super::super::protocol::Answer;
use super::super::redirect::{Trail, is_redirect};
use super::super::scrutiny::Unexpected;
use super::super::visit::NO_VISIT;
use super::{BACKLOG_COUNTED_NS, BATCH, Worker};
use crate::units::Duration;

impl Worker {
    pub(super) fn answered(&mut self, ticket: Ticket, answer: Answer, kept: Option<&Kept>) {
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
    pub(super) fn broke(
        &mut self,
        ticket: Ticket,
        address: u32,
        connecting: bool,
        class: Class,
        cause: Cause,
    ) {
        let flight = self.flights.get_mut(ticket);
        let (load, request, intended_ns) = (flight.load, flight.request, flight.intended_ns);
        let lane = &self.lanes[load as usize];
        self.examples
            .meet(load, class, intended_ns, || case(lane, request, address).broken(connecting, cause));
        self.land(ticket, class.end(), 0);
    }

    /// Ends a request under way.
    pub(super) fn land(&mut self, ticket: Ticket, end: End, bytes: u64) {
        let flight = self.flights.remove(ticket);
        if flight.redirected {
            self.trails.remove(&ticket.number());
        }
        let now_ns = self.heard_ns;
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
    pub(super) fn follows(&mut self, flight: &Flight, end: End, now_ns: u64) -> bool {
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
    pub(super) fn note(
        &mut self,
        load: usize,
        end: End,
        (intended_ns, sent_ns, ended_ns): (u64, u64, u64),
        bytes: u64,
    ) {
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
    pub(super) fn expire(&mut self, now_ns: u64) {
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
    pub(super) fn give_up(&mut self, number: u32, ticket: Ticket, sent_ns: u64) -> Class {
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
    pub(super) fn cut_off(&mut self) {
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
}

/// What an example of an error tells of a request.
pub(super) fn case(lane: &Lane, request: u32, address: u32) -> Case<'_> {
    Case {
        request: lane.names.get(request as usize).map_or("", String::as_str),
        to: &lane.prepared.places[address as usize].shown,
        timeout: Duration::from_ns(lane.timeout_ns),
    }
}
