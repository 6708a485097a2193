//! The figures of a judgement: percentiles, boxes, and what was seen of each fault, as report.json has them.

use std::collections::BTreeMap;

use super::timeline::{StepFate, Timeline};
use super::{FaultReport, FaultTarget, GeneratorReport, LoadReport, Percentiles};
use crate::event::Evidence;
use crate::load::record::{Hist, Stats};
use crate::plan::FaultPlan;
use crate::units::NS_PER_S;

pub(super) fn percentiles(hist: &Hist) -> Option<Percentiles> {
    let ms = |quantile| hist.quantile_ns(quantile).map(|ns| ns as f64 / 1e6);
    Some(Percentiles {
        p50: ms(0.5)?,
        p90: ms(0.9)?,
        p95: ms(0.95)?,
        p99: ms(0.99)?,
        p999: ms(0.999)?,
        max: ms(1.0)?,
    })
}

pub(super) fn load_report(stats: &Stats, seconds: f64) -> LoadReport {
    let boxes = stats.boxes;
    LoadReport {
        scheduled: boxes.scheduled(),
        good: boxes.good,
        bad: boxes.bad,
        timed_out: boxes.timed_out,
        failed: boxes.failed,
        dropped: boxes.dropped,
        cut_off: boxes.cut_off,
        rate_per_s: (seconds > 0.0).then(|| boxes.scheduled() as f64 / seconds),
        latency_ms: percentiles(&stats.latency),
        service_ms: percentiles(&stats.service),
        send_lag_ms: percentiles(&stats.send_lag),
        statuses: stats.statuses.clone(),
        errors: stats.errors.clone(),
    }
}

pub(super) fn generator_report(line: &Timeline<'_>) -> Option<GeneratorReport> {
    let generator = line.generator?;
    let mut lag = Hist::default();
    line.intervals.iter().for_each(|interval| lag.merge(&interval.stats.send_lag));
    Some(GeneratorReport {
        send_lag_ms: percentiles(&lag),
        cpu_ratio: generator.cpu_ratio,
        saturated: generator.saturated,
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
            Evidence::State(state) => {
                let key = if out.contains_key("before") { "after" } else { "before" };
                out.insert(key.to_owned(), json(state));
            }
        }
    }
    out
}

fn json(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).expect("evidence is plain data")
}
