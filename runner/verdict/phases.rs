//! Judging phases: each by its expectations, or by the steady state where it has none.
//!
//! Start at [`Court::phases`].

use std::collections::BTreeMap;

use super::PhaseReport;
use super::figures::load_report;
use super::judge::Court;
use super::measure::{Found, measure_phase};
use super::timeline::PhaseSpan;
use crate::error::Exit;
use crate::load::record::Stats;
use crate::spec::Steady;
use crate::spec::check_judging::WHOLE_RUN;
use crate::spec::expr::{Figure, Metric, Outturn};

impl Court<'_> {
    pub(super) fn phases(&mut self) -> Vec<PhaseReport> {
        let mut reports = Vec::new();
        let examples = self.line.examples();
        let none = BTreeMap::new();
        for phase in &self.line.phases {
            let stats = self.line.stats(phase.from_ns, phase.to_ns);
            let seconds = (phase.to_ns - phase.from_ns) as f64 / 1e9;
            let load = stats.iter().map(|(name, stats)| {
                let examples = examples.get(name).unwrap_or(&none);
                ((*name).to_owned(), load_report(stats, seconds, examples))
            });
            reports.push(PhaseReport {
                name: phase.name.into(),
                from_s: phase.from_ns as f64 / 1e9,
                to_s: phase.to_ns as f64 / 1e9,
                load: load.collect(),
            });
            self.judge_phase(phase);
            self.judge_cut_off(phase, &stats);
        }
        self.judge_run();
        reports
    }

    /// What is expected of all phases together.
    fn judge_run(&mut self) {
        let Some(checks) = self.plan.expect.get(WHOLE_RUN).filter(|_| self.plan.phase(WHOLE_RUN).is_none())
        else {
            return;
        };
        let (Some(first), Some(last)) = (self.line.phases.first(), self.line.phases.last()) else { return };
        let run = PhaseSpan { name: WHOLE_RUN, from_ns: first.from_ns, to_ns: last.to_ns };
        for check in checks {
            let Found { measured, at_ns, exhibits } = measure_phase(self.plan, self.line, &check.value, &run);
            self.enter_with(measured, None, at_ns, exhibits);
        }
    }

    /// A fault that lasts to the end of the load may hide behind requests that never got to end.
    fn judge_cut_off(&mut self, phase: &PhaseSpan<'_>, stats: &BTreeMap<&str, Stats>) {
        /// More than this share of a phase, and a ratio of those that ended says too little.
        const CUT_OFF_ALLOWED: f64 = 0.001;
        let last = self.line.phases.last().is_some_and(|last| last.from_ns == phase.from_ns);
        let broken = self.plan.phase(phase.name).is_some_and(|planned| !planned.faults.is_empty());
        let cut_off: u64 = stats.values().map(|stats| stats.boxes.cut_off).sum();
        let scheduled: u64 = stats.values().map(|stats| stats.boxes.scheduled()).sum();
        if last && broken && self.undisturbed() && cut_off as f64 > CUT_OFF_ALLOWED * scheduled as f64 {
            let text = format!(
                "{cut_off} of {scheduled} requests were in flight when the load ended, and how they would have \
                 ended is not known; add a phase after the fault"
            );
            self.reason(Exit::Invalid, text, Some(phase.name), Some(phase.to_ns));
        }
    }

    fn judge_phase(&mut self, phase: &PhaseSpan<'_>) {
        if let Some(checks) = self.plan.expect.get(phase.name) {
            for check in checks {
                let Found { mut measured, at_ns, exhibits } =
                    measure_phase(self.plan, self.line, &check.value, phase);
                let waits = |figure: &&Figure| figure.metric == Metric::Outturn(Outturn::TimeToSteady);
                if check.value.lone().as_ref().is_some_and(waits)
                    && measured.holds.is_none()
                    && self.waited(phase)
                {
                    // It was given its time and did not get there: that is an answer.
                    measured.value = Some("not reached".into());
                    measured.holds = Some(false);
                }
                self.enter_with(measured, Some(phase.name), at_ns, exhibits);
            }
        } else if self
            .plan
            .phase(phase.name)
            // A search goes beyond what the steady state allows: that is how it finds the highest rate.
            .is_some_and(|planned| !planned.faults.is_empty() && planned.find_rate.is_none())
        {
            // No expectation of its own: the claim is that the steady state survives the fault.
            for steady in &self.plan.steady_state {
                match steady {
                    Steady::Check(check) => {
                        let Found { measured, at_ns, exhibits } =
                            measure_phase(self.plan, self.line, &check.value, phase);
                        self.enter_with(measured, Some(phase.name), at_ns, exhibits);
                    }
                    Steady::Probe(entry) => {
                        let measured = self.steady_probe(&entry.value.probe, phase);
                        self.enter(measured, Some(phase.name), phase.to_ns);
                    }
                }
            }
        }
    }
}
