//! What a run came to beside its load's figures: how long things took, who was harmed, what it cost.
//!
//! Each is one function here, one sentence in reports/README.md, one field of report.json, and one word in a check.
//! Nothing stands for what did not happen or can't be known. Start at [`value`].

use super::capacity::capacities;
use super::indicators::Counts;
use super::slices;
use super::timeline::{Interval, PhaseSpan, Timeline};
use crate::plan::Plan;
use crate::slo::{self, Value};
use crate::spec::Slo;
use crate::spec::expr::Outturn;
use crate::spec::objective::day_of;
use crate::statistics::covered_s;
use crate::units::Duration;

/// The value of an outturn, as it is judged on a phase; of one SLO, or of all where none is named.
pub(super) fn value(
    plan: &Plan,
    line: &Timeline<'_>,
    outturn: Outturn,
    slo: Option<&str>,
    phase: &PhaseSpan<'_>,
) -> Option<Value> {
    let span = (phase.from_ns, phase.to_ns);
    let found = match outturn {
        Outturn::TimeToBreach => time_to_breach_s(plan, line, slo),
        Outturn::TimeToDetect => line.time_to_detect_s(),
        Outturn::TimeToAbort => line.time_to_abort_s(),
        Outturn::TimeToHeal => time_to_heal_s(plan, line, Some(phase.name)),
        Outturn::TimeToSteady => line.time_to_steady_s(phase),
        Outturn::TimeInViolation => time_in_violation_s(plan, line, slo, span),
        Outturn::Harmed => harmed(plan, line, slo, span).map(|harmed| harmed as f64),
        Outturn::BudgetByEvents => named(plan, slo).and_then(|slo| by_events(line, slo, &[span])),
        Outturn::BudgetByTime => named(plan, slo).and_then(|slo| by_time(plan, line, slo, &[span])),
        Outturn::CapacityLost => capacity_lost(plan, line),
    };
    found.map(Value::exact)
}

/// The SLOs that are asked about.
fn asked<'p>(plan: &'p Plan, name: Option<&str>) -> Vec<(&'p str, &'p Slo)> {
    plan.slos.iter().filter(|(known, _)| name.is_none_or(|name| name == *known)).collect()
}

/// The one SLO that is meant: the named one, or the only one.
fn named<'p>(plan: &'p Plan, name: Option<&str>) -> Option<(&'p str, &'p Slo)> {
    asked(plan, name).first().copied().filter(|_| name.is_some() || plan.slos.len() == 1)
}

/// From the first onset to the end of the run's last phase.
pub(super) fn since_onset(line: &Timeline<'_>) -> Option<(u64, u64)> {
    let end_ns = line.phases.last().map_or(line.end_ns, |phase| phase.to_ns);
    Some((line.first_onset_ns()?, end_ns))
}

/// A stretch without what lies before the first onset; nothing if there was none.
fn after_onset(line: &Timeline<'_>, (from_ns, to_ns): (u64, u64)) -> Option<(u64, u64)> {
    let onset_ns = line.first_onset_ns()?;
    Some((from_ns.max(onset_ns), to_ns.max(onset_ns)))
}

/// Seconds from the first onset to the end of the first slice in which an SLO was broken.
pub(super) fn time_to_breach_s(plan: &Plan, line: &Timeline<'_>, slo: Option<&str>) -> Option<f64> {
    let (onset_ns, end_ns) = since_onset(line)?;
    let slos = asked(plan, slo).into_iter();
    let broken =
        slos.filter_map(|slo| slices::by_second(line, plan, slo, &[(onset_ns, end_ns)]).bad.first().copied());
    broken.map(|(_, to_ns)| (to_ns - onset_ns) as f64 / 1e9).min_by(f64::total_cmp)
}

/// Seconds in which an SLO was broken, of those that have one; of several SLOs, those in which any was.
pub(super) fn time_in_violation_s(
    plan: &Plan,
    line: &Timeline<'_>,
    slo: Option<&str>,
    span: (u64, u64),
) -> Option<f64> {
    let span = after_onset(line, span)?;
    let counted: Vec<_> =
        asked(plan, slo).into_iter().map(|slo| slices::by_second(line, plan, slo, &[span])).collect();
    counted
        .iter()
        .any(|counted| counted.known > 0)
        .then(|| covered_s(counted.into_iter().flat_map(|counted| counted.bad).collect()))
}

/// Requests that did not end well, or requests or events that were not good by an SLO.
pub(super) fn harmed(plan: &Plan, line: &Timeline<'_>, slo: Option<&str>, span: (u64, u64)) -> Option<u64> {
    let (from_ns, to_ns) = after_onset(line, span)?;
    if let Some(name) = slo {
        let counts = Counts::of_all(line, (name, plan.slos.get(name)?), &[(from_ns, to_ns)]);
        return (counts.entries > 0).then(|| counts.tally.bad().round() as u64);
    }
    within(line, (from_ns, to_ns))
        .map(|interval| interval.stats.boxes.errors())
        .reduce(|one, other| one + other)
}

/// The intervals of a stretch. Only their counts are added up here: to open their histograms takes far longer.
fn within<'l>(
    line: &'l Timeline<'_>,
    (from_ns, to_ns): (u64, u64),
) -> impl Iterator<Item = &'l Interval<'l>> {
    let inside =
        move |interval: &&Interval<'_>| (from_ns..to_ns).contains(&interval.from_ns.midpoint(interval.to_ns));
    line.intervals.iter().filter(inside)
}

/// The share of the budget of an SLO's window that what was bad spent: its bad requests (or events, or time of
/// containers) against those that a whole window at the same rate allows.
pub(super) fn by_events(
    line: &Timeline<'_>,
    (name, slo): (&str, &Slo),
    stretches: &[(u64, u64)],
) -> Option<f64> {
    let share = Counts::of_all(line, (name, slo), stretches).tally.share()?;
    let lasted_ns: u64 = stretches.iter().map(|(from_ns, to_ns)| to_ns - from_ns).sum();
    let burn = slo::burn_rate(1.0 - share, slo.objective.get());
    Some(slo::budget_spent(burn, Duration::from_ns(lasted_ns), window(line, slo)))
}

/// The share of the budget of an SLO's window that the time spent in which it was broken: against how long it may be
/// broken in a whole window.
fn by_time(
    plan: &Plan,
    line: &Timeline<'_>,
    (name, slo): (&str, &Slo),
    stretches: &[(u64, u64)],
) -> Option<f64> {
    let bad_s = slices::by_second(line, plan, (name, slo), stretches).bad_s()?;
    Some(slo::budget_by_time(bad_s, slo.objective.get(), window(line, slo)))
}

/// The length of an SLO's window.
pub(super) fn window(line: &Timeline<'_>, slo: &Slo) -> Duration {
    slo.window.value.length(day_of(line.started.map_or("", |started| &started.wall)))
}

/// Seconds from when the first undo of a phase's faults was asked for until the last of them was measured: of this
/// phase if it has faults, else the longest of all.
pub(super) fn time_to_heal_s(plan: &Plan, line: &Timeline<'_>, phase: Option<&str>) -> Option<f64> {
    let of = |phase: &crate::plan::PhasePlan| {
        let steps =
            phase.faults.iter().filter_map(|index| plan.faults.get(*index)).flat_map(|fault| &fault.steps);
        let undone = steps.filter_map(|step| line.steps.get(&step.id)?.undo_ns);
        undone.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
    };
    let own = phase.and_then(|name| plan.phase(name)).filter(|phase| !phase.faults.is_empty());
    let phases = plan.phases.iter().filter(|phase| own.is_none_or(|own| own.name == phase.name));
    phases.filter_map(of).map(|(asked, at)| at.saturating_sub(asked) as f64 / 1e9).max_by(f64::total_cmp)
}

/// The largest share of a capacity that a fault took.
pub(super) fn capacity_lost(plan: &Plan, line: &Timeline<'_>) -> Option<f64> {
    capacities(plan, line).iter().filter_map(|report| report.lost_ratio).max_by(f64::total_cmp)
}
