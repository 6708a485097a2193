//! What runner and agent say to each other: JSON lines over the agent container's standard streams.
//!
//! The runner writes one [`Request`] a line and reads one [`Reply`] a line, each with the request's number.
//! The agent's first line is [`Hello`]. End of input means: undo everything and exit. All instants are
//! nanoseconds of CLOCK_MONOTONIC in the agent's kernel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reach::{Ask, Heard};
use super::task::Task;
use crate::choice;

/// The longest line either side accepts, in bytes; longer ones are an error, not memory.
pub const MAX_LINE_BYTES: usize = 4 << 20;
/// How far ahead steps may be told to be fired, in nanoseconds: an instant beyond is of another clock.
pub const MAX_AHEAD_NS: u64 = 3_000_000_000;

/// The agent's first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The agent's version: the program's.
    pub version: String,
    /// Which boot of which kernel this is; equal ids share one monotonic clock.
    pub boot_id: String,
    /// The agent's clock as it wrote this.
    pub mono_ns: u64,
    /// What this kernel can do.
    pub kernel: Kernel,
}

/// Which mechanisms a kernel has, each tried for real in a network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The kernel's release, as `uname -r`.
    pub release: String,
    /// The netem queueing discipline.
    pub netem: bool,
    /// ifb devices, which bring packets to netem.
    pub ifb: bool,
    /// nftables.
    pub nft: bool,
    /// nftables tables that vanish with their owner.
    pub nft_owner: bool,
    /// nftables' own `queue` expression.
    pub nft_queue: bool,
    /// The NFQUEUE target of xtables through nftables' compat layer.
    pub xt_queue: bool,
    /// nfnetlink_queue, the userspace end of both.
    pub nfqueue: bool,
    /// nftables' NAT chains and `redirect`.
    #[serde(default)]
    pub nft_redirect: bool,
    /// Connection tracking's netlink, which tells where a redirected datagram was going.
    #[serde(default)]
    pub conntrack: bool,
    /// The token bucket, a queueing discipline.
    #[serde(default)]
    pub tbf: bool,
    /// The list of connections (`inet_diag`).
    #[serde(default)]
    pub sock_diag: bool,
    /// Ending connections by it (`SOCK_DESTROY`).
    #[serde(default)]
    pub sock_destroy: bool,
}

impl Kernel {
    /// A kernel of which nothing is known.
    pub const fn none() -> Self {
        Self {
            release: String::new(),
            netem: false,
            ifb: false,
            nft: false,
            nft_owner: false,
            nft_queue: false,
            xt_queue: false,
            nfqueue: false,
            nft_redirect: false,
            conntrack: false,
            tbf: false,
            sock_diag: false,
            sock_destroy: false,
        }
    }

    /// What answers DNS queries falsely; nothing where the kernel can't lead them to us.
    pub fn dns_engine(&self) -> Option<Engine> {
        // Datagrams led away are told apart by the kernel's list of flows.
        self.http_engine().filter(|_| self.conntrack)
    }

    /// What changes HTTP requests; nothing where the kernel can't lead them to us.
    pub fn http_engine(&self) -> Option<Engine> {
        self.nft_redirect.then_some(Engine::Agent)
    }

    /// The engine that holds packets here, or leaves to chance what becomes of them: netem where the kernel has
    /// it and the ifb devices that bring packets to it, else our own; nothing: neither.
    pub const fn packet_engine(&self) -> Option<Engine> {
        if self.netem && self.ifb { Some(Engine::Netem) } else { self.queue_engine() }
    }

    /// Our own engine, where packets can be led to it.
    pub const fn queue_engine(&self) -> Option<Engine> {
        if self.nft && self.nfqueue && (self.nft_queue || self.xt_queue) {
            Some(Engine::Nfqueue)
        } else {
            None
        }
    }
}

choice! {
    /// What carries out a packet impairment.
    pub enum Engine ("engine") {
        /// The kernel's network emulator.
        Netem = "netem",
        /// Our own queue in userspace, fed by the kernel's NFQUEUE.
        Nfqueue = "nfqueue",
        /// nftables rules alone: dropping and rejecting need no queue.
        Nft = "nft",
        /// The kernel's token bucket.
        Tbf = "tbf",
        /// The kernel's list of connections, by which they are ended too.
        SockDiag = "sock_diag",
        /// Docker's API.
        Docker = "docker",
        /// A command on the machine that `chaos` runs on.
        Host = "host",
        /// Our agent, beside the target's own processes.
        Agent = "agent",
        /// A process of our agent's that enters the target's own cgroup.
        Cgroup = "cgroup",
        /// Code of ours in the vDSO of the target's processes.
        Vdso = "vdso",
    }
}

choice! {
    /// Which way packets go, seen from the target container.
    pub enum Direction ("direction") {
        /// Packets leaving the container.
        Egress = "egress",
        /// Packets entering the container.
        Ingress = "ingress",
        /// Both.
        Both = "both",
    }
}

choice! {
    /// Transport protocol.
    pub enum Protocol ("protocol") {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
        /// ICMP and ICMPv6.
        Icmp = "icmp",
    }
}

choice! {
    /// The shape of a random delay around its mean.
    pub enum Distribution ("distribution") {
        /// Bell-shaped: `jitter` is the standard deviation.
        Normal = "normal",
        /// Anything from `delay - jitter` to `delay + jitter`.
        Uniform = "uniform",
        /// Mostly short with a long tail; `jitter` is the scale.
        Pareto = "pareto",
    }
}

/// What happens to a matching packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is held.
    Delay(Delay),
    /// It vanishes.
    Drop,
    /// TCP is answered with a reset, everything else with ICMP port unreachable.
    Reset,
    /// It waits for its turn.
    Bandwidth(Bandwidth),
    /// Some vanish.
    Loss(Loss),
    /// Some come twice.
    Duplicate(Chance),
    /// One random bit of some is turned over.
    Corrupt(Chance),
    /// Some go at once while the others are held, and so overtake them.
    Reorder(Box<Reorder>),
    /// Its connection is broken off.
    Sever(Sever),
    /// It asks for a connection, and is refused while there are too many.
    Admit(Admit),
    /// Another effect, on and off in turns; it begins with being on.
    Flaky(Box<Turns>, Box<Effect>),
}

impl Effect {
    /// What happens to packets while it does, and the pattern in which it does.
    pub const fn turns(&self) -> (&Self, Option<&Turns>) {
        match self {
            Self::Flaky(turns, effect) => (effect, Some(turns)),
            steady => (steady, None),
        }
    }
}

/// A share of packets, chosen at random.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chance {
    /// The share, 0 to 1.
    pub share: f64,
    /// How much each choice takes after the one before: 0 (not at all) to below 1.
    pub correlation: f64,
    /// Seed of the choices.
    pub seed: u64,
}

/// Which packets vanish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// A share of them.
    Random(Chance),
    /// Those that a chain of two states chooses.
    Bursts(Box<Bursts>),
}

/// The chain of Gilbert and Elliott: a good state and a bad one, each with its own loss. It begins as good.
/// Probabilities are from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bursts {
    /// From good to bad, at each packet (p).
    pub good_to_bad: f64,
    /// From bad to good, at each packet (r).
    pub bad_to_good: f64,
    /// Of loss in the bad state (1-h).
    pub bad_loss: f64,
    /// Of loss in the good state (1-k).
    pub good_loss: f64,
    /// Seed of the chain.
    pub seed: u64,
}

/// Which established connections are broken off: both ends learn of it at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sever {
    /// Their share, rounded up; above 0, at most 1.
    pub share: f64,
    /// Again whenever so many nanoseconds have passed; nothing: once.
    pub every_ns: Option<u64>,
    /// Seed of which ones.
    pub seed: u64,
}

/// How many connections there may be: new ones beyond are answered with a reset. Those that are there stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admit {
    /// The most.
    pub most: u32,
}

/// Which packets overtake others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reorder {
    /// Which ones go at once.
    pub chance: Chance,
    /// Only each packet of this number may go at once; 1: every packet.
    pub gap: u32,
    /// How long the others are held.
    pub delay: Delay,
}

/// A pattern of being on and off in turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turns {
    /// How long it is on, in nanoseconds.
    pub on_ns: u64,
    /// How long it is off, in nanoseconds.
    pub off_ns: u64,
    /// How much each of these varies to either side, evenly, in nanoseconds; 0 for not at all.
    pub jitter_ns: u64,
    /// Seed of the variation.
    pub seed: u64,
}

/// So many bits a second go on, in each direction by itself, over all interfaces together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Bits a second, of whole packets with their Ethernet headers; at least 8.
    pub bits_per_s: u64,
    /// How much may go on at once after a pause, in bytes; nothing: what the rate takes to be kept. Never less
    /// than one whole packet.
    pub burst_bytes: Option<u64>,
    /// How much may wait; what comes then is dropped. Never less than a few whole packets.
    pub queue: Room,
}

/// Room in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Room {
    /// What goes on in this time, in nanoseconds.
    Time(u64),
    /// This many bytes.
    Bytes(u64),
}

/// How long packets are held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delay {
    /// The mean, in nanoseconds.
    pub delay_ns: u64,
    /// The spread around it, in nanoseconds; 0 for none.
    pub jitter_ns: u64,
    /// The spread's shape.
    pub distribution: Distribution,
    /// How much each packet's delay takes after the one before: 0 (not at all) to 1.
    pub correlation: f64,
    /// Seed of the jitter (netem before Linux 6.6 seeds itself).
    pub seed: u64,
}

/// A network as an address and a prefix length, IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Net {
    /// The network's address.
    pub addr: std::net::IpAddr,
    /// Leading bits that count: 0 to 32 or 128.
    pub prefix: u8,
}

impl Net {
    /// True if `addr` is in it.
    pub fn has(&self, addr: std::net::IpAddr) -> bool {
        use std::net::IpAddr::{V4, V6};
        let (bits, net, of) = match (self.addr, addr) {
            (V4(net), V4(of)) => (32, u128::from(net.to_bits()), u128::from(of.to_bits())),
            (V6(net), V6(of)) => (128, net.to_bits(), of.to_bits()),
            _ => return false,
        };
        // A shift by all bits is none at all.
        let rest = bits - u32::from(self.prefix).min(bits);
        (net ^ of).checked_shr(rest).unwrap_or_default() == 0
    }
}

/// One step for this agent: which packets, and what happens to them. Loopback is never touched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Impairment {
    /// The plan's number of the step.
    pub step: u32,
    /// Packets leaving, entering, or both.
    pub direction: Direction,
    /// Only to or from these; empty: everyone.
    pub peers: Vec<Net>,
    /// Never to or from these.
    pub except: Vec<Net>,
    /// Only with one of these ports at either end; empty: every port.
    pub ports: Vec<u16>,
    /// Only this protocol; nothing: every protocol.
    pub protocol: Option<Protocol>,
    /// What happens to them.
    pub effect: Effect,
}

/// A request with its number, which the reply repeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the runner; ascending.
    pub id: u64,
    /// What to do.
    pub command: Command,
}

/// What the runner asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one at a time")]
pub enum Command {
    /// Stage these, changing nothing yet. Answered by `armed`.
    Arm {
        /// Names what the agent makes in the kernel: at most 12 letters and digits, unique to the run.
        tag: String,
        /// The impairments; may be empty.
        impairments: Vec<Impairment>,
        /// Everything else, by step number; may be empty.
        #[serde(default)]
        tasks: BTreeMap<u32, Task>,
        /// Use this engine for what one of several can do; nothing: the best this kernel has.
        engine: Option<Engine>,
        /// Undo each by itself this long after it was fired, in nanoseconds.
        deadline_ns: u64,
    },
    /// Look at what these armed tasks are about to change. Answered by `found`.
    Find {
        /// Step numbers.
        steps: Vec<u32>,
    },
    /// Put these armed steps into effect, in order. Answered by `fired`, once they are.
    Fire {
        /// Step numbers.
        steps: Vec<u32>,
        /// When, by the agent's clock, at most [`MAX_AHEAD_NS`] from now; nothing, or an instant that is over: at once.
        #[serde(default)]
        at_ns: Option<u64>,
    },
    /// Say what the clock shows. Answered by `clock`.
    Clock,
    /// Take these steps back, in order; ones not in effect are no error. Answered by `undone`.
    Undo {
        /// Step numbers.
        steps: Vec<u32>,
    },
    /// Report the counters of these steps. Answered by `counters`.
    Read {
        /// Step numbers.
        steps: Vec<u32>,
    },
    /// Remove what a dead agent with this tag left of packet impairments in this namespace. Answered by `purged`.
    Purge {
        /// The dead agent's tag.
        tag: String,
    },
    /// Look whom packets reach, with other agents. Answered by `heard`.
    Reach(Ask),
    /// Take back what a dead agent with this tag left of a task. Answered by `purged`.
    Restore {
        /// The dead agent's tag.
        tag: String,
        /// What it was to do.
        task: Task,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's number; nothing for a line that could not be read and for news of its own accord.
    pub id: Option<u64>,
    /// What happened.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Staged; which engine carries each step out.
    Armed(BTreeMap<u32, Engine>),
    /// The tasks with what restoring them must know, by step; those that say it themselves are left out.
    Found(BTreeMap<u32, Task>),
    /// In effect since these instants (measured after the kernel's acknowledgement), by step.
    Fired(BTreeMap<u32, u64>),
    /// Taken back at these instants and looked at: nothing of the step is left. With its last counters.
    Undone(BTreeMap<u32, Undone>),
    /// Counters by step.
    Counters(BTreeMap<u32, Counters>),
    /// What CLOCK_MONOTONIC shows in the agent's kernel.
    Clock(u64),
    /// Removed this many tables, queueing disciplines and devices.
    Purged(u32),
    /// What was heard of other agents.
    Heard(Heard),
    /// Unasked: these steps reached their deadline and were undone.
    Expired(BTreeMap<u32, Undone>),
    /// It could not be done; what was attempted and the kernel's answer.
    Error(String),
}

/// One step's end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undone {
    /// When the kernel had acknowledged the removal.
    pub at_ns: u64,
    /// True if a look at the kernel's state found nothing of the step left.
    pub verified: bool,
    /// Counters just before.
    pub counters: Counters,
}

/// What a step did so far, counted where it happened. Nothing is `None`, never 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets that the filter matched.
    pub matched_packets: u64,
    /// Bytes that the filter matched.
    pub matched_bytes: u64,
    /// Packets released after their delay (our own engine).
    pub delayed_packets: Option<u64>,
    /// Packets let through undelayed because the queue was full (our own engine).
    pub overflowed_packets: Option<u64>,
    /// Packets the mechanism itself lost, against what was asked: dropped by netem's full queue; or held by our
    /// own engine and dropped by the kernel because somebody removed a packet filter's hook from the namespace.
    pub lost_packets: Option<u64>,
    /// Packets that vanished as asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_packets: Option<u64>,
    /// Packets that were sent on twice (our own engine).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicated_packets: Option<u64>,
    /// Packets of which a bit was turned over (our own engine).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupted_packets: Option<u64>,
    /// Packets that went at once past others that were held (our own engine).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reordered_packets: Option<u64>,
    /// How often a pattern of on and off put it into effect, the first time included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched_on: Option<u64>,
    /// Delay really given, in milliseconds: min, p50, p99, max (our own engine).
    pub delay_ms: Option<BTreeMap<String, f64>>,
    /// What else was counted, by name: of a task as `stopped_processes`; of a bandwidth `waits`, how often a packet
    /// had to, and `full_packets`, dropped because too much waited. May be empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counted: BTreeMap<String, u64>,
}
