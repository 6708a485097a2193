//! Do the faults reach what is judged, and leave something that could carry on?

use super::Findings;
use crate::fault::Fault;
use crate::spec::expr::{Check, Metric, Outcome, Series};
use crate::spec::{Experiment, Pick, Steady};

/// All of a service hit at once is an outage: nothing is left that could take over.
pub(super) fn whole_service(experiment: &Experiment, findings: &mut Findings) {
    for (name, target) in experiment.targets.iter() {
        let all = match target.pick.value {
            Pick::All => true,
            Pick::Share(share) => share.get() >= 1.0,
            Pick::Count(_) => false,
        };
        // Narrowed by anything else than the service, it may be a part of it.
        let narrowed = target.name.is_some() || target.re.is_some() || target.label.is_some();
        let Some(service) = target.service.as_ref().filter(|_| all && !narrowed) else { continue };
        let faults = experiment.phases.iter().flat_map(|(_, phase)| &phase.faults);
        // Groups of a partition hold all of a service in order to cut it apart.
        let hit = faults
            .filter(|fault| !matches!(fault.value, Fault::Partition(_)))
            .find_map(|fault| fault.kind().aims().into_iter().find(|aim| aim.value == name));
        if let Some(aim) = hit {
            let message = format!(
                "`{name}` is every container of service `{service}`: with all of them hit, nothing can take over"
            );
            findings.add(
                aim.span,
                message,
                "write `pick: 1` or a share, unless an outage is what is to be tested",
            );
        }
    }
}

/// A phase judged only by figures of the generator holds whatever the fault does.
pub(super) fn out_of_reach(experiment: &Experiment, findings: &mut Findings) {
    for (name, phase) in experiment.phases.iter().filter(|(_, phase)| !phase.faults.is_empty()) {
        let own = experiment.expect.get(name);
        let steady = experiment.steady_state.iter().filter_map(|steady| match steady {
            Steady::Check(check) => Some(check),
            Steady::Probe(_) => None,
        });
        let probed = experiment.steady_state.iter().any(|steady| matches!(steady, Steady::Probe(_)));
        let named = experiment.probes.iter().any(|(_, probe)| match &probe.asking().during {
            Some(during) => during.value == name,
            None => probe.asking().is_repeated(),
        });
        if named {
            continue;
        }
        let checks: Vec<_> = match own {
            Some(checks) => checks.iter().collect(),
            None if probed || phase.find_rate.is_some() => continue,
            None => steady.collect(),
        };
        if let Some(first) =
            checks.first().filter(|_| checks.iter().all(|check| is_of_the_generator(&check.value)))
        {
            let message = format!(
                "phase `{name}` is judged by the generator's own figures alone, which its faults can't change"
            );
            findings.add(first.span, message, "judge what users see as well, such as `p99(latency) < 300ms`");
        }
    }
}

fn is_of_the_generator(check: &Check) -> bool {
    check.figures().iter().all(|figure| match &figure.metric {
        Metric::Quantile(_, series) | Metric::Mean(series) | Metric::Max(series) | Metric::Min(series) => {
            *series == Series::SendLag
        }
        Metric::Count(outcome) | Metric::Share(outcome) | Metric::Throughput(outcome) => {
            *outcome == Outcome::Scheduled
        }
        Metric::Slo(_) | Metric::Outturn(_) => false,
    })
}
