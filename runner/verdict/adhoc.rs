//! Judging a load by itself: the same checks by the same rules, in words that fit where no claim was made.

use super::{Judgement, LoadReport, Verdict, judge};
use crate::event::Entry;
use crate::plan::Plan;

/// Judges a load sent by `chaos load`, by its plan and events.
pub fn judge_load(plan: &Plan, entries: &[Entry]) -> Judgement {
    let mut judgement = judge(plan, entries);
    judgement.sentence = sentence(&judgement);
    judgement
}

/// What each load of a judged run measured, phase after phase.
pub fn load_reports(judgement: &Judgement) -> impl Iterator<Item = &LoadReport> {
    judgement.phases.iter().flat_map(|phase| phase.load.values())
}

fn sentence(judgement: &Judgement) -> String {
    let why = judgement.reasons.first().map(|reason| match (&reason.value, &reason.threshold) {
        (Some(value), Some(threshold)) => format!("{} is {value}, asked: {threshold}", reason.check),
        (None, Some(threshold)) => format!("{} has no data, asked: {threshold}", reason.check),
        _ => reason.check.clone(),
    });
    let why = why.unwrap_or_default();
    match judgement.verdict {
        Verdict::Held if judgement.checks.is_empty() => "Done; nothing was asked of it.".into(),
        Verdict::Held => "Held: all that was asked of it came true.".into(),
        Verdict::Failed => format!("Failed: {why}."),
        Verdict::Aborted => format!("Cut short: {why}."),
        Verdict::Invalid | Verdict::BaselineUnmet | Verdict::Unhealed => {
            format!("Invalid: the figures say nothing. {why}.")
        }
    }
}
