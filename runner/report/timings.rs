//! How long things took, who was harmed, what it cost: each figure with the sentence that says what it is, and against
//! what was asked of it.

use super::Case;
use super::markup::Page;
use super::outturns::outturns;
use super::tables::{open, tag};

/// True if there is anything to time: something was broken, or there is a budget to spend from.
pub(super) fn any(case: &Case<'_>) -> bool {
    let judgement = case.judgement;
    !judgement.slos.is_empty() || judgement.faults.iter().any(|fault| !fault.targets.is_empty())
}

/// The section.
pub(super) fn timings(page: &mut Page, case: &Case<'_>) {
    if !any(case) {
        return;
    }
    let judgement = case.judgement;
    page.raw("<section id=\"timings\" aria-labelledby=\"timings-title\"><h2 id=\"timings-title\">Timings, harm and cost</h2>");
    open(page, "Timings, harm and cost");
    page.raw("<thead><tr><th scope=\"col\">Figure, and what it is</th><th scope=\"col\" class=\"n\">Value</th><th scope=\"col\">Asked</th></tr></thead><tbody>");
    for outturn in outturns(judgement) {
        page.element("<tr><th scope=\"row\">", &outturn.title(), "<p class=\"sub help\">").raw(outturn.means);
        page.raw("</p></th><td class=\"n\">");
        match outturn.shown() {
            Some(value) => page.element("<strong>", &value, "</strong>"),
            None => page.element("<span class=\"sub\">", outturn.without, "</span>"),
        };
        page.raw("</td><td>");
        for check in outturn.asked(judgement) {
            page.raw("<p>");
            tag(page, check.holds, "held", "broken");
            page.element(" <code>", &check.check, "</code></p>");
        }
        page.raw("</td></tr>");
    }
    page.raw("</tbody></table></div></section>");
}
