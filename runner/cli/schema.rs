//! `chaos schema`: prints a JSON Schema, of experiments for editors, of report.json and the like for scripts.

use crate::error::{Error, Exit, Result};
use crate::spec;

/// Arguments of `chaos schema`.
#[derive(clap::Args)]
pub struct Args {
    /// Of what.
    #[arg(value_enum, default_value = "experiment")]
    of: Of,
}

/// What there are schemas of.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Of {
    /// Experiment files.
    Experiment,
    /// The report.json that a run leaves behind.
    Report,
    /// What `chaos load --json FILE` saves.
    Load,
    /// A line of events.jsonl.
    Events,
}

/// Prints the schema.
#[expect(clippy::needless_pass_by_value, reason = "every verb takes its arguments by value")]
pub fn run(args: Args) -> Result<Exit> {
    let schema = match args.of {
        Of::Experiment => spec::json_schema(),
        Of::Report => schemars::schema_for!(crate::verdict::Judgement).to_value(),
        Of::Load => crate::report::load::schema(),
        Of::Events => crate::report::events::schema(),
    };
    let text = serde_json::to_string_pretty(&schema)
        .map_err(|error| Error::mistake("could not write the schema").because(error))?;
    super::print(&format!("{text}\n"))?;
    Ok(Exit::Held)
}
