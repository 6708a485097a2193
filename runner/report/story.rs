//! The story of a run: each event as a sentence, with the names that the journal's numbers stand for.
//!
//! What logs and post-mortems tell is told here once, in the order of the journal. An event is dated by the instant
//! it is about, which is a little before the one when it was noted. Start at [`tell`].

use super::text;
use crate::event::{Entry, Event, Evidence, Look, Measured, SteadyWhy};
use crate::plan::Plan;
use crate::spec::OnRestart;

/// How much an event matters to someone who reads what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// One of very many: figures of an interval.
    Debug,
    /// Part of the story.
    Info,
    /// Something broke, on purpose or not.
    Warning,
    /// It ends the run, or nobody planned it.
    Error,
}

/// An event told.
#[derive(Clone, Debug)]
pub(super) struct Told<'e> {
    /// The instant it is about, in nanoseconds since the run's start.
    pub at_ns: u64,
    /// The journal's word for it.
    pub kind: &'static str,
    /// How much it matters.
    pub level: Level,
    /// The sentence, without a full stop.
    pub text: String,
    /// The fault it is about.
    pub fault: Option<&'e str>,
    /// The container it is about.
    pub container: Option<&'e str>,
    /// The load it is about.
    pub load: Option<&'e str>,
}

/// Tells `entry`, of a run of `plan`.
pub(super) fn tell<'e>(plan: &'e Plan, entry: &'e Entry) -> Told<'e> {
    let event = &entry.event;
    let (level, text) = words(plan, event);
    let mut told = Told {
        at_ns: at_ns(entry),
        kind: kind(event),
        level,
        text,
        fault: None,
        container: None,
        load: None,
    };
    if let Some((fault, step)) = step_of(event).and_then(|step| plan.step(step)) {
        told.fault = Some(&fault.name);
        told.container = Some(&step.container);
    }
    match event {
        Event::Container { container, .. } => told.container = Some(container),
        Event::Reach { fault, .. } => told.fault = Some(fault),
        Event::Load { load, .. }
        | Event::Rate { load, .. }
        | Event::Trial { load, .. }
        | Event::Capacity { load, .. } => told.load = Some(load),
        _ => {}
    }
    told
}

fn words(plan: &Plan, event: &Event) -> (Level, String) {
    use Level::{Debug, Error, Info, Warning};
    let label = |step: u32| match plan.step(step) {
        Some((fault, step)) => format!("{} on {}", fault.name, step.container),
        None => format!("step {step}"),
    };
    match event {
        Event::Started(started) => (Info, format!("run {} began: {}", started.run, started.plan.experiment)),
        Event::Recovered { run, healed } => {
            (Warning, format!("healed what dead run {run} left behind: {}", healed.join(", ")))
        }
        Event::Lab { up: true, .. } => (Info, "the lab is up".into()),
        Event::Lab { up: false, .. } => (Info, "the lab is down".into()),
        Event::Armed { step, engine, .. } => {
            (Info, format!("{} is armed, by {}", label(*step), engine.word()))
        }
        Event::Phase { name: Some(name), .. } => (Info, format!("phase {name} began")),
        Event::Phase { name: None, .. } => (Info, "the last phase ended".into()),
        Event::Applied { step, .. } => (Warning, format!("{} took effect", label(*step))),
        Event::NotApplied { step, why } => (Error, format!("{} could not be applied: {why}", label(*step))),
        Event::Evidence { step, evidence } => (Info, format!("{}: {}", label(*step), seen(evidence))),
        Event::Reach { fault, when, .. } => {
            let when = match when {
                Look::Before => "before",
                Look::During => "during",
                Look::After => "after",
            };
            (Info, format!("who reaches whom was looked at, {when} {fault}"))
        }
        Event::Undone { step, verified: true, .. } => (Info, format!("{} was taken back", label(*step))),
        Event::Undone { step, verified: false, .. } => {
            (Warning, format!("{} was taken back, not verified", label(*step)))
        }
        Event::Lost { step, why } => (Error, format!("{} ended by itself: {why}", label(*step))),
        Event::Lapsed { step, why, on_restart } => {
            let then = match on_restart {
                OnRestart::Reapply => "to be applied again",
                OnRestart::End => "not applied again",
            };
            (Warning, format!("{} lapsed, {then}: {why}", label(*step)))
        }
        Event::Unhealed { step, why, command } => {
            (Error, format!("{} is not healed: {why}; heal it with {command}", label(*step)))
        }
        Event::Load { load, stats, .. } => {
            let boxes = stats.boxes;
            let good = text::share(boxes.good, boxes.known()).unwrap_or_else(|| "none".into());
            (Debug, format!("{load}: {} due, {good} good", text::count(boxes.scheduled())))
        }
        Event::Rate { load, rate: Some(rate), .. } => (Info, format!("{load} now arrives at {rate}")),
        Event::Rate { load, rate: None, .. } => (Info, format!("{load} now arrives at its own rate")),
        Event::Trial { load, rate, holds, unfit, .. } => {
            let came = match (unfit, holds) {
                (Some(why), _) => format!("could not be sent: {why}"),
                (None, Some(true)) => "held".into(),
                (None, Some(false)) => "did not hold".into(),
                (None, None) => "has no data".into(),
            };
            (Info, format!("{load} at {rate} {came}"))
        }
        Event::Capacity { load, held, .. } => match held {
            Some(held) => (Info, format!("the highest rate of {load} that held is {held}")),
            None => (Warning, format!("no rate of {load} that was tried held")),
        },
        Event::Tick(tick) => (Debug, format!("{} requests a second ended", text::rate(tick.rate_per_s))),
        Event::Steady { why, holds, checks, .. } => steady(*why, *holds, checks),
        Event::Probe { probe, ok, detail, .. } => match ok {
            Some(true) => (Debug, format!("{probe} answered as expected: {detail}")),
            Some(false) => (Warning, format!("{probe} did not answer as expected: {detail}")),
            None => (Warning, format!("{probe} could not be asked: {detail}")),
        },
        Event::Indicator { slo, tally: Some(tally), detail, .. } => {
            let level = if tally.bad() > 0.0 { Info } else { Debug };
            (level, format!("the indicator of {slo}: {detail}"))
        }
        Event::Indicator { slo, tally: None, detail, .. } => {
            (Warning, format!("the indicator of {slo} is not known: {detail}"))
        }
        Event::Guard { check } => (Error, format!("the guard {} fired: {}", check.check, value(check))),
        Event::Alert { slo, alert, firing, burn, .. } => {
            let turned = if *firing { "began to fire" } else { "ceased to fire" };
            let level = if *firing { Warning } else { Info };
            (level, format!("the alert of {slo} on {alert} {turned} (burn rate {burn:.1})"))
        }
        Event::Container { container, action } => {
            let unwell = ["die", "oom", "health_status: unhealthy"];
            let level = if unwell.contains(&action.as_str()) { Warning } else { Info };
            (level, format!("Docker says of {container}: {action}"))
        }
        Event::Interrupted { by } => (Error, format!("the user stopped the run ({by})")),
        Event::Broke { why, .. } => (Error, format!("the run could not go on as planned: {why}")),
        Event::Generator(generator) if generator.saturated => {
            (Error, format!("the generator was saturated: {}", generator.why))
        }
        Event::Generator(_) => (Info, "the generator kept its schedule".into()),
        Event::Finished => (Info, "everything is healed, measuring ended".into()),
        Event::Compared(comparison) => (Info, format!("held against the baseline: {}", comparison.sentence)),
        Event::Verdict { verdict, exit_code } => {
            (Info, format!("the run concluded: {verdict}, exit {exit_code}"))
        }
    }
}

fn value(check: &Measured) -> String {
    format!("is {}", check.value.as_deref().unwrap_or("without data"))
}

fn steady(why: SteadyWhy, holds: Option<bool>, checks: &[Measured]) -> (Level, String) {
    let when = match why {
        SteadyWhy::Baseline => "at the baseline",
        SteadyWhy::Changed => "from here on",
        SteadyWhy::Until => "as the phase waited for it",
        SteadyWhy::End => "at the end",
    };
    if holds == Some(true) {
        return (Level::Info, format!("the steady state holds {when}"));
    }
    let broken = checks.iter().filter(|check| check.holds != Some(true));
    let broken: Vec<_> = broken.map(|check| format!("{} {}", check.check, value(check))).collect();
    let what = if holds.is_some() { "does not hold" } else { "can't be told" };
    (Level::Warning, format!("the steady state {what} {when}: {}", broken.join("; ")))
}

fn seen(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Packets(counters) => {
            format!("{} packets met it", text::count(counters.matched_packets))
        }
        Evidence::State(state) => format!("the container is {}", state.status),
        Evidence::Signalled(signal) => format!("signal {signal} was delivered"),
        Evidence::Network { network, attached: true, .. } => format!("attached to {network}"),
        Evidence::Network { network, attached: false, .. } => format!("not attached to {network}"),
        Evidence::Cgroup(_) => "counters and limits were read".into(),
        Evidence::OutOfMemory => "the kernel killed a process for lack of memory".into(),
        Evidence::Ran(ran) => match ran.exit_code {
            Some(code) => format!("{} ended with {code}", ran.command.join(" ")),
            None => format!("{} did not end in time", ran.command.join(" ")),
        },
    }
}

/// The instant that an event is about.
fn at_ns(entry: &Entry) -> u64 {
    match &entry.event {
        Event::Phase { at_ns, .. }
        | Event::Applied { at_ns, .. }
        | Event::Undone { at_ns, .. }
        | Event::Rate { at_ns, .. }
        | Event::Indicator { to_ns: at_ns, .. }
        | Event::Alert { at_ns, .. } => *at_ns,
        Event::Load { from_ns, .. } => *from_ns,
        Event::Steady { why: SteadyWhy::Changed | SteadyWhy::Until, since_ns, .. } => *since_ns,
        _ => entry.t_ns,
    }
}

const fn step_of(event: &Event) -> Option<u32> {
    match event {
        Event::Armed { step, .. }
        | Event::Applied { step, .. }
        | Event::NotApplied { step, .. }
        | Event::Evidence { step, .. }
        | Event::Undone { step, .. }
        | Event::Lost { step, .. }
        | Event::Lapsed { step, .. }
        | Event::Unhealed { step, .. } => Some(*step),
        _ => None,
    }
}

const fn kind(event: &Event) -> &'static str {
    match event {
        Event::Started(_) => "started",
        Event::Recovered { .. } => "recovered",
        Event::Lab { .. } => "lab",
        Event::Armed { .. } => "armed",
        Event::Phase { .. } => "phase",
        Event::Applied { .. } => "applied",
        Event::NotApplied { .. } => "not_applied",
        Event::Evidence { .. } => "evidence",
        Event::Reach { .. } => "reach",
        Event::Undone { .. } => "undone",
        Event::Lost { .. } => "lost",
        Event::Lapsed { .. } => "lapsed",
        Event::Unhealed { .. } => "unhealed",
        Event::Load { .. } => "load",
        Event::Rate { .. } => "rate",
        Event::Trial { .. } => "trial",
        Event::Capacity { .. } => "capacity",
        Event::Tick(_) => "tick",
        Event::Steady { .. } => "steady",
        Event::Probe { .. } => "probe",
        Event::Indicator { .. } => "indicator",
        Event::Guard { .. } => "guard",
        Event::Alert { .. } => "alert",
        Event::Container { .. } => "container",
        Event::Interrupted { .. } => "interrupted",
        Event::Broke { .. } => "broke",
        Event::Generator(_) => "generator",
        Event::Finished => "finished",
        Event::Compared(_) => "compared",
        Event::Verdict { .. } => "verdict",
    }
}
