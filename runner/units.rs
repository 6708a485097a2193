//! Durations, rates and shares with their units, written and read as people write them.
//!
//! Every quantity of the experiment language passes through here, so that `200ms`, `2000/s` and `99.9%`
//! mean the same in a spec, a plan, a journal and a report. Values print in the form they parse from.
//! Nothing here reads a clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;

/// A span of time, in whole nanoseconds; at most 584 years. Written as `200ms`, `1m30s`, `30d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(u64);

/// Units of time from the longest to the shortest: suffix and nanoseconds.
const TIME_UNITS: [(&str, u64); 8] = [
    ("w", 7 * 86_400 * NS_PER_S),
    ("d", 86_400 * NS_PER_S),
    ("h", 3_600 * NS_PER_S),
    ("m", 60 * NS_PER_S),
    ("s", NS_PER_S),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `ns` nanoseconds.
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// `ms` milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// `s` seconds.
    pub const fn from_s(s: u64) -> Self {
        Self(s * NS_PER_S)
    }

    /// Whole nanoseconds.
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// Seconds, with a fraction.
    pub fn as_s(self) -> f64 {
        self.0 as f64 / NS_PER_S as f64
    }

    /// Milliseconds, with a fraction.
    pub fn as_ms(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// True for zero.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The standard library's form of the same span.
    pub const fn to_std(self) -> StdDuration {
        StdDuration::from_nanos(self.0)
    }
}

impl FromStr for Duration {
    type Err = String;

    /// Reads `1m30s`, `200ms`, `1.5s`: numbers each followed by a unit, longest unit first by custom, not by
    /// rule. Errors say what is wrong and what to write instead.
    fn from_str(text: &str) -> Result<Self, String> {
        const HINT: &str = "write a duration with its unit, such as `200ms`, `30s`, `5m` or `1h30m`";
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(HINT.into());
        }
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        let mut total_ns = 0f64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let number: f64 = rest[..digits].parse().map_err(|_| HINT.to_owned())?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
            let unit = match &rest[..letters] {
                "µs" | "μs" => "us",
                other => other,
            };
            let Some((_, unit_ns)) = TIME_UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(HINT.into());
            };
            total_ns += number * *unit_ns as f64;
            rest = &rest[letters..];
        }
        if total_ns >= u64::MAX as f64 {
            return Err("this duration is longer than 584 years".into());
        }
        Ok(Self(total_ns.round() as u64))
    }
}

impl fmt::Display for Duration {
    /// An exact form, as `1m30s`, `200ms` or `30d`; never in weeks, since people say 30 days, not 4w2d.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (name, unit_ns) in TIME_UNITS.into_iter().filter(|(name, _)| *name != "w") {
            let count = rest / unit_ns;
            if count > 0 {
                write!(f, "{count}{name}")?;
                rest %= unit_ns;
            }
        }
        Ok(())
    }
}

impl std::ops::Add for Duration {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// How often something happens, per second; positive and finite. Written as `2000/s`, `90/m`, `1/h`.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// `per_s` events a second.
    pub const fn per_s(per_s: f64) -> Self {
        Self(per_s)
    }

    /// Events a second.
    pub const fn as_per_s(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HINT: &str = "write a rate with its unit, such as `2000/s` or `90/m`";
        let (count, unit) = text.split_once('/').ok_or(HINT)?;
        let count: f64 = count.trim().replace('_', "").parse().map_err(|_| HINT.to_owned())?;
        let unit_s = match unit.trim() {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return Err(HINT.into()),
        };
        if !count.is_finite() || count < 0.0 {
            return Err(HINT.into());
        }
        Ok(Self(count / unit_s))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

/// A share from 0 to 1, written in percent: `99.9%`.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// The share `value`, from 0 to 1.
    pub const fn new(value: f64) -> Self {
        Self(value)
    }

    /// The share, from 0 to 1.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HINT: &str = "write a share in percent, from `0%` to `100%`";
        let percent = text.trim().strip_suffix('%').ok_or(HINT)?.trim();
        // The point is moved in the text, because 99.9 / 100 is 0.9990000000000001.
        let share: f64 = format!("{percent}e-2").parse().map_err(|_| HINT)?;
        if !(0.0..=1.0).contains(&share) {
            return Err(HINT.into());
        }
        Ok(Self(share))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Twelve digits hide that 0.999 * 100 is 99.9000000000000057.
        write!(f, "{}%", (self.0 * 100.0 * 1e12).round() / 1e12)
    }
}

/// Gives a unit its text form in JSON and its JSON Schema.
macro_rules! as_text {
    ($type:ty, $name:literal, $kind:tt, $pattern:literal, $doc:literal) => {
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                // Where numbers are taken, only 0 is: it needs no unit.
                json_schema!({ "type": $kind, "pattern": $pattern, "maximum": 0, "description": $doc })
            }
        }
    };
}

as_text!(
    Duration,
    "Duration",
    ["string", "integer"],
    r"^(0|([0-9]+(\.[0-9]+)?(w|d|h|m|s|ms|us|µs|ns))+)$",
    "A span of time with its unit: `200ms`, `30s`, `1h30m`."
);
as_text!(
    Rate,
    "Rate",
    "string",
    r"^[0-9_]+(\.[0-9]+)?\s*/\s*(s|m|h)$",
    "How often, with its unit: `2000/s`, `90/m`."
);
as_text!(Ratio, "Ratio", "string", r"^[0-9]+(\.[0-9]+)?\s*%$", "A share in percent: `99.9%`.");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, ns) in [
            ("200ms", 200_000_000),
            ("1m30s", 90 * NS_PER_S),
            ("1.5s", 1_500_000_000),
            ("0", 0),
            ("7µs", 7_000),
        ] {
            assert_eq!(text.parse::<Duration>().map(Duration::as_ns), Ok(ns), "{text}");
        }
        for text in ["", "200", "ms", "1x", "-1s", "1s 2", "99999999999999w"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn rates_and_ratios_keep_their_printed_form() {
        assert_eq!("2_000/s".parse::<Rate>().unwrap().to_string(), "2000/s");
        assert_eq!("90/m".parse::<Rate>().unwrap().to_string(), "1.5/s");
        assert_eq!("99.9%".parse::<Ratio>().unwrap().to_string(), "99.9%");
        assert_eq!("99.9%".parse(), Ok(Ratio::new(0.999)));
        assert!("101%".parse::<Ratio>().is_err());
        assert!("99.9".parse::<Ratio>().is_err());
    }

    proptest! {
        #[test]
        fn durations_print_what_they_parse(ns in 0u64..1 << 53) {
            let text = Duration::from_ns(ns).to_string();
            prop_assert_eq!(text.parse::<Duration>().map(Duration::as_ns), Ok(ns));
        }
    }
}
