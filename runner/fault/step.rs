//! Steps: what a fault comes down to, as plain data that one interpreter runs.
//!
//! Every step has an `apply` and, unless it says that it is irreversible, an `undo`. The undo is on disk
//! before the apply happens. Steps name containers and peers as the plan does; ids and addresses are
//! looked up when they are armed, so that a plan is the same on every machine.

use serde::{Deserialize, Serialize};

use crate::agent::task::{Place, Task};
use crate::agent::wire::{Direction, Effect, Protocol};

/// One reversible change to one container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Number in the plan, from 0; names the step in the journal, the ledger and the agent.
    pub id: u32,
    /// The container's name.
    pub container: String,
    /// What is done.
    pub apply: Op,
    /// What takes it back; nothing where the step is irreversible.
    pub undo: Option<Op>,
}

/// Something done to a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Impair packets inside the container's network namespace, by an agent.
    Impair(Packets, Effect),
    /// Take back what `impair` of this step made.
    Clear,
    /// Anything else that an agent does.
    Inside(Task),
    /// Take back what `inside` of this step did.
    Restore(Task),
    /// Freeze every process.
    Pause,
    /// Let them go on; no error if they do.
    Unpause,
    /// Send a signal to the container's first process.
    Kill(String),
    /// Start the container if it does not run.
    Start,
}

impl Op {
    /// Where the agent sits that carries it out; nothing where Docker's API does.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Impair(..) | Self::Clear => Some(Place::Network),
            Self::Inside(task) | Self::Restore(task) => Some(task.kind().place()),
            Self::Pause | Self::Unpause | Self::Kill(_) | Self::Start => None,
        }
    }
}

/// Which packets, as the plan names them. Loopback is never touched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Packets {
    /// Packets leaving the container, entering it, or both.
    pub direction: Direction,
    /// Only to or from these; empty: everyone.
    pub peers: Vec<Peer>,
    /// Never to or from these.
    pub except: Vec<Peer>,
    /// Only with one of these ports at either end; empty: every port.
    pub ports: Vec<u16>,
    /// Only this protocol; nothing: every protocol.
    pub protocol: Option<Protocol>,
}

/// The other end of a packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// A container of the plan, at all its addresses.
    Container(String),
    /// A network in CIDR notation, or one address.
    Net(String),
    /// A host name, looked up when the step is armed.
    Host(String),
}
