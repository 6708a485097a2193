//! One step: what carries it out, and how that is chosen.
//!
//! Dropping and resetting are rules alone; breaking off connections takes none. What holds packets or leaves to chance what becomes of them is
//! netem's work where the kernel has it and it can be had simply, and our own queue's otherwise; the engine that
//! it came to is reported, never guessed.
//!
//! Random loss could be a rule alone (nftables' `numgen random`) and would need no queue. But its choices can't
//! be repeated from a seed and know no correlation, and it would drop at once what the kernel has put together
//! for the network card, up to 64 KiB that are forty packets on the wire.

use super::fate::Fates;
use super::kernel;
use super::netem::Netem;
use super::netlink::{Refusal, Socket};
use super::nfqueue::gate::{Gate, Refused};
use super::nfqueue::held::Did;
use super::nfqueue::mark::{self, Marks};
use super::nfqueue::{self, Queue};
use super::nft::rule::QueueWay;
use super::nft::tables::{Copies, Hit, Tables, table_name};
use super::nft::{self, Batch, Family};
use super::severing::Severing;
use super::shaper::{Edges, Shaper};
use super::sockets::Choice;
use super::turns::Schedule;
use super::wire::{Counters, Effect, Engine, Impairment, Kernel, Protocol};

/// Peers, exceptions and ports of one step together. Rules are walked one by one, for every packet.
const MAX_FILTER_ENTRIES: usize = 4_096;

/// What this agent works with.
#[derive(Debug)]
pub struct Means {
    /// The socket that owns our tables; nothing on a kernel without nfnetlink, where everything else goes on.
    nft: Option<Socket>,
    /// What the kernel can do.
    pub kernel: Kernel,
    /// The families that nftables has tables for.
    pub families: Vec<Family>,
    /// A queue number where nobody listens.
    pub nobody: Option<u16>,
    /// The interfaces that steps gave something to hang filters at.
    pub edges: Edges,
}

impl Means {
    /// Finds out.
    pub fn find(kernel: Kernel) -> Self {
        let nft = Socket::open(libc::NETLINK_NETFILTER).ok();
        let families = nft.as_ref().map(kernel::families).unwrap_or_default();
        let nobody = Socket::open(libc::NETLINK_NETFILTER)
            .ok()
            .filter(|_| kernel.nfqueue)
            .and_then(|socket| nfqueue::nobodys_number(&socket));
        Self { nft, kernel, families, nobody, edges: Edges::default() }
    }

    /// The socket that owns our tables.
    ///
    /// # Errors
    /// This kernel has no nfnetlink.
    pub fn nft(&self) -> Result<&Socket, Refusal> {
        let reason = || Some("no nfnetlink in this kernel".to_owned());
        self.nft.as_ref().ok_or_else(|| Refusal { errno: libc::EPROTONOSUPPORT, seq: 0, reason: reason() })
    }

    /// Carries out what stands in `batch`; with nothing in it that takes no nftables.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn commit(&self, batch: Batch) -> Result<(), Refusal> {
        if batch.is_empty() { Ok(()) } else { batch.commit(self.nft()?) }
    }

    fn queue_way(&self) -> Option<QueueWay> {
        if self.kernel.nft_queue {
            Some(QueueWay::Native)
        } else {
            self.kernel.xt_queue.then_some(QueueWay::Xtables)
        }
    }
}

/// One step.
#[derive(Debug)]
pub struct Step {
    /// The name of its tables.
    pub table: String,
    /// What was asked.
    pub impairment: Impairment,
    /// Its place among this agent's steps.
    pub place: u32,
    /// What carries it out.
    pub works: Works,
    /// How long after it was fired it undoes itself.
    pub deadline_ns: u64,
    /// When that is; nothing until it is fired.
    pub expires_ns: Option<u64>,
    /// When it is on and off; nothing if it is on all along.
    pub schedule: Option<Schedule>,
}

/// What carries a step out.
#[derive(Debug)]
pub enum Works {
    /// Rules alone.
    Rules(Hit),
    /// Rules that lead to a queue of ours.
    Queue(Hit, Queue),
    /// netem.
    Netem(Netem),
    /// A token bucket.
    Shaper(Shaper),
    /// The kernel's list of connections.
    Sever(Severing),
    /// Rules that lead what asks for a connection to our gate.
    Gate(Hit, Gate),
}

impl Step {
    /// A step as asked, not yet in the kernel but for what netem and queues need; `engines` that may carry
    /// out what one of several can are tried in order.
    pub fn make(
        means: &Means,
        tag: &str,
        impairment: &Impairment,
        engines: &[Engine],
        place: u32,
    ) -> Result<Self, String> {
        check_filter(impairment)?;
        let (effect, turns) = impairment.effect.turns();
        let works = match effect {
            Effect::Flaky(..) => return Err("a pattern of patterns is none".into()),
            Effect::Bandwidth(bandwidth) => {
                Shaper::stage(tag, place, impairment, bandwidth).map(Works::Shaper)?
            }
            Effect::Delay(_)
            | Effect::Loss(_)
            | Effect::Duplicate(_)
            | Effect::Corrupt(_)
            | Effect::Reorder(_) => chance_works(means, tag, impairment, engines, place)?,
            Effect::Sever(sever) => Severing::stage(impairment, sever).map(Works::Sever)?,
            Effect::Admit(admit) => gate_works(means, impairment, admit.most, place)?,
            Effect::Drop | Effect::Reset if !means.kernel.nft => return Err(NO_NFT.into()),
            Effect::Drop => Works::Rules(Hit::Drop { silent: means.queue_way().zip(means.nobody) }),
            Effect::Reset => Works::Rules(Hit::Reset),
        };
        let table = table_name(tag, impairment.step);
        let (impairment, schedule) = (impairment.clone(), turns.map(Schedule::new));
        Ok(Self { table, impairment, place, works, deadline_ns: 0, expires_ns: None, schedule })
    }

    /// Its tables; nothing for what has none.
    pub fn tables<'a>(&'a self, means: &'a Means) -> Option<Tables<'a>> {
        let hit = match &self.works {
            Works::Rules(hit) | Works::Queue(hit, _) | Works::Gate(hit, _) => *hit,
            Works::Netem(_) | Works::Shaper(_) | Works::Sever(_) => return None,
        };
        Some(Tables {
            name: &self.table,
            owner: means.kernel.nft_owner,
            place: self.place,
            filter: &self.impairment,
            hit,
            families: &means.families,
        })
    }

    /// What carries it out, in a word.
    pub const fn engine(&self) -> Engine {
        match self.works {
            Works::Rules(_) => Engine::Nft,
            Works::Queue(..) | Works::Gate(..) => Engine::Nfqueue,
            Works::Netem(_) => Engine::Netem,
            Works::Shaper(_) => Engine::Tbf,
            Works::Sever(_) => Engine::SockDiag,
        }
    }

    /// True if it holds packets that are lost when any hook is removed.
    pub const fn holds_in_queue(&self) -> bool {
        matches!(self.works, Works::Queue(..)) && self.expires_ns.is_some()
    }

    /// What it did so far; `did` is its queue's account, if that has been asked already.
    pub fn counters(&self, means: &Means, did: Option<Did>) -> Counters {
        let switched_on = self.schedule.as_ref().map(|schedule| schedule.switched_on);
        let counters = match &self.works {
            Works::Rules(_) => self.matched(means),
            Works::Queue(_, queue) => self.dealt_out(means, queue, did),
            Works::Sever(severing) => {
                Counters { counted: severing.counted().collect(), ..Counters::default() }
            }
            Works::Gate(_, gate) => Counters { counted: gate.counted().collect(), ..self.matched(means) },
            Works::Netem(netem) => {
                let counted = netem.counted().unwrap_or_default();
                // netem has one counter for what it was to drop and for what did not fit.
                let lossy = matches!(self.impairment.effect.turns().0, Effect::Loss(_));
                Counters {
                    matched_packets: counted.packets,
                    matched_bytes: counted.bytes,
                    dropped_packets: lossy.then_some(counted.lost),
                    lost_packets: (!lossy).then_some(counted.lost),
                    ..Counters::default()
                }
            }
            Works::Shaper(shaper) => {
                let counted = shaper.counted().unwrap_or_default();
                let named = [("waits", counted.waited), ("full_packets", counted.full)];
                Counters {
                    matched_packets: counted.packets,
                    matched_bytes: counted.bytes,
                    counted: named.map(|(name, count)| (name.to_owned(), count)).into(),
                    ..Counters::default()
                }
            }
        };
        Counters { switched_on, ..counters }
    }

    fn matched(&self, means: &Means) -> Counters {
        let matched = means.nft().and_then(|nft| nft::read(nft, &self.table)).unwrap_or_default();
        let drops = *self.impairment.effect.turns().0 == Effect::Drop;
        Counters {
            matched_packets: matched.packets,
            matched_bytes: matched.bytes,
            dropped_packets: drops.then_some(matched.packets),
            ..Counters::default()
        }
    }

    fn dealt_out(&self, means: &Means, queue: &Queue, did: Option<Did>) -> Counters {
        let matched = means.nft().and_then(|nft| nft::read(nft, &self.table)).unwrap_or_default();
        let mut counters = Counters {
            matched_packets: matched.packets,
            matched_bytes: matched.bytes,
            ..Counters::default()
        };
        // Asked after the rules were: what they had counted by then has come in by now.
        let Some(did) = did.or_else(|| queue.report()) else { return counters };
        let let_through = matched.packets.saturating_sub(did.received);
        counters.overflowed_packets = Some(did.overflowed + let_through);
        counters.lost_packets = Some(did.lost);
        // A rule counts once what the queue then takes apart.
        counters.matched_packets = matched.packets.max(did.received);
        match self.impairment.effect.turns().0 {
            Effect::Loss(_) => counters.dropped_packets = Some(did.dropped),
            Effect::Duplicate(_) => counters.duplicated_packets = Some(matched.copied),
            Effect::Corrupt(_) => counters.corrupted_packets = Some(did.corrupted),
            effect => {
                let reorders = matches!(effect, Effect::Reorder(_));
                counters.reordered_packets = reorders.then_some(did.reordered);
                counters.delayed_packets = Some(did.delayed);
                counters.delay_ms = Some(did.delay_ms).filter(|delays| !delays.is_empty());
            }
        }
        counters
    }
}

const NO_NFT: &str = "this kernel has no nftables (CONFIG_NF_TABLES)";

/// What holds packets, or leaves to chance what becomes of them.
fn chance_works(
    means: &Means,
    tag: &str,
    impairment: &Impairment,
    engines: &[Engine],
    place: u32,
) -> Result<Works, String> {
    let mut reasons = Vec::new();
    for engine in engines {
        let works = match engine {
            Engine::Netem => Netem::stage(tag, impairment).map(Works::Netem),
            Engine::Nfqueue => queue_works(means, impairment.effect.turns().0, place),
            Engine::Nft
            | Engine::Tbf
            | Engine::SockDiag
            | Engine::Docker
            | Engine::Agent
            | Engine::Cgroup
            | Engine::Vdso
            | Engine::Host => Err(format!("engine `{}` can't do that", engine.word())),
        };
        match works {
            Ok(works) => return Ok(works),
            Err(why) => reasons.push(why),
        }
    }
    Err(reasons.join("; and "))
}

const NO_QUEUES: &str = "this kernel has no packet queues (CONFIG_NETFILTER_NETLINK_QUEUE, and one of CONFIG_NFT_QUEUE \
                         and CONFIG_NETFILTER_XT_TARGET_NFQUEUE with CONFIG_NFT_COMPAT)";

/// A gate for new connections.
fn gate_works(means: &Means, impairment: &Impairment, most: u32, place: u32) -> Result<Works, String> {
    if !means.kernel.nft {
        return Err(NO_NFT.into());
    }
    let way = means.queue_way().filter(|_| means.kernel.nfqueue).ok_or(NO_QUEUES)?;
    if !means.kernel.sock_diag {
        return Err("this kernel lists no connections (CONFIG_INET_DIAG)".into());
    }
    let refused = Refused { mask: mark::MASK, bits: Marks::requested(place) };
    let gate = Gate::bind(Choice::of(impairment), most, refused)
        .map_err(|error| format!("could not bind a packet queue: {error}"))?;
    Ok(Works::Gate(Hit::Gate { way, number: gate.number() }, gate))
}

fn queue_works(means: &Means, effect: &Effect, place: u32) -> Result<Works, String> {
    if !means.kernel.nft {
        return Err(NO_NFT.into());
    }
    let nft = means.nft().map_err(|_| NO_NFT)?;
    let way = means.queue_way().filter(|_| means.kernel.nfqueue).ok_or(NO_QUEUES)?;
    let fates = Fates::new(effect).ok_or("there is nothing to decide")?;
    let marks = match effect {
        Effect::Duplicate(_) if !kernel::can_copy(nft, &means.families) => {
            return Err(
                "this kernel can't send packets twice (CONFIG_NFT_DUP_IPV4, CONFIG_NFT_DUP_IPV6)".into()
            );
        }
        Effect::Duplicate(_) => {
            let mtu = kernel::least_mtu().ok_or("could not list the interfaces")?;
            Some(Marks::new(place, mtu))
        }
        _ => None,
    };
    // What goes on at once need not be taken from its socket first.
    let holds = matches!(effect, Effect::Delay(_) | Effect::Reorder(_));
    let disown =
        means.nobody.filter(|_| holds).and_then(|nobody| kernel::disown(nft, &means.families, way, nobody));
    let copies = if marks.is_some() { Copies::ByMark } else { Copies::None };
    let queue =
        Queue::bind(fates, marks).map_err(|error| format!("could not bind a packet queue: {error}"))?;
    let tracked = kernel::has_rules(nft);
    Ok(Works::Queue(Hit::Queue { way, number: queue.number(), disown, copies, tracked }, queue))
}

/// Refuses what no packet can match, and what would slow every packet down.
fn check_filter(impairment: &Impairment) -> Result<(), String> {
    if impairment.protocol == Some(Protocol::Icmp) && !impairment.ports.is_empty() {
        return Err("ICMP has no ports".into());
    }
    let entries = impairment.peers.len() + impairment.except.len() + impairment.ports.len();
    if entries > MAX_FILTER_ENTRIES {
        return Err(format!("{entries} peers, exceptions and ports; {MAX_FILTER_ENTRIES} at most"));
    }
    for net in impairment.peers.iter().chain(&impairment.except) {
        let most = if net.addr.is_ipv4() { 32 } else { 128 };
        if net.prefix > most {
            return Err(format!("{}/{} is no network", net.addr, net.prefix));
        }
    }
    Ok(())
}
