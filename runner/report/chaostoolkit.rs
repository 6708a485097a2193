//! chaostoolkit.json: the run as a journal of the Chaos Toolkit, for what was built around that.
//!
//! Faults are actions, taking them back is a rollback, checks are probes with the tolerance `true`, and the steady
//! state is the hypothesis. Its words know no run that says nothing: invalid, unhealed and aborted runs are `aborted`,
//! one whose baseline was not met is `failed`, as the toolkit calls it, and one that broke what was claimed is
//! `completed` and `deviated`. Every provider asks for the run's report, so nobody breaks anything by
//! running what is inside.
//!
//! The shape is what `chaoslib.run.initialize_run_journal` makes, and `chaoslib.experiment` accepts.

use serde_json::{Value, json};

use super::finding::{Ending, Finding, findings};
use super::text::{NAME_MAX_CHARS, PROSE_MAX_CHARS, clean};
use super::{Case, Ink, wall};
use crate::event::{Event, Measured, SteadyWhy};
use crate::verdict::{FaultReport, FaultTarget, Verdict};

/// The version of `chaoslib` whose journals these are like.
const LIKE: &str = "1.44.0";

/// The journal as JSON.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let judgement = case.judgement;
    let journal = json!({
        "chaoslib-version": LIKE,
        "platform": machine(case),
        "node": "chaos",
        "experiment": experiment(case),
        "start": wall::at_s(case, 0.0),
        "status": status(judgement.verdict),
        "deviated": judgement.verdict == Verdict::Failed,
        "steady_states": {
            "before": looks(case, &[SteadyWhy::Baseline]).pop(),
            "during": looks(case, &[SteadyWhy::Changed]),
            "after": looks(case, &[SteadyWhy::Until, SteadyWhy::End]).pop(),
        },
        "run": run(case),
        "rollbacks": each_target(case).filter_map(|(fault, target)| rollback(case, fault, target)).collect::<Vec<_>>(),
        "end": wall::at_s(case, judgement.duration_s),
        "duration": judgement.duration_s,
    });
    serde_json::to_string_pretty(&journal).expect("it has text keys only") + "\n"
}

const fn status(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held | Verdict::Failed => "completed",
        Verdict::BaselineUnmet => "failed",
        Verdict::Invalid | Verdict::Aborted | Verdict::Unhealed => "aborted",
    }
}

fn machine(case: &Case<'_>) -> String {
    let environment = &case.started.environment;
    let known = ["os", "kernel", "docker"].map(|name| environment.get(name).map(|of| format!("{name} {of}")));
    clean(&known.into_iter().flatten().collect::<Vec<_>>().join(", "), PROSE_MAX_CHARS)
}

fn experiment(case: &Case<'_>) -> Value {
    let plan = &case.started.plan;
    let claim = sentence_or(&plan.experiment, "an experiment without a claim");
    let actions = each_target(case).map(|(fault, target)| action(case, fault, target));
    let asked = findings(case.judgement);
    let rollbacks = each_target(case).map(|(fault, target)| undo(case, fault, target));
    let mut experiment = json!({
        "title": claim,
        "description": sentence_or(plan.why.as_deref().unwrap_or_default(), &claim),
        "tags": ["chaos"],
        "method": actions.chain(asked.iter().map(|finding| probe(case, finding.check))).collect::<Vec<_>>(),
        "rollbacks": rollbacks.collect::<Vec<_>>(),
    });
    if !plan.steady_state.is_empty() {
        let probes = plan.steady_state.iter().map(|steady| probe(case, &steady.to_string()));
        experiment["steady-state-hypothesis"] =
            json!({ "title": claim, "probes": probes.collect::<Vec<_>>() });
    }
    experiment
}

fn each_target<'c>(case: &Case<'c>) -> impl Iterator<Item = (&'c FaultReport, &'c FaultTarget)> + use<'c> {
    case.judgement.faults.iter().flat_map(|fault| fault.targets.iter().map(move |target| (fault, target)))
}

/// What knows the answer: the run's report.
fn provider(case: &Case<'_>) -> Value {
    json!({ "type": "process", "path": "chaos", "arguments": ["report", clean(&case.started.run, NAME_MAX_CHARS)] })
}

fn probe(case: &Case<'_>, check: &str) -> Value {
    json!({
        "type": "probe",
        "name": sentence_or(check, "a check"),
        "tolerance": true,
        "provider": provider(case),
    })
}

fn action(case: &Case<'_>, fault: &FaultReport, target: &FaultTarget) -> Value {
    let name =
        format!("{} on {}", clean(&fault.name, NAME_MAX_CHARS), clean(&target.container, NAME_MAX_CHARS));
    json!({ "type": "action", "name": name, "provider": provider(case), "background": true })
}

fn undo(case: &Case<'_>, fault: &FaultReport, target: &FaultTarget) -> Value {
    let mut undo = action(case, fault, target);
    undo["name"] = format!("take back {}", undo["name"].as_str().unwrap_or_default()).into();
    undo["background"] = false.into();
    undo
}

/// What was done: actions as they took effect, then probes as they were judged.
fn run(case: &Case<'_>) -> Vec<Value> {
    let actions = each_target(case).map(|(fault, target)| {
        let until_s = target.undone_s.or(target.applied_s);
        let output = json!({
            "asked": clean(&fault.summary, PROSE_MAX_CHARS),
            "proven": fault.proven,
            "evidence": evidence(target),
        });
        let status = if target.applied_s.is_some() { "succeeded" } else { "failed" };
        activity(case, &action(case, fault, target), &output, status, (target.applied_s, until_s))
    });
    let asked = findings(case.judgement);
    let probes = asked.iter().map(|finding| {
        let phase = case.judgement.phases.iter().find(|phase| finding.phase == Some(phase.name.as_str()));
        let span = phase.map_or((Some(0.0), Some(case.judgement.duration_s)), |phase| {
            (Some(phase.from_s), Some(phase.to_s))
        });
        let told = finding.ending != Ending::Untold;
        let status = if told { "succeeded" } else { "failed" };
        let output = if told { Value::Bool(finding.ending == Ending::Held) } else { Value::Null };
        let mut run = activity(case, &probe(case, finding.check), &output, status, span);
        run["tolerance_met"] = (finding.ending == Ending::Held).into();
        explain(&mut run, finding);
        run
    });
    actions.chain(probes).collect()
}

fn explain(run: &mut Value, finding: &Finding<'_>) {
    run["phase"] = finding.phase.map(|phase| clean(phase, NAME_MAX_CHARS)).into();
    run["value"] = finding.value.map(|value| clean(value, NAME_MAX_CHARS)).into();
    run["threshold"] = finding.threshold.map(|threshold| clean(threshold, NAME_MAX_CHARS)).into();
}

fn evidence(target: &FaultTarget) -> Value {
    let seen = super::text::evidence(&target.evidence);
    seen.into_iter()
        .map(|(what, value)| (what, Value::String(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn rollback(case: &Case<'_>, fault: &FaultReport, target: &FaultTarget) -> Option<Value> {
    let undone_s = Some(target.undone_s?);
    Some(activity(case, &undo(case, fault, target), &Value::Null, "succeeded", (undone_s, undone_s)))
}

/// What the toolkit notes of anything it does. What never began has the run's start.
fn activity(
    case: &Case<'_>,
    activity: &Value,
    output: &Value,
    status: &str,
    (from_s, to_s): (Option<f64>, Option<f64>),
) -> Value {
    let from_s = from_s.unwrap_or(0.0);
    let to_s = to_s.unwrap_or(from_s);
    json!({
        "activity": activity,
        "output": output,
        "status": status,
        "start": wall::at_s(case, from_s),
        "end": wall::at_s(case, to_s),
        "duration": to_s - from_s,
    })
}

/// Every look at the steady state for one of these reasons.
fn looks(case: &Case<'_>, reasons: &[SteadyWhy]) -> Vec<Value> {
    let look = |t_ns: u64, holds: Option<bool>, checks: &[Measured]| {
        let at_s = t_ns as f64 / 1e9;
        let probes = checks.iter().map(|check| {
            let status = if check.holds.is_some() { "succeeded" } else { "failed" };
            let (probe, span) = (probe(case, &check.check), (Some(at_s), Some(at_s)));
            let mut run = activity(case, &probe, &check.holds.into(), status, span);
            run["tolerance_met"] = (check.holds == Some(true)).into();
            run["value"] = check.value.as_deref().map(|value| clean(value, NAME_MAX_CHARS)).into();
            run
        });
        json!({ "steady_state_met": holds == Some(true), "probes": probes.collect::<Vec<_>>() })
    };
    let of_these = case.entries.iter().filter_map(|entry| match &entry.event {
        Event::Steady { why, holds, checks, .. } if reasons.contains(why) => {
            Some(look(entry.t_ns, *holds, checks))
        }
        _ => None,
    });
    of_these.collect()
}

/// `text`, which the toolkit wants not to be empty.
fn sentence_or(text: &str, otherwise: &str) -> String {
    let clean = clean(text, PROSE_MAX_CHARS);
    if clean.trim().is_empty() { otherwise.to_owned() } else { clean }
}
