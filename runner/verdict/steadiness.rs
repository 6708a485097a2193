//! Judging the steady state: at the baseline, where phases wait for it, and at the end.
//!
//! Start at [`Court::steady_state`].

use super::Reason;
use super::exhibit;
use super::judge::Court;
use super::timeline::{PhaseSpan, SteadyLook};
use crate::error::Exit;
use crate::event::SteadyWhy;

impl Court<'_> {
    /// The baseline, phases that wait for the steady state, and the end.
    pub(super) fn steady_state(&mut self) {
        let line = self.line;
        for look in &line.steady {
            match look.why {
                SteadyWhy::Baseline if look.holds != Some(true) => {
                    self.steady_reasons(Exit::BaselineUnmet, look, "baseline: ");
                }
                SteadyWhy::End if look.holds != Some(true) => {
                    let exit = if look.holds.is_some() { Exit::Failed } else { Exit::Invalid };
                    self.steady_reasons(exit, look, "at the end: ");
                }
                _ => {}
            }
        }
        for phase in &line.phases {
            let waits = self.plan.phase(phase.name).is_some_and(|planned| planned.until_steady);
            let reached = line.steady.iter().any(|look| {
                look.why == SteadyWhy::Until
                    && look.holds == Some(true)
                    && (phase.from_ns..=phase.to_ns).contains(&look.t_ns)
            });
            // A run that was stopped did not get the time it was promised.
            if waits && !reached && line.finished && self.undisturbed() {
                self.reason(
                    Exit::Failed,
                    "the steady state was not reached",
                    Some(phase.name),
                    Some(phase.to_ns),
                );
            }
        }
    }

    /// True of a phase that waited for the steady state, after something was healed, as long as it was to.
    pub(super) fn waited(&self, phase: &PhaseSpan<'_>) -> bool {
        let until = self.plan.phase(phase.name).is_some_and(|planned| planned.until_steady);
        until && self.line.finished && self.undisturbed() && self.line.last_undo_ns(phase.to_ns).is_some()
    }

    fn steady_reasons(&mut self, exit: Exit, look: &SteadyLook<'_>, when: &str) {
        for check in look.checks.iter().filter(|check| check.holds != Some(true)) {
            let reason = Reason {
                check: format!("{when}{}", check.check),
                phase: None,
                value: check.value.clone(),
                threshold: Some(check.threshold.clone()),
                at_s: Some(look.t_ns as f64 / 1e9),
                evidence: vec![exhibit::of_event(&check.check, "steady", check.value.clone(), look.t_ns)],
                ..Reason::default()
            };
            self.reasons.push((exit, reason));
        }
    }
}
