//! run.hlog: the latencies in HdrHistogram's log format, for its own tools.
//!
//! Each interval comes without a tag, all loads together, and once for every phase, request and outcome that
//! was in it, tagged `PHASE/REQUEST/OUTCOME`; where there are several loads the request is `LOAD:REQUEST`.
//! HdrHistogram's tools read what has no tag unless told otherwise, so nothing is counted twice.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::{Case, Ink};
use crate::event::Event;
use crate::load::record::{Hist, Stats};
use crate::units::NS_PER_S;

/// The log.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let mut log = Vec::new();
    let mut encoder = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment(&format!("[Logged with chaos {}]", word(&case.started.version)));
    builder.add_comment("[Histogram log format version 1.3]");
    if let Some(start) = start_s(case) {
        // Intervals are counted from it.
        builder.add_comment(&format!(
            "[StartTime: {start:.3} (seconds since epoch), {}]",
            word(&case.started.wall)
        ));
        builder.add_comment(&format!("[BaseTime: {start:.3} (seconds since epoch)]"));
    }
    builder.with_max_value_divisor(1e6);
    let mut writer = builder.begin_log_with(&mut log, &mut encoder).expect("writing to memory does not fail");
    for ((from_ns, to_ns), stats) in intervals(case) {
        let begin = Duration::from_nanos(from_ns);
        let length = Duration::from_nanos(to_ns - from_ns);
        let mut write = |hist: &Hist, tag: Option<&str>| {
            let tag = tag.map(|tag| Tag::new(tag).expect("a tag has no comma and no blank"));
            writer
                .write_histogram(hist.open().as_ref(), begin, length, tag)
                .expect("any histogram can be written");
        };
        for (tag, hist) in measured(case, &stats, u64::midpoint(from_ns, to_ns)) {
            write(&hist, tag.as_deref());
        }
    }
    // The column names stand below the comments, which are all that was written when there is nothing else.
    let text = String::from_utf8(log).expect("base64 and numbers are text");
    let comments = text.lines().take_while(|line| line.starts_with('#')).map(|line| line.len() + 1).sum();
    let (head, lines) = text.split_at(comments);
    format!(
        "{head}\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n{lines}"
    )
}

/// Seconds since 1970 at the run's start; nothing if the journal says no time.
fn start_s(case: &Case<'_>) -> Option<f64> {
    let start: jiff::Timestamp = case.started.wall.parse().ok()?;
    Some(start.as_nanosecond() as f64 / NS_PER_S as f64)
}

/// Records by where they lie, in the order of time: late answers and other loads come again and again.
fn intervals<'c>(case: &Case<'c>) -> BTreeMap<(u64, u64), Vec<(&'c str, &'c Stats)>> {
    let mut intervals: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for entry in case.entries {
        if let Event::Load { load, from_ns, to_ns, stats } = &entry.event
            && to_ns > from_ns
        {
            intervals.entry((*from_ns, *to_ns)).or_default().push((load.as_str(), &**stats));
        }
    }
    intervals
}

/// An interval's histograms by tag: the one without first, if anything ended in it.
fn measured(case: &Case<'_>, records: &[(&str, &Stats)], middle_ns: u64) -> BTreeMap<Option<String>, Hist> {
    let middle_s = middle_ns as f64 / NS_PER_S as f64;
    let phase = case.judgement.phases.iter().find(|phase| (phase.from_s..phase.to_s).contains(&middle_s));
    let phase = phase.map_or_else(|| "-".to_owned(), |phase| word(&phase.name));
    let several = case.started.plan.loads.len() > 1;
    let mut by_tag: BTreeMap<Option<String>, Hist> = BTreeMap::new();
    for (load, stats) in records.iter().filter(|(_, stats)| !stats.latency.is_empty()) {
        by_tag.entry(None).or_default().merge(&stats.latency);
        for (request, outcome, hist) in stats.parts() {
            let load = if several { format!("{}:", word(load)) } else { String::new() };
            let tag = format!("{phase}/{load}{}/{}", word(request), outcome.word());
            by_tag.entry(Some(tag)).or_default().merge(hist);
        }
    }
    by_tag
}

/// A name as a tag may have it: no blanks, no commas, one line.
fn word(name: &str) -> String {
    let inert = |character: char| {
        if character.is_whitespace() || character.is_control() || character == ',' { '_' } else { character }
    };
    name.chars().map(inert).collect()
}
