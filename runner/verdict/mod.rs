//! The verdict: a pure function of the plan and the journal.
//!
//! [`judge`] reads what happened and says whether the system kept its promises, with the evidence. The same
//! journal gives the same [`Judgement`], today and in a year; reports render it and add nothing. Its JSON
//! form is report.json, whose schema `chaos schema report` prints.

mod adhoc;
mod baseline;
mod capacity;
mod conduct;
mod exhibit;
mod faults;
mod figures;
mod indicators;
mod judge;
mod measure;
mod objectives;
mod outturn;
mod phases;
mod probes;
mod searches;
mod sentence;
mod slices;
mod sliding;
mod steadiness;
mod timeline;

pub use adhoc::{judge_load, load_reports};
pub use judge::judge;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::SelfWatch;
use crate::load::record::Outcome;
use crate::slo::search::End;

/// The format of report.json.
pub const SCHEMA: &str = "chaos.report/1";

/// Whether the system kept its promises, and how that is known. No data is null, never 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    /// `chaos.report/1`.
    pub schema: String,
    /// The experiment's claim.
    pub experiment: String,
    /// Why it is worth knowing.
    pub why: Option<String>,
    /// The run's id.
    pub run: String,
    /// Wall-clock start, RFC 3339 in UTC.
    pub started: String,
    /// From the start to the last event of the journal, in seconds.
    pub duration_s: f64,
    /// The verdict in a word.
    pub verdict: Verdict,
    /// The exit code, 0 to 7.
    pub exit_code: u8,
    /// The verdict in a sentence.
    pub sentence: String,
    /// Why the verdict is not `held`; of a held run, empty.
    pub reasons: Vec<Reason>,
    /// Every check that was judged, in the order of phases.
    pub checks: Vec<Checked>,
    /// The phases that took place, in order.
    pub phases: Vec<PhaseReport>,
    /// The SLOs, over the whole run.
    pub slos: Vec<SloReport>,
    /// The faults, in order of the plan.
    pub faults: Vec<FaultReport>,
    /// How long things took.
    pub timings: Timings,
    /// What it came to for those who use the system.
    #[serde(default)]
    pub harm: Harm,
    /// How well the generator did its own job; null without load.
    pub generator: Option<GeneratorReport>,
    /// The highest rates that held, of each phase that searched one; may be empty.
    #[serde(default)]
    pub capacities: Vec<CapacityReport>,
}

/// The highest rate of a load that held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CapacityReport {
    /// The phase that searched.
    pub phase: String,
    /// The load whose rate was searched.
    pub load: String,
    /// How the search ended.
    pub end: End,
    /// True if the phase has faults.
    pub with_fault: bool,
    /// The highest rate that held; null if none did.
    pub held_per_s: Option<f64>,
    /// The lowest rate that did not; null if all did.
    pub broke_per_s: Option<f64>,
    /// All of it in a sentence, with the confidence.
    pub sentence: String,
    /// The share of the rate found without a fault that is lost with it; null where there is nothing to
    /// compare or one of the two is but a bound.
    pub lost_ratio: Option<f64>,
    /// The phase that it is compared with.
    pub lost_against: Option<String>,
    /// Every rate that was tried, in order.
    pub trials: Vec<TrialReport>,
}

/// A rate that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialReport {
    /// The rate.
    pub rate_per_s: f64,
    /// When measuring began, in seconds since the run's start.
    pub from_s: f64,
    /// When it ended.
    pub to_s: f64,
    /// Requests intended meanwhile.
    pub requests: u64,
    /// So many of them did not end well, or hung when the trial was judged.
    pub not_good: u64,
    /// Their share of all requests lies below this with 95% confidence (Clopper and Pearson, one-sided).
    pub not_good_below: f64,
    /// Did every check hold? null: the generator could not send it.
    pub held: Option<bool>,
    /// What kept it from holding; null if it held.
    pub why: Option<String>,
}

/// The verdict in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Steady state and every expectation held.
    Held,
    /// An SLO or an expectation was broken.
    Failed,
    /// The run says nothing.
    Invalid,
    /// Steady state did not hold before anything was broken.
    BaselineUnmet,
    /// Stopped by a guard or by the user; healed.
    Aborted,
    /// Something could not be healed.
    Unhealed,
}

impl Verdict {
    /// The verdict as report.json has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::BaselineUnmet => "baseline_unmet",
            Self::Aborted => "aborted",
            Self::Unhealed => "unhealed",
        }
    }
}

/// One reason for a verdict other than `held`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// The check that failed, or what went wrong.
    pub check: String,
    /// The phase; null where it belongs to none.
    pub phase: Option<String>,
    /// The value with its unit; null: no data.
    pub value: Option<String>,
    /// What it was compared with; null where nothing was compared.
    pub threshold: Option<String>,
    /// When, in seconds since the run's start; null where no instant applies.
    pub at_s: Option<f64>,
    /// The exit code that it calls for by itself: 1 something was broken, 4 to 7 worse. The run's is the highest.
    #[serde(default)]
    pub exit_code: u8,
    /// What it rests on; empty only where there was nothing to measure.
    #[serde(default)]
    pub evidence: Vec<Exhibit>,
}

/// What a value rests on: what was counted or timed, how much of it, when, and how sure it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Exhibit {
    /// The figure as the check has it: `p99(latency, baseline)`.
    pub figure: String,
    /// Its value with its unit; null: no data.
    pub value: Option<String>,
    /// The lower end of its 95% confidence interval, with its unit; null where there is none.
    pub low: Option<String>,
    /// The upper end; null where there is none, or so few can't bound it.
    pub high: Option<String>,
    /// How many requests, or time slices, it is of; null where it is no sum over any.
    pub n: Option<u64>,
    /// What it was read from: which histogram, count or event, of which load.
    pub source: String,
    /// From when on it was measured, in seconds since the run's start; null where it is of one instant.
    pub from_s: Option<f64>,
    /// Until when; null where no instant applies.
    pub to_s: Option<f64>,
    /// How many of the journal's entries it adds up; null where that is not counted.
    pub entries: Option<u64>,
}

/// One check and what it came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Checked {
    /// The check's text.
    pub check: String,
    /// The phase it was judged on; null: the whole run.
    pub phase: Option<String>,
    /// The value with its unit; null: no data.
    pub value: Option<String>,
    /// What it was compared with.
    pub threshold: String,
    /// Did it hold? null: no data.
    pub holds: Option<bool>,
    /// The instant that decided, in seconds since the run's start: of a window that slides its end, else that of the
    /// phase; null where none applies.
    #[serde(default)]
    pub at_s: Option<f64>,
    /// What it rests on, one for each of its figures; empty for what is no check of figures.
    #[serde(default)]
    pub evidence: Vec<Exhibit>,
}

/// A phase that took place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseReport {
    /// Its name.
    pub name: String,
    /// Its measured start, in seconds since the run's start: of a phase with faults, the first onset.
    pub from_s: f64,
    /// Its measured end: of a phase with faults, the last undo.
    pub to_s: f64,
    /// What each load measured in it, by name.
    pub load: BTreeMap<String, LoadReport>,
}

/// What a load measured in a phase. `scheduled` is the sum of the six boxes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadReport {
    /// Arrivals whose intended instant lies in the phase.
    pub scheduled: u64,
    /// Answered as expected.
    pub good: u64,
    /// Answered, not as expected.
    pub bad: u64,
    /// Not answered in time.
    pub timed_out: u64,
    /// Not answered: refused, reset, malformed.
    pub failed: u64,
    /// Not sent: the in-flight cap was reached.
    pub dropped: u64,
    /// In flight when the load ended.
    pub cut_off: u64,
    /// Scheduled arrivals a second; null for a phase of no length.
    pub rate_per_s: Option<f64>,
    /// The share of requests whose end is known that ended well, 0 to 1; null without any.
    #[serde(default)]
    pub good_ratio: Option<f64>,
    /// Where that share lies with 95% confidence (Clopper and Pearson), if one request tells nothing of the next.
    #[serde(default)]
    pub good_ratio_confidence: Option<ShareInterval>,
    /// From the intended instant to the end, requests cut off taken for longer than any that ended; null if
    /// nothing was sent.
    pub latency_ms: Option<Percentiles>,
    /// Which of `latency_ms` are among requests cut off: at least that long, and how long is not known.
    #[serde(default)]
    pub latency_at_least: Vec<String>,
    /// Where the percentiles of latency lie with 95% confidence, by order statistics, if one request's
    /// latency tells nothing of the next one's (see `generator.watch.succession`).
    #[serde(default)]
    pub latency_confidence_ms: Option<Confidence>,
    /// From sending to the end; null if nothing ended.
    pub service_ms: Option<Percentiles>,
    /// Where those percentiles lie with 95% confidence; null as they are.
    #[serde(default)]
    pub service_confidence_ms: Option<Confidence>,
    /// From the intended instant to sending; null if nothing was sent.
    pub send_lag_ms: Option<Percentiles>,
    /// Where those percentiles lie with 95% confidence; null as they are.
    #[serde(default)]
    pub send_lag_confidence_ms: Option<Confidence>,
    /// From the intended instant to the first byte of the answer; null if nothing was answered.
    #[serde(default)]
    pub first_byte_ms: Option<Percentiles>,
    /// Where those percentiles lie with 95% confidence; null as they are.
    #[serde(default)]
    pub first_byte_confidence_ms: Option<Confidence>,
    /// How long connecting took; null if no connection was opened.
    #[serde(default)]
    pub connect_ms: Option<Percentiles>,
    /// Where those percentiles lie with 95% confidence; null as they are.
    #[serde(default)]
    pub connect_confidence_ms: Option<Confidence>,
    /// How long TLS handshakes took; null without any.
    #[serde(default)]
    pub tls_ms: Option<Percentiles>,
    /// Where those percentiles lie with 95% confidence; null as they are.
    #[serde(default)]
    pub tls_confidence_ms: Option<Confidence>,
    /// How long requests cut off had been under way, from the intended instant; null if there were none.
    #[serde(default)]
    pub cut_off_age_ms: Option<Percentiles>,
    /// Latency by the request's name and by outcome, of those that ended.
    #[serde(default)]
    pub requests: BTreeMap<String, BTreeMap<Outcome, PartReport>>,
    /// Answers by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests that were not good, by class; those dropped or cut off are in none.
    pub errors: BTreeMap<String, u64>,
    /// By class of `errors`, what one of them looked like, of this phase or another.
    #[serde(default)]
    pub examples: BTreeMap<String, String>,
}

/// One request and outcome of a load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PartReport {
    /// How many ended so.
    pub count: u64,
    /// How long they took, from the intended instant.
    pub latency_ms: Option<Percentiles>,
    /// Where those percentiles lie with 95% confidence; null as they are.
    #[serde(default)]
    pub latency_confidence_ms: Option<Confidence>,
}

/// Confidence intervals of percentiles in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Confidence {
    /// The median.
    pub p50: Interval,
    /// 90%.
    pub p90: Interval,
    /// 95%.
    pub p95: Interval,
    /// 99%.
    pub p99: Interval,
    /// 99.9%.
    pub p999: Interval,
}

/// A confidence interval in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Its lower end; null: too few requests to say.
    pub low: Option<f64>,
    /// Its upper end; null: too few requests to say.
    pub high: Option<f64>,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// 90%.
    pub p90: f64,
    /// 95%.
    pub p95: f64,
    /// 99%.
    pub p99: f64,
    /// 99.9%.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// A confidence interval of a share, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShareInterval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// What an SLO counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SloMethod {
    /// Requests: each is good or is not.
    #[default]
    Events,
    /// Time: each slice of it is good or is not.
    TimeSlices,
    /// Time of containers: each second of each of them is good or is not.
    ContainerSeconds,
}

/// An SLO over the whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SloReport {
    /// Its name.
    pub name: String,
    /// The share that must be good, 0 to 1.
    pub objective: f64,
    /// What it measures, in words: `status < 500 of shoppers`, `containers of api that are well`.
    #[serde(default)]
    pub measures: String,
    /// What it counts: requests and other events, slices of time, or time of containers.
    #[serde(default)]
    pub method: SloMethod,
    /// The share of them that was; null: no data.
    pub good_ratio: Option<f64>,
    /// Where that share lies with 95% confidence, if one tells nothing of the next; null: no data.
    #[serde(default)]
    pub good_ratio_confidence: Option<ShareInterval>,
    /// The share of the window's error budget that the run's bad events spent, at the run's own rate of
    /// events over the whole window (budget by events); null: no data.
    pub budget_spent_ratio: Option<f64>,
    /// The share of the window's error budget that the time spent in which the SLO was broken, against how long it
    /// may be broken in a whole window (budget by time); null: no data.
    #[serde(default)]
    pub budget_spent_by_time_ratio: Option<f64>,
    /// How long it was broken, in seconds: its bad slices, or the seconds in which fewer requests were good than the
    /// objective asks for; null: no data.
    #[serde(default)]
    pub violation_s: Option<f64>,
    /// How long nobody knows what it was, in seconds; 0 of a load.
    #[serde(default)]
    pub unknown_s: f64,
    /// Bad ratio of what is counted over allowed bad ratio; null: no data.
    pub burn_rate: Option<f64>,
    /// Was the objective met? null: no data.
    pub held: Option<bool>,
    /// Its alerts and when they fired; may be empty.
    #[serde(default)]
    pub alerts: Vec<AlertReport>,
}

/// An alert on a burn rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlertReport {
    /// The alert in words: `burn rate 14.4 over 1h and 5m`.
    pub alert: String,
    /// Each time that it fired; empty if it never did.
    pub fired: Vec<Firing>,
}

/// A time that an alert fired.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Firing {
    /// From when on, in seconds since the run's start.
    pub from_s: f64,
    /// Until when; null: until the run's end.
    pub to_s: Option<f64>,
    /// The burn rate over the long window when it began to.
    pub burn: f64,
}

/// A fault, asked and got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultReport {
    /// Its name in the plan.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What carried it out; null if it was never armed.
    pub engine: Option<String>,
    /// One line for people.
    pub summary: String,
    /// True if what was seen inside every target proves it.
    pub proven: bool,
    /// One per step.
    pub targets: Vec<FaultTarget>,
}

/// One container of a fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultTarget {
    /// The container's name.
    pub container: String,
    /// Measured onset, in seconds since the run's start; null if it never took effect.
    pub applied_s: Option<f64>,
    /// Measured end; null if it is still in effect or irreversible.
    pub undone_s: Option<f64>,
    /// What was seen of it, as the journal has it; empty if nothing was.
    pub evidence: BTreeMap<String, serde_json::Value>,
}

/// How long things took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timings {
    /// From the first onset to the end of the first second (or time slice) in which an SLO was broken; null if none
    /// was.
    #[serde(default)]
    pub time_to_breach_s: Option<f64>,
    /// From the first onset until a guard fired or the steady state was seen broken; null if neither was.
    pub time_to_detect_s: Option<f64>,
    /// From the first onset until a guard ended the run; null if none did.
    #[serde(default)]
    pub time_to_abort_s: Option<f64>,
    /// From when the first undo of a phase's faults was asked for until the last of them was measured, of the phase in
    /// which that took longest; null if nothing was undone.
    #[serde(default)]
    pub time_to_heal_s: Option<f64>,
    /// From the last undo until the steady state held; null if it did not.
    pub time_to_steady_s: Option<f64>,
    /// Seconds since the first onset in which some SLO was broken; null without an SLO or an onset.
    #[serde(default)]
    pub time_in_violation_s: Option<f64>,
}

/// What a run came to for those who use the system, from the first onset on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Harm {
    /// Requests that did not end well (bad, timed out, failed or dropped); null without load or onset.
    pub requests_harmed: Option<u64>,
    /// The largest share of a searched rate that a fault took, 0 to 1; null where none was compared.
    pub capacity_lost_ratio: Option<f64>,
}

/// How well the generator did its own job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeneratorReport {
    /// From intended instant to sending, over the whole run; null if nothing was sent.
    pub send_lag_ms: Option<Percentiles>,
    /// Where those percentiles lie with 95% confidence; null as they are.
    #[serde(default)]
    pub send_lag_confidence_ms: Option<Confidence>,
    /// CPU time over wall time and allowed cores; null if not known.
    pub cpu_ratio: Option<f64>,
    /// True if it could not keep its schedule well enough for the figures to mean anything.
    pub saturated: bool,
    /// What else it saw of itself and its machine.
    #[serde(default)]
    pub watch: SelfWatch,
}
