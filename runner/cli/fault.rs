//! `chaos fault` and `chaos explain`: one fault by itself, without an experiment, and what the catalogue says of it.
//!
//! The words of the command line become the text of an experiment of one phase, which then goes the way of every
//! other: planned, owed to the ledger, guarded by a warden, proven and healed. So no fault is named here.

use std::path::PathBuf;

use crate::error::{Error, Exit, Result};
use crate::ledger::HostExec;
use crate::spec::decode::nearest;
use crate::spec::{self, Input, Judging};
use crate::units::Duration;
use crate::view::{Mode, View};

/// What stands for the file in messages.
const FILE: &str = "<chaos fault>";

/// Arguments of `chaos fault`.
#[derive(clap::Args)]
pub struct Args {
    /// The fault, as `latency`; or `list`, which prints all of them.
    kind: String,
    /// Its fields, as experiments write them: `delay=200ms ports=[8080]`. `chaos explain KIND` says which.
    #[arg(value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// The containers that it aims at: a name, or `service=api`, `label=app=web`, `image=…`, `re=…`, `network=…`, with
    /// `pick=1` or `pick=50%`, joined by commas.
    #[arg(long, value_name = "SELECTOR")]
    on: Option<String>,
    /// More targets, which fields may name, as `store=service=store`; may be repeated.
    #[arg(long = "target", value_name = "NAME=SELECTOR")]
    targets: Vec<String>,
    /// How long it lasts.
    #[arg(long = "for", value_name = "DURATION", default_value = "30s")]
    lasts: Duration,
    /// Print what would be done, touching nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where the run's files go [default: reports/<run>/].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Let `exec` run its commands on this machine, as the user who runs this.
    #[arg(long)]
    allow_host_exec: bool,
    /// Print nothing but the final summary and errors.
    #[arg(long, short)]
    quiet: bool,
}

/// Arguments of `chaos explain`.
#[derive(clap::Args)]
pub struct ExplainArgs {
    /// The fault or probe, as `latency`.
    kind: String,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<Exit> {
    if args.kind == "list" {
        return list();
    }
    let text = text(&args)?;
    let input = Input { file: FILE.into(), text, judging: Judging::Left, ..Input::default() };
    let experiment = spec::parse(&input)?;
    if args.dry_run {
        return super::plan::print(&experiment, FILE.as_ref(), &input.text, super::plan::Form::Text);
    }
    let mode = if args.quiet { Mode::Quiet } else { Mode::Auto };
    let options = crate::run::Options {
        file: FILE.into(),
        command: super::run::command_line(),
        out: args.out,
        keep: false,
        host_exec: if args.allow_host_exec { HostExec::Allowed } else { HostExec::Refused },
        setup: crate::load::Setup::default(),
        view: View::for_terminal(mode),
        baseline: None,
    };
    super::run::to_verdict(&experiment, &input.text, options, mode, &[])
}

/// Runs `chaos explain`.
pub fn explain(args: &ExplainArgs) -> Result<Exit> {
    let text = spec::explain::explain(&args.kind).ok_or_else(|| neither(&args.kind))?;
    super::print(&text)?;
    Ok(Exit::Held)
}

fn list() -> Result<Exit> {
    let all = spec::explain::faults();
    let width = all.iter().map(|(word, _)| word.len()).max().unwrap_or_default();
    let lines: String = all.iter().map(|(word, docs)| format!("{word:width$}  {docs}\n")).collect();
    super::print(&lines)?;
    Ok(Exit::Held)
}

fn unknown(kind: &str) -> Error {
    no_such("fault", kind, &spec::explain::faults())
}

fn neither(kind: &str) -> Error {
    let all = [spec::explain::faults(), spec::explain::probes()].concat();
    no_such("fault or probe", kind, &all)
}

fn no_such(what: &str, kind: &str, all: &[(String, String)]) -> Error {
    let words: Vec<&str> = all.iter().map(|(word, _)| word.as_str()).collect();
    Error::mistake(format!("there is no {what} `{kind}`")).hint(match nearest(kind, &words) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are: {}", words.join(", ")),
    })
}

/// The experiment that the command line stands for.
fn text(args: &Args) -> Result<String> {
    let fields = spec::explain::fields(&args.kind).ok_or_else(|| unknown(&args.kind))?;
    let mut targets = Vec::new();
    let mut lines = Vec::new();
    if let Some(on) = &args.on {
        targets.push(format!("  on: {}\n", selector(on)?));
        if fields.iter().any(|field| field == "on") && !args.fields.iter().any(|pair| pair.starts_with("on="))
        {
            lines.push("          on: on\n".to_owned());
        }
    }
    for target in &args.targets {
        let (name, rest) = pair(target, "--target", "store=service=store")?;
        targets.push(format!("  {}: {}\n", quoted(name), selector(rest)?));
    }
    if targets.is_empty() {
        return Err(Error::mistake("nothing says which containers the fault aims at")
            .hint("write `--on NAME`, or `--on service=api`"));
    }
    for field in &args.fields {
        let (name, value) = pair(field, "the field", "delay=200ms")?;
        lines.push(format!("          {name}: {value}\n"));
    }
    Ok(format!(
        "experiment: {}\ntargets:\n{}phases:\n  fault:\n    for: {}\n    faults:\n      - {}:\n{}",
        quoted(&format!("{} by hand", args.kind)),
        targets.concat(),
        args.lasts,
        args.kind,
        lines.concat(),
    ))
}

/// `service=api,pick=1` as a target of the language.
fn selector(text: &str) -> Result<String> {
    let mut parts = Vec::new();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').unwrap_or(("name", part));
        if value.is_empty() || key.is_empty() || part.chars().any(char::is_control) {
            return Err(Error::mistake(format!("`{}` does not select containers", text.escape_debug()))
                .hint("write a container's name, or `service=api`, `label=app=web`, `re=web-.*`"));
        }
        parts.push(format!("{}: {}", quoted(key), quoted(value)));
    }
    Ok(format!("{{ {} }}", parts.join(", ")))
}

/// A name and what is behind the first `=`; on one line, so that it stays where it is put.
fn pair<'a>(text: &'a str, what: &str, example: &str) -> Result<(&'a str, &'a str)> {
    text.split_once('=')
        .filter(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        })
        .filter(|_| !text.chars().any(char::is_control))
        .ok_or_else(|| {
            Error::mistake(format!("{what} `{}` is not NAME=VALUE", text.escape_debug()))
                .hint(format!("write it as `{example}`"))
        })
}

/// A text as YAML reads it whatever is in it.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is plain data")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn experiment(words: &[&str]) -> Result<String, String> {
        let line = Line::try_parse_from([&["fault"], words].concat()).map_err(|error| error.to_string())?;
        let text = text(&line.args).map_err(|error| error.to_string())?;
        let input = Input { file: FILE.into(), text, judging: Judging::Left, ..Input::default() };
        spec::parse(&input).map(|_| input.text.clone()).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_line_becomes_an_experiment() {
        let lines: [&[&str]; 3] = [
            &["latency", "delay=200ms", "ports=[8080]", "--on", "service=api,pick=1", "--for", "10s"],
            &[
                "partition",
                "groups={ a: [left], b: [right] }",
                "--target",
                "left=x",
                "--target",
                "right=label=a=b",
            ],
            &["flaky", "on_for=1s", "off_for=1s", "fault={ loss: { on: on, share: 10% } }", "--on", "api-1"],
        ];
        let texts: Vec<_> = lines.iter().map(|words| experiment(words).unwrap()).collect();
        insta::assert_snapshot!("experiments", texts.join("\n------\n"));
    }

    #[test]
    fn mistakes_of_a_line_are_told() {
        let lines: [&[&str]; 6] = [
            &["latncy", "--on", "x"],
            &["latency", "delay=200ms"],
            &["latency", "delay", "--on", "x"],
            &["latency", "delay=200", "--on", "x"],
            &["latency", "delay=1s", "--on", "service="],
            &["latency", "delay=1s\nphases: {}", "--on", "x"],
        ];
        let answers: Vec<_> = lines.iter().map(|words| experiment(words).unwrap_err()).collect();
        insta::assert_snapshot!("mistakes", answers.join("\n------\n"));
    }
}
