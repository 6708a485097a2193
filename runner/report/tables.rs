//! The evidence below the plots: why, checks, faults, objectives, phases, and how to do it again.

use std::collections::BTreeMap;

use super::markup::Page;
use super::text::{self, NAME_MAX_CHARS};
use super::{Case, figures::breaks};
use crate::verdict::{Checked, FaultReport, LoadReport, PhaseReport};

const NO_DATA: &str = "no data";

/// Why the verdict is not `held`.
pub(super) fn reasons(page: &mut Page, case: &Case<'_>) {
    if case.judgement.reasons.is_empty() {
        return;
    }
    page.raw("<section class=\"reasons\"><h2>Why</h2><ul>");
    for reason in &case.judgement.reasons {
        match (&reason.value, &reason.threshold) {
            (value, Some(threshold)) => {
                page.raw("<li><code>").prose(&reason.check).raw("</code> was <strong>");
                page.text(value.as_deref().unwrap_or(NO_DATA)).raw("</strong>, asked: ").text(threshold);
            }
            // Nothing was compared: it is said in words.
            (Some(value), None) => {
                page.raw("<li>").prose(&reason.check).element(": <strong>", value, "</strong>");
            }
            (None, None) => {
                page.raw("<li>").prose(&reason.check);
            }
        }
        let at = reason.at_s.map(|at_s| format!("at {}", text::s(at_s)));
        let place: Vec<&str> = reason.phase.as_deref().into_iter().chain(at.as_deref()).collect();
        if !place.is_empty() {
            page.element(" <span class=\"sub\">", &place.join(", "), "</span>");
        }
        page.raw("</li>");
    }
    page.raw("</ul></section>");
}

/// The highest rates that held, and every rate that was tried for them.
pub(super) fn capacities(page: &mut Page, case: &Case<'_>) {
    if case.judgement.capacities.is_empty() {
        return;
    }
    page.raw("<section><h2>Capacity</h2>");
    for capacity in &case.judgement.capacities {
        page.raw("<div class=\"fault\"><h3>").text(&capacity.phase).raw("</h3><p>");
        page.prose(&text::capacity(capacity))
            .raw(".</p><p class=\"sub\">")
            .prose(&capacity.sentence)
            .raw(".</p>");
        open(page, "Rates tried");
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

/// Every check with its value beside its threshold.
pub(super) fn checks(page: &mut Page, case: &Case<'_>) {
    page.raw("<section><h2>Checks</h2>");
    if case.judgement.checks.is_empty() {
        page.raw("<p class=\"sub\">Nothing was judged.</p></section>");
        return;
    }
    open(page, "Checks");
    page.raw("<thead><tr><th scope=\"col\">Result</th><th scope=\"col\">Phase</th><th scope=\"col\">Check</th><th scope=\"col\" class=\"n\">Value</th><th scope=\"col\" class=\"n\">Threshold</th></tr></thead><tbody>");
    for check in &case.judgement.checks {
        page.raw("<tr><td>");
        tag(page, check.holds, "held", "broken");
        page.element("</td><td>", check.phase.as_deref().unwrap_or("whole run"), "</td>");
        page.raw("<th scope=\"row\"><code>").prose(&check.check).raw("</code></th>");
        page.element("<td class=\"n\">", value(check), "</td>").element(
            "<td class=\"n\">",
            &check.threshold,
            "</td></tr>",
        );
    }
    page.raw("</tbody></table></div></section>");
}

fn value(check: &Checked) -> &str {
    check.value.as_deref().unwrap_or(NO_DATA)
}

/// `held`, `broken` or `no data`, as a word with a colour.
fn tag(page: &mut Page, holds: Option<bool>, yes: &'static str, no: &'static str) {
    match holds {
        Some(true) => page.raw("<span class=\"tag good\">").raw(yes),
        Some(false) => page.raw("<span class=\"tag bad\">").raw(no),
        None => page.raw("<span class=\"tag doubt\">").raw(NO_DATA),
    };
    page.raw("</span>");
}

/// Each fault: what was asked, what happened to each container, and what proves it.
pub(super) fn faults(page: &mut Page, case: &Case<'_>) {
    if case.judgement.faults.is_empty() {
        return;
    }
    page.raw("<section><h2>Faults</h2>");
    for fault in &case.judgement.faults {
        page.raw("<div class=\"fault\"><h3>").text(&fault.name).raw(" ");
        tag(page, Some(fault.proven).filter(|proven| *proven), "proven", "");
        page.raw("</h3><p>").prose(&fault.summary);
        if let Some(engine) = &fault.engine {
            page.raw(", by ").text(engine);
        }
        page.raw(".</p>");
        open(page, "Containers of this fault");
        page.raw("<thead><tr><th scope=\"col\">Container</th><th scope=\"col\" class=\"n\">Onset</th><th scope=\"col\" class=\"n\">Healed</th><th scope=\"col\">Evidence</th></tr></thead><tbody>");
        fault_targets(page, fault);
        page.raw("</tbody></table></div></div>");
    }
    page.raw("</section>");
}

fn fault_targets(page: &mut Page, fault: &FaultReport) {
    let instant =
        |at_s: Option<f64>, never| at_s.map_or_else(|| String::from(never), |at_s| format!("{at_s:.3} s"));
    for target in &fault.targets {
        page.element("<tr><th scope=\"row\">", &target.container, "</th>");
        page.element("<td class=\"n\">", &instant(target.applied_s, "never"), "</td>");
        page.element("<td class=\"n\">", &instant(target.undone_s, "not healed"), "</td><td>");
        let seen = text::evidence(&target.evidence);
        if seen.is_empty() {
            page.raw("nothing was seen");
        }
        page.raw("<dl class=\"seen\">");
        for (name, value) in seen {
            page.element("<div><dt>", &name, "</dt>").element("<dd>", &value, "</dd></div>");
        }
        page.raw("</dl></td></tr>");
    }
}

/// Objectives and what the run took from their budgets.
pub(super) fn slos(page: &mut Page, case: &Case<'_>) {
    if case.judgement.slos.is_empty() {
        return;
    }
    page.raw("<section><h2>Objectives</h2><p class=\"sub\">Over the whole run. Burn rate 1 spends the budget exactly by the end of its window. The budget is by events: bad requests against those allowed in the window at this run's rate.</p>");
    open(page, "Objectives");
    page.raw("<thead><tr><th scope=\"col\">Result</th><th scope=\"col\">SLO</th><th scope=\"col\" class=\"n\">Objective</th><th scope=\"col\" class=\"n\">Good</th><th scope=\"col\" class=\"n\">Burn rate</th><th scope=\"col\" class=\"n\">Budget spent</th><th scope=\"col\">Window</th></tr></thead><tbody>");
    for slo in &case.judgement.slos {
        let planned = case.started.plan.slos.get(&slo.name);
        let window = planned.map_or_else(|| "-".to_owned(), |slo| slo.window.value.to_string());
        let or_none = |value: Option<String>| value.unwrap_or_else(|| NO_DATA.into());
        page.raw("<tr><td>");
        tag(page, slo.held, "held", "broken");
        page.element("</td><th scope=\"row\">", &slo.name, "</th>");
        page.element("<td class=\"n\">", &crate::units::Ratio::new(slo.objective).to_string(), "</td>");
        page.element("<td class=\"n\">", &or_none(slo.good_ratio.map(text::ratio)), "</td>");
        page.element("<td class=\"n\">", &or_none(slo.burn_rate.map(|burn| format!("{burn:.2}"))), "</td>");
        page.element("<td class=\"n\">", &or_none(slo.budget_spent_ratio.map(text::budget)), "</td>");
        page.element("<td>", &window, "</td></tr>");
    }
    page.raw("</tbody></table></div></section>");
}

/// Every box and percentile, by phase and load.
pub(super) fn phases(page: &mut Page, case: &Case<'_>) {
    if case.judgement.phases.is_empty() {
        return;
    }
    page.raw("<section><h2>Phases</h2>");
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

/// What the generator saw of itself: whether its figures can be believed.
pub(super) fn self_watch(page: &mut Page, case: &Case<'_>) {
    let Some(generator) = &case.judgement.generator else { return };
    let watch = &generator.watch;
    page.raw("<section><h2>The generator about itself</h2>");
    if !watch.warnings.is_empty() {
        page.raw("<ul class=\"notes\">");
        for warning in &watch.warnings {
            page.raw("<li>").prose(warning).raw("</li>");
        }
        page.raw("</ul>");
    }
    page.raw("<dl class=\"environment\">");
    let mut row = |name: &str, value: String| {
        page.element("<div><dt>", &text::clean(name, NAME_MAX_CHARS), "</dt><dd>")
            .text(&value)
            .raw("</dd></div>");
    };
    let or_none = |value: Option<String>| value.unwrap_or_else(|| NO_DATA.into());
    let lag = generator.send_lag_ms;
    row("own delay", or_none(lag.map(|lag| format!("p99 {}, max {}", text::ms(lag.p99), text::ms(lag.max)))));
    row("CPU", or_none(generator.cpu_ratio.map(|ratio| format!("{:.0}% of its cores", ratio * 100.0))));
    let saturated = if generator.saturated { "yes: the figures mean little" } else { "no" };
    row("saturated", saturated.into());
    if !watch.threads.is_empty() {
        let shares: Vec<_> = watch.threads.iter().map(|share| format!("{:.0}%", share * 100.0)).collect();
        row("sending threads", format!("{}, using {} of a core each", shares.len(), shares.join(", ")));
    }
    if let Some(realtime) = watch.realtime {
        row("real-time priority", if realtime { "yes" } else { "no" }.into());
    }
    if let Some(stall) = watch.longest_stall_ms {
        row("longest stall", text::ms(stall));
    }
    if let Some(steal) = watch.steal_ratio {
        row("CPU taken by the host (steal)", format!("{:.1}%", steal * 100.0));
    }
    for (name, room) in [("open files", watch.open_files), ("local ports", watch.ports)] {
        if let Some(room) = room {
            row(name, format!("{} of {}", text::count(room.most), text::count(room.limit)));
        }
    }
    for (load, check) in &watch.arrivals {
        let found = if check.poisson { "poisson as sent" } else { "not poisson as sent" };
        let value =
            format!("{found}: A² {:.2} of {} gaps, critical {:.2}", check.misfit, check.gaps, check.critical);
        row(&format!("arrivals of {load}"), value);
    }
    for (load, check) in &watch.succession {
        let value = if check.independent {
            format!("independent of one another (rank correlation {:.2})", check.correlation)
        } else {
            format!(
                "not independent (rank correlation {:.2}): each is worth {:.2} of one, and confidence intervals \
                 are {:.1} times too narrow",
                check.correlation,
                check.worth,
                1.0 / check.worth.max(1e-3).sqrt()
            )
        };
        row(&format!("latencies of {load}"), value);
    }
    page.raw("</dl></section>");
}

/// Where it ran, and the commands to do it again.
pub(super) fn environment(page: &mut Page, case: &Case<'_>) {
    let started = case.started;
    page.raw("<section><h2>Do it again</h2><pre tabindex=\"0\"><code>")
        .copied(&started.command)
        .raw("</code></pre>");
    page.raw("<p class=\"sub\">The same seed, the same containers and the same file give the same plan. <code>chaos report ");
    page.text(&started.run).raw("</code> makes this page again from the journal.</p></section>");
    page.raw("<section><h2>Environment</h2><dl class=\"environment\">");
    let mut row = |name: &str, value: &str| {
        page.element("<div><dt>", name, "</dt><dd>").text(value).raw("</dd></div>");
    };
    row("experiment file", &started.file);
    row("seed", &started.plan.seed.to_string());
    row("chaos", &started.version);
    for (name, value) in &started.environment {
        row(&text::clean(name, NAME_MAX_CHARS), value);
    }
    page.raw("</dl>");
    if !started.plan.notes.is_empty() {
        page.raw("<ul class=\"notes\">");
        for note in &started.plan.notes {
            page.raw("<li>").prose(note).raw("</li>");
        }
        page.raw("</ul>");
    }
    page.raw("</section>");
}

/// Opens a table that scrolls by itself where it is too wide.
fn open(page: &mut Page, what: &'static str) {
    page.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\"").attr("aria-label", what).raw("><table>");
}
