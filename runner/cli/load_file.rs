//! Reads an experiment for a verb: the file or stdin, the `--set` overrides, the process's environment.
//!
//! The one place where the pure language meets files and the environment. Start at [`experiment`].

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Problem, Result};
use crate::load::{offsets, rows};
use crate::spec::shape::{Shape, Varying};
use crate::spec::yaml::MAX_TEXT_BYTES;
use crate::spec::{self, Experiment, Guard, Input, Probe, Steady};

/// Reads and checks the experiment at `path` (`-`: stdin) with the overrides `sets`, each `PATH=VALUE`.
/// Returns it with its text, in which its spans are places. Recordings that it replays and files of rows
/// are looked at, too, and their paths, relative to the experiment's file, become such as can be opened from
/// here.
pub fn experiment(path: &Path, sets: &[String]) -> Result<(Experiment, String)> {
    let input = input(path, sets)?;
    let mut experiment = spec::parse(&input)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut problems = recordings(&mut experiment, folder);
    problems.extend(rows::find(&mut experiment, folder));
    problems.extend(files(&mut experiment, folder));
    if !problems.is_empty() {
        return Err(input.problems(problems).into());
    }
    Ok((experiment, input.all_text()))
}

/// Finds the files that loads, probes and SLOs name beside the experiment, in `folder`, and makes their paths usable from
/// here; returns those that can't be opened.
fn files(experiment: &mut Experiment, folder: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    let loads = experiment.load.0.iter_mut().flat_map(|(_, load)| load.files_mut());
    let steady = experiment.steady_state.iter_mut().filter_map(|steady| match steady {
        Steady::Probe(entry) => Some(&mut entry.value.probe),
        Steady::Check(_) => None,
    });
    let guards = experiment.abort.iter_mut().filter_map(|guard| match guard {
        Guard::Probe(guard) => Some(&mut guard.value.probe),
        Guard::Check(_) | Guard::Unhealthy(_) => None,
    });
    let named = experiment.probes.0.iter_mut().map(|(_, probe)| probe);
    let probes = steady.chain(guards).chain(named).flat_map(Probe::files_mut);
    let slos = experiment.slos.0.iter_mut().flat_map(|(_, slo)| slo.sli.files_mut());
    for file in loads.chain(probes).chain(slos) {
        let found = folder.join(&file.value);
        match std::fs::File::open(&found) {
            Ok(_) => file.value = found.to_string_lossy().into_owned(),
            Err(error) => problems.push(Problem {
                span: file.span,
                message: format!("could not open `{}`: {error}", found.display()),
                hint: Some("paths are relative to the experiment's file".into()),
            }),
        }
    }
    problems
}

/// Finds and checks the recordings of every load that replays one; says what is wrong with them.
fn recordings(experiment: &mut Experiment, folder: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (_, load) in &mut experiment.load.0 {
        let shape = load.rate.as_mut().map(|rate| &mut rate.value);
        let Some(Shape::Varying(Varying::Replay(file))) = shape else { continue };
        let found = folder.join(&file.value);
        match offsets::check(&found) {
            Ok(_) => file.value = found.display().to_string(),
            Err(refusal) => {
                problems.push(Problem { span: file.span, message: refusal.message, hint: Some(refusal.hint) })
            }
        }
    }
    problems
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
    Ok(Input { file, text, overrides, variables, ..Input::default() })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of an experiment that replays `offsets.txt` beside it.
    fn read(offsets: Option<&str>) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.yaml");
        let load = "{ rate: { replay: offsets.txt }, requests: [ { get: 'http://127.0.0.1/' } ] }";
        let text =
            format!("experiment: a replay\nload:\n  users: {load}\nphases: {{ only: {{ for: 1s }} }}\n");
        std::fs::write(&path, text).unwrap();
        if let Some(offsets) = offsets {
            std::fs::write(folder.path().join("offsets.txt"), offsets).unwrap();
        }
        let shown = |text: String| text.replace(&folder.path().display().to_string(), "DIR");
        match experiment(&path, &[]) {
            Ok((experiment, _)) => {
                Ok(shown(experiment.load.get("users").unwrap().rate.as_ref().unwrap().to_string()))
            }
            Err(error) => Err(shown(error.to_string())),
        }
    }

    #[test]
    fn a_recording_is_found_beside_its_experiment() {
        assert_eq!(read(Some("0.5\n1.5\n")), Ok("replay of DIR/offsets.txt".into()));
    }

    #[test]
    fn says_what_is_wrong_with_a_recording() {
        let answers = [None, Some("2s\n1s\n")].map(|offsets| read(offsets).unwrap_err());
        insta::assert_snapshot!("recordings", answers.join("\n\n------\n\n"));
    }

    /// What is said of an experiment whose data are this text, in a file beside it.
    fn with_data(data: Option<&str>) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.yaml");
        let text = "experiment: data\nload:\n  users:\n    rate: 1/s\n    data: { people: { csv: people.csv } }\n    \
                    requests: [ { get: 'http://127.0.0.1/{{ people.id }}' } ]\nphases: { only: { for: 1s } }\n";
        std::fs::write(&path, text).unwrap();
        if let Some(data) = data {
            std::fs::write(folder.path().join("people.csv"), data).unwrap();
        }
        let shown = |text: String| text.replace(&folder.path().display().to_string(), "DIR");
        match experiment(&path, &[]) {
            Ok((experiment, _)) => Ok(shown(format!("{:?}", experiment.load.0[0].1.data.0[0].1))),
            Err(error) => Err(shown(error.to_string())),
        }
    }

    #[test]
    fn data_are_found_beside_their_experiment() {
        let found = with_data(Some("id\n1\n")).expect("it is well");
        assert!(found.contains("DIR/people.csv"), "{found}");
    }

    #[test]
    fn says_what_is_wrong_with_data() {
        let data = [None, Some(""), Some("name\n1\n"), Some("id,name\n1,a\n2\n")];
        let answers = data.map(|data| with_data(data).expect_err("it is wrong"));
        insta::assert_snapshot!("data", answers.join("\n\n------\n\n"));
    }
}
