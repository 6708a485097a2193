//! Evaluating checks: a comparison, what was measured, and the answer or *no data*.

use super::value::Value;
use crate::event::Measured;
use crate::load::censoring::{self, Cut};
use crate::load::record::{Hist, Stats};
use crate::spec::expr::{Check, Expr, Figure, Metric, Outcome, Quantity, Series};
use crate::spec::{Named, Slo};
use crate::units::{Duration, NS_PER_S, Ratio};

/// What a figure is measured on.
pub struct Sample<'s> {
    /// What the load measured.
    pub stats: &'s Stats,
    /// Requests that hang, seen live; they count as not good, and as scheduled.
    pub overdue: u64,
    /// How long it was measured, in seconds.
    pub duration_s: f64,
    /// The SLOs that checks may name.
    pub slos: &'s Named<Slo>,
}

impl<'s> Sample<'s> {
    /// A sample of finished requests alone, over `duration_s` seconds.
    pub const fn of(stats: &'s Stats, duration_s: f64, slos: &'s Named<Slo>) -> Self {
        Self { stats, overdue: 0, duration_s, slos }
    }
}

/// Evaluates `check`, all of whose figures are of one sample: value, threshold, and whether it holds; no value and no
/// answer where there is no data.
pub fn measure(check: &Check, sample: &Sample<'_>) -> Measured {
    measure_by(check, sample.slos, |figure| value_of(&figure.metric, sample))
}

/// Evaluates `check` by the values of its figures; nothing stands for no data.
pub fn measure_by(
    check: &Check,
    slos: &Named<Slo>,
    mut value: impl FnMut(&Figure) -> Option<Value>,
) -> Measured {
    let sides = sides(check, slos, &mut value);
    measured(check, sides, |left, right| Some(left.holds(check.op, right)))
}

/// The same where a value may be anything within its bounds, because nobody knows: without an answer if that is what
/// would tip it.
pub fn measure_unsure(
    check: &Check,
    slos: &Named<Slo>,
    mut value: impl FnMut(&Figure) -> Option<Value>,
) -> Measured {
    let sides = sides(check, slos, &mut value);
    measured(check, sides, |left, right| {
        if left.always(check.op, right) { Some(true) } else { left.never(check.op, right).then_some(false) }
    })
}

type Sides = (Option<Value>, Option<Value>);

fn sides(check: &Check, slos: &Named<Slo>, value: &mut impl FnMut(&Figure) -> Option<Value>) -> Sides {
    let mut evaluate = |expr: &Expr| match (expr, check.slo()) {
        (Expr::Amount(Quantity::Objective), Some(name)) => {
            slos.get(name).map(|slo| Value::exact(slo.objective.get()))
        }
        _ => evaluate(expr, value),
    };
    (evaluate(&check.left), evaluate(&check.right))
}

fn measured(
    check: &Check,
    (left, right): Sides,
    holds: impl FnOnce(Value, Value) -> Option<bool>,
) -> Measured {
    let holds = left.zip(right).and_then(|(left, right)| holds(left, right));
    let text = |value: Value| text_of_value(value, |number| check.unit.quantity(number));
    Measured {
        check: check.text.clone(),
        value: left.map(text),
        threshold: right.map_or_else(String::new, |right| format!("{} {}", check.op.sign(), text(right))),
        holds,
    }
}

/// A value for people: `312ms`, `≥ 2s` where it may be longer.
pub fn text_of_value(value: Value, quantity: impl Fn(f64) -> Quantity) -> String {
    if value.is_open() && value.least.is_finite() {
        return format!("≥ {}", text_of(quantity(value.least)));
    }
    if value.least.is_infinite() && value.most.is_finite() {
        return format!("≤ {}", text_of(quantity(value.most)));
    }
    text_of(quantity(value.shown))
}

/// A value; nothing where a figure has no data, or something is divided by nothing.
pub(crate) fn evaluate(expr: &Expr, value: &mut impl FnMut(&Figure) -> Option<Value>) -> Option<Value> {
    match expr {
        Expr::Amount(amount) => Some(Value::exact(number(*amount))),
        Expr::Figure(figure) => value(figure),
        Expr::Pair(left, sign, right) => {
            let (left, right) = (evaluate(left, value)?, evaluate(right, value)?);
            Some(left.put_together(*sign, right)).filter(|value| value.shown.is_finite())
        }
    }
}

/// What a sample has of a figure; nothing where it has no data.
pub fn value_of(metric: &Metric, sample: &Sample<'_>) -> Option<Value> {
    match metric {
        Metric::Quantile(quantile, series) => quantile_of(sample.stats, *series, *quantile),
        Metric::Max(series) => quantile_of(sample.stats, *series, 1.0),
        Metric::Min(series) => quantile_of(sample.stats, *series, 0.0),
        Metric::Mean(series) => {
            let (ended, cut) = series_of(sample.stats, *series);
            let mean_s = ended.mean_s().unwrap_or(0.0);
            let ages_s = match cut {
                Cut::Ages(ages) => ages.mean_s().unwrap_or(0.0),
                Cut::Count(_) => 0.0,
            };
            let (ended, cut) = (ended.count() as f64, cut.count() as f64);
            let least = (mean_s * ended + ages_s * cut) / (ended + cut);
            let most = if cut > 0.0 { f64::INFINITY } else { least };
            (ended + cut > 0.0).then_some(Value { shown: least, least, most })
        }
        _ => exact_value_of(metric, sample).map(Value::exact),
    }
}

/// A quantile of a series, requests cut off counted as [`crate::load::censoring`] has it.
fn quantile_of(stats: &Stats, series: Series, quantile: f64) -> Option<Value> {
    let (ended, cut) = series_of(stats, series);
    let seconds = |ns: u64| ns as f64 / NS_PER_S as f64;
    let reached = censoring::quantile(ended, cut, quantile)?;
    let least = if cut.count() == 0 { reached.ns } else { censoring::shortest(ended, cut, quantile)? };
    let most = if reached.at_least { f64::INFINITY } else { seconds(reached.ns) };
    Some(Value { shown: seconds(reached.ns), least: seconds(least), most })
}

fn exact_value_of(metric: &Metric, sample: &Sample<'_>) -> Option<f64> {
    let stats = sample.stats;
    let known = stats.boxes.known() + sample.overdue;
    let count = |outcome| count_of(stats, sample.overdue, outcome) as f64;
    match metric {
        Metric::Quantile(..) | Metric::Mean(_) | Metric::Max(_) | Metric::Min(_) => None,
        Metric::Share(outcome) => (known > 0).then(|| count(*outcome) / known as f64),
        Metric::Throughput(outcome) => (sample.duration_s > 0.0).then(|| count(*outcome) / sample.duration_s),
        // Zero drops is an answer only if something was there to be dropped.
        Metric::Count(outcome) => (stats.boxes.scheduled() + sample.overdue > 0).then(|| count(*outcome)),
        Metric::Slo(name) => {
            let good = stats.slo_good.get(name).copied().unwrap_or(0);
            (known > 0).then(|| good as f64 / known as f64)
        }
        // Of the whole run, which no sample has.
        Metric::Outturn(_) => None,
    }
}

/// The times of what ended, and what is known of what did not. Of journals that kept no ages, as those of
/// older versions, only how many there were.
pub(crate) fn series_of(stats: &Stats, series: Series) -> (&Hist, Cut<'_>) {
    let cut_off = stats.boxes.cut_off;
    match series {
        Series::Latency if stats.censored.count() == cut_off => (&stats.latency, Cut::Ages(&stats.censored)),
        Series::Latency => (&stats.latency, Cut::Count(cut_off)),
        Series::Service => (&stats.service, Cut::Count(cut_off)),
        // A request cut off was sent all the same, and connected if it had to.
        Series::SendLag => (&stats.send_lag, Cut::Count(0)),
        Series::Connect => (&stats.connect, Cut::Count(0)),
        Series::Tls => (&stats.tls, Cut::Count(0)),
        Series::FirstByte => (&stats.first_byte, Cut::Count(cut_off)),
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
        | Quantity::Events(number)
        | Quantity::Number(number) => number,
        Quantity::Objective => f64::NAN,
    }
}

/// A quantity for people: `312.4ms`, `99.95%`, `1999.6/s`, `12`.
pub fn text_of(quantity: Quantity) -> String {
    match quantity {
        Quantity::Seconds(seconds) if seconds < 0.0 => {
            format!("-{}", text_of(Quantity::Seconds(-seconds)))
        }
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
        Quantity::Events(count) => format!("{}", (count * 10.0).round() / 10.0),
        // As many digits as the histograms hold, and what is large as it is.
        Quantity::Number(number) => format!("{}", (number * 1e3).round() / 1e3),
        Quantity::Objective => "objective".into(),
    }
}

/// A share with as many digits as keep it from reading as 100%, or as nothing, when it is not.
fn share_text(share: f64) -> String {
    /// Below it, two decimals of a percentage would be none.
    const SMALL: f64 = 1e-4;
    if share != 0.0 && share.abs() < SMALL {
        let unit = 10f64.powf(1.0 - share.abs().log10().floor());
        return Ratio::new((share * unit).round() / unit).to_string();
    }
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
            (Quantity::Share(0.0), "0%"),
            (Quantity::Share(0.000_034_7), "0.0035%"),
            (Quantity::Share(-0.000_012), "-0.0012%"),
            (Quantity::Seconds(-0.5), "-500ms"),
            (Quantity::Number(2.000_4), "2"),
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

    fn holds(check: &str, stats: &Stats, overdue: u64) -> Option<bool> {
        let check: Check = crate::spec::fragment(check).unwrap();
        measure(&check, &Sample { overdue, ..Sample::of(stats, 1.0, &Named::default()) }).holds
    }

    #[test]
    fn no_samples_is_no_data() {
        let none = Stats::default();
        for check in [
            "rate(good) >= 0%",
            "p99(latency) < 1s",
            "count(dropped) == 0",
            "slo(a)",
            "time_to_steady < 1s",
            "2 * mean(latency) < 1s",
            "rate(good) - rate(bad) >= -1%",
        ] {
            assert_eq!(holds(check, &none, 0), None, "{check}");
        }
    }

    #[test]
    fn figures_are_put_together_before_they_are_compared() {
        let mut stats = stats(90, 10);
        stats.latency.record_n(100_000_000, 99);
        stats.latency.record_n(300_000_000, 1);
        for (check, value, expected) in [
            ("2 * p50(latency) + 10ms < 220ms", "210ms", true),
            ("(max(latency) - min(latency)) / 2 < 101ms", "100ms", true),
            ("max(latency) / p50(latency) <= 3.01", "3.001", true),
            ("count(good) / count(bad) < 850%", "900%", false),
            ("count(bad) / count(scheduled) > 10%", "10%", false),
            ("count(bad) + 1 == 11", "11", true),
            ("share(good) - 2 * share(bad) >= 70%", "70%", true),
            ("throughput(good) * 2s > 179", "180", true),
            ("100ms >= p0(latency)", "99.9ms", true),
            ("p100(latency) - 1s < 0", "-700ms", true),
            ("-p50(latency) > -200ms", "-100ms", true),
            ("p99(service) / p99(latency) < 2", "no data", false),
            ("count(good) / count(dropped) > 1", "no data", false),
        ] {
            let check: Check = crate::spec::fragment(&format!("'{check}'")).unwrap_or_else(|e| panic!("{e}"));
            let measured = measure(&check, &Sample::of(&stats, 1.0, &Named::default()));
            assert_eq!(measured.value.as_deref().unwrap_or("no data"), value, "{}", check.text);
            assert_eq!(measured.holds, (value != "no data").then_some(expected), "{}", check.text);
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
        let check = "rate(good) >= 99.9%";
        assert_eq!(holds(check, &stats(999, 1), 0), Some(true));
        assert_eq!(holds(check, &stats(998, 2), 0), Some(false));
        assert_eq!(holds(check, &stats(999, 0), 2), Some(false));
    }
}
