//! step-summary.md: the run for the summary page of a GitHub Actions job, which has room for all of it.
//!
//! `chaos report RUN --format step-summary >> "$GITHUB_STEP_SUMMARY"`. GitHub takes 1 MiB a step; tables end before.

use super::finding::findings;
use super::sheet::Sheet;
use super::{Case, Ink, figures, markdown, sections, wall};

/// Where tables end, a third of what a step may say, so that three runs fit.
const ROOM_BYTES: usize = 300_000;

/// The summary.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let judgement = case.judgement;
    let mut sheet = Sheet::with_room(ROOM_BYTES);
    sheet.raw("## ").raw(markdown::mark(judgement.verdict)).raw(" ").text(&judgement.experiment).raw("\n\n");
    sheet.prose(&judgement.sentence).raw("\n");
    sections::cut_short(&mut sheet, case);
    if let Some(why) = &judgement.why {
        sheet.raw("\n_").prose(why).raw("_\n");
    }
    sheet.raw("\nRun ").code(&judgement.run).raw(", ").text(&wall::start(&judgement.started));
    sheet.raw(", exit ").text(&judgement.exit_code.to_string()).raw("\n");
    sheet.head(&["", "", ""]);
    for figure in figures::figures(case) {
        use super::sheet::Cell::{Strong, Text};
        sheet.row(&[Text(&figure.label), Strong(&figure.value), Text(&figure.context)]);
    }
    sheet.foot();
    sheet.raw("### Checks\n");
    let asked = findings(judgement);
    sections::findings(&mut sheet, &asked);
    sections::evidence(&mut sheet, &asked);
    sheet.raw("### Timings, harm and cost\n");
    sections::timings(&mut sheet, case);
    sheet.raw("### Phases\n");
    sections::phases(&mut sheet, case);
    sections::slos(&mut sheet, case);
    sections::probes(&mut sheet, case);
    sections::capacities(&mut sheet, case);
    sections::faults(&mut sheet, case);
    sections::generator(&mut sheet, case);
    sheet.raw("### Do it again\n\n");
    sections::again(&mut sheet, case);
    sheet.finish()
}
