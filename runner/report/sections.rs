//! Sections that Markdown reports share: checks with their evidence, timings, phases, objectives, probes, faults, and
//! how to do it again.

use super::exhibits;
use super::finding::{Ending, Finding};
use super::outturns::outturns;
use super::samples::samples;
use super::sheet::{Cell, Sheet};
use super::{Case, text};
use crate::verdict::{FaultTarget, LoadReport};

const NO_DATA: &str = "no data";

/// Says that the journal's end is missing, if it is.
pub(super) fn cut_short(sheet: &mut Sheet, case: &Case<'_>) {
    if let Some(why) = case.cut_short {
        sheet.raw("\n> **The journal was cut short:** ").prose(why).raw("\n");
    }
}

/// Each with its value against its threshold.
pub(super) fn findings(sheet: &mut Sheet, asked: &[Finding<'_>]) {
    if asked.is_empty() {
        sheet.raw("\nNothing.\n\n");
        return;
    }
    sheet.head(&["", "phase", "check", "value:", "wanted:", "at:"]);
    for finding in asked {
        let at = finding.at_s.map(text::s).unwrap_or_default();
        sheet.row(&[
            match finding.ending {
                Ending::Held => Cell::Mark("held"),
                Ending::Broken => Cell::Mark("**broken**"),
                Ending::Untold => Cell::Strong(finding.word),
            },
            Cell::Text(finding.phase.unwrap_or("whole run")),
            match finding.threshold {
                Some(_) => Cell::Code(finding.check),
                None => Cell::Text(finding.check),
            },
            Cell::Text(finding.value.unwrap_or(if finding.threshold.is_some() { NO_DATA } else { "" })),
            Cell::Text(finding.threshold.unwrap_or_default()),
            Cell::Text(&at),
        ]);
    }
    sheet.foot();
}

/// What each of them rests on, a row a figure.
pub(super) fn evidence(sheet: &mut Sheet, asked: &[Finding<'_>]) {
    if asked.iter().all(|finding| finding.evidence.is_empty()) {
        return;
    }
    sheet.head(&["evidence", "value:", "95% confidence:", "of", "read from", "when:"]);
    for exhibit in asked.iter().flat_map(|finding| finding.evidence) {
        let [sure, of, when] =
            [exhibits::confidence(exhibit), exhibits::count(exhibit), exhibits::span(exhibit)]
                .map(Option::unwrap_or_default);
        sheet.row(&[
            Cell::Code(&exhibit.figure),
            Cell::Text(exhibit.value.as_deref().unwrap_or(NO_DATA)),
            Cell::Text(sure.trim_end_matches(" with 95% confidence")),
            Cell::Text(&of),
            Cell::Text(&exhibit.source),
            Cell::Text(&when),
        ]);
    }
    sheet.foot();
}

/// How long things took, who was harmed, what it cost, each against what was asked of it.
pub(super) fn timings(sheet: &mut Sheet, case: &Case<'_>) {
    let judgement = case.judgement;
    sheet.head(&["", "measured:", "asked", "held", "what it is"]);
    for outturn in outturns(judgement) {
        let (title, shown) = (outturn.title(), outturn.shown());
        let measured = shown.as_deref().unwrap_or(outturn.without);
        let asked = outturn.asked(judgement);
        if asked.is_empty() {
            sheet.row(&[
                Cell::Text(&title),
                Cell::Text(measured),
                Cell::Mark(""),
                Cell::Mark(""),
                Cell::Text(outturn.means),
            ]);
        }
        for check in asked {
            let held = match check.holds {
                Some(true) => Cell::Mark("yes"),
                Some(false) => Cell::Mark("**no**"),
                None => Cell::Mark(NO_DATA),
            };
            // Judged on its phase, it may be another than the run's.
            let measured = check.value.as_deref().unwrap_or(measured);
            let means = Cell::Text(outturn.means);
            sheet.row(&[Cell::Text(&title), Cell::Text(measured), Cell::Code(&check.check), held, means]);
        }
    }
    sheet.foot();
}

/// What each probe answered, and how fast.
pub(super) fn probes(sheet: &mut Sheet, case: &Case<'_>) {
    let samples = samples(case);
    if samples.is_empty() {
        return;
    }
    sheet.head(&[
        "probe",
        "asked:",
        "yes:",
        "no:",
        "no data:",
        "median took:",
        "longest:",
        "first that was no yes",
    ]);
    for of in &samples {
        let counts = [of.answers.len() as u64, of.count(Some(true)), of.count(Some(false)), of.count(None)];
        let counts = counts.map(text::count);
        let [median, longest] = [0.5, 1.0].map(|share| text::ms(of.took_ms(share)));
        let other = of.answers.iter().find(|answer| answer.ok != Some(true));
        let other = other.map(|answer| format!("at {}: {}", text::s(answer.at_s), answer.detail));
        let mut cells = vec![Cell::Code(of.probe)];
        cells.extend(counts.iter().map(|count| Cell::Text(count)));
        cells.extend([
            Cell::Text(&median),
            Cell::Text(&longest),
            Cell::Text(other.as_deref().unwrap_or_default()),
        ]);
        sheet.row(&cells);
    }
    sheet.foot();
}

/// What each load measured in each phase.
pub(super) fn phases(sheet: &mut Sheet, case: &Case<'_>) {
    sheet.head(&["phase", "lasted:", "load", "due:", "rate/s:", "good:", "p50:", "p99:", "max:", "not good"]);
    for phase in &case.judgement.phases {
        let lasted = text::s(phase.to_s - phase.from_s);
        if phase.load.is_empty() {
            sheet.row(&[Cell::Text(&phase.name), Cell::Text(&lasted), Cell::Text("none")]);
        }
        for (load, report) in &phase.load {
            let known = report.scheduled - report.cut_off;
            let or_none = |value: Option<String>| value.unwrap_or_else(|| NO_DATA.into());
            let figures = [
                text::count(report.scheduled),
                or_none(report.rate_per_s.map(text::rate)),
                or_none(text::share(report.good, known)),
                or_none(text::latency(report, "p50")),
                or_none(text::latency(report, "p99")),
                or_none(text::latency(report, "max")),
                not_good(report),
            ];
            let mut cells = vec![Cell::Text(&phase.name), Cell::Text(&lasted), Cell::Text(load)];
            cells.extend(figures.iter().map(|figure| Cell::Text(figure)));
            sheet.row(&cells);
        }
    }
    sheet.foot();
}

fn not_good(load: &LoadReport) -> String {
    let boxes = [
        (load.bad, "bad"),
        (load.timed_out, "timed out"),
        (load.failed, "failed"),
        (load.dropped, "dropped"),
        (load.cut_off, "cut off"),
    ];
    let told = boxes.iter().filter(|(count, _)| *count > 0);
    told.map(|(count, what)| format!("{} {what}", text::count(*count))).collect::<Vec<_>>().join(", ")
}

/// The objectives over the whole run.
pub(super) fn slos(sheet: &mut Sheet, case: &Case<'_>) {
    if case.judgement.slos.is_empty() {
        return;
    }
    sheet.head(&[
        "objective",
        "asked:",
        "was:",
        "burn rate:",
        "budget spent, by events:",
        "by time:",
        "broken for:",
        "alerts",
    ]);
    for slo in &case.judgement.slos {
        let burn = slo.burn_rate.map_or_else(|| NO_DATA.into(), |burn| format!("{burn:.2}"));
        let fired = slo.alerts.iter().filter(|alert| !alert.fired.is_empty());
        let fired: Vec<_> = fired.map(|alert| format!("{} fired", alert.alert)).collect();
        sheet.row(&[
            Cell::Text(&slo.name),
            Cell::Text(&text::ratio(slo.objective)),
            Cell::Text(&slo.good_ratio.map_or_else(|| NO_DATA.into(), text::ratio)),
            Cell::Text(&burn),
            Cell::Text(&slo.budget_spent_ratio.map_or_else(|| NO_DATA.into(), text::budget)),
            Cell::Text(&slo.budget_spent_by_time_ratio.map_or_else(|| NO_DATA.into(), text::budget)),
            Cell::Text(&slo.violation_s.map_or_else(|| NO_DATA.into(), text::s)),
            Cell::Text(&fired.join(", ")),
        ]);
    }
    sheet.foot();
}

/// The highest rates that held.
pub(super) fn capacities(sheet: &mut Sheet, case: &Case<'_>) {
    for capacity in &case.judgement.capacities {
        sheet.raw("- ").text(&capacity.phase).raw(": ").prose(&text::capacity(capacity)).raw("\n");
    }
}

/// What was asked, what each container got, and what proves it.
pub(super) fn faults(sheet: &mut Sheet, case: &Case<'_>) {
    if case.judgement.faults.is_empty() {
        return;
    }
    sheet.head(&["fault", "container", "asked", "in effect", "proven", "seen"]);
    for fault in &case.judgement.faults {
        for target in &fault.targets {
            sheet.row(&[
                Cell::Text(&fault.name),
                Cell::Code(&target.container),
                Cell::Text(&fault.summary),
                Cell::Text(&in_effect(target)),
                Cell::Mark(if fault.proven { "yes" } else { "**no**" }),
                Cell::Text(&seen(target)),
            ]);
        }
    }
    sheet.foot();
}

fn in_effect(target: &FaultTarget) -> String {
    match (target.applied_s, target.undone_s) {
        (Some(from_s), Some(to_s)) => format!("{} to {}", text::s(from_s), text::s(to_s)),
        (Some(from_s), None) => format!("from {} on", text::s(from_s)),
        _ => "never".into(),
    }
}

/// The first pieces of evidence; all of them are in report.json.
fn seen(target: &FaultTarget) -> String {
    const SHOWN: usize = 4;
    let mut all = text::evidence(&target.evidence);
    // What tells that it was met first; minima and maxima can wait.
    let telling = |what: &str| {
        ["matched", "altered", "counted", "p50", "after", "exit"].iter().any(|word| what.contains(word))
    };
    all.sort_by_key(|(what, _)| !telling(what));
    let mut shown: Vec<_> = all.iter().take(SHOWN).map(|(what, value)| format!("{what}: {value}")).collect();
    if all.len() > SHOWN {
        shown.push(format!("{} more", all.len() - SHOWN));
    }
    if shown.is_empty() { "nothing".into() } else { shown.join(", ") }
}

/// What the generator says of itself that a reader should know.
pub(super) fn generator(sheet: &mut Sheet, case: &Case<'_>) {
    let Some(generator) = &case.judgement.generator else { return };
    for warning in &generator.watch.warnings {
        sheet.raw("- ").prose(warning).raw("\n");
    }
}

/// The command, and what it ran on.
pub(super) fn again(sheet: &mut Sheet, case: &Case<'_>) {
    sheet.command(&case.started.command);
    let environment = &case.started.environment;
    let told: Vec<_> = environment.iter().map(|(what, value)| format!("{what} {value}")).collect();
    sheet.raw("\nchaos ").text(&case.started.version).raw(", ").prose(&told.join(", ")).raw("\n");
}
