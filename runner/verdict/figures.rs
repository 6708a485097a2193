//! The figures of a judgement: percentiles, boxes, and what was seen of each fault, as report.json has them.

use std::collections::BTreeMap;

use super::timeline::{StepFate, Timeline};
use super::{
    Confidence, FaultReport, FaultTarget, GeneratorReport, Interval, LoadReport, PartReport, Percentiles,
    ShareInterval,
};
use crate::event::Evidence;
use crate::load::censoring::{self, Cut};
use crate::load::record::{Hist, Outcome, Stats};
use crate::plan::FaultPlan;
use crate::slo;
use crate::statistics::quantile_ranks;
use crate::units::NS_PER_S;

/// The quantiles of [`Percentiles`], by name.
const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

/// How sure confidence intervals are.
const CONFIDENCE: f64 = 0.95;

pub(super) fn percentiles(hist: &Hist) -> Option<Percentiles> {
    censored_percentiles(hist, Cut::Count(0)).map(|(percentiles, _)| percentiles)
}

/// Percentiles of what ended and what was cut off, with the names of those that are lower bounds.
fn censored_percentiles(ended: &Hist, cut: Cut<'_>) -> Option<(Percentiles, Vec<String>)> {
    let mut bounds = Vec::new();
    let mut values = [0.0; QUANTILES.len()];
    for (value, (name, quantile)) in values.iter_mut().zip(QUANTILES) {
        let reached = censoring::quantile(ended, cut, quantile)?;
        *value = ms(reached.ns);
        if reached.at_least {
            bounds.push(name.to_owned());
        }
    }
    let [p50, p90, p95, p99, p999, max] = values;
    Some((Percentiles { p50, p90, p95, p99, p999, max }, bounds))
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Between which times, in nanoseconds, a quantile of what the requests are a sample of lies with 95% confidence.
/// Requests cut off are longer than those that ended. Nothing where so few can't bound it.
pub(super) fn quantile_interval(ended: &Hist, cut_off: u64, quantile: f64) -> (Option<u64>, Option<u64>) {
    if quantile <= 0.0 || quantile >= 1.0 {
        // No sample bounds the ends of what it was drawn from.
        return (None, None);
    }
    let ranks = quantile_ranks(ended.count() + cut_off, quantile, CONFIDENCE);
    let at = |rank: Option<u64>| {
        rank.filter(|rank| *rank <= ended.count()).and_then(|rank| censoring::at_rank(ended, rank))
    };
    // A histogram says a value's bucket: its lower end below, its upper end above.
    let open = ended.open();
    (at(ranks.low).map(|ns| open.lowest_equivalent(ns)), at(ranks.high))
}

/// Where the percentiles of what the requests are a sample of lie, with 95% confidence.
fn confidence(ended: &Hist, cut_off: u64) -> Option<Confidence> {
    let n = ended.count() + cut_off;
    let interval = |quantile| {
        let (low, high) = quantile_interval(ended, cut_off, quantile);
        Interval { low: low.map(ms), high: high.map(ms) }
    };
    (n > 0).then(|| Confidence {
        p50: interval(0.5),
        p90: interval(0.9),
        p95: interval(0.95),
        p99: interval(0.99),
        p999: interval(0.999),
    })
}

/// What a load measured. `examples` are those of the whole run: a class met before is not told again.
pub(super) fn load_report(stats: &Stats, seconds: f64, examples: &BTreeMap<String, String>) -> LoadReport {
    let boxes = stats.boxes;
    let cut = if stats.censored.count() == boxes.cut_off {
        Cut::Ages(&stats.censored)
    } else {
        Cut::Count(boxes.cut_off)
    };
    let (latency_ms, latency_at_least) = censored_percentiles(&stats.latency, cut).unzip();
    let mut requests: BTreeMap<String, BTreeMap<Outcome, PartReport>> = BTreeMap::new();
    for (request, outcome, hist) in stats.parts() {
        let part = PartReport {
            count: hist.count(),
            latency_ms: percentiles(hist),
            latency_confidence_ms: confidence(hist, 0),
        };
        requests.entry(request.to_owned()).or_default().insert(outcome, part);
    }
    LoadReport {
        scheduled: boxes.scheduled(),
        good: boxes.good,
        bad: boxes.bad,
        timed_out: boxes.timed_out,
        failed: boxes.failed,
        dropped: boxes.dropped,
        cut_off: boxes.cut_off,
        rate_per_s: (seconds > 0.0).then(|| boxes.scheduled() as f64 / seconds),
        good_ratio: (boxes.known() > 0).then(|| boxes.good as f64 / boxes.known() as f64),
        good_ratio_confidence: share_interval(boxes.good, boxes.known()),
        latency_ms,
        latency_at_least: latency_at_least.unwrap_or_default(),
        latency_confidence_ms: confidence(&stats.latency, boxes.cut_off),
        service_ms: percentiles(&stats.service),
        service_confidence_ms: confidence(&stats.service, 0),
        send_lag_ms: percentiles(&stats.send_lag),
        send_lag_confidence_ms: confidence(&stats.send_lag, 0),
        first_byte_ms: percentiles(&stats.first_byte),
        first_byte_confidence_ms: confidence(&stats.first_byte, 0),
        connect_ms: percentiles(&stats.connect),
        connect_confidence_ms: confidence(&stats.connect, 0),
        tls_ms: percentiles(&stats.tls),
        tls_confidence_ms: confidence(&stats.tls, 0),
        cut_off_age_ms: percentiles(&stats.censored),
        requests,
        statuses: stats.statuses.clone(),
        errors: stats.errors.clone(),
        examples: examples
            .iter()
            .filter(|(class, _)| stats.errors.contains_key(*class))
            .map(|(class, text)| (class.clone(), text.clone()))
            .collect(),
    }
}

/// Where the share of `met` of `n` lies with 95% confidence.
pub(super) fn share_interval(met: u64, n: u64) -> Option<ShareInterval> {
    slo::share_interval(met, n).map(|(low, high)| ShareInterval { low, high })
}

pub(super) fn generator_report(line: &Timeline<'_>) -> Option<GeneratorReport> {
    let generator = line.generator?;
    let mut lag = Hist::default();
    line.intervals.iter().for_each(|interval| lag.merge(&interval.stats.send_lag));
    Some(GeneratorReport {
        send_lag_ms: percentiles(&lag),
        send_lag_confidence_ms: confidence(&lag, 0),
        cpu_ratio: generator.cpu_ratio,
        saturated: generator.saturated,
        watch: generator.watch.clone(),
    })
}

pub(super) fn fault_report(fault: &FaultPlan, fates: &[&StepFate<'_>], proven: bool) -> FaultReport {
    let seconds = |ns: u64| ns as f64 / NS_PER_S as f64;
    let engine = fates.iter().find_map(|fate| fate.engine).map(|engine| engine.word().to_owned());
    let targets = fault.steps.iter().zip(fates).map(|(step, fate)| FaultTarget {
        container: step.container.clone(),
        applied_s: fate.applied_ns.map(seconds),
        undone_s: fate.undone_ns.map(seconds),
        evidence: evidence(&fate.evidence),
    });
    FaultReport {
        name: fault.name.clone(),
        kind: fault.kind.clone(),
        engine,
        summary: fault.summary.clone(),
        proven,
        targets: targets.collect(),
    }
}

/// Evidence as the reports show it: the last counters, and states as `before` and `after`.
fn evidence(seen: &[Evidence]) -> BTreeMap<String, serde_json::Value> {
    let mut out = BTreeMap::new();
    for evidence in seen {
        match evidence {
            Evidence::Packets(counters) => {
                if let serde_json::Value::Object(fields) = json(counters) {
                    out.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
                }
            }
            Evidence::Signalled(signal) => drop(out.insert("signal".to_owned(), json(signal))),
            Evidence::State(state) => before_and_after(&mut out, json(state)),
            Evidence::Cgroup(cgroup) => before_and_after(&mut out, json(cgroup)),
            Evidence::Network { addresses, .. } => before_and_after(&mut out, json(addresses)),
            Evidence::OutOfMemory => drop(out.insert("out_of_memory".to_owned(), true.into())),
            Evidence::Ran(ran) => {
                let key = if out.contains_key("ran") { "undone" } else { "ran" };
                out.insert(key.to_owned(), json(ran));
            }
        }
    }
    out
}

/// The first is from before, the last from after.
fn before_and_after(out: &mut BTreeMap<String, serde_json::Value>, seen: serde_json::Value) {
    let key = if out.contains_key("before") { "after" } else { "before" };
    out.insert(key.to_owned(), seen);
}

fn json(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).expect("evidence is plain data")
}
