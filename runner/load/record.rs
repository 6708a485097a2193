//! What a load measured: the six boxes and the histograms, in a form that merges exactly.
//!
//! One [`Stats`] is an interval's, a phase's or a sliding window's; adding two gives what measuring both
//! together would have given. Pure: the engine fills it, judgement reads it, the journal keeps it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

pub use super::hist::{HIST_MAX_NS, Hist};

/// Where every scheduled arrival ends: in exactly one box. Requests in flight are in none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boxes {
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
    /// In flight when the load ended; how it would have ended is not known.
    pub cut_off: u64,
}

impl Boxes {
    /// Every arrival that has ended.
    pub const fn scheduled(&self) -> u64 {
        self.good + self.bad + self.timed_out + self.failed + self.dropped + self.cut_off
    }

    /// Arrivals whose end is known: all but those cut off.
    pub const fn known(&self) -> u64 {
        self.scheduled() - self.cut_off
    }

    /// Arrivals that ended other than well.
    pub const fn errors(&self) -> u64 {
        self.bad + self.timed_out + self.failed + self.dropped
    }

    /// Adds another count.
    pub const fn add(&mut self, other: &Self) {
        self.good += other.good;
        self.bad += other.bad;
        self.timed_out += other.timed_out;
        self.failed += other.failed;
        self.dropped += other.dropped;
        self.cut_off += other.cut_off;
    }

    /// Takes another count, which was added before, away again.
    const fn take_away(&mut self, other: &Self) {
        self.good -= other.good;
        self.bad -= other.bad;
        self.timed_out -= other.timed_out;
        self.failed -= other.failed;
        self.dropped -= other.dropped;
        self.cut_off -= other.cut_off;
    }
}

/// How a timed arrival ended.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered as expected.
    Good,
    /// Answered, not as expected.
    Bad,
    /// Not answered in time.
    TimedOut,
    /// Not answered: refused, reset, malformed.
    Failed,
}

impl Outcome {
    /// Every outcome; they number 0 to 3.
    pub const ALL: [Self; 4] = [Self::Good, Self::Bad, Self::TimedOut, Self::Failed];

    /// The word in records, reports and tags.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
        }
    }
}

/// What one load measured over some stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// How many arrivals ended how.
    pub boxes: Boxes,
    /// Completion minus intended instant, of every arrival that was sent and ended; timeouts count with
    /// the time they were given up after.
    pub latency: Hist,
    /// Completion minus sending, of the same.
    pub service: Hist,
    /// Sending minus intended instant, of every arrival that was sent.
    pub send_lag: Hist,
    /// First byte of the answer minus intended instant, of every arrival that was answered at all.
    #[serde(default, skip_serializing_if = "Hist::is_empty")]
    pub first_byte: Hist,
    /// How long connecting took, of every connection that was opened.
    #[serde(default, skip_serializing_if = "Hist::is_empty")]
    pub connect: Hist,
    /// How long the TLS handshake took, of every connection that was secured.
    #[serde(default, skip_serializing_if = "Hist::is_empty")]
    pub tls: Hist,
    /// Ages, from the intended instant, of arrivals cut off: each would have taken at least that long.
    #[serde(default, skip_serializing_if = "Hist::is_empty")]
    pub censored: Hist,
    /// `latency` taken apart by request and outcome. Read it with [`Stats::parts`].
    #[serde(default, skip_serializing_if = "Parts::is_empty")]
    pub parts: Parts,
    /// Answers by status code.
    #[serde(deserialize_with = "by_status")]
    pub statuses: BTreeMap<u16, u64>,
    /// Arrivals that were answered wrongly or not at all, by class: `refused`, `reset`,
    /// `timeout: connect`, `timeout: answer`, `protocol`, `unexpected: status`, ….
    pub errors: BTreeMap<String, u64>,
    /// By class of `errors`, what one of them looked like. Only where a class was met for the first time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub examples: BTreeMap<String, String>,
    /// Good requests by SLO; the total is `boxes.known()`.
    pub slo_good: BTreeMap<String, u64>,
    /// Bytes of answers, heads included.
    pub bytes: u64,
    /// Requests sent a second time because the kept connection they went out on had been closed.
    #[serde(default)]
    pub retried: u64,
}

/// Latencies by the request's name and how it ended. Nothing stands for `latency` itself, of the part that
/// is all of it: most intervals have one part, and would be saved twice.
pub type Parts = BTreeMap<String, BTreeMap<Outcome, Option<Hist>>>;

/// Reads a map by status code. Written out because serde reads a flattened struct, as the journal's lines
/// are, from a buffer in which every key of a map is text and stays so.
fn by_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<u16, u64>, D::Error> {
    BTreeMap::<String, u64>::deserialize(deserializer)?
        .into_iter()
        .map(|(status, count)| Ok((status.parse().map_err(serde::de::Error::custom)?, count)))
        .collect()
}

impl Stats {
    /// Latencies by request and outcome, in the order of names. Empty for what was recorded without.
    pub fn parts(&self) -> impl Iterator<Item = (&str, Outcome, &Hist)> {
        self.parts.iter().flat_map(|(request, outcomes)| {
            outcomes
                .iter()
                .map(|(outcome, hist)| (request.as_str(), *outcome, hist.as_ref().unwrap_or(&self.latency)))
        })
    }

    /// What is kept of the requests of one name, or of those that ended in one way: how they ended and how long they
    /// took. Requests cut off or dropped are kept by load alone: all of the load's that were cut off may have been
    /// of this name, and are counted so.
    pub fn part(&self, request: Option<&str>, outcome: Option<crate::spec::expr::Outcome>) -> Self {
        use crate::spec::expr::Outcome as Wanted;
        let mut stats = Self::default();
        for (name, ended, hist) in self.parts() {
            let is_wanted = match outcome {
                None => true,
                Some(Wanted::Good) => ended == Outcome::Good,
                Some(Wanted::Bad) => ended == Outcome::Bad,
                Some(Wanted::TimedOut) => ended == Outcome::TimedOut,
                Some(Wanted::Failed) => ended == Outcome::Failed,
                Some(Wanted::Errors) => ended != Outcome::Good,
                Some(Wanted::Scheduled | Wanted::Dropped | Wanted::CutOff) => false,
            };
            if !is_wanted || request.is_some_and(|request| request != name) {
                continue;
            }
            stats.latency.merge(hist);
            let counted = match ended {
                Outcome::Good => &mut stats.boxes.good,
                Outcome::Bad => &mut stats.boxes.bad,
                Outcome::TimedOut => &mut stats.boxes.timed_out,
                Outcome::Failed => &mut stats.boxes.failed,
            };
            *counted += hist.count();
        }
        stats.boxes.cut_off = self.boxes.cut_off;
        stats.censored.merge(&self.censored);
        stats
    }

    /// Puts a part in; the last one that is all of `latency` must go in as the only one.
    pub(super) fn set_parts(&mut self, parts: Vec<(String, Outcome, Hist)>) {
        let only = parts.len() == 1;
        for (request, outcome, hist) in parts {
            self.latency.merge(&hist);
            self.parts.entry(request).or_default().insert(outcome, (!only).then_some(hist));
        }
    }

    /// Adds another stretch.
    pub fn merge(&mut self, other: &Self) {
        self.merge_parts(other);
        for (class, text) in &other.examples {
            self.examples.entry(class.clone()).or_insert_with(|| text.clone());
        }
        self.merge_total(other);
    }

    /// Adds another stretch without what is told of single requests: its parts and examples. For windows that
    /// slide, which nobody takes apart.
    pub fn merge_total(&mut self, other: &Self) {
        self.boxes.add(&other.boxes);
        for (mine, theirs) in self.hists_with(other) {
            mine.merge(theirs);
        }
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (class, count) in &other.errors {
            *self.errors.entry(class.clone()).or_default() += count;
        }
        for (slo, count) in &other.slo_good {
            *self.slo_good.entry(slo.clone()).or_default() += count;
        }
        self.bytes += other.bytes;
        self.retried += other.retried;
    }

    /// Takes another stretch, which [`Stats::merge_total`] added before, away again, exactly.
    ///
    /// # Panics
    ///
    /// If it was not added before: our own bug.
    pub fn take_away(&mut self, other: &Self) {
        self.boxes.take_away(&other.boxes);
        for (mine, theirs) in self.hists_with(other) {
            mine.take_away(theirs);
        }
        counts_away(&mut self.statuses, &other.statuses);
        counts_away(&mut self.errors, &other.errors);
        counts_away(&mut self.slo_good, &other.slo_good);
        self.bytes -= other.bytes;
        self.retried -= other.retried;
    }

    /// Every histogram beside the other's.
    fn hists_with<'s>(&'s mut self, other: &'s Self) -> [(&'s mut Hist, &'s Hist); 7] {
        [
            (&mut self.latency, &other.latency),
            (&mut self.service, &other.service),
            (&mut self.send_lag, &other.send_lag),
            (&mut self.first_byte, &other.first_byte),
            (&mut self.connect, &other.connect),
            (&mut self.tls, &other.tls),
            (&mut self.censored, &other.censored),
        ]
    }

    /// Adds another stretch's parts; both latencies are still apart.
    fn merge_parts(&mut self, other: &Self) {
        if other.latency.is_empty() && other.parts.is_empty() {
            return;
        }
        if self.latency.is_empty() && self.parts.is_empty() {
            self.parts.clone_from(&other.parts);
            return;
        }
        let only = |stats: &Self| {
            let mut parts = stats.parts.iter().flat_map(|(request, outcomes)| {
                outcomes.iter().map(move |(outcome, hist)| (request, outcome, hist.is_none()))
            });
            parts.next().filter(|(.., all)| *all).map(|(request, outcome, _)| (request.clone(), *outcome))
        };
        if only(self).is_some() && only(self) == only(other) {
            return;
        }
        let latency = &self.latency;
        for hist in self.parts.values_mut().flat_map(BTreeMap::values_mut) {
            hist.get_or_insert_with(|| latency.clone());
        }
        for (request, outcome, hist) in other.parts() {
            let mine = self.parts.entry(request.to_owned()).or_default().entry(outcome).or_default();
            mine.get_or_insert_default().merge(hist);
        }
    }
}

/// Takes counts away, and with them what then was never counted.
fn counts_away<K: Ord>(counts: &mut BTreeMap<K, u64>, other: &BTreeMap<K, u64>) {
    // A key with nothing counted may have gone already, with the last of its counts.
    for (key, count) in other.iter().filter(|(_, count)| **count > 0) {
        let left = counts.get_mut(key).expect("only what was added is taken away");
        *left -= count;
        if *left == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stats(parts: &[(usize, usize, u64)]) -> Stats {
        let mut by_part: BTreeMap<(String, Outcome), Hist> = BTreeMap::new();
        for (request, outcome, ns) in parts {
            let key = (format!("r{request}"), Outcome::ALL[*outcome]);
            by_part.entry(key).or_default().record(*ns);
        }
        let mut stats = Stats::default();
        stats.set_parts(
            by_part.into_iter().map(|((request, outcome), hist)| (request, outcome, hist)).collect(),
        );
        stats
    }

    fn resolved(stats: &Stats) -> Vec<(String, Outcome, Hist)> {
        stats.parts().map(|(request, outcome, hist)| (request.to_owned(), outcome, hist.clone())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Merged in pieces, saved and read between, the parts are those of measuring all at once.
        #[test]
        fn parts_merge_exactly(
            pieces in prop::collection::vec(prop::collection::vec((0usize..2, 0usize..4, 1u64..1_000_000), 0..4), 0..5),
        ) {
            let mut sum = Stats::default();
            for piece in &pieces {
                let saved = serde_json::to_string(&stats(piece)).unwrap();
                sum.merge(&serde_json::from_str(&saved).unwrap());
            }
            let all = stats(&pieces.concat());
            prop_assert_eq!(&sum.latency, &all.latency);
            prop_assert_eq!(resolved(&sum), resolved(&all));
        }
    }

    #[test]
    fn the_only_part_is_saved_once() {
        let one = serde_json::to_value(stats(&[(0, 0, 5), (0, 0, 7)])).unwrap();
        assert_eq!(one["parts"], serde_json::json!({"r0": {"good": null}}));
        let none = serde_json::to_value(Stats::default()).unwrap();
        for absent in ["parts", "first_byte", "connect", "tls", "censored", "examples"] {
            assert_eq!(none.get(absent), None, "{absent}");
        }
    }
}
