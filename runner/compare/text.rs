//! A comparison on a terminal: what changed first, a line a figure.

use console::{Alignment, measure_text_width, pad_str};

use super::{Change, Comparison, Metric, Row, RunName};
use crate::report::Ink;
use crate::report::terminal::{Paint, paint};
use crate::report::text::{NAME_MAX_CHARS, PROSE_MAX_CHARS, clean, ms, rate, ratio, s};

/// The comparison, ending in a newline.
pub fn render(comparison: &Comparison, ink: Ink) -> String {
    let mut out = String::new();
    let (word, style) = if comparison.regressed {
        ("REGRESSED", Paint::Bad)
    } else if comparison.rows.is_empty() {
        ("NOTHING COMPARED", Paint::Doubt)
    } else {
        ("NO REGRESSION", Paint::Good)
    };
    out.push_str(&format!("{}  {}\n", paint(word, style, ink), clean(&comparison.sentence, PROSE_MAX_CHARS)));
    out.push_str(&format!("base  {}\nnew   {}\n", runs(&comparison.base), runs(&comparison.new)));
    let mut place = None;
    let widths = widths(&comparison.rows);
    for row in &comparison.rows {
        if place != Some((&row.phase, &row.load)) {
            place = Some((&row.phase, &row.load));
            let heading =
                format!("{}  {}", clean(&row.phase, NAME_MAX_CHARS), clean(&row.load, NAME_MAX_CHARS));
            out.push_str(&format!("\n{}\n", paint(&heading, Paint::Strong, ink)));
        }
        let cells = cells(row);
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| pad_str(cell, width, Alignment::Left, None).into_owned())
            .collect();
        let style = match row.verdict {
            Change::Worse => Paint::Bad,
            Change::Better => Paint::Good,
            Change::Unclear => Paint::Doubt,
            Change::Same => Paint::Faint,
        };
        out.push_str(&format!(
            "  {}  {}\n",
            paint(&format!("{:<7}", row.verdict.word()), style, ink),
            padded.join("  ").trim_end()
        ));
    }
    if !comparison.timings.is_empty() {
        out.push_str(&format!("\n{}\n", paint("not tested: one figure a run", Paint::Strong, ink)));
        for timing in &comparison.timings {
            let shown = |value: Option<f64>| value.map_or_else(|| "no data".into(), s);
            let name = clean(timing.name.trim_end_matches("_s"), NAME_MAX_CHARS).replace('_', " ");
            out.push_str(&format!("  {name}: {} → {}\n", shown(timing.base_s), shown(timing.new_s)));
        }
    }
    for note in &comparison.notes {
        out.push_str(&format!("note: {}\n", clean(note, PROSE_MAX_CHARS)));
    }
    out
}

/// Runs in a line.
pub(super) fn runs(names: &[RunName]) -> String {
    let named = names.iter().map(|name| {
        format!("{} ({})", clean(&name.run, NAME_MAX_CHARS), clean(&name.verdict, NAME_MAX_CHARS))
    });
    named.collect::<Vec<_>>().join(", ")
}

/// A row's figures: what, base, new, change, its interval.
pub(super) fn cells(row: &Row) -> [String; 5] {
    [
        row.metric.words().to_owned(),
        value(row.metric, row.base),
        format!("→ {}", value(row.metric, row.new)),
        change(row),
        interval(row),
    ]
}

fn widths(rows: &[Row]) -> [usize; 5] {
    let mut widths = [0; 5];
    for cells in rows.iter().map(cells) {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(measure_text_width(&cell));
        }
    }
    widths
}

/// A value with its unit.
pub(super) fn value(metric: Metric, value: f64) -> String {
    match metric {
        Metric::NotGood => not_good(value),
        Metric::Goodput => format!("{}/s", rate(value)),
        // Beyond what a histogram tells apart: the rank lies among requests that were cut off.
        _ if value * 1e9 > crate::load::record::HIST_MAX_NS as f64 => "cut off".into(),
        _ => ms(value * 1e3),
    }
}

/// A share of what did not end well, rounded towards the worse.
fn not_good(share: f64) -> String {
    if share <= 0.0 { "0%".into() } else { format!("{}%", (share * 1e6).ceil() / 1e4) }
}

/// A change: `+12.3%` of a ratio, `+0.21 points` of a share.
pub fn change(row: &Row) -> String {
    difference(row.metric, row.change)
}

/// The bounds of a change.
fn interval(row: &Row) -> String {
    format!("between {} and {}", difference(row.metric, row.low), difference(row.metric, row.high))
}

fn difference(metric: Metric, change: f64) -> String {
    if metric == Metric::NotGood {
        format!("{:+.2} points", change * 100.0)
    } else if change.abs() < 10.0 {
        format!("{:+.1}%", change * 100.0)
    } else {
        format!("× {:.1}", change + 1.0)
    }
}

/// What counts as large enough to matter, and how sure the answers are.
pub(super) fn terms(comparison: &Comparison) -> String {
    format!(
        "A change is told as worse or better where it is {} or more (of requests that did not end well, 0.1 points), \
         its interval excludes none, and the ranks of stretches agree. All intervals together hold with {} confidence.",
        ratio(comparison.tolerance),
        ratio(comparison.confidence),
    )
}
