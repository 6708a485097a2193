//! The command line: one file a verb, and the edge where errors are printed.
//!
//! Data goes to stdout, everything else to stderr. Verbs return how they ended; nothing below this module
//! exits the process or prints an error.

mod compare;
mod doctor;
mod fault;
mod halt;
mod hist;
mod inside;
mod lab;
mod lint;
mod load;
mod load_file;
mod plan;
mod postmortem;
mod recover;
mod report;
mod run;
mod schema;
mod setup;
mod stop;
mod validate;
mod waiting;

use std::io::Write;

use clap::{Parser, Subcommand};

use crate::error::{Error, Exit, Result};
use crate::report::Ink;
use crate::view::ink_for;

/// Breaks containers on purpose, under load, and tells the truth about what happened.
#[derive(Parser)]
#[command(name = "chaos", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 held, 1 failed, 2 mistake in the experiment or command line, \
    3 the environment can't do it, 4 baseline not met, 5 invalid, 6 aborted (healed), 7 something is not healed.";

#[derive(Subcommand)]
enum Verb {
    /// Run an experiment to its verdict.
    Run(run::Args),
    /// Send load at a URL and say how it was answered.
    Load(Box<load::Args>),
    /// Put one fault into effect by itself, for a while; `chaos fault list` prints all there are.
    Fault(Box<fault::Args>),
    /// Say what a fault or a probe does and what fields it has.
    Explain(fault::ExplainArgs),
    /// Print what a run would do, touching nothing.
    Plan(plan::Args),
    /// Check experiments and report every mistake.
    Validate(validate::Args),
    /// Take a second look at experiments: what runs, but is likely to disappoint.
    Lint(lint::Args),
    /// Print a JSON Schema: of experiments, of report.json, of events.jsonl, or of what `chaos load --json` saves.
    Schema(schema::Args),
    /// Judge a run again and remake its reports from its journal.
    Report(report::Args),
    /// Draft a blameless post-mortem of a run, from its journal alone.
    Postmortem(postmortem::Args),
    /// Say what changed between runs, and whether that is more than chance.
    Compare(compare::Args),
    /// Merge HdrHistogram logs (.hlog) and print their percentiles.
    Hist(hist::Args),
    /// Heal what dead runs left behind.
    Recover(recover::Args),
    /// End a run of this machine from another terminal: it heals, and exits as after Ctrl-C.
    Stop(stop::Args),
    /// The safety lever: stop every run on the daemon, and refuse new ones until it is released.
    Halt(halt::Args),
    /// Say what this machine can do, and how to mend what it can't.
    Doctor(doctor::Args),
    /// Start, stop and list labs.
    Lab(lab::Args),
    /// What runs inside containers and beside runs; not for people.
    #[command(name = "inside", hide = true)]
    Inside(inside::Args),
}

/// Parses the command line, runs the verb and prints what went wrong.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // --help and --version come as errors too. Nothing can be done if the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { Exit::Mistake } else { Exit::Held };
        }
    };
    let ended = match cli.verb {
        Verb::Run(args) => run::run(args),
        Verb::Load(args) => load::run(&args),
        Verb::Fault(args) => fault::run(*args),
        Verb::Explain(args) => fault::explain(&args),
        Verb::Plan(args) => plan::run(&args),
        Verb::Validate(args) => validate::run(args),
        Verb::Lint(args) => lint::run(&args),
        Verb::Schema(args) => schema::run(args),
        Verb::Report(args) => report::run(args),
        Verb::Postmortem(args) => postmortem::run(&args),
        Verb::Compare(args) => compare::run(&args),
        Verb::Hist(args) => hist::run(&args),
        Verb::Recover(args) => recover::run(&args),
        Verb::Stop(args) => stop::run(&args),
        Verb::Halt(args) => halt::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Lab(args) => lab::run(args),
        Verb::Inside(args) => inside::run(args),
    };
    ended.unwrap_or_else(|error| {
        print_error(&error);
        error.exit()
    })
}

/// Draws places in files, in colour if stderr has it.
fn renderer() -> annotate_snippets::Renderer {
    match ink_for(&std::io::stderr()) {
        Ink::Color => annotate_snippets::Renderer::styled(),
        Ink::Plain => annotate_snippets::Renderer::plain(),
    }
}

/// Prints an error with its causes and remedy.
fn print_error(error: &Error) {
    let mut out = String::new();
    match error {
        Error::Problems(problems) | Error::Refused { problems, .. } => {
            out.push_str(&problems.render(&renderer()));
        }
        Error::Failure { message, hint, .. } => {
            out.push_str("error: ");
            out.push_str(message);
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                out.push_str(&format!("\n  because: {cause}"));
                source = cause.source();
            }
            if let Some(hint) = hint {
                out.push_str(&format!("\nhint: {hint}"));
            }
        }
    }
    out.push('\n');
    // A closed stderr leaves nobody to tell.
    let _ = std::io::stderr().write_all(out.as_bytes());
}

/// Writes data to stdout. A reader that went away (`chaos plan | head`) is no error.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::environment("could not write to stdout").because(error))
        }
        _ => Ok(()),
    }
}

/// Tells the user something on stderr.
fn note(text: &str) {
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A runtime for a verb that talks to Docker or the network.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::environment("could not start the async runtime").because(error))
}
