//! The small expression language: checks over the load, and conditions on one request.
//!
//! `p99(latency) < 300ms over 10s`, `rate(good) >= 99.9%`, `count(dropped) == 0`, `slo(availability)`,
//! `time_to_steady < 10s`; and for SLOs `status < 500 and latency < 300ms`. Values are plain numbers
//! here: seconds for times, shares from 0 to 1, events, events a second. Evaluation is in `slo/`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// A comparison that holds or does not. Saved and printed as its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Check {
    /// The text as written, trimmed.
    pub text: String,
    /// What is measured.
    pub metric: Metric,
    /// How it is compared.
    pub op: Op,
    /// What with.
    pub threshold: Quantity,
    /// The sliding window it is measured over; nothing: the whole phase (guards: 10 s).
    pub over: Option<Duration>,
    /// The load it is measured on, as in `p99(latency, shoppers)`; nothing: all loads together.
    pub load: Option<String>,
}

/// What a check measures.
#[derive(Clone, Debug, PartialEq)]
pub enum Metric {
    /// `p99(latency)`, `p99.9(service)`: the value below which this share (0 to 1) of requests lie; seconds.
    Quantile(f64, Series),
    /// `mean(latency)`; seconds.
    Mean(Series),
    /// `max(latency)`; seconds.
    Max(Series),
    /// `rate(good)`: the share of requests that ended so (against a percentage), or how many a second
    /// (against a rate).
    Rate(Outcome),
    /// `count(dropped)`: how many requests ended so.
    Count(Outcome),
    /// `slo(name)`: the good ratio of that SLO; the check holds when its objective is met.
    Slo(String),
    /// `time_to_steady`: seconds from the last undo until the steady state held again.
    TimeToSteady,
    /// `time_to_detect`: seconds from the first onset until the first guard fired or steady state was seen broken.
    TimeToDetect,
}

/// Which times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// Completion minus intended instant: what users see.
    Latency,
    /// Completion minus sending.
    Service,
    /// Sending minus intended instant: the generator's own delay.
    SendLag,
}

/// How a request ended: the six boxes, `errors` for all but good and cut off, and `scheduled` for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every scheduled arrival.
    Scheduled,
    /// Answered as expected.
    Good,
    /// Answered, not as expected.
    Bad,
    /// No answer in time.
    TimedOut,
    /// No answer: refused, reset, broken.
    Failed,
    /// Not sent: the in-flight cap was reached.
    Dropped,
    /// In flight when the load ended.
    CutOff,
    /// Bad, timed out, failed or dropped.
    Errors,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `==`
    Eq,
    /// `!=`
    Ne,
}

/// What a value is compared with, in its base unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantity {
    /// Seconds.
    Seconds(f64),
    /// A share from 0 to 1.
    Share(f64),
    /// Events a second.
    PerSecond(f64),
    /// A number of events.
    Events(f64),
    /// The objective of the SLO that the check names.
    Objective,
}

/// When one request counts as good for an SLO: every term must hold. Saved and printed as its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Condition {
    /// The text as written, trimmed.
    pub text: String,
    /// The terms; at least one.
    pub terms: Vec<Term>,
}

/// One comparison of a condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// `status < 500`; a request without an answer has no status and does not hold.
    Status(Op, u16),
    /// `latency < 300ms`, in nanoseconds.
    Latency(Op, u64),
}

/// Status codes that count as expected. Saved and printed as text: `200`, `2xx`, `< 500`, or several with commas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StatusSet {
    /// Inclusive ranges of codes, in the order written.
    pub ranges: Vec<(u16, u16)>,
}

impl Default for StatusSet {
    /// Anything below 400.
    fn default() -> Self {
        Self { ranges: vec![(100, 399)] }
    }
}

impl StatusSet {
    /// True if `status` is expected.
    pub fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&status))
    }
}

impl Op {
    /// The comparison as written.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Eq => "==",
            Self::Ne => "!=",
        }
    }

    /// Compares.
    pub fn holds<T: PartialOrd + Copy>(self, left: T, right: T) -> bool {
        match self {
            Self::Lt => left < right,
            Self::Le => left <= right,
            Self::Gt => left > right,
            Self::Ge => left >= right,
            Self::Eq => left == right,
            Self::Ne => left != right,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Check> for String {
    fn from(check: Check) -> Self {
        check.text
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> Self {
        condition.text
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for StatusSet {
    /// The form it would be written in, as `2xx, 304`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (low, high)) in self.ranges.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match (*low, *high) {
                (low, high) if low == high => write!(f, "{low}")?,
                (low, high) if low % 100 == 0 && high == low + 99 => write!(f, "{}xx", low / 100)?,
                (100, high) => write!(f, "< {}", high + 1)?,
                (low, 599) => write!(f, ">= {low}")?,
                (low, high) => write!(f, "{low}-{high}")?,
            }
        }
        Ok(())
    }
}

impl From<StatusSet> for String {
    fn from(set: StatusSet) -> Self {
        set.to_string()
    }
}
