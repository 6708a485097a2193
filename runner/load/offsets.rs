//! Recorded offsets: the file that a load replays, checked whole before a run and streamed during it.
//!
//! A line is the time since the load's start, as a duration (`1.5s`) or as seconds (`1.5`), in ascending
//! order. Never in memory at once: a recording of a day may be larger than this machine. Start at [`check`].

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use crate::units::Duration;

/// The longest line that is read: no offset is longer, and a file that is no text has no lines.
const MAX_LINE_BYTES: u64 = 1_024;

/// Why a recording can't be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, with the file and the line.
    pub message: String,
    /// What mends it.
    pub hint: String,
}

/// Reads all of a recording and says how many arrivals it has (at least 1), or the first thing wrong with it.
pub fn check(path: &Path) -> Result<u64, Refusal> {
    let mut lines = Lines::open(path)?;
    let mut count = 0;
    while lines.read()?.is_some() {
        count += 1;
    }
    if count == 0 {
        return Err(refusal(
            format!("`{}` has no offsets", path.display()),
            "write a line for each arrival, such as `1.5s`",
        ));
    }
    Ok(count)
}

/// The offsets of a recording in nanoseconds, as they are read. They end with the file, and at whatever is
/// wrong with it: [`check`] it first.
pub fn open(path: &Path) -> Result<impl Iterator<Item = u64> + Send + 'static, Refusal> {
    let mut lines = Lines::open(path)?;
    Ok(std::iter::from_fn(move || lines.read().ok().flatten()))
}

/// A recording, line by line.
struct Lines {
    name: String,
    file: BufReader<File>,
    number: u64,
    last: Duration,
    line: Vec<u8>,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, Refusal> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| {
            let hint = "paths are relative to the experiment's file";
            refusal(format!("could not read the offsets in `{name}`: {error}"), hint)
        })?;
        Ok(Self { name, file: BufReader::new(file), number: 0, last: Duration::ZERO, line: Vec::new() })
    }

    /// The next offset; nothing at the end.
    fn read(&mut self) -> Result<Option<u64>, Refusal> {
        loop {
            self.number += 1;
            self.line.clear();
            let read = (&mut self.file).take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line);
            if read.map_err(|error| self.wrong(&format!("could not be read: {error}"), "is it a file?"))? == 0
            {
                return Ok(None);
            }
            if self.line.len() as u64 == MAX_LINE_BYTES {
                return Err(self.wrong("this line is too long for an offset", "is it the right file?"));
            }
            let text = String::from_utf8_lossy(&self.line);
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let Ok(offset) = text.parse().or_else(|_| format!("{text}s").parse::<Duration>()) else {
                let shown: String = text.chars().take(40).filter(|c| !c.is_control()).collect();
                let hint = "write the time since the load's start, such as `1.5s` or `1.5`";
                return Err(self.wrong(&format!("`{shown}` is neither a duration nor seconds"), hint));
            };
            if offset < self.last {
                let what = format!("`{text}` comes before the offset above it ({})", self.last);
                return Err(self.wrong(&what, "sort the lines, earliest first"));
            }
            self.last = offset;
            return Ok(Some(offset.as_ns()));
        }
    }

    fn wrong(&self, what: &str, hint: &str) -> Refusal {
        refusal(format!("{}:{}: {what}", self.name, self.number), hint)
    }
}

fn refusal(message: String, hint: &str) -> Refusal {
    Refusal { message, hint: hint.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The offsets of a file with this text, or what is said about it.
    fn read(text: &str) -> Result<Vec<u64>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offsets.txt");
        std::fs::write(&path, text).unwrap();
        let said = |refusal: Refusal| {
            let message = refusal.message.replace(&folder.path().display().to_string(), "DIR");
            format!("{message} ({})", refusal.hint)
        };
        let count = check(&path).map_err(said)?;
        let offsets: Vec<u64> = open(&path).map_err(said)?.collect();
        assert_eq!(offsets.len() as u64, count);
        Ok(offsets)
    }

    #[test]
    fn reads_durations_and_seconds() {
        let text = "# recorded on a Monday\n0\n0.5\n\n500ms\n1m\n61.000000001\n";
        let expected = vec![0, 500_000_000, 500_000_000, 60_000_000_000, 61_000_000_001];
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read("7"), Ok(vec![7_000_000_000]), "a last line without its end");
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let long = "1".repeat(3_000);
        let texts = ["", "# nothing\n", "1s\nsoon\n", "1s\n3s\n2s\n", "-1\n", "1e9\n", "\u{1b}[2J\n", &long];
        let answers: Vec<_> = texts.iter().map(|text| read(text).unwrap_err()).collect();
        insta::assert_snapshot!("offsets", answers.join("\n"));
        let missing = check(Path::new("/nowhere/offsets.txt")).unwrap_err();
        insta::assert_snapshot!("offsets_missing", format!("{} ({})", missing.message, missing.hint));
    }
}
