//! `chaos run`: an experiment to its verdict.

use std::path::PathBuf;

use crate::error::{Exit, Result};
use crate::ledger::HostExec;
use crate::spec::Experiment;
use crate::view::{Mode, View, ink_for};

/// Arguments of `chaos run`.
#[derive(clap::Args)]
pub struct Args {
    /// The experiment.
    file: PathBuf,
    /// Override a value of the experiment, as `load.shoppers.rate=100/s`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Where the run's files go [default: reports/<run>/].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Leave the lab up when the run is over.
    #[arg(long)]
    keep: bool,
    /// Let the experiment's `exec` faults run their commands on this machine, as the user who runs this.
    #[arg(long)]
    allow_host_exec: bool,
    /// Print nothing but the final summary and errors.
    #[arg(long, short, conflicts_with = "json_events")]
    quiet: bool,
    /// Print every event as a JSON line on stdout instead of the live view and the summary.
    #[arg(long)]
    json_events: bool,
    #[command(flatten)]
    setup: super::setup::Args,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<Exit> {
    let (experiment, text) = super::load_file::experiment(&args.file, &args.sets)?;
    let mode = match (args.quiet, args.json_events) {
        (true, _) => Mode::Quiet,
        (_, true) => Mode::JsonEvents,
        _ => Mode::Auto,
    };
    let options = crate::run::Options {
        file: args.file,
        command: command_line(),
        out: args.out,
        keep: args.keep,
        host_exec: if args.allow_host_exec { HostExec::Allowed } else { HostExec::Refused },
        setup: args.setup.setup(),
        view: View::for_terminal(mode),
    };
    to_verdict(&experiment, &text, options, mode)
}

/// Runs `experiment`, whose spans are places in `text`, saves its reports and says how it went.
pub(super) fn to_verdict(
    experiment: &Experiment,
    text: &str,
    options: crate::run::Options,
    mode: Mode,
) -> Result<Exit> {
    let ran = super::runtime()?.block_on(crate::run::run(experiment, text, options))?;
    ran.save(ran.dir.as_path(), None)?;
    if mode != Mode::JsonEvents {
        super::print(&ran.summary(&ran.dir, ink_for(&std::io::stdout())))?;
    }
    if ran.judgement.exit_code == Exit::Unhealed.code() {
        // The summary is cut to the screen's width; a command must be had whole.
        super::note(&format!("not healed; heal it with: {}", crate::heal::command(&ran.journal.started.run)));
    }
    super::report::judged_exit(&ran)
}

/// The command line as it was typed, quoted where a shell would need it.
pub(super) fn command_line() -> String {
    let quoted = |word: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+,".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    std::iter::once("chaos".to_owned())
        .chain(std::env::args().skip(1).map(quoted))
        .collect::<Vec<_>>()
        .join(" ")
}
