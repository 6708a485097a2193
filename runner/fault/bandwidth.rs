//! `bandwidth`: only so many bits a second get through.

use super::step::{Op, Packets};
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{self, Direction, Effect, Engine, Kernel, Protocol, Room};
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
        /// How much may go on at once after a pause; left out: two packets, or 2 ms of the rate.
        pub burst: Option<Size>,
        /// How much may wait, as data or as the time that it waits at most; four whole packets at least.
        pub queue: QueueRoom = QueueRoom(Room::Time(100_000_000)),
        /// Packets leaving the target, entering it, or both, each at the full rate.
        pub direction: Direction = Direction::Both,
        /// Only packets to or from these: targets, addresses, networks (`10.0.0.0/8`) or host names.
        pub peers: Vec<Located<String>>,
        /// Never packets to or from these.
        pub except: Vec<Located<String>>,
        /// Only packets with one of these ports at either end.
        pub ports: Vec<u16>,
        /// Only this protocol.
        pub protocol: Option<Protocol>,
    }
}

impl FaultKind for Bandwidth {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn peers(&self) -> Vec<&Located<String>> {
        self.peers.iter().chain(&self.except).collect()
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let packets = Packets {
            direction: self.direction,
            peers: cast.peers(&self.peers),
            except: cast.peers(&self.except),
            ports: self.ports.clone(),
            protocol: self.protocol,
        };
        let bandwidth = wire::Bandwidth {
            bits_per_s: self.rate.as_bits_per_s(),
            burst_bytes: self.burst.map(Size::bytes),
            queue: self.queue.0,
        };
        cast.containers(&self.on)
            .iter()
            .map(|container| Change {
                container: container.clone(),
                apply: Op::Impair(packets.clone(), Effect::Bandwidth(bandwidth)),
                undo: Some(Op::Clear),
            })
            .collect()
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        (kernel.tbf && kernel.ifb).then_some(Engine::Tbf)
    }

    fn summary(&self) -> String {
        format!("packets {} {} go on at {}", super::way_of(self.direction), self.on.value, self.rate)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        // What passed the bucket passed at its rate.
        super::packets_matched(evidence)
    }
}
