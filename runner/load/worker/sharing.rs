//! The worker's dealings with connections that many requests share.
//!
//! Whatever a turn of the loop has to say on one is gathered and leaves in one write: at saturation that is
//! most of what HTTP/2 saves. Start at [`Worker::attend_shared`].

use super::super::connection::Cause;
use super::super::flight::Ticket;
use super::super::outcome::Class;
use super::super::poll::Ready;
use super::super::pool::{Line, Link};
use super::super::protocol::h2::{self, Event, Laid};
use super::super::shared::{Shared, Turn};
use super::super::wire::{Occasion, Wired};
use super::{Stage, Worker};

impl Worker {
    /// Sends a request on a shared connection, or lets it wait there until that is connected.
    pub(super) fn send_shared(&mut self, number: u32, ticket: Ticket) {
        self.open_stream(number, ticket);
        self.settle(number);
    }

    fn open_stream(&mut self, number: u32, ticket: Ticket) {
        let flight = self.flights.get_mut(ticket);
        let prepared = &self.lanes[flight.load as usize].prepared;
        let Line::Shared(shared) = &mut self.pool.get(number).line else { return };
        if shared.stage() != Stage::Idle {
            return shared.wait(ticket);
        }
        let request = &prepared.requests[flight.request as usize];
        let unix_ms = self.unix_zero_ms + flight.intended_ns / 1_000_000;
        let occasion = Occasion { number: flight.number, unix_ms, visit: self.visits.get(flight.visit) };
        let trail = if flight.redirected { self.trails.get(&ticket.number()) } else { None };
        let wired = match trail {
            Some(trail) => {
                self.scratch = prepared.hop(flight.request, trail, occasion);
                Wired::Made(&self.scratch)
            }
            None => prepared.wire(flight.request, occasion, &mut self.scratch),
        };
        let tls = prepared.places[flight.address as usize].secure.is_some();
        let laid = match wired {
            Wired::Fixed(laid) => Laid::Fixed(laid),
            Wired::Made(text) => {
                h2::lay_out(text, h2::scheme(tls), &mut self.laid);
                Laid::Made(&self.laid)
            }
        };
        let keep = prepared.keep(flight.request);
        shared.send(ticket, laid, request.head_only, keep);
    }

    /// Lets a shared connection go on whose socket is ready.
    pub(super) fn attend_shared(&mut self, number: u32, ready: Ready) {
        let now_ns = self.look();
        let mut ended = std::mem::take(&mut self.ended);
        let Line::Shared(shared) = &mut self.pool.get(number).line else { return };
        let turn = shared.advance(ready, now_ns, &mut self.buffer, &mut ended);
        // Before any of them ends below.
        for ticket in shared.take_begun() {
            let flight = self.flights.get_mut(ticket);
            if flight.first_byte_ns == 0 {
                flight.first_byte_ns = now_ns;
            }
        }
        let (stage, stale) = (shared.stage(), shared.kept());
        let gone = match turn {
            Turn::Broken(class, cause) => Some((class, cause, shared.abandoned())),
            Turn::Connected => {
                for ticket in shared.take_waiting() {
                    self.open_stream(number, ticket);
                }
                None
            }
            Turn::Done | Turn::Unfinished => None,
        };
        if turn == Turn::Unfinished {
            self.unfinished.push(ready);
        }
        self.look();
        let now_ns = self.now_ns;
        let link = self.pool.get(number);
        if stage == Stage::Securing && link.connected_ns == 0 {
            link.connected_ns = now_ns;
        }
        if turn == Turn::Connected {
            self.opened.push(link.opened(now_ns));
        }
        // Nothing finds it while it is not known what room it has: what ended may be sent again.
        match &gone {
            Some(_) => self.close(number),
            None => self.pool.occupy(number),
        }
        for event in ended.drain(..) {
            match event {
                Event::Answered { tag, answer, kept } => {
                    self.answered(Ticket::from_number(tag), answer, kept.as_deref());
                }
                Event::Reset { tag, unseen, answering } => {
                    let words = if unseen { "the stream was refused" } else { "the stream was reset" };
                    let ticket = Ticket::from_number(tag);
                    self.lost(ticket, (Class::Reset, Cause::Words(words)), (unseen, false, answering));
                }
            }
        }
        self.ended = ended;
        match gone {
            Some((class, cause, tickets)) => {
                for (ticket, answering) in tickets {
                    self.lost(ticket, (class, cause), (false, stale, answering));
                }
            }
            None => self.settle(number),
        }
    }

    /// Sends a request again that lost its stream or connection, where that can do no harm: once, and if the
    /// server did not look at it (`unseen`), or may have closed a kept connection without having done so
    /// (`stale`) and may act twice. Else it has failed.
    fn lost(
        &mut self,
        ticket: Ticket,
        (class, cause): (Class, Cause),
        (unseen, stale, answering): (bool, bool, bool),
    ) {
        let idempotent = self.is_idempotent(ticket);
        let flight = self.flights.get_mut(ticket);
        let (load, address) = (flight.load as usize, flight.address);
        if !flight.retried && (unseen || (stale && !answering && idempotent)) {
            flight.retried = true;
            flight.connection = super::UNCARRIED;
            return self.carry(load, address, ticket);
        }
        let class = if answering && class == Class::Reset { Class::Truncated } else { class };
        self.broke(ticket, address, false, class, cause);
    }

    /// Puts a shared connection where it belongs after anything happened on it: closed when done with,
    /// found by further requests while it has room, and on the list of those to be written.
    pub(super) fn settle(&mut self, number: u32) {
        loop {
            // It may have been closed with what happened last; if another has its number, that is none the worse.
            let Some(link) = self.pool.find(number) else { return };
            let (load, address) = (link.load as usize, link.address as usize);
            let Line::Shared(shared) = &mut link.line else { return };
            if shared.is_done() {
                // What it still has to say, such as that a stream is given up, is for nobody any more.
                return self.close(number);
            }
            if !shared.has_room() {
                self.pool.occupy(number);
                break;
            }
            let Some(next) = self.pool.queue(load, address).pop_front() else {
                self.pool.rest(number);
                break;
            };
            self.flights.get_mut(next).connection = number;
            self.open_stream(number, next);
        }
        self.unwritten.push(number);
    }

    /// Writes what this turn has to say.
    pub(super) fn write_shared(&mut self) {
        for number in std::mem::take(&mut self.unwritten) {
            // A failed write only ends the writing: what was answered before may still be read, and how the
            // connection ended is told by reading.
            if let Some(Link { line: Line::Shared(shared), .. }) = self.pool.find(number) {
                let _ = Shared::flush(shared);
            }
        }
    }
}
