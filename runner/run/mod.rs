//! A run from start to end: recover, plan, lab up, arm, run, heal, judge, report.
//!
//! The order is the promise: what dead runs left is healed before anything else; nothing is changed before
//! its undo is on disk and the warden stands by; nothing is reported before everything is healed. What is around
//! the loop is `stage.rs`, the loop in the middle `live.rs`.

pub mod adhoc;
mod books;
mod effect;
mod errand;
mod events;
mod happening;
mod lapse;
mod lever;
mod live;
mod opening;
mod paths;
mod probing;
mod recent;
mod sampling;
mod scribe;
mod seek;
mod sight;
mod spending;
mod spool;
mod stage;
mod vitals;
mod watch;

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::compare::compare;
use crate::docker::{Docker, Facts, Found};
use crate::error::{Error, Exit, Problems, Result};
use crate::event::Event;
use crate::halt;
use crate::hold;
use crate::lab;
use crate::ledger::{self, HostExec, Ledger};
use crate::load::Setup;
use crate::output::{Concluded, RUNS, conclude};
use crate::plan::inventory::{Container, Inventory};
use crate::plan::{FaultPlan, Plan, Refusal};
use crate::recover;
use crate::spec::{self, Experiment};
use crate::units::Ratio;
use crate::verdict::Verdict;
use crate::view::View;
use crate::warden::Warden;
use books::Books;
use happening::{HAPPENINGS, forward_signals};
use live::broke;
use opening::{create_journal, started};
use scribe::Scribe;
use stage::Stage;

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
    /// What it must not be worse than, if anything.
    pub baseline: Option<Baseline>,
}

/// Runs that another one must not be worse than.
pub struct Baseline {
    /// The runs; at least one.
    pub runs: Vec<Concluded>,
    /// How much worse a time or a rate must be than theirs to matter.
    pub tolerance: Ratio,
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
        probing::refuse_on_host(&plan)?;
    }

    let run = new_id();
    let clock = Clock::start();
    // From here on there is something to take down: whoever loses patience is heard.
    let (sender, happenings) = mpsc::channel(HAPPENINGS);
    let signals = forward_signals(sender.clone())?;
    let dir = options.out.clone().unwrap_or_else(|| Path::new(RUNS).join(&run));
    let journal = create_journal(&dir, clock)?;
    let mut scribe = Scribe::new(journal, options.view, clock)?;
    let mut started = started(&run, &plan, facts, &options.file, &options.command);
    started.lines = spec::lines(experiment, text);
    scribe.note(Event::Started(Box::new(started)))?;
    for dead in recovered {
        scribe.note(Event::Recovered { run: dead.run, healed: dead.lines })?;
    }

    let ledger =
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
        books: Books::new(ledger),
    };
    let ended = stage.play(&mut scribe, sender, happenings).await;
    signals.abort();
    let noted = match &ended {
        Err(error) => scribe.note(broke(error)),
        Ok(()) => Ok(()),
    };
    stage.clear(&mut scribe).await?;
    noted?;
    scribe.note(Event::Finished)?;

    // Judged from the journal on disk, as anyone can later; then noted, which changes no judgement.
    let mut concluded = conclude(&dir)?;
    // A run that did not get to say anything by itself says nothing of a baseline either.
    let said = matches!(concluded.judgement.verdict, Verdict::Held | Verdict::Failed);
    if let Some(Baseline { runs, tolerance }) = options.baseline.as_ref().filter(|_| said) {
        let base: Vec<_> = runs.iter().map(Concluded::compared).collect();
        let comparison = compare(&base, &[concluded.compared()], *tolerance);
        concluded.judge_with(scribe.enter(Event::Compared(Box::new(comparison)))?);
    }
    let judgement = &concluded.judgement;
    let (verdict, exit_code) = (judgement.verdict.word().to_owned(), judgement.exit_code);
    concluded.journal.entries.push(scribe.enter(Event::Verdict { verdict, exit_code })?);
    scribe.finish();
    if stage.books.close().await? {
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
