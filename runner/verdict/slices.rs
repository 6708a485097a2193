//! Time slices: a stretch cut into pieces of equal length, each of which was good or was not.
//!
//! Counting requests, a quiet night's outage costs nothing; counting time, it costs what it lasted. Both are asked
//! for, and every figure says which it is. A slice in which nothing ended says nothing and counts for neither side.
//! Start at [`count`].

use std::collections::BTreeMap;

use super::timeline::Timeline;
use crate::load::record::Stats;
use crate::plan::Plan;
use crate::slo::{self, Sample};
use crate::spec::{Slo, TimeSlice};
use crate::units::Duration;

/// The slices of SLOs that have none of their own: by these, how long one was broken is told.
pub(super) const SECOND: Duration = Duration::from_s(1);

/// What came of a stretch's slices.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counted {
    /// The length of a slice.
    pub length: Duration,
    /// Slices that were good.
    pub good: u64,
    /// Slices that were good or not.
    pub known: u64,
    /// The slices that were not, from and to, in order.
    pub bad: Vec<(u64, u64)>,
}

impl Counted {
    /// The share of good ones; nothing without data.
    pub fn share(&self) -> Option<f64> {
        (self.known > 0).then(|| self.good as f64 / self.known as f64)
    }

    /// How long those that were not good lasted, in seconds; nothing without data.
    pub fn bad_s(&self) -> Option<f64> {
        let bad_ns: u64 = self.bad.iter().map(|(from_ns, to_ns)| to_ns - from_ns).sum();
        (self.known > 0).then_some(bad_ns as f64 / 1e9)
    }
}

/// The slices of an SLO in some stretches; each stretch is cut anew, and its last slice may be shorter.
pub(super) fn count(
    line: &Timeline<'_>,
    plan: &Plan,
    (name, slo): (&str, &Slo),
    slice: &TimeSlice,
    stretches: &[(u64, u64)],
) -> Counted {
    let sliced = Sliced { line, load: &slo.load.value, length: slice.of.value };
    let Some(check) = &slice.when else {
        let least = slice.at_least.as_ref().map_or(slo.objective.get(), |least| least.get());
        return sliced.by_share(name, least, stretches);
    };
    let good =
        |stats: &Stats, seconds| slo::measure(&check.value, &Sample::of(stats, seconds, &plan.slos)).holds;
    sliced.count(stretches, Stats::merge_total, good)
}

/// The same of an SLO by the second: one is bad in which fewer requests were good than the objective asks for. Of one
/// with slices of its own, those.
pub(super) fn by_second(
    line: &Timeline<'_>,
    plan: &Plan,
    (name, slo): (&str, &Slo),
    stretches: &[(u64, u64)],
) -> Counted {
    if let Some(slice) = &slo.slices {
        return count(line, plan, (name, slo), slice, stretches);
    }
    let sliced = Sliced { line, load: &slo.load.value, length: SECOND };
    sliced.by_share(name, slo.objective.get(), stretches)
}

/// A load cut into slices.
struct Sliced<'s> {
    line: &'s Timeline<'s>,
    load: &'s str,
    length: Duration,
}

impl Sliced<'_> {
    /// A slice is good if this share of its requests is, by an SLO. Only counts are added up: histograms of an hour,
    /// opened for every SLO, would take longer than all else that is judged.
    fn by_share(&self, slo: &str, least: f64, stretches: &[(u64, u64)]) -> Counted {
        let add = |(good, known): &mut (u64, u64), stats: &Stats| {
            *good += stats.slo_good.get(slo).copied().unwrap_or_default();
            *known += stats.boxes.known();
        };
        // With the slack of one rounding step, as checks compare.
        let is_good = |(good, known): &(u64, u64), _| {
            (*known > 0).then(|| *good as f64 / *known as f64 >= least - f64::EPSILON)
        };
        self.count(stretches, add, is_good)
    }

    fn count<A: Default>(
        &self,
        stretches: &[(u64, u64)],
        add: impl Fn(&mut A, &Stats),
        good: impl Fn(&A, f64) -> Option<bool>,
    ) -> Counted {
        let length_ns = self.length.as_ns().max(1);
        let mut found = Counted { length: self.length, ..Counted::default() };
        for (from_ns, to_ns) in stretches.iter().copied() {
            let mut slices = BTreeMap::<u64, A>::new();
            for interval in self.line.intervals.iter().filter(|interval| interval.load == self.load) {
                let middle = interval.from_ns.midpoint(interval.to_ns);
                if (from_ns..to_ns).contains(&middle) {
                    add(slices.entry((middle - from_ns) / length_ns).or_default(), interval.stats);
                }
            }
            for (slice, sum) in slices {
                let begins = from_ns + slice * length_ns;
                let ends = (begins + length_ns).min(to_ns);
                match good(&sum, (ends - begins) as f64 / 1e9) {
                    Some(true) => (found.good, found.known) = (found.good + 1, found.known + 1),
                    Some(false) => {
                        found.known += 1;
                        found.bad.push((begins, ends));
                    }
                    None => {}
                }
            }
        }
        found
    }
}
