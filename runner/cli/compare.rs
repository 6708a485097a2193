//! `chaos compare`: what changed between runs, and whether that is more than chance.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::print;
use crate::compare::{Comparison, Run, compare, markdown, page, text};
use crate::error::{Exit, Result};
use crate::output::{self, Concluded};
use crate::units::Ratio;
use crate::view::ink_for;

/// Arguments of `chaos compare`.
#[derive(clap::Args)]
#[command(
    after_help = "Exits 0 without a regression, 1 with one, and 5 where nothing could be compared. A side of several \
    runs is written with commas: `chaos compare A1,A2,A3 B1,B2,B3`. From three runs a side on, how much runs differ \
    from one another is taken into account."
)]
pub struct Args {
    /// The run, or runs, that are as they should be: directories, or ids under reports/.
    base: String,
    /// The runs to compare with it: all of them together are the other side.
    #[arg(required = true)]
    new: Vec<String>,
    /// How much a time or a rate must change to matter.
    #[arg(long, value_name = "SHARE", default_value = "5%")]
    tolerance: Ratio,
    /// How to print it.
    #[arg(long, value_enum, default_value = "text")]
    format: Form,
    /// Save it here instead of printing it; the summary is printed then.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A form of comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Lines for a terminal.
    Text,
    /// For a pull request's comment.
    Markdown,
    /// One page for a browser.
    Html,
    /// `chaos.compare/1`, for programs.
    Json,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit> {
    let base = conclude(args.base.split(','))?;
    let new = conclude(args.new.iter().flat_map(|names| names.split(',')))?;
    let found = between(&base, &new, args.tolerance);
    let ink = ink_for(&std::io::stdout());
    let made = match args.format {
        Form::Text if args.out.is_none() => text::render(&found, ink),
        Form::Text => text::render(&found, crate::report::Ink::Plain),
        Form::Markdown => markdown::render(&found),
        Form::Html => page::render(&found),
        Form::Json => {
            let json = serde_json::to_string_pretty(&found);
            json.expect("a comparison has text keys only, so JSON can hold it") + "\n"
        }
    };
    match &args.out {
        Some(path) => {
            output::replace(path, made.as_bytes())?;
            print(&text::render(&found, ink))?;
        }
        None => print(&made)?,
    }
    Ok(match (found.regressed, found.rows.is_empty()) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Invalid,
        (false, false) => Exit::Held,
    })
}

/// Reads runs back and judges them.
pub(super) fn conclude<'n>(names: impl Iterator<Item = &'n str>) -> Result<Vec<Concluded>> {
    names.map(|name| output::conclude(&output::find_run(Path::new(name.trim()))?)).collect()
}

/// Compares what was read back.
pub(super) fn between(base: &[Concluded], new: &[Concluded], tolerance: Ratio) -> Comparison {
    fn runs(side: &[Concluded]) -> Vec<Run<'_>> {
        side.iter().map(Concluded::compared).collect()
    }
    compare(&runs(base), &runs(new), tolerance)
}
