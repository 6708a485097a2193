//! What proves each fault: what was asked, what happened to each container and when, and what was seen inside it.

use std::collections::BTreeMap;

use super::markup::Page;
use super::tables::{open, tag};
use super::{Case, text};
use crate::event::Event;
use crate::fault::Proof;
use crate::units::NS_PER_S;
use crate::verdict::{FaultReport, FaultTarget};

/// When a step was asked for and told to end, in seconds since the run's start.
#[derive(Clone, Copy, Default)]
struct Asked {
    begin_s: Option<f64>,
    end_s: Option<f64>,
}

/// Each fault: what was asked, what it got, and what proves it.
pub(super) fn faults(page: &mut Page, case: &Case<'_>) {
    if case.judgement.faults.is_empty() {
        return;
    }
    let asked = asked(case);
    page.raw("<section id=\"faults\" aria-labelledby=\"faults-title\"><h2 id=\"faults-title\">Faults: asked, got, proven</h2>");
    for fault in &case.judgement.faults {
        page.raw("<div class=\"fault\"><h3>").text(&fault.name).raw(" ");
        tag(page, Some(fault.proven).filter(|proven| *proven), "proven", "");
        page.raw("</h3><dl class=\"asked\"><div><dt>Asked</dt><dd>").prose(&fault.summary);
        page.raw("</dd></div><div><dt>Got</dt><dd>").prose(&got(fault));
        page.raw("</dd></div><div><dt>Proven by</dt><dd>").prose(&proof(case, fault)).raw("</dd></div></dl>");
        open(page, &format!("containers of {}", fault.name));
        page.raw(concat!(
            "<thead><tr><th scope=\"col\">Container</th><th scope=\"col\" class=\"n\">Onset</th>",
            "<th scope=\"col\" class=\"n\">after it was asked</th><th scope=\"col\" class=\"n\">Healed</th>",
            "<th scope=\"col\" class=\"n\">after it was told</th><th scope=\"col\">Seen inside</th></tr></thead><tbody>"
        ));
        let steps = case.started.plan.faults.iter().find(|planned| planned.name == fault.name);
        let steps = steps.map_or(&[][..], |planned| planned.steps.as_slice());
        for (at, target) in fault.targets.iter().enumerate() {
            let asked = steps.get(at).and_then(|step| asked.get(&step.id)).copied().unwrap_or_default();
            row(page, target, asked);
        }
        page.raw("</tbody></table></div></div>");
    }
    page.raw("</section>");
}

fn asked(case: &Case<'_>) -> BTreeMap<u32, Asked> {
    let mut steps: BTreeMap<u32, Asked> = BTreeMap::new();
    let seconds = |ns: u64| ns as f64 / NS_PER_S as f64;
    for entry in case.entries {
        match &entry.event {
            // Applied again after a restart: what was asked first counts, as the first onset does.
            Event::Applied { step, asked_ns, .. } => {
                steps.entry(*step).or_default().begin_s.get_or_insert(seconds(*asked_ns));
            }
            Event::Undone { step, asked_ns, .. } => {
                steps.entry(*step).or_default().end_s = Some(seconds(*asked_ns));
            }
            _ => {}
        }
    }
    steps
}

/// What came of it, in a sentence.
fn got(fault: &FaultReport) -> String {
    let hit = fault.targets.iter().filter(|target| target.applied_s.is_some()).count();
    let by = fault.engine.as_ref().map_or_else(String::new, |engine| format!(" by {engine}"));
    let when = match super::terminal::window(fault) {
        Some((from_s, Some(to_s))) => format!(", from {from_s:.3} s to {to_s:.3} s"),
        Some((from_s, None)) => format!(", from {from_s:.3} s on"),
        None => String::new(),
    };
    match (hit, fault.targets.len()) {
        (0, _) => "it never took effect".into(),
        (1, 1) => format!("in effect on one container{by}{when}"),
        (hit, of) if hit == of => format!("in effect on all {of} of its steps{by}{when}"),
        (hit, of) => format!("in effect in {hit} of {of} steps{by}{when}"),
    }
}

fn proof(case: &Case<'_>, fault: &FaultReport) -> String {
    let planned = case.started.plan.faults.iter().find(|planned| planned.name == fault.name);
    let how = planned.map(|planned| planned.fault.kind().proof());
    match (fault.proven, how) {
        (false, _) => "nothing: what was seen does not prove it; the reasons say why".into(),
        (true, Some(Proof::Reach)) => {
            "who reached whom before, during and after, as agents saw it: see the matrices above".into()
        }
        (true, _) => "what was seen inside every container it was meant for, below".into(),
    }
}

fn row(page: &mut Page, target: &FaultTarget, asked: Asked) {
    let instant =
        |at_s: Option<f64>, never| at_s.map_or_else(|| String::from(never), |at_s| format!("{at_s:.3} s"));
    let later = |from_s: Option<f64>, to_s: Option<f64>| match (from_s, to_s) {
        (Some(from_s), Some(to_s)) if to_s >= from_s => text::ms((to_s - from_s) * 1e3),
        _ => "-".into(),
    };
    page.element("<tr><th scope=\"row\">", &target.container, "</th>");
    page.element("<td class=\"n\">", &instant(target.applied_s, "never"), "</td>");
    page.element("<td class=\"n\">", &later(asked.begin_s, target.applied_s), "</td>");
    page.element("<td class=\"n\">", &instant(target.undone_s, "not healed"), "</td>");
    page.element("<td class=\"n\">", &later(asked.end_s, target.undone_s), "</td><td>");
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
