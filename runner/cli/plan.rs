//! `chaos plan`: what a run would do, touching nothing.

use std::path::{Path, PathBuf};

use crate::docker::Docker;
use crate::error::{Exit, Result};
use crate::spec::Experiment;

/// Arguments of `chaos plan`.
#[derive(clap::Args)]
pub struct Args {
    /// The experiment.
    file: PathBuf,
    /// Override a value of the experiment, as `load.shoppers.rate=100/s`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit> {
    let (experiment, text) = super::load_file::experiment(&args.file, &args.sets)?;
    print(&experiment, &args.file, &text, if args.json { Form::Json } else { Form::Text })
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Prints what running `experiment` would do.
pub(super) fn print(experiment: &Experiment, file: &Path, text: &str, form: Form) -> Result<Exit> {
    let inventory = super::runtime()?.block_on(async {
        // A lab's containers are known before they exist; what runs now only the daemon knows.
        let docker = match experiment.lab {
            Some(_) => None,
            None => {
                let docker = Docker::connect().await?;
                let facts = docker.facts().await?;
                Some((docker, facts))
            }
        };
        let docker = docker.as_ref().map(|(docker, facts)| (docker, facts));
        crate::run::inventory(experiment, docker, file).await
    })?;
    let plan = crate::run::plan(experiment, &inventory, file, text)?;
    if form == Form::Json {
        let json = serde_json::to_string_pretty(&plan).expect("a plan is plain data");
        super::print(&format!("{json}\n"))?;
    } else {
        super::print(&harmless(&plan.to_string()))?;
    }
    Ok(Exit::Held)
}

/// Text with everything that a terminal would obey made visible: containers' labels are anyone's.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
