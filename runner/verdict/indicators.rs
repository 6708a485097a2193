//! What SLOs counted: requests of a load, or what was sampled beside it, as stretches of time with so much good of so
//! much. From here on all SLOs are judged alike.
//!
//! A load's interval belongs where its middle lies: intervals are cut at phases. A sample's stretch is cut at nothing,
//! so its parts belong where they lie, each by its share. Time of which nobody knows anything is kept apart, and may
//! not be what tips a judgement. Start at [`Timeline::counted`] and [`Counts`].

use super::slices;
use super::timeline::Timeline;
use crate::plan::Plan;
use crate::slo::{Tally, Value};
use crate::spec::{Named, NoData, Slo};
use crate::statistics::covered_s;

/// What was counted in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stretch {
    pub from_ns: u64,
    /// The same as `from_ns` where all of it belongs to one instant.
    pub to_ns: u64,
    pub tally: Tally,
}

impl Stretch {
    /// What of it lies between two instants.
    pub fn within(&self, (from_ns, to_ns): (u64, u64)) -> Option<Self> {
        if self.from_ns == self.to_ns {
            return (from_ns..to_ns).contains(&self.from_ns).then_some(*self);
        }
        let (begins, ends) = (self.from_ns.max(from_ns), self.to_ns.min(to_ns));
        let share = ends.saturating_sub(begins) as f64 / (self.to_ns - self.from_ns) as f64;
        (begins < ends).then(|| Self { from_ns: begins, to_ns: ends, tally: self.tally.part(share) })
    }
}

/// What an indicator beside the load was sampled to be.
#[derive(Debug, Default)]
pub(super) struct Indicator<'j> {
    /// Sorted by start; none overlap.
    known: Vec<Stretch>,
    /// Of which nobody knows anything, sorted, with the reason.
    unknown: Vec<(u64, u64, &'j str)>,
}

impl<'j> Indicator<'j> {
    /// Takes in a sample.
    pub fn take(&mut self, (from_ns, to_ns): (u64, u64), tally: Option<Tally>, detail: &'j str) {
        match tally {
            Some(tally) if from_ns < to_ns => self.known.push(Stretch { from_ns, to_ns, tally }),
            Some(_) => {}
            None => self.unknown.push((from_ns, to_ns, detail)),
        }
    }

    /// Settles what is known when all is told: what was found out late is not unknown, and what is unknown means what
    /// the SLO says.
    pub fn settle(&mut self, no_data: NoData) {
        self.known.sort_by_key(|stretch| stretch.from_ns);
        let known: std::collections::BTreeSet<u64> =
            self.known.iter().map(|stretch| stretch.from_ns).collect();
        self.unknown.retain(|(from_ns, ..)| !known.contains(from_ns));
        self.unknown.sort_unstable();
        match no_data {
            NoData::Invalid => {}
            NoData::Ignore => self.unknown.clear(),
            NoData::Fails => self.fail_unknown(),
        }
    }

    /// What nobody knows was bad: as much a second as there was otherwise.
    fn fail_unknown(&mut self) {
        let mut sum = Tally::default();
        self.known.iter().for_each(|stretch| sum += stretch.tally);
        let known_ns: u64 = self.known.iter().map(|stretch| stretch.to_ns - stretch.from_ns).sum();
        let per_ns = if sum.total > 0.0 { sum.total / known_ns as f64 } else { 1e-9 };
        for (from_ns, to_ns, _) in self.unknown.drain(..).filter(|(from_ns, to_ns, _)| from_ns < to_ns) {
            let tally = Tally { good: 0.0, total: per_ns * (to_ns - from_ns) as f64 };
            self.known.push(Stretch { from_ns, to_ns, tally });
        }
        self.known.sort_by_key(|stretch| stretch.from_ns);
    }
}

impl<'j> Timeline<'j> {
    /// Settles every indicator beside the load.
    pub(super) fn settle(&mut self, slos: &Named<Slo>) {
        for (name, indicator) in &mut self.indicators {
            indicator.settle(slos.get(name).map_or(NoData::Invalid, |slo| slo.sli.no_data()));
        }
    }

    /// What was sampled of indicators beside the load, by SLO, in the order of time.
    pub(super) fn sampled(&self) -> impl Iterator<Item = (&'j str, Stretch)> {
        let of = |(name, indicator): (&&'j str, &Indicator<'j>)| {
            let name = *name;
            indicator.known.clone().into_iter().map(move |stretch| (name, stretch))
        };
        self.indicators.iter().flat_map(of)
    }

    /// What was sampled for an SLO beside the load, in the order of time.
    pub(super) fn known(&self, slo: &str) -> impl Iterator<Item = Stretch> {
        self.indicators.get(slo).into_iter().flat_map(|indicator| indicator.known.iter().copied())
    }

    /// What an SLO counted in some stretches of time.
    pub(super) fn counted(
        &self,
        (name, slo): (&str, &Slo),
        stretches: &[(u64, u64)],
    ) -> impl Iterator<Item = Stretch> {
        let of_load = self.intervals.iter().filter(|interval| slo.load() == Some(interval.load));
        let of_load = of_load.map(move |interval| {
            let middle = interval.from_ns.midpoint(interval.to_ns);
            let good = interval.stats.slo_good.get(name).copied().unwrap_or_default();
            Stretch { from_ns: middle, to_ns: middle, tally: Tally::of(good, interval.stats.boxes.known()) }
        });
        of_load
            .chain(self.known(name))
            .flat_map(move |stretch| stretches.iter().filter_map(move |span| stretch.within(*span)))
    }

    /// How long nobody knows what an SLO's indicator was in some stretches, in seconds, with the first reason.
    fn unknown(&self, name: &str, stretches: &[(u64, u64)]) -> (f64, Option<(u64, &'j str)>) {
        let Some(indicator) = self.indicators.get(name) else { return (0.0, None) };
        let of = |span: &(u64, u64)| {
            let (from_ns, to_ns) = *span;
            let cut = indicator
                .unknown
                .iter()
                .map(move |(begins, ends, why)| ((*begins).max(from_ns), (*ends).min(to_ns), *why));
            cut.filter(|(begins, ends, _)| begins < ends).collect::<Vec<_>>()
        };
        let unknown: Vec<_> = stretches.iter().flat_map(of).collect();
        let first = unknown.first().map(|(at_ns, _, why)| (*at_ns, *why));
        (covered_s(unknown.into_iter().map(|(from_ns, to_ns, _)| (from_ns, to_ns)).collect()), first)
    }
}

/// What an SLO came to in some stretches of a run.
pub(super) struct Counts<'j> {
    /// What was counted.
    pub tally: Tally,
    /// How many of the journal's entries that is.
    pub entries: usize,
    /// Slices of its own, where the objective is about those.
    pub own: Option<slices::Counted>,
    /// How long it is known what it was, in seconds; 0 of a load, whose intervals are all there are.
    known_s: f64,
    /// How long it is not.
    pub unknown_s: f64,
    /// Since when it is first not, and why.
    why: Option<(u64, &'j str)>,
}

impl<'j> Counts<'j> {
    pub fn of(line: &Timeline<'j>, plan: &Plan, slo: (&str, &Slo), stretches: &[(u64, u64)]) -> Self {
        let (unknown_s, why) = line.unknown(slo.0, stretches);
        let own = slices::own(line, plan, slo, stretches);
        Self { own, unknown_s, why, ..Self::of_all(line, slo, stretches) }
    }

    /// The same without slices, and as if all were known.
    pub fn of_all(line: &Timeline<'j>, slo: (&str, &Slo), stretches: &[(u64, u64)]) -> Self {
        let mut counts =
            Self { tally: Tally::default(), entries: 0, own: None, known_s: 0.0, unknown_s: 0.0, why: None };
        for stretch in line.counted(slo, stretches) {
            counts.tally += stretch.tally;
            counts.entries += 1;
            counts.known_s += (stretch.to_ns - stretch.from_ns) as f64 / 1e9;
        }
        counts
    }

    /// What the objective is about: good ones of all.
    pub fn judged_by(&self) -> Tally {
        match &self.own {
            Some(slices) => Tally::of(slices.good, slices.known),
            None => self.tally,
        }
    }

    /// The share that was good, and what it can be if what nobody knows was all bad, or all good; nothing without data.
    pub fn value(&self) -> Option<Value> {
        let judged = self.judged_by();
        let unknown = match &self.own {
            Some(slices) => self.unknown_s / slices.length.as_s(),
            None if self.known_s > 0.0 => judged.total * self.unknown_s / self.known_s,
            None => 0.0,
        };
        let all = judged.total + unknown;
        judged.share().map(|shown| Value {
            shown,
            least: judged.good / all,
            most: (judged.good + unknown) / all,
        })
    }

    /// How much is not known, and why, in words; nothing if all is.
    pub fn doubt(&self) -> Option<String> {
        let (at_ns, why) = self.why?;
        let round = |seconds: f64| (seconds * 10.0).round() / 10.0;
        Some(format!(
            "{}s without data, from {}s on: {why}",
            round(self.unknown_s),
            round(at_ns as f64 / 1e9)
        ))
    }
}
