//! Comparing runs: what became worse, what became better, and how sure that is. Pure.
//!
//! [`compare`] takes journals that were judged, one or several on each side, and asks of every phase and load that
//! both sides have whether its figures differ by more than chance. It must never call noise a regression: an
//! answer takes an interval that leaves no doubt, an effect that is large enough to matter, and a rank test that
//! agrees. Start at [`compare`]; `stretch.rs` has what is compared, `effect.rs` how.

mod effect;
pub mod markdown;
pub mod page;
mod stretch;
pub mod text;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Entry, Started};
use crate::units::Ratio;
use crate::verdict::Judgement;
use effect::Effect;
use stretch::Stretch;

/// The format of `chaos compare --format json`.
pub const SCHEMA: &str = "chaos.compare/1";

/// All answers together are wrong about unchanged systems in at most one comparison of twenty.
const DOUBT: f64 = 0.05;

/// The share of requests that did not end well may grow by so much before it matters, as a difference.
const NOT_GOOD_TOLERANCE: f64 = 0.001;

/// A run to be compared.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Its start, with its plan.
    pub started: &'a Started,
    /// Every event.
    pub entries: &'a [Entry],
    /// What they came to.
    pub judgement: &'a Judgement,
}

/// Two sides compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// `chaos.compare/1`.
    pub schema: String,
    /// The runs that are taken as they should be.
    pub base: Vec<RunName>,
    /// The runs that are compared with them.
    pub new: Vec<RunName>,
    /// A change of a time or a rate smaller than this share does not matter, 0 to 1.
    pub tolerance: f64,
    /// The confidence with which all intervals together hold, 0 to 1.
    pub confidence: f64,
    /// Every figure of every phase and load that both sides have, in the order of phases.
    pub rows: Vec<Row>,
    /// Times of the runs as they were measured, without a test: one figure a run says nothing of chance.
    pub timings: Vec<TimingRow>,
    /// What could not be compared, in sentences; may be empty.
    pub notes: Vec<String>,
    /// True if some figure became worse.
    pub regressed: bool,
    /// The answer in a sentence.
    pub sentence: String,
}

/// A run by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunName {
    /// Its id.
    pub run: String,
    /// The experiment's claim.
    pub experiment: String,
    /// Wall-clock start, RFC 3339 in UTC.
    pub started: String,
    /// Its verdict in a word.
    pub verdict: String,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Median latency, in seconds.
    P50,
    /// 90th percentile of latency, in seconds.
    P90,
    /// 99th percentile of latency, in seconds.
    P99,
    /// Share of requests that did not end well, 0 to 1.
    NotGood,
    /// Requests a second that ended well.
    Goodput,
}

impl Metric {
    /// Every figure that is compared.
    pub const ALL: [Self; 5] = [Self::P50, Self::P90, Self::P99, Self::NotGood, Self::Goodput];

    /// As people read it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::P50 => "p50 latency",
            Self::P90 => "p90 latency",
            Self::P99 => "p99 latency",
            Self::NotGood => "not good",
            Self::Goodput => "good requests",
        }
    }

    /// The quantile of latency that it is, if it is one.
    const fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.5),
            Self::P90 => Some(0.9),
            Self::P99 => Some(0.99),
            Self::NotGood | Self::Goodput => None,
        }
    }
}

/// How a figure changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It became worse: surely, by enough to matter.
    Worse,
    /// It became better: surely, by enough to matter.
    Better,
    /// It is the same: a change that matters is excluded.
    Same,
    /// Neither is shown: the runs are too short, or too unsteady, to tell.
    Unclear,
}

impl Change {
    /// The word in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Better => "better",
            Self::Same => "same",
            Self::Unclear => "unclear",
        }
    }
}

/// One figure of one load in one phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// The phase.
    pub phase: String,
    /// The load.
    pub load: String,
    /// The figure.
    pub metric: Metric,
    /// Its value on the base's side, all runs together; in seconds, as a share, or a second.
    pub base: f64,
    /// Its value on the new side.
    pub new: f64,
    /// The change: new/base − 1, or of `not_good` the difference of the shares.
    pub change: f64,
    /// The lower end of the change's interval.
    pub low: f64,
    /// The upper end of the change's interval.
    pub high: f64,
    /// The chance that a stretch of the new side has a larger value than one of the base, 0 to 1.
    pub superiority: f64,
    /// Mann and Whitney's two-sided p of that, 0 to 1.
    pub p: f64,
    /// What it comes to.
    pub verdict: Change,
}

/// A time that each run has once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimingRow {
    /// Its name in report.json.
    pub name: String,
    /// Its median over the base's runs, in seconds; null: no run has it.
    pub base_s: Option<f64>,
    /// Its median over the new runs.
    pub new_s: Option<f64>,
}

/// Compares the runs of two sides, neither of them empty.
pub fn compare(base: &[Run<'_>], new: &[Run<'_>], tolerance: Ratio) -> Comparison {
    let (old, fresh) = (stretch::stretches(base), stretch::stretches(new));
    let mut notes = Vec::new();
    let common: Vec<_> = old.iter().filter(|one| fresh.iter().any(|other| other.is_of(one))).collect();
    for alone in old.iter().filter(|one| !common.contains(one)) {
        notes.push(format!("{} is in the base only", alone.name()));
    }
    for alone in fresh.iter().filter(|one| !old.iter().any(|other| other.is_of(one))) {
        notes.push(format!("{} is in the new runs only", alone.name()));
    }
    if let Some(note) = different_plans(base, new) {
        notes.push(note);
    }
    let answers = (common.len() * Metric::ALL.len()).max(1);
    let confidence = 1.0 - DOUBT / answers as f64;
    let mut rows = Vec::new();
    for one in common {
        let other = fresh.iter().find(|other| other.is_of(one)).expect("it is common to both");
        match rows_of(one, other, tolerance, confidence) {
            Ok(found) => rows.extend(found),
            Err(why) => notes.push(format!("{}: {why}", one.name())),
        }
    }
    let regressed = rows.iter().any(|row| row.verdict == Change::Worse);
    Comparison {
        schema: SCHEMA.into(),
        base: base.iter().map(name).collect(),
        new: new.iter().map(name).collect(),
        tolerance: tolerance.get(),
        confidence: 1.0 - DOUBT,
        timings: timings(base, new),
        sentence: sentence(&rows),
        rows,
        notes,
        regressed,
    }
}

fn name(run: &Run<'_>) -> RunName {
    RunName {
        run: run.started.run.clone(),
        experiment: run.started.plan.experiment.clone(),
        started: run.started.wall.clone(),
        verdict: run.judgement.verdict.word().into(),
    }
}

fn rows_of(
    base: &Stretch<'_>,
    new: &Stretch<'_>,
    tolerance: Ratio,
    confidence: f64,
) -> Result<Vec<Row>, &'static str> {
    let effects = effect::effects(base, new, confidence)?;
    Ok(effects.into_iter().map(|(metric, effect)| row(base, metric, &effect, tolerance)).collect())
}

fn row(of: &Stretch<'_>, metric: Metric, effect: &Effect, tolerance: Ratio) -> Row {
    Row {
        phase: of.phase.into(),
        load: of.load.into(),
        metric,
        base: effect.base,
        new: effect.new,
        change: effect.change,
        low: effect.low,
        high: effect.high,
        superiority: effect.rank.superiority,
        p: effect.rank.p,
        verdict: verdict(metric, effect, tolerance),
    }
}

fn verdict(metric: Metric, effect: &Effect, tolerance: Ratio) -> Change {
    let matters = if metric == Metric::NotGood { NOT_GOOD_TOLERANCE } else { tolerance.get() };
    let sure = (effect.low > 0.0 || effect.high < 0.0) && effect.rank.p < DOUBT;
    // Of a rate of good requests, more is better; of all else, less.
    let worse = (effect.change > 0.0) != (metric == Metric::Goodput);
    if sure && effect.change.abs() >= matters {
        return if worse { Change::Worse } else { Change::Better };
    }
    if effect.low > -matters && effect.high < matters { Change::Same } else { Change::Unclear }
}

/// Runs of different plans are compared all the same, but the reader should know.
fn different_plans(base: &[Run<'_>], new: &[Run<'_>]) -> Option<String> {
    let first = &base.first()?.started.plan;
    let loads = |run: &Run<'_>| run.started.plan.loads == first.loads;
    let faults = |run: &Run<'_>| {
        let kinds = |plan: &crate::plan::Plan| {
            plan.faults.iter().map(|fault| (fault.name.clone(), fault.summary.clone())).collect::<Vec<_>>()
        };
        kinds(&run.started.plan) == kinds(first)
    };
    let all = || base.iter().chain(new);
    match (all().all(loads), all().all(faults)) {
        (true, true) => None,
        (false, true) => Some("the runs sent different loads".into()),
        (true, false) => Some("the runs had different faults".into()),
        (false, false) => Some("the runs sent different loads and had different faults".into()),
    }
}

fn timings(base: &[Run<'_>], new: &[Run<'_>]) -> Vec<TimingRow> {
    let side = |runs: &[Run<'_>]| {
        let mut found = BTreeMap::<String, Vec<f64>>::new();
        for run in runs {
            let timings = serde_json::to_value(run.judgement.timings).unwrap_or_default();
            for (name, value) in timings.as_object().into_iter().flatten() {
                let of = found.entry(name.clone()).or_default();
                of.extend(value.as_f64());
            }
        }
        found
    };
    let (mut base, new) = (side(base), side(new));
    for name in new.keys() {
        base.entry(name.clone()).or_default();
    }
    let seconds = base.into_iter().filter(|(name, _)| name.ends_with("_s"));
    seconds
        .map(|(name, values)| TimingRow {
            base_s: median(values),
            new_s: new.get(&name).and_then(|values| median(values.clone())),
            name,
        })
        .filter(|row| row.base_s.is_some() || row.new_s.is_some())
        .collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len().is_multiple_of(2) { upper.midpoint(values[values.len() / 2 - 1]) } else { upper })
}

fn sentence(rows: &[Row]) -> String {
    let of = |change| rows.iter().filter(|row| row.verdict == change).collect::<Vec<_>>();
    let listed = |rows: &[&Row]| {
        let named: Vec<String> = rows
            .iter()
            .take(3)
            .map(|row| format!("{} in {} ({})", row.metric.words(), row.phase, text::change(row)))
            .collect();
        let more = rows.len().saturating_sub(3);
        if more > 0 { format!("{} and {more} more", named.join(", ")) } else { named.join(", ") }
    };
    let (worse, better, unclear) = (of(Change::Worse), of(Change::Better), of(Change::Unclear));
    if rows.is_empty() {
        return "nothing could be compared".into();
    }
    if !worse.is_empty() {
        return format!("regressed: {}", listed(&worse));
    }
    let mut out =
        if better.is_empty() { "no regression".into() } else { format!("improved: {}", listed(&better)) };
    if !unclear.is_empty() {
        out.push_str(&format!(
            "; of {} of {} figures the runs are too short to tell",
            unclear.len(),
            rows.len()
        ));
    }
    out
}

#[cfg(test)]
mod tests;
