//! What to do about it: a checklist, each item with the experiment that proves it done.

use super::super::Case;
use super::super::finding::{Ending, Finding};
use super::first_onset_ns;
use crate::report::sheet::Sheet;
use crate::verdict::Verdict;

pub(super) fn write(sheet: &mut Sheet, case: &Case<'_>, asked: &[Finding<'_>]) {
    let judgement = case.judgement;
    sheet.raw("## Action items\n\n");
    let open: Vec<_> = asked.iter().filter(|finding| finding.ending != Ending::Held).collect();
    for finding in open {
        sheet.raw("- [ ] ");
        match (finding.ending, finding.threshold) {
            (Ending::Broken, Some(threshold)) => {
                sheet.raw("Make ").code(finding.check).raw(" hold").text(&place(finding)).raw(": it was ");
                sheet.text(finding.value.unwrap_or("without data")).raw(", wanted ").text(threshold).raw(".");
            }
            (Ending::Broken, None) => {
                sheet.raw("Mend this").text(&place(finding)).raw(": ").prose(finding.check).raw(".");
            }
            (_, _) => {
                sheet
                    .raw("Make it possible to tell")
                    .text(&place(finding))
                    .raw(": ")
                    .prose(&finding.sentence());
                sheet.raw(".");
            }
        }
        proof(
            sheet,
            case,
            match (finding.ending, finding.threshold) {
                (Ending::Broken, Some(_)) => "this check holds",
                (Ending::Broken, None) => "it is no longer a reason",
                _ => "the verdict is `held` or `failed`, no longer one that says nothing",
            },
        );
    }
    if first_onset_ns(case).is_some() && judgement.timings.time_to_detect_s.is_none() {
        sheet.raw("- [ ] Have something notice: a guard under ").code("abort").raw(", or ").code("alerts");
        sheet.raw(" of an objective, with ").code("time_to_detect").raw(" in ").code("expect").raw(".");
        proof(sheet, case, "that check holds");
    }
    if judgement.faults.iter().any(|fault| !fault.proven) {
        sheet.raw("- [ ] Prove the faults that left no trace: send what they are to hit.");
        proof(sheet, case, "every fault is proven");
    }
    if judgement.verdict == Verdict::Held {
        sheet.raw(
            "- [ ] Keep it so: hold every release against this run.\n      Done when this gates it:\n\n",
        );
        sheet.raw("      ").code(&format!("{} --baseline {}", case.started.command, judgement.run)).raw("\n");
    }
    sheet.raw("- [ ] ").raw(super::BLANK).raw("\n\nOwners and dates: ").raw(super::BLANK).raw("\n\n");
}

fn place(finding: &Finding<'_>) -> String {
    finding.phase.map_or_else(|| " over the whole run".into(), |phase| format!(" in phase {phase}"))
}

/// The experiment that shows an item done.
fn proof(sheet: &mut Sheet, case: &Case<'_>, how: &'static str) {
    sheet
        .raw("\n      Proven by ")
        .code(&format!("chaos run {}", case.started.file))
        .raw(": ")
        .raw(how)
        .raw(".\n");
}
