//! Can what is measured prove what is claimed?

use super::Findings;
use crate::error::Span;
use crate::slo::bad_ratio_excluded_by;
use crate::spec::{Experiment, Shape, Steady};
use crate::units::{Duration, Rate};

/// So many windows must fit into a phase: one alone sees it begin or end, not last.
const WINDOWS_LEAST: u64 = 2;

/// A phase judged on windows must hold some.
pub(super) fn short_phases(experiment: &Experiment, findings: &mut Findings) {
    for (name, phase) in experiment.phases.iter().filter(|(_, phase)| !phase.faults.is_empty()) {
        let longest = phase.longest();
        let own = experiment.expect.get(name);
        let steady = experiment.steady_state.iter().filter_map(|steady| match steady {
            Steady::Check(check) => Some(check),
            Steady::Probe(_) => None,
        });
        let checks: Vec<_> = match own {
            Some(checks) => checks.iter().collect(),
            None if phase.find_rate.is_some() => continue,
            None => steady.collect(),
        };
        for check in checks {
            let Some(window) = check.over.filter(|window| window.as_ns() * WINDOWS_LEAST > longest.as_ns())
            else {
                continue;
            };
            let message = format!(
                "phase `{name}` lasts {longest}, hardly longer than the window of {window} that it is judged on"
            );
            let hint = format!(
                "let it last {} or longer, or shorten the window",
                Duration::from_ns(window.as_ns() * WINDOWS_LEAST)
            );
            findings.add(check.span, message, hint);
        }
        rarely_sampled((name, longest), experiment, findings);
    }
}

/// What is measured beside the load must be looked at while something is broken.
fn rarely_sampled((phase, longest): (&str, Duration), experiment: &Experiment, findings: &mut Findings) {
    for (name, slo) in experiment.slos.iter() {
        let every = slo.sli.every().filter(|every| every.as_ns() * WINDOWS_LEAST > longest.as_ns());
        let Some(every) = every else { continue };
        let message = format!(
            "phase `{phase}` lasts {longest}, hardly longer than what `{name}` is sampled by ({})",
            every.value
        );
        let hint = format!(
            "let it last {} or longer, or shorten `every`",
            Duration::from_ns(every.as_ns() * WINDOWS_LEAST)
        );
        findings.add(
            if every.span == Span::default() { slo.objective.span } else { every.span },
            message,
            hint,
        );
    }
}

/// An objective takes so many requests to be shown, even if none of them is bad.
pub(super) fn too_few(experiment: &Experiment, findings: &mut Findings) {
    let lasts = experiment.phases.iter().fold(Duration::ZERO, |sum, (_, phase)| sum + phase.longest());
    // Time slices are counted, not requests.
    for (name, slo) in experiment.slos.iter().filter(|(_, slo)| slo.slices.is_none()) {
        let load = slo.load().and_then(|load| experiment.load.get(load));
        let rate = load.and_then(|load| load.rate.as_ref());
        // Of users who wait nobody knows how many requests there will be.
        let Some(peak) = rate.and_then(|rate: &crate::spec::Located<Shape>| rate.peak()).map(Rate::as_per_s)
        else {
            continue;
        };
        let most = (peak * lasts.as_s()) as u64;
        let bad = 1.0 - slo.objective.get();
        let needed = needed(bad);
        if most < needed {
            let message = format!(
                "`{name}` promises {}, which {most} requests at most can't show: it takes {needed} without a single bad one",
                slo.objective.value
            );
            findings.add(
                slo.objective.span,
                message,
                "send more, for longer, or promise less; what is found is then a bound",
            );
        }
    }
}

/// The fewest requests that exclude a bad ratio with 95% confidence, none of them being bad.
fn needed(bad_ratio: f64) -> u64 {
    let mut needed = (0.05f64.ln() / (-bad_ratio).ln_1p()).ceil() as u64;
    // A rounding error more or less.
    while bad_ratio_excluded_by(needed) > bad_ratio {
        needed += 1;
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_needed_is_the_smallest_that_proves_it() {
        for (objective, expected) in [(0.9, 29), (0.99, 299), (0.999, 2_995), (0.9999, 29_956)] {
            assert_eq!(needed(1.0 - objective), expected, "{objective}");
        }
    }
}
