//! `chaos report`: judges a run again and remakes its reports, from its journal alone.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::print;
use crate::error::{Error, Exit, Result};
use crate::output::{self, Concluded};
use crate::report::{FORMATS, Format};
use crate::view::ink_for;

/// Arguments of `chaos report`.
#[derive(clap::Args)]
#[command(after_help = "Exits as the run is judged now: 0 held, 1 failed, and so on.")]
pub struct Args {
    /// The run: its directory, or its id under reports/.
    #[arg(required_unless_present = "list")]
    run: Option<PathBuf>,
    /// Forms of report (see --list), with commas between them. One is printed unless --out is given; several are saved.
    /// `all` saves every form that has a file. Left out: what every run has is saved, and the summary printed.
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    format: Vec<String>,
    /// Where to save files [default: beside the journal].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// List the forms of report.
    #[arg(long)]
    list: bool,
}

/// Runs the verb. The exit is that of the run as judged now.
pub fn run(args: Args) -> Result<Exit> {
    if args.list {
        print(&list())?;
        return Ok(Exit::Held);
    }
    let name = args.run.expect("the command line demands a run without --list");
    let asked = formats(&args.format)?;
    let concluded = conclude(&name)?;
    let dir = args.out.as_deref().unwrap_or(&concluded.dir);
    let ink = ink_for(&std::io::stdout());
    match asked.as_slice() {
        [] => {
            concluded.save(dir)?;
            print(&concluded.summary(dir, ink))?;
        }
        [one] if args.out.is_none() || one.file().is_none() => print(&concluded.render(one, dir, ink))?,
        several => {
            for format in several {
                concluded.save_one(format, dir)?;
            }
            if args.format == ["all"] {
                print(&concluded.summary(dir, ink))?;
            }
        }
    }
    judged_exit(&concluded)
}

/// Reads a run back and judges it, saying what of it could not be read.
pub(super) fn conclude(name: &Path) -> Result<Concluded> {
    let concluded = output::conclude(&output::find_run(name)?)?;
    let skipped = concluded.journal.skipped.len();
    if skipped > 0 {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(
            std::io::stderr(),
            "warning: {skipped} events that only a newer version knows were skipped"
        );
    }
    Ok(concluded)
}

/// The forms of these names; every one that has a file for `all`.
fn formats(names: &[String]) -> Result<Vec<&'static Format>> {
    if names == ["all"] {
        return Ok(FORMATS.iter().filter(|format| format.file().is_some()).collect());
    }
    let asked: Vec<_> = names.iter().map(|name| named(name)).collect::<Result<_>>()?;
    match asked.iter().find(|format| asked.len() > 1 && format.file().is_none()) {
        Some(printed) => {
            Err(Error::mistake(format!("`{}` is only printed and can't be saved", printed.name))
                .hint("ask for it by itself"))
        }
        None => Ok(asked),
    }
}

fn named(name: &str) -> Result<&'static Format> {
    Format::named(name).ok_or_else(|| {
        let known: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
        Error::mistake(format!("`{name}` is no form of report"))
            .hint(format!("one of all, {}", known.join(", ")))
    })
}

/// A form of report that a run is to leave somewhere, as it was asked for: `NAME`, `NAME=FILE`, `NAME=-`.
#[derive(Clone)]
pub(super) struct Wanted {
    format: &'static Format,
    to: To,
}

/// Where to.
#[derive(Clone, PartialEq, Eq)]
enum To {
    /// The run's directory, under its own name.
    Beside,
    /// Stdout, after the summary.
    Stdout,
    /// This file.
    File(PathBuf),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, to) = text.split_once('=').unwrap_or((text, ""));
        let known = || FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ");
        let format = Format::named(name)
            .ok_or_else(|| format!("`{name}` is no form of report; there are: {}", known()))?;
        let to = match to {
            "" => To::Beside,
            "-" => To::Stdout,
            file => To::File(file.into()),
        };
        if format.file().is_none() && to == To::Beside {
            return Err(format!(
                "`{name}` has no file of its own: write {name}=FILE, or {name}=- for stdout"
            ));
        }
        Ok(Self { format, to })
    }
}

impl Wanted {
    /// True of what is to be printed.
    pub fn is_printed(&self) -> bool {
        self.to == To::Stdout
    }

    /// Fails now rather than after the run, where a file can't be written.
    pub fn check(&self) -> Result<()> {
        match &self.to {
            To::File(file) => super::load::writable(file),
            To::Beside | To::Stdout => Ok(()),
        }
    }

    /// Leaves the report of `ran` where it was wanted.
    pub fn leave(&self, ran: &Concluded) -> Result<()> {
        match &self.to {
            To::Beside => ran.save_one(self.format, &ran.dir).map(drop),
            To::Stdout => print(&ran.render(self.format, &ran.dir, ink_for(&std::io::stdout()))),
            To::File(file) => ran.save_as(self.format, file),
        }
    }
}

/// The exit that a judged run calls for.
pub(super) fn judged_exit(concluded: &Concluded) -> Result<Exit> {
    Exit::from_code(concluded.judgement.exit_code)
        .ok_or_else(|| Error::mistake("the judgement has an exit code that does not exist"))
}

fn list() -> String {
    let row = |name: &str, file: &str, about: &str, checked_by: &str| {
        format!("{name:<14}{file:<29}{about}\n{:43}checked by: {checked_by}\n", "")
    };
    let mut rows =
        String::from("Forms of report. What has a file and is marked * is saved with every run.\n\n");
    for format in &FORMATS {
        let file = match format.saved {
            crate::report::Saved::Always(file) => format!("{file} *"),
            crate::report::Saved::Asked(file) => file.to_owned(),
            crate::report::Saved::Never => "(printed)".to_owned(),
        };
        rows.push_str(&row(format.name, &file, format.about, format.checked_by));
    }
    rows
}
