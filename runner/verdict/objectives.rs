//! Judging SLOs: each over the whole run, whatever was broken meanwhile.
//!
//! Start at [`Court::slos`].

use std::collections::BTreeMap;

use super::figures::share_interval;
use super::judge::Court;
use super::timeline::Timeline;
use super::{AlertReport, Exhibit, Firing, SloMethod, SloReport, exhibit, outturn, slices};
use crate::load::record::Stats;
use crate::plan::Plan;
use crate::slo::{self, Sample, Value};
use crate::spec::Slo;
use crate::spec::expr::{Check, Expr, Figure, Metric, Op, Quantity};
use crate::spec::expr_scope::Place;
use crate::spec::expr_unit::Unit;
use crate::units::Duration;

impl Court<'_> {
    pub(super) fn slos(&mut self) -> Vec<SloReport> {
        let line = self.line;
        let first = line.phases.first().map_or(0, |phase| phase.from_ns);
        let last = line.phases.last().map_or(line.end_ns, |phase| phase.to_ns);
        let mut alerts = self.alerts();
        let mut reports = Vec::new();
        for (name, slo) in self.plan.slos.iter() {
            let searched = self.searched(&slo.load);
            let judged = without((first, last), &searched);
            let counted = Counted::new(self.plan, line, (name, slo), &searched, &judged);
            let measured = Duration::from_ns(judged.iter().map(|(from_ns, to_ns)| to_ns - from_ns).sum());
            let objective = slo.objective.value.get();
            let by_requests = (counted.known > 0).then(|| counted.good as f64 / counted.known as f64);
            let burn_rate = by_requests.map(|ratio| slo::burn_rate(1.0 - ratio, objective));
            let window = outturn::window(line, slo);
            let violation_s = counted.by_second.bad_s();
            let (good, of) = counted.judged_by();
            let good_ratio = (of > 0).then(|| good as f64 / of as f64);
            let check = slo_check(name);
            let verdict = slo::measure_by(&check, &self.plan.slos, |_| good_ratio.map(Value::exact));
            reports.push(SloReport {
                name: name.into(),
                objective,
                method: if slo.slices.is_some() { SloMethod::TimeSlices } else { SloMethod::Events },
                good_ratio,
                good_ratio_confidence: share_interval(good, of),
                budget_spent_ratio: burn_rate.map(|burn| slo::budget_spent(burn, measured, window)),
                budget_spent_by_time_ratio: violation_s
                    .map(|bad_s| slo::budget_by_time(bad_s, objective, window)),
                violation_s,
                burn_rate,
                held: verdict.holds,
                alerts: alerts.remove(name).unwrap_or_default(),
            });
            if !line.phases.is_empty() {
                let exhibits =
                    check.figures().into_iter().map(|figure| counted.exhibit(figure, slo, (first, last)));
                self.enter_with(verdict, None, last, exhibits.collect());
            }
        }
        reports
    }
}

/// What an SLO counted over the run.
struct Counted<'p> {
    plan: &'p Plan,
    name: &'p str,
    stats: Stats,
    good: u64,
    known: u64,
    /// Its own slices, if it has some.
    own: Option<slices::Counted>,
    by_second: slices::Counted,
    seconds: f64,
    intervals: usize,
}

impl<'p> Counted<'p> {
    fn new(
        plan: &'p Plan,
        line: &Timeline<'_>,
        (name, slo): (&'p str, &'p Slo),
        searched: &[(u64, u64)],
        judged: &[(u64, u64)],
    ) -> Self {
        // What lies before the first phase or behind the last is part of the run all the same.
        let stats = line.stats_outside(&slo.load.value, searched).unwrap_or_default();
        let intervals = line.intervals.iter().filter(|interval| interval.load == slo.load.value).count();
        Self {
            plan,
            name,
            good: stats.slo_good.get(name).copied().unwrap_or_default().min(stats.boxes.known()),
            known: stats.boxes.known(),
            own: slo.slices.as_ref().map(|slice| slices::count(line, plan, (name, slo), slice, judged)),
            by_second: slices::by_second(line, plan, (name, slo), judged),
            seconds: judged.iter().map(|(from_ns, to_ns)| (to_ns - from_ns) as f64 / 1e9).sum(),
            stats,
            intervals,
        }
    }

    /// Good ones of how many, of what the objective is about.
    const fn judged_by(&self) -> (u64, u64) {
        match &self.own {
            Some(slices) => (slices.good, slices.known),
            None => (self.good, self.known),
        }
    }

    fn exhibit(&self, figure: &Figure, slo: &Slo, span: (u64, u64)) -> Exhibit {
        match &self.own {
            Some(slices) => exhibit::of_slices(figure, self.name, slices, span),
            None => {
                let place = Place { load: Some(&slo.load.value), ..Place::default() };
                let sample = Sample::of(&self.stats, self.seconds, &self.plan.slos);
                exhibit::of_load(figure, &place, &sample, span, self.intervals)
            }
        }
    }
}

/// What is left of a stretch without some others, which are in order and within it.
fn without((from_ns, to_ns): (u64, u64), others: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut left = Vec::new();
    let mut begins = from_ns;
    for (other_from, other_to) in others {
        left.push((begins, (*other_from).max(begins)));
        begins = (*other_to).max(begins);
    }
    left.push((begins, to_ns.max(begins)));
    left.retain(|(from_ns, to_ns)| to_ns > from_ns);
    left
}

impl Court<'_> {
    /// When each alert fired, by SLO.
    fn alerts(&self) -> BTreeMap<String, Vec<AlertReport>> {
        let none = |(name, slo): (&str, &Slo)| {
            let alerts =
                slo.alerts.iter().map(|alert| AlertReport { alert: alert.to_string(), fired: Vec::new() });
            (name.to_owned(), alerts.collect::<Vec<_>>())
        };
        let mut reports: BTreeMap<_, _> = self.plan.slos.iter().map(none).collect();
        for turned in &self.line.turned {
            let alerts = reports.entry(turned.slo.clone()).or_default();
            let Some(report) = alerts.iter_mut().find(|report| report.alert == turned.alert) else {
                continue;
            };
            let at_s = turned.at_ns as f64 / 1e9;
            if turned.firing {
                report.fired.push(Firing { from_s: at_s, to_s: None, burn: turned.burn });
            } else if let Some(last) = report.fired.last_mut() {
                last.to_s = Some(at_s);
            }
        }
        reports
    }
}

/// `slo(name)`, as if it had been written.
fn slo_check(name: &str) -> Check {
    let text = format!("slo({name})");
    let figure = Figure { text: text.clone(), metric: Metric::Slo(name.into()), names: Vec::new() };
    Check {
        text,
        left: Expr::Figure(figure),
        op: Op::Ge,
        right: Expr::Amount(Quantity::Objective),
        over: None,
        unit: Unit::SHARE,
    }
}
