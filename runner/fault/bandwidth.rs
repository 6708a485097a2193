//! `bandwidth`: only so many bits a second get through.

use super::packets::{Filter, counted};
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{self, Effect, Engine, Kernel, Room};
use crate::event::Evidence;
use crate::record;
use crate::spec::{BitRate, Located, QueueRoom, Size};

record! {
    /// Lets only so many bits a second through, in each direction by itself and over all interfaces together;
    /// what comes faster waits, and is dropped when too much waits. A packet obeys the first bandwidth that it
    /// matches. IPv4 and IPv6, but never loopback.
    pub struct Bandwidth ("bandwidth") {
        /// The target whose packets have to wait.
        pub on: Located<String>,
        /// How much goes on: bits of whole packets, their headers included.
        pub rate: BitRate,
        /// How much may go on at once after a pause; left out: two packets, or 10 ms of the rate.
        pub burst: Option<Size>,
        /// How much may wait, as data or as the time that it waits at most; four whole packets at least.
        pub queue: QueueRoom = QueueRoom(Room::Time(100_000_000)),
        ..pub filter: Filter,
    }
}

impl FaultKind for Bandwidth {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn peers(&self) -> Vec<&Located<String>> {
        self.filter.entries()
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let bandwidth = wire::Bandwidth {
            bits_per_s: self.rate.as_bits_per_s(),
            burst_bytes: self.burst.map(Size::bytes),
            queue: self.queue.0,
        };
        self.filter.changes(cast, &self.on, |_| Effect::Bandwidth(bandwidth))
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        (kernel.tbf && kernel.ifb).then_some(Engine::Tbf)
    }

    fn summary(&self) -> String {
        format!("packets {} {} go on at {}", self.filter.way(), self.on.value, self.rate)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        // What passed the bucket passed at its rate.
        counted(evidence, |counters| counters.matched_packets > 0)
    }
}
