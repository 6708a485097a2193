//! When a probe is asked, how patiently, and what its silence means: what all kinds have in common.
//!
//! Start at [`Asking`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Span;
use crate::spec::decode::Located;
use crate::units::{Duration, Ratio};
use crate::{by_text, choice, record};

record! {
    /// When a probe is asked, how patiently, and what its silence means.
    pub struct Asking ("probe") {
        /// Under `probes`: asked once before anything is broken, once after everything is healed, at both, or again
        /// and again all along; this is what it does where left out.
        pub when: Option<Located<When>>,
        /// Under `probes`, instead of `when`: asked again and again while this phase lasts, and only then.
        pub during: Option<Located<String>>,
        /// Asked again and again: how often. The next time comes no sooner than the answer to the last.
        pub every: Located<Duration> = Located { value: Duration::from_s(1), span: Span::default() },
        /// How long one answer may take.
        pub timeout: Located<Duration> = Located { value: Duration::from_s(2), span: Span::default() },
        /// So many times it is asked once more before its answer is taken for anything but a yes.
        pub retries: Located<u32> = Located { value: 0, span: Span::default() },
        /// With `retries`: how long to wait before it is asked once more.
        pub retry_after: Located<Duration> = Located { value: Duration::from_ms(500), span: Span::default() },
        /// How long to wait before it is first asked.
        pub delay: Located<Duration> = Located { value: Duration::ZERO, span: Span::default() },
        /// Under `probes`, asked again and again: so many answers, or this share of them, may be other than a yes.
        pub allowed_failures: Located<Allowed> = Located { value: Allowed::Count(0), span: Span::default() },
        /// What it means if it can't be asked or answered.
        pub no_data: Located<NoData> = Located { value: NoData::Invalid, span: Span::default() },
    }
}

choice! {
    /// When a named probe is asked.
    pub enum When ("when") {
        /// Once, just before anything is broken. A no ends the run there, as a steady state that does not hold.
        Before = "before",
        /// Once, when everything is healed and the last phase is over; the load goes on meanwhile.
        After = "after",
        /// Before and after.
        Edge = "edge",
        /// Again and again, from before the first phase to the end of the last.
        Continuous = "continuous",
    }
}

choice! {
    /// What it means that a probe can't be asked or answered.
    pub enum NoData ("no_data") {
        /// The run says nothing: it is invalid.
        Invalid = "invalid",
        /// As little as if it had not been asked; under `probes` only.
        Ignore = "ignore",
        /// The same as a no.
        Fails = "fails",
    }
}

impl Asking {
    /// When it is asked; under `probes` and without `during`.
    pub fn when(&self) -> When {
        self.when.as_ref().map_or(When::Continuous, |when| when.value)
    }

    /// True if it is asked at this one of the two moments.
    pub fn is_at(&self, moment: Moment) -> bool {
        self.during.is_none()
            && match self.when() {
                When::Edge => true,
                When::Before => moment == Moment::Before,
                When::After => moment == Moment::After,
                When::Continuous => false,
            }
    }

    /// True if it is asked again and again.
    pub fn is_repeated(&self) -> bool {
        self.during.is_some() || self.when() == When::Continuous
    }

    /// The longest that it can take from being due to its answer.
    pub fn longest(&self) -> Duration {
        let more = u64::from(self.retries.value);
        let each_ns = self.timeout.as_ns().saturating_add(self.retry_after.as_ns());
        let again = Duration::from_ns(each_ns.saturating_mul(more));
        self.delay.value + self.timeout.value + again
    }
}

/// One of the two moments at which a probe is asked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Just before anything is broken.
    Before,
    /// After everything is healed.
    After,
}

impl Moment {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// How many of a probe's answers may be other than a yes. Saved and printed as written: `2`, `5%`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Allowed {
    /// So many.
    Count(u32),
    /// This share of them, rounded down.
    Share(Ratio),
}

impl Allowed {
    /// So many of `asked` answers.
    pub fn of(self, asked: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            // A hair more, so that 5% of 40 is 2.
            Self::Share(share) => (share.get() * asked as f64 + 1e-9).floor() as usize,
        }
    }
}

impl FromStr for Allowed {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let read = if text.ends_with('%') {
            text.parse().ok().map(Self::Share)
        } else {
            text.parse().ok().map(Self::Count)
        };
        read.ok_or_else(|| "write a number such as `2`, or a share such as `5%`".into())
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Share(share) => share.fmt(f),
        }
    }
}

impl From<Allowed> for String {
    fn from(allowed: Allowed) -> Self {
        allowed.to_string()
    }
}

by_text!(Allowed, "a number or a percentage", "How many of a probe's answers: `2`, `5%`.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_failures_are_counted_of_what_was_asked() {
        for (text, asked, most) in [("2", 40, 2), ("5%", 40, 2), ("5%", 39, 1), ("0%", 9, 0), ("100%", 9, 9)]
        {
            let allowed: Allowed = text.parse().expect(text);
            assert_eq!(allowed.of(asked), most, "{text} of {asked}");
            assert_eq!(allowed.to_string(), text);
        }
        assert!("-1".parse::<Allowed>().is_err() && "a few".parse::<Allowed>().is_err());
    }
}
