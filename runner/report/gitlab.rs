//! gl-code-quality-report.json: what speaks against a run, for GitLab's merge requests.
//!
//! GitLab shows what is in a branch's report and not in that of its target, told apart by fingerprints. So a check has
//! the same one in every run, whatever its value, and the list of a run that held is empty. Figures go through
//! `openmetrics`, which GitLab takes as its metrics report.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::finding::{Ending, Finding, Tally, findings, line, path};
use super::text::{NAME_MAX_CHARS, PROSE_MAX_CHARS, clean};
use super::{Case, Ink};
use crate::verdict::{Judgement, Verdict};

#[derive(Serialize)]
struct Violation {
    description: String,
    check_name: String,
    fingerprint: String,
    severity: &'static str,
    location: Location,
}

#[derive(Serialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: u32,
}

/// The list as JSON.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let mut seen = std::collections::BTreeSet::new();
    let violations: Vec<Violation> = findings(case.judgement)
        .iter()
        .filter(|finding| finding.ending != Ending::Held)
        .map(|finding| violation(case, finding))
        // Of two with one fingerprint GitLab takes the first and drops the other.
        .filter(|violation| seen.insert(violation.fingerprint.clone()))
        .collect();
    serde_json::to_string_pretty(&violations).expect("it has text keys only") + "\n"
}

fn violation(case: &Case<'_>, finding: &Finding<'_>) -> Violation {
    let path = clean(&path(case.started), NAME_MAX_CHARS);
    let phase = finding.phase.unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [case.started.file.as_str(), phase, finding.check] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Violation {
        description: clean(&finding.sentence(), PROSE_MAX_CHARS),
        check_name: format!("chaos/{}", clean(finding.check, NAME_MAX_CHARS)),
        fingerprint: hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        severity: severity(case.judgement, finding),
        location: Location { path, lines: Lines { begin: line(case.started, finding) } },
    }
}

/// In GitLab's words, from worst to least: blocker, critical, major, minor, info.
fn severity(judgement: &Judgement, finding: &Finding<'_>) -> &'static str {
    match (judgement.verdict, finding.tally) {
        (Verdict::Unhealed, _) => "blocker",
        (_, Tally::Failure) => "critical",
        (_, Tally::Error) => "major",
        (_, Tally::Pass) => "info",
    }
}
