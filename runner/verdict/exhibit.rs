//! Exhibits: what a value rests on. Which histogram or count, of how many requests, between which instants, and how
//! sure it is.
//!
//! A verdict is read by people who were not there. Every figure in a check brings its evidence along, so that a
//! reviewer can go to the journal and find the same. Start at [`of_load`].

use super::Exhibit;
use super::figures::quantile_interval;
use super::indicators::Counts;
use super::objectives::confidence;
use crate::slo::{self, Sample, Value, text_of, text_of_value};
use crate::spec::expr::{Figure, Metric, Outcome, Outturn, Quantity, Series};
use crate::spec::expr_scope::Place;
use crate::spec::{SliUnit, Slo};
use crate::units::NS_PER_S;

/// So many standard errors each way hold 95% of what a mean can come to.
const NORMAL_95: f64 = 1.96;

/// A figure of loads, measured between two instants in so many intervals.
pub(super) fn of_load(
    figure: &Figure,
    place: &Place<'_>,
    sample: &Sample<'_>,
    (from_ns, to_ns): (u64, u64),
    intervals: usize,
) -> Exhibit {
    let stats = sample.stats;
    let value = slo::value_of(&figure.metric, sample);
    let known = stats.boxes.known();
    let quantity = |number: f64| figure.metric.unit().quantity(number);
    let (n, low, high) = match &figure.metric {
        Metric::Quantile(quantile, series) => {
            let (ended, cut_off) = slo::series_of(stats, *series);
            let (low, high) = quantile_interval(ended, cut_off.count(), *quantile);
            let text = |ns: u64| text_of(Quantity::Seconds(ns as f64 / NS_PER_S as f64));
            (ended.count() + cut_off.count(), low.map(text), high.map(text))
        }
        Metric::Max(series) | Metric::Min(series) => {
            let (ended, cut_off) = slo::series_of(stats, *series);
            (ended.count() + cut_off.count(), None, None)
        }
        Metric::Mean(series) => {
            let (ended, cut_off) = slo::series_of(stats, *series);
            let n = ended.count();
            // By the central limit theorem; what was cut off has no length that could be averaged.
            let error_s = ended.open().stdev() / NS_PER_S as f64 / (n as f64).sqrt();
            let end = |sign: f64| {
                let mean_s = ended.mean_s().filter(|_| n > 1 && cut_off.count() == 0)?;
                Some(text_of(quantity((mean_s + sign * NORMAL_95 * error_s).max(0.0))))
            };
            (n + cut_off.count(), end(-1.0), end(1.0))
        }
        Metric::Share(_) | Metric::Slo(_) => {
            // The count behind the share, which is one of these.
            let met = value.map_or(0, |value| (value.shown * known as f64).round() as u64);
            let ends = slo::share_interval(met, known);
            let text = |share: f64| text_of(quantity(share));
            (known, ends.map(|(low, _)| text(low)), ends.map(|(_, high)| text(high)))
        }
        Metric::Throughput(_) | Metric::Count(_) | Metric::Outturn(_) => {
            (stats.boxes.scheduled(), None, None)
        }
    };
    Exhibit {
        figure: figure.text.clone(),
        value: value.map(|value| text_of_value(value, quantity)),
        low,
        high,
        n: Some(n),
        source: format!("{} of {}", kept(&figure.metric), of_whom(place)),
        from_s: Some(from_ns as f64 / 1e9),
        to_s: Some(to_ns as f64 / 1e9),
        entries: Some(intervals as u64),
    }
}

/// The share that was good of what an SLO counted, in slices of time or beside the load.
pub(super) fn of_slo(
    figure: &Figure,
    (name, slo): (&str, &Slo),
    counts: &Counts<'_>,
    (from_ns, to_ns): (u64, u64),
) -> Exhibit {
    let ends = confidence(slo, counts);
    let text = |share: f64| text_of(Quantity::Share(share));
    let counted = match (&counts.own, slo.sli.unit()) {
        (Some(slices), _) => format!("time slices of {}", slices.length),
        (None, SliUnit::Events) => "events in Prometheus".to_owned(),
        (None, _) => "seconds of containers".to_owned(),
    };
    let doubt = counts.doubt().map_or_else(String::new, |doubt| format!("; {doubt}"));
    Exhibit {
        figure: figure.text.clone(),
        value: counts.judged_by().share().map(text),
        low: ends.map(|ends| text(ends.low)),
        high: ends.map(|ends| text(ends.high)),
        n: Some(counts.judged_by().total.round() as u64),
        source: format!("{counted} of SLO {name}{doubt}"),
        from_s: Some(from_ns as f64 / 1e9),
        to_s: Some(to_ns as f64 / 1e9),
        entries: slo.load().is_none().then_some(counts.entries as u64),
    }
}

/// What the run came to, or a phase that did not take place.
pub(super) fn of_run(figure: &Figure, value: Option<Value>, (from_ns, to_ns): (u64, u64)) -> Exhibit {
    let quantity = |number: f64| figure.metric.unit().quantity(number);
    let source = match &figure.metric {
        Metric::Outturn(outturn) => seen_in(*outturn),
        _ => "a phase that did not take place",
    };
    Exhibit {
        figure: figure.text.clone(),
        value: value.map(|value| text_of_value(value, quantity)),
        source: source.to_owned(),
        from_s: (to_ns > 0).then_some(from_ns as f64 / 1e9),
        to_s: (to_ns > 0).then_some(to_ns as f64 / 1e9),
        ..Exhibit::default()
    }
}

/// An event of the journal by itself.
pub(super) fn of_event(what: &str, event: &str, value: Option<String>, at_ns: u64) -> Exhibit {
    Exhibit {
        figure: what.to_owned(),
        value,
        source: format!("the journal's `{event}`"),
        to_s: Some(at_ns as f64 / 1e9),
        entries: Some(1),
        ..Exhibit::default()
    }
}

/// The events that an outturn is reckoned from.
const fn seen_in(outturn: Outturn) -> &'static str {
    match outturn {
        Outturn::TimeToBreach => "the journal's `applied` and `load`",
        Outturn::TimeToDetect => "the journal's `applied`, `guard`, `steady` and `load`",
        Outturn::TimeToAbort => "the journal's `applied` and `guard`",
        Outturn::TimeToHeal => "the journal's `undone`",
        Outturn::TimeToSteady => "the journal's `undone` and `steady`",
        Outturn::TimeInViolation | Outturn::Harmed => "the journal's `applied` and `load`",
        Outturn::BudgetByEvents | Outturn::BudgetByTime => "the journal's `load`",
        Outturn::CapacityLost => "the journal's `capacity`",
    }
}

/// What a metric is read from.
const fn kept(metric: &Metric) -> &'static str {
    match metric {
        Metric::Quantile(_, series) | Metric::Mean(series) | Metric::Max(series) | Metric::Min(series) => {
            match series {
                Series::Latency => "the latency histogram",
                Series::Service => "the service time histogram",
                Series::SendLag => "the send lag histogram",
                Series::FirstByte => "the first byte histogram",
                Series::Connect => "the connect histogram",
                Series::Tls => "the TLS histogram",
            }
        }
        Metric::Slo(_) => "the count of good requests",
        _ => "the counts by outcome",
    }
}

/// Whose figures they are.
fn of_whom(place: &Place<'_>) -> String {
    let load = place.load.map_or_else(|| "all loads".to_owned(), |load| format!("load {load}"));
    let ended = match place.outcome {
        Some(Outcome::Good) => ", good ones",
        Some(Outcome::Bad) => ", bad ones",
        Some(Outcome::TimedOut) => ", timed out",
        Some(Outcome::Failed) => ", failed",
        Some(Outcome::Errors) => ", those with errors",
        Some(Outcome::Scheduled | Outcome::Dropped | Outcome::CutOff) | None => "",
    };
    match place.request {
        Some(request) => format!("requests `{request}` of {load}{ended}"),
        None => format!("{load}{ended}"),
    }
}
