//! The three figures at the top of the page: what a reader who stops there should know.
//!
//! How many requests went well while things were broken, how slow it got, and how long it took to recover.
//! They are taken from the judgement, never computed anew, so they agree with report.json.

use super::Case;
use super::text;
use crate::verdict::{LoadReport, PhaseReport};

/// One figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    /// What it is.
    pub label: String,
    /// Its value with the unit, or `no data`.
    pub value: String,
    /// What it compares with.
    pub context: String,
}

const NO_DATA: &str = "no data";

/// Three figures; for a run without a fault, three that say how it went.
pub(super) fn figures(case: &Case<'_>) -> [Figure; 3] {
    let phases = &case.judgement.phases;
    let calm = phases.iter().find(|phase| !breaks(case, phase));
    let broken = phases
        .iter()
        .filter(|phase| breaks(case, phase))
        .max_by(|one, other| badness(one).partial_cmp(&badness(other)).unwrap_or(std::cmp::Ordering::Equal));
    let (phase, before) = match broken {
        Some(broken) => (Some(broken), calm),
        None => (phases.last(), None),
    };
    let during = phase.map_or_else(|| "in the run".to_owned(), |phase| format!("during {}", name(phase)));
    [
        Figure {
            label: format!("Good requests {during}"),
            value: phase.and_then(good).unwrap_or_else(|| NO_DATA.into()),
            context: before.map_or_else(String::new, |before| compared(before, good(before))),
        },
        Figure {
            label: format!("p99 latency {during}"),
            value: phase.and_then(p99).unwrap_or_else(|| NO_DATA.into()),
            context: before.map_or_else(String::new, |before| compared(before, p99(before))),
        },
        recovery(case, broken.is_some()),
    ]
}

/// True if the plan breaks something in this phase.
pub(super) fn breaks(case: &Case<'_>, phase: &PhaseReport) -> bool {
    case.started.plan.phase(&phase.name).is_some_and(|planned| !planned.faults.is_empty())
}

/// Of several broken phases the one with the largest share of requests gone wrong is shown.
fn badness(phase: &PhaseReport) -> f64 {
    worst(phase).map_or(0.0, |load| 1.0 - load.good as f64 / known(load).max(1) as f64)
}

const fn known(load: &LoadReport) -> u64 {
    load.scheduled - load.cut_off
}

/// The load with the smallest share of good requests.
fn worst(phase: &PhaseReport) -> Option<&LoadReport> {
    let share = |load: &LoadReport| load.good as f64 / known(load).max(1) as f64;
    phase
        .load
        .values()
        .filter(|load| known(load) > 0)
        .min_by(|one, other| share(one).partial_cmp(&share(other)).unwrap_or(std::cmp::Ordering::Equal))
}

fn good(phase: &PhaseReport) -> Option<String> {
    worst(phase).and_then(|load| text::share(load.good, known(load)))
}

/// The slowest load's.
fn p99(phase: &PhaseReport) -> Option<String> {
    let slow = |load: &LoadReport| load.latency_ms.map_or(f64::NEG_INFINITY, |latency| latency.p99);
    let slowest = phase.load.values().max_by(|one, other| slow(one).total_cmp(&slow(other)))?;
    text::latency(slowest, "p99")
}

/// Room for a name in a figure's label.
const NAME_CHARS: usize = 32;

fn name(phase: &PhaseReport) -> String {
    text::clean(&phase.name, NAME_CHARS)
}

fn compared(phase: &PhaseReport, value: Option<String>) -> String {
    format!("{} in {}", value.unwrap_or_else(|| NO_DATA.into()), name(phase))
}

fn recovery(case: &Case<'_>, broken: bool) -> Figure {
    let timings = case.judgement.timings;
    if !broken {
        let lasted = text::s(case.judgement.duration_s);
        return Figure { label: "Duration".into(), value: lasted, context: "nothing was broken".into() };
    }
    Figure {
        label: "Time to recover".into(),
        value: timings.time_to_steady_s.map_or_else(|| NO_DATA.into(), text::s),
        context: match timings.time_to_steady_s {
            Some(_) => "from the last heal to steady state".into(),
            None => "steady state was not seen again".into(),
        },
    }
}
