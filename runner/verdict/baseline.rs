//! What holding a run against a baseline adds to its verdict: a figure that became worse breaks it, and nothing to
//! compare says nothing.

use super::judge::Court;
use super::{Checked, Exhibit, Reason};
use crate::compare::{Change, Comparison, Metric, Row, RunName, text};
use crate::error::Exit;
use crate::units::Ratio;

impl Court<'_> {
    /// What became worse since the baseline that the run was held against, if it was.
    pub(super) fn baseline(&mut self) {
        for (checked, reason) in self.line.compared.into_iter().flat_map(against) {
            self.checks.push(checked);
            self.reasons.extend(reason);
        }
    }
}

/// The figures as checks, each with a reason if it became worse.
fn against(comparison: &Comparison) -> Vec<(Checked, Option<(Exit, Reason)>)> {
    let judged = comparison.rows.iter().map(|row| checked(comparison, row));
    let mut found: Vec<_> = judged.collect();
    if found.is_empty() {
        let check = "the baseline and this run have a phase and a load in common to compare".to_owned();
        let why = comparison.notes.first().cloned();
        let nothing =
            Checked { check, phase: None, value: why, threshold: "some".into(), ..Checked::default() };
        found.push((nothing.clone(), Some((Exit::Invalid, reason(&nothing)))));
    }
    found
}

fn checked(comparison: &Comparison, row: &Row) -> (Checked, Option<(Exit, Reason)>) {
    let tolerance = match row.metric {
        Metric::NotGood => "0.1 points".to_owned(),
        _ => Ratio::new(comparison.tolerance).to_string(),
    };
    let checked = Checked {
        check: format!("{} of {} against the baseline", row.metric.words(), row.load),
        phase: Some(row.phase.clone()),
        value: Some(text::change(row)),
        threshold: format!("not worse by {tolerance} or more"),
        holds: Some(row.verdict != Change::Worse),
        evidence: vec![exhibit(comparison, row)],
        ..Checked::default()
    };
    let reason = (row.verdict == Change::Worse).then(|| (Exit::Failed, reason(&checked)));
    (checked, reason)
}

/// The change with its interval, of the new runs against the base.
fn exhibit(comparison: &Comparison, row: &Row) -> Exhibit {
    let names = |runs: &[RunName]| runs.iter().map(|run| run.run.as_str()).collect::<Vec<_>>().join(", ");
    let share = |change: f64| Some(Ratio::new((change * 1e4).round() / 1e4).to_string());
    Exhibit {
        figure: format!("change of {}", row.metric.words()),
        value: share(row.change),
        low: share(row.low),
        high: share(row.high),
        source: format!("runs {} held against {}", names(&comparison.new), names(&comparison.base)),
        ..Exhibit::default()
    }
}

fn reason(checked: &Checked) -> Reason {
    Reason {
        check: checked.check.clone(),
        phase: checked.phase.clone(),
        value: checked.value.clone(),
        threshold: Some(checked.threshold.clone()),
        evidence: checked.evidence.clone(),
        ..Reason::default()
    }
}
