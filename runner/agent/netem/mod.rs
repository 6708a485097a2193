//! The netem engine: the kernel's own network emulator holds the packets.
//!
//! Packets that match are redirected, on their way out or in, to an ifb device of ours whose queueing
//! discipline is netem; from there they go on where they left off. Compared with netem at an interface's root
//! this delays both directions, touches only packets that match, and never replaces a queueing discipline
//! that is in use, ours or anybody's. What can't be had this way (a foreign filter in the same place,
//! interfaces on top of each other, thousands of filter entries) is left to the other engine.
//!
//! In the kernel, ours are: the ifb, named after the tag, and the `clsact` of each interface, made by us
//! because there was none, with filters that lead to that ifb. Start at [`Netem::stage`].

mod filter;
mod options;
pub(super) mod tc;

use std::time::Duration;

use super::links::{self, Link};
use super::netlink::{Message, Refusal, Socket};
use super::wire::{Direction, Effect, Impairment};
use crate::clock::mono_ns;
use filter::{FIRST_PRIORITY, add_filter, drop_filter, edge_filters, filters, remove_filter};
use options::netem_options;
pub use tc::Counted;
use tc::{
    CLSACT_PARENT, CREATE, Edge, Qdisc, ROOT, TCA_KIND, TCA_OPTIONS, add_clsact, make_ifb, qdiscs,
    remove_clsact, remove_device, tcmsg,
};

/// Filters of one step and interface; each packet is compared with one after another.
const MAX_FILTERS: usize = 256;
/// How long packets that are held when a step is undone may take to leave; then they are dropped.
const DRAIN: Duration = Duration::from_secs(1);
/// How often it is looked whether they have left.
const DRAIN_LOOK: Duration = Duration::from_millis(2);

/// netem's handle on our ifb.
const NETEM_HANDLE: u32 = 0xc0a0_0000;

/// One step in netem's hands.
#[derive(Debug)]
pub struct Netem {
    socket: Socket,
    device: String,
    device_index: u32,
    interfaces: Vec<u32>,
    /// Everything that puts it into effect.
    fire: Message,
    /// The filters alone, and their removal, where it is on and off in turns.
    resume: Message,
    suspend: Message,
}

/// The name of a run's ifb.
fn device_name(tag: &str) -> String {
    format!("cx{tag}")
}

impl Netem {
    /// Makes the ifb and all messages for `impairment`, which then waits for [`Netem::fire`]. Says why where
    /// netem can't do it; nothing is left then.
    pub fn stage(tag: &str, impairment: &Impairment) -> Result<Self, String> {
        let said = |what: &'static str| move |refusal: Refusal| format!("{what}: {refusal}");
        let socket = Socket::open(libc::NETLINK_ROUTE).map_err(|error| error.to_string())?;
        let interfaces = interfaces(&socket)?;
        let filters = filters(impairment);
        if filters.len() > MAX_FILTERS {
            return Err(format!("netem takes {MAX_FILTERS} filters at most, this needs {}", filters.len()));
        }
        let device = device_name(tag);
        make_ifb(&socket, &device).map_err(said("could not make an ifb device"))?;
        let links = links::list(&socket).map_err(said("could not list the interfaces"))?;
        let device_index = links.iter().find(|link| link.name == device).map_or(0, |link| link.index);
        let (mut fire, mut resume, mut suspend) = (Message::new(), Message::new(), Message::new());
        for interface in &interfaces {
            add_clsact(&mut fire, *interface);
            for edge in edges(impairment.direction) {
                for (priority, filter) in (FIRST_PRIORITY..).zip(&filters) {
                    for message in [&mut fire, &mut resume] {
                        add_filter(message, *interface, *edge, priority, filter, device_index);
                    }
                    drop_filter(&mut suspend, *interface, *edge, priority, filter);
                }
            }
        }
        for message in [&mut fire, &mut resume, &mut suspend] {
            message.acknowledge_last();
        }
        let staged = Self { socket, device, device_index, interfaces, fire, resume, suspend };
        if let Err(refusal) = staged.add_netem(impairment.effect.turns().0) {
            staged.remove();
            return Err(said("could not set netem up")(refusal));
        }
        Ok(staged)
    }

    fn add_netem(&self, effect: &Effect) -> Result<(), Refusal> {
        let mut message = Message::new();
        message.push(libc::RTM_NEWQDISC, CREATE, &tcmsg(self.device_index, NETEM_HANDLE, ROOT, 0), |m| {
            m.text(TCA_KIND, "netem");
            m.nest(TCA_OPTIONS, |m| netem_options(m, effect));
        });
        message.acknowledge_last();
        self.socket.transact(&message)
    }

    /// Puts it into effect on every interface. If that fails it is taken back.
    pub fn fire(&self) -> Result<(), Refusal> {
        let fired = self.socket.transact(&self.fire);
        if fired.is_err() {
            self.detach();
        }
        fired
    }

    /// Leads packets to the ifb again.
    pub fn resume(&self) -> Result<(), Refusal> {
        self.socket.transact(&self.resume)
    }

    /// Leads no more packets to the ifb for a while. The edges stay ours meanwhile, as nobody else's filters could
    /// be told from ours if they went.
    pub fn suspend(&self) -> Result<(), Refusal> {
        self.socket.transact(&self.suspend)
    }

    /// Takes packets off their way to the ifb. Those that are held go on when their time comes.
    pub fn detach(&self) {
        for interface in &self.interfaces {
            // What is gone already can't be removed; what stays shows when it is looked for.
            let _ = remove_clsact(&self.socket, *interface);
        }
    }

    /// Waits, for a bounded time, until no packet is held.
    pub fn drain(&self) {
        let began_ns = mono_ns();
        while self.counted().is_some_and(|counted| counted.held > 0)
            && Duration::from_nanos(mono_ns() - began_ns) < DRAIN
        {
            std::thread::sleep(DRAIN_LOOK);
        }
    }

    /// Removes the ifb with everything in it.
    pub fn remove(&self) {
        // As above: what stays shows when it is looked for.
        let _ = remove_device(&self.socket, self.device_index);
    }

    /// True if a look finds neither the ifb nor a `clsact` where we put one.
    pub fn is_gone(&self) -> bool {
        let device =
            links::list(&self.socket).map_or(true, |links| links.iter().any(|link| link.name == self.device));
        let edges = qdiscs(&self.socket).map_or(true, |qdiscs| {
            qdiscs.iter().any(|q| q.parent == CLSACT_PARENT && self.interfaces.contains(&q.interface))
        });
        !device && !edges
    }

    /// What netem counted so far; nothing if it is gone.
    pub fn counted(&self) -> Option<Counted> {
        let qdiscs = qdiscs(&self.socket).ok()?;
        let ours = |q: &&Qdisc| q.interface == self.device_index && q.handle == NETEM_HANDLE;
        qdiscs.iter().find(ours).map(|qdisc| qdisc.counted)
    }
}

/// Removes what a dead agent with this tag left in this namespace. How many things; zero is no error.
pub fn purge(tag: &str) -> Result<u32, Refusal> {
    let Ok(socket) = Socket::open(libc::NETLINK_ROUTE) else { return Ok(0) };
    let links = links::list(&socket)?;
    let name = device_name(tag);
    let Some(device) = links.iter().find(|link| link.name == name && link.kind == "ifb") else {
        return Ok(0);
    };
    let mut removed = 0;
    for qdisc in qdiscs(&socket)?.iter().filter(|qdisc| qdisc.parent == CLSACT_PARENT) {
        let filters = edge_filters(&socket, qdisc.interface)?;
        let lead_to_it = filters.iter().any(|filter| filter.leads_to == Some(device.index));
        if !lead_to_it {
            continue;
        }
        if filters.iter().all(|filter| filter.priority >= FIRST_PRIORITY) {
            remove_clsact(&socket, qdisc.interface)?;
            removed += 1;
        } else {
            // Somebody else has come to use what we made: our filters go, the rest stays.
            for filter in filters.iter().filter(|filter| filter.priority >= FIRST_PRIORITY) {
                remove_filter(&socket, qdisc.interface, filter)?;
                removed += 1;
            }
        }
    }
    remove_device(&socket, device.index)?;
    Ok(removed + 1)
}

/// Every interface whose packets are to be impaired; an error where netem can't do it simply.
fn interfaces(socket: &Socket) -> Result<Vec<u32>, String> {
    let links = links::list(socket).map_err(|refusal| format!("could not list the interfaces: {refusal}"))?;
    let targets: Vec<&Link> = links.iter().filter(|link| !link.loopback && link.kind != "ifb").collect();
    if let Some(link) = targets.iter().find(|link| link.stacked) {
        return Err(format!(
            "packets would pass netem twice, as {} is not the only interface on their way",
            link.name
        ));
    }
    let qdiscs = qdiscs(socket).map_err(|refusal| format!("could not list the qdiscs: {refusal}"))?;
    for link in &targets {
        if qdiscs.iter().any(|q| q.interface == link.index && q.parent == CLSACT_PARENT) {
            return Err(format!("{} has packet filters of somebody else's", link.name));
        }
    }
    Ok(targets.iter().map(|link| link.index).collect())
}

const fn edges(direction: Direction) -> &'static [Edge] {
    match direction {
        Direction::Egress => &[Edge::Leaving],
        Direction::Ingress => &[Edge::Entering],
        Direction::Both => &[Edge::Leaving, Edge::Entering],
    }
}
