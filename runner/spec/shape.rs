//! How a load's rate moves over time: held, or in one of a few shapes.
//!
//! Only what may be written and how it reads to people; its integral, which says when arrivals are, is in
//! `load/schedule/profile.rs`. What a shape must not leave out or contradict is in `check_arrivals.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::decode::{Decode, Located, Mistakes};
use super::node::{Node, Value};
use crate::units::{Duration, Rate};
use crate::{record, tagged};

/// A load's rate: one that stays (`2000/s`), or one that changes (`{ ramp: … }`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Shape {
    /// The same all along: `2000/s`.
    Held(Rate),
    /// One that changes as time goes on.
    Varying(Varying),
}

tagged! {
    /// A rate that changes as time goes on, counted from the start of the load, which is that of the run's
    /// first phase.
    pub enum Varying ("rate shape") {
        /// Straight lines between points, exactly. Before the first point its rate holds, after the last one
        /// the last one's: `ramp: [ { at: 0s, rate: 0/s }, { at: 30s, rate: 500/s } ]`.
        Ramp(Vec<RampPoint>) = "ramp",
        /// A staircase, whose last step holds: `steps: { from: 100/s, to: 1000/s, by: 100/s, every: 10s }`.
        Steps(Steps) = "steps",
        /// A rate with spikes at regular intervals.
        Spikes(Spikes) = "spikes",
        /// A wave around a mean, as days and nights make.
        Sine(Sine) = "sine",
        /// Recorded arrivals from a file, relative to the experiment: a line for each, with the time since
        /// the load's start as a duration (`1.5s`) or as seconds (`1.5`), in ascending order. Empty lines and
        /// those that begin with `#` are skipped. `arrivals` has no say in it, and after the last one nothing
        /// more is sent.
        Replay(Located<String>) = "replay",
    }
}

record! {
    /// A point that a rate passes through.
    pub struct RampPoint ("ramp point") {
        /// When, counted from the load's start; later than the point before.
        pub at: Located<Duration>,
        /// The rate at that instant.
        pub rate: Located<Rate>,
    }
}

record! {
    /// A rate that goes up, or down, by steps of the same height and length.
    pub struct Steps ("steps") {
        /// The first step's rate.
        pub from: Located<Rate>,
        /// The last step's rate, which then holds.
        pub to: Located<Rate>,
        /// The height of a step; the last one may be lower.
        pub by: Located<Rate>,
        /// How long each step lasts.
        pub every: Located<Duration>,
    }
}

record! {
    /// A rate that rises for a moment at regular intervals. Each interval ends with its spike.
    pub struct Spikes ("spikes") {
        /// The rate between spikes.
        pub base: Located<Rate>,
        /// The rate in a spike.
        pub peak: Located<Rate>,
        /// From the end of one spike to the end of the next.
        pub every: Located<Duration>,
        /// How long a spike lasts; shorter than `every`.
        pub duration ("for"): Located<Duration>,
    }
}

record! {
    /// A rate that swings around a mean. It begins at the mean, rising.
    pub struct Sine ("sine") {
        /// The rate in the middle.
        pub mean: Located<Rate>,
        /// How far it goes above and below; at most the mean.
        pub amplitude: Located<Rate>,
        /// From one peak to the next.
        pub period: Located<Duration>,
    }
}

impl Shape {
    /// The highest rate it reaches; nothing for recorded arrivals, which have none of their own.
    pub fn peak(&self) -> Option<Rate> {
        let peak_per_s = match self {
            Self::Held(rate) => rate.as_per_s(),
            Self::Varying(Varying::Ramp(points)) => {
                points.iter().map(|point| point.rate.as_per_s()).fold(0.0, f64::max)
            }
            Self::Varying(Varying::Steps(steps)) => steps.from.as_per_s().max(steps.to.as_per_s()),
            Self::Varying(Varying::Spikes(spikes)) => spikes.base.as_per_s().max(spikes.peak.as_per_s()),
            Self::Varying(Varying::Sine(sine)) => sine.mean.as_per_s() + sine.amplitude.as_per_s(),
            Self::Varying(Varying::Replay(_)) => return None,
        };
        Some(Rate::per_s(peak_per_s))
    }

    /// The file with recorded arrivals, if it is of those.
    pub const fn replay(&self) -> Option<&Located<String>> {
        match self {
            Self::Varying(Varying::Replay(file)) => Some(file),
            _ => None,
        }
    }
}

impl From<Rate> for Shape {
    fn from(rate: Rate) -> Self {
        Self::Held(rate)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(rate) => rate.fmt(f),
            Self::Varying(Varying::Ramp(points)) => {
                f.write_str("ramp ")?;
                for (index, point) in points.iter().enumerate() {
                    let sign = if index == 0 { "" } else { ", " };
                    write!(f, "{sign}{} at {}", point.rate.value, point.at.value)?;
                }
                Ok(())
            }
            Self::Varying(Varying::Steps(Steps { from, to, by, every })) => {
                write!(f, "steps from {} to {} by {} every {}", from.value, to.value, by.value, every.value)
            }
            Self::Varying(Varying::Spikes(Spikes { base, peak, every, duration })) => {
                write!(f, "{} with spikes of {} for {} ", base.value, peak.value, duration.value)?;
                write!(f, "every {}", every.value)
            }
            Self::Varying(Varying::Sine(Sine { mean, amplitude, period })) => {
                write!(f, "{} ± {} over {}", mean.value, amplitude.value, period.value)
            }
            Self::Varying(Varying::Replay(file)) => write!(f, "replay of {}", file.value),
        }
    }
}

impl Decode for Shape {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        if matches!(node.value, Value::Map(_)) {
            Varying::decode(node, mistakes).map(Self::Varying)
        } else {
            Rate::decode(node, mistakes).map(Self::Held)
        }
    }
}

impl schemars::JsonSchema for Shape {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Shape".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let held = generator.subschema_for::<Rate>();
        let varying = generator.subschema_for::<Varying>();
        schemars::json_schema!({
            "anyOf": [held, varying],
            "description": "A load's rate: one that stays (`2000/s`), or one that changes (`{ ramp: … }`).",
        })
    }
}
