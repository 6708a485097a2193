//! The summary printed when a run ends: the verdict and its evidence on one screen of 80 by 24.
//!
//! Lines are never wrapped and never more than 80 columns; what does not fit is counted and left to the
//! page. The prompt needs the last row, so at most 23 are used. Colour repeats what the words say.

use console::{Alignment, measure_text_width, pad_str, truncate_str};

use super::finding::{Ending, Finding, findings};
use super::outturns::seconds;
use super::{Case, Ink, exhibits, text};
use crate::verdict::{CapacityReport, FaultReport, FaultTarget, Judgement, LoadReport, Verdict};

/// Columns of a line, at most.
const COLUMNS: usize = 80;

/// Rows in all: the last of 24 is the prompt's.
const ROWS: usize = 23;

/// Rows of the phases' table, of faults, and of capacities, at most.
const PHASE_ROWS: usize = 4;
const FAULT_ROWS: usize = 4;
const CAPACITY_ROWS: usize = 2;

/// Rows of checks, at least; they have what the others leave.
const CHECK_ROWS_MIN: usize = 3;

/// The summary, ending in a newline.
pub fn render(case: &Case<'_>, ink: Ink) -> String {
    let judgement = case.judgement;
    let mut rows = headline(case, ink);
    rows.push(String::new());
    rows.extend(phases(judgement, ink));
    rows.push(String::new());
    let mut below = capacities(judgement, ink);
    below.extend(faults(judgement, ink));
    below.extend(timings(judgement, ink));
    below.extend(files(case, ink));
    let room = ROWS.saturating_sub(rows.len() + below.len()).max(CHECK_ROWS_MIN);
    rows.extend(checks(judgement, room, ink));
    rows.extend(below);
    rows.retain_mut(|row| {
        row.truncate(row.trim_end().len());
        true
    });
    rows.join("\n") + "\n"
}

/// How a piece of text is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Good,
    Bad,
    Doubt,
    Strong,
    Faint,
}

/// `text` painted, if there is ink for it.
pub(crate) fn paint(text: &str, paint: Paint, ink: Ink) -> String {
    let code = match paint {
        Paint::Good => "1;32",
        Paint::Bad => "1;31",
        Paint::Doubt => "1;33",
        Paint::Strong => "1",
        Paint::Faint => "2",
    };
    if ink == Ink::Color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// The verdict as a word for people.
pub(crate) const fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "held",
        Verdict::Failed => "failed",
        Verdict::Invalid => "invalid",
        Verdict::BaselineUnmet => "baseline not met",
        Verdict::Aborted => "aborted",
        Verdict::Unhealed => "not healed",
    }
}

pub(crate) const fn verdict_paint(verdict: Verdict) -> Paint {
    match verdict {
        Verdict::Held => Paint::Good,
        Verdict::Failed | Verdict::Unhealed => Paint::Bad,
        Verdict::Invalid | Verdict::BaselineUnmet | Verdict::Aborted => Paint::Doubt,
    }
}

/// A name in `columns` columns: cleaned, cut or filled.
fn cell(text: &str, columns: usize) -> String {
    let clean = text::clean(text, text::NAME_MAX_CHARS);
    pad_str(&clean, columns, Alignment::Left, Some("…")).into_owned()
}

/// A figure at the right of `columns` columns.
fn right(text: &str, columns: usize) -> String {
    pad_str(text, columns, Alignment::Right, None).into_owned()
}

/// One line of words, cut at the right edge.
fn line(text: &str) -> String {
    truncate_str(text, COLUMNS, "…").into_owned()
}

fn headline(case: &Case<'_>, ink: Ink) -> Vec<String> {
    let judgement = case.judgement;
    let word = verdict_word(judgement.verdict).to_uppercase();
    let claim = text::clean(&judgement.experiment, text::NAME_MAX_CHARS);
    let room = COLUMNS - word.len() - 2;
    let claim = truncate_str(&claim, room, "…");
    let mut rows = vec![format!(
        "{}  {}",
        paint(&word, verdict_paint(judgement.verdict), ink),
        paint(&claim, Paint::Strong, ink)
    )];
    rows.extend(wrap(&text::clean(&judgement.sentence, 2 * COLUMNS), 2));
    if let Some(why) = case.cut_short {
        rows.push(paint(
            &line(&format!("The journal was cut short: {}", text::clean(why, 200))),
            Paint::Doubt,
            ink,
        ));
    }
    rows
}

/// `text` in at most `most` lines, broken between words.
fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let full = rows.len() == most;
        match rows.last_mut() {
            Some(row) if measure_text_width(row) + 1 + measure_text_width(word) <= COLUMNS => {
                row.push(' ');
                row.push_str(word);
            }
            Some(row) if full => {
                *row = truncate_str(&format!("{row}…"), COLUMNS, "…").into_owned();
                return rows;
            }
            _ => rows.push(truncate_str(word, COLUMNS, "…").into_owned()),
        }
    }
    rows
}

fn phases(judgement: &Judgement, ink: Ink) -> Vec<String> {
    let head = format!(
        "{:<16}{:>8}{:>9}{:>9}{:>9}{:>6}{:>6}{:>6}{:>6}{:>5}",
        "phase", "rate/s", "good", "p50", "p99", "bad", "t/out", "fail", "drop", "cut"
    );
    let mut rows = vec![paint(&head, Paint::Faint, ink)];
    let several = judgement.phases.iter().any(|phase| phase.load.len() > 1);
    let mut lines = Vec::new();
    for phase in &judgement.phases {
        if phase.load.is_empty() {
            let lasted = text::s(phase.to_s - phase.from_s);
            lines.push(format!("{}no load, {lasted}", cell(&phase.name, 16)));
        }
        for (load, report) in &phase.load {
            let name = if several { format!("{} {load}", phase.name) } else { phase.name.clone() };
            lines.push(phase_row(&name, report));
        }
    }
    if lines.is_empty() {
        lines.push("no phase took place".into());
    }
    limit(&mut lines, PHASE_ROWS, "rows");
    rows.extend(lines);
    rows
}

fn phase_row(name: &str, load: &LoadReport) -> String {
    let known = load.scheduled - load.cut_off;
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let mut row = cell(name, 15);
    row.push(' ');
    row.push_str(&right(&or_dash(load.rate_per_s.map(text::rate)), 8));
    row.push_str(&right(&or_dash(text::share(load.good, known)), 9));
    row.push_str(&right(&or_dash(text::latency(load, "p50")), 9));
    row.push_str(&right(&or_dash(text::latency(load, "p99")), 9));
    for (count, columns) in
        [(load.bad, 6), (load.timed_out, 6), (load.failed, 6), (load.dropped, 6), (load.cut_off, 5)]
    {
        row.push_str(&right(&short_count(count, columns - 1), columns));
    }
    row
}

/// A count in at most `columns` columns, in thousands or millions where it needs to be.
fn short_count(count: u64, columns: usize) -> String {
    [(1, ""), (1_000, "k"), (1_000_000, "M"), (1_000_000_000, "G")]
        .into_iter()
        .map(|(unit, suffix)| format!("{}{suffix}", count / unit))
        .find(|text| text.len() <= columns)
        .unwrap_or_else(|| "many".into())
}

/// Cuts `lines` to `most`, the last of which then says how many are missing.
fn limit(lines: &mut Vec<String>, most: usize, what: &str) {
    if lines.len() > most {
        let missing = lines.len() - (most - 1);
        lines.truncate(most - 1);
        lines.push(format!("… and {missing} more {what} in report.html"));
    }
}

/// What speaks against the run, then what held: the first thing a reader wants is first. Below what came first stands
/// what it rests on, where there is room.
fn checks(judgement: &Judgement, most: usize, ink: Ink) -> Vec<String> {
    let found = findings(judgement);
    let proof = found.first().filter(|finding| finding.ending != Ending::Held && found.len() < most);
    let proof = proof.and_then(|finding| finding.evidence.first()).map(|exhibit| {
        let text = format!("{:6}{}", "", exhibits::brief(exhibit));
        paint(&line(&text::clean(&text, 2 * COLUMNS)), Paint::Faint, ink)
    });
    let mut rows: Vec<String> = found.iter().map(|finding| check_row(finding, ink)).collect();
    limit(&mut rows, most, "checks");
    if let Some(proof) = proof {
        rows.insert(1, proof);
    }
    rows
}

fn check_row(finding: &Finding<'_>, ink: Ink) -> String {
    let (word, style) = match finding.ending {
        Ending::Held => ("ok", Paint::Good),
        Ending::Broken => ("FAIL", Paint::Bad),
        Ending::Untold if finding.value.is_none() && finding.threshold.is_some() => ("?", Paint::Doubt),
        Ending::Untold if finding.word == "aborted" => ("ABORT", Paint::Doubt),
        Ending::Untold => ("ERROR", Paint::Doubt),
    };
    let or_none = if finding.threshold.is_some() { "no data" } else { "" };
    let value = text::clean(finding.value.unwrap_or(or_none), 20);
    let room = COLUMNS - 6 - 16 - measure_text_width(&value) - 1;
    let phase = cell(finding.phase.unwrap_or_default(), 15);
    format!("{}{phase} {} {value}", paint(&format!("{word:<6}"), style, ink), cell(finding.check, room))
}

/// The highest rates that held, a row a search.
fn capacities(judgement: &Judgement, ink: Ink) -> Vec<String> {
    let row = |capacity: &CapacityReport| {
        let held = text::capacity(capacity);
        let room = COLUMNS - 6 - 16 - 1;
        format!(
            "{}{} {}",
            paint("rate  ", Paint::Strong, ink),
            cell(&capacity.phase, 15),
            truncate_str(&held, room, "…")
        )
    };
    let mut rows: Vec<_> = judgement.capacities.iter().map(row).collect();
    limit(&mut rows, CAPACITY_ROWS, "capacities");
    rows
}

/// Asked, got and proven: two rows a fault, one where there are many.
fn faults(judgement: &Judgement, ink: Ink) -> Vec<String> {
    let brief = 2 * judgement.faults.len() > FAULT_ROWS;
    let mut rows = Vec::new();
    for fault in &judgement.faults {
        let (word, style) = if fault.proven { ("proven", Paint::Good) } else { ("NOT PROVEN", Paint::Doubt) };
        let asked = text::clean(&fault.summary, text::NAME_MAX_CHARS);
        let asked = truncate_str(&asked, COLUMNS - word.len() - 2, "…");
        rows.push(format!("{}  {asked}", paint(word, style, ink)));
        if !brief {
            rows.push(line(&format!("        {}", got(fault))));
        }
    }
    limit(&mut rows, FAULT_ROWS, "faults");
    rows
}

/// What really happened, in a line: `api-1 by nfqueue, 20.0 s to 60.1 s, 200 ms measured, 412,233 packets`.
fn got(fault: &FaultReport) -> String {
    let mut parts = Vec::new();
    let on = match fault.targets.as_slice() {
        [] => "no container".into(),
        [one] => text::clean(&one.container, 40),
        many => format!("{} containers", many.len()),
    };
    parts.push(match &fault.engine {
        Some(engine) => format!("{on} by {}", text::clean(engine, 20)),
        None => on,
    });
    parts.push(match window(fault) {
        Some((from_s, Some(to_s))) => format!("{} to {}", text::s(from_s), text::s(to_s)),
        Some((from_s, None)) => format!("from {} on", text::s(from_s)),
        None => "never in effect".into(),
    });
    let first = fault.targets.first();
    let seen = |key| first.and_then(|target| text::find(&target.evidence, key));
    if let Some(delay) = seen("delay_ms").and_then(|delay| delay.get("p50")).and_then(|p50| p50.as_f64()) {
        parts.push(format!("{} measured", text::ms(delay)));
    }
    let matched = |target: &FaultTarget| text::find(&target.evidence, "matched_packets")?.as_u64();
    if let Some(packets) =
        fault.targets.iter().filter_map(matched).reduce(|sum, more| sum.saturating_add(more))
        && (packets > 0 || seen("counted").is_none())
    {
        parts.push(format!("{} packets", text::count(packets)));
    }
    // What is not about packets counts what it altered: requests, queries.
    for what in ["altered_requests", "altered_queries"] {
        let altered = |target: &FaultTarget| text::find(&target.evidence, what)?.as_u64();
        if let Some(count) =
            fault.targets.iter().filter_map(altered).reduce(|sum, more| sum.saturating_add(more))
        {
            parts.push(format!("{} {}", text::count(count), what.replace('_', " ")));
        }
    }
    for (key, fate) in [
        ("dropped_packets", "dropped"),
        ("duplicated_packets", "sent twice"),
        ("corrupted_packets", "damaged"),
        ("reordered_packets", "ahead of others"),
    ] {
        if let Some(packets) = seen(key).and_then(|packets| packets.as_u64()) {
            parts.push(format!("{} {fate}", text::count(packets)));
        }
    }
    parts.join(", ")
}

/// From the first onset to the last undo, in seconds; no end where one is still in effect or irreversible.
/// Nothing if it never took effect.
pub(crate) fn window(fault: &FaultReport) -> Option<(f64, Option<f64>)> {
    let hit = || fault.targets.iter().filter(|target| target.applied_s.is_some());
    let from_s = hit().filter_map(|target| target.applied_s).reduce(f64::min)?;
    let to_s = if hit().all(|target| target.undone_s.is_some()) {
        hit().filter_map(|target| target.undone_s).reduce(f64::max)
    } else {
        None
    };
    Some((from_s, to_s))
}

/// How long things took, and what they cost: two rows, each left out where it has nothing to say.
fn timings(judgement: &Judgement, ink: Ink) -> Vec<String> {
    let timings = judgement.timings;
    let mut took = Vec::new();
    for (what, value) in [
        ("breach", timings.time_to_breach_s),
        ("detect", timings.time_to_detect_s),
        ("abort", timings.time_to_abort_s),
        ("heal", timings.time_to_heal_s),
        ("steady", timings.time_to_steady_s),
    ] {
        took.extend(value.map(|value| format!("{what} {}", seconds(value))));
    }
    let mut cost = Vec::new();
    if let Some(harmed) = judgement.harm.requests_harmed {
        let requests = if harmed == 1 { "request" } else { "requests" };
        cost.push(format!("{} {requests} harmed", text::count(harmed)));
    }
    if let Some(violated) = timings.time_in_violation_s.filter(|violated| *violated > 0.0) {
        cost.push(format!("violated for {}", seconds(violated)));
    }
    let worst = judgement.slos.iter().filter_map(|slo| slo.budget_spent_ratio).max_by(f64::total_cmp);
    cost.extend(worst.map(|worst| format!("budget spent {}, by events", text::budget(worst))));
    let took = (!took.is_empty()).then(|| format!("time to {}", took.join(", ")));
    let cost = (!cost.is_empty()).then(|| cost.join(" · "));
    took.into_iter().chain(cost).map(|row| paint(&line(&row), Paint::Faint, ink)).collect()
}

fn files(case: &Case<'_>, ink: Ink) -> Vec<String> {
    let dir = text::clean(case.dir, text::NAME_MAX_CHARS);
    let judgement = case.judgement;
    let mut run = format!("took {}, exit {}", text::s(judgement.duration_s), judgement.exit_code);
    if let Some(lag) = judgement.generator.as_ref().and_then(|generator| generator.send_lag_ms) {
        run.push_str(&format!(" · send lag p99 {}", text::ms(lag.p99)));
    }
    match judgement.generator.as_ref().map_or(0, |generator| generator.watch.warnings.len()) {
        0 => {}
        1 => run.push_str(" · 1 warning of the generator"),
        several => run.push_str(&format!(" · {several} warnings of the generator")),
    }
    // Paths are for copying: better too long than cut.
    vec![format!("report  {dir}/report.html"), paint(&line(&run), Paint::Faint, ink)]
}
