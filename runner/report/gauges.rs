//! Objectives as gauges: how much of what an SLO allows was used up in the run, and how much of its window's budget
//! that cost.
//!
//! A gauge is full where the promise is broken. The table beneath has the same figures in digits.

use super::markup::Page;
use super::tables::{NO_DATA, open, tag};
use super::{Case, text};
use crate::units::Ratio;
use crate::verdict::SloReport;

/// A gauge shows up to so many times what is allowed; beyond, it is full and says how much it is.
const GAUGE_MOST: f64 = 2.0;

/// A gauge's width and height in its own units.
const WIDTH: f64 = 200.0;
const HEIGHT: f64 = 14.0;

/// Objectives and what the run took from their budgets.
pub(super) fn slos(page: &mut Page, case: &Case<'_>) {
    if case.judgement.slos.is_empty() {
        return;
    }
    page.raw("<section id=\"objectives\" aria-labelledby=\"objectives-title\"><h2 id=\"objectives-title\">Objectives</h2><p class=\"sub\">Over the whole run. Burn rate 1 spends the budget exactly by the end of its window. The budget is by events: bad requests against those allowed in the window at this run's rate.</p><div class=\"gauges\">");
    for slo in &case.judgement.slos {
        page.raw("<div class=\"card\"><h3>").text(&slo.name).raw(" ");
        tag(page, slo.held, "held", "broken");
        page.raw("</h3>");
        gauge(page, "of what it allows, bad in this run", slo.burn_rate);
        gauge(page, "of the window's budget spent", slo.budget_spent_ratio);
        page.raw("</div>");
    }
    page.raw("</div>");
    table(page, case);
    page.raw("</section>");
}

/// One gauge; 1 is what is allowed.
fn gauge(page: &mut Page, what: &'static str, share: Option<f64>) {
    let value = share.map_or_else(|| NO_DATA.to_owned(), text::budget);
    page.raw("<p><strong>")
        .text(&value)
        .raw("</strong> ")
        .raw(what)
        .raw("</p><svg class=\"gauge\" role=\"img\"");
    page.attr("aria-label", &format!("{value} {what}"))
        .raw(" viewBox=\"0 0 200 14\" preserveAspectRatio=\"none\">");
    page.raw("<rect class=\"track\" width=\"200\" height=\"14\" rx=\"3\"/>");
    if let Some(share) = share {
        let full = (share / GAUGE_MOST).clamp(0.0, 1.0) * WIDTH;
        page.raw(if share > 1.0 { "<rect class=\"over\"" } else { "<rect class=\"used\"" });
        // What is more than nothing is seen.
        let drawn = if share > 0.0 { full.max(2.0) } else { 0.0 };
        page.attr_number("width", drawn, "").raw(" height=\"14\" rx=\"3\"/>");
    }
    page.raw("<line class=\"allowed\"").attr_number("x1", WIDTH / GAUGE_MOST, "");
    page.attr_number("x2", WIDTH / GAUGE_MOST, "").attr_number("y1", 0.0, "").attr_number("y2", HEIGHT, "");
    page.raw("/></svg>");
}

fn table(page: &mut Page, case: &Case<'_>) {
    open(page, "Objectives");
    page.raw("<thead><tr><th scope=\"col\">Result</th><th scope=\"col\">SLO</th><th scope=\"col\" class=\"n\">Objective</th><th scope=\"col\" class=\"n\">Good</th><th scope=\"col\" class=\"n\">Burn rate</th><th scope=\"col\" class=\"n\">Budget spent</th><th scope=\"col\">Window</th><th scope=\"col\">Alerts</th></tr></thead><tbody>");
    for slo in &case.judgement.slos {
        row(page, case, slo);
    }
    page.raw("</tbody></table></div>");
}

fn row(page: &mut Page, case: &Case<'_>, slo: &SloReport) {
    let planned = case.started.plan.slos.get(&slo.name);
    let window = planned.map_or_else(|| "-".to_owned(), |slo| slo.window.value.to_string());
    let or_none = |value: Option<String>| value.unwrap_or_else(|| NO_DATA.into());
    page.raw("<tr><td>");
    tag(page, slo.held, "held", "broken");
    page.element("</td><th scope=\"row\">", &slo.name, "");
    if !slo.measures.is_empty() {
        page.element("<div class=\"measures\">", &slo.measures, "</div>");
    }
    page.raw("</th>");
    page.element("<td class=\"n\">", &Ratio::new(slo.objective).to_string(), "</td>");
    page.element("<td class=\"n\">", &or_none(slo.good_ratio.map(text::ratio)), "</td>");
    page.element("<td class=\"n\">", &or_none(slo.burn_rate.map(|burn| format!("{burn:.2}"))), "</td>");
    page.element("<td class=\"n\">", &or_none(slo.budget_spent_ratio.map(text::budget)), "</td>");
    page.element("<td>", &window, "</td><td>");
    for alert in &slo.alerts {
        page.raw("<div>").text(&alert.alert).raw(": ");
        match alert.fired.first() {
            Some(first) => page.text(&format!("fired at {}", text::s(first.from_s))),
            None => page.raw("did not fire"),
        };
        page.raw("</div>");
    }
    page.raw("</td></tr>");
}
