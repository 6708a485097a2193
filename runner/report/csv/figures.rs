//! figures.csv: timings, harm and cost, and every check with what it rests on, for spreadsheets.
//!
//! A row is a figure: one of the run's own, with its unit, or one of a check's evidence. A check without evidence has a
//! row all the same. No data is an empty cell.

use super::{cell, finish};
use crate::report::finding::{Finding, findings};
use crate::report::outturns::outturns;
use crate::report::{Case, Ink};
use crate::verdict::Exhibit;

const COLUMNS: [&str; 15] = [
    "what",
    "name",
    "phase",
    "ending",
    "value",
    "unit",
    "threshold",
    "at_s",
    "figure",
    "low",
    "high",
    "n",
    "source",
    "from_s",
    "to_s",
];

/// The rows: the run's own figures first, then checks, what speaks against the run before what held.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let mut out = csv::Writer::from_writer(Vec::new());
    let mut write =
        |row: [String; COLUMNS.len()]| out.write_record(row).expect("writing to memory does not fail");
    write(COLUMNS.map(Into::into));
    for outturn in outturns(case.judgement) {
        let name =
            outturn.of.map_or_else(|| outturn.name.to_owned(), |slo| format!("{}({slo})", outturn.name));
        let mut row: [String; COLUMNS.len()] = Default::default();
        row[0] = "outturn".into();
        row[1] = cell(&name);
        row[4] = number(outturn.value);
        row[5] = outturn.unit.word().into();
        write(row);
    }
    for finding in findings(case.judgement) {
        if finding.evidence.is_empty() {
            write(row(&finding, &Exhibit::default()));
        }
        finding.evidence.iter().for_each(|exhibit| write(row(&finding, exhibit)));
    }
    finish(out)
}

/// A finding with one figure of its evidence; values are text with their units.
fn row(finding: &Finding<'_>, exhibit: &Exhibit) -> [String; COLUMNS.len()] {
    let text = |text: Option<&str>| cell(text.unwrap_or_default());
    // Of several figures each has its own value.
    let value = if finding.evidence.len() > 1 { exhibit.value.as_deref() } else { finding.value };
    [
        "check".into(),
        cell(finding.check),
        text(finding.phase),
        finding.word.into(),
        text(value),
        String::new(),
        text(finding.threshold),
        number(finding.at_s),
        cell(&exhibit.figure),
        text(exhibit.low.as_deref()),
        text(exhibit.high.as_deref()),
        exhibit.n.map(|n| n.to_string()).unwrap_or_default(),
        cell(&exhibit.source),
        number(exhibit.from_s),
        number(exhibit.to_s),
    ]
}

fn number(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
