//! `chaos run`: an experiment to its verdict.

use std::path::PathBuf;

use super::report::Wanted;
use crate::error::{Error, Exit, Result};
use crate::ledger::HostExec;
use crate::run::Baseline;
use crate::spec::Experiment;
use crate::units::Ratio;
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
    /// A run that this one must not be worse than, or several with commas; a figure that became worse fails the run
    /// (see `chaos compare`).
    #[arg(long, value_name = "RUN", value_delimiter = ',')]
    baseline: Vec<String>,
    /// With --baseline: how much worse a time or a rate must be to matter.
    #[arg(long, value_name = "SHARE", default_value = "5%", requires = "baseline")]
    tolerance: Ratio,
    /// A report besides those that every run has, as NAME, NAME=FILE, or NAME=- for stdout; may be repeated
    /// (see `chaos report --list`).
    #[arg(long = "report", value_name = "NAME[=FILE]")]
    reports: Vec<Wanted>,
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
    if mode == Mode::JsonEvents && args.reports.iter().any(Wanted::is_printed) {
        return Err(Error::mistake("events and a report can't both be printed on stdout")
            .hint("give the report a file: --report NAME=FILE"));
    }
    args.reports.iter().try_for_each(Wanted::check)?;
    let options = crate::run::Options {
        file: args.file,
        command: command_line(),
        out: args.out,
        keep: args.keep,
        host_exec: if args.allow_host_exec { HostExec::Allowed } else { HostExec::Refused },
        setup: args.setup.setup(),
        view: View::for_terminal(mode),
        // Read before anything is begun: a run without the answer that it was made for is a run too many.
        baseline: baseline(&args.baseline, args.tolerance)?,
    };
    to_verdict(&experiment, &text, options, mode, &args.reports)
}

/// The runs named so, read back; nothing if none is.
fn baseline(names: &[String], tolerance: Ratio) -> Result<Option<Baseline>> {
    let runs = super::compare::conclude(names.iter().map(String::as_str))?;
    Ok((!runs.is_empty()).then_some(Baseline { runs, tolerance }))
}

/// Runs `experiment`, whose spans are places in `text`, saves its reports and those in `reports`, and says how it went.
pub(super) fn to_verdict(
    experiment: &Experiment,
    text: &str,
    options: crate::run::Options,
    mode: Mode,
    reports: &[Wanted],
) -> Result<Exit> {
    let ran = super::runtime()?.block_on(crate::run::run(experiment, text, options))?;
    ran.save(&ran.dir)?;
    if mode != Mode::JsonEvents {
        super::print(&ran.summary(&ran.dir, ink_for(&std::io::stdout())))?;
    }
    reports.iter().try_for_each(|wanted| wanted.leave(&ran))?;
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
