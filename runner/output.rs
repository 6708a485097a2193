//! A run's directory: reading its journal, judging it, and saving the reports beside it.
//!
//! The one place where reports meet the file system. A run that ends and `chaos report` a year later both
//! come through [`conclude`], from the journal on disk, so what they save is the same to the byte.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::journal::{self, Journal};
use crate::report::{Case, FORMATS, Format, Ink, Saved};
use crate::verdict::{Judgement, judge};

/// Where runs land unless `--out` says otherwise.
pub const RUNS: &str = "reports";

/// A run read back and judged.
#[derive(Debug)]
pub struct Concluded {
    /// The journal's directory.
    pub dir: PathBuf,
    /// What happened.
    pub journal: Journal,
    /// What it came to.
    pub judgement: Judgement,
}

/// Reads the journal in `dir` and judges it. Saves nothing.
pub fn conclude(dir: &Path) -> Result<Concluded> {
    let journal = journal::read(&dir.join(journal::FILE))?;
    let judgement = judge(&journal.started.plan, &journal.entries);
    Ok(Concluded { dir: dir.to_owned(), journal, judgement })
}

impl Concluded {
    /// The run as one to be compared.
    pub fn compared(&self) -> crate::compare::Run<'_> {
        crate::compare::Run {
            started: &self.journal.started,
            entries: &self.journal.entries,
            judgement: &self.judgement,
        }
    }

    /// Takes in what was noted since, and judges anew.
    pub fn judge_with(&mut self, entry: crate::event::Entry) {
        self.journal.entries.push(entry);
        self.judgement = judge(&self.journal.started.plan, &self.journal.entries);
    }

    /// The report in `format`; `dir` is where its files are, for the summary.
    pub fn render(&self, format: &Format, dir: &Path, ink: Ink) -> String {
        let dir = dir.display().to_string();
        let case = Case {
            started: &self.journal.started,
            entries: &self.journal.entries,
            judgement: &self.judgement,
            skipped: &self.journal.skipped,
            cut_short: self.journal.cut_short.as_deref(),
            dir: &dir,
        };
        (format.render)(&case, ink)
    }

    /// The summary to print; `dir` is where the files are.
    pub fn summary(&self, dir: &Path, ink: Ink) -> String {
        self.render(Format::named("terminal").expect("one form is for terminals"), dir, ink)
    }

    /// Saves every form that each run has in `dir`, which is made if need be. Gives the paths written.
    pub fn save(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let always = FORMATS.iter().filter(|format| matches!(format.saved, Saved::Always(_)));
        always.map(|format| self.save_one(format, dir)).collect()
    }

    /// Saves one form in `dir` under its own name, replaced whole or not at all. Gives the path written.
    ///
    /// # Panics
    ///
    /// If it has no file: our own bug.
    pub fn save_one(&self, format: &Format, dir: &Path) -> Result<PathBuf> {
        let path = dir.join(format.file().expect("only forms that have a file are saved"));
        self.save_as(format, &path)?;
        Ok(path)
    }

    /// Saves one form as `path`, replaced whole or not at all.
    pub fn save_as(&self, format: &Format, path: &Path) -> Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        replace(path, self.render(format, dir, Ink::Plain).as_bytes())
    }
}

/// Writes `path` by way of a file beside it, so that readers and crashes see the old one or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error| Error::environment(format!("could not write {}", path.display())).because(error);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = || {
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|error| {
        // What failed to be written is of no use to anyone; the first error is the one that counts.
        let _ = std::fs::remove_file(&beside);
        failed(error)
    })
}

/// The directory of run `name`: a run's directory or its journal, else a run of that id under [`RUNS`].
pub fn find_run(name: &Path) -> Result<PathBuf> {
    if name.file_name().is_some_and(|file| file == journal::FILE) && name.is_file() {
        let dir = name.parent().filter(|dir| !dir.as_os_str().is_empty());
        return Ok(dir.unwrap_or(Path::new(".")).to_owned());
    }
    let places = [name.to_owned(), Path::new(RUNS).join(name)];
    if let Some(dir) = places.iter().find(|dir| dir.join(journal::FILE).is_file()) {
        return Ok(dir.clone());
    }
    Err(Error::mistake(format!("no run at `{}`: it has no {}", name.display(), journal::FILE))
        .hint(runs_hint()))
}

/// The most runs named in a hint.
const HINT_RUNS: usize = 5;

/// Names the latest runs there are; ids sort by time.
fn runs_hint() -> String {
    let mut runs: Vec<String> = std::fs::read_dir(RUNS)
        .into_iter()
        .flatten()
        .filter_map(std::result::Result::ok)
        .filter(|entry| entry.path().join(journal::FILE).is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    runs.sort_unstable_by(|one, other| other.cmp(one));
    runs.truncate(HINT_RUNS);
    if runs.is_empty() {
        format!("give a run's directory, or a run's id under {RUNS}/ (there is none yet)")
    } else {
        format!("give a run's directory, or a run's id under {RUNS}/: {}", runs.join(", "))
    }
}
