//! How requests travel: on an idle connection or a new one, and what their connections tell.

use super::super::connection::{Cause, Connection, Event, Stage};
use super::super::flight::{Flight, Ticket, UNCARRIED};
use super::super::follow::Step;
use super::super::outcome::Class;
use super::super::poll::Ready;
use super::super::pool::{Line, Link};
use super::super::protocol::Speech;
use super::super::protocol::tcp::Tcp;
use super::super::request::Entry;
use super::super::schedule::Arrival;
use super::super::shared::Shared;
use super::super::stamp::stamp;
use super::super::visit::NO_VISIT;
use super::super::wire::{Occasion, Wired};
use super::{OPENED_AT_ONCE, Worker};

impl Worker {
    /// Sends the first request of an arrival.
    pub(super) fn arrive(&mut self, load: usize, arrival: &Arrival, intended_ns: u64, now_ns: u64) {
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
    pub(super) fn without_row(&mut self, load: usize, request: u32, intended_ns: u64, now_ns: u64) {
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
    pub(super) fn depart(&mut self, load: usize, step: &Step, now_ns: u64) {
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
    pub(super) fn carry(&mut self, load: usize, address: u32, ticket: Ticket) {
        match self.pool.take_idle(load, address as usize) {
            Some(number) => self.send(number, ticket),
            None => self.open(load, address, ticket),
        }
    }

    /// Closes a connection; a request that waited for one gets its place.
    pub(super) fn close(&mut self, number: u32) {
        let link = self.pool.get(number);
        let (load, address) = (link.load as usize, link.address);
        self.pool.close(number);
        self.open_waiting(load, address);
    }

    /// Opens connections for requests that were held back, as many as may be opened at once.
    pub(super) fn open_held_back(&mut self) {
        self.opened_at_once = 0;
        for (load, address) in std::mem::take(&mut self.held_back) {
            self.open_waiting(load, address);
        }
    }

    /// Opens connections for requests that wait for one, the oldest first, as many as there may be.
    fn open_waiting(&mut self, load: usize, address: u32) {
        while self.opened_at_once < OPENED_AT_ONCE
            && self.pool.count(load, address as usize) < self.lanes[load].connections
            && let Some(ticket) = self.pool.queue(load, address as usize).pop_front()
        {
            self.open(load, address, ticket);
        }
        if !self.pool.queue(load, address as usize).is_empty() {
            self.hold_back(load, address);
        }
    }

    /// Has whatever waits there looked at again when sockets have had their turn.
    fn hold_back(&mut self, load: usize, address: u32) {
        // A load of all the connections it may have is looked at when one of them is free.
        let more = self.pool.count(load, address as usize) < self.lanes[load].connections;
        if more && !self.held_back.contains(&(load, address)) {
            self.held_back.push((load, address));
        }
    }

    /// Opens a connection for a request under way, which is sent once connected; of a load that has all the
    /// connections it may have, and where many have just been opened, it waits for one.
    pub(super) fn open(&mut self, load: usize, address: u32, ticket: Ticket) {
        let lane = &self.lanes[load];
        let all = self.pool.count(load, address as usize) >= lane.connections;
        if all || self.opened_at_once >= OPENED_AT_ONCE {
            self.flights.get_mut(ticket).connection = UNCARRIED;
            self.pool.queue(load, address as usize).push_back(ticket);
            self.hold_back(load, address);
            return;
        }
        self.opened_at_once += 1;
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
            if self.naps {
                stamp(line.socket());
            }
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
    pub(super) fn send(&mut self, number: u32, ticket: Ticket) {
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
    pub(super) fn attend(&mut self, ready: Ready) {
        let Some(number) = self.pool.number(ready.token) else {
            return;
        };
        let link = self.pool.get(number);
        match &mut link.line {
            Line::Own(connection) => {
                let event =
                    connection.advance(ready, (&mut self.buffer, &mut self.stamps), &mut self.last_head);
                if event == Event::Unfinished {
                    self.unfinished.push(ready);
                }
                let securing = connection.stage() == Stage::Securing;
                // An answer that comes at once has its first byte with its last.
                let begun = connection.is_answering().then_some(link.ticket).flatten();
                self.now_ns = self.clock.now_ns();
                self.heard_ns = self.now_ns;
                if self.stamps.asked() {
                    let sent_ns = link.ticket.map_or(0, |ticket| self.flights.get_mut(ticket).sent_ns);
                    self.heard_ns = self.stamps.came_ns(sent_ns, self.now_ns);
                }
                if securing && link.connected_ns == 0 {
                    link.connected_ns = self.now_ns;
                }
                if let Some(ticket) = begun {
                    let flight = self.flights.get_mut(ticket);
                    if flight.first_byte_ns == 0 {
                        flight.first_byte_ns = self.heard_ns;
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
        self.write_shared();
    }

    /// Does what an event on connection `number` asks for.
    pub(super) fn follow(&mut self, number: u32, event: Event) {
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
}
