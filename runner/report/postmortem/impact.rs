//! What it cost: for how long, how many requests, how much of which budget.
//!
//! A budget can be counted by events or by time, and the two differ: a quiet hour of outage costs few requests and
//! much time. Both are given, each under its name.

use std::collections::BTreeMap;

use super::super::{Case, text};
use crate::event::Event;
use crate::load::record::Boxes;
use crate::report::sheet::{Cell, Sheet};

pub(super) fn write(sheet: &mut Sheet, case: &Case<'_>) {
    sheet.raw("## Impact\n");
    let plan = &case.started.plan;
    if plan.loads.is_empty() {
        sheet.raw("\nNo load was sent: what users would have seen is not known.\n\n");
        return;
    }
    sheet.head(&["load", "phase", "lasted:", "due:", "harmed:", "of them"]);
    for phase in &case.judgement.phases {
        for (load, report) in &phase.load {
            let harmed = report.bad + report.timed_out + report.failed + report.dropped;
            let of = [
                (report.bad, "answered wrongly"),
                (report.timed_out, "timed out"),
                (report.failed, "failed"),
                (report.dropped, "not sent"),
            ];
            let of = of.iter().filter(|(count, _)| *count > 0);
            let of: Vec<_> = of.map(|(count, what)| format!("{} {what}", text::count(*count))).collect();
            sheet.row(&[
                Cell::Text(load),
                Cell::Text(&phase.name),
                Cell::Text(&text::s(phase.to_s - phase.from_s)),
                Cell::Text(&text::count(report.scheduled)),
                Cell::Text(&text::count(harmed)),
                Cell::Text(&of.join(", ")),
            ]);
        }
    }
    sheet.foot();
    budgets(sheet, case);
    classes(sheet, case);
}

/// What each objective lost, by both methods.
fn budgets(sheet: &mut Sheet, case: &Case<'_>) {
    let plan = &case.started.plan;
    if plan.slos.is_empty() {
        sheet.raw("No objective was set: there is no budget to spend from.\n\n");
        return;
    }
    sheet.head(&[
        "objective",
        "window",
        "not met for:",
        "budget spent, by time:",
        "budget spent, by events:",
    ]);
    for (name, slo) in plan.slos.iter() {
        let report = case.judgement.slos.iter().find(|report| report.name == name);
        let by_time = report.and_then(|report| report.budget_spent_by_time_ratio);
        let by_events = report.and_then(|report| report.budget_spent_ratio);
        let shown = |spent: Option<f64>| spent.map_or_else(|| "no data".into(), text::budget);
        let lasted = report.and_then(|report| report.violation_s);
        let lasted = lasted.map_or_else(|| "no data".into(), text::s);
        sheet.row(&[
            Cell::Text(name),
            Cell::Text(&slo.window.value.to_string()),
            Cell::Text(&lasted),
            Cell::Text(&shown(by_time)),
            Cell::Text(&shown(by_events)),
        ]);
    }
    sheet.foot();
    sheet.raw("By time: every second or slice in which too few requests were good counts whole, against the downtime that ");
    sheet.raw("the window allows. By events: bad requests against those that the window allows at this run's rate.\n\n");
}

/// What requests died of, most first.
fn classes(sheet: &mut Sheet, case: &Case<'_>) {
    const SHOWN: usize = 8;
    let mut by_class: BTreeMap<&str, (u64, Option<&str>)> = BTreeMap::new();
    let mut boxes = Boxes::default();
    for entry in case.entries {
        if let Event::Load { stats, .. } = &entry.event {
            boxes.add(&stats.boxes);
            for (class, count) in &stats.errors {
                let (sum, example) = by_class.entry(class).or_default();
                *sum += count;
                *example = example.or(stats.examples.get(class).map(String::as_str));
            }
        }
    }
    if by_class.is_empty() {
        return;
    }
    let mut by_class: Vec<_> = by_class.into_iter().collect();
    by_class.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    sheet.raw("What those requests met:\n").head(&["class", "requests:", "such as"]);
    for (class, (count, example)) in by_class.iter().take(SHOWN) {
        let count = text::count(*count);
        sheet.row(&[Cell::Text(class), Cell::Text(&count), Cell::Text(example.unwrap_or_default())]);
    }
    sheet.foot();
}
