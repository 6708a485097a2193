//! Healing: taking back what a step did, with nothing but the ledger's entry to go by.
//!
//! The runner uses it where an agent is gone, the warden when the runner is gone, and `chaos recover` when
//! everything is. Each undo is followed by a look; what does not look whole is not healed. Undoing what is
//! not in effect is no error: healing may be done twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;

use crate::agent::task::{Capability, NET_ADMIN, Place, Task};
use crate::agent::wire::{Command, Outcome};
use crate::docker::{AgentSpec, Docker, label};
use crate::error::{Error, Exit, Result};
use crate::event::{ContainerState, Ran};
use crate::fault::found::{Limits, Process};
use crate::fault::step::{Exec, Op, Where};
use crate::hold;
use crate::inject::{Link, agent_name};
use crate::lab;
use crate::ledger::{Debt, HostExec, Ledger};

/// How long a look waits for Docker's account of a container to catch up with what was done to it.
const SETTLE: Duration = Duration::from_secs(5);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Takes one thing back on one container; true if a look found it whole. A container that is gone has
/// nothing left to heal, and one that does not run has no network namespace to clear.
pub async fn undo(docker: &Docker, run: &str, tag: &str, container: &str, id: &str, op: &Op) -> Result<bool> {
    let Some(state) = docker.state(id).await? else { return Ok(true) };
    match op {
        Op::Unpause => {
            docker.unpause(id).await?;
            look(docker, id, |status| status != "paused").await
        }
        Op::Start => {
            docker.start_whole(run, id).await?;
            look(docker, id, |status| status == "running").await
        }
        Op::Pause => docker.pause(id).await.map(|()| true),
        Op::Kill(_) if state.pid.is_none() => Ok(true),
        Op::Kill(signal) => docker.kill(id, signal).await.map(|()| true),
        Op::Clear if state.pid.is_none() => Ok(true),
        Op::Clear => {
            let command = Command::Purge { tag: tag.into() };
            by_agent(docker, run, container, id, (Place::Network, vec![NET_ADMIN]), command).await
        }
        // A container that the kernel killed for lack of what we took is started again.
        Op::Restore(Task::Fill(_)) if state.pid.is_none() && state.oom_killed => {
            docker.start_whole(run, id).await?;
            look(docker, id, |status| status == "running").await
        }
        Op::Restore(_) if state.pid.is_none() => Ok(true),
        Op::Restore(task) => {
            let command = Command::Restore { tag: tag.into(), task: task.clone() };
            by_agent(docker, run, container, id, agent_needs(task), command).await
        }
        Op::Renew(told) => renew(docker, run, id, &state, told.as_ref()).await,
        Op::Reconnect(_, Some(was)) => {
            docker.detach_half(id, was).await?;
            docker.reconnect(id, was).await?;
            Ok(docker.attachment(id, &was.network_id).await?.is_some() || docker.state(id).await?.is_none())
        }
        Op::Unlimit(Some(limits)) => unlimit(docker, run, id, &state, limits).await,
        Op::Exec(command) => exec(docker, container, id, command).await.map(|_| true),
        Op::Reconnect(_, None) | Op::Unlimit(None) => {
            Err(Error::new(Exit::Unhealed, "nobody looked what it was like before"))
        }
        Op::Impair(..)
        | Op::Inside(_)
        | Op::Beat(_)
        | Op::Stop(_)
        | Op::Restart(_)
        | Op::Remove
        | Op::Disconnect(_)
        | Op::Limit(_) => Err(Error::new(Exit::Unhealed, format!("`{op}` is not an undo"))),
    }
}

/// Starts a container, anew if the process that was told to end still runs: it may end any time later.
async fn renew(
    docker: &Docker,
    run: &str,
    id: &str,
    state: &ContainerState,
    told: Option<&Process>,
) -> Result<bool> {
    let same = told.is_some_and(|told| told.started_at == state.started_at);
    if same && state.pid.is_some() {
        docker.restart(id).await?;
    } else {
        docker.start_whole(run, id).await?;
    }
    look(docker, id, |status| status == "running").await
}

/// Writes limits back. A container that the kernel killed for lack of what we took is started again.
async fn unlimit(
    docker: &Docker,
    run: &str,
    id: &str,
    state: &ContainerState,
    limits: &Limits,
) -> Result<bool> {
    docker.set_limits(id, limits).await?;
    if limits.memory.is_some() && state.pid.is_none() && state.oom_killed {
        docker.start_whole(run, id).await?;
    }
    // A container that is gone has no limits either.
    Ok(docker.has_limits(id, limits).await?.unwrap_or(true))
}

/// Runs the user's command that takes something back. Nothing to report of one in a container that is gone.
///
/// # Errors
/// It could not be run, or failed, or the container does not run.
pub async fn exec(docker: &Docker, container: &str, id: &str, command: &Exec) -> Result<Option<Ran>> {
    let ran = match command.place {
        Where::Host => crate::exec::on_host(command, container, id).await?,
        Where::Container => match docker.state(id).await? {
            None => return Ok(None),
            Some(state) if state.pid.is_none() => {
                return Err(Error::new(
                    Exit::Unhealed,
                    format!("{container} does not run, so that nothing can be run in it"),
                )
                .hint("start it"));
            }
            Some(_) => docker.exec(id, command).await?,
        },
    };
    match crate::exec::failure(&ran, command.timeout) {
        Some(failure) => Err(Error::new(Exit::Unhealed, failure)),
        None => Ok(Some(ran)),
    }
}

async fn look(docker: &Docker, id: &str, whole: impl Fn(&str) -> bool) -> Result<bool> {
    let deadline = tokio::time::Instant::now() + SETTLE;
    loop {
        match docker.state(id).await? {
            Some(state) if !whole(&state.status) => {}
            _ => return Ok(true),
        }
        if tokio::time::Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Healing agents of this process so far. Each has a name of its own: two may be at work beside one container, and
/// the daemon gives a name free only some time after its container has ended.
static HEALERS: AtomicU32 = AtomicU32::new(0);

/// Where an agent for `task` sits, and its privileges there.
fn agent_needs(task: &Task) -> (Place, Vec<Capability>) {
    (task.kind().place(), task.kind().capabilities().to_vec())
}

/// Has an agent of its own remove what a dead one left in the container's namespaces.
async fn by_agent(
    docker: &Docker,
    run: &str,
    container: &str,
    id: &str,
    (place, capabilities): (Place, Vec<Capability>),
    command: Command,
) -> Result<bool> {
    let healer = format!("heal-{}-{}", std::process::id(), HEALERS.fetch_add(1, Ordering::Relaxed));
    let spec = AgentSpec {
        run: run.into(),
        name: agent_name(&healer, place, container),
        target_id: id.into(),
        place,
        capabilities,
        labels: BTreeMap::new(),
    };
    let (news, _nobody_listens) = mpsc::channel(4);
    let agent = match Link::start(docker, spec, container, news).await {
        Ok(agent) => agent,
        // The container may have ended between the look and the start: then its namespace is gone.
        Err(error) => match docker.state(id).await? {
            Some(state) if state.pid.is_some() => return Err(error),
            _ => return Ok(true),
        },
    };
    let purged = agent.call(command).await;
    agent.close().await;
    match purged? {
        Outcome::Purged(_) => Ok(true),
        other => {
            Err(Error::new(Exit::Unhealed, format!("the agent answered {other:?} instead of having purged")))
        }
    }
}

/// Removes every agent of a run, running or not.
pub async fn remove_agents(docker: &Docker, run: &str) -> Result<()> {
    let agents = docker.labelled(&[(label::RUN, run), (label::ROLE, label::ROLE_AGENT)]).await?;
    join_all(agents.iter().map(|agent| docker.remove(&agent.id))).await.into_iter().collect()
}

/// What came of healing one debt.
#[derive(Debug)]
pub struct Healed {
    /// The step's number; nothing for a lab.
    pub step: Option<u32>,
    /// One line for people: `api-1: let every process go on`.
    pub line: String,
    /// Nothing if it is whole; else why not.
    pub failed: Option<String>,
}

/// Heals everything a ledger owes and strikes it out. Its run must be dead: the lock is ours.
///
/// First its agents go, which undoes most of it; then steps, latest first on each container and on all
/// containers at once; then its lab.
pub async fn everything(docker: &Docker, ledger: &mut Ledger) -> Vec<Healed> {
    let run = ledger.run().to_owned();
    // An agent of a dead runner has read the end of its input; one that has not ended by now hangs.
    let mut healed = match remove_agents(docker, &run).await {
        Ok(_) => Vec::new(),
        Err(error) => vec![Healed { step: None, line: "its agents".into(), failed: Some(error.chain()) }],
    };
    let mut by_container = BTreeMap::<String, Vec<(u32, Debt)>>::new();
    let mut labs = Vec::new();
    for (key, debt) in ledger.owed() {
        match debt {
            Debt::Undo { id, .. } => by_container.entry(id.clone()).or_default().push((key, debt.clone())),
            Debt::Lab { keep } => labs.push((key, *keep)),
        }
    }
    let host = ledger.host_exec();
    let undone =
        join_all(by_container.into_values().map(|debts| undo_debts(docker, &run, host, debts))).await;
    for (keys, lines) in undone {
        if let Err(error) = ledger.settle(&keys) {
            healed.push(Healed { step: None, line: "the ledger".into(), failed: Some(error.chain()) });
        }
        healed.extend(lines);
    }
    for (key, keep) in labs {
        let failed = if keep { None } else { lab::down(docker, &run).await.err().map(|error| error.chain()) };
        if failed.is_none() && ledger.settle(&[key]).is_err() {
            continue;
        }
        if !keep {
            healed.push(Healed { step: None, line: "lab taken down".into(), failed });
        }
    }
    // What healed has ended, and the daemon removes it in its own time: nothing is over before it is gone.
    if let Err(error) = remove_agents(docker, &run).await {
        healed.push(Healed { step: None, line: "its agents".into(), failed: Some(error.chain()) });
    }
    // Last: what is not healed is not to be had yet.
    if healed.iter().all(|healed| healed.failed.is_none())
        && let Err(error) = hold::release(docker, &run).await
    {
        healed.push(Healed { step: None, line: "its holds".into(), failed: Some(error.chain()) });
    }
    healed
}

/// How long a daemon that is away, as while it is restarted, is waited for.
const AWAY_LIMIT: Duration = Duration::from_secs(30);
/// How often it is asked meanwhile whether it is back.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long to wait before what failed is tried again with a daemon that answers: it may have come back only just, or be
/// about to go.
const BEFORE_TRIES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1)];

/// As [`everything`], waiting for a daemon that is away and trying again what failed.
pub async fn patiently(docker: &Docker, ledger: &mut Ledger) -> Vec<Healed> {
    let until = tokio::time::Instant::now() + AWAY_LIMIT;
    let mut whole = Vec::new();
    let mut waits = BEFORE_TRIES.into_iter();
    loop {
        let (failed, done): (Vec<_>, Vec<_>) =
            everything(docker, ledger).await.into_iter().partition(|healed| healed.failed.is_some());
        whole.extend(done);
        let wait = if failed.is_empty() { None } else { waits.next() };
        let Some(wait) = wait else {
            whole.extend(failed);
            return whole;
        };
        if docker.answers().await {
            tokio::time::sleep(wait).await;
        }
        while !docker.answers().await && tokio::time::Instant::now() < until {
            waits = BEFORE_TRIES.into_iter();
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

async fn undo_debts(
    docker: &Docker,
    run: &str,
    host: HostExec,
    debts: Vec<(u32, Debt)>,
) -> (Vec<u32>, Vec<Healed>) {
    let (mut keys, mut lines) = (Vec::new(), Vec::new());
    // One look at a namespace clears every step of the run in it.
    let mut cleared = false;
    for (key, debt) in debts {
        let Debt::Undo { step, container, id, op, tag } = debt else { continue };
        let failed = if cleared && op == Op::Clear {
            None
        } else if op.is_on_host() && host == HostExec::Refused {
            Some("its run was not allowed to run commands on this machine".to_owned())
        } else {
            match undo(docker, run, &tag, &container, &id, &op).await {
                Ok(true) => None,
                Ok(false) => Some(format!("it does not look whole after `{op}`")),
                Err(error) => Some(error.chain()),
            }
        };
        cleared |= failed.is_none() && op == Op::Clear;
        if failed.is_none() {
            keys.push(key);
        }
        lines.push(Healed { step: Some(step), line: format!("{container}: {op}"), failed });
    }
    (keys, lines)
}

/// The command that heals a run by hand.
pub fn command(run: &str) -> String {
    format!("chaos recover {run}")
}
