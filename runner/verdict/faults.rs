//! Judging faults: what was asked for against what was seen of it, and whether all of it was taken back.
//!
//! A fault that is not proven makes the run invalid; one that is left behind outranks everything else. Start at
//! [`Court::faults`].

use super::FaultReport;
use super::figures::fault_report;
use super::judge::Court;
use super::timeline::StepFate;
use crate::error::Exit;
use crate::fault::Proof;
use crate::plan::FaultPlan;

impl Court<'_> {
    pub(super) fn faults(&mut self) -> Vec<FaultReport> {
        let nothing = StepFate::default();
        let mut reports = Vec::new();
        for fault in &self.plan.faults {
            let fates: Vec<_> =
                fault.steps.iter().map(|step| self.line.steps.get(&step.id).unwrap_or(&nothing)).collect();
            let seen: Vec<_> = fates.iter().map(|fate| fault.fault.kind().proven(&fate.evidence)).collect();
            let doubt = match fault.fault.kind().proof() {
                Proof::EveryStep if !seen.is_empty() && seen.iter().all(|seen| *seen) => None,
                Proof::EveryStep => {
                    let kind = fault.fault.kind();
                    let why = fates.iter().find_map(|fate| kind.why_unproven(&fate.evidence));
                    let nothing = || "nothing seen inside the target shows that it happened".to_owned();
                    Some(why.unwrap_or_else(nothing))
                }
                Proof::Reach => self.reach_doubt(fault, seen.contains(&true)),
            };
            self.judge_fault(fault, &fates, doubt.as_deref());
            reports.push(fault_report(fault, &fates, doubt.is_none()));
        }
        reports
    }

    /// Why what agents saw of who reaches whom does not prove a fault; nothing if it does. `matched`: some
    /// step dropped a packet.
    fn reach_doubt(&self, fault: &FaultPlan, matched: bool) -> Option<String> {
        let looks = self.line.reach.get(fault.name.as_str()).copied().unwrap_or_default();
        let stopped = self.line.interrupted.is_some() || !self.line.guards.is_empty();
        if stopped && looks.during.is_none() && matched {
            // Nobody looks on the way out in a hurry.
            return None;
        }
        let Some(plan) = &fault.reach else {
            return (!matched).then(|| "nothing seen inside the targets shows that it happened".to_owned());
        };
        let phase = self.plan.phases.iter().find(|phase| {
            phase
                .faults
                .iter()
                .any(|index| self.plan.faults.get(*index).is_some_and(|one| one.name == fault.name))
        });
        let others = phase
            .into_iter()
            .flat_map(|phase| &phase.faults)
            .filter_map(|index| self.plan.faults.get(*index))
            .filter(|other| other.name != fault.name)
            .flat_map(|other| &other.steps)
            .map(|step| step.container.as_str())
            .collect();
        looks.disagreement(plan, &others)
    }

    fn judge_fault(&mut self, fault: &FaultPlan, fates: &[&StepFate<'_>], doubt: Option<&str>) {
        let phase = fault.name.split('/').next();
        for (step, fate) in fault.steps.iter().zip(fates) {
            let container = &step.container;
            if let Some((why, command)) = fate.unhealed {
                let text =
                    format!("{} on {container} is not healed: {why}; heal it with `{command}`", fault.name);
                self.reason(Exit::Unhealed, text, phase, None);
            }
            if let Some(why) = fate.not_applied {
                self.reason(
                    Exit::Invalid,
                    format!("{} was not applied to {container}: {why}", fault.name),
                    phase,
                    None,
                );
            }
            if let Some((t_ns, why)) = fate.lost {
                let text = format!("{} on {container} ended by itself: {why}", fault.name);
                self.reason(Exit::Invalid, text, phase, Some(t_ns));
            }
            // A journal that goes on to its end must account for every reversible step.
            let left = fate.applied_ns.is_some() && fate.undone_ns.is_none() && step.undo.is_some();
            if left && fate.unhealed.is_none() && fate.lost.is_none() && self.line.finished {
                let text = format!("{} on {container} was never taken back", fault.name);
                self.reason(Exit::Unhealed, text, phase, None);
            }
        }
        let onset = fates.iter().filter_map(|fate| fate.applied_ns).min();
        if let (Some(_), Some(doubt)) = (onset, doubt) {
            let text = format!("{} is not proven: {doubt}", fault.name);
            self.reason(Exit::Invalid, text, phase, onset);
        }
    }
}
