//! The open connections of a generator's thread: by number, and which of them are idle.
//!
//! An idle connection is found, laid by and lost in constant time, however many there are. Numbers are
//! used again; tokens are not, so an event that was on its way when a connection closed finds nothing.

use super::connection::{Connection, Stage};
use super::flight::Ticket;
use super::protocol::http1::Http1;

/// All open connections.
#[derive(Debug)]
pub struct Pool {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Numbers of idle ones by load and address, the last used on top: the fewest stay in use, and the
    /// others grow old enough for their server to close them.
    idle: Vec<Vec<Vec<u32>>>,
}

#[derive(Debug)]
struct Slot {
    /// Tells events of this connection from those of one that had the number before.
    generation: u32,
    link: Option<Link>,
}

/// A connection and whom it serves.
#[derive(Debug)]
pub struct Link {
    /// The connection.
    pub connection: Connection<Http1>,
    /// Its load, as an index.
    pub load: u32,
    /// Its address, as an index of the load's.
    pub address: u32,
    /// When it was begun.
    pub opened_ns: u64,
    /// The request it carries, or is being opened for.
    pub ticket: Option<Ticket>,
    /// Its place among the idle ones; [`BUSY`] while it is none of them.
    idle_at: u32,
}

const BUSY: u32 = u32::MAX;

impl Link {
    /// A connection that is opened for a request.
    pub const fn new(
        connection: Connection<Http1>,
        (load, address): (u32, u32),
        opened_ns: u64,
        ticket: Ticket,
    ) -> Self {
        Self { connection, load, address, opened_ns, ticket: Some(ticket), idle_at: BUSY }
    }
}

impl Pool {
    /// No connections yet, of loads with so many addresses each.
    pub fn new(addresses: impl Iterator<Item = usize>) -> Self {
        let idle = addresses.map(|count| vec![Vec::new(); count]).collect();
        Self { slots: Vec::new(), free: Vec::new(), idle }
    }

    /// A free number, and the token that the connection put there is watched under.
    pub fn vacant(&mut self) -> (u32, u64) {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, link: None });
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 sockets are open")
        });
        (number, u64::from(number) | u64::from(self.slots[number as usize].generation) << 32)
    }

    /// Puts a connection where [`Pool::vacant`] said.
    pub fn put(&mut self, number: u32, link: Link) {
        self.slots[number as usize].link = Some(link);
    }

    /// Gives a vacant number back, unused.
    pub fn give_back(&mut self, number: u32) {
        self.free.push(number);
    }

    /// The number that a token stands for, unless that connection is gone.
    pub fn number(&self, token: u64) -> Option<u32> {
        let number = token as u32;
        let slot = self.slots.get(number as usize)?;
        (slot.link.is_some() && u64::from(slot.generation) == token >> 32).then_some(number)
    }

    /// An open connection.
    pub fn get(&mut self, number: u32) -> &mut Link {
        self.slots[number as usize].link.as_mut().expect("a connection in use is open")
    }

    /// The idle connection used last, if there is one.
    pub fn take_idle(&mut self, load: usize, address: usize) -> Option<u32> {
        let number = self.idle[load][address].pop()?;
        self.get(number).idle_at = BUSY;
        Some(number)
    }

    /// Lays a connection by for the next arrival.
    pub fn rest(&mut self, number: u32) {
        let link = self.slots[number as usize].link.as_mut().expect("a connection at rest is open");
        debug_assert_eq!(link.connection.stage(), Stage::Idle, "a connection at rest is idle");
        let idle = &mut self.idle[link.load as usize][link.address as usize];
        link.idle_at = idle.len() as u32;
        idle.push(number);
    }

    /// Closes a connection, idle or not.
    pub fn close(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        let Some(link) = slot.link.take() else {
            return;
        };
        // The two highest tokens are the poll's own; generations stay below them.
        slot.generation = (slot.generation + 1) & 0x7fff_ffff;
        self.free.push(number);
        if link.idle_at != BUSY {
            let idle = &mut self.idle[link.load as usize][link.address as usize];
            idle.swap_remove(link.idle_at as usize);
            if let Some(moved) = idle.get(link.idle_at as usize).copied() {
                self.get(moved).idle_at = link.idle_at;
            }
        }
    }
}
