//! `chaos recover`: heals what dead runs left behind.

use super::waiting::Waiting;
use crate::docker::Docker;
use crate::error::{Error, Exit, Result};
use crate::{ledger, recover};

/// Arguments of `chaos recover`.
#[derive(clap::Args)]
pub struct Args {
    /// Only this run.
    run: Option<String>,
    /// Also remove what carries the label of a run of this machine that has no ledger here. Such a run may be
    /// alive with another state directory: look first.
    #[arg(long, conflicts_with = "run")]
    all: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit> {
    let state = ledger::state_dir();
    super::runtime()?.block_on(async {
        let docker = Docker::connect().await?;
        let waiting = Waiting::during("looking for what dead runs left");
        let mut healed = recover::dead_runs(&docker, &state, args.run.as_deref()).await?;
        let mut left = Vec::new();
        for orphan in recover::orphans(&docker, &state, &healed).await? {
            if args.all || args.run.as_ref() == Some(&orphan) {
                healed.push(recover::remove(&docker, orphan).await?);
            } else {
                left.push(orphan);
            }
        }
        drop(waiting);
        if let (Some(run), true) = (&args.run, healed.is_empty()) {
            return Err(Error::mistake(format!("run {run} has nothing left to heal, or is still alive"))
                .hint("`chaos recover` without a run heals every dead one"));
        }
        if healed.is_empty() {
            super::print("nothing to heal\n")?;
        }
        for dead in healed {
            super::print(&format!("{}: healed\n", dead.run))?;
            for line in dead.lines {
                super::print(&format!("  {line}\n"))?;
            }
        }
        if args.run.is_none() && !left.is_empty() {
            super::print(&format!(
                "without a ledger here, dead or alive elsewhere: {}; remove them with `chaos recover --all`\n",
                left.join(", ")
            ))?;
        }
        Ok(Exit::Held)
    })
}
