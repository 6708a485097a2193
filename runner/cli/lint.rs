//! `chaos lint`: a second look at experiments, before they disappoint.

use std::path::PathBuf;

use super::{load_file, print};
use crate::error::{Exit, Problems, Result};
use crate::lint::{RULES, lint};

/// Arguments of `chaos lint`.
#[derive(clap::Args)]
#[command(after_help = "Exits 0 if there is nothing to say, 1 if there is, 2 for a file with mistakes.")]
pub struct Args {
    /// Experiment files; `-` reads stdin.
    #[arg(required_unless_present = "list", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Override a value of each file, as `load.shoppers.rate=100/s`; may be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Leave a rule out; may be repeated.
    #[arg(long, value_name = "RULE", value_parser = clap::builder::PossibleValuesParser::new(RULES.map(|rule| rule.name)))]
    allow: Vec<String>,
    /// List the rules.
    #[arg(long)]
    list: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit> {
    if args.list {
        print(&RULES.map(|rule| format!("{:<16}{}\n", rule.name, rule.about)).concat())?;
        return Ok(Exit::Held);
    }
    let mut exit = Exit::Held;
    for file in &args.files {
        match load_file::experiment(file, &args.set) {
            Ok((experiment, text)) => {
                let mut found = lint(&experiment);
                found.retain(|finding| !args.allow.iter().any(|rule| rule == finding.rule));
                if found.is_empty() {
                    print(&format!("{}: nothing to say\n", file.display()))?;
                    continue;
                }
                exit = exit.max(Exit::Failed);
                let list = found.into_iter().map(|finding| {
                    let mut problem = finding.problem;
                    problem.message = format!("{} ({})", problem.message, finding.rule);
                    problem
                });
                let problems = Problems { file: file.display().to_string(), text, list: list.collect() };
                super::note(&problems.render_warnings(&super::renderer()));
            }
            Err(error) => {
                super::print_error(&error);
                exit = exit.max(error.exit());
            }
        }
    }
    Ok(exit)
}
