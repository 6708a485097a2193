//! Service-level objectives as an experiment has them: what counts as good, how much of it is promised over which
//! window, and which burn rates wake somebody up.

use std::fmt;
use std::str::FromStr;

use jiff::ToSpan;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::decode::{Located, Named};
use super::expr::Check;
use super::indicator::Sli;
use crate::units::{Duration, Ratio};
use crate::{by_text, record};

record! {
    /// A service-level objective over requests of a load, over what a Prometheus server says, or over the health of
    /// containers.
    pub struct Slo ("slo") {
        /// The share of requests (of events, of time) that must be good; with `slices`, the share of slices.
        pub objective: Located<Ratio>,
        /// Counts time instead of requests or events: the run is cut into slices, each of which is good or is not.
        pub slices: Option<TimeSlice>,
        /// The period the error budget is for: a length of time that rolls along, such as `30d`, or one of the
        /// calendar: `week`, `month`, `quarter` or `year`, the one in which the run began (UTC).
        pub window: Located<Window> = Located { value: Window::Rolling(Duration::from_s(30 * 86_400)), span: crate::error::Span::default() },
        /// Burn rates that would wake somebody up. Each is watched while the run lasts and judged afterwards; one that
        /// fires is a detection.
        pub alerts: Vec<Located<BurnAlert>>,
        /// What every good request needs, one after the other, and how available each of those is: by a name of your
        /// choosing. More than the product of these can't be promised.
        pub needs: Named<Located<Ratio>>,
        ..pub sli: Sli
    }
}

impl Slo {
    /// The load it is measured on; nothing where it is measured on something else.
    pub fn load(&self) -> Option<&str> {
        self.sli.load().map(|sli| sli.load.value.as_str())
    }
}

record! {
    /// How time is counted. A slice is good if enough of its requests (or events, or time) are, or `when` a check on it
    /// holds; one in which nothing ended counts for neither side.
    pub struct TimeSlice ("slices") {
        /// How long a slice is; a second or more.
        pub of: Located<Duration>,
        /// The share of a slice's requests or events that must be good for it to be; the objective where left out.
        pub at_least: Option<Located<Ratio>>,
        /// Of a load: a check on the slice instead: `p99(latency) < 300ms`.
        pub when: Option<Located<Check>>,
    }
}

record! {
    /// An alert on a burn rate: it fires while the error budget is spent too fast over a long and over a short
    /// window. What came before the run counts as good, sent at the rate of the run: a short run then fires no
    /// sooner than the same outage would in a month of good days.
    pub struct BurnAlert ("alert") {
        /// So many times as fast as the budget allows: 14.4 spends 2% of 30 days' budget in an hour.
        pub burn: Located<BurnRate>,
        /// The long window: that the loss is large enough to matter.
        pub over: Located<Duration>,
        /// The short window: that it still goes on. A twelfth of the long one where left out.
        pub and: Option<Located<Duration>>,
    }
}

impl BurnAlert {
    /// The short window.
    pub fn short(&self) -> Duration {
        self.and.as_ref().map_or_else(|| Duration::from_ns(self.over.as_ns() / 12), |and| and.value)
    }
}

impl fmt::Display for BurnAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "burn rate {} over {} and {}", self.burn.value, self.over.value, self.short())
    }
}

/// The period of an error budget. Saved and printed as written: `30d`, `month`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Window {
    /// The time just past, of this length.
    Rolling(Duration),
    /// One of the calendar.
    Calendar(Period),
}

/// A period of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From Monday on.
    Week,
    /// From its first day on.
    Month,
    /// January, April, July or October and the two months that follow.
    Quarter,
    /// From the first of January on.
    Year,
}

/// Every period by its word.
const PERIODS: [(&str, Period); 4] =
    [("week", Period::Week), ("month", Period::Month), ("quarter", Period::Quarter), ("year", Period::Year)];

impl Window {
    /// How long it is if `day` is in it.
    pub fn length(self, day: Date) -> Duration {
        let days = match self {
            Self::Rolling(length) => return length,
            Self::Calendar(Period::Week) => 7,
            Self::Calendar(Period::Month) => u64::from(day.days_in_month().unsigned_abs()),
            Self::Calendar(Period::Quarter) => {
                let first = day.first_of_month().month() - 1;
                let start = Date::new(day.year(), first / 3 * 3 + 1, 1).unwrap_or(day);
                // The calendar ends in the year 9999.
                let end = start.checked_add(3.months()).unwrap_or(start);
                (end - start).get_days().max(90).unsigned_abs().into()
            }
            Self::Calendar(Period::Year) => u64::from(day.days_in_year().unsigned_abs()),
        };
        Duration::from_s(days * 86_400)
    }

    /// The shortest that it can be, whichever of the calendar's it is.
    pub const fn least(self) -> Duration {
        const DAY_S: u64 = 86_400;
        match self {
            Self::Rolling(length) => length,
            Self::Calendar(Period::Week) => Duration::from_s(7 * DAY_S),
            Self::Calendar(Period::Month) => Duration::from_s(28 * DAY_S),
            Self::Calendar(Period::Quarter) => Duration::from_s(90 * DAY_S),
            Self::Calendar(Period::Year) => Duration::from_s(365 * DAY_S),
        }
    }

    /// True if it lasts no time at all.
    pub const fn is_zero(self) -> bool {
        matches!(self, Self::Rolling(length) if length.is_zero())
    }
}

/// The day of a wall-clock time, RFC 3339 in UTC; the first of 1970 where it is none.
pub fn day_of(wall: &str) -> Date {
    let timestamp = wall.parse::<jiff::Timestamp>().unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    timestamp.to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// How many times as fast as sustainable an error budget is spent; positive. Saved and printed as written: `14.4`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BurnRate(f64);

impl BurnRate {
    /// As a number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for BurnRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let positive = text.parse().ok().filter(|burn: &f64| burn.is_finite() && *burn > 0.0);
        positive.map(Self).ok_or_else(|| "write a positive number such as `14.4`".to_owned())
    }
}

impl fmt::Display for BurnRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<BurnRate> for String {
    fn from(burn: BurnRate) -> Self {
        burn.to_string()
    }
}

by_text!(BurnRate, "a burn rate", "A positive number: 1 spends exactly the budget in the window.");

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, period)) = PERIODS.iter().find(|(word, _)| *word == text) {
            return Ok(Self::Calendar(*period));
        }
        text.parse().map(Self::Rolling).map_err(|_| {
            "write a length such as `30d`, or one of `week`, `month`, `quarter` and `year`".to_owned()
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rolling(length) => length.fmt(f),
            Self::Calendar(period) => {
                let word = PERIODS.iter().find(|(_, known)| known == period).map_or("", |(word, _)| word);
                f.write_str(word)
            }
        }
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

by_text!(
    Window,
    "a window",
    "A length of time that rolls along, such as `30d`, or `week`, `month`, `quarter` or `year` of the calendar."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_the_calendar_are_as_long_as_the_calendar_has_them() {
        let days = |window: &str, wall: &str| {
            let length = window.parse::<Window>().unwrap().length(day_of(wall));
            length.as_ns() / 1_000_000_000 / 86_400
        };
        for (window, wall, expected) in [
            ("30d", "2026-02-10T00:00:00Z", 30),
            ("week", "2026-02-10T00:00:00Z", 7),
            ("month", "2026-02-10T00:00:00Z", 28),
            ("month", "2028-02-29T23:59:59Z", 29),
            ("month", "2026-12-31T23:59:59Z", 31),
            ("quarter", "2026-02-10T00:00:00Z", 90),
            ("quarter", "2026-05-10T00:00:00Z", 91),
            ("quarter", "2026-12-10T00:00:00Z", 92),
            ("year", "2026-12-10T00:00:00Z", 365),
            ("year", "2028-12-10T00:00:00Z", 366),
        ] {
            assert_eq!(days(window, wall), expected, "{window} of {wall}");
        }
    }

    #[test]
    fn windows_print_as_they_are_read() {
        for text in ["30d", "week", "month", "quarter", "year", "12h"] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
        assert!("fortnight".parse::<Window>().unwrap_err().contains("`month`"));
    }
}
