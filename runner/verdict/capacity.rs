//! Capacities: what searches for the highest rate found, and what a fault took of it.

use super::timeline::{Timeline, Trial};
use super::{CapacityReport, TrialReport};
use crate::event::Measured;
use crate::plan::Plan;
use crate::slo::search::End;
use crate::slo::{self};
use crate::units::{Rate, Ratio};

/// Every search that ended, in order; each is held against the first of its load in a phase without faults.
pub(super) fn capacities(plan: &Plan, line: &Timeline<'_>) -> Vec<CapacityReport> {
    let mut reports: Vec<CapacityReport> = Vec::new();
    for found in &line.capacities {
        let Some(phase) = line.phases.iter().rev().find(|phase| phase.from_ns <= found.t_ns) else {
            continue;
        };
        let trials: Vec<&Trial<'_>> = line
            .trials
            .iter()
            .filter(|trial| phase.from_ns <= trial.from_ns && trial.to_ns <= found.t_ns)
            .collect();
        let faulty = plan.phase(phase.name).is_some_and(|planned| !planned.faults.is_empty());
        let healthy = reports.iter().find(|report| report.load == found.load && !report.with_fault);
        let against = healthy.filter(|_| faulty && found.end != End::Time);
        // Of a lower bound on either side the difference is not known.
        let lost = against.filter(|against| against.end == End::Found && found.end == End::Found).and_then(
            |against| Some((against.phase.clone(), 1.0 - found.held?.as_per_s() / against.held_per_s?)),
        );
        let rate = |rate: Option<Rate>| rate.map(Rate::as_per_s);
        reports.push(CapacityReport {
            phase: phase.name.into(),
            load: found.load.into(),
            end: found.end,
            with_fault: faulty,
            held_per_s: rate(found.held),
            broke_per_s: rate(found.broke),
            sentence: sentence(found.end, found.held, found.broke, &trials),
            lost_ratio: lost.as_ref().map(|(_, lost)| *lost),
            lost_against: lost.map(|(phase, _)| phase),
            trials: trials.iter().map(|trial| report(trial)).collect(),
        });
    }
    reports
}

fn report(trial: &Trial<'_>) -> TrialReport {
    TrialReport {
        rate_per_s: trial.rate.as_per_s(),
        from_s: trial.from_ns as f64 / 1e9,
        to_s: trial.to_ns as f64 / 1e9,
        requests: trial.requests,
        not_good: trial.not_good,
        not_good_below: slo::bad_ratio_below(trial.not_good, trial.requests),
        held: if trial.unfit.is_some() { None } else { Some(trial.holds == Some(true)) },
        why: why(trial),
    }
}

/// What kept a trial from holding; nothing if it held.
fn why(trial: &Trial<'_>) -> Option<String> {
    if let Some(unfit) = trial.unfit {
        return Some(format!("this machine could not send it: {unfit}"));
    }
    let said = |check: &Measured| {
        let value = check.value.as_deref().unwrap_or("no data");
        format!("{} was {value}", check.check)
    };
    trial.checks.iter().find(|check| check.holds != Some(true)).map(said)
}

/// What was found, in a sentence without its full stop.
fn sentence(end: End, held: Option<Rate>, broke: Option<Rate>, trials: &[&Trial<'_>]) -> String {
    let at = |rate: Option<Rate>| trials.iter().rev().find(|trial| Some(trial.rate) == rate);
    let holds = match (held, at(held)) {
        (Some(rate), Some(trial)) => {
            let below = Ratio::new(rounded_up(slo::bad_ratio_below(trial.not_good, trial.requests)));
            let (bad, of) = (trial.not_good, trial.requests);
            format!("{rate} held ({bad} of {of} not good: below {below} with 95% confidence)")
        }
        _ => "no rate held".into(),
    };
    let breaks = match (broke, at(broke).and_then(|trial| why(trial))) {
        (Some(rate), Some(why)) => format!("; at {rate} {why}"),
        _ => String::new(),
    };
    let note = match end {
        End::Found | End::Nothing => String::new(),
        End::Top => "; a lower bound, since nothing higher was to be tried".into(),
        End::Generator => match trials.last() {
            Some(trial) => {
                let why = why(trial).unwrap_or_default();
                format!("; a lower bound, since at {} {why}", trial.rate)
            }
            None => "; a lower bound".into(),
        },
        End::Time => "; the phase ended before the search did".into(),
    };
    format!("{holds}{breaks}{note}")
}

/// Two significant digits, never to the better.
fn rounded_up(share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return share;
    }
    let digits = (1.0 - share.log10().floor()) as i32;
    let unit = 10f64.powi(digits);
    // What is round already must not become more by the multiplication's own rounding.
    ((share * unit - 1e-9).ceil() / unit).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_never_rounded_to_the_better() {
        for (share, text) in [
            (0.000_479_2, "0.048%"),
            (0.000_48, "0.048%"),
            (0.061_62, "6.2%"),
            (1.0, "100%"),
            (0.994_1, "100%"),
        ] {
            assert_eq!(Ratio::new(rounded_up(share)).to_string(), text, "{share}");
        }
    }
}
