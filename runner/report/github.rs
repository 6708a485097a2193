//! Annotations for GitHub Actions: what speaks against a run, as workflow commands that a step prints.
//!
//! GitHub shows them beside the lines of the experiment that asked. It shows ten of each kind a step, so the most
//! severe come first and the last tells how many more there are. A run that held is one notice.

use super::finding::{Ending, Finding, findings, line, path};
use super::text::{NAME_MAX_CHARS, PROSE_MAX_CHARS, clean};
use super::{Case, Ink};
use crate::verdict::Verdict;

/// What GitHub shows of each kind in a step.
const SHOWN_MAX: usize = 10;

/// The commands, a line each.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let judgement = case.judgement;
    let mut out = String::new();
    let file = path(case.started);
    let against: Vec<Finding<'_>> =
        findings(judgement).into_iter().filter(|finding| finding.ending != Ending::Held).collect();
    let more = against.len().saturating_sub(SHOWN_MAX);
    let shown = if more > 0 { SHOWN_MAX - 1 } else { against.len() };
    for finding in &against[..shown] {
        let title = format!("{}: {}", finding.word, finding.check);
        command("error", &file, line(case.started, finding), &title, &finding.sentence(), &mut out);
    }
    if more > 0 {
        let said = format!("{} more reasons are in the report", more + 1);
        command("error", &file, 1, &judgement.experiment, &said, &mut out);
    }
    let kind = if judgement.verdict == Verdict::Held { "notice" } else { "warning" };
    command(kind, &file, 1, &judgement.experiment, &judgement.sentence, &mut out);
    out
}

fn command(kind: &'static str, file: &str, line: u32, title: &str, message: &str, out: &mut String) {
    let (file, title) = (property(file), property(title));
    out.push_str(&format!("::{kind} file={file},line={line},title={title}::{}\n", data(message)));
}

/// A message as the runner's toolkit escapes it.
fn data(text: &str) -> String {
    escaped(&clean(text, PROSE_MAX_CHARS))
}

/// A property: it ends at a comma, and all of them at a colon.
fn property(text: &str) -> String {
    escaped(&clean(text, NAME_MAX_CHARS)).replace(':', "%3A").replace(',', "%2C")
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}
