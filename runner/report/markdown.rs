//! report.md: the run for a pull request's comment: the answer first, then what did not hold, the rest folded away.
//!
//! GitHub takes comments of 65,536 characters; tables end well before. The step summary of GitHub Actions and
//! GitLab's notes take the same. Start at [`render`]; the sections are in `sections.rs`.

use super::finding::{Ending, findings};
use super::sheet::Sheet;
use super::{Case, Ink, figures, sections, text};
use crate::verdict::Verdict;

/// Where tables end: what may follow has room below GitHub's 65,536.
const ROOM_BYTES: usize = 50_000;

/// The comment.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let judgement = case.judgement;
    let mut sheet = Sheet::with_room(ROOM_BYTES);
    sheet.raw("### ").raw(mark(judgement.verdict)).raw(" chaos: ").text(&judgement.experiment).raw("\n\n");
    sheet.prose(&judgement.sentence).raw("\n");
    sections::cut_short(&mut sheet, case);
    sheet.raw("\n");
    for figure in figures::figures(case) {
        sheet.raw("- ").text(&figure.label).raw(": **").text(&figure.value).raw("**");
        if !figure.context.is_empty() {
            sheet.raw(" (").text(&figure.context).raw(")");
        }
        sheet.raw("\n");
    }
    let asked = findings(judgement);
    let (held, against): (Vec<_>, Vec<_>) =
        asked.into_iter().partition(|finding| finding.ending == Ending::Held);
    if !against.is_empty() {
        sections::findings(&mut sheet, &against);
        sections::evidence(&mut sheet, &against);
    }
    sheet.raw("\n<details><summary>").text(&text::count(held.len() as u64)).raw(" checks held</summary>\n");
    sections::findings(&mut sheet, &held);
    sheet.raw("</details>\n\n<details><summary>Timings, harm and cost</summary>\n");
    sections::timings(&mut sheet, case);
    sheet.raw("</details>\n\n<details><summary>Phases, objectives, probes and faults</summary>\n");
    sections::phases(&mut sheet, case);
    sections::slos(&mut sheet, case);
    sections::probes(&mut sheet, case);
    sections::faults(&mut sheet, case);
    sheet.raw("</details>\n\n<details><summary>Do it again</summary>\n\n");
    sections::again(&mut sheet, case);
    sheet.raw("</details>\n");
    sheet.finish()
}

/// The verdict at a glance; the word stands in the sentence.
pub(super) const fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "✅",
        Verdict::Failed | Verdict::Unhealed => "❌",
        Verdict::Invalid | Verdict::BaselineUnmet | Verdict::Aborted => "⚠️",
    }
}
