//! Time slices: a stretch cut into pieces of equal length, each of which was good or was not.
//!
//! Counting requests, a quiet night's outage costs nothing; counting time, it costs what it lasted. Both are asked
//! for, and every figure says which it is. A slice in which nothing ended says nothing and counts for neither side.
//! Start at [`own`] and [`by_second`].

use std::collections::BTreeMap;

use super::indicators::Stretch;
use super::timeline::Timeline;
use crate::load::record::Stats;
use crate::plan::Plan;
use crate::slo::{self, Sample, Tally};
use crate::spec::{SliUnit, Slo};
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
    fn take(&mut self, span: (u64, u64), good: bool) {
        self.known += 1;
        if good {
            self.good += 1;
        } else {
            self.bad.push(span);
        }
    }

    /// How long those that were not good lasted, in seconds; nothing without data.
    pub fn bad_s(&self) -> Option<f64> {
        let bad_ns: u64 = self.bad.iter().map(|(from_ns, to_ns)| to_ns - from_ns).sum();
        (self.known > 0).then_some(bad_ns as f64 / 1e9)
    }
}

/// The slices that an SLO's objective is about; nothing of one that is not about slices. Each stretch is cut anew, and its
/// last slice may be shorter.
pub(super) fn own(
    line: &Timeline<'_>,
    plan: &Plan,
    (name, slo): (&str, &Slo),
    stretches: &[(u64, u64)],
) -> Option<Counted> {
    let Some(slice) = &slo.slices else {
        // What is asked again and again is a slice each time.
        return (slo.sli.unit() == SliUnit::Stretches).then(|| sampled(line, (name, slo), stretches));
    };
    let length = slice.of.value;
    let Some((check, load)) = slice.when.as_ref().zip(slo.load()) else {
        let least = slice.at_least.as_ref().map_or(slo.objective.get(), |least| least.get());
        return Some(by_share(line, (name, slo), (length, least), stretches));
    };
    let measured = line.intervals.iter().filter(|interval| interval.load == load);
    let measured = measured.map(|interval| (interval.from_ns.midpoint(interval.to_ns), interval.stats));
    let good =
        |stats: &Stats, seconds| slo::measure(&check.value, &Sample::of(stats, seconds, &plan.slos)).holds;
    let mut slices = Slices::new(length, stretches);
    measured.for_each(|(at_ns, stats)| slices.add(at_ns, |sum: &mut Stats| sum.merge_total(stats)));
    Some(slices.count(good))
}

/// The same of an SLO by the second: one is bad in which less was good than the objective asks for. Of one with slices
/// of its own, those.
pub(super) fn by_second(
    line: &Timeline<'_>,
    plan: &Plan,
    (name, slo): (&str, &Slo),
    stretches: &[(u64, u64)],
) -> Counted {
    own(line, plan, (name, slo), stretches)
        .unwrap_or_else(|| by_share(line, (name, slo), (SECOND, slo.objective.get()), stretches))
}

/// A slice is good if this share of what was counted in it is. Histograms stay closed: those of an hour, opened for
/// every SLO, would take longer than all else that is judged.
fn by_share(
    line: &Timeline<'_>,
    slo: (&str, &Slo),
    (length, least): (Duration, f64),
    stretches: &[(u64, u64)],
) -> Counted {
    let mut slices = Slices::new(length, stretches);
    for stretch in line.counted(slo, stretches) {
        slices.spread(stretch);
    }
    // With the slack of one rounding step, as checks compare.
    slices.count(|tally: &Tally, _| tally.share().map(|share| share >= least - f64::EPSILON))
}

/// Each sample of an indicator that was either good or not, as a slice of its own: it belongs where it was taken, at the
/// end of what it stands for.
fn sampled(line: &Timeline<'_>, (name, slo): (&str, &Slo), stretches: &[(u64, u64)]) -> Counted {
    let mut found =
        Counted { length: slo.sli.every().map_or(SECOND, |every| every.value), ..Counted::default() };
    for (from_ns, to_ns) in stretches {
        for sample in line.known(name).filter(|sample| (from_ns + 1..=*to_ns).contains(&sample.to_ns)) {
            found.take((sample.from_ns.max(*from_ns), sample.to_ns), sample.tally.bad() <= 0.0);
        }
    }
    found
}

/// Stretches of time cut into slices, each with a sum of what belongs to it.
struct Slices<'s, A> {
    length: Duration,
    stretches: &'s [(u64, u64)],
    /// By the stretch's index and the slice's in it.
    sums: BTreeMap<(usize, u64), A>,
}

impl<'s, A: Default> Slices<'s, A> {
    const fn new(length: Duration, stretches: &'s [(u64, u64)]) -> Self {
        Self { length, stretches, sums: BTreeMap::new() }
    }

    const fn length_ns(&self) -> u64 {
        if self.length.is_zero() { 1 } else { self.length.as_ns() }
    }

    /// Adds to the slice of an instant.
    fn add(&mut self, at_ns: u64, add: impl FnOnce(&mut A)) {
        let stretch = self.stretches.iter().position(|(from_ns, to_ns)| (*from_ns..*to_ns).contains(&at_ns));
        if let Some(index) = stretch {
            let slice = (at_ns - self.stretches[index].0) / self.length_ns();
            add(self.sums.entry((index, slice)).or_default());
        }
    }

    fn span(&self, (index, slice): (usize, u64)) -> (u64, u64) {
        let (from_ns, to_ns) = self.stretches[index];
        let begins = from_ns + slice * self.length_ns();
        (begins, begins.saturating_add(self.length_ns()).min(to_ns))
    }

    fn count(&self, good: impl Fn(&A, f64) -> Option<bool>) -> Counted {
        let mut found = Counted { length: self.length, ..Counted::default() };
        for (slice, sum) in &self.sums {
            let (begins, ends) = self.span(*slice);
            if let Some(good) = good(sum, (ends - begins) as f64 / 1e9) {
                found.take((begins, ends), good);
            }
        }
        found
    }
}

impl Slices<'_, Tally> {
    /// Adds what lies in one of the stretches to its slices, each by its share.
    fn spread(&mut self, stretch: Stretch) {
        let mut at_ns = stretch.from_ns;
        loop {
            let Some(index) =
                self.stretches.iter().position(|(from_ns, to_ns)| (*from_ns..*to_ns).contains(&at_ns))
            else {
                return;
            };
            let slice = (at_ns - self.stretches[index].0) / self.length_ns();
            let span = self.span((index, slice));
            if let Some(part) = stretch.within(span) {
                *self.sums.entry((index, slice)).or_default() += part.tally;
            }
            at_ns = span.1;
            if at_ns >= stretch.to_ns {
                return;
            }
        }
    }
}
