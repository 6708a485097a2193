//! A run from start to end: recover, plan, lab up, arm, run, heal, judge, report.
//!
//! The order is the promise: what dead runs left is healed before anything else; nothing is changed before
//! its undo is on disk and the warden stands by; nothing is reported before everything is healed. The loop
//! in the middle is `live.rs`.

pub mod adhoc;
mod events;
mod lapse;
mod lever;
mod live;
mod paths;
mod scribe;
mod seek;
mod spending;
mod spool;
mod vitals;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::docker::{Docker, Facts, Found};
use crate::error::{Error, Exit, Problems, Result};
use crate::event::{self, Event, Started};
use crate::fault::step::{Op, Peer, Step};
use crate::halt;
use crate::hold::{self, Claim};
use crate::inject::{Bound, Injector, News};
use crate::journal::{self, Writer};
use crate::lab;
use crate::ledger::{self, Debt, HostExec, Ledger};
use crate::load::{Endpoints, Generator, Setup};
use crate::output::{Concluded, RUNS, conclude};
use crate::plan::inventory::{Container, Inventory};
use crate::plan::{FaultPlan, Plan, Refusal, limits as plan_limits};
use crate::recover;
use crate::spec::{Experiment, Guard, Probe, Steady};
use crate::units::Duration;
use crate::view::View;
use crate::warden::Warden;
use live::{Happening, Live, broke};
use scribe::Scribe;
use vitals::Vitals;

/// An agent undoes its steps this long after the longest its phase may take, whatever happens to us.
const DEADLINE_SLACK: Duration = Duration::from_s(30);
/// Happenings that may wait to be noticed; a tick takes them ten times a second.
const HAPPENINGS: usize = 4_096;

/// What to run and where to put what comes of it.
pub struct Options {
    /// The experiment's file as the user named it.
    pub file: PathBuf,
    /// The command line that would do it again.
    pub command: String,
    /// Where the run's files go; nothing: `reports/<run>/`.
    pub out: Option<PathBuf>,
    /// Leave the lab up.
    pub keep: bool,
    /// Whether commands of the experiment may run on this machine.
    pub host_exec: HostExec,
    /// How the load generator works on this machine.
    pub setup: Setup,
    /// Who watches.
    pub view: View,
}

/// A new run's id: sortable by time, unique enough for one daemon.
pub fn new_id() -> String {
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    format!("{now}-{:04x}", rand::random::<u16>())
}

/// The plan for an experiment, or every reason not to, located in its file.
pub fn plan(experiment: &Experiment, inventory: &Inventory, file: &Path, text: &str) -> Result<Plan> {
    crate::plan::build(experiment, inventory).map_err(|refusals: Vec<Refusal>| {
        let exit = refusals.iter().map(|refusal| refusal.exit).max().unwrap_or(Exit::Mistake);
        let mut list: Vec<_> = refusals.into_iter().map(|refusal| refusal.problem).collect();
        list.sort_by_key(|problem| problem.span.start);
        Error::Refused {
            exit,
            problems: Problems { file: file.display().to_string(), text: text.into(), list },
        }
    })
}

/// What there is to aim at: the lab's containers if the experiment brings one, else what runs now on the
/// daemon that says `Facts` of itself.
pub async fn inventory(
    experiment: &Experiment,
    docker: Option<(&Docker, &Facts)>,
    file: &Path,
) -> Result<Inventory> {
    // Only an agent can tell what another machine's kernel has.
    let local = docker.is_none_or(|(_, facts)| facts.local);
    let kernel = if local { crate::agent::kernel::probe_kernel() } else { None };
    let containers = match (&experiment.lab, docker) {
        (Some(lab), _) => lab::predicted(&lab.value, folder_of(file))?,
        (None, Some((docker, _))) => {
            let (found, holders) = tokio::try_join!(docker.containers(), hold::holders(docker))?;
            let held = |one: Found| Container {
                held_by: holders.get(&one.id).map(|run| run.escape_debug().to_string()),
                ..one.container
            };
            found.into_iter().map(held).collect()
        }
        (None, None) => Vec::new(),
    };
    Ok(Inventory { containers, kernel })
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("."))
}

/// Runs an experiment to its verdict. Errors are of what comes before the journal; what goes wrong after is
/// in the judgement.
pub async fn run(experiment: &Experiment, text: &str, options: Options) -> Result<Concluded> {
    let docker = Docker::connect().await?;
    halt::refuse(&docker).await?;
    let recovered = recover::dead_runs(&docker, &ledger::state_dir(), None).await?;
    let facts = docker.facts().await?;
    let inventory = inventory(experiment, Some((&docker, &facts)), &options.file).await?;
    let plan = plan(experiment, &inventory, &options.file, text)?;

    if options.host_exec == HostExec::Refused {
        refuse_host_exec(&plan)?;
    }

    let run = new_id();
    let clock = Clock::start();
    // From here on there is something to take down: whoever loses patience is heard.
    let (sender, happenings) = mpsc::channel(HAPPENINGS);
    let signals = forward_signals(sender.clone())?;
    let dir = options.out.clone().unwrap_or_else(|| Path::new(RUNS).join(&run));
    let journal = create_journal(&dir, clock)?;
    let mut scribe = Scribe::new(journal, options.view, clock);
    let started = started(&run, &plan, facts, &options.file, &options.command);
    scribe.note(Event::Started(Box::new(started)))?;
    for dead in recovered {
        scribe.note(Event::Recovered { run: dead.run, healed: dead.lines })?;
    }

    let mut ledger =
        Ledger::create(&ledger::state_dir(), &run, std::env::var("DOCKER_HOST").ok(), options.host_exec)?;
    let warden = match Warden::start(&run) {
        Ok(warden) => warden,
        Err(error) => {
            // Nothing is owed yet: without a warden nothing is begun, and no ledger is left to be wondered about.
            ledger.close()?;
            return Err(error);
        }
    };
    let stage = Stage {
        docker: &docker,
        plan: &plan,
        run: &run,
        file: &options.file,
        keep: options.keep,
        setup: options.setup,
        clock,
    };
    let ended = stage.play(&mut scribe, &mut ledger, sender, happenings).await;
    signals.abort();
    let noted = match &ended {
        Err(error) => scribe.note(broke(error)),
        Ok(()) => Ok(()),
    };
    stage.clear(&mut scribe, &mut ledger).await?;
    noted?;
    scribe.note(Event::Finished)?;

    // Judged from the journal on disk, as anyone can later; then noted, which changes no judgement.
    let mut concluded = conclude(&dir)?;
    let judgement = &concluded.judgement;
    let (verdict, exit_code) = (judgement.verdict.word().to_owned(), judgement.exit_code);
    concluded.journal.entries.push(scribe.enter(Event::Verdict { verdict, exit_code })?);
    scribe.finish();
    if ledger.close()? {
        warden.dismiss();
    }
    // Else the warden goes on trying to heal, and nobody waits for it.
    Ok(concluded)
}

/// Commands on this machine are run only for those who said so on the command line.
fn refuse_host_exec(plan: &Plan) -> Result<()> {
    let on_host = |fault: &&FaultPlan| fault.steps.iter().any(|step| step.apply.is_on_host());
    match plan.faults.iter().find(on_host) {
        Some(fault) => {
            Err(Error::mistake(format!("{} runs a command on this machine: {}", fault.name, fault.summary))
                .hint("look at the experiment; if you trust it, add --allow-host-exec"))
        }
        None => Ok(()),
    }
}

fn create_journal(dir: &Path, clock: Clock) -> Result<Writer> {
    let path = dir.join(journal::FILE);
    if path.exists() {
        return Err(Error::mistake(format!("{} holds a run already", dir.display()))
            .hint("name another directory with --out, or move that run away"));
    }
    std::fs::create_dir_all(dir).map_err(|error| {
        Error::environment(format!("could not make the run's directory {}", dir.display()))
            .hint("name a directory you can write to with --out")
            .because(error)
    })?;
    Writer::create(&path, clock)
}

fn started(run: &str, plan: &Plan, facts: Facts, file: &Path, command: &str) -> Started {
    let environment = [
        ("docker", facts.version),
        ("docker api", facts.api),
        ("kernel", facts.kernel),
        ("cgroup", facts.cgroup),
        ("os", facts.os),
        ("storage driver", facts.storage_driver),
        ("daemon cpus", facts.cpus.to_string()),
    ];
    Started {
        schema: event::SCHEMA.into(),
        run: run.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        wall: jiff::Timestamp::now().to_string(),
        file: file.display().to_string(),
        command: command.into(),
        plan: plan.clone(),
        environment: environment
            .into_iter()
            .chain(runner_facts())
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    }
}

/// What the journal says of the machine that the load comes from.
fn runner_facts() -> [(&'static str, String); 2] {
    let clock_source =
        std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    [
        ("runner cpus", std::thread::available_parallelism().map_or(1, usize::from).to_string()),
        ("clock source", clock_source.map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())),
    ]
}

/// Everything a run needs besides its books.
struct Stage<'r> {
    docker: &'r Docker,
    plan: &'r Plan,
    run: &'r str,
    file: &'r Path,
    keep: bool,
    setup: Setup,
    clock: Clock,
}

impl Stage<'_> {
    /// Lab up, arm, load, phases, heal.
    async fn play(
        &self,
        scribe: &mut Scribe,
        ledger: &mut Ledger,
        sender: mpsc::Sender<Happening>,
        happenings: mpsc::Receiver<Happening>,
    ) -> Result<()> {
        let endpoints = self.lab_up(scribe, ledger).await?;
        let (bound, claims) = self.bind().await?;
        let ids = bound.values().map(|bound| bound.id.clone()).collect();
        let events = tokio::spawn(events::follow(self.docker.clone(), ids, sender.clone()));
        let lever = lever::watch(self.docker, sender.clone()).await?;
        hold::take(self.docker, self.run, &claims).await?;
        let vitals = Vitals::look(self.docker, self.plan, &bound).await?;
        let (ahead_ns, unsure_ns) = self.docker.clock_ahead().await?;
        let longest = self.plan.phases.iter().map(|phase| phase.longest).max().unwrap_or_default();
        let news = forward_news(sender.clone());
        let mut injector =
            Injector::new(self.docker.clone(), self.run, self.clock, bound, longest + DEADLINE_SLACK, news)
                .with_daemon_clock(ahead_ns, unsure_ns);
        injector.watch(looked_at(self.plan).cloned());
        let steps: Vec<&Step> = self.plan.faults.iter().flat_map(|fault| &fault.steps).collect();
        let armed = match injector.arm(&steps).await {
            Ok(armed) => armed,
            Err(error) => {
                injector.disarm().await;
                return Err(error);
            }
        };
        for armed in armed {
            scribe.note(Event::Armed { step: armed.step, engine: armed.engine, kernel: armed.kernel })?;
        }
        let before = match paths::before(self.plan, &injector, scribe).await {
            Ok(before) => before,
            Err(error) => {
                injector.disarm().await;
                return Err(error);
            }
        };
        let endpoints = lab_endpoints(&endpoints)?;
        let generator = if self.plan.loads.is_empty() {
            None
        } else {
            Some(Generator::start(&self.plan.loads, &endpoints, self.clock, self.setup).await?)
        };
        let probes = start_probes(self.plan, &endpoints, &sender);
        let mut live = Live::new(self.plan, self.run, scribe, ledger, injector, generator, happenings);
        live.before = before;
        live.vitals = vitals;
        let ended = live.run().await;
        for task in probes.into_iter().chain([events, lever]) {
            task.abort();
        }
        ended
    }

    async fn lab_up(&self, scribe: &mut Scribe, ledger: &mut Ledger) -> Result<BTreeMap<String, String>> {
        // Agents are owed for as well as labs: whatever carries the run's label goes with it.
        ledger.owe([Debt::Lab { keep: self.keep || self.plan.lab.is_none() }])?;
        let Some(lab) = &self.plan.lab else { return Ok(BTreeMap::new()) };
        let up = if self.keep {
            lab::up_kept(self.docker, self.run, lab, folder_of(self.file)).await?
        } else {
            lab::up(self.docker, self.run, lab, folder_of(self.file)).await?
        };
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
            // Checked when planning; looked at again now, since labels are what people change last.
            if found.container.protected {
                return Err(Error::environment(format!("container {name} is labelled chaos.protect=true")));
            }
            if hit.contains(name.as_str()) {
                // Who shares another's network would be impaired with it.
                let ids = std::iter::once(found.id.clone()).chain(found.shares.clone());
                claims.extend(ids.map(|id| Claim { id, name: name.clone() }));
            }
            bound.insert(name, Bound { id: found.id.clone(), addresses: found.addresses.clone() });
        }
        Ok((bound, claims))
    }

    /// Heals whatever the run still owes, and takes the lab down.
    async fn clear(&self, scribe: &mut Scribe, ledger: &mut Ledger) -> Result<()> {
        let lab = self.plan.lab.is_some() && !self.keep;
        let asked_ns = scribe.now_ns();
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

fn forward_signals(happenings: mpsc::Sender<Happening>) -> Result<tokio::task::JoinHandle<()>> {
    let failed = |error| Error::environment("could not listen for signals").because(error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    Ok(tokio::spawn(async move {
        loop {
            let by = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                _ = hangup.recv() => "SIGHUP",
            };
            if happenings.send(Happening::Interrupt(by)).await.is_err() {
                return;
            }
        }
    }))
}

fn forward_news(happenings: mpsc::Sender<Happening>) -> mpsc::Sender<News> {
    let (sender, mut news) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Some(news) = news.recv().await {
            if happenings.send(Happening::Agent(news)).await.is_err() {
                return;
            }
        }
    });
    sender
}

/// One task a probe, asking at its period and telling the loop.
fn start_probes(
    plan: &Plan,
    endpoints: &Endpoints,
    happenings: &mpsc::Sender<Happening>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let steady = plan.steady_state.iter().filter_map(|steady| match steady {
        Steady::Probe(entry) => Some(&entry.value.probe),
        Steady::Check(_) => None,
    });
    let guards = plan.abort.iter().filter_map(|guard| match guard {
        Guard::Probe(guard) => Some(&guard.value.probe),
        Guard::Check(_) | Guard::Unhealthy(_) => None,
    });
    // One that is both in the steady state and a guard is asked once.
    let probes: BTreeMap<String, Probe> =
        guards.chain(steady).map(|probe| (probe.to_string(), probe.clone())).collect();
    probes
        .into_values()
        .map(|probe| {
            let (endpoints, happenings) = (endpoints.clone(), happenings.clone());
            tokio::spawn(async move {
                let mut every = tokio::time::interval(crate::probe::period(&probe).to_std());
                every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    every.tick().await;
                    let answer = crate::probe::ask(&probe, &endpoints).await;
                    let happening = Happening::Probe { probe: probe.to_string(), answer };
                    if happenings.send(happening).await.is_err() {
                        return;
                    }
                }
            })
        })
        .collect()
}
