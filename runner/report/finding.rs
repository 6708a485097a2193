//! Findings: every check that was judged and everything else that speaks against a run, as one list.
//!
//! Machine formats know tests that pass, fail or could not be told. A judgement knows checks, and reasons, most of
//! which are about one of the checks and some about the run itself: a guard, a fault that is not proven. Here they
//! are brought together once, so that no format loses one or tells one twice.

use crate::error::Exit;
use crate::event::Started;
use crate::verdict::{Checked, Exhibit, Judgement, Reason, Verdict};

/// How something that was asked ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It held.
    Held,
    /// It was broken: the system's doing.
    Broken,
    /// It can't be told, or what was to be told about was not there: no data, nothing proven, stopped, not healed.
    Untold,
}

/// What machine formats count a finding as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tally {
    /// As a test that passed.
    Pass,
    /// As one that failed: the system's doing.
    Failure,
    /// As one that crashed: no data, nothing proven, stopped, not healed; and everything that speaks against a run
    /// that came to something worse than `failed`, which says nothing about the system, or not all of it.
    Error,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Finding<'j> {
    /// The phase it belongs to; nothing: the run as a whole.
    pub phase: Option<&'j str>,
    /// The check's text, or what went wrong in words.
    pub check: &'j str,
    /// The value with its unit; nothing: no data, or nothing was measured.
    pub value: Option<&'j str>,
    /// What it was compared with; nothing where nothing was compared.
    pub threshold: Option<&'j str>,
    /// The instant that decided, in seconds since the run's start; nothing where none applies.
    pub at_s: Option<f64>,
    /// How it ended.
    pub ending: Ending,
    /// How that is called, in a word or two: `held`, `broken`, `no data`, `aborted`, ….
    pub word: &'static str,
    /// What it counts as.
    pub tally: Tally,
    /// What it rests on; may be empty.
    pub evidence: &'j [Exhibit],
}

impl Finding<'_> {
    /// What came of it, in a sentence without its name: `was 512ms, wanted < 400ms`.
    pub fn outcome(&self) -> String {
        let value = self.value.unwrap_or("no data");
        match self.threshold {
            // A guard says what must not be.
            Some(threshold) if self.word == "aborted" => format!("{value}, the limit was {threshold}"),
            Some(threshold) => format!("{value}, wanted {threshold}"),
            None if self.value.is_some() => value.to_owned(),
            None => String::new(),
        }
    }

    /// The whole of it in a sentence.
    pub fn sentence(&self) -> String {
        let place = self.phase.map(|phase| format!(" in phase {phase}")).unwrap_or_default();
        match self.outcome() {
            outcome if outcome.is_empty() => format!("{}{place}", self.check),
            outcome => format!("{}{place}: {outcome}", self.check),
        }
    }
}

/// Everything found: what speaks against the run first, the most severe at the head, then what held, in the order of
/// phases.
pub(super) fn findings(judgement: &Judgement) -> Vec<Finding<'_>> {
    let against = judgement.reasons.iter().map(|reason| against(judgement, reason));
    let told = |check: &&Checked| !judgement.reasons.iter().any(|reason| is_about(reason, check));
    against.chain(judgement.checks.iter().filter(told).map(|check| of_check(judgement, check))).collect()
}

/// True if a reason is about this check.
pub(super) fn is_about(reason: &Reason, check: &Checked) -> bool {
    reason.check == check.check && reason.phase == check.phase
}

fn of_check<'j>(judgement: &Judgement, check: &'j Checked) -> Finding<'j> {
    let (ending, word) = match check.holds {
        Some(true) => (Ending::Held, "held"),
        Some(false) => (Ending::Broken, "broken"),
        None => (Ending::Untold, "no data"),
    };
    Finding {
        phase: check.phase.as_deref(),
        check: &check.check,
        value: check.value.as_deref(),
        threshold: Some(&check.threshold),
        at_s: check.at_s,
        ending,
        word,
        tally: tally(judgement, ending),
        evidence: &check.evidence,
    }
}

fn against<'j>(judgement: &'j Judgement, reason: &'j Reason) -> Finding<'j> {
    if let Some(check) = judgement.checks.iter().find(|check| is_about(reason, check)) {
        return Finding { at_s: reason.at_s, ..of_check(judgement, check) };
    }
    let (ending, word) = match Exit::from_code(reason.exit_code) {
        Some(Exit::Held | Exit::Failed) => (Ending::Broken, "broken"),
        Some(Exit::BaselineUnmet) => (Ending::Untold, "baseline not met"),
        Some(Exit::Aborted) => (Ending::Untold, "aborted"),
        Some(Exit::Unhealed) => (Ending::Untold, "not healed"),
        Some(Exit::Mistake | Exit::Environment | Exit::Invalid) | None => (Ending::Untold, "invalid"),
    };
    Finding {
        phase: reason.phase.as_deref(),
        check: &reason.check,
        value: reason.value.as_deref(),
        threshold: reason.threshold.as_deref(),
        at_s: reason.at_s,
        ending,
        word,
        tally: tally(judgement, ending),
        evidence: &reason.evidence,
    }
}

/// Only a run that failed has failures: one that came to something worse was not put to the test to its end.
const fn tally(judgement: &Judgement, ending: Ending) -> Tally {
    match (ending, judgement.verdict) {
        (Ending::Held, _) => Tally::Pass,
        (Ending::Broken, Verdict::Held | Verdict::Failed) => Tally::Failure,
        _ => Tally::Error,
    }
}

/// Where a finding was asked for in the experiment's file: its line, from 1; the first where the journal does not say.
pub(super) fn line(started: &Started, finding: &Finding<'_>) -> u32 {
    let lines = &started.lines;
    let phase = finding.phase.unwrap_or_default();
    // Reasons about the run have words before what was written.
    let written = finding.check.split_once(": ").map_or(finding.check, |(_, written)| written);
    [
        format!("expect/{phase}/{}", finding.check),
        finding.check.to_owned(),
        written.to_owned(),
        format!("phase/{phase}"),
    ]
    .iter()
    .find_map(|key| lines.get(key))
    .copied()
    .unwrap_or(1)
}

/// The experiment's file as services that show a repository want it: relative, without `./` before it.
pub(super) fn path(started: &Started) -> String {
    let mut file = started.file.as_str();
    while let Some(rest) = file.strip_prefix("./").or_else(|| file.strip_prefix('/')) {
        file = rest;
    }
    if file.is_empty() { "experiment.yaml".into() } else { file.to_owned() }
}
