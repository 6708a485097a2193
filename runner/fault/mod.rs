//! The fault catalogue: one file a fault, and this list of them.
//!
//! A fault in an experiment is plain data. [`Fault::steps`] turns it and its chosen containers into
//! reversible steps; [`Fault::proven`] says whether what was seen proves that it happened. Both are pure.
//! To add one: a file like `pause.rs`, a line in the list below (CONTRIBUTING.md walks through it).

pub mod bandwidth;
pub mod blackhole;
pub mod clock;
pub mod connections;
pub mod corrupt;
pub mod cpu;
pub mod disconnect;
pub mod disk;
pub mod dns;
pub mod duplicate;
pub mod exec;
pub mod files;
pub mod flaky;
pub mod found;
pub mod http;
pub mod io;
pub mod kill;
pub mod latency;
pub mod loss;
pub mod memory;
pub mod packets;
pub mod partition;
pub mod pause;
pub mod processes;
pub mod reach;
pub mod remove;
pub mod reorder;
pub mod reset;
pub mod restart;
pub mod shape;
pub mod signal;
pub mod step;
pub mod stop;

use crate::agent::task::Task;
use crate::agent::wire::{Engine, Kernel};
use crate::error::Span;
use crate::event::Evidence;
use crate::spec::Located;
use reach::Reach;
use step::{Op, Peer};

/// What every kind of fault can say about itself.
pub trait FaultKind {
    /// Names of the targets it aims at, in the order written; located for messages.
    fn aims(&self) -> Vec<&Located<String>>;

    /// Entries of its peer filters: targets, networks, addresses or host names; may be empty.
    fn peers(&self) -> Vec<&Located<String>> {
        Vec::new()
    }

    /// Its changes: container, apply and undo, in the order in which they are applied. Undone in reverse.
    fn changes(&self, cast: &Cast<'_>) -> Vec<Change>;

    /// Who reaches whom among its containers while it is in effect; nothing for a kind that is not about that.
    fn reach(&self, cast: &Cast<'_>) -> Option<Reach> {
        let _ = cast;
        None
    }

    /// Why it can't be had of the containers that were chosen; nothing where it can.
    fn misfit(&self, cast: &Cast<'_>) -> Option<Misfit> {
        let _ = cast;
        None
    }

    /// What will carry it out; nothing where this kernel has no way to.
    fn engine(&self, kernel: &Kernel) -> Option<Engine>;

    /// One line for people: `delays packets leaving one-api by 200ms ± 20ms`.
    fn summary(&self) -> String;

    /// True if what was seen of one of its steps, in order, proves that the step happened.
    fn proven(&self, evidence: &[Evidence]) -> bool;

    /// What kept it from being proven, where that can be seen: a clause for people.
    fn why_unproven(&self, evidence: &[Evidence]) -> Option<String> {
        let _ = evidence;
        None
    }

    /// How many of its steps must be proven for the fault to be.
    fn proof(&self) -> Proof {
        Proof::EveryStep
    }

    /// What a fault of this kind must not leave out or contradict, beyond its fields' own rules.
    fn check(&self, mistakes: &mut crate::spec::decode::Mistakes) {
        let _ = mistakes;
    }
}

/// How many steps of a fault must be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// All: each container was chosen to be hit.
    EveryStep,
    /// None: agents look who reaches whom, and must find what [`FaultKind::reach`] says.
    Reach,
}

/// Why a fault can't be had of the containers that were chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Where in the experiment.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What mends it.
    pub hint: String,
}

/// A change to one container: a step before it is numbered.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The container's name.
    pub container: String,
    /// What is done.
    pub apply: Op,
    /// What takes it back; nothing where it is irreversible.
    pub undo: Option<Op>,
}

/// True if the states seen, the first of them from before, show that the container's process of then is gone:
/// ended, or replaced by another.
fn replaced(evidence: &[Evidence]) -> bool {
    let mut states = evidence.iter().filter_map(|seen| match seen {
        Evidence::State(state) => Some(state),
        _ => None,
    });
    let Some(before) = states.next().filter(|before| before.pid.is_some()) else { return false };
    states.any(|after| before.pid != after.pid || before.started_at != after.started_at)
}

/// What was seen of the container's cgroups; the first is from before.
fn cgroups(evidence: &[Evidence]) -> Vec<&found::Cgroup> {
    evidence
        .iter()
        .filter_map(|seen| match seen {
            Evidence::Cgroup(cgroup) => Some(cgroup),
            _ => None,
        })
        .collect()
}

/// What tasks of agents counted, oldest first.
fn counted(evidence: &[Evidence]) -> Vec<&std::collections::BTreeMap<String, u64>> {
    evidence
        .iter()
        .filter_map(|seen| match seen {
            Evidence::Packets(counters) => Some(&counters.counted),
            _ => None,
        })
        .collect()
}

/// What precedes the name of a service among peers.
pub const SERVICE_PREFIX: &str = "service:";

/// The containers chosen for each target, and the experiment's seed.
pub struct Cast<'p> {
    /// Container names by target name, sorted.
    pub targets: &'p std::collections::BTreeMap<String, Vec<String>>,
    /// The names of all running containers by service, sorted.
    pub services: &'p std::collections::BTreeMap<String, Vec<String>>,
    /// Seed for the fault's own random choices.
    pub seed: u64,
}

impl Cast<'_> {
    /// The containers of target `name`; empty for an unknown one (which validation has refused).
    pub fn containers(&self, name: &str) -> &[String] {
        self.targets.get(name).map_or(&[], Vec::as_slice)
    }

    /// The same change to each container of target `on`.
    pub fn same(&self, on: &str, apply: &Op, undo: Option<&Op>) -> Vec<Change> {
        let change = |container: &String| Change {
            container: container.clone(),
            apply: apply.clone(),
            undo: undo.cloned(),
        };
        self.containers(on).iter().map(change).collect()
    }

    /// A task of an agent on each container of target `on`, made with a seed of each one's own.
    pub fn inside(&self, on: &str, task: impl Fn(u64) -> Task) -> Vec<Change> {
        let change = |(index, container): (usize, &String)| {
            let task = task(self.seed.wrapping_add(index as u64));
            let undo = Some(Op::Restore(task.clone()));
            Change { container: container.clone(), apply: Op::Inside(task), undo }
        };
        self.containers(on).iter().enumerate().map(change).collect()
    }

    /// What a peer filter's entry means: a target's containers, a service's, a network or address, or a host
    /// name. A service that is not there (which planning has refused) is nobody.
    pub fn peers(&self, entries: &[Located<String>]) -> Vec<Peer> {
        entries
            .iter()
            .flat_map(|entry| {
                if let Some(containers) = self.targets.get(&entry.value) {
                    return containers.iter().cloned().map(Peer::Container).collect();
                }
                if let Some(service) = entry.value.strip_prefix(SERVICE_PREFIX) {
                    let members = self.services.get(service).into_iter().flatten();
                    return members.cloned().map(Peer::Container).collect();
                }
                let address = entry.value.split('/').next().unwrap_or_default();
                if address.parse::<std::net::IpAddr>().is_ok() {
                    vec![Peer::Net(entry.value.clone())]
                } else {
                    vec![Peer::Host(entry.value.clone())]
                }
            })
            .collect()
    }
}

/// Makes the enum of all faults and hands each question on to the kind.
macro_rules! catalogue {
    ($( $(#[doc = $doc:literal])* $variant:ident($type:ty) = $word:literal ),* $(,)?) => {
        $crate::tagged! {
            /// Something that is broken on purpose and healed again. Of several faults of packets on one
            /// container each packet passes one after another, in the order in which they are written: what one
            /// drops no other sees, and what one sends twice the next ones see twice. (Those that a kernel's netem
            /// carries out stand at the network card, behind all others for packets that leave and before them for
            /// packets that enter. Copies of packets that enter are made last.)
            pub enum Fault ("fault") {
                $( $(#[doc = $doc])* $variant($type) = $word, )*
            }
        }

        impl Fault {
            /// The kind behind the word.
            pub fn kind(&self) -> &dyn FaultKind {
                match self { $( Self::$variant(fault) => fault, )* }
            }
        }
    };
}

catalogue! {
    /// Packets are held for a while.
    Latency(latency::Latency) = "latency",
    /// Some packets vanish.
    Loss(loss::Loss) = "loss",
    /// Some packets come twice.
    Duplicate(duplicate::Duplicate) = "duplicate",
    /// One bit of some packets is turned over.
    Corrupt(corrupt::Corrupt) = "corrupt",
    /// Some packets overtake others.
    Reorder(reorder::Reorder) = "reorder",
    /// Another fault of packets, on and off in turns.
    Flaky(flaky::Flaky) = "flaky",
    /// Containers can't reach each other: groups, or a shape.
    Partition(partition::Partition) = "partition",
    /// Packets to or from a peer or port vanish.
    Blackhole(blackhole::Blackhole) = "blackhole",
    /// Packets to or from a peer or port are refused.
    Reset(reset::Reset) = "reset",
    /// TCP connections are broken off, or only so many are let in.
    Connections(connections::ConnectionsFault) = "connections",
    /// Only so many bits a second get through.
    Bandwidth(bandwidth::Bandwidth) = "bandwidth",
    /// The container's first process gets a signal, or others by name.
    Kill(kill::Kill) = "kill",
    /// Every process of the container is frozen.
    Pause(pause::Pause) = "pause",
    /// The container is stopped, and started again at the end.
    Stop(stop::Stop) = "stop",
    /// The container is stopped and started again at once.
    Restart(restart::Restart) = "restart",
    /// The container is removed for good.
    Remove(remove::Remove) = "remove",
    /// The container is detached from a network.
    Disconnect(disconnect::Disconnect) = "disconnect",
    /// The container's CPU is used up, or it has less.
    Cpu(cpu::Cpu) = "cpu",
    /// The container's memory is filled, or it has less.
    Memory(memory::Memory) = "memory",
    /// The container has no room for new processes and threads.
    Processes(processes::Processes) = "processes",
    /// The container's processes can open no more files.
    Files(files::Files) = "files",
    /// A device that the container uses is kept busy.
    Io(io::Io) = "io",
    /// The container's processes read a wrong clock.
    Clock(clock::Clock) = "clock",
    /// A file system that the container writes to is filled.
    Disk(disk::Disk) = "disk",
    /// A command of your own, and one that takes it back.
    Exec(exec::Exec) = "exec",
    /// Names don't resolve, resolve late, or to somewhere else.
    Dns(dns::Dns) = "dns",
    /// HTTP requests fail, wait, or come with other headers or bodies.
    Http(http::HttpFault) = "http",
}

#[cfg(test)]
mod steps_tests;
