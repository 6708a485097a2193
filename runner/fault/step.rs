//! Steps: what a fault comes down to, as plain data that one interpreter runs.
//!
//! Every step has an `apply` and, unless it says that it is irreversible, an `undo`. The undo is on disk
//! before the apply happens. Steps name containers and peers as the plan does; ids and addresses are
//! looked up when they are armed, so that a plan is the same on every machine.

use serde::{Deserialize, Serialize};

use super::found::{Endpoint, Limits, Process};
use crate::agent::task::{Place, Task};
use crate::agent::wire::{Direction, Effect, Protocol};
use crate::choice;
use crate::spec::amount::{CpuAmount, MemoryAmount};
use crate::units::Duration;

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
    /// Send a signal again and again.
    Beat(Beat),
    /// Start the container if it does not run.
    Start,
    /// Send the container's own stop signal, and SIGKILL to what still runs this much later.
    Stop(Duration),
    /// The same, and start it again.
    Restart(Duration),
    /// Start the container if it does not run. If this process, which was told to end, still runs: replace it.
    Renew(Option<Process>),
    /// Remove the container.
    Remove,
    /// Detach the container from this network, as plans name it.
    Disconnect(String),
    /// Attach the container to this network as it was attached when found.
    Reconnect(String, Option<Box<Endpoint>>),
    /// Lower a limit of the container.
    Limit(Limit),
    /// Write back a limit as it was found.
    Unlimit(Option<Limits>),
    /// Run a command of the user's.
    Exec(Exec),
}

/// A signal that is sent again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Its name.
    pub signal: String,
    /// How long after the last one.
    pub every: Duration,
    /// What becomes of a container that it ended.
    pub then: AfterBeat,
}

choice! {
    /// What becomes of a container that a repeated signal ended.
    pub enum AfterBeat ("after a repeated signal") {
        /// It stays as it is.
        Leave = "leave",
        /// It is started again at once.
        Start = "start",
    }
}

/// A limit to be lowered. What it was is known only when it is found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The CPU it may use.
    Cpu(CpuAmount),
    /// The memory it may use.
    Memory(MemoryAmount, BelowUse),
    /// The processes and threads it may have.
    Processes(u32),
}

choice! {
    /// Whether a memory limit may be lower than what is in use.
    pub enum BelowUse ("limit below use") {
        /// No: that would kill processes at once.
        Refuse = "refuse",
        /// Yes.
        Allow = "allow",
    }
}

/// A command of the user's, as a list of arguments: no shell reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Where it runs.
    pub place: Where,
    /// The program and its arguments; not empty.
    pub command: Vec<String>,
    /// In a container: the user it runs as; nothing: the container's own.
    pub user: Option<String>,
    /// It fails if it takes longer.
    pub timeout: Duration,
}

choice! {
    /// Where a user's command runs.
    pub enum Where ("place") {
        /// In the target, through Docker.
        Container = "container",
        /// On the machine that `chaos` runs on. Only with `--allow-host-exec`.
        Host = "host",
    }
}

impl Op {
    /// True if what it did is gone once the container's processes are, so that a container that was started
    /// anew is without it.
    pub const fn ends_with_processes(&self) -> bool {
        matches!(
            self,
            Self::Impair(..)
                | Self::Inside(_)
                | Self::Pause
                | Self::Exec(Exec { place: Where::Container, .. })
        )
    }

    /// True if it ends the container's processes itself.
    pub const fn ends_processes(&self) -> bool {
        matches!(self, Self::Kill(_) | Self::Beat(_) | Self::Stop(_) | Self::Restart(_) | Self::Remove)
    }

    /// True if it runs a command on this machine.
    pub const fn is_on_host(&self) -> bool {
        matches!(self, Self::Exec(Exec { place: Where::Host, .. }))
    }
}

impl Op {
    /// Where the agent sits that carries it out; nothing where Docker's API does.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Impair(..) | Self::Clear => Some(Place::Network),
            Self::Inside(task) | Self::Restore(task) => Some(task.kind().place()),
            _ => None,
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
