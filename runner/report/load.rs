//! What `chaos load` says of a load by itself: on the terminal, and as JSON for programs.
//!
//! Its figures are those of report.json, from the same judgement. Start at [`of`].

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;

use super::terminal::{Paint, paint, verdict_paint, verdict_word};
use super::{Ink, text};
use crate::verdict::{
    Checked, GeneratorReport, Judgement, LoadReport, Percentiles, Reason, Verdict, load_reports,
};

/// The format of what [`json`] gives.
pub const SCHEMA: &str = "chaos.load/1";

/// How a load by itself was answered. No data is null, never 0.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Answered {
    /// `chaos.load/1`.
    pub schema: String,
    /// What was asked.
    pub url: String,
    /// How it was asked, in words: `500/s, constant, for 10s`.
    pub model: String,
    /// Wall-clock start, RFC 3339 in UTC.
    pub started: String,
    /// `held` if nothing was asked of the load, or all that was came true.
    pub verdict: Verdict,
    /// The exit code, 0 to 7.
    pub exit_code: u8,
    /// The verdict in a sentence.
    pub sentence: String,
    /// Why the verdict is not `held`; else empty.
    pub reasons: Vec<Reason>,
    /// Each `--slo` and what it came to.
    pub checks: Vec<Checked>,
    /// What was measured, as report.json has it; null if no request was due.
    pub load: Option<LoadReport>,
    /// How well the generator did its own job; null if it could not say.
    pub generator: Option<GeneratorReport>,
}

/// What a judged load came to.
pub fn of(judgement: &Judgement) -> Answered {
    Answered {
        schema: SCHEMA.into(),
        url: judgement.experiment.clone(),
        model: judgement.why.clone().unwrap_or_default(),
        started: judgement.started.clone(),
        verdict: judgement.verdict,
        exit_code: judgement.exit_code,
        sentence: judgement.sentence.clone(),
        reasons: judgement.reasons.clone(),
        checks: judgement.checks.clone(),
        load: load_reports(judgement).next().cloned(),
        generator: judgement.generator.clone(),
    }
}

/// As indented JSON, fields in the order of the schema, with a final newline.
pub fn json(answered: &Answered) -> String {
    let mut text = serde_json::to_string_pretty(answered).expect("it has text keys only");
    text.push('\n');
    text
}

/// The JSON Schema of [`json`]. Readers should accept fields that they do not know.
pub fn schema() -> serde_json::Value {
    let mut schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Answered>();
    schema.insert("title".into(), format!("{SCHEMA}: what `chaos load --json` saves").into());
    if let Some(format) = schema.pointer_mut("/properties/schema") {
        format["const"] = SCHEMA.into();
    }
    schema.to_value()
}

/// For the terminal, ending in a newline.
pub fn terminal(answered: &Answered, ink: Ink) -> String {
    let judged = !answered.checks.is_empty() || answered.verdict != Verdict::Held;
    let word = if judged { verdict_word(answered.verdict) } else { "done" }.to_uppercase();
    let url = text::clean(&answered.url, text::NAME_MAX_CHARS);
    let mut rows = vec![
        format!(
            "{}  {}",
            paint(&word, verdict_paint(answered.verdict), ink),
            paint(&url, Paint::Strong, ink)
        ),
        text::clean(&answered.model, text::PROSE_MAX_CHARS),
        String::new(),
    ];
    match &answered.load {
        Some(load) => rows.extend(figures(load, ink)),
        None => rows.push("no request was due".into()),
    }
    if let Some(generator) = &answered.generator {
        let lag = generator.send_lag_ms.map_or_else(|| "no data".into(), percentiles);
        rows.push(row("send lag", &lag, ink));
    }
    rows.extend(checks(answered, ink));
    rows.join("\n") + "\n"
}

/// A line of the table, headed by `what`.
fn row(what: &str, said: &str, ink: Ink) -> String {
    format!("{}{said}", paint(&format!("{what:<10}"), Paint::Faint, ink))
}

fn figures(load: &LoadReport, ink: Ink) -> Vec<String> {
    let known = load.scheduled - load.cut_off;
    let rate = load.rate_per_s.map(|per_s| format!(", {}/s", text::rate(per_s))).unwrap_or_default();
    let share = text::share(load.good, known).map(|share| format!(" ({share})")).unwrap_or_default();
    let mut rows = vec![
        row("requests", &format!("{} due{rate}", text::count(load.scheduled)), ink),
        row("good", &format!("{}{share}", text::count(load.good)), ink),
    ];
    let other: Vec<String> = [
        (load.bad, "bad"),
        (load.timed_out, "timed out"),
        (load.failed, "failed"),
        (load.dropped, "dropped"),
        (load.cut_off, "cut off"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{} {what}", text::count(*count)))
    .collect();
    if !other.is_empty() {
        rows.push(row("not good", &other.join(", "), ink));
    }
    let counted = |counts: Vec<(String, u64)>| {
        let each = |(what, count): &(String, u64)| format!("{what}: {}", text::count(*count));
        counts.iter().map(each).collect::<Vec<_>>().join(", ")
    };
    let statuses = load.statuses.iter().map(|(status, count)| (status.to_string(), *count)).collect();
    let errors = load.errors.iter().map(|(class, count)| (text::clean(class, 40), *count)).collect();
    for (what, said) in [("status", counted(statuses)), ("errors", counted(errors))] {
        if !said.is_empty() {
            rows.push(row(what, &said, ink));
        }
    }
    for (class, example) in &load.examples {
        let said = format!("{}: {}", text::clean(class, 40), text::clean(example, text::NAME_MAX_CHARS));
        rows.push(row("such as", &said, ink));
    }
    rows.push(row("latency", &latency(load), ink));
    rows.push(row("service", &load.service_ms.map_or_else(|| "no data".into(), percentiles), ink));
    for (what, hist) in [("1st byte", load.first_byte_ms), ("connect", load.connect_ms), ("tls", load.tls_ms)]
    {
        rows.extend(hist.map(|hist| row(what, &percentiles(hist), ink)));
    }
    rows
}

/// As [`percentiles`], with `≥` where all that is known is that a request took at least as long.
fn latency(load: &LoadReport) -> String {
    let figures = ["p50", "p90", "p99", "p99.9", "max"].map(|name| {
        let key = name.replace('.', "");
        text::latency(load, &key).map(|value| format!("{name} {value:<9}"))
    });
    let known: Option<Vec<String>> = figures.into_iter().collect();
    known.map_or_else(|| "no data".into(), |figures| figures.join("").trim_end().to_owned())
}

/// `p50 0.31 ms  p90 …`.
fn percentiles(of: Percentiles) -> String {
    let figures = [("p50", of.p50), ("p90", of.p90), ("p99", of.p99), ("p99.9", of.p999), ("max", of.max)];
    figures.map(|(name, ms)| format!("{name} {:<9}", text::ms(ms))).join("").trim_end().to_owned()
}

/// What was asked of it, and whatever else speaks against the figures.
fn checks(answered: &Answered, ink: Ink) -> Vec<String> {
    let mut rows = Vec::new();
    for check in &answered.checks {
        let (word, style) = match check.holds {
            Some(true) => ("ok", Paint::Good),
            Some(false) => ("FAIL", Paint::Bad),
            None => ("?", Paint::Doubt),
        };
        let value = check.value.as_deref().unwrap_or("no data");
        let said = format!("{} (is {value})", check.check);
        rows.push(format!("{}{}", paint(&format!("{word:<10}"), style, ink), text::clean(&said, 200)));
    }
    let judged = |reason: &Reason| answered.checks.iter().any(|check| check.check == reason.check);
    for reason in answered.reasons.iter().filter(|reason| !judged(reason)) {
        let word = verdict_word(answered.verdict).to_uppercase();
        let said = text::clean(&reason.check, text::PROSE_MAX_CHARS);
        rows.push(format!("{}{said}", paint(&format!("{word:<10}"), Paint::Doubt, ink)));
    }
    if !rows.is_empty() {
        rows.insert(0, String::new());
    }
    rows
}
