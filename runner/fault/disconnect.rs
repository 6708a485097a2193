//! `disconnect`: the container is detached from a network.

use super::step::Op;
use super::{Cast, Change, FaultKind};
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;

record! {
    /// Takes the target off a network: its interface there, its address and its names vanish, and open
    /// connections hang. Attached again when the phase ends, with the same addresses, names and links; that
    /// they are the same is looked at. Unlike `partition`, software inside sees the interface go and come.
    pub struct Disconnect ("disconnect") {
        /// The target.
        pub on: Located<String>,
        /// The network: its name as Docker has it; in a lab, the lab's own name of it.
        pub network: Located<String>,
    }
}

impl FaultKind for Disconnect {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let network = || self.network.value.clone();
        cast.same(&self.on, &Op::Disconnect(network()), Some(&Op::Reconnect(network(), None)))
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(Engine::Docker)
    }

    fn summary(&self) -> String {
        format!("{} is detached from network {}", self.on.value, self.network.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        let attached: Vec<bool> = evidence
            .iter()
            .filter_map(|seen| match seen {
                Evidence::Network { attached, .. } => Some(*attached),
                _ => None,
            })
            .collect();
        attached.first() == Some(&true) && attached.contains(&false)
    }
}
