//! Is recovery looked at?

use super::Findings;
use crate::spec::Experiment;

/// After the last fault something must wait for the steady state, or nobody learns whether the system comes back.
pub(super) fn look(experiment: &Experiment, findings: &mut Findings) {
    let phases = &experiment.phases.0;
    let Some(last) = phases.iter().rposition(|(_, phase)| !phase.faults.is_empty()) else { return };
    let (name, _) = &phases[last];
    let rest = &phases[last + 1..];
    let hint = "add a phase behind it: `recover: { at_most: 30s, until: steady }`";
    if rest.is_empty() {
        let message =
            format!("nothing follows phase `{}`: whether the system recovers is not seen", name.value);
        findings.add(name.span, message, hint);
    } else if !experiment.steady_state.is_empty() && rest.iter().all(|(_, phase)| phase.until.is_none()) {
        let message = format!(
            "no phase after `{}` waits for the steady state: how long recovery takes is not known",
            name.value
        );
        findings.add(name.span, message, hint);
    }
}
