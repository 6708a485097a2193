//! `chaos validate`: checks experiments and reports every mistake of every file.

use std::path::PathBuf;

use super::load_file;
use crate::error::{Exit, Result};

/// Arguments of `chaos validate`.
#[derive(clap::Args)]
pub struct Args {
    /// Experiment files; `-` reads stdin.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Override a value of each file, as `load.shoppers.rate=100/s`; may be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
}

/// Checks every file; prints a line for each that is well, and the mistakes of each that is not.
pub fn run(args: Args) -> Result<Exit> {
    let Args { files, set } = args;
    let mut exit = Exit::Held;
    for file in &files {
        match load_file::experiment(file, &set) {
            Ok((experiment, _)) => {
                let faults = experiment.phases.iter().map(|(_, phase)| phase.faults.len()).sum();
                super::print(&format!(
                    "{}: ok ({}, {}, {})\n",
                    file.display(),
                    count(experiment.phases.len(), "phase"),
                    count(faults, "fault"),
                    count(experiment.load.len(), "load"),
                ))?;
            }
            Err(error) => {
                super::print_error(&error);
                exit = exit.max(error.exit());
            }
        }
    }
    Ok(exit)
}

/// `1 phase`, `2 phases`.
fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
