//! `chaos report`: judges a run again and remakes its reports, from its journal alone.

use std::io::Write;
use std::path::PathBuf;

use super::print;
use crate::error::{Error, Exit, Result};
use crate::output;
use crate::report::FORMATS;
use crate::view::ink_for;

/// Arguments of `chaos report`.
#[derive(clap::Args)]
#[command(after_help = "Exits as the run is judged now: 0 held, 1 failed, and so on.")]
pub struct Args {
    /// The run: its directory, or its id under reports/.
    #[arg(required_unless_present = "list")]
    run: Option<PathBuf>,
    /// One form of report (see --list), printed unless --out is given. `all` saves every form that has a
    /// file and prints the summary.
    #[arg(long, value_name = "FORMAT", default_value = "all")]
    format: String,
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
    let format = FORMATS.iter().find(|format| format.name == args.format);
    if format.is_none() && args.format != "all" {
        let known: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
        return Err(Error::mistake(format!("`{}` is no form of report", args.format))
            .hint(format!("one of all, {}", known.join(", "))));
    }
    let concluded = output::conclude(&output::find_run(&name)?)?;
    if concluded.journal.skipped > 0 {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(
            std::io::stderr(),
            "warning: {} events that only a newer version knows were skipped",
            concluded.journal.skipped
        );
    }
    let dir = args.out.as_deref().unwrap_or(&concluded.dir);
    let ink = ink_for(&std::io::stdout());
    match format {
        Some(format) if format.file.is_some() && args.out.is_some() => {
            concluded.save(dir, Some(format.name))?;
        }
        Some(format) => print(&concluded.render(format, dir, ink))?,
        None => {
            concluded.save(dir, None)?;
            print(&concluded.summary(dir, ink))?;
        }
    }
    judged_exit(&concluded)
}

/// The exit that a judged run calls for.
pub(super) fn judged_exit(concluded: &output::Concluded) -> Result<Exit> {
    Exit::from_code(concluded.judgement.exit_code)
        .ok_or_else(|| Error::mistake("the judgement has an exit code that does not exist"))
}

fn list() -> String {
    let row = |format: &crate::report::Format| {
        format!("{:<10}{:<14}{}\n", format.name, format.file.unwrap_or("(printed)"), format.about)
    };
    FORMATS.iter().map(row).collect()
}
