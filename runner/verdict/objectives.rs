//! Judging SLOs: each over the whole run, whatever was broken meanwhile.
//!
//! Start at [`Court::slos`].

use std::collections::BTreeMap;

use super::figures::share_interval;
use super::indicators::Counts;
use super::judge::Court;
use super::{AlertReport, Exhibit, Firing, ShareInterval, SloMethod, SloReport, exhibit, outturn, slices};
use crate::slo::{self, Sample};
use crate::spec::expr::{Check, Expr, Figure, Metric, Op, Quantity};
use crate::spec::expr_scope::Place;
use crate::spec::expr_unit::Unit;
use crate::spec::{SliUnit, Slo};
use crate::units::Duration;

impl Court<'_> {
    pub(super) fn slos(&mut self) -> Vec<SloReport> {
        let line = self.line;
        let first = line.phases.first().map_or(0, |phase| phase.from_ns);
        let last = line.phases.last().map_or(line.end_ns, |phase| phase.to_ns);
        let mut alerts = self.alerts();
        let mut reports = Vec::new();
        for (name, slo) in self.plan.slos.iter() {
            let searched = self.searched(slo.load());
            let judged = without((first, last), &searched);
            let counts = self.counts((name, slo), &searched, &judged);
            let measured = Duration::from_ns(judged.iter().map(|(from_ns, to_ns)| to_ns - from_ns).sum());
            let objective = slo.objective.value.get();
            let burn_rate = counts.tally.share().map(|share| slo::burn_rate(1.0 - share, objective));
            let window = outturn::window(line, slo);
            let violation_s = slices::by_second(line, self.plan, (name, slo), &judged).bad_s();
            let good_ratio = counts.judged_by().share();
            let check = slo_check(name);
            let mut verdict = slo::measure_unsure(&check, &self.plan.slos, |_| counts.value());
            verdict.value = with_doubt(verdict.value, &counts);
            reports.push(SloReport {
                name: name.into(),
                objective,
                measures: slo.sli.to_string(),
                method: method(slo),
                good_ratio,
                good_ratio_confidence: confidence(slo, &counts),
                budget_spent_ratio: burn_rate.map(|burn| slo::budget_spent(burn, measured, window)),
                budget_spent_by_time_ratio: violation_s
                    .map(|bad_s| slo::budget_by_time(bad_s, objective, window)),
                violation_s,
                unknown_s: counts.unknown_s,
                burn_rate,
                held: verdict.holds,
                alerts: alerts.remove(name).unwrap_or_default(),
            });
            if !line.phases.is_empty() {
                let exhibit = |figure| self.exhibit(figure, (name, slo), &counts, &searched, (first, last));
                let exhibits = check.figures().into_iter().map(exhibit).collect();
                self.enter_with(verdict, None, last, exhibits);
            }
        }
        reports
    }

    /// What an SLO counted over the run, but for the stretches in which its load's rate was searched.
    fn counts(&self, slo: (&str, &Slo), searched: &[(u64, u64)], judged: &[(u64, u64)]) -> Counts<'_> {
        let mut counts = Counts::of(self.line, self.plan, slo, judged);
        if slo.1.load().is_some() {
            // Requests before the first phase or behind the last are part of the run all the same; its time is not.
            let all = Counts::of_all(self.line, slo, &without((0, u64::MAX), searched));
            (counts.tally, counts.entries) = (all.tally, all.entries);
        }
        counts
    }

    fn exhibit(
        &self,
        figure: &Figure,
        (name, slo): (&str, &Slo),
        counts: &Counts<'_>,
        searched: &[(u64, u64)],
        span: (u64, u64),
    ) -> Exhibit {
        match slo.load() {
            Some(load) if counts.own.is_none() => {
                let stats = self.line.stats_outside(load, searched).unwrap_or_default();
                let place = Place { load: Some(load), ..Place::default() };
                let seconds = (span.1 - span.0) as f64 / 1e9;
                let sample = Sample::of(&stats, seconds, &self.plan.slos);
                exhibit::of_load(figure, &place, &sample, span, counts.entries)
            }
            _ => exhibit::of_slo(figure, (name, slo), counts, span),
        }
    }
}

/// A value with how much of it nobody knows.
pub(super) fn with_doubt(value: Option<String>, counts: &Counts<'_>) -> Option<String> {
    match (value, counts.doubt()) {
        (Some(value), Some(doubt)) => Some(format!("{value}, {doubt}")),
        (value, doubt) => value.or(doubt),
    }
}

/// What the objective is about.
fn method(slo: &Slo) -> SloMethod {
    match slo.sli.unit() {
        _ if slo.slices.is_some() => SloMethod::TimeSlices,
        SliUnit::Stretches => SloMethod::TimeSlices,
        SliUnit::Requests | SliUnit::Events => SloMethod::Events,
        SliUnit::ContainerSeconds => SloMethod::ContainerSeconds,
    }
}

/// Where the share that is judged lies; of what is no number of separate things there is no telling.
pub(super) fn confidence(slo: &Slo, counts: &Counts<'_>) -> Option<ShareInterval> {
    let judged = counts.judged_by();
    let separate = match method(slo) {
        SloMethod::Events => judged.good.fract() == 0.0 && judged.total.fract() == 0.0,
        SloMethod::TimeSlices => true,
        SloMethod::ContainerSeconds => false,
    };
    separate.then(|| share_interval(judged.good as u64, judged.total as u64)).flatten()
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
