//! The tables below the plots: capacities and phases. Checks are in `checks`, faults in `evidence`, objectives in
//! `gauges`, the run's circumstances in `colophon`.

use std::collections::BTreeMap;

use super::markup::Page;
use super::text::{self, NAME_MAX_CHARS};
use super::{Case, figures::breaks};
use crate::verdict::{LoadReport, PhaseReport};

/// What stands where nothing was measured.
pub(super) const NO_DATA: &str = "no data";

/// The highest rates that held, and every rate that was tried for them.
pub(super) fn capacities(page: &mut Page, case: &Case<'_>) {
    if case.judgement.capacities.is_empty() {
        return;
    }
    page.raw(
        "<section id=\"capacity\" aria-labelledby=\"capacity-title\"><h2 id=\"capacity-title\">Capacity</h2>",
    );
    for capacity in &case.judgement.capacities {
        page.raw("<div class=\"fault\"><h3>").text(&capacity.phase).raw("</h3><p>");
        page.prose(&text::capacity(capacity))
            .raw(".</p><p class=\"sub\">")
            .prose(&capacity.sentence)
            .raw(".</p>");
        open(page, &format!("rates tried in {}", capacity.phase));
        page.raw("<thead><tr><th scope=\"col\">Result</th><th scope=\"col\" class=\"n\">Rate/s</th><th scope=\"col\" class=\"n\">Requests</th><th scope=\"col\" class=\"n\">Not good</th><th scope=\"col\" class=\"n\">Below, with 95% confidence</th><th scope=\"col\">Why not</th></tr></thead><tbody>");
        for trial in &capacity.trials {
            page.raw("<tr><td>");
            tag(page, trial.held, "held", "broken");
            page.element("</td><td class=\"n\">", &text::rate(trial.rate_per_s), "</td>");
            page.element("<td class=\"n\">", &text::count(trial.requests), "</td>");
            page.element("<td class=\"n\">", &text::count(trial.not_good), "</td>");
            page.element(
                "<td class=\"n\">",
                &format!("{:.2}%", (trial.not_good_below * 1e4).ceil() / 100.0),
                "</td><td>",
            );
            page.prose(trial.why.as_deref().unwrap_or_default()).raw("</td></tr>");
        }
        page.raw("</tbody></table></div></div>");
    }
    page.raw("</section>");
}

/// `held`, `broken` or `no data`, as a word with a colour.
pub(super) fn tag(page: &mut Page, holds: Option<bool>, yes: &'static str, no: &'static str) {
    match holds {
        Some(true) => page.raw("<span class=\"tag good\">").raw(yes),
        Some(false) => page.raw("<span class=\"tag bad\">").raw(no),
        None => page.raw("<span class=\"tag doubt\">").raw(NO_DATA),
    };
    page.raw("</span>");
}

/// Every box and percentile, by phase and load.
pub(super) fn phases(page: &mut Page, case: &Case<'_>) {
    if case.judgement.phases.is_empty() {
        return;
    }
    page.raw("<section id=\"phases\" aria-labelledby=\"phases-title\"><h2 id=\"phases-title\">Phases</h2>");
    page.raw("<div class=\"dense\">");
    open(page, "Phases");
    page.raw("<thead><tr><th scope=\"col\">Phase</th><th scope=\"col\">Load</th>");
    for column in [
        "When",
        "Scheduled",
        "Per s",
        "Good",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "Max",
        "Bad",
        "Timed out",
        "Failed",
        "Dropped",
        "Cut off",
    ] {
        page.element("<th scope=\"col\" class=\"n\">", column, "</th>");
    }
    page.raw("</tr></thead><tbody>");
    for phase in &case.judgement.phases {
        for (load, report) in &phase.load {
            phase_row(page, phase, load, report, breaks(case, phase));
        }
    }
    page.raw("</tbody></table></div></div>");
    let cut_off = |phase: &PhaseReport| phase.load.values().any(|load| !load.latency_at_least.is_empty());
    if case.judgement.phases.iter().any(cut_off) {
        page.raw(
            "<p class=\"sub\">≥: among the requests cut off at the end, which would have taken longer.</p>",
        );
    }
    requests(page, case);
    answers(page, case);
    page.raw("</section>");
}

/// Latency by request and outcome, where one number does not say it.
fn requests(page: &mut Page, case: &Case<'_>) {
    let parts = |load: &LoadReport| load.requests.values().map(BTreeMap::len).sum::<usize>();
    if case.judgement.phases.iter().flat_map(|phase| phase.load.values()).all(|load| parts(load) < 2) {
        return;
    }
    page.raw("<details><summary>Latency by request and outcome</summary>");
    open(page, "Latency by request and outcome");
    page.raw("<thead><tr><th scope=\"col\">Phase</th><th scope=\"col\">Load</th><th scope=\"col\">Request</th><th scope=\"col\">Outcome</th>");
    for column in ["Requests", "p50", "p90", "p99", "p99.9", "Max"] {
        page.element("<th scope=\"col\" class=\"n\">", column, "</th>");
    }
    page.raw("</tr></thead><tbody>");
    for phase in &case.judgement.phases {
        for (load, report) in &phase.load {
            let rows = report.requests.iter().flat_map(|(request, outcomes)| {
                outcomes.iter().map(move |(outcome, part)| (request, outcome, part))
            });
            for (request, outcome, part) in rows {
                page.element("<tr><td>", &phase.name, "</td>").element("<td>", load, "</td>");
                page.raw("<th scope=\"row\"><code>").prose(request).raw("</code></th>");
                page.element("<td>", &outcome.word().replace('_', " "), "</td>");
                page.element("<td class=\"n\">", &text::count(part.count), "</td>");
                let values = part.latency_ms.map(|ms| [ms.p50, ms.p90, ms.p99, ms.p999, ms.max]);
                for value in values.into_iter().flatten() {
                    page.element("<td class=\"n\">", &text::ms(value), "</td>");
                }
                page.raw("</tr>");
            }
        }
    }
    page.raw("</tbody></table></div></details>");
}

fn phase_row(page: &mut Page, phase: &PhaseReport, load: &str, report: &LoadReport, broken: bool) {
    page.raw(if broken { "<tr class=\"broken\">" } else { "<tr>" });
    page.element("<th scope=\"row\">", &phase.name, "</th>").element("<td>", load, "</td>");
    let latency = |name| text::latency(report, name).unwrap_or_else(|| NO_DATA.into());
    let good = text::share(report.good, report.scheduled - report.cut_off);
    for value in [
        format!("{:.1}–{:.1} s", phase.from_s, phase.to_s),
        text::count(report.scheduled),
        report.rate_per_s.map_or_else(|| NO_DATA.into(), text::rate),
        good.unwrap_or_else(|| NO_DATA.into()),
        latency("p50"),
        latency("p90"),
        latency("p99"),
        latency("p999"),
        latency("max"),
        text::count(report.bad),
        text::count(report.timed_out),
        text::count(report.failed),
        text::count(report.dropped),
        text::count(report.cut_off),
    ] {
        page.element("<td class=\"n\">", &value, "</td>");
    }
    page.raw("</tr>");
}

/// Answers by status and failures by class, where there is more to say than `200`.
fn answers(page: &mut Page, case: &Case<'_>) {
    page.raw("<details><summary>Answers by status, errors by class</summary>");
    open(page, "Answers and errors");
    page.raw("<thead><tr><th scope=\"col\">Phase</th><th scope=\"col\">Load</th><th scope=\"col\">Answers</th><th scope=\"col\">Errors</th></tr></thead><tbody>");
    for phase in &case.judgement.phases {
        for (load, report) in &phase.load {
            let statuses: Vec<_> = report
                .statuses
                .iter()
                .map(|(status, count)| format!("{status}: {}", text::count(*count)))
                .collect();
            let errors: Vec<_> = report
                .errors
                .iter()
                .map(|(class, count)| format!("{}: {}", text::clean(class, 60), text::count(*count)))
                .collect();
            page.element("<tr><th scope=\"row\">", &phase.name, "</th>").element("<td>", load, "</td><td>");
            page.prose(&statuses.join(", ")).raw("</td><td>").prose(&errors.join(", ")).raw("</td></tr>");
        }
    }
    page.raw("</tbody></table></div>");
    examples(page, case);
    page.raw("</details>");
}

/// What errors looked like: the first of each class of each load.
fn examples(page: &mut Page, case: &Case<'_>) {
    let mut first: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (load, report) in case.judgement.phases.iter().flat_map(|phase| &phase.load) {
        for (class, text) in &report.examples {
            first.entry((load, class)).or_insert(text);
        }
    }
    if first.is_empty() {
        return;
    }
    page.raw("<p class=\"sub\">One of each, as it first happened:</p><ul class=\"notes\">");
    for ((load, class), text) in first {
        page.raw("<li>").text(&text::clean(load, NAME_MAX_CHARS)).raw(", ");
        page.text(&text::clean(class, 60)).raw(": <code>").prose(text).raw("</code></li>");
    }
    page.raw("</ul>");
}

/// Opens a table that scrolls by itself where it is too wide; `what` it is of tells it from others.
pub(super) fn open(page: &mut Page, what: &str) {
    page.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\"")
        .attr("aria-label", &format!("Table: {what}"));
    page.raw("><table>");
}
