//! The journal: a run's events on disk, one JSON object a line, written as they happen.
//!
//! It is the run's only memory, so it must survive what the run does not. Every event reaches the file
//! before [`Writer::append`] returns, and the disk soon after whenever something changed that a reader must
//! not miss (`journal/syncer.rs`). [`read`] takes whatever a crash left: a torn last line and a missing end are
//! said, not refused.
//!
//! Reading believes nothing after the first line that is damaged: a hole could hide the request that failed.
//! Kinds of events that this version does not know are skipped and counted, as newer ones may add some.
//! Nothing here judges or formats; pure parts never import this, they get the entries.

mod syncer;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::error::{Error, Exit, Result};
use crate::event::{Entry, Event, SCHEMA, Started};
use syncer::{Syncer, Urgency};

/// The journal's name in a run's directory.
pub const FILE: &str = "journal.jsonl";

/// The longest line read. A plan with a thousand steps takes a megabyte.
const MAX_LINE_BYTES: usize = 16 << 20;

/// The most entries read: a day of ten loads, with room. Ends hostile files before memory does.
const MAX_ENTRIES: usize = 4_000_000;

/// The most bytes read.
const MAX_BYTES: u64 = 4 << 30;

/// The write buffer is given back to the allocator when a line needed more than this.
const KEEP_BUFFER_BYTES: usize = 1 << 20;

/// Every kind of event this version knows, by the word in the `event` field.
const KINDS: [&str; 30] = [
    "started",
    "recovered",
    "lab",
    "armed",
    "phase",
    "applied",
    "not_applied",
    "evidence",
    "reach",
    "undone",
    "lost",
    "lapsed",
    "unhealed",
    "load",
    "rate",
    "trial",
    "capacity",
    "tick",
    "steady",
    "probe",
    "indicator",
    "guard",
    "alert",
    "container",
    "interrupted",
    "broke",
    "generator",
    "finished",
    "compared",
    "verdict",
];

/// Appends events to a journal.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    clock: Clock,
    line: Vec<u8>,
    /// The end of the file may be half a line: a write failed.
    torn: bool,
    syncer: Syncer,
}

/// A line as it is written: [`Entry`] by reference.
#[derive(Serialize)]
struct Line<'e> {
    t_ns: u64,
    #[serde(flatten)]
    event: &'e Event,
}

impl Writer {
    /// Starts a journal at `path`, which must not exist yet: a journal is never overwritten.
    pub fn create(path: &Path, clock: Clock) -> Result<Self> {
        let file = File::options().append(true).create_new(true).open(path).map_err(|error| {
            let failed = Error::environment(format!("could not create the journal {}", path.display()));
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                failed.hint("choose another directory with `--out DIR`, or remove this one").because(error)
            } else {
                failed.because(error)
            }
        })?;
        let syncer = file.try_clone().and_then(|file| Syncer::start(move || file.sync_data()));
        let syncer = syncer.map_err(|error| {
            Error::environment(format!("could not write the journal {}", path.display())).because(error)
        })?;
        Ok(Self { path: path.to_owned(), file, clock, line: Vec::new(), torn: false, syncer })
    }

    /// Notes that `event` happened now, and says when that was: `t_ns` of its line. The line is in the file
    /// when this returns. The start and the end are on the disk, too; phase changes are as soon as the disk has
    /// them, changes to containers within 50 ms of that. After an error the event is lost, or an earlier one may
    /// not be on the disk, but the journal can go on.
    pub fn append(&mut self, event: &Event) -> Result<u64> {
        let t_ns = self.clock.now_ns();
        self.line.clear();
        if self.torn {
            self.line.push(b'\n');
        }
        serde_json::to_writer(&mut self.line, &Line { t_ns, event })
            .map_err(|error| self.failed("write an event to").because(error))?;
        self.line.push(b'\n');
        // One write for one line: a reader, or a crash, sees it whole or torn at the very end.
        let written = self.file.write_all(&self.line);
        self.torn = written.is_err();
        written.map_err(|error| self.failed("write an event to").because(error))?;
        if self.line.capacity() > KEEP_BUFFER_BYTES {
            self.line = Vec::new();
        }
        self.syncer.ask(urgency(event)).map_err(|error| self.failed("sync").because(error))?;
        Ok(t_ns)
    }

    fn failed(&self, what: &str) -> Error {
        Error::environment(format!("could not {what} the journal {}", self.path.display()))
    }
}

const fn urgency(event: &Event) -> Urgency {
    match event {
        Event::Started(_) | Event::Finished | Event::Compared(_) | Event::Verdict { .. } => Urgency::Waited,
        Event::Phase { .. } => Urgency::Now,
        Event::Applied { .. }
        | Event::NotApplied { .. }
        | Event::Undone { .. }
        | Event::Lost { .. }
        | Event::Lapsed { .. }
        | Event::Unhealed { .. }
        | Event::Guard { .. }
        | Event::Alert { .. }
        | Event::Interrupted { .. }
        | Event::Broke { .. } => Urgency::Soon,
        Event::Recovered { .. }
        | Event::Lab { .. }
        | Event::Armed { .. }
        | Event::Evidence { .. }
        | Event::Reach { .. }
        | Event::Load { .. }
        | Event::Rate { .. }
        | Event::Trial { .. }
        | Event::Capacity { .. }
        | Event::Tick(_)
        | Event::Steady { .. }
        | Event::Probe { .. }
        | Event::Indicator { .. }
        | Event::Container { .. }
        | Event::Generator(_) => Urgency::None,
    }
}

/// A journal as it was read.
#[derive(Clone, Debug)]
pub struct Journal {
    /// The first event.
    pub started: Box<Started>,
    /// Every event that could be read, the first one included, in the order written. Never empty.
    pub entries: Vec<Entry>,
    /// Why the end is missing, to be said after "the journal was cut short: "; nothing for a whole one.
    pub cut_short: Option<String>,
    /// Lines, from 1, of events of a kind that only a newer version knows.
    pub skipped: Vec<usize>,
}

/// Just enough of a line to say what it is.
#[derive(Deserialize)]
struct Head {
    event: String,
    #[serde(default)]
    schema: Option<String>,
    #[serde(default)]
    version: Option<String>,
}

/// Reads the journal at `path`. Fails if it can't be opened, does not begin with a `started` of a format
/// this version reads, or is larger than any run makes; anything else that is wrong is in
/// [`Journal::cut_short`].
pub fn read(path: &Path) -> Result<Journal> {
    let file = File::open(path)
        .map_err(|error| Error::mistake(format!("could not open {}", path.display())).because(error))?;
    read_from(BufReader::new(file.take(MAX_BYTES)), &path.display().to_string())
}

/// Reads a journal from `reader`; `name` is for messages.
pub fn read_from(mut reader: impl BufRead, name: &str) -> Result<Journal> {
    let fail = |error| Error::environment(format!("could not read {name}")).because(error);
    let mut line = Vec::new();
    if read_line(&mut reader, &mut line).map_err(fail)? == 0 {
        return Err(Error::new(Exit::Invalid, format!("{name} is empty: the run ended as it began")));
    }
    let first = first_entry(&line, name)?;
    let Event::Started(started) = &first.event else {
        unreachable!("first_entry gives a started or an error");
    };
    let mut journal =
        Journal { started: started.clone(), entries: vec![first], cut_short: None, skipped: Vec::new() };
    let mut finished = false;
    for number in 2usize.. {
        if read_line(&mut reader, &mut line).map_err(fail)? == 0 {
            break;
        }
        match serde_json::from_slice::<Entry>(&line) {
            Ok(entry) => {
                finished |= matches!(entry.event, Event::Finished);
                journal.entries.push(entry);
            }
            Err(_) if is_unknown_kind(&line) => journal.skipped.push(number),
            Err(error) => {
                journal.cut_short = Some(damage(&line, number, &error));
                break;
            }
        }
        if journal.entries.len() + journal.skipped.len() >= MAX_ENTRIES {
            return Err(Error::mistake(format!("{name} has more than {MAX_ENTRIES} events")));
        }
    }
    if !finished && journal.cut_short.is_none() {
        journal.cut_short = Some("it ends without `finished`".into());
    }
    Ok(journal)
}

/// Reads the first line: a `started` in our format.
fn first_entry(line: &[u8], name: &str) -> Result<Entry> {
    let not_one =
        || Error::mistake(format!("{name} is not a journal: it does not begin with a `started` event"));
    let head: Head = serde_json::from_slice(line).map_err(|error| not_one().because(error))?;
    if head.event != "started" {
        return Err(not_one());
    }
    let schema = head.schema.unwrap_or_default();
    if schema != SCHEMA {
        let version = head.version.unwrap_or_else(|| "another version".into());
        return Err(Error::mistake(format!(
            "{name} is in the format `{schema}`, this program reads `{SCHEMA}`"
        ))
        .hint(format!("use chaos {version}, which wrote it")));
    }
    serde_json::from_slice(line)
        .map_err(|error| Error::mistake(format!("could not read the first event of {name}")).because(error))
}

/// Reads up to and including the next newline into `line`, at most one byte more than a line may have.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<usize> {
    line.clear();
    reader.by_ref().take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', line)
}

fn is_unknown_kind(line: &[u8]) -> bool {
    serde_json::from_slice::<Head>(line).is_ok_and(|head| !KINDS.contains(&head.event.as_str()))
}

/// Why reading stopped at this line.
fn damage(line: &[u8], number: usize, error: &serde_json::Error) -> String {
    if line.len() > MAX_LINE_BYTES {
        format!("line {number} is longer than {} MiB; nothing after it was read", MAX_LINE_BYTES >> 20)
    } else if line.ends_with(b"\n") {
        // serde's own "at line 1" would be read as the journal's first line.
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or(&what);
        let column = error.column();
        format!("line {number} is damaged at column {column} ({what}); nothing after it was read")
    } else {
        format!("its last line ({number}) is torn")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::Stats;
    use crate::units::NS_PER_S;

    fn started() -> Event {
        Event::Started(Box::new(Started {
            schema: SCHEMA.into(),
            run: "r1".into(),
            version: "0.1.0".into(),
            wall: "2026-03-01T10:00:00Z".into(),
            file: "x.yaml".into(),
            command: "chaos run x.yaml".into(),
            plan: crate::plan::Plan {
                experiment: "it holds".into(),
                why: None,
                seed: 1,
                lab: None,
                targets: Default::default(),
                shares: Vec::new(),
                loads: Vec::new(),
                slos: Default::default(),
                steady_state: Vec::new(),
                probes: Default::default(),
                phases: Vec::new(),
                faults: Vec::new(),
                abort: Vec::new(),
                expect: Default::default(),
                limits: Default::default(),
                notes: Vec::new(),
            },
            lines: Default::default(),
            environment: Default::default(),
        }))
    }

    fn load() -> Event {
        let mut stats = Stats::default();
        stats.boxes.good = 2;
        stats.latency.record(1_000_000);
        stats.latency.record(3_000_000);
        stats.statuses.insert(200, 2);
        stats.errors.insert("reset".into(), 1);
        Event::Load { load: "shoppers".into(), from_ns: 0, to_ns: NS_PER_S, stats: Box::new(stats) }
    }

    fn text(events: &[Event]) -> String {
        let lines = events.iter().enumerate().map(|(at, event)| {
            serde_json::to_string(&Line { t_ns: at as u64, event }).expect("events serialise") + "\n"
        });
        lines.collect()
    }

    fn reread(text: &str) -> Result<Journal> {
        read_from(text.as_bytes(), "journal.jsonl")
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let events =
            [started(), Event::Phase { name: Some("baseline".into()), at_ns: 0 }, load(), Event::Finished];
        let mut writer = Writer::create(&path, Clock::start()).unwrap();
        let times: Vec<u64> = events.iter().map(|event| writer.append(event).unwrap()).collect();
        let journal = read(&path).unwrap();
        let expected: Vec<Entry> = times
            .iter()
            .zip(&events)
            .map(|(t_ns, event)| Entry { t_ns: *t_ns, event: event.clone() })
            .collect();
        assert_eq!(journal.entries, expected);
        assert_eq!((journal.cut_short, journal.skipped), (None, Vec::new()));
        assert!(std::fs::read_to_string(&path).unwrap().lines().all(|line| line.starts_with("{\"t_ns\":")));
        let again = Writer::create(&path, Clock::start()).unwrap_err();
        assert_eq!(again.exit(), Exit::Environment, "a journal is never overwritten");
    }

    #[test]
    fn a_cut_journal_is_read_as_far_as_it_goes() {
        let whole = text(&[started(), load(), load(), load(), load(), Event::Finished]);
        for cut in whole.len() - 1000..whole.len() - 1 {
            let journal = reread(&whole[..cut]).unwrap();
            assert!(journal.cut_short.is_some(), "cut at {cut}");
            // Only the newline is missing: the event is whole.
            let whole_lines = whole[..=cut].matches('\n').count();
            assert_eq!(journal.entries.len(), whole_lines, "cut at {cut}");
        }
        assert_eq!(reread(&whole).unwrap().cut_short, None);
    }

    #[test]
    fn nothing_after_a_damaged_line_is_believed() {
        let whole = text(&[started(), load(), load(), Event::Finished]);
        let damaged = whole.replacen("\"from_ns\":0", "\"from_ns\":oops", 1);
        let journal = reread(&damaged).unwrap();
        assert_eq!(journal.entries.len(), 1);
        insta::assert_snapshot!(journal.cut_short.unwrap(), @"line 2 is damaged at column 54 (expected value); nothing after it was read");
    }

    #[test]
    fn kinds_of_a_newer_version_are_skipped_and_counted() {
        let mut lines = text(&[started(), load()]);
        lines.push_str("{\"t_ns\":5,\"event\":\"eclipse\",\"sun\":false}\n");
        lines.push_str(&text(&[Event::Finished]));
        let journal = reread(&lines).unwrap();
        assert_eq!((journal.entries.len(), journal.skipped, journal.cut_short), (3, vec![3], None));
    }

    #[test]
    fn what_is_no_journal_of_ours_is_refused() {
        let newer = text(&[started()]).replace(SCHEMA, "chaos.journal/9");
        let headless = text(&[load()]);
        let said: Vec<String> = ["", newer.as_str(), headless.as_str(), "PK\u{3}\u{4}"]
            .into_iter()
            .map(|text| reread(text).expect_err("refused").to_string())
            .collect();
        insta::assert_snapshot!(said.join("\n"), @r"
        journal.jsonl is empty: the run ended as it began
        journal.jsonl is in the format `chaos.journal/9`, this program reads `chaos.journal/1`
        journal.jsonl is not a journal: it does not begin with a `started` event
        journal.jsonl is not a journal: it does not begin with a `started` event
        ");
    }

    #[test]
    fn the_list_of_kinds_is_whole() {
        // serde names every kind it knows when it meets one that it does not.
        let error = serde_json::from_str::<Entry>("{\"t_ns\":0,\"event\":\"?\"}").unwrap_err().to_string();
        let known: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        assert_eq!(known, KINDS);
    }
}
