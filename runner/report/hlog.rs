//! run.hlog: the latencies in HdrHistogram's log format, for its own tools.
//!
//! Each interval comes without a tag, all loads together, and once for every phase, request and outcome that
//! was in it, tagged `PHASE/REQUEST/OUTCOME`; where there are several loads the request is `LOAD:REQUEST`.
//! HdrHistogram's tools read what has no tag unless told otherwise, so nothing is counted twice.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use super::text::{NAME_MAX_CHARS, clean};
use super::{Case, Ink};
use crate::event::Event;
use crate::load::record::{Hist, Stats};
use crate::units::NS_PER_S;

/// What the column of maxima is divided by: milliseconds, of nanoseconds.
const MAX_DIVISOR: f64 = 1e6;

/// The log.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let mut head = Vec::new();
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
    builder.with_max_value_divisor(MAX_DIVISOR);
    builder.begin_log_with(&mut head, &mut encoder).expect("writing to memory does not fail");
    let mut out = String::from_utf8(head).expect("comments are text");
    // The column names stand below the comments.
    out.push_str(
        "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
    );
    for ((from_ns, to_ns), stats) in intervals(case) {
        for (tag, hist) in measured(case, &stats, u64::midpoint(from_ns, to_ns)) {
            line(&mut out, tag.as_deref(), (from_ns, to_ns), &hist);
        }
    }
    out
}

/// A line of the log. Its histogram is in the form in which the journal has it, so that what was measured alone, as
/// most is, needs neither be opened nor packed again.
fn line(out: &mut String, tag: Option<&str>, (from_ns, to_ns): (u64, u64), hist: &Hist) {
    let seconds = |ns: u64| ns as f64 / NS_PER_S as f64;
    let tag = tag.map(|tag| format!("Tag={tag},")).unwrap_or_default();
    let max = hist.quantile_ns(1.0).unwrap_or(0) as f64 / MAX_DIVISOR;
    let (from_s, long_s) = (seconds(from_ns), seconds(to_ns - from_ns));
    out.push_str(&format!("{tag}{from_s:.3},{long_s:.3},{max:.3},{}\n", hist.encoded()));
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
fn measured<'c>(
    case: &Case<'_>,
    records: &[(&str, &'c Stats)],
    middle_ns: u64,
) -> BTreeMap<Option<String>, Cow<'c, Hist>> {
    let middle_s = middle_ns as f64 / NS_PER_S as f64;
    let phase = case.judgement.phases.iter().find(|phase| (phase.from_s..phase.to_s).contains(&middle_s));
    let phase = phase.map_or_else(|| "-".to_owned(), |phase| word(&phase.name));
    let several = case.started.plan.loads.len() > 1;
    let mut by_tag: BTreeMap<Option<String>, Cow<'c, Hist>> = BTreeMap::new();
    let mut add = |tag: Option<String>, hist: &'c Hist| {
        by_tag.entry(tag).and_modify(|sum| sum.to_mut().merge(hist)).or_insert(Cow::Borrowed(hist));
    };
    for (load, stats) in records.iter().filter(|(_, stats)| !stats.latency.is_empty()) {
        add(None, &stats.latency);
        for (request, outcome, hist) in stats.parts() {
            let load = if several { format!("{}:", word(load)) } else { String::new() };
            add(Some(format!("{phase}/{load}{}/{}", word(request), outcome.word())), hist);
        }
    }
    by_tag
}

/// A name as a tag may have it: no blanks, no commas, one line.
fn word(name: &str) -> String {
    let inert = |character: char| if character.is_whitespace() || character == ',' { '_' } else { character };
    clean(name, NAME_MAX_CHARS).chars().map(inert).collect()
}
