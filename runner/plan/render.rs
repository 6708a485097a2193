//! The plan as text for people: what `chaos plan` prints.

use std::fmt::{self, Write as _};

use super::{FaultPlan, LoadPlan, Plan};
use crate::agent::wire::{Chance, Delay, Direction, Effect, Loss};
use crate::fault::step::{AfterBeat, Beat, Op, Packets, Peer};
use crate::spec::BitRate;
use crate::spec::{Allowed, FindRate, NoData, Probe, When};
use crate::units::{Duration, Ratio};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "experiment  {}", self.experiment)?;
        if let Some(why) = &self.why {
            writeln!(f, "why         {why}")?;
        }
        writeln!(f, "seed        {}", self.seed)?;
        if let Some(lab) = &self.lab {
            writeln!(f, "lab         {}", lab.word())?;
        }
        section(
            f,
            "targets",
            self.targets.iter().map(|(name, chosen)| format!("{name}: {}", chosen.join(", "))),
        )?;
        section(
            f,
            "hit at worst",
            self.shares.iter().map(|share| format!("{}: {} of {}", share.service, share.hit, share.of)),
        )?;
        section(
            f,
            "load",
            self.loads.iter().map(|load| {
                format!("{}: {}, {} kinds of request", load.name, model(load), load.load.requests.len())
            }),
        )?;
        section(
            f,
            "slos",
            self.slos.iter().map(|(name, slo)| format!("{name}: {}, {}", slo.objective.value, slo.sli)),
        )?;
        section(f, "steady state", self.steady_state.iter().map(ToString::to_string))?;
        section(f, "probes", self.probes.iter().map(|(name, probe)| probe_text(name, probe)))?;
        writeln!(f, "\nphases")?;
        for phase in &self.phases {
            let end = if phase.until_steady { "at most, until steady" } else { "" };
            writeln!(f, "  {} +{} {} {end}", phase.name, phase.starts, phase.longest)?;
            if let Some(search) = &phase.find_rate {
                let FindRate { load, from, to, .. } = search;
                writeln!(
                    f,
                    "    searches the highest rate of {} from {} to {}",
                    load.value, from.value, to.value
                )?;
                for check in search.holds.iter() {
                    writeln!(f, "      holds {}", check.value)?;
                }
            }
            for index in &phase.faults {
                f.write_str(&fault_text(&self.faults[*index]))?;
            }
            match self.expect.get(&phase.name) {
                Some(checks) => {
                    for check in checks {
                        writeln!(f, "    expects {}", check.value)?;
                    }
                }
                None if !phase.faults.is_empty() && phase.find_rate.is_none() => {
                    writeln!(f, "    expects the steady state")?
                }
                None => {}
            }
        }
        section(f, "abort when", self.abort.iter().map(ToString::to_string))?;
        section(f, "notes", self.notes.iter().cloned())
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, lines: impl Iterator<Item = String>) -> fmt::Result {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        writeln!(f, "\n{title}")?;
    }
    lines.try_for_each(|line| writeln!(f, "  {line}"))
}

/// `orders (every 1s during outage, 2 may fail): http GET …`.
fn probe_text(name: &str, probe: &Probe) -> String {
    let asking = probe.asking();
    let when = match (&asking.during, asking.when()) {
        (Some(phase), _) => format!("every {} during {}", asking.every.value, phase.value),
        (None, When::Continuous) => format!("every {}", asking.every.value),
        (None, When::Edge) => "before and after".to_owned(),
        (None, when) => when.word().to_owned(),
    };
    let allowed = match asking.allowed_failures.value {
        Allowed::Count(0) => String::new(),
        allowed => format!(", {allowed} may fail"),
    };
    let no_data = match asking.no_data.value {
        NoData::Invalid => "",
        NoData::Ignore => ", no data ignored",
        NoData::Fails => ", no data fails",
    };
    format!("{name} ({when}{allowed}{no_data}): {probe}")
}

fn fault_text(fault: &FaultPlan) -> String {
    let engine = fault.engine.map_or("engine decided when armed", |engine| engine.word());
    let mut out = format!("    {} ({engine}): {}\n", fault.name, fault.summary);
    for step in &fault.steps {
        let undo =
            step.undo.as_ref().map_or_else(|| "irreversible".to_owned(), |undo| format!("undo: {undo}"));
        // Writing to a String does not fail.
        let _ = writeln!(out, "      step {} {}: {}; {undo}", step.id, step.container, step.apply);
    }
    if let Some(reach) = &fault.reach {
        out.push_str("      who reaches whom (rows send; + gets there, . is lost):\n");
        reach.to_string().lines().for_each(|line| {
            let _ = writeln!(out, "        {line}");
        });
    }
    out
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Impair(packets, effect) => impairment(f, packets, effect),
            Self::Clear => f.write_str("remove the step's rules from the network namespace"),
            Self::Inside(task) => f.write_str(&task.kind().summary()),
            Self::Restore(task) => write!(f, "undo `{}`", task.kind().summary()),
            Self::Pause => f.write_str("freeze every process"),
            Self::Unpause => f.write_str("let every process go on"),
            Self::Kill(signal) => write!(f, "send {signal} to the first process"),
            Self::Start => f.write_str("start the container"),
            Self::Beat(Beat { signal, every, then }) => {
                write!(f, "send {signal} to the first process every {every}")?;
                match then {
                    AfterBeat::Leave => Ok(()),
                    AfterBeat::Start => f.write_str(", starting the container each time it ends"),
                }
            }
            Self::Stop(grace) => write!(f, "send the stop signal, SIGKILL after {grace}"),
            Self::Restart(grace) => {
                write!(f, "send the stop signal, SIGKILL after {grace}, and start the container again")
            }
            Self::Renew(_) => f.write_str("start the container, anew if what was told to end still runs"),
            Self::Remove => f.write_str("remove the container"),
            Self::Disconnect(network) => write!(f, "detach it from network {network}"),
            Self::Reconnect(network, None) => write!(f, "attach it to network {network} as it was"),
            Self::Reconnect(network, Some(found)) => {
                let addresses = [found.ipv4.as_str(), &found.ipv6].join(" ");
                write!(f, "attach it to network {network} as it was, at {}", addresses.trim())
            }
            Self::Limit(limit) => limit.fmt(f),
            Self::Unlimit(_) => f.write_str("write back the limit as it was"),
            Self::Exec(exec) => exec.fmt(f),
        }
    }
}

/// An effect on packets, in words.
fn impairment(f: &mut fmt::Formatter<'_>, packets: &Packets, effect: &Effect) -> fmt::Result {
    match effect {
        Effect::Delay(delay) => {
            write!(f, "hold {packets} ")?;
            held(f, delay)
        }
        Effect::Drop => write!(f, "drop {packets}"),
        Effect::Reset => write!(f, "refuse {packets}"),
        Effect::Bandwidth(bandwidth) => {
            write!(f, "let {packets} go on at {} each way", BitRate::per_s(bandwidth.bits_per_s))
        }
        Effect::Loss(Loss::Random(chance)) => chosen(f, "drop", chance, packets),
        Effect::Loss(Loss::Bursts(bursts)) => {
            let percent = |share| Ratio::new(share);
            let (p, r) = (percent(bursts.good_to_bad), percent(bursts.bad_to_good));
            let (bad, good) = (percent(bursts.bad_loss), percent(bursts.good_loss));
            write!(f, "drop {packets} in bursts (p {p}, r {r}, 1-h {bad}, 1-k {good})")
        }
        Effect::Duplicate(chance) => chosen(f, "send twice", chance, packets),
        Effect::Corrupt(chance) => chosen(f, "turn over a bit in", chance, packets),
        Effect::Reorder(reorder) => {
            chosen(f, "let", &reorder.chance, packets)?;
            f.write_str(" go at once, hold the others ")?;
            held(f, &reorder.delay)
        }
        Effect::Sever(sever) => {
            write!(f, "break off {} of ", Ratio::new(sever.share))?;
            connections(f, packets)?;
            let every = sever.every_ns.map(Duration::from_ns);
            every.map_or(Ok(()), |every| write!(f, " every {every}"))
        }
        Effect::Admit(admit) => {
            write!(f, "let in at most {} ", admit.most)?;
            connections(f, packets)
        }
        Effect::Flaky(turns, effect) => {
            impairment(f, packets, effect)?;
            let (on, off) = (Duration::from_ns(turns.on_ns), Duration::from_ns(turns.off_ns));
            write!(f, ", {on} on and {off} off in turns")?;
            if turns.jitter_ns > 0 {
                write!(f, ", each ± {}", Duration::from_ns(turns.jitter_ns))?;
            }
            Ok(())
        }
    }
}

/// `incoming connections on port 80`.
fn connections(f: &mut fmt::Formatter<'_>, packets: &Packets) -> fmt::Result {
    f.write_str(match packets.direction {
        Direction::Both => "connections",
        Direction::Ingress => "incoming connections",
        Direction::Egress => "outgoing connections",
    })?;
    packets.filters(f)
}

/// `50ms ± 5ms (normal)`.
fn held(f: &mut fmt::Formatter<'_>, delay: &Delay) -> fmt::Result {
    write!(f, "{}", Duration::from_ns(delay.delay_ns))?;
    if delay.jitter_ns > 0 {
        write!(f, " ± {} ({})", Duration::from_ns(delay.jitter_ns), delay.distribution.word())?;
    }
    Ok(())
}

/// `drop 10% of egress packets`.
fn chosen(f: &mut fmt::Formatter<'_>, what: &str, chance: &Chance, packets: &Packets) -> fmt::Result {
    write!(f, "{what} {} of {packets}", Ratio::new(chance.share))?;
    if chance.correlation > 0.0 {
        write!(f, " (correlated by {})", Ratio::new(chance.correlation))?;
    }
    Ok(())
}

impl fmt::Display for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets", self.direction.word())?;
        if let Some(protocol) = self.protocol {
            write!(f, " of {}", protocol.word())?;
        }
        self.filters(f)
    }
}

impl Packets {
    /// Whose they are and on which ports: ` to or from store on port 80`; may be nothing.
    fn filters(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            |peers: &[Peer]| peers.iter().map(|peer| peer.name().to_owned()).collect::<Vec<_>>().join(", ");
        if !self.peers.is_empty() {
            write!(f, " to or from {}", names(&self.peers))?;
        }
        if !self.except.is_empty() {
            write!(f, " except {}", names(&self.except))?;
        }
        if !self.ports.is_empty() {
            write!(f, " on port {}", self.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

impl Peer {
    /// The peer as the plan names it.
    pub fn name(&self) -> &str {
        match self {
            Self::Container(name) | Self::Net(name) | Self::Host(name) => name,
        }
    }
}

/// How a load's requests come about.
fn model(plan: &LoadPlan) -> String {
    let load = &plan.load;
    let expected = plan.expected_requests.map_or(String::new(), |count| format!(", up to {count} requests"));
    match (&load.rate, &load.users) {
        (Some(rate), _) => {
            let spacing = if rate.replay().is_some() { "" } else { load.arrivals.word() };
            let burst = match load.burst.value {
                1 => String::new(),
                burst => format!(", {burst} at once"),
            };
            format!("{} {spacing}{burst}{expected}", rate.value)
        }
        (None, Some(users)) => {
            format!("{} users, {} between requests (closed model)", users.value, load.think)
        }
        (None, None) => "no arrivals".into(),
    }
}
