//! The small expression language: checks over the load, and conditions on one request.
//!
//! `p99(latency) < 300ms over 10s`, `p99(latency, slow) < 2 * p99(latency, baseline)`, `rate(good) >= 99.9%`,
//! `slo(availability)`, `time_to_steady < 10s`; and for SLOs `status < 500 and latency < 300ms`. Values are plain
//! numbers here, whose unit the check knows: seconds, shares from 0 to 1, events, events a second. They are read by
//! `expr_parse.rs`, held together by `expr_unit.rs`, placed by `expr_scope.rs` and evaluated in `slo/`.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::expr_condition::{Condition, StatusSet, Term};
use super::expr_unit::Unit;
use crate::units::Duration;

/// A comparison that holds or does not. Saved and printed as its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Check {
    /// The text as written, trimmed.
    pub text: String,
    /// What is measured; it has at least one figure.
    pub left: Expr,
    /// How it is compared.
    pub op: Op,
    /// What with.
    pub right: Expr,
    /// The sliding window it is measured over; nothing: the whole phase (guards: 10 s).
    pub over: Option<Duration>,
    /// The unit of both sides.
    pub unit: Unit,
}

/// A value: an amount, a figure, or two values put together.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `300ms`, `99.9%`, `500/s`, `3`.
    Amount(Quantity),
    /// `p99(latency, baseline)`.
    Figure(Figure),
    /// `2 * p99(latency, baseline)`.
    Pair(Box<Expr>, Sign, Box<Expr>),
}

/// How two values are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `*`
    Times,
    /// `/`
    Per,
}

/// Something measured, and of what.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The text as written.
    pub text: String,
    /// What is measured.
    pub metric: Metric,
    /// What it is measured on, as written: a load, a phase, a request; empty: all of what is judged.
    pub names: Vec<Name>,
}

/// A name behind what is measured. What it names is found by `expr_scope.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// What it names, where that is said: `phase=slow`.
    pub kind: Option<Kind>,
    /// The name.
    pub text: String,
}

/// What a name in a check can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A load.
    Load,
    /// A phase.
    Phase,
    /// A request, by its name in reports.
    Request,
    /// How requests ended: `outcome=good` leaves out all others.
    Outcome,
}

/// What a check measures.
#[derive(Clone, Debug, PartialEq)]
pub enum Metric {
    /// `p99(latency)`, `p99.9(service)`: the value that this share (0 to 1) of requests do not exceed; seconds.
    Quantile(f64, Series),
    /// `mean(latency)`; seconds.
    Mean(Series),
    /// `max(latency)`; seconds.
    Max(Series),
    /// `min(latency)`; seconds.
    Min(Series),
    /// `share(good)`, or `rate(good)` beside a percentage: the share of requests that ended so.
    Share(Outcome),
    /// `throughput(good)`, or `rate(good)` beside a rate: how many ended so a second.
    Throughput(Outcome),
    /// `count(dropped)`: how many requests ended so.
    Count(Outcome),
    /// `slo(name)`: the good ratio of that SLO; the check holds when its objective is met.
    Slo(String),
    /// `time_to_steady`, `harmed`, `budget_spent_by_time(name)`: what a run comes to.
    Outturn(Outturn),
}

/// What a run comes to beside its load's figures. Each is defined in reports/README.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outturn {
    /// Seconds from the first onset until an SLO was first broken over a second.
    TimeToBreach,
    /// Seconds from the first onset until a guard or an alert fired or the steady state was seen broken.
    TimeToDetect,
    /// Seconds from the first onset until a guard ended the run.
    TimeToAbort,
    /// Seconds from when the first undo of a phase was asked for until the last was measured.
    TimeToHeal,
    /// Seconds from the last undo until the steady state held again.
    TimeToSteady,
    /// Seconds in which an SLO was broken, since the first onset.
    TimeInViolation,
    /// Requests that did not end well, or not well by an SLO, since the first onset.
    Harmed,
    /// The share of an SLO's error budget that the bad requests spent.
    BudgetByEvents,
    /// The share of an SLO's error budget that the bad time spent.
    BudgetByTime,
    /// The share of the highest rate that a fault took.
    CapacityLost,
}

impl Outturn {
    /// Every one, by its word.
    pub const ALL: [(&'static str, Self); 10] = [
        ("time_to_breach", Self::TimeToBreach),
        ("time_to_detect", Self::TimeToDetect),
        ("time_to_abort", Self::TimeToAbort),
        ("time_to_heal", Self::TimeToHeal),
        ("time_to_steady", Self::TimeToSteady),
        ("time_in_violation", Self::TimeInViolation),
        ("harmed", Self::Harmed),
        ("budget_spent_by_events", Self::BudgetByEvents),
        ("budget_spent_by_time", Self::BudgetByTime),
        ("capacity_lost", Self::CapacityLost),
    ];

    /// The word as written.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, one)| *one == self).map_or("", |(word, _)| word)
    }

    /// True if it is about one SLO, or about all where none is named.
    pub const fn takes_slo(self) -> bool {
        matches!(
            self,
            Self::TimeToBreach
                | Self::TimeInViolation
                | Self::Harmed
                | Self::BudgetByEvents
                | Self::BudgetByTime
        )
    }
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
    /// First byte of the answer minus intended instant.
    FirstByte,
    /// How long connecting took.
    Connect,
    /// How long the TLS handshake took.
    Tls,
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
    /// A plain number.
    Number(f64),
    /// The objective of the SLO that the check names.
    Objective,
}

impl Check {
    /// The figures it needs, in the order written; at least one.
    pub fn figures(&self) -> Vec<&Figure> {
        let mut found = Vec::new();
        self.left.each_figure(&mut |figure| found.push(figure));
        self.right.each_figure(&mut |figure| found.push(figure));
        found
    }

    /// The SLO that it is about, if it is `slo(name)`.
    pub fn slo(&self) -> Option<&str> {
        match &self.left {
            Expr::Figure(Figure { metric: Metric::Slo(name), .. }) => Some(name),
            _ => None,
        }
    }

    /// What it measures, if that is one figure and nothing else.
    pub const fn lone(&self) -> Option<&Figure> {
        match (&self.left, &self.right) {
            (Expr::Figure(figure), Expr::Amount(_)) => Some(figure),
            _ => None,
        }
    }
}

impl Expr {
    fn each_figure<'e>(&'e self, take: &mut impl FnMut(&'e Figure)) {
        match self {
            Self::Amount(_) => {}
            Self::Figure(figure) => take(figure),
            Self::Pair(left, _, right) => {
                left.each_figure(take);
                right.each_figure(take);
            }
        }
    }
}

impl Sign {
    /// The sign as written.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Times => "*",
            Self::Per => "/",
        }
    }
}

impl Op {
    /// The comparison read from the other side: `3 > x` is `x < 3`.
    pub const fn mirrored(self) -> Self {
        match self {
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            Self::Eq => Self::Eq,
            Self::Ne => Self::Ne,
        }
    }

    /// The comparison that holds when this one does not.
    pub const fn negated(self) -> Self {
        match self {
            Self::Lt => Self::Ge,
            Self::Le => Self::Gt,
            Self::Gt => Self::Le,
            Self::Ge => Self::Lt,
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
        }
    }

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
