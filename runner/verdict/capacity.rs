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
        let Some(phase) = line.phases.get(found.phase) else { continue };
        let trials: Vec<&Trial<'_>> = line.trials.iter().filter(|trial| trial.phase == found.phase).collect();
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
        End::Generator => {
            let bound = if held.is_some() { "; a lower bound, since" } else { ";" };
            let last = trials.last().and_then(|trial| Some((trial.rate, why(trial)?)));
            last.map_or_else(String::new, |(rate, why)| format!("{bound} at {rate} {why}"))
        }
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
    use crate::event::{Entry, Event};

    /// A phase's search as the journal has it: rates tried, each with requests, those not good, and whether
    /// it held (nothing: it could not be sent).
    type Tried = &'static [(f64, u64, u64, Option<bool>)];

    /// The verdict and the capacities of a run with a search without a fault and one with.
    fn judged(searches: [(End, Tried); 2]) -> crate::verdict::Judgement {
        let phase = "{ at_most: 5m, find_rate: { load: users, from: 100/s, to: 900/s, holds: [ p99(latency) < 50ms ] } }";
        let text = format!(
            "experiment: it holds\nload: {{ users: {{ rate: 50/s, requests: [ {{ get: 'http://127.0.0.1/' }} ] }} }}\n\
             phases:\n  healthy: {phase}\n  broken: {phase}\n"
        );
        let input = crate::spec::Input { text, ..Default::default() };
        let experiment = crate::spec::parse(&input).unwrap_or_else(|problems| panic!("{problems}"));
        let mut plan = crate::plan::build(&experiment, &Default::default()).unwrap();
        plan.phases[1].faults = vec![0];
        let mut entries = Vec::new();
        let mut t_ns = 0;
        let mut note = |t_ns: u64, event| entries.push(Entry { t_ns, event });
        for (name, (end, tried)) in ["healthy", "broken"].into_iter().zip(searches) {
            note(t_ns, Event::Phase { name: Some(name.into()), at_ns: t_ns });
            let (mut held, mut broke) = (None, None);
            for (rate, requests, not_good, holds) in tried {
                let (rate, from_ns, to_ns) = (Rate::per_s(*rate), t_ns + 1, t_ns + 1_000_000_000);
                t_ns = to_ns;
                match holds {
                    Some(true) => held = Some(rate),
                    Some(false) => broke = Some(rate),
                    None => {}
                }
                let check = Measured {
                    check: "p99(latency) < 50ms".into(),
                    value: Some("61ms".into()),
                    threshold: "< 50ms".into(),
                    holds: *holds,
                };
                note(
                    t_ns,
                    Event::Trial {
                        load: "users".into(),
                        rate,
                        from_ns,
                        to_ns,
                        requests: *requests,
                        not_good: *not_good,
                        holds: *holds,
                        unfit: holds.is_none().then(|| "80 of 400 requests were sent".into()),
                        checks: vec![check],
                    },
                );
            }
            note(t_ns, Event::Capacity { load: "users".into(), end, held, broke });
        }
        note(t_ns, Event::Phase { name: None, at_ns: t_ns });
        note(t_ns, Event::Finished);
        crate::verdict::judge(&plan, &entries)
    }

    #[test]
    fn a_fault_costs_a_share_of_the_capacity() {
        let healthy: Tried = &[(400.0, 6_250, 0, Some(true)), (420.0, 6_500, 700, Some(false))];
        let broken: Tried = &[(100.0, 500, 1, Some(true)), (104.0, 500, 300, Some(false))];
        let judgement = judged([(End::Found, healthy), (End::Found, broken)]);
        assert_eq!(judgement.exit_code, 0, "{:?}", judgement.reasons);
        let [first, second] = judgement.capacities.as_slice() else { panic!("two searches") };
        assert_eq!(
            first.sentence,
            "400/s held (0 of 6250 not good: below 0.048% with 95% confidence); at 420/s p99(latency) < 50ms was 61ms"
        );
        assert_eq!((first.lost_ratio, second.lost_ratio), (None, Some(0.75)));
        assert_eq!(
            crate::report::text::capacity(second),
            "users holds 100/s, not 104/s: 75% less than in healthy"
        );
        assert_eq!(
            second.trials.iter().map(|trial| trial.held).collect::<Vec<_>>(),
            [Some(true), Some(false)]
        );
    }

    #[test]
    fn what_is_only_a_bound_says_so_and_what_has_no_answer_is_no_pass() {
        let held: Tried = &[(100.0, 500, 0, Some(true))];
        let unsent: Tried = &[(100.0, 500, 0, Some(true)), (200.0, 80, 0, None)];
        let broken: Tried = &[(100.0, 500, 40, Some(false))];
        let never: Tried = &[(100.0, 80, 0, None)];
        for (end, tried, exit, sentence) in [
            (
                End::Top,
                held,
                0,
                "100/s held (0 of 500 not good: below 0.6% with 95% confidence); a lower bound, since nothing higher was to be tried",
            ),
            (
                End::Generator,
                unsent,
                0,
                "100/s held (0 of 500 not good: below 0.6% with 95% confidence); a lower bound, since at 200/s this machine could not send it: 80 of 400 requests were sent",
            ),
            (
                End::Generator,
                never,
                5,
                "no rate held; at 100/s this machine could not send it: 80 of 400 requests were sent",
            ),
            (End::Nothing, broken, 1, "no rate held; at 100/s p99(latency) < 50ms was 61ms"),
            (
                End::Time,
                held,
                5,
                "100/s held (0 of 500 not good: below 0.6% with 95% confidence); the phase ended before the search did",
            ),
        ] {
            let judgement = judged([(end, tried), (end, tried)]);
            assert_eq!(judgement.exit_code, exit, "{end:?}: {:?}", judgement.reasons);
            assert_eq!(judgement.capacities[1].sentence, sentence);
            assert_eq!(judgement.capacities[1].lost_ratio, None, "{end:?}: a bound can't be compared");
        }
    }

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
