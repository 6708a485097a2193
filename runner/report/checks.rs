//! Why the verdict is what it is: the reasons at the top of the page, and every check with what it rests on.
//!
//! A reason leads to its check, a check to its phase and to the stretch of the timeline that it was measured on.

use super::finding::is_about;
use super::markup::Page;
use super::span::Span;
use super::tables::{NO_DATA, open, tag};
use super::{Case, exhibits, text};
use crate::error::Exit;
use crate::verdict::{Checked, Exhibit, Reason};

/// Why the verdict is not `held`.
pub(super) fn reasons(page: &mut Page, case: &Case<'_>) {
    let judgement = case.judgement;
    if judgement.reasons.is_empty() {
        return;
    }
    page.raw("<section class=\"reasons\" id=\"why\" aria-labelledby=\"why-title\"><h2 id=\"why-title\">Why</h2><ul>");
    for reason in &judgement.reasons {
        page.raw("<li>");
        what(page, reason);
        let at = reason.at_s.map(|at_s| format!("at {}", text::s(at_s)));
        let place: Vec<&str> = reason.phase.as_deref().into_iter().chain(at.as_deref()).collect();
        if !place.is_empty() {
            page.element(" <span class=\"sub\">", &place.join(", "), "</span>");
        }
        match judgement.checks.iter().position(|check| is_about(reason, check)) {
            Some(number) => {
                page.raw(" <a class=\"more\"").attr_link("#check-", number);
                page.attr("aria-label", &format!("Evidence of {}", reason.check)).raw(">evidence</a>");
            }
            None => reason.evidence.iter().for_each(|exhibit| {
                page.raw("<span class=\"sub proof\">").prose(&exhibits::sentence(exhibit)).raw("</span>");
            }),
        }
        page.raw("</li>");
    }
    page.raw("</ul></section>");
}

fn what(page: &mut Page, reason: &Reason) {
    match (&reason.value, &reason.threshold) {
        (value, Some(threshold)) => {
            page.raw("<code>").prose(&reason.check).raw("</code> was <strong>");
            page.text(value.as_deref().unwrap_or(NO_DATA)).raw("</strong>, ");
            // A guard says what must not be.
            page.raw(if reason.exit_code == Exit::Aborted.code() { "the limit was " } else { "asked: " });
            page.text(threshold);
        }
        // Nothing was compared: it is said in words.
        (Some(value), None) => {
            page.prose(&reason.check).element(": <strong>", value, "</strong>");
        }
        (None, None) => {
            page.prose(&reason.check);
        }
    }
}

/// Every check with its value beside its threshold, when that was decided, and the evidence.
pub(super) fn checks(page: &mut Page, case: &Case<'_>, span: &Span) {
    page.raw("<section id=\"checks\" aria-labelledby=\"checks-title\"><h2 id=\"checks-title\">Checks</h2>");
    if case.judgement.checks.is_empty() {
        page.raw("<p class=\"sub\">Nothing was judged.</p></section>");
        return;
    }
    page.raw("<p class=\"sub\">Each was judged on its phase. The evidence says what the value was read from; its times lead to that stretch of the timeline.</p>");
    open(page, "Checks");
    page.raw(concat!(
        "<thead><tr><th scope=\"col\">Result</th><th scope=\"col\">Phase</th><th scope=\"col\">Check</th>",
        "<th scope=\"col\" class=\"n\">Value</th><th scope=\"col\" class=\"n\">Threshold</th>",
        "<th scope=\"col\" class=\"n\">At</th><th scope=\"col\">Evidence</th></tr></thead><tbody>"
    ));
    for (number, check) in case.judgement.checks.iter().enumerate() {
        row(page, number, check, span);
    }
    page.raw("</tbody></table></div></section>");
}

fn row(page: &mut Page, number: usize, check: &Checked, span: &Span) {
    page.raw("<tr").attr_id("check-", number).raw("><td>");
    tag(page, check.holds, "held", "broken");
    page.element("</td><td>", check.phase.as_deref().unwrap_or("whole run"), "</td>");
    page.raw("<th scope=\"row\"><code>").prose(&check.check).raw("</code></th>");
    let value = check.value.as_deref().unwrap_or(NO_DATA);
    // What a probe came to is a sentence, which must not make the column as wide as it is.
    page.raw(if value.chars().count() > VALUE_CHARS { "<td>" } else { "<td class=\"n\">" });
    page.prose(value).raw("</td>");
    page.raw(if check.threshold.chars().count() > VALUE_CHARS { "<td>" } else { "<td class=\"n\">" });
    page.prose(&check.threshold).raw("</td>");
    page.element("<td class=\"n\">", &check.at_s.map(text::s).unwrap_or_default(), "</td><td>");
    if check.evidence.is_empty() {
        page.raw("<span class=\"sub\">none was kept</span>");
    }
    for exhibit in &check.evidence {
        evidence(page, exhibit, check.evidence.len() > 1, span);
    }
    page.raw("</td></tr>");
}

/// The longest value or threshold that stays in one line.
const VALUE_CHARS: usize = 16;

/// One figure's evidence; with its value where a check has several.
fn evidence(page: &mut Page, exhibit: &Exhibit, several: bool, span: &Span) {
    page.raw("<p class=\"proof\">");
    if several {
        page.element("<code>", &exhibit.figure, "</code> ");
        page.element("<strong>", exhibit.value.as_deref().unwrap_or(NO_DATA), "</strong>, ");
    }
    // Kinds of events, and requests, are in backquotes.
    for (at, part) in exhibit.source.split('`').enumerate() {
        if at % 2 == 0 {
            page.prose(part)
        } else {
            page.element("<code>", part, "</code>")
        };
    }
    let more = [exhibits::count(exhibit), exhibits::confidence(exhibit), exhibits::entries(exhibit)];
    more.into_iter().flatten().for_each(|more| {
        page.raw(", ").text(&more);
    });
    if let Some(when) = exhibits::span(exhibit) {
        let to_s = exhibit.to_s.or(exhibit.from_s).unwrap_or(span.to_s);
        page.raw(", <a href=\"#timeline\"");
        page.attr_number("data-a", span.x(exhibit.from_s.unwrap_or(to_s)), "");
        page.attr_number("data-b", span.x(to_s), "").raw(">").text(&when).raw("</a>");
    }
    page.raw("</p>");
}
