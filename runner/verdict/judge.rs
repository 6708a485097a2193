//! Judging: every check on its phase, every fault on its proof, and the most severe answer of all.

use std::collections::BTreeMap;

use super::capacity::capacities;
use super::figures::{fault_report, generator_report, load_report};
use super::sliding::worst_window;
use super::timeline::{PhaseSpan, SteadyLook, StepFate, Timeline};
use super::{
    CapacityReport, Checked, FaultReport, Judgement, PhaseReport, Reason, SCHEMA, SloReport, Timings, Verdict,
};
use crate::error::Exit;
use crate::event::{Entry, Measured, SteadyWhy};
use crate::fault::Proof;
use crate::load::fitness;
use crate::load::record::Stats;
use crate::plan::{FaultPlan, Plan};
use crate::slo::search::End;
use crate::slo::{self, Sample};
use crate::spec::Steady;
use crate::spec::expr::{Check, Metric, Op, Quantity};

/// Judges a run by its plan and journal, whole or cut short.
pub fn judge(plan: &Plan, entries: &[Entry]) -> Judgement {
    let line = Timeline::new(entries);
    let mut court = Court { plan, line: &line, reasons: Vec::new(), checks: Vec::new() };
    let slos = court.slos();
    let phases = court.phases();
    let faults = court.faults();
    court.steady_state();
    let capacities = court.capacities();
    court.run_itself();

    let Court { mut reasons, checks, .. } = court;
    // The most severe first; within that, in the order found, which is that of the run.
    reasons.sort_by_key(|(exit, _)| std::cmp::Reverse(*exit));
    let exit = reasons.first().map_or(Exit::Held, |(exit, _)| *exit);
    let verdict = verdict_of(exit);
    Judgement {
        schema: SCHEMA.into(),
        experiment: plan.experiment.clone(),
        why: plan.why.clone(),
        run: line.started.map_or_else(String::new, |started| started.run.clone()),
        started: line.started.map_or_else(String::new, |started| started.wall.clone()),
        duration_s: line.end_ns as f64 / 1e9,
        verdict,
        exit_code: exit.code(),
        sentence: sentence(plan, verdict, &reasons, &faults),
        reasons: reasons.into_iter().map(|(_, reason)| reason).collect(),
        checks,
        phases,
        slos,
        faults,
        timings: Timings {
            time_to_detect_s: line.time_to_detect_s(),
            time_to_steady_s: line.phases.iter().rev().find_map(|phase| line.time_to_steady_s(phase)),
        },
        generator: generator_report(&line),
        capacities,
    }
}

const fn verdict_of(exit: Exit) -> Verdict {
    match exit {
        Exit::Held => Verdict::Held,
        Exit::Failed => Verdict::Failed,
        Exit::BaselineUnmet => Verdict::BaselineUnmet,
        Exit::Mistake | Exit::Environment | Exit::Invalid => Verdict::Invalid,
        Exit::Aborted => Verdict::Aborted,
        Exit::Unhealed => Verdict::Unhealed,
    }
}

struct Court<'j> {
    plan: &'j Plan,
    line: &'j Timeline<'j>,
    reasons: Vec<(Exit, Reason)>,
    checks: Vec<Checked>,
}

impl Court<'_> {
    fn reason(&mut self, exit: Exit, check: impl Into<String>, phase: Option<&str>, at_ns: Option<u64>) {
        let at_s = at_ns.map(|ns| ns as f64 / 1e9);
        let reason =
            Reason { check: check.into(), phase: phase.map(Into::into), value: None, threshold: None, at_s };
        self.reasons.push((exit, reason));
    }

    /// Enters a judged check, and a reason if it did not hold: failed, or invalid without data.
    fn enter(&mut self, measured: Measured, phase: Option<&str>, at_ns: u64) {
        if measured.holds != Some(true) {
            let exit = if measured.holds.is_some() { Exit::Failed } else { Exit::Invalid };
            let reason = Reason {
                check: measured.check.clone(),
                phase: phase.map(Into::into),
                value: measured.value.clone(),
                threshold: Some(measured.threshold.clone()),
                at_s: Some(at_ns as f64 / 1e9),
            };
            self.reasons.push((exit, reason));
        }
        self.checks.push(Checked {
            check: measured.check,
            phase: phase.map(Into::into),
            value: measured.value,
            threshold: measured.threshold,
            holds: measured.holds,
        });
    }

    fn phases(&mut self) -> Vec<PhaseReport> {
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
        reports
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
                let (mut measured, at_ns) = measure_phase(self.plan, self.line, &check.value, phase);
                if check.value.metric == Metric::TimeToSteady
                    && measured.holds.is_none()
                    && self.waited(phase)
                {
                    // It was given its time and did not get there: that is an answer.
                    measured.value = Some("not reached".into());
                    measured.holds = Some(false);
                }
                self.enter(measured, Some(phase.name), at_ns);
            }
        } else if self
            .plan
            .phase(phase.name)
            // A search goes beyond what the steady state allows: that is how it finds the highest rate.
            .is_some_and(|planned| !planned.faults.is_empty() && planned.find_rate.is_none())
        {
            // No expectation of its own: the claim is that the steady state survives the fault.
            for steady in &self.plan.steady_state {
                let (measured, at_ns) = match steady {
                    Steady::Check(check) => measure_phase(self.plan, self.line, &check.value, phase),
                    Steady::Probe(entry) => (self.probe(&entry.value.probe.to_string(), phase), phase.to_ns),
                };
                self.enter(measured, Some(phase.name), at_ns);
            }
        }
    }

    fn probe(&self, probe: &str, phase: &PhaseSpan<'_>) -> Measured {
        let answers: Vec<_> = self
            .line
            .probes
            .iter()
            .filter(|(t_ns, name, _)| *name == probe && (phase.from_ns..phase.to_ns).contains(t_ns))
            .filter_map(|(_, _, ok)| *ok)
            .collect();
        let good = answers.iter().filter(|ok| **ok).count();
        Measured {
            check: probe.into(),
            value: (!answers.is_empty()).then(|| format!("{good} of {} as expected", answers.len())),
            threshold: "all as expected".into(),
            holds: (!answers.is_empty()).then_some(good == answers.len()),
        }
    }

    fn faults(&mut self) -> Vec<FaultReport> {
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

    fn slos(&mut self) -> Vec<SloReport> {
        let first = self.line.phases.first().map_or(0, |phase| phase.from_ns);
        let last = self.line.phases.last().map_or(self.line.end_ns, |phase| phase.to_ns);
        let mut reports = Vec::new();
        for (name, slo) in self.plan.slos.iter() {
            let objective = slo.objective.value.get();
            let searched = self.searched(&slo.load);
            let stats = self.line.stats_outside(&slo.load, &searched);
            let stats = stats.as_ref();
            let searched_ns: u64 = searched.iter().map(|(from_ns, to_ns)| to_ns - from_ns).sum();
            let measured =
                crate::units::Duration::from_ns(last.saturating_sub(first).saturating_sub(searched_ns));
            let total = stats.map_or(0, |stats| stats.boxes.known());
            let good = stats.and_then(|stats| stats.slo_good.get(name).copied()).unwrap_or(0);
            let good_ratio = (total > 0).then(|| good as f64 / total as f64);
            let burn_rate = good_ratio.map(|ratio| slo::burn_rate(1.0 - ratio, objective));
            let check = slo_check(name);
            let nothing = Stats::default();
            let sample = Sample::of(stats.unwrap_or(&nothing), measured.as_s(), &self.plan.slos);
            let verdict = slo::measure(&check, &sample);
            reports.push(SloReport {
                name: name.into(),
                objective,
                good_ratio,
                budget_spent_ratio: burn_rate.map(|burn| slo::budget_spent(burn, measured, slo.window.value)),
                burn_rate,
                held: verdict.holds,
            });
            if !self.line.phases.is_empty() {
                self.enter(verdict, None, last);
            }
        }
        reports
    }

    /// The searches, and a reason for each that has no answer.
    fn capacities(&mut self) -> Vec<CapacityReport> {
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
    fn only_in_trials(&self) -> bool {
        let searched: Vec<_> = self.plan.loads.iter().flat_map(|load| self.searched(&load.name)).collect();
        !searched.is_empty()
            && self.plan.loads.iter().all(|load| {
                let stats = self.line.stats_outside(&load.name, &searched);
                stats.is_none_or(|stats| fitness::unfit(&stats, stats.boxes.scheduled(), 0.0, 1).is_none())
            })
    }

    /// The stretches in which the rate of a load was searched: no objective is meant to hold there.
    fn searched(&self, load: &str) -> Vec<(u64, u64)> {
        let searches = |phase: &&PhaseSpan<'_>| {
            let planned = self.plan.phase(phase.name);
            planned
                .and_then(|planned| planned.find_rate.as_ref())
                .is_some_and(|search| search.load.value == load)
        };
        self.line.phases.iter().filter(searches).map(|phase| (phase.from_ns, phase.to_ns)).collect()
    }

    /// The baseline, phases that wait for the steady state, and the end.
    fn steady_state(&mut self) {
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
    fn waited(&self, phase: &PhaseSpan<'_>) -> bool {
        let until = self.plan.phase(phase.name).is_some_and(|planned| planned.until_steady);
        until && self.line.finished && self.undisturbed() && self.line.last_undo_ns(phase.to_ns).is_some()
    }

    fn undisturbed(&self) -> bool {
        self.line.guards.is_empty() && self.line.interrupted.is_none() && self.line.broke.is_empty()
    }

    fn steady_reasons(&mut self, exit: Exit, look: &SteadyLook<'_>, when: &str) {
        for check in look.checks.iter().filter(|check| check.holds != Some(true)) {
            let reason = Reason {
                check: format!("{when}{}", check.check),
                phase: None,
                value: check.value.clone(),
                threshold: Some(check.threshold.clone()),
                at_s: Some(look.t_ns as f64 / 1e9),
            };
            self.reasons.push((exit, reason));
        }
    }

    /// Guards, interruption, breakage, the generator, and whether the journal is whole.
    fn run_itself(&mut self) {
        let line = self.line;
        for (t_ns, guard) in &line.guards {
            let reason = Reason {
                check: format!("guard: {}", guard.check),
                phase: phase_at(line, *t_ns).map(Into::into),
                value: guard.value.clone(),
                threshold: Some(guard.threshold.clone()),
                at_s: Some(*t_ns as f64 / 1e9),
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

/// `slo(name)`, as if it had been written.
fn slo_check(name: &str) -> Check {
    Check {
        text: format!("slo({name})"),
        metric: crate::spec::expr::Metric::Slo(name.into()),
        op: Op::Ge,
        threshold: Quantity::Objective,
        over: None,
        load: None,
    }
}

/// Measures a check on a phase: on all of it, or on the worst of its sliding windows; and at which instant.
fn measure_phase(plan: &Plan, line: &Timeline<'_>, check: &Check, phase: &PhaseSpan<'_>) -> (Measured, u64) {
    // An SLO's stats are those of its own load.
    let load = check.load.as_deref().or_else(|| match &check.metric {
        crate::spec::expr::Metric::Slo(name) => plan.slos.get(name).map(|slo| slo.load.value.as_str()),
        _ => None,
    });
    let intervals: Vec<_> = line
        .intervals
        .iter()
        .filter(|interval| load.is_none_or(|load| load == interval.load))
        .filter(|interval| (phase.from_ns..phase.to_ns).contains(&interval.from_ns.midpoint(interval.to_ns)))
        .collect();
    let measure = |stats: &Stats, seconds: f64| {
        let sample = Sample {
            time_to_steady_s: line.time_to_steady_s(phase),
            time_to_detect_s: line.time_to_detect_s(),
            ..Sample::of(stats, seconds, &plan.slos)
        };
        slo::measure(check, &sample)
    };
    let length_ns = phase.to_ns - phase.from_ns;
    match check.over.map(crate::units::Duration::as_ns) {
        Some(over_ns) if over_ns < length_ns => worst_window(&intervals, over_ns, phase.to_ns, measure),
        _ => {
            let mut stats = Stats::default();
            intervals.iter().for_each(|interval| stats.merge_total(interval.stats));
            (measure(&stats, length_ns as f64 / 1e9), phase.to_ns)
        }
    }
}

fn phase_at<'j>(line: &Timeline<'j>, t_ns: u64) -> Option<&'j str> {
    line.phases.iter().rev().find(|phase| phase.from_ns <= t_ns).map(|phase| phase.name)
}

/// The verdict in a sentence that needs no glossary.
fn sentence(plan: &Plan, verdict: Verdict, reasons: &[(Exit, Reason)], faults: &[FaultReport]) -> String {
    let broken: Vec<_> =
        faults.iter().filter(|fault| fault.proven).map(|fault| fault.summary.as_str()).collect();
    let claim = &plan.experiment;
    let why = reasons.first().map(|(_, reason)| reason_text(reason)).unwrap_or_default();
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

fn reason_text(reason: &Reason) -> String {
    let phase = reason.phase.as_ref().map(|phase| format!(" in phase {phase}")).unwrap_or_default();
    match (&reason.value, &reason.threshold) {
        (Some(value), Some(threshold)) => format!("{}{phase}: {value}, wanted {threshold}", reason.check),
        (None, Some(threshold)) => format!("{}{phase}: no data, wanted {threshold}", reason.check),
        _ => format!("{}{phase}", reason.check),
    }
}
