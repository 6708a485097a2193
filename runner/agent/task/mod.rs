//! Tasks: what agents do to a target other than impair its packets. One file a task, and this list of them.
//!
//! A task is plain data that says where it is done and what it takes ([`TaskKind`]). An agent there makes
//! [`Work`] of it, which changes nothing until it is fired. What an agent that was killed can't take back is
//! restored by another one in the same place, with nothing but the task to go by: so prefer what vanishes with
//! its owner, and let nothing depend on memory.

pub mod burn;
pub mod churn;
pub mod crowd;
pub mod disk;
pub mod dns;
pub mod files;
pub mod fill;
pub mod freeze;
pub mod http;
mod proxied;
pub mod signal;
pub mod skew;
pub mod throttle;
mod watching;

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::hand::Chore;
use super::wire::{Counters, Engine};

/// Where an agent sits: what it shares with its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The target's network namespace.
    Network,
    /// The target's pid namespace, and no network.
    Processes,
    /// The target's pid namespace, a view of the target's cgroup, and its door ([`super::cgroup`]).
    Cgroup,
    /// The target's pid namespace, a view of the target's cgroup, and its limits on devices.
    Devices,
}

impl Place {
    /// In a word, which names its agents' containers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Processes => "processes",
            Self::Cgroup => "cgroup",
            Self::Devices => "devices",
        }
    }
}

/// A privilege that an agent needs, by the kernel's name without `CAP_`, as Docker takes it, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability {
    /// `NET_ADMIN`, ….
    pub name: &'static str,
    /// Its bit in a capability set: 0 to 63.
    pub bit: u32,
}

/// Packet filters, queueing disciplines, the network namespace's settings.
pub const NET_ADMIN: Capability = Capability { name: "NET_ADMIN", bit: 12 };
/// Signals to processes of other users.
pub const KILL: Capability = Capability { name: "KILL", bit: 5 };
/// Another user's processes: their file systems and their memory.
pub const SYS_PTRACE: Capability = Capability { name: "SYS_PTRACE", bit: 19 };
/// Folders of other users.
pub const DAC_OVERRIDE: Capability = Capability { name: "DAC_OVERRIDE", bit: 1 };

/// Acting as another group.
pub const SETGID: Capability = Capability { name: "SETGID", bit: 6 };
/// Acting as another user.
pub const SETUID: Capability = Capability { name: "SETUID", bit: 7 };

/// All capabilities that an agent may be given.
const CAPABILITIES: [Capability; 6] = [NET_ADMIN, KILL, SYS_PTRACE, DAC_OVERRIDE, SETGID, SETUID];

/// The capability called so; nothing for one that no agent may have.
pub fn capability(name: &str) -> Option<Capability> {
    CAPABILITIES.into_iter().find(|known| known.name == name)
}

/// What every kind of task can say about itself, and how it is begun.
pub trait TaskKind {
    /// Where it is done.
    fn place(&self) -> Place;

    /// What it needs there, beyond what the place itself takes; may be empty.
    fn capabilities(&self) -> &'static [Capability] {
        &[]
    }

    /// What carries it out, for the journal.
    fn engine(&self) -> Engine {
        Engine::Agent
    }

    /// True if only a look can tell what restoring it must know: [`Work::find`] says it, just before it is fired.
    fn has_gap(&self) -> bool {
        false
    }

    /// Makes everything ready, changing nothing. `tag` names what is made in the kernel.
    ///
    /// # Errors
    /// Why it can't be done here, for people.
    fn stage(&self, tag: &str) -> Result<Box<dyn Work>, String>;

    /// Takes back what an agent that died left of this task. How many things; zero is no error.
    ///
    /// # Errors
    /// What is left and why, for people.
    fn restore(&self, tag: &str) -> Result<u32, String>;

    /// One line for people, without the container's name: `freeze processes nginx`.
    fn summary(&self) -> String;

    /// What a process inside the target's cgroup does of it; nothing where there is none.
    fn chore(&self) -> Option<&dyn Chore> {
        None
    }
}

/// A staged task in an agent's hands. Dropping it takes nothing back.
pub trait Work: Debug {
    /// Looks at what it is about to change: the task with all that restoring it takes. Nothing where the task says
    /// that itself. Changes nothing.
    ///
    /// # Errors
    /// It can't be seen, for people.
    fn find(&mut self) -> Result<Option<Task>, String> {
        Ok(None)
    }

    /// Puts it into effect.
    ///
    /// # Errors
    /// Why not, for people; it is then undone by the caller.
    fn fire(&mut self) -> Result<(), String>;

    /// Takes it back; true if a look found nothing of it left. Done once, whether fired or not.
    fn undo(&mut self) -> bool;

    /// What it did so far.
    fn counters(&mut self) -> Counters;
}

/// Makes the enum of all tasks and hands each question on to the kind.
macro_rules! tasks {
    ($( $(#[doc = $doc:literal])* $variant:ident($type:ty) ),* $(,)?) => {
        /// Something an agent does to a target other than impair its packets.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Task { $( $(#[doc = $doc])* $variant($type), )* }

        impl Task {
            /// The kind behind the word.
            pub fn kind(&self) -> &dyn TaskKind {
                match self { $( Self::$variant(task) => task, )* }
            }
        }
    };
}

tasks! {
    /// Processes are stopped by name.
    Freeze(freeze::Freeze),
    /// Processes get a signal, by name.
    Signal(signal::Signal),
    /// CPU is used up.
    Burn(burn::Burn),
    /// Memory is filled.
    Fill(fill::Fill),
    /// Processes and threads are used up.
    Crowd(crowd::Crowd),
    /// A device is kept busy.
    Churn(churn::Churn),
    /// Less of a device may be used.
    Throttle(throttle::Throttle),
    /// Clocks are wrong.
    Skew(skew::Skew),
    /// A file system is filled.
    Disk(disk::Disk),
    /// No more files can be opened.
    Files(files::Files),
    /// DNS queries are answered falsely.
    Dns(dns::Dns),
    /// HTTP requests and their answers are changed.
    Http(http::Http),
}
