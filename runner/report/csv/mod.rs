//! intervals.csv: every interval of every load, for spreadsheets and notebooks.
//!
//! A row is an interval of a load, late answers added to it; instants and counts are exact, times have the three
//! digits of the histograms. What a request's name or outcome came to is in `hlog` and in report.json. Spreadsheets
//! take a cell that begins with `=` for a formula, and run it: such text gets an apostrophe before it.

pub mod figures;
pub mod probes;

use std::collections::BTreeMap;

use super::text::{NAME_MAX_CHARS, clean};
use super::{Case, Ink};
use crate::event::Event;
use crate::load::record::{Boxes, Hist};
use crate::units::NS_PER_S;

const COLUMNS: [&str; 18] = [
    "load",
    "phase",
    "from_s",
    "to_s",
    "scheduled",
    "good",
    "bad",
    "timed_out",
    "failed",
    "dropped",
    "cut_off",
    "p50_ms",
    "p90_ms",
    "p95_ms",
    "p99_ms",
    "p999_ms",
    "max_ms",
    "bytes",
];

const QUANTILES: [f64; 6] = [0.5, 0.9, 0.95, 0.99, 0.999, 1.0];

/// What was measured in an interval of a load: histograms as they lie in the journal, closed.
#[derive(Default)]
struct Interval<'e> {
    boxes: Boxes,
    latency: Vec<&'e Hist>,
    bytes: u64,
}

/// The rows, in the order of time and then of names, below the names of the columns.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let mut intervals: BTreeMap<(u64, u64, &str), Interval<'_>> = BTreeMap::new();
    for entry in case.entries {
        if let Event::Load { load, from_ns, to_ns, stats } = &entry.event {
            let interval = intervals.entry((*from_ns, *to_ns, load)).or_default();
            interval.boxes.add(&stats.boxes);
            interval.bytes += stats.bytes;
            if !stats.latency.is_empty() {
                interval.latency.push(&stats.latency);
            }
        }
    }
    let mut out = csv::Writer::from_writer(Vec::new());
    let written = "writing to memory does not fail";
    out.write_record(COLUMNS).expect(written);
    for ((from_ns, to_ns, load), interval) in &intervals {
        let middle_s = u64::midpoint(*from_ns, *to_ns) as f64 / NS_PER_S as f64;
        let phase = case.judgement.phases.iter().find(|phase| (phase.from_s..phase.to_s).contains(&middle_s));
        let seconds = |ns: &u64| format!("{}.{:09}", ns / NS_PER_S, ns % NS_PER_S);
        let boxes = interval.boxes;
        let mut row =
            vec![cell(load), cell(phase.map_or("", |phase| &phase.name)), seconds(from_ns), seconds(to_ns)];
        let counts = [
            boxes.scheduled(),
            boxes.good,
            boxes.bad,
            boxes.timed_out,
            boxes.failed,
            boxes.dropped,
            boxes.cut_off,
        ];
        row.extend(counts.map(|count| count.to_string()));
        row.extend(quantiles(&interval.latency));
        row.push(interval.bytes.to_string());
        out.write_record(&row).expect(written);
    }
    finish(out)
}

/// What was written to memory.
fn finish(out: csv::Writer<Vec<u8>>) -> String {
    let bytes = out.into_inner().expect("writing to memory does not fail");
    String::from_utf8(bytes).expect("names and numbers are text")
}

/// In milliseconds; empty where nothing ended.
fn quantiles(told: &[&Hist]) -> [String; QUANTILES.len()] {
    let mut sum = Hist::default();
    let latency = match told {
        [one] => one,
        several => {
            several.iter().for_each(|hist| sum.merge(hist));
            &sum
        }
    };
    let known = latency.quantiles_ns(QUANTILES);
    known.map_or_else(Default::default, |known| known.map(|ns| format!("{:.6}", ns as f64 / 1e6)))
}

/// Text of anyone's, in a cell.
fn cell(text: &str) -> String {
    let clean = clean(text, NAME_MAX_CHARS);
    if clean.starts_with(['=', '+', '-', '@']) { format!("'{clean}") } else { clean }
}
