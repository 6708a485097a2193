//! Evaluating checks: a comparison, what was measured, and the answer or *no data*.

use crate::event::Measured;
use crate::load::censoring::{self, Cut};
use crate::load::record::{Hist, Stats};
use crate::spec::expr::{Check, Metric, Op, Outcome, Quantity, Series};
use crate::spec::{Named, Slo};
use crate::units::{Duration, NS_PER_S, Ratio};

/// What a check is evaluated on.
pub struct Sample<'s> {
    /// What the load measured.
    pub stats: &'s Stats,
    /// Requests that hang, seen live; they count as not good, and as scheduled.
    pub overdue: u64,
    /// How long it was measured, in seconds.
    pub duration_s: f64,
    /// The SLOs that checks may name.
    pub slos: &'s Named<Slo>,
    /// Seconds from the last undo to steady; nothing: not reached or not asked.
    pub time_to_steady_s: Option<f64>,
    /// Seconds from the first onset to its detection; nothing: not detected or not asked.
    pub time_to_detect_s: Option<f64>,
}

impl<'s> Sample<'s> {
    /// A sample of finished requests alone, over `duration_s` seconds.
    pub const fn of(stats: &'s Stats, duration_s: f64, slos: &'s Named<Slo>) -> Self {
        Self { stats, overdue: 0, duration_s, slos, time_to_steady_s: None, time_to_detect_s: None }
    }
}

/// Evaluates `check`: value, threshold, and whether it holds; no value and no answer where there is no data.
pub fn measure(check: &Check, sample: &Sample<'_>) -> Measured {
    let value = value_of(check, sample);
    let threshold = match (&check.threshold, &check.metric) {
        (Quantity::Objective, Metric::Slo(name)) => {
            sample.slos.get(name).map(|slo| Quantity::Share(slo.objective.get()))
        }
        (other, _) => Some(*other),
    };
    let holds = match (&value, threshold.map(number)) {
        (Some(value), Some(threshold)) => Some(value.holds(check.op, threshold)),
        _ => None,
    };
    Measured {
        check: check.text.clone(),
        value: value.zip(threshold).map(|(value, threshold)| value.text(threshold)),
        threshold: threshold
            .map_or_else(String::new, |threshold| format!("{} {}", check.op.sign(), text_of(threshold))),
        holds,
    }
}

/// A measured value.
#[derive(Clone, Copy)]
struct Value {
    /// The value, or the least it can be.
    shown: f64,
    /// True if it is that or more: it lies among requests that were cut off.
    at_least: bool,
    /// The least it can be, whatever became of those.
    least: f64,
}

impl Value {
    const fn exact(value: f64) -> Self {
        Self { shown: value, at_least: false, least: value }
    }

    /// Compares it as cannot flatter: what may be longer is not below anything, and what may be shorter
    /// is above only what its least is.
    fn holds(self, op: Op, threshold: f64) -> bool {
        match op {
            Op::Gt | Op::Ge => compare(op, self.least, threshold),
            Op::Lt | Op::Le | Op::Eq => !self.at_least && compare(op, self.shown, threshold),
            Op::Ne => self.at_least || compare(op, self.shown, threshold),
        }
    }

    fn text(self, like: Quantity) -> String {
        let text = text_of(with_unit(self.shown, like));
        if self.at_least { format!("≥ {text}") } else { text }
    }
}

/// Compares with the slack of one rounding step, so that 999 of 1,000 meets 99.9%.
fn compare(op: Op, value: f64, threshold: f64) -> bool {
    let value =
        if (value - threshold).abs() <= f64::EPSILON * threshold.abs().max(1.0) { threshold } else { value };
    op.holds(value, threshold)
}

fn value_of(check: &Check, sample: &Sample<'_>) -> Option<Value> {
    match &check.metric {
        Metric::Quantile(quantile, series) => quantile_of(sample.stats, *series, *quantile),
        Metric::Max(series) => quantile_of(sample.stats, *series, 1.0),
        Metric::Mean(series) => {
            let (ended, cut) = series_of(sample.stats, *series);
            let mean_s = ended.mean_s().unwrap_or(0.0);
            let ages_s = match cut {
                Cut::Ages(ages) => ages.mean_s().unwrap_or(0.0),
                Cut::Count(_) => 0.0,
            };
            let (ended, cut) = (ended.count() as f64, cut.count() as f64);
            let least = (mean_s * ended + ages_s * cut) / (ended + cut);
            (ended + cut > 0.0).then_some(Value { shown: least, at_least: cut > 0.0, least })
        }
        _ => exact_value_of(check, sample).map(Value::exact),
    }
}

/// A quantile of a series, requests cut off counted as [`crate::load::censoring`] has it.
fn quantile_of(stats: &Stats, series: Series, quantile: f64) -> Option<Value> {
    let (ended, cut) = series_of(stats, series);
    let seconds = |ns: u64| ns as f64 / NS_PER_S as f64;
    let reached = censoring::quantile(ended, cut, quantile)?;
    let least = if cut.count() == 0 { reached.ns } else { censoring::shortest(ended, cut, quantile)? };
    Some(Value { shown: seconds(reached.ns), at_least: reached.at_least, least: seconds(least) })
}

fn exact_value_of(check: &Check, sample: &Sample<'_>) -> Option<f64> {
    let stats = sample.stats;
    let known = stats.boxes.known() + sample.overdue;
    match &check.metric {
        Metric::Quantile(..) | Metric::Mean(_) | Metric::Max(_) => None,
        Metric::Rate(outcome) => {
            let count = count_of(stats, sample.overdue, *outcome) as f64;
            match check.threshold {
                Quantity::PerSecond(_) => (sample.duration_s > 0.0).then(|| count / sample.duration_s),
                _ => (known > 0).then(|| count / known as f64),
            }
        }
        // Zero drops is an answer only if something was there to be dropped.
        Metric::Count(outcome) => (stats.boxes.scheduled() + sample.overdue > 0)
            .then(|| count_of(stats, sample.overdue, *outcome) as f64),
        Metric::Slo(name) => {
            let good = stats.slo_good.get(name).copied().unwrap_or(0);
            (known > 0).then(|| good as f64 / known as f64)
        }
        Metric::TimeToSteady => sample.time_to_steady_s,
        Metric::TimeToDetect => sample.time_to_detect_s,
    }
}

/// The times of what ended, and what is known of what did not. Of journals that kept no ages, as those of
/// older versions, only how many there were.
fn series_of(stats: &Stats, series: Series) -> (&Hist, Cut<'_>) {
    let cut_off = stats.boxes.cut_off;
    match series {
        Series::Latency if stats.censored.count() == cut_off => (&stats.latency, Cut::Ages(&stats.censored)),
        Series::Latency => (&stats.latency, Cut::Count(cut_off)),
        Series::Service => (&stats.service, Cut::Count(cut_off)),
        // A request cut off was sent all the same.
        Series::SendLag => (&stats.send_lag, Cut::Count(0)),
    }
}

const fn count_of(stats: &Stats, overdue: u64, outcome: Outcome) -> u64 {
    let boxes = &stats.boxes;
    match outcome {
        Outcome::Scheduled => boxes.scheduled() + overdue,
        Outcome::Good => boxes.good,
        Outcome::Bad => boxes.bad,
        Outcome::TimedOut => boxes.timed_out,
        Outcome::Failed => boxes.failed,
        Outcome::Dropped => boxes.dropped,
        Outcome::CutOff => boxes.cut_off,
        Outcome::Errors => boxes.errors() + overdue,
    }
}

const fn number(quantity: Quantity) -> f64 {
    match quantity {
        Quantity::Seconds(number)
        | Quantity::Share(number)
        | Quantity::PerSecond(number)
        | Quantity::Events(number) => number,
        Quantity::Objective => f64::NAN,
    }
}

const fn with_unit(value: f64, like: Quantity) -> Quantity {
    match like {
        Quantity::Seconds(_) => Quantity::Seconds(value),
        Quantity::Share(_) | Quantity::Objective => Quantity::Share(value),
        Quantity::PerSecond(_) => Quantity::PerSecond(value),
        Quantity::Events(_) => Quantity::Events(value),
    }
}

/// A quantity for people: `312.4ms`, `99.95%`, `1999.6/s`, `12`.
pub fn text_of(quantity: Quantity) -> String {
    match quantity {
        Quantity::Seconds(seconds) => {
            let ns = (seconds * 1e9).round() as u64;
            // Three significant digits is what the histograms hold.
            let step = 10u64.pow(ns.checked_ilog10().unwrap_or(0).saturating_sub(2));
            let shown = Duration::from_ns((ns + step / 2) / step * step);
            match shown.as_ns() {
                0..1_000_000 => format!("{}us", shown.as_ns() as f64 / 1e3),
                1_000_000..10_000_000_000 => format!("{}ms", shown.as_ms()),
                _ => format!("{}s", shown.as_s()),
            }
        }
        Quantity::Share(share) => share_text(share),
        Quantity::PerSecond(rate) => format!("{}/s", (rate * 10.0).round() / 10.0),
        Quantity::Events(count) => format!("{count}"),
        Quantity::Objective => "objective".into(),
    }
}

/// A share with as many digits as keep it from reading as 100% when it is not.
fn share_text(share: f64) -> String {
    for digits in 2..9 {
        let unit = 10f64.powi(digits);
        let percent = (share * 100.0 * unit).round() / unit;
        if percent < 100.0 || share >= 1.0 {
            return Ratio::new(percent / 100.0).to_string();
        }
    }
    Ratio::new(share).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_print_for_people_and_never_round_up_to_all() {
        for (quantity, text) in [
            (Quantity::Seconds(0.312_4), "312ms"),
            (Quantity::Seconds(0.001_234), "1.23ms"),
            (Quantity::Seconds(0.000_045_61), "45.6us"),
            (Quantity::Seconds(12.34), "12.3s"),
            (Quantity::Share(0.999), "99.9%"),
            (Quantity::Share(0.999_999), "99.9999%"),
            (Quantity::Share(1.0), "100%"),
            (Quantity::PerSecond(1999.96), "2000/s"),
            (Quantity::Events(3.0), "3"),
        ] {
            assert_eq!(text_of(quantity), text);
        }
    }

    fn stats(good: u64, bad: u64) -> Stats {
        let mut stats = Stats::default();
        stats.boxes.good = good;
        stats.boxes.bad = bad;
        stats
    }

    fn holds(metric: Metric, op: Op, threshold: Quantity, stats: &Stats, overdue: u64) -> Option<bool> {
        let check = Check { text: String::new(), metric, op, threshold, over: None, load: None };
        let sample = Sample {
            stats,
            overdue,
            duration_s: 1.0,
            slos: &Named::default(),
            time_to_steady_s: None,
            time_to_detect_s: None,
        };
        measure(&check, &sample).holds
    }

    #[test]
    fn no_samples_is_no_data() {
        let none = Stats::default();
        for metric in [
            Metric::Rate(Outcome::Good),
            Metric::Quantile(0.99, Series::Latency),
            Metric::Count(Outcome::Dropped),
            Metric::Slo("a".into()),
            Metric::TimeToSteady,
        ] {
            assert_eq!(holds(metric, Op::Ge, Quantity::Share(0.0), &none, 0), None);
        }
    }

    #[test]
    fn slow_requests_cut_off_count_against_a_percentile() {
        let mut stats = stats(980, 0);
        stats.latency.record_n(100_000_000, 980);
        stats.boxes.cut_off = 20;
        stats.censored.record_n(2_000_000_000, 20);
        let text = |text: &str, stats: &Stats| {
            let check = crate::spec::fragment(text).unwrap();
            let measured = measure(&check, &Sample::of(stats, 1.0, &Named::default()));
            (measured.value.unwrap(), measured.holds)
        };
        let bound = "≥ 2000ms".to_owned();
        assert_eq!(text("p99(latency) < 300ms", &stats), (bound.clone(), Some(false)));
        assert_eq!(text("p99(latency) < 10s", &stats), (bound.clone(), Some(false)), "it may be longer");
        assert_eq!(text("p99(latency) > 1s", &stats), (bound.clone(), Some(true)));
        assert_eq!(text("max(latency) < 10s", &stats).1, Some(false));
        assert_eq!(text("mean(latency) > 130ms", &stats), ("≥ 138ms".to_owned(), Some(true)));
        assert_eq!(text("p98(latency) < 300ms", &stats), ("100ms".to_owned(), Some(true)));
        assert_eq!(
            text("p99(send_lag) < 1s", &{
                stats.send_lag.record_n(1_000_000, 1_000);
                stats.clone()
            })
            .1,
            Some(true)
        );
        // A journal that has only their number.
        stats.censored = Hist::default();
        assert_eq!(text("p99(latency) < 300ms", &stats), ("≥ 100ms".to_owned(), Some(false)));
    }

    #[test]
    fn an_exact_ratio_meets_its_objective_and_hanging_requests_count_against_it() {
        let rate = || Metric::Rate(Outcome::Good);
        assert_eq!(holds(rate(), Op::Ge, Quantity::Share(0.999), &stats(999, 1), 0), Some(true));
        assert_eq!(holds(rate(), Op::Ge, Quantity::Share(0.999), &stats(998, 2), 0), Some(false));
        assert_eq!(holds(rate(), Op::Ge, Quantity::Share(0.999), &stats(999, 0), 2), Some(false));
    }
}
