//! events.jsonl: what happened, as log lines for Loki, Elastic and the like.
//!
//! The journal is for machines of ours: steps by number, instants of its own clock, histograms. Here every line
//! stands by itself: wall-clock time, names, a level, a sentence. Intervals of a load come with their figures, ticks
//! are left out, since they say the same.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;

use super::story::{Level, Told, tell};
use super::text::{NAME_MAX_CHARS, PROSE_MAX_CHARS, clean};
use super::{Case, Ink, wall};
use crate::event::{Entry, Event};
use crate::load::record::Boxes;
use crate::units::NS_PER_S;

/// The format of a line.
pub const SCHEMA: &str = "chaos.events/1";

/// One line: something that happened in a run. Names are cut to 200 characters and can't act.
#[derive(Serialize, JsonSchema)]
struct Line {
    /// `chaos.events/1`.
    schema: &'static str,
    /// When, RFC 3339 in UTC; null if the journal does not say when the run began.
    time: Option<String>,
    /// When, in seconds since the run's start.
    t_s: f64,
    /// How much it matters.
    level: Level,
    /// The run's id.
    run: String,
    /// What happened, in the journal's words: `applied`, `guard`, `load`, ….
    event: &'static str,
    /// The phase it happened in; null before the first.
    phase: Option<String>,
    /// What happened, in a sentence.
    message: String,
    /// The fault it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    /// The container it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<String>,
    /// The load it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<String>,
    /// The journal's line.
    line: usize,
    /// Of `load`: what was measured in the interval that begins then.
    #[serde(skip_serializing_if = "Option::is_none")]
    figures: Option<Figures>,
}

/// What a load measured in an interval; late answers have a line of their own, and add to it.
#[derive(Serialize, JsonSchema)]
struct Figures {
    /// The interval's length in seconds.
    seconds: f64,
    /// Arrivals that were due in it.
    scheduled: u64,
    /// Answered as expected.
    good: u64,
    /// Answered, not as expected.
    bad: u64,
    /// Not answered in time.
    timed_out: u64,
    /// Not answered: refused, reset, malformed.
    failed: u64,
    /// Not sent: the in-flight cap was reached.
    dropped: u64,
    /// In flight when the load ended.
    cut_off: u64,
    /// Median latency in milliseconds; null if nothing ended.
    p50_ms: Option<f64>,
    /// 99th percentile of latency in milliseconds; null if nothing ended.
    p99_ms: Option<f64>,
}

/// The lines, in the order of the journal.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let mut out = Vec::new();
    let mut phase: Option<String> = None;
    for (number, entry) in case.lines() {
        if matches!(entry.event, Event::Tick(_)) {
            continue;
        }
        if let Event::Phase { name, .. } = &entry.event {
            phase = name.as_deref().map(name_of);
        }
        let told = tell(&case.started.plan, entry);
        let line = line(case, number, entry, &told, phase.clone());
        serde_json::to_writer(&mut out, &line).expect("it has text keys only");
        out.push(b'\n');
    }
    String::from_utf8(out).expect("JSON is text")
}

fn line(case: &Case<'_>, number: usize, entry: &Entry, told: &Told<'_>, phase: Option<String>) -> Line {
    Line {
        schema: SCHEMA,
        time: wall::at_ns(case, told.at_ns),
        t_s: told.at_ns as f64 / NS_PER_S as f64,
        level: told.level,
        run: name_of(&case.started.run),
        event: told.kind,
        phase,
        message: clean(&told.text, PROSE_MAX_CHARS),
        fault: told.fault.map(name_of),
        container: told.container.map(name_of),
        load: told.load.map(name_of),
        line: number,
        figures: figures(&entry.event),
    }
}

fn figures(event: &Event) -> Option<Figures> {
    let Event::Load { from_ns, to_ns, stats, .. } = event else { return None };
    let Boxes { good, bad, timed_out, failed, dropped, cut_off } = stats.boxes;
    let [p50_ms, p99_ms] = match stats.latency.quantiles_ns([0.5, 0.99]) {
        Some(known) => known.map(|ns| Some(ns as f64 / 1e6)),
        None => [None; 2],
    };
    Some(Figures {
        seconds: to_ns.saturating_sub(*from_ns) as f64 / NS_PER_S as f64,
        scheduled: stats.boxes.scheduled(),
        good,
        bad,
        timed_out,
        failed,
        dropped,
        cut_off,
        p50_ms,
        p99_ms,
    })
}

fn name_of(name: &str) -> String {
    clean(name, NAME_MAX_CHARS)
}

/// The JSON Schema of a line. Readers should accept fields that they do not know.
pub fn schema() -> serde_json::Value {
    let mut schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Line>();
    schema.insert("title".into(), format!("{SCHEMA}: a line of events.jsonl of a chaos run").into());
    if let Some(format) = schema.pointer_mut("/properties/schema") {
        format["const"] = SCHEMA.into();
    }
    schema.to_value()
}
