//! Everything around the loop: the lab, the containers of the plan, holds, agents; and what is left at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::books::Books;
use super::happening::{Happening, forward_news};
use super::live::Live;
use super::probing::Probing;
use super::sampling::Sampling;
use super::scribe::Scribe;
use super::vitals::{self, Vitals};
use super::{events, folder_of, lever, paths, probing};
use crate::clock::Clock;
use crate::docker::{Docker, Found};
use crate::error::{Error, Exit, Result};
use crate::event::Event;
use crate::fault::step::{Op, Peer, Step};
use crate::hold::{self, Claim};
use crate::inject::{Bound, Injector};
use crate::lab::{self, Stay};
use crate::ledger::Debt;
use crate::load::{Endpoints, Generator, Setup};
use crate::patience::Patience;
use crate::plan::inventory::Container;
use crate::plan::{Plan, limits as plan_limits};

/// Everything a run needs besides its books.
pub(super) struct Stage<'r> {
    pub docker: &'r Docker,
    pub plan: &'r Plan,
    pub run: &'r str,
    pub file: &'r Path,
    pub keep: bool,
    pub setup: Setup,
    pub clock: Clock,
    pub books: Books,
}

/// What is ready for the loop.
struct Ready<'r> {
    injector: Injector,
    generator: Option<Generator>,
    probing: Probing<'r>,
    sampling: Sampling,
    before: paths::Before,
    vitals: Vitals<'r>,
    /// The debts for what was made ready.
    staged: Vec<u32>,
    /// What tells the loop of happenings, to be ended with it.
    tasks: [JoinHandle<()>; 2],
}

impl<'r> Stage<'r> {
    /// Lab up, arm, load, phases, heal. Told to stop before the first phase, it finishes what it has under way on the
    /// daemon and begins nothing more.
    pub async fn play(
        &self,
        scribe: &mut Scribe,
        sender: mpsc::Sender<Happening>,
        mut happenings: mpsc::Receiver<Happening>,
    ) -> Result<()> {
        let (limit, patience) = Patience::limited();
        let mut early = Vec::new();
        let ready = {
            let mut preparing = std::pin::pin!(self.prepare(scribe, &sender, &patience));
            loop {
                tokio::select! {
                    ready = &mut preparing => break ready,
                    Some(happening) = happenings.recv() => {
                        if matches!(happening, Happening::Interrupt(_)) {
                            limit.reached();
                        }
                        early.push(happening);
                    }
                }
            }
        };
        let ready = match ready {
            Ok(ready) => ready,
            Err(error) => {
                for happening in early {
                    if let Happening::Interrupt(by) = happening {
                        scribe.note(Event::Interrupted { by: by.into() })?;
                    }
                }
                // That it was called off is what the interruption says.
                return if error.exit() == Exit::Aborted { Ok(()) } else { Err(error) };
            }
        };
        let Ready { injector, generator, probing, sampling, before, vitals, staged, tasks } = ready;
        let injector = Arc::new(injector);
        let mut live = Live::new(
            self.plan,
            self.run,
            scribe,
            self.books.clone(),
            injector,
            (probing, sampling),
            happenings,
        );
        live.generator = generator;
        live.before = before;
        live.vitals = vitals;
        let ended = live.run(early).await;
        for task in tasks {
            task.abort();
        }
        // Else it stays owed, and is looked for with everything else that is left.
        if ended? { self.books.settle(staged).await } else { Ok(()) }
    }

    async fn prepare(
        &self,
        scribe: &mut Scribe,
        sender: &mpsc::Sender<Happening>,
        patience: &Patience,
    ) -> Result<Ready<'r>> {
        let endpoints = self.lab_up(scribe, patience).await?;
        patience.check()?;
        let (bound, claims) = self.bind().await?;
        let ids = bound.values().map(|bound| bound.id.clone()).collect();
        let events = tokio::spawn(events::follow(self.docker.clone(), ids, sender.clone()));
        let lever = lever::watch(self.docker, sender.clone()).await?;
        hold::take(self.docker, self.run, &claims).await?;
        let vitals = Vitals::look(self.docker, self.plan, &bound).await?;
        let (ahead_ns, unsure_ns) = self.docker.clock_ahead().await?;
        let endpoints = lab_endpoints(&endpoints)?;
        let asker = probing::asker(self.plan, self.docker, &bound, ahead_ns, endpoints.clone()).await;
        let asker = Arc::new(asker);
        let broken = self.plan.phases.iter().filter(|phase| !phase.faults.is_empty());
        let longest = broken.map(|phase| phase.longest).max().unwrap_or_default();
        let deadline = plan_limits::deadline(&self.plan.limits, longest);
        let news = forward_news(sender.clone());
        let injector = Injector::new(self.docker.clone(), self.run, self.clock, bound, deadline, news)
            .with_daemon_clock(ahead_ns, unsure_ns)
            .with_patience(patience.clone());
        injector.watch(looked_at(self.plan).cloned());
        let staged = self.books.owe(self.staged(&injector)?).await?;
        let armed = self.arm(&injector, scribe, patience).await;
        let before = match armed {
            Ok(before) => before,
            Err(error) => {
                if injector.disarm().await {
                    self.books.settle(staged).await?;
                }
                return Err(error);
            }
        };
        let generator = if self.plan.loads.is_empty() {
            None
        } else {
            Some(Generator::start(&self.plan.loads, &endpoints, self.clock, self.setup).await?)
        };
        let sampling = Sampling::start(self.plan, &asker, self.clock, sender);
        let probing = Probing::start(self.plan, asker, self.clock, sender.clone());
        Ok(Ready { injector, generator, probing, sampling, before, vitals, staged, tasks: [events, lever] })
    }

    /// What the agents make ready in their namespaces is owed for, though it changes nothing yet: an agent that is
    /// killed takes no device away.
    fn staged(&self, injector: &Injector) -> Result<Vec<Debt>> {
        let mut staged = BTreeMap::new();
        for step in self.plan.faults.iter().flat_map(|fault| &fault.steps) {
            if let Some(debt @ Debt::Undo { op: Op::Clear, .. }) = injector.debt_of(step)? {
                staged.entry(&step.container).or_insert(debt);
            }
        }
        Ok(staged.into_values().collect())
    }

    /// Starts agents, which change nothing yet, and looks who reaches whom.
    async fn arm(
        &self,
        injector: &Injector,
        scribe: &mut Scribe,
        patience: &Patience,
    ) -> Result<paths::Before> {
        let steps: Vec<&Step> = self.plan.faults.iter().flat_map(|fault| &fault.steps).collect();
        for armed in injector.arm(&steps).await? {
            scribe.note(Event::Armed { step: armed.step, engine: armed.engine, kernel: armed.kernel })?;
        }
        patience.wait(paths::before(self.plan, injector, scribe)).await
    }

    async fn lab_up(&self, scribe: &mut Scribe, patience: &Patience) -> Result<BTreeMap<String, String>> {
        // Agents are owed for as well as labs: whatever carries the run's label goes with it.
        self.books.owe(vec![Debt::Lab { keep: self.keep || self.plan.lab.is_none() }]).await?;
        let Some(lab) = &self.plan.lab else { return Ok(BTreeMap::new()) };
        let stay = if self.keep { Stay::UntilDown } else { Stay::ForTheRun };
        let up = lab::up_for(self.docker, self.run, lab, folder_of(self.file), stay, patience).await?;
        scribe.note(Event::Lab { up: true, endpoints: up.endpoints.clone() })?;
        Ok(up.endpoints)
    }

    /// Finds the plan's containers on the daemon, and says which of them the run must have for itself.
    async fn bind(&self) -> Result<(BTreeMap<String, Bound>, BTreeSet<Claim>)> {
        let found = self.docker.containers().await?;
        let ours = |found: &&Found| match &self.plan.lab {
            Some(_) => found.run.as_deref() == Some(self.run),
            None => true,
        };
        let by_name: BTreeMap<_, _> =
            found.iter().filter(ours).map(|found| (found.container.name.as_str(), found)).collect();
        let hit: BTreeSet<&str> = self
            .plan
            .faults
            .iter()
            .flat_map(|fault| &fault.steps)
            .map(|step| step.container.as_str())
            .collect();
        // Checked when planning; a service may have lost containers since.
        let there: Vec<Container> = found.iter().filter(ours).map(|found| found.container.clone()).collect();
        let Plan { limits, phases, faults, .. } = self.plan;
        if let Some(excess) = plan_limits::shares(limits, phases, faults, &there).1.into_iter().next() {
            return Err(
                Error::environment(format!("as things are now, {}", excess.message)).hint(excess.hint)
            );
        }
        let (mut bound, mut claims) = (BTreeMap::new(), BTreeSet::new());
        for name in wanted(self.plan) {
            if found.iter().filter(ours).filter(|found| found.container.name == name).count() > 1 {
                return Err(Error::environment(format!("two containers are called {name}"))
                    .hint("several labs are up: take all but one down with `chaos lab down`"));
            }
            let Some(found) = by_name.get(name.as_str()) else {
                return Err(Error::environment(format!("container {name} is not there any more")));
            };
            // Checked when planning; looked at again now, since it may be another container of that name. Others may
            // well be kept from reaching it: that is done to them.
            let touched = hit.contains(name.as_str()) || looked_at(self.plan).any(|member| *member == name);
            if touched && found.container.protected {
                return Err(Error::environment(format!("container {name} is labelled chaos.protect=true")));
            }
            if hit.contains(name.as_str()) {
                // Who shares another's network would be impaired with it.
                let ids = std::iter::once(found.id.clone()).chain(found.shares.clone());
                claims.extend(ids.map(|id| Claim { id, name: name.clone() }));
            }
            let (id, addresses) = (found.id.clone(), found.addresses.clone());
            bound.insert(name, Bound { id, addresses, networks: found.container.networks.clone() });
        }
        Ok((bound, claims))
    }

    /// Heals whatever the run still owes, and takes the lab down.
    pub async fn clear(&self, scribe: &mut Scribe) -> Result<()> {
        let lab = self.plan.lab.is_some() && !self.keep;
        let asked_ns = scribe.now_ns();
        let mut open = self.books.open().await;
        let Some(ledger) = open.as_mut() else { return Ok(()) };
        for healed in crate::heal::patiently(self.docker, ledger).await {
            match (healed.step, healed.failed) {
                (Some(step), Some(why)) => {
                    scribe.note(Event::Unhealed { step, why, command: crate::heal::command(self.run) })?;
                }
                (Some(step), None) => {
                    scribe.note(Event::Undone { step, asked_ns, at_ns: scribe.now_ns(), verified: true })?;
                }
                (None, Some(why)) => scribe.note(Event::Broke {
                    why: format!(
                        "{}: {why}; finish it with `{}`",
                        healed.line,
                        crate::heal::command(self.run)
                    ),
                    exit: Exit::Unhealed,
                })?,
                (None, None) => {}
            }
        }
        if lab {
            scribe.note(Event::Lab { up: false, endpoints: BTreeMap::new() })?;
        }
        Ok(())
    }
}

/// A lab's published addresses by the hosts that URLs name them: `gateway.lab`, `gateway.lab:8080`.
fn lab_endpoints(endpoints: &BTreeMap<String, String>) -> Result<Endpoints> {
    endpoints
        .iter()
        .map(|(service, address)| {
            let host = match service.split_once(':') {
                Some((service, port)) => format!("{service}.lab:{port}"),
                None => format!("{service}.lab"),
            };
            let address = address.parse().map_err(|error| {
                Error::environment(format!("the lab's {service} is published at `{address}`")).because(error)
            })?;
            Ok((host, address))
        })
        .collect()
}

/// The containers a plan acts on, looks at or filters by.
fn wanted(plan: &Plan) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = looked_at(plan).cloned().collect();
    names.extend(vitals::watched(plan).map(str::to_owned));
    names.extend(probing::watched(plan).map(str::to_owned));
    for step in plan.faults.iter().flat_map(|fault| &fault.steps) {
        names.insert(step.container.clone());
        if let Op::Impair(packets, _) = &step.apply {
            let peers = packets.peers.iter().chain(&packets.except);
            names.extend(peers.filter_map(|peer| match peer {
                Peer::Container(name) => Some(name.clone()),
                Peer::Net(_) | Peer::Host(_) => None,
            }));
        }
    }
    names
}

/// The containers of faults that are about who reaches whom; may repeat.
fn looked_at(plan: &Plan) -> impl Iterator<Item = &String> {
    plan.faults.iter().filter_map(|fault| fault.reach.as_ref()).flat_map(|reach| &reach.members)
}
