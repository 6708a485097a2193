//! A comparison as Markdown, for a pull request's comment: the answer first, then a table.

use super::{Change, Comparison, text};
use crate::report::sheet::{Cell, Sheet};
use crate::report::text::s;

/// The comparison, ending in a newline.
pub fn render(comparison: &Comparison) -> String {
    let mut sheet = Sheet::default();
    sheet.raw(if comparison.regressed { "### chaos: Regressed\n\n" } else { "### chaos: No regression\n\n" });
    sheet.prose(&comparison.sentence).raw(".\n\nBase: ").prose(&text::runs(&comparison.base));
    sheet.raw("  \nNew: ").prose(&text::runs(&comparison.new)).raw("\n");
    if !comparison.rows.is_empty() {
        sheet.head(&["", "phase", "load", "figure", "base:", "new:", "change:", "interval"]);
    }
    for row in &comparison.rows {
        let [what, base, new, change, interval] = text::cells(row);
        let word = row.verdict.word();
        sheet.row(&[
            if row.verdict == Change::Worse { Cell::Strong(word) } else { Cell::Text(word) },
            Cell::Text(&row.phase),
            Cell::Text(&row.load),
            Cell::Text(&what),
            Cell::Text(&base),
            Cell::Text(new.trim_start_matches("→ ")),
            Cell::Text(&change),
            Cell::Text(&interval),
        ]);
    }
    if !comparison.timings.is_empty() {
        sheet.head(&["not tested: one figure a run", "base:", "new:"]);
    }
    for timing in &comparison.timings {
        let shown = |value: Option<f64>| value.map_or_else(|| "no data".into(), s);
        let (base, new) = (shown(timing.base_s), shown(timing.new_s));
        sheet.row(&[Cell::Text(timing.name.trim_end_matches("_s")), Cell::Text(&base), Cell::Text(&new)]);
    }
    for note in &comparison.notes {
        sheet.raw("\n- ").prose(note);
    }
    sheet.raw("\n\n").prose(&text::terms(comparison)).raw("\n");
    sheet.finish()
}
