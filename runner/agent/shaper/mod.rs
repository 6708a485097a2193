//! The bandwidth engine: the kernel's token bucket (`tbf`) lets so many bits a second go on.
//!
//! Packets that match are redirected, on their way out or in, to an ifb device of ours whose queueing discipline
//! is the bucket; from there they go on where they left off. So nobody's queueing discipline is replaced, all
//! interfaces share one limit, and each direction has its own. Next to the wire: packets leaving have been
//! through the other engines before, packets entering get to them after.
//!
//! In the kernel, ours are: the ifbs, named after tag and step; one filter for each interface and direction; and
//! the `clsact` that it hangs at, where there was none. An agent that comes after a dead one must know which:
//! filters at a `clsact` of our own have other priorities than filters at somebody else's. Start at
//! [`Shaper::stage`].

mod matching;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use super::links::{self, Link};
use super::netem::tc::{
    CLSACT_PARENT, CREATE, Edge, Qdisc, ROOT, TCA_KIND, TCA_OPTIONS, add_clsact, make_ifb, qdiscs,
    remove_clsact, remove_device, tcmsg,
};
use super::netlink::{Message, Refusal, Socket, attr, attrs, text_of, u32_at};
use super::wire::{Bandwidth, Direction, Impairment, Room};
use crate::clock::mono_ns;
use matching::{Way, program};

/// Priorities of filters at a `clsact` of our own; a step's place is added. Late, so that others come first.
const OWN_PRIORITY: u32 = 0xc200;
/// Priorities of filters at somebody else's.
const SHARED_PRIORITY: u32 = 0xc300;
/// More than a step's place can be.
const PLACES: u32 = 0x100;
/// The bucket's handle on our ifbs.
const HANDLE: u32 = 0xc0a1_0000;
/// What an Ethernet header adds to an interface's largest packet.
const ETHERNET_BYTES: u32 = 14;
/// The bucket holds this much time of the rate at least: what a timer that is late by as much can make up for. On a
/// machine whose cores are all busy the kernel's own work waits its turn for milliseconds; with 2 ms a path of 100 Mbit/s
/// came to 68 to 100 there. A tick of the slowest kernels, as tc's manual has it.
const LEAST_BURST_NS: u64 = 10_000_000;
/// The queue holds this many of the largest packets at least, or a slow rate would lose nearly all of them.
const LEAST_PACKETS: u64 = 4;
/// Fast enough to let everything go at once when a step is undone, in bytes a second.
const AT_ONCE_BYTES_PER_S: u64 = 10_000_000_000;
/// How long packets that wait when a step is undone may take to leave; then they are dropped.
const DRAIN: Duration = Duration::from_secs(1);
/// How often it is looked whether they have left.
const DRAIN_LOOK: Duration = Duration::from_millis(2);

/// The interfaces that this agent gave their `clsact`.
#[derive(Debug, Default)]
pub struct Edges(RefCell<BTreeSet<u32>>);

/// What a bucket counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets that came in.
    pub packets: u64,
    /// Bytes of them, headers included.
    pub bytes: u64,
    /// Packets held now.
    pub held: u64,
    /// Packets dropped because the queue was full.
    pub full: u64,
    /// How often a packet had to wait for its turn.
    pub waited: u64,
}

/// One step in the bucket's hands.
#[derive(Debug)]
pub struct Shaper {
    socket: Socket,
    place: u32,
    interfaces: Vec<u32>,
    lanes: Vec<Lane>,
    bandwidth: Bandwidth,
    /// The largest packet of any interface, with its Ethernet header.
    largest_bytes: u32,
}

/// One direction.
#[derive(Debug)]
struct Lane {
    edge: Edge,
    device: String,
    index: u32,
    program: Vec<matching::Instruction>,
}

/// The name of the ifb for a step's direction: 15 characters at most, with a tag of 12.
fn device_name(tag: &str, place: u32, edge: Edge) -> String {
    let way = if edge == Edge::Leaving { 'o' } else { 'i' };
    // Two digits to the base 36 hold every place.
    let digit = |value: u32| char::from_digit(value % 36, 36).unwrap_or('0');
    let name: String = ['b', digit(place), way].into_iter().collect();
    format!("{name}{tag}")
}

impl Shaper {
    /// Makes the ifbs and their buckets for `impairment`, which then waits for [`Shaper::fire`]. Says why where it
    /// can't be done; nothing is left then.
    pub fn stage(
        tag: &str,
        place: u32,
        impairment: &Impairment,
        bandwidth: &Bandwidth,
    ) -> Result<Self, String> {
        let said = |what: &'static str| move |refusal: Refusal| format!("{what}: {refusal}");
        if bandwidth.bits_per_s < 8 {
            return Err("a bandwidth is at least one byte a second".into());
        }
        let socket = Socket::open(libc::NETLINK_ROUTE).map_err(|error| error.to_string())?;
        let links = links::list(&socket).map_err(said("could not list the interfaces"))?;
        let targets: Vec<&Link> = links.iter().filter(|link| !link.loopback && link.kind != "ifb").collect();
        if let Some(link) = targets.iter().find(|link| link.stacked) {
            let name = &link.name;
            return Err(format!(
                "packets would wait twice, as {name} is not the only interface on their way"
            ));
        }
        let mut staged = Self {
            place,
            interfaces: targets.iter().map(|link| link.index).collect(),
            lanes: Vec::new(),
            bandwidth: *bandwidth,
            largest_bytes: targets.iter().map(|link| link.mtu).max().unwrap_or(1_500) + ETHERNET_BYTES,
            socket,
        };
        for (edge, way) in edges(impairment.direction) {
            let program = program(impairment, *way)
                .ok_or("the filter names more peers and ports than the kernel's packet filter takes")?;
            let device = device_name(tag, place, *edge);
            if let Err(refusal) = make_ifb(&staged.socket, &device) {
                staged.remove();
                return Err(said("could not make an ifb device")(refusal));
            }
            let links = links::list(&staged.socket).unwrap_or_default();
            let index = links.iter().find(|link| link.name == device).map_or(0, |link| link.index);
            staged.lanes.push(Lane { edge: *edge, device, index, program });
            let bytes_per_s = bandwidth.bits_per_s / 8;
            if let Err(refusal) = staged.set_rate(index, CREATE, bytes_per_s) {
                staged.remove();
                return Err(said("could not set a token bucket up (CONFIG_NET_SCH_TBF)")(refusal));
            }
        }
        Ok(staged)
    }

    /// Makes the bucket of a device, or changes its rate.
    fn set_rate(&self, device: u32, flags: u16, bytes_per_s: u64) -> Result<(), Refusal> {
        const PARMS: u16 = 1;
        const RATE64: u16 = 4;
        const BURST: u16 = 6;
        const ETHERNET: u8 = 1;
        let burst = self.burst_bytes();
        let mut message = Message::new();
        message.push(libc::RTM_NEWQDISC, flags, &tcmsg(device, HANDLE, ROOT, 0), |m| {
            m.text(TCA_KIND, "tbf");
            m.nest(TCA_OPTIONS, |m| {
                // struct tc_tbf_qopt: two struct tc_ratespec, the second unused, then limit, buffer, mtu.
                let mut parms = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
                parms.extend_from_slice(&u32::try_from(bytes_per_s).unwrap_or(u32::MAX).to_ne_bytes());
                parms.extend_from_slice(&[0; 12]);
                for field in [self.limit_bytes(), burst, 0] {
                    parms.extend_from_slice(&field.to_ne_bytes());
                }
                m.attr(PARMS, &parms);
                m.attr(RATE64, &bytes_per_s.to_ne_bytes());
                m.ne32(BURST, burst);
            });
        });
        message.acknowledge_last();
        self.socket.transact(&message)
    }

    /// How much may go on at once: what was asked, but never less than a whole packet.
    fn burst_bytes(&self) -> u32 {
        let least = self.least_burst_bytes();
        self.bandwidth
            .burst_bytes
            .map_or(least, |asked| u32::try_from(asked).unwrap_or(u32::MAX).max(self.largest_bytes))
    }

    fn least_burst_bytes(&self) -> u32 {
        let timely = u128::from(self.bandwidth.bits_per_s / 8) * u128::from(LEAST_BURST_NS) / 1_000_000_000;
        u32::try_from(timely).unwrap_or(u32::MAX).max(2 * self.largest_bytes)
    }

    /// How much may wait, in bytes.
    fn limit_bytes(&self) -> u32 {
        let waiting = match self.bandwidth.queue {
            Room::Bytes(bytes) => bytes,
            Room::Time(ns) => {
                let bytes = u128::from(self.bandwidth.bits_per_s / 8) * u128::from(ns) / 1_000_000_000;
                u64::try_from(bytes).unwrap_or(u64::MAX)
            }
        };
        let least = LEAST_PACKETS * u64::from(self.largest_bytes);
        u32::try_from(waiting.max(least)).unwrap_or(u32::MAX)
    }

    /// Puts it into effect on every interface. If that fails it is taken back.
    pub fn fire(&self, edges: &Edges) -> Result<(), Refusal> {
        let fired = self.attach(edges);
        if fired.is_err() {
            self.detach(edges);
        }
        fired
    }

    fn attach(&self, edges: &Edges) -> Result<(), Refusal> {
        let there = qdiscs(&self.socket)?;
        let mut fire = Message::new();
        let mut made = edges.0.borrow_mut();
        for interface in &self.interfaces {
            let has_clsact = there.iter().any(|q| q.interface == *interface && q.parent == CLSACT_PARENT);
            if !has_clsact {
                add_clsact(&mut fire, *interface);
                made.insert(*interface);
            }
            let first = if made.contains(interface) { OWN_PRIORITY } else { SHARED_PRIORITY };
            for lane in &self.lanes {
                add_filter(&mut fire, *interface, first + self.place, lane);
            }
        }
        if fire.is_empty() {
            return Ok(());
        }
        fire.acknowledge_last();
        self.socket.transact(&fire)
    }

    /// Takes packets off their way to the ifbs.
    pub fn detach(&self, edges: &Edges) {
        let mut made = edges.0.borrow_mut();
        for interface in &self.interfaces {
            let filters = filters_at(&self.socket, *interface).unwrap_or_default();
            let ours = |filter: &&Listed| self.is_ours(filter);
            // What is gone already can't be removed; what stays shows when it is looked for.
            if made.contains(interface) && filters.iter().all(|filter| ours(&filter)) {
                let _ = remove_clsact(&self.socket, *interface);
                made.remove(interface);
            } else {
                filters.iter().filter(ours).for_each(|filter| {
                    let _ = remove_filter(&self.socket, *interface, filter);
                });
            }
        }
    }

    fn is_ours(&self, filter: &Listed) -> bool {
        let priority = filter.info >> 16;
        [OWN_PRIORITY + self.place, SHARED_PRIORITY + self.place].contains(&priority)
    }

    /// Lets what waits go at once, and waits for a bounded time until it has.
    pub fn drain(&self) {
        for lane in &self.lanes {
            // A bucket that can't be changed empties at its own rate.
            let _ = self.set_rate(lane.index, 0, AT_ONCE_BYTES_PER_S);
        }
        let began_ns = mono_ns();
        while self.counted().is_some_and(|counted| counted.held > 0)
            && Duration::from_nanos(mono_ns() - began_ns) < DRAIN
        {
            std::thread::sleep(DRAIN_LOOK);
        }
    }

    /// Removes the ifbs with everything in them.
    pub fn remove(&self) {
        for lane in &self.lanes {
            // As above: what stays shows when it is looked for.
            let _ = remove_device(&self.socket, lane.index);
        }
    }

    /// True if a look finds neither ifbs nor filters of this step.
    pub fn is_gone(&self) -> bool {
        let Ok(links) = links::list(&self.socket) else { return false };
        let device = |link: &Link| self.lanes.iter().any(|lane| lane.device == link.name);
        let filtered = |interface: &u32| {
            filters_at(&self.socket, *interface)
                .is_ok_and(|filters| filters.iter().any(|one| self.is_ours(one)))
        };
        !links.iter().any(device) && !self.interfaces.iter().any(filtered)
    }

    /// What the buckets counted so far, both directions together; nothing if they are gone.
    pub fn counted(&self) -> Option<Counted> {
        let qdiscs = qdiscs(&self.socket).ok()?;
        let ours = |q: &&Qdisc| q.handle == HANDLE && self.lanes.iter().any(|lane| lane.index == q.interface);
        qdiscs.iter().filter(ours).map(|q| &q.counted).fold(None, |sum: Option<Counted>, one| {
            let sum = sum.unwrap_or_default();
            Some(Counted {
                packets: sum.packets + one.packets,
                bytes: sum.bytes + one.bytes,
                held: sum.held + one.held,
                full: sum.full + one.lost,
                waited: sum.waited + one.waited,
            })
        })
    }
}

const fn edges(direction: Direction) -> &'static [(Edge, Way)] {
    const BOTH: [(Edge, Way); 2] = [(Edge::Leaving, Way::Leaving), (Edge::Entering, Way::Entering)];
    match direction {
        Direction::Egress => BOTH.split_at(1).0,
        Direction::Ingress => BOTH.split_at(1).1,
        Direction::Both => &BOTH,
    }
}

const BPF_ACT: u16 = 1;
const ACT_OPTIONS: u16 = 2;
const MIRRED_PARMS: u16 = 2;

fn add_filter(message: &mut Message, interface: u32, priority: u32, lane: &Lane) {
    const ACT_KIND: u16 = 1;
    const STOLEN: u32 = 4;
    const EGRESS_REDIR: u32 = 1;
    let info = priority << 16 | u32::from((libc::ETH_P_ALL as u16).to_be());
    message.push(libc::RTM_NEWTFILTER, CREATE, &tcmsg(interface, 0, lane.edge as u32, info), |m| {
        m.text(TCA_KIND, "bpf");
        m.nest(TCA_OPTIONS, |m| {
            m.nest(BPF_ACT, |m| {
                m.nest(1, |m| {
                    m.text(ACT_KIND, "mirred");
                    m.nest(ACT_OPTIONS, |m| {
                        // struct tc_mirred: index, capab, action, refcnt, bindcnt, eaction, ifindex.
                        let fields = [0, 0, STOLEN, 0, 0, EGRESS_REDIR, lane.index];
                        let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_ne_bytes()).collect();
                        m.attr(MIRRED_PARMS, &bytes);
                    });
                });
            });
            matching::add(m, &lane.program);
        });
    });
}

/// A filter at an interface's edge, as listed.
struct Listed {
    parent: u32,
    /// Priority and protocol.
    info: u32,
    /// The interface it leads to, if it is a program of the packet filter that leads to one.
    leads_to: Option<u32>,
}

fn filters_at(socket: &Socket, interface: u32) -> Result<Vec<Listed>, Refusal> {
    /// Where the interface stands in struct tc_mirred.
    const MIRRED_TO_AT: usize = 24;
    let mut found = Vec::new();
    for edge in [Edge::Leaving, Edge::Entering] {
        let mut request = Message::new();
        request.push(
            libc::RTM_GETTFILTER,
            libc::NLM_F_DUMP as u16,
            &tcmsg(interface, 0, edge as u32, 0),
            |_| {},
        );
        socket.dump(&request, |message| {
            let body = message.payload.get(20..).unwrap_or_default();
            let is_program = attr(body, TCA_KIND).map(text_of).as_deref() == Some("bpf");
            let leads_to = attr(body, TCA_OPTIONS)
                .filter(|_| is_program)
                .and_then(|options| attr(options, BPF_ACT))
                .and_then(|actions| attrs(actions).next())
                .and_then(|(_, action)| attr(action, ACT_OPTIONS))
                .and_then(|options| attr(options, MIRRED_PARMS))
                .and_then(|parms| u32_at(parms, MIRRED_TO_AT));
            let info = u32_at(message.payload, 16).unwrap_or_default();
            found.push(Listed { parent: edge as u32, info, leads_to });
        })?;
    }
    Ok(found)
}

fn remove_filter(socket: &Socket, interface: u32, filter: &Listed) -> Result<(), Refusal> {
    let mut message = Message::new();
    message.push(libc::RTM_DELTFILTER, 0, &tcmsg(interface, 0, filter.parent, filter.info), |_| {});
    message.acknowledge_last();
    match socket.transact(&message) {
        // A filter is listed once for its priority and once for itself.
        Err(refusal) if refusal.errno == libc::ENOENT => Ok(()),
        done => done,
    }
}

/// Removes what a dead agent with this tag left in this namespace. How many things; zero is no error.
pub fn purge(tag: &str) -> Result<u32, Refusal> {
    let Ok(socket) = Socket::open(libc::NETLINK_ROUTE) else { return Ok(0) };
    let is_ours = |link: &&Link| {
        link.kind == "ifb"
            && link.name.strip_suffix(tag).is_some_and(|rest| rest.len() == 3 && rest.starts_with('b'))
    };
    let links = links::list(&socket)?;
    let devices: Vec<u32> = links.iter().filter(is_ours).map(|link| link.index).collect();
    if devices.is_empty() {
        return Ok(0);
    }
    let mut removed = 0;
    for qdisc in qdiscs(&socket)?.iter().filter(|qdisc| qdisc.parent == CLSACT_PARENT) {
        let filters = filters_at(&socket, qdisc.interface)?;
        let own = |one: &Listed| (OWN_PRIORITY..OWN_PRIORITY + PLACES).contains(&(one.info >> 16));
        let shared = |one: &Listed| (SHARED_PRIORITY..SHARED_PRIORITY + PLACES).contains(&(one.info >> 16));
        let leads = |one: &Listed| one.leads_to.is_some_and(|to| devices.contains(&to));
        // A listing names a priority once without what hangs there.
        let infos: BTreeSet<(u32, u32)> = filters
            .iter()
            .filter(|one| leads(one) && (own(one) || shared(one)))
            .map(|one| (one.parent, one.info))
            .collect();
        let ours = |one: &Listed| infos.contains(&(one.parent, one.info));
        if infos.is_empty() {
            continue;
        }
        if filters.iter().all(|one| ours(one) && own(one)) {
            remove_clsact(&socket, qdisc.interface)?;
            removed += 1;
        } else {
            for filter in filters.iter().filter(|one| ours(one)) {
                remove_filter(&socket, qdisc.interface, filter)?;
            }
            removed += infos.len() as u32;
        }
    }
    for device in &devices {
        remove_device(&socket, *device)?;
    }
    Ok(removed + devices.len() as u32)
}
