//! Recovering: what a later process does for runs that died with their books open.
//!
//! A run is dead when its lock can be taken. Its ledger says what it owes; its labels say what it left on
//! the daemon. Runs that are alive, on this machine or another, are left alone.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::docker::{Docker, host_id, label};
use crate::error::{Error, Exit, Result};
use crate::heal::{self, Healed};
use crate::hold;
use crate::lab;
use crate::ledger::{self, Debt, Ledger};

/// A dead run that was healed.
#[derive(Debug)]
pub struct Recovered {
    /// The run.
    pub run: String,
    /// What was healed, a line each; empty if it had nothing left to heal.
    pub lines: Vec<String>,
}

/// Heals every dead run whose ledger is under `state`, or only run `only`. Fails with exit 7 naming what
/// could not be healed, after trying all of them.
pub async fn dead_runs(docker: &Docker, state: &Path, only: Option<&str>) -> Result<Vec<Recovered>> {
    let (mut recovered, mut failed) = (Vec::new(), None);
    for ledger in ledger::dead_runs(state)? {
        // A run against another daemon can only be healed there.
        let here = ledger.docker_host() == std::env::var("DOCKER_HOST").ok().as_deref();
        if here && only.is_none_or(|only| only == ledger.run()) {
            match one(docker, ledger).await {
                Ok(healed) => recovered.push(healed),
                Err(error) => failed = Some(error),
            }
        }
    }
    hold::sweep(docker).await?;
    failed.map_or(Ok(recovered), Err)
}

/// Runs of this machine that have something labelled on the daemon but no ledger under `state`: it was lost,
/// or they use another state directory and may well be alive. Sorted; labs that are to stay are left out, and runs
/// that were `healed` just now: their ledgers are closed, and the daemon takes a moment to remove the last of them.
pub async fn orphans(docker: &Docker, state: &Path, healed: &[Recovered]) -> Result<Vec<String>> {
    let ours = docker.labelled(&[(label::RUN, ""), (label::HOST, &host_id())]).await?;
    let runs: BTreeSet<_> = ours.into_iter().filter(|left| !left.keep).map(|left| left.run).collect();
    let orphaned = |run: &String| {
        !ledger::run_dir(state, run).exists() && !healed.iter().any(|healed| healed.run == *run)
    };
    Ok(runs.into_iter().filter(orphaned).collect())
}

/// Removes what carries the label of `run`. Only where a person said that it is dead: there is no lock to tell.
pub async fn remove(docker: &Docker, run: String) -> Result<Recovered> {
    heal::remove_agents(docker, &run).await?;
    lab::down(docker, &run).await?;
    hold::release(docker, &run).await?;
    Ok(Recovered { run, lines: vec!["what carried its label is removed".into()] })
}

/// What a runner asked for as it died the daemon still makes, and tells nobody: how often to look for it once all is
/// healed, and how long between two looks. A container takes the daemon some hundred milliseconds to create.
const LATE_LOOKS: u32 = 3;
const BETWEEN_LATE_LOOKS: Duration = Duration::from_millis(300);

/// Heals one dead run and closes its ledger.
pub async fn one(docker: &Docker, mut ledger: Ledger) -> Result<Recovered> {
    let run = ledger.run().to_owned();
    let had_lab = ledger.owed().any(|(_, debt)| matches!(debt, Debt::Lab { keep: false }));
    let mut healed = heal::everything(docker, &mut ledger).await;
    for _ in 0..LATE_LOOKS {
        tokio::time::sleep(BETWEEN_LATE_LOOKS).await;
        let late = match heal::remove_agents(docker, &run).await {
            Ok(()) if had_lab => lab::down(docker, &run).await,
            agents => agents,
        };
        let late = match late {
            Ok(()) => hold::release(docker, &run).await,
            agents => agents,
        };
        if let Err(error) = late {
            let line = "what was being made when it died".into();
            healed.push(Healed { step: None, line, failed: Some(error.chain()) });
        }
    }
    let failed: Vec<_> = healed
        .iter()
        .filter_map(|healed| healed.failed.as_ref().map(|why| format!("{}: {why}", healed.line)))
        .collect();
    ledger.close()?;
    if failed.is_empty() {
        return Ok(Recovered { run, lines: healed.into_iter().map(|healed| healed.line).collect() });
    }
    Err(Error::new(Exit::Unhealed, format!("run {run} is not healed: {}", failed.join("; ")))
        .hint(format!("mend what it says, then `{}`", heal::command(&run))))
}
