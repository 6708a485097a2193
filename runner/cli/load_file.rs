//! Reads an experiment for a verb: the file or stdin, the `--set` overrides, the process's environment.
//!
//! The one place where the pure language meets files and the environment. Start at [`experiment`].

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Problem, Result};
use crate::spec::yaml::MAX_TEXT_BYTES;
use crate::spec::{self, Experiment, Input};

/// Reads and checks the experiment at `path` (`-`: stdin) with the overrides `sets`, each `PATH=VALUE`.
/// Returns it with its text, in which its spans are places.
pub fn experiment(path: &Path, sets: &[String]) -> Result<(Experiment, String)> {
    let input = input(path, sets)?;
    let mut experiment = spec::parse(&input)?;
    let missing = find_files(&mut experiment, path.parent().unwrap_or(Path::new("")));
    if missing.is_empty() { Ok((experiment, input.all_text())) } else { Err(input.problems(missing).into()) }
}

/// Finds the files that the loads name beside the experiment, in `dir`, and makes their paths usable from
/// here; returns those that can't be opened.
fn find_files(experiment: &mut Experiment, dir: &Path) -> Vec<Problem> {
    let mut missing = Vec::new();
    for file in experiment.load.0.iter_mut().flat_map(|(_, load)| load.files_mut()) {
        let path = dir.join(&file.value);
        match std::fs::File::open(&path) {
            Ok(_) => file.value = path.to_string_lossy().into_owned(),
            Err(error) => missing.push(Problem {
                span: file.span,
                message: format!("could not open `{}`: {error}", path.display()),
                hint: Some("paths are relative to the experiment's file".into()),
            }),
        }
    }
    missing
}

/// Reads what `experiment` parses. Fails if the file can't be read, is too large or is not UTF-8.
pub fn input(path: &Path, sets: &[String]) -> Result<Input> {
    let overrides = sets.iter().map(|set| override_of(set)).collect::<Result<_>>()?;
    let (file, text) = if path == Path::new("-") {
        ("<stdin>".to_owned(), read(std::io::stdin().lock()))
    } else {
        (path.display().to_string(), std::fs::File::open(path).and_then(read))
    };
    let bytes = text.map_err(|error| Error::mistake(format!("could not read `{file}`")).because(error))?;
    if bytes.len() > MAX_TEXT_BYTES {
        let message = format!("`{file}` is larger than {MAX_TEXT_BYTES} bytes");
        return Err(Error::mistake(message).hint("no experiment needs that; is this the right file?"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::mistake(format!("`{file}` is not UTF-8 text: line {line} has a stray byte"))
            .hint("save it as UTF-8, without another encoding's accents")
    })?;
    // A variable that is not UTF-8 can't stand in a UTF-8 file, so it counts as not set.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Ok(Input { file, text, overrides, variables })
}

/// Reads no more than what can be refused as too much.
fn read(source: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn override_of(set: &str) -> Result<(String, String)> {
    let (path, value) = set.split_once('=').ok_or_else(|| {
        Error::mistake(format!("`--set {set}` has no `=`"))
            .hint("write a path and a value: `--set load.shoppers.rate=100/s`")
    })?;
    Ok((path.trim().to_owned(), value.to_owned()))
}
