//! Judging the run itself: what ended it, whether its generator kept up, whether its journal is whole.
//!
//! Start at [`Court::run_itself`].

use super::Reason;
use super::exhibit;
use super::judge::Court;
use super::timeline::Timeline;
use crate::error::Exit;

impl Court<'_> {
    pub(super) fn undisturbed(&self) -> bool {
        self.line.guards.is_empty() && self.line.interrupted.is_none() && self.line.broke.is_empty()
    }

    /// Guards, interruption, breakage, the generator, and whether the journal is whole.
    pub(super) fn run_itself(&mut self) {
        let line = self.line;
        for (t_ns, guard) in &line.guards {
            let reason = Reason {
                check: format!("guard: {}", guard.check),
                phase: phase_at(line, *t_ns).map(Into::into),
                value: guard.value.clone(),
                threshold: Some(guard.threshold.clone()),
                at_s: Some(*t_ns as f64 / 1e9),
                evidence: vec![exhibit::of_event(&guard.check, "guard", guard.value.clone(), *t_ns)],
                ..Reason::default()
            };
            self.reasons.push((Exit::Aborted, reason));
        }
        if let Some((t_ns, by)) = line.interrupted {
            self.reason(
                Exit::Aborted,
                format!("stopped by the user ({by})"),
                phase_at(line, t_ns),
                Some(t_ns),
            );
        }
        for (t_ns, why, exit) in &line.broke {
            self.reason(*exit, *why, phase_at(line, *t_ns), Some(*t_ns));
        }
        if let Some(generator) =
            line.generator.filter(|generator| generator.saturated && !self.only_in_trials())
        {
            self.reason(Exit::Invalid, format!("the generator was saturated: {}", generator.why), None, None);
        }
        if !line.finished {
            let text = "the journal ends before the run did: nothing after this instant is known";
            self.reason(Exit::Invalid, text, phase_at(line, line.end_ns), Some(line.end_ns));
        }
    }
}

fn phase_at<'j>(line: &Timeline<'j>, t_ns: u64) -> Option<&'j str> {
    line.phases.iter().rev().find(|phase| phase.from_ns <= t_ns).map(|phase| phase.name)
}
