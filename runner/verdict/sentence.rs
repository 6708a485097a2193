//! The verdict in a sentence that needs no glossary.

use super::{FaultReport, Reason, Verdict};
use crate::error::Exit;
use crate::plan::Plan;

/// The verdict in a sentence that needs no glossary.
pub(super) fn sentence(
    plan: &Plan,
    verdict: Verdict,
    reasons: &[(Exit, Reason)],
    faults: &[FaultReport],
) -> String {
    let broken: Vec<_> =
        faults.iter().filter(|fault| fault.proven).map(|fault| fault.summary.as_str()).collect();
    let claim = &plan.experiment;
    let why = reasons.first().map(|(exit, reason)| reason_text(*exit, reason)).unwrap_or_default();
    match verdict {
        Verdict::Held if broken.is_empty() => format!("Held: {claim}. Nothing was broken in this run."),
        Verdict::Held => format!("Held: {claim}, while {}.", broken.join("; ")),
        Verdict::Failed => format!("Failed: {claim} is not true. {why}."),
        Verdict::Invalid => format!("Invalid: this run says nothing about the claim. {why}."),
        Verdict::BaselineUnmet => {
            format!("Baseline not met: the system was not well before anything was broken. {why}.")
        }
        Verdict::Aborted => format!("Aborted and healed. {why}."),
        Verdict::Unhealed => format!("Not healed: something is still broken. {why}."),
    }
}

fn reason_text(exit: Exit, reason: &Reason) -> String {
    let phase = reason.phase.as_ref().map(|phase| format!(" in phase {phase}")).unwrap_or_default();
    match (&reason.value, &reason.threshold) {
        // A guard says what must not be.
        (Some(value), Some(threshold)) if exit == Exit::Aborted => {
            format!("{}{phase}: {value}, the limit was {threshold}", reason.check)
        }
        (Some(value), Some(threshold)) => format!("{}{phase}: {value}, wanted {threshold}", reason.check),
        (None, Some(threshold)) => format!("{}{phase}: no data, wanted {threshold}", reason.check),
        _ => format!("{}{phase}", reason.check),
    }
}
