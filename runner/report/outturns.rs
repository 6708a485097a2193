//! What a run came to beside its load's figures: how long things took, who was harmed, what it cost.
//!
//! Each has its one sentence here, the same that reports/README.md has, and every format shows them from this one
//! list: start at [`outturns`]. What did not happen has no value and says so in words, never a zero.

use super::text;
use crate::verdict::{Checked, Judgement};

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Requests,
    /// A share of a whole, 0 to 1.
    Share,
    /// A share of an error budget, 0 to far above 1.
    Budget,
}

impl Unit {
    /// As tables for programs name it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Requests => "requests",
            Self::Share | Self::Budget => "ratio",
        }
    }
}

/// One figure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outturn<'j> {
    /// Its word in a check.
    pub name: &'static str,
    /// What it is called.
    pub label: &'static str,
    /// The SLO it is of; nothing: of the run.
    pub of: Option<&'j str>,
    /// What it is, in a sentence.
    pub means: &'static str,
    /// The value; nothing: it did not happen, or can't be known.
    pub value: Option<f64>,
    /// What the value counts.
    pub unit: Unit,
    /// What it means that there is none.
    pub without: &'static str,
}

impl<'j> Outturn<'j> {
    /// The value with its unit; nothing where there is none.
    pub fn shown(&self) -> Option<String> {
        self.value.map(|value| match self.unit {
            Unit::Seconds => seconds(value),
            Unit::Requests => text::count(value as u64),
            Unit::Share => text::ratio(value),
            Unit::Budget => text::budget(value),
        })
    }

    /// What it is called, with the SLO it is of.
    pub fn title(&self) -> String {
        self.of.map_or_else(|| self.label.to_owned(), |of| format!("{}: {of}", self.label))
    }

    /// The checks that ask for it.
    pub fn asked<'c>(&self, judgement: &'c Judgement) -> Vec<&'c Checked> {
        let of = self.of.map(|of| format!("({of})"));
        let asks = |check: &&Checked| {
            // `time_to_breach(fast) < 2s`: the word, perhaps the SLO, and then no letter that would make it another.
            let rest = check.check.strip_prefix(self.name);
            rest.is_some_and(|rest| match &of {
                Some(of) => rest.starts_with(of.as_str()),
                None => !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_' || next == '('),
            })
        };
        judgement.checks.iter().filter(asks).collect()
    }
}

/// A time of anything between microseconds and hours: `5.69 ms`, `1.02 s`.
pub(super) fn seconds(s: f64) -> String {
    if s > 0.0 && s < 1.0 { text::ms(s * 1e3) } else { text::s(s) }
}

/// Every one, in the order in which things happen; those of budgets once for each SLO. What is about a search is left
/// out of a run without one.
pub(super) fn outturns(judgement: &Judgement) -> Vec<Outturn<'_>> {
    let (timings, harm) = (judgement.timings, judgement.harm);
    let of_run = |name, label, unit, value, means, without| Outturn {
        name,
        label,
        of: None,
        means,
        value,
        unit,
        without,
    };
    let mut found = vec![
        of_run(
            "time_to_breach",
            "Time to breach",
            Unit::Seconds,
            timings.time_to_breach_s,
            "From the first onset to the end of the first second in which an SLO's share of good requests was below its objective.",
            "no objective was missed",
        ),
        of_run(
            "time_to_detect",
            "Time to detect",
            Unit::Seconds,
            timings.time_to_detect_s,
            "From the first onset until a guard or an alert fired or the steady state was seen broken, whichever came first.",
            "nothing noticed",
        ),
        of_run(
            "time_to_abort",
            "Time to abort",
            Unit::Seconds,
            timings.time_to_abort_s,
            "From the first onset until a guard ended the run.",
            "no guard ended it",
        ),
        of_run(
            "time_to_heal",
            "Time to heal",
            Unit::Seconds,
            timings.time_to_heal_s,
            "From when taking back a phase's faults was first asked for until the last of them was measured to be gone; of the phase in which that took longest.",
            "nothing was taken back",
        ),
        of_run(
            "time_to_steady",
            "Time to steady",
            Unit::Seconds,
            timings.time_to_steady_s,
            "From the last undo until the steady state held, from when on it did.",
            "not seen again",
        ),
        of_run(
            "time_in_violation",
            "Time in violation",
            Unit::Seconds,
            timings.time_in_violation_s,
            "The seconds since the first onset in which any SLO's share of good requests was below its objective.",
            "no data",
        ),
        of_run(
            "harmed",
            "Requests harmed",
            Unit::Requests,
            harm.requests_harmed.map(|harmed| harmed as f64),
            "The requests due since the first onset that did not end well: bad, timed out, failed or dropped.",
            "no data",
        ),
    ];
    for slo in &judgement.slos {
        found.push(Outturn {
            name: "budget_spent_by_events",
            label: "Budget spent, by events",
            of: Some(&slo.name),
            means: "The share of the error budget of the SLO's window that bad requests spent, against those that a whole window at the same rate of requests allows.",
            value: slo.budget_spent_ratio,
            unit: Unit::Budget,
            without: "no data",
        });
        found.push(Outturn {
            name: "budget_spent_by_time",
            label: "Budget spent, by time",
            of: Some(&slo.name),
            means: "The share of the error budget of the SLO's window that the time spent in which the SLO was broken, against how long it may be in a whole window.",
            value: slo.budget_spent_by_time_ratio,
            unit: Unit::Budget,
            without: "no data",
        });
    }
    if !judgement.capacities.is_empty() {
        found.push(of_run(
            "capacity_lost",
            "Capacity lost",
            Unit::Share,
            harm.capacity_lost_ratio,
            "The share of the highest rate found without a fault that was lost with one.",
            "not compared",
        ));
    }
    found
}
