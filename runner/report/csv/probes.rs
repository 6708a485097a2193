//! probes.csv: every answer of every probe, for spreadsheets and notebooks.

use super::{cell, finish};
use crate::report::samples::samples;
use crate::report::{Case, Ink};

const COLUMNS: [&str; 8] = ["probe", "phase", "moment", "at_s", "answer", "took_ms", "attempts", "detail"];

/// The rows, probe by probe in the order asked.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let phases = &case.judgement.phases;
    let mut out = csv::Writer::from_writer(Vec::new());
    let mut write =
        |row: [String; COLUMNS.len()]| out.write_record(row).expect("writing to memory does not fail");
    write(COLUMNS.map(Into::into));
    for of in samples(case) {
        for answer in &of.answers {
            let phase = phases.iter().find(|phase| (phase.from_s..phase.to_s).contains(&answer.at_s));
            write([
                cell(of.probe),
                cell(phase.map_or("", |phase| &phase.name)),
                answer.moment.map_or("", |moment| moment.word()).into(),
                format!("{:.6}", answer.at_s),
                answer.word().into(),
                format!("{:.3}", answer.took_ms),
                answer.attempts.to_string(),
                cell(answer.detail),
            ]);
        }
    }
    finish(out)
}
