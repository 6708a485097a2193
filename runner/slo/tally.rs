//! So much good of so much: what every indicator comes to, whatever it counts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// So much good of so much: requests, events, seconds, or seconds of containers. Parts of what was counted over a
/// stretch of time belong to parts of the stretch, so neither need be whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    /// What was good of it, at most all.
    pub good: f64,
    /// All of it.
    pub total: f64,
}

impl Tally {
    /// Of whole things; no more of them are good than there are.
    pub fn of(good: u64, total: u64) -> Self {
        Self { good: good.min(total) as f64, total: total as f64 }
    }

    /// This share of it, 0 to 1.
    #[must_use]
    pub fn part(self, share: f64) -> Self {
        Self { good: self.good * share, total: self.total * share }
    }

    /// What was not good of it.
    pub fn bad(self) -> f64 {
        (self.total - self.good).max(0.0)
    }

    /// The share that was good; nothing where there was nothing.
    pub fn share(self) -> Option<f64> {
        (self.total > 0.0).then(|| self.good / self.total)
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.good += other.good;
        self.total += other.total;
    }
}
