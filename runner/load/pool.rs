//! The open connections of a generator's thread: by number, and which of them are idle.
//!
//! An idle connection is found, laid by and lost in constant time, however many there are. Numbers are
//! used again; tokens are not, so an event that was on its way when a connection closed finds nothing.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use super::connection::{Connection, Stage};
use super::flight::Ticket;
use super::outcome::Opened;
use super::protocol::Speech;
use super::shared::Shared;

/// All open connections.
#[derive(Debug)]
pub struct Pool {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Numbers of idle ones by load and address, the last used on top: the fewest stay in use, and the
    /// others grow old enough for their server to close them.
    idle: Vec<Vec<Vec<u32>>>,
    /// How many are open, by load and address.
    open: Vec<Vec<u32>>,
    /// Requests that wait for a connection, by load and address, oldest first.
    queues: Vec<Vec<VecDeque<Ticket>>>,
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
    pub line: Line,
    /// Its load, as an index.
    pub load: u32,
    /// Its address, as an index of the load's.
    pub address: u32,
    /// When it was begun.
    pub opened_ns: u64,
    /// The intended instant of the arrival it was opened for.
    pub intended_ns: u64,
    /// When it was connected, before TLS; 0 until then.
    pub connected_ns: u64,
    /// The request it carries, or is being opened for; a shared one knows its own.
    pub ticket: Option<Ticket>,
    /// Requests after which it is closed.
    pub left: u32,
    /// Its place among the idle ones; [`BUSY`] while it is none of them.
    idle_at: u32,
}

/// A connection of either kind.
#[derive(Debug)]
pub enum Line {
    /// For one request after the other.
    Own(Connection<Speech>),
    /// For many at once; boxed, because there are few of them and they are large.
    Shared(Box<Shared>),
}

impl Line {
    /// Its socket, to be watched.
    pub fn socket(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(connection) => connection.socket(),
            Self::Shared(shared) => shared.socket(),
        }
    }

    /// How far it is.
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Own(connection) => connection.stage(),
            Self::Shared(shared) => shared.stage(),
        }
    }
}

const BUSY: u32 = u32::MAX;

impl Link {
    /// A connection of a load to one of its addresses, begun at `opened_ns` for an arrival of `intended_ns`,
    /// for `left` requests.
    pub const fn new(
        line: Line,
        (load, address): (u32, u32),
        (opened_ns, intended_ns): (u64, u64),
        left: u32,
    ) -> Self {
        Self {
            line,
            load,
            address,
            opened_ns,
            intended_ns,
            connected_ns: 0,
            ticket: None,
            left,
            idle_at: BUSY,
        }
    }
}

impl Link {
    /// The connection's opening, now that it is through.
    pub const fn opened(&self, now_ns: u64) -> Opened {
        let connected_ns = if self.connected_ns == 0 { now_ns } else { self.connected_ns };
        Opened {
            load: self.load,
            intended_ns: self.intended_ns,
            connect_ns: connected_ns - self.opened_ns,
            tls_ns: now_ns - connected_ns,
        }
    }
}

impl Pool {
    /// No connections yet, of loads with so many addresses each.
    pub fn new(addresses: impl Iterator<Item = usize>) -> Self {
        let counts: Vec<usize> = addresses.collect();
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            idle: counts.iter().map(|count| vec![Vec::new(); *count]).collect(),
            open: counts.iter().map(|count| vec![0; *count]).collect(),
            queues: counts.iter().map(|count| vec![VecDeque::new(); *count]).collect(),
        }
    }

    /// How many connections of a load to an address are open.
    pub fn count(&self, load: usize, address: usize) -> u32 {
        self.open[load][address]
    }

    /// The requests of a load that wait for a connection to an address.
    pub fn queue(&mut self, load: usize, address: usize) -> &mut VecDeque<Ticket> {
        &mut self.queues[load][address]
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
        self.open[link.load as usize][link.address as usize] += 1;
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

    /// The connection of that number, if one is open.
    pub fn find(&mut self, number: u32) -> Option<&mut Link> {
        self.slots.get_mut(number as usize)?.link.as_mut()
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
        debug_assert!(
            !matches!(&link.line, Line::Own(connection) if connection.stage() != Stage::Idle),
            "a connection at rest is idle"
        );
        if link.idle_at != BUSY {
            return;
        }
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
        self.open[link.load as usize][link.address as usize] -= 1;
        self.leave(link.load, link.address, link.idle_at);
    }

    /// Takes a connection that has no room left from among the idle ones, if it is there.
    pub fn occupy(&mut self, number: u32) {
        let link = self.get(number);
        let idle_at = std::mem::replace(&mut link.idle_at, BUSY);
        let (load, address) = (link.load, link.address);
        self.leave(load, address, idle_at);
    }

    fn leave(&mut self, load: u32, address: u32, idle_at: u32) {
        if idle_at == BUSY {
            return;
        }
        let idle = &mut self.idle[load as usize][address as usize];
        idle.swap_remove(idle_at as usize);
        if let Some(moved) = idle.get(idle_at as usize).copied() {
            self.get(moved).idle_at = idle_at;
        }
    }
}
