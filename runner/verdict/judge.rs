//! Judging: every check on its phase, every fault on its proof, and the most severe answer of all.
//!
//! One file for each thing that is judged: `phases.rs`, `probes.rs`, `faults.rs`, `objectives.rs`, `steadiness.rs`,
//! `searches.rs`, and `conduct.rs` for the run itself. What they find are reasons with the exit code that each
//! calls for; the most severe decides. Start at [`judge`].

use super::figures::generator_report;
use super::sentence::sentence;
use super::timeline::Timeline;
use super::{Checked, Exhibit, Harm, Judgement, Reason, SCHEMA, Timings, Verdict, outturn};
use crate::error::Exit;
use crate::event::{Entry, Measured};
use crate::plan::Plan;

/// Judges a run by its plan and journal, whole or cut short.
pub fn judge(plan: &Plan, entries: &[Entry]) -> Judgement {
    let line = Timeline::new(entries);
    let mut court = Court { plan, line: &line, reasons: Vec::new(), checks: Vec::new() };
    let slos = court.slos();
    let phases = court.phases();
    let faults = court.faults();
    court.steady_state();
    court.probes();
    let capacities = court.capacities();
    court.run_itself();
    court.baseline();

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
        reasons: reasons
            .into_iter()
            .map(|(exit, reason)| Reason { exit_code: exit.code(), ..reason })
            .collect(),
        checks,
        phases,
        slos,
        faults,
        timings: timings(plan, &line),
        harm: Harm {
            requests_harmed: outturn::since_onset(&line)
                .and_then(|span| outturn::harmed(plan, &line, None, span)),
            capacity_lost_ratio: capacities
                .iter()
                .filter_map(|report| report.lost_ratio)
                .max_by(f64::total_cmp),
        },
        generator: generator_report(&line),
        capacities,
    }
}

fn timings(plan: &Plan, line: &Timeline<'_>) -> Timings {
    Timings {
        time_to_breach_s: outturn::time_to_breach_s(plan, line, None),
        time_to_detect_s: line.time_to_detect_s(),
        time_to_abort_s: line.time_to_abort_s(),
        time_to_heal_s: outturn::time_to_heal_s(plan, line, None),
        time_to_steady_s: line.phases.iter().rev().find_map(|phase| line.time_to_steady_s(phase)),
        time_in_violation_s: outturn::since_onset(line)
            .and_then(|span| outturn::time_in_violation_s(plan, line, None, span)),
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

/// What is judged, and what was found so far.
pub(super) struct Court<'j> {
    pub plan: &'j Plan,
    pub line: &'j Timeline<'j>,
    /// With the exit code that each calls for, in the order found.
    pub reasons: Vec<(Exit, Reason)>,
    pub checks: Vec<Checked>,
}

impl Court<'_> {
    pub(super) fn reason(
        &mut self,
        exit: Exit,
        check: impl Into<String>,
        phase: Option<&str>,
        at_ns: Option<u64>,
    ) {
        let at_s = at_ns.map(|ns| ns as f64 / 1e9);
        let reason = Reason { check: check.into(), phase: phase.map(Into::into), at_s, ..Reason::default() };
        self.reasons.push((exit, reason));
    }

    /// Enters a judged check, and a reason if it did not hold: failed, or invalid without data.
    pub(super) fn enter(&mut self, measured: Measured, phase: Option<&str>, at_ns: u64) {
        self.enter_with(measured, phase, at_ns, Vec::new());
    }

    /// The same with what it rests on.
    pub(super) fn enter_with(
        &mut self,
        measured: Measured,
        phase: Option<&str>,
        at_ns: u64,
        evidence: Vec<Exhibit>,
    ) {
        let exit = match measured.holds {
            Some(true) => None,
            Some(false) => Some(Exit::Failed),
            None => Some(Exit::Invalid),
        };
        self.record(measured, phase, Some(at_ns), exit, evidence);
    }

    /// Enters a judged check, and a reason where it calls for an exit code.
    pub(super) fn record(
        &mut self,
        measured: Measured,
        phase: Option<&str>,
        at_ns: Option<u64>,
        exit: Option<Exit>,
        evidence: Vec<Exhibit>,
    ) {
        let at_s = at_ns.map(|at_ns| at_ns as f64 / 1e9);
        if let Some(exit) = exit {
            let reason = Reason {
                check: measured.check.clone(),
                phase: phase.map(Into::into),
                value: measured.value.clone(),
                threshold: Some(measured.threshold.clone()),
                at_s,
                evidence: evidence.clone(),
                ..Reason::default()
            };
            self.reasons.push((exit, reason));
        }
        self.checks.push(Checked {
            check: measured.check,
            phase: phase.map(Into::into),
            value: measured.value,
            threshold: measured.threshold,
            holds: measured.holds,
            at_s,
            evidence,
        });
    }
}
