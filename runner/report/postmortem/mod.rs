//! postmortem.md: a draft of a blameless post-mortem, from evidence alone.
//!
//! It says what the journal knows, with a link to the line that says so, and leaves blank what it does not: who
//! decided what, and why, is for those who were there. Containers and checks are named, people are not. Times are
//! counted from the first onset, `T+0`: what was there before is told from what came of it. One file a part:
//! `impact.rs`, `timeline.rs`, `causes.rs`, `actions.rs`. Start at [`render`].

mod actions;
mod causes;
mod impact;
mod timeline;

use super::finding::{Ending, Finding, findings};
use super::sheet::{Cell, Sheet};
use super::{Case, Ink, sections, text, wall};
use crate::event::Event;
use crate::units::NS_PER_S;

/// Where tables end: a document that someone is to read.
const ROOM_BYTES: usize = 200_000;

/// What is said of what nobody knows.
const BLANK: &str = "_Not in the journal; to be filled in._";

/// The document.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let judgement = case.judgement;
    let asked = findings(judgement);
    let mut sheet = Sheet::with_room(ROOM_BYTES);
    sheet.raw("# Post-mortem: ").text(&judgement.experiment).raw("\n\n");
    sheet.raw("A draft, made by chaos ").text(&case.started.version).raw(" from the journal of run ");
    sheet
        .code(&judgement.run)
        .raw(" and nothing else. It is about a system, not about people. What the journal ");
    sheet.raw("does not know is left blank and says so.\n");
    sections::cut_short(&mut sheet, case);
    summary(&mut sheet, case);
    impact::write(&mut sheet, case);
    timeline::write(&mut sheet, case);
    recovery(&mut sheet, case);
    sheet.raw("## What held\n");
    sections::findings(&mut sheet, &of(&asked, &[Ending::Held]));
    sheet.raw("## What did not\n");
    let against = of(&asked, &[Ending::Broken, Ending::Untold]);
    sections::findings(&mut sheet, &against);
    sections::evidence(&mut sheet, &against);
    causes::write(&mut sheet, case);
    sheet.raw("## What else had a part in it\n\n").raw(BLANK).raw("\n\n");
    actions::write(&mut sheet, case, &asked);
    sheet.raw("## Evidence\n");
    sections::probes(&mut sheet, case);
    sections::faults(&mut sheet, case);
    sections::again(&mut sheet, case);
    sheet.finish()
}

fn of<'j>(asked: &[Finding<'j>], endings: &[Ending]) -> Vec<Finding<'j>> {
    asked.iter().filter(|finding| endings.contains(&finding.ending)).cloned().collect()
}

fn summary(sheet: &mut Sheet, case: &Case<'_>) {
    let judgement = case.judgement;
    sheet.raw("\n## Summary\n\n").prose(&judgement.sentence).raw("\n\n");
    if let Some(why) = &judgement.why {
        sheet.raw("Why it was tried: ").prose(why).raw(".\n\n");
    }
    let rate =
        |load: &crate::plan::LoadPlan| format!("{} under {}", text::clean(&load.name, 60), model(load));
    let loads: Vec<String> = case.started.plan.loads.iter().map(rate).collect();
    let lasted = text::s(judgement.duration_s);
    let exit = judgement.exit_code.to_string();
    sheet.head(&["", ""]);
    sheet.row(&[Cell::Text("Began"), Cell::Text(&wall::start(&judgement.started))]);
    sheet.row(&[Cell::Text("Took"), Cell::Text(&lasted)]);
    sheet.row(&[Cell::Text("Verdict"), Cell::Text(&format!("{}, exit {exit}", judgement.verdict.word()))]);
    sheet.row(&[Cell::Text("Experiment"), Cell::Code(&case.started.file)]);
    if !loads.is_empty() {
        sheet.row(&[Cell::Text("Load"), Cell::Text(&loads.join("; "))]);
    }
    sheet.row(&[Cell::Text("Took part"), Cell::Mark(BLANK)]);
    sheet.foot();
}

fn model(load: &crate::plan::LoadPlan) -> String {
    match (&load.load.rate, &load.load.users) {
        (Some(rate), _) => rate.value.to_string(),
        (None, Some(users)) => format!("{} users", users.value),
        (None, None) => "no load".into(),
    }
}

/// Detection and recovery, harm and cost, each against what was asked of it.
fn recovery(sheet: &mut Sheet, case: &Case<'_>) {
    sheet.raw("## Detection, recovery and cost\n");
    sections::timings(sheet, case);
    if first_onset_ns(case).is_some() && case.judgement.timings.time_to_detect_s.is_none() {
        sheet.raw(
            "Nothing that watched the run noticed: no guard, no alert and no change of the steady state. ",
        );
        sheet.raw("Whether a person did is not in the journal.\n\n");
    }
}

/// When the first fault took effect.
fn first_onset_ns(case: &Case<'_>) -> Option<u64> {
    let onsets = case.entries.iter().filter_map(|entry| match entry.event {
        Event::Applied { at_ns, .. } => Some(at_ns),
        _ => None,
    });
    onsets.min()
}

/// When the last fault was taken back, if all that can be were.
fn last_undo_ns(case: &Case<'_>) -> Option<u64> {
    let undone = case.entries.iter().filter_map(|entry| match entry.event {
        Event::Undone { at_ns, .. } => Some(at_ns),
        _ => None,
    });
    undone.max()
}

/// An instant as it is told: `T+3.2 s`, `T-10.0 s`, `T+28 min 49.9 s`, to a tenth of a second.
fn offset(at_ns: u64, zero_ns: u64) -> String {
    let tenths = (at_ns.abs_diff(zero_ns) + NS_PER_S / 20) / (NS_PER_S / 10);
    let sign = if at_ns < zero_ns { '-' } else { '+' };
    let s = (tenths % 600) as f64 / 10.0;
    match tenths / 600 {
        0 => format!("T{sign}{s:.1} s"),
        min => format!("T{sign}{min} min {s:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_told_from_the_first_onset() {
        let at = |ms: u64| offset(ms * 1_000_000, 10_000 * 1_000_000);
        assert_eq!(
            [at(0), at(10_000), at(13_249), at(69_960)],
            ["T-10.0 s", "T+0.0 s", "T+3.2 s", "T+1 min 0.0 s"]
        );
    }
}
