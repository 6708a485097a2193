//! `blackhole`: packets of a container to or from a peer or port vanish.

use super::step::{Op, Packets};
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{Direction, Effect, Engine, Kernel, Protocol};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;

record! {
    /// Packets vanish without a word: connections hang until somebody's patience ends. On every interface, IPv4
    /// and IPv6, but never on loopback.
    pub struct Blackhole ("blackhole") {
        /// The target whose packets vanish.
        pub on: Located<String>,
        /// Packets leaving the target, entering it, or both.
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

impl FaultKind for Blackhole {
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
        cast.containers(&self.on)
            .iter()
            .map(|container| Change {
                container: container.clone(),
                apply: Op::Impair(packets.clone(), Effect::Drop),
                undo: Some(Op::Clear),
            })
            .collect()
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        kernel.nft.then_some(Engine::Nft)
    }

    fn summary(&self) -> String {
        format!("packets {} {} vanish", super::way_of(self.direction), self.on.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        super::packets_matched(evidence)
    }
}
