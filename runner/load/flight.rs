//! Requests under way, oldest first, each found by its ticket.
//!
//! A load's timeout is one constant counted from the intended instant, and arrivals are sent in the order
//! of their instants; so the oldest request of a load is always the next to time out, and a list in order
//! of sending does what a timer wheel would, in constant time and without one. Memory is the most that
//! was ever under way at once.

use super::visit::VisitId;

/// Which request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

impl Ticket {
    /// The number that stands for it where only a number fits.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The ticket of such a number.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// In place of a connection's number: the request waits for one.
pub const UNCARRIED: u32 = u32::MAX;

const NONE: u32 = u32::MAX;

/// A request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Its load, as an index.
    pub load: u32,
    /// Which of the load's requests.
    pub request: u32,
    /// The place it goes to, as an index of the load's; another one once it was redirected there.
    pub address: u32,
    /// Its arrival's number.
    pub number: u64,
    /// Its intended instant, on the run's clock.
    pub intended_ns: u64,
    /// When sending began: its first byte was handed to the kernel, or a connection was asked for.
    pub sent_ns: u64,
    /// When the first byte of its answer was read, where more had to be waited for; else 0.
    pub first_byte_ns: u64,
    /// The connection that carries it; [`UNCARRIED`] while it waits for one.
    pub connection: u32,
    /// The visit it belongs to; [`NO_VISIT`](super::visit::NO_VISIT) for none.
    pub visit: VisitId,
    /// True if it was sent again after a kept connection turned out closed.
    pub retried: bool,
    /// True once it was redirected: it has a [`Trail`](super::redirect::Trail).
    pub redirected: bool,
}

#[derive(Debug)]
struct Entry {
    flight: Flight,
    older: u32,
    newer: u32,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    oldest: u32,
    newest: u32,
    count: u32,
}

/// All requests under way.
#[derive(Debug)]
pub struct Flights {
    entries: Vec<Entry>,
    free: Vec<u32>,
    loads: Vec<Ends>,
}

impl Flights {
    /// None under way of `loads` loads.
    pub fn new(loads: usize) -> Self {
        let ends = Ends { oldest: NONE, newest: NONE, count: 0 };
        Self { entries: Vec::new(), free: Vec::new(), loads: vec![ends; loads] }
    }

    /// Adds one, which must be no older than the newest of its load.
    pub fn add(&mut self, flight: Flight) -> Ticket {
        let ends = &mut self.loads[flight.load as usize];
        let entry = Entry { flight, older: ends.newest, newer: NONE };
        let slot = if let Some(slot) = self.free.pop() {
            self.entries[slot as usize] = entry;
            slot
        } else {
            let slot = u32::try_from(self.entries.len()).expect("fewer than 2^32 sockets are open");
            self.entries.push(entry);
            slot
        };
        match ends.newest {
            NONE => ends.oldest = slot,
            newest => self.entries[newest as usize].newer = slot,
        }
        ends.newest = slot;
        ends.count += 1;
        Ticket(slot)
    }

    /// The request behind a ticket, which must not have been removed.
    pub fn get_mut(&mut self, ticket: Ticket) -> &mut Flight {
        &mut self.entries[ticket.0 as usize].flight
    }

    /// Takes one out; the ticket is void from then on.
    pub fn remove(&mut self, ticket: Ticket) -> Flight {
        let Entry { flight, older, newer } = self.entries[ticket.0 as usize];
        let ends = &mut self.loads[flight.load as usize];
        match older {
            NONE => ends.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
        match newer {
            NONE => ends.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
        ends.count -= 1;
        self.free.push(ticket.0);
        flight
    }

    /// How many of a load are under way.
    pub fn count(&self, load: usize) -> u32 {
        self.loads[load].count
    }

    /// The oldest of a load.
    pub fn oldest(&self, load: usize) -> Option<(Ticket, &Flight)> {
        let slot = self.loads[load].oldest;
        (slot != NONE).then(|| (Ticket(slot), &self.entries[slot as usize].flight))
    }

    /// Those of a load, oldest first.
    pub fn of(&self, load: usize) -> impl Iterator<Item = &Flight> {
        let mut slot = self.loads[load].oldest;
        std::iter::from_fn(move || {
            let entry = self.entries.get(slot as usize)?;
            slot = entry.newer;
            Some(&entry.flight)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flight(load: u32, number: u64) -> Flight {
        Flight {
            load,
            request: 0,
            address: 0,
            number,
            intended_ns: number,
            sent_ns: number,
            first_byte_ns: 0,
            connection: 0,
            visit: crate::load::visit::NO_VISIT,
            retried: false,
            redirected: false,
        }
    }

    proptest! {
        /// Against plain vectors: adding and removing in any order keeps each load's order.
        #[test]
        fn oldest_first_whatever_ends_first(steps in prop::collection::vec((0u32..2, 0usize..8, any::<bool>()), 1..200)) {
            let mut flights = Flights::new(2);
            let mut slow: [Vec<(u64, Ticket)>; 2] = [Vec::new(), Vec::new()];
            for (number, (load, which, adds)) in (0u64..).zip(steps) {
                let list = &mut slow[load as usize];
                if adds || list.is_empty() {
                    list.push((number, flights.add(flight(load, number))));
                } else {
                    let (number, ticket) = list.remove(which % list.len());
                    prop_assert_eq!(flights.remove(ticket), flight(load, number));
                }
                for (load, list) in slow.iter().enumerate() {
                    prop_assert_eq!(flights.count(load) as usize, list.len());
                    prop_assert!(flights.of(load).map(|flight| flight.number).eq(list.iter().map(|(number, _)| *number)));
                    prop_assert_eq!(flights.oldest(load).map(|(_, flight)| flight.number), list.first().map(|(number, _)| *number));
                }
            }
            prop_assert!(flights.entries.len() <= 200);
        }
    }
}
