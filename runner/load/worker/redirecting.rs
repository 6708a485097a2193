//! The worker's dealings with redirects: a request that was answered by one goes on as the same request.
//!
//! What that means is in [`super::super::redirect`]. Start at [`Worker::redirected`].

use super::super::flight::{Ticket, UNCARRIED};
use super::super::kept::Kept;
use super::super::outcome::Class;
use super::super::protocol::Answer;
use super::super::wire::Occasion;
use super::Worker;
use super::landing::case;

impl Worker {
    /// Sets a request that was answered by a redirect to go where that leads; [`Worker::turn`] sends it. One
    /// that can't go there has failed.
    pub(super) fn redirected(&mut self, ticket: Ticket, answer: Answer, kept: Option<&Kept>) {
        let trail = self.trails.remove(&ticket.number());
        let flight = self.flights.get_mut(ticket);
        let (load, request) = (flight.load, flight.request);
        let lane = &self.lanes[load as usize];
        let unix_ms = self.unix_zero_ms + flight.intended_ns / 1_000_000;
        let occasion = Occasion { number: flight.number, unix_ms, visit: self.visits.get(flight.visit) };
        let now_ms = self.unix_zero_ms + self.now_ns / 1_000_000;
        match lane.prepared.redirected(request, trail, (answer, kept, now_ms), occasion) {
            Ok((trail, address)) => {
                flight.address = address;
                flight.redirected = true;
                flight.connection = UNCARRIED;
                flight.first_byte_ns = 0;
                self.trails.insert(ticket.number(), trail);
                self.turned.push(ticket);
            }
            Err(why) => {
                let tell = || case(lane, request, flight.address).unexpected(&why);
                self.examples.meet(load, Class::Redirects, flight.intended_ns, tell);
                self.land(ticket, Class::Redirects.end(), 0);
            }
        }
    }

    /// True if a request under way, as it is by now, may be sent again without asking.
    pub(super) fn is_idempotent(&mut self, ticket: Ticket) -> bool {
        let flight = self.flights.get_mut(ticket);
        self.lanes[flight.load as usize].prepared.requests[flight.request as usize].idempotent
            || (flight.redirected && self.trails[&ticket.number()].is_get())
    }

    /// Sends what was redirected. Not at once, because the connection that brought the answer is free for it
    /// only after everything that came with it was looked at.
    pub(super) fn turn(&mut self) {
        while let Some(ticket) = self.turned.pop() {
            let flight = self.flights.get_mut(ticket);
            let (load, address) = (flight.load as usize, flight.address);
            self.carry(load, address, ticket);
        }
    }
}
