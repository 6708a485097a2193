//! `chaos postmortem`: drafts a blameless post-mortem of a run, from its journal alone.

use std::path::PathBuf;

use super::{print, report};
use crate::error::{Exit, Result};
use crate::report::{Format, Ink};

/// Arguments of `chaos postmortem`.
#[derive(clap::Args)]
#[command(
    after_help = "Exits 0 when it is written, whatever the run came to. The links in its timeline lead to journal.jsonl: \
    keep it beside that."
)]
pub struct Args {
    /// The run: its directory, or its id under reports/.
    run: PathBuf,
    /// Save it here instead of printing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit> {
    let concluded = report::conclude(&args.run)?;
    let format = Format::named("postmortem").expect("it is one of the forms");
    match &args.out {
        Some(file) => concluded.save_as(format, file)?,
        None => print(&concluded.render(format, &concluded.dir, Ink::Plain))?,
    }
    Ok(Exit::Held)
}
