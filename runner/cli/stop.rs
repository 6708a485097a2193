//! `chaos stop`: ends a run of this machine from another terminal.

use crate::error::{Error, Exit, Result};
use crate::{ledger, stop};

/// Arguments of `chaos stop`.
#[derive(clap::Args)]
pub struct Args {
    /// The run; may be left out if only one lives.
    run: Option<String>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit> {
    let state = ledger::state_dir();
    let run = match &args.run {
        Some(run) => run.clone(),
        None => only_one(ledger::live_runs(&state)?)?,
    };
    stop::stop(&state, &run)?;
    super::print(&format!("{run}: stopped, everything is healed\n"))?;
    Ok(Exit::Held)
}

fn only_one(mut runs: Vec<String>) -> Result<String> {
    match (runs.pop(), runs.is_empty()) {
        (Some(run), true) => Ok(run),
        (None, _) => Err(Error::mistake("no run lives here")
            .hint("runs of another user or of another CHAOS_STATE_DIR: `chaos halt --all` stops every run")),
        (Some(last), false) => {
            runs.push(last);
            Err(Error::mistake("several runs live here").hint(format!("name one of: {}", runs.join(", "))))
        }
    }
}
