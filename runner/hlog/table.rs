//! A histogram as the percentile table that HdrHistogram's tools print and its plotters read.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Unit;

/// Lines of the table for each halving of the distance to 100%, as HdrHistogram's tools have by default.
const TICKS: u32 = 5;

/// The table, with its three lines of comment at the end.
pub fn table(histogram: &Histogram<u64>, unit: Unit) -> String {
    let mut out =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let shown = |value: u64| value as f64 / unit.divisor;
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS) {
        total += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        let value = shown(step.value_iterated_to().min(histogram.max()));
        out.push_str(&format!("{value:>12.3} {quantile:>2.12} {total:>10}"));
        if quantile < 1.0 {
            out.push_str(&format!(" {:>14.2}", 1.0 / (1.0 - quantile)));
        }
        out.push('\n');
    }
    let (mean, deviation) = (histogram.mean() / unit.divisor, histogram.stdev() / unit.divisor);
    out.push_str(&format!("#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]\n"));
    out.push_str(&format!(
        "#[Max     = {:>12.3}, Total count    = {:>12}]\n",
        shown(histogram.max()),
        histogram.len()
    ));
    let sub_buckets = 2 * 10u64.pow(u32::from(histogram.sigfig()));
    let sub_buckets = sub_buckets.next_power_of_two();
    out.push_str(&format!("#[Buckets = {:>12}, SubBuckets     = {sub_buckets:>12}]\n", histogram.buckets()));
    out
}

/// A histogram in figures, for programs: values in the unit of the histogram, nanoseconds of those written
/// here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// How many values.
    pub count: u64,
    /// The smallest.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub stdev: f64,
    /// The median.
    pub p50: u64,
    /// 90%.
    pub p90: u64,
    /// 95%.
    pub p95: u64,
    /// 99%.
    pub p99: u64,
    /// 99.9%.
    pub p999: u64,
    /// 99.99%.
    pub p9999: u64,
    /// The largest.
    pub max: u64,
}

/// A histogram in figures; nothing of an empty one.
pub fn figures(histogram: &Histogram<u64>) -> Option<Figures> {
    let at = |quantile| histogram.value_at_quantile(quantile).min(histogram.max());
    (!histogram.is_empty()).then(|| Figures {
        count: histogram.len(),
        min: histogram.min(),
        mean: histogram.mean(),
        stdev: histogram.stdev(),
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        p9999: at(0.9999),
        max: histogram.max(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_hdrhistograms() {
        let mut histogram = Histogram::<u64>::new_with_max(3_600_000_000, 3).unwrap();
        histogram.record_n(1_000, 10_000).unwrap();
        histogram.record(100_000_000).unwrap();
        insta::assert_snapshot!(table(&histogram, Unit { sign: "us", divisor: 1_000.0 }));
        assert_eq!(
            figures(&histogram).map(|figures| (figures.count, figures.p50, figures.p9999)),
            Some((10_001, 1_000, 1_000))
        );
        assert_eq!(figures(&Histogram::<u64>::new(3).unwrap()), None);
    }
}
