//! A histogram as a percentile curve in a terminal.
//!
//! Across is the percentile, each nine as wide as the one before, as HdrHistogram's plots have it: that is
//! where slow answers are. Upwards is the value, linear from 0.

use hdrhistogram::Histogram;

use super::Unit;

/// Columns of the curve and rows of it.
const COLUMNS: usize = 64;
const ROWS: usize = 14;

/// Columns before the curve.
const LABEL: usize = 11;

/// The curve, ending in a newline; nothing of an empty histogram.
pub fn curve(histogram: &Histogram<u64>, unit: Unit) -> String {
    if histogram.is_empty() {
        return String::new();
    }
    // As many nines as there are values to tell them apart, two at least.
    let nines = (histogram.len() as f64).log10().ceil().clamp(2.0, 9.0);
    let quantile_at = |column: usize| 1.0 - 10f64.powf(-nines * column as f64 / (COLUMNS - 1) as f64);
    let values: Vec<u64> = (0..COLUMNS)
        .map(|column| histogram.value_at_quantile(quantile_at(column)).min(histogram.max()))
        .collect();
    let top = values.iter().max().copied().unwrap_or(1).max(1);
    let row_of = |value: u64| ((value as f64 / top as f64) * (ROWS - 1) as f64).round() as usize;
    let mut out = String::new();
    for row in (0..ROWS).rev() {
        let label = if row % 3 == 1 || row == 0 {
            let value = top as f64 * row as f64 / (ROWS - 1) as f64 / unit.divisor;
            format!("{} {}", three_digits(value), unit.sign)
        } else {
            String::new()
        };
        let line: String = (0..COLUMNS)
            .map(|column| {
                let (here, before) = (row_of(values[column]), row_of(values[column.saturating_sub(1)]));
                match () {
                    () if here == row => '●',
                    // A step is drawn as a line, so that the eye can follow it.
                    () if before < row && row < here => '│',
                    () => ' ',
                }
            })
            .collect();
        out.push_str(format!("{label:>LABEL$} ┤{line}").trim_end());
        out.push('\n');
    }
    out.push_str(&format!("{:LABEL$} └{}\n", "", "─".repeat(COLUMNS)));
    let mut axis = vec![' '; LABEL + 2 + COLUMNS + 8];
    for nine in 0..=nines as usize {
        let text = match nine {
            0 => "0%".to_owned(),
            1 => "90%".to_owned(),
            2 => "99%".to_owned(),
            more => format!("99.{}%", "9".repeat(more - 2)),
        };
        let at = LABEL + 2 + nine * (COLUMNS - 1) / nines as usize;
        if axis[at.saturating_sub(1)..at + text.len()].iter().all(|taken| *taken == ' ') {
            axis.splice(at..at + text.len(), text.chars());
        }
    }
    out.push_str(axis.into_iter().collect::<String>().trim_end());
    out.push('\n');
    out
}

fn three_digits(value: f64) -> String {
    let decimals = match value {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_seen() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for at in 1..=100_000u64 {
            histogram.record(if at > 99_000 { 50_000_000 + at * 100 } else { 1_000_000 + at * 20 }).unwrap();
        }
        insta::assert_snapshot!(curve(&histogram, Unit { sign: "ms", divisor: 1e6 }));
        assert_eq!(curve(&Histogram::new(3).unwrap(), Unit { sign: "ms", divisor: 1e6 }), "");
        histogram.reset();
        histogram.record(5).unwrap();
        assert!(curve(&histogram, Unit { sign: "ns", divisor: 1.0 }).contains("5.00 ns"));
    }
}
