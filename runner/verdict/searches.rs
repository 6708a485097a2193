//! Judging searches for the highest rate that holds: which of them have an answer, and what they excuse.
//!
//! The figures are in `capacity.rs`. Start at [`Court::capacities`].

use super::CapacityReport;
use super::capacity::capacities;
use super::judge::Court;
use super::timeline::PhaseSpan;
use crate::error::Exit;
use crate::load::fitness;
use crate::slo::search::End;

impl Court<'_> {
    /// The searches, and a reason for each that has no answer.
    pub(super) fn capacities(&mut self) -> Vec<CapacityReport> {
        let reports = capacities(self.plan, self.line);
        for report in &reports {
            let (exit, text) = match report.end {
                End::Found | End::Top => continue,
                End::Nothing => (Exit::Failed, "not even the lowest rate held"),
                End::Generator if report.held_per_s.is_some() => continue,
                End::Generator => (Exit::Invalid, "the generator could not send even the lowest rate"),
                End::Time if !self.undisturbed() => continue,
                End::Time => (Exit::Invalid, "the search for the highest rate did not end in time"),
            };
            self.reason(exit, format!("{text}: {}", report.sentence), Some(&report.phase), None);
        }
        reports
    }

    /// True if what saturated the generator were rates that a search tried. Each trial says so itself, and the
    /// rest of the run was sent on time.
    pub(super) fn only_in_trials(&self) -> bool {
        let searched: Vec<_> =
            self.plan.loads.iter().flat_map(|load| self.searched(Some(&load.name))).collect();
        !searched.is_empty()
            && self.plan.loads.iter().all(|load| {
                let stats = self.line.stats_outside(&load.name, &searched);
                stats.is_none_or(|stats| fitness::unfit(&stats, stats.boxes.scheduled(), 0.0, 1).is_none())
            })
    }

    /// The stretches in which the rate of a load was searched, or of any where none is named: no objective is meant to
    /// hold there.
    pub(super) fn searched(&self, load: Option<&str>) -> Vec<(u64, u64)> {
        let searches = |phase: &&PhaseSpan<'_>| {
            let planned = self.plan.phase(phase.name);
            planned
                .and_then(|planned| planned.find_rate.as_ref())
                .is_some_and(|search| load.is_none_or(|load| search.load.value == load))
        };
        self.line.phases.iter().filter(searches).map(|phase| (phase.from_ns, phase.to_ns)).collect()
    }
}
