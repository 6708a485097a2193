//! A comparison as one page: the answer, then both sides of every figure beside each other, with a plot of each
//! change and its interval.

use super::{Change, Comparison, Metric, Row, text};
use crate::report::markup::Page;
use crate::report::text::s;

/// Changes beyond these are drawn at the plot's edge: ×½ and ×2.
const PLOT_MOST: f64 = 1.0;

/// The plot's width and height, in its own units.
const PLOT: (f64, f64) = (220.0, 20.0);

/// The page as HTML.
pub fn render(comparison: &Comparison) -> String {
    let mut page = Page::default();
    page.head(if comparison.regressed { "regressed" } else { "no regression" }, "two sides compared");
    let class = match (comparison.regressed, comparison.rows.is_empty()) {
        (true, _) => "bad",
        (_, true) => "doubt",
        _ => "good",
    };
    page.raw("<main>\n<header><p class=\"badge ").raw(class).raw("\">");
    page.text(if comparison.regressed { "REGRESSED" } else { "NO REGRESSION" }).raw("</p>");
    page.raw("<h1>Runs compared</h1><p class=\"lead\">")
        .prose(&comparison.sentence)
        .raw(".</p><p class=\"meta\">");
    page.element("<span>base ", &text::runs(&comparison.base), "</span>");
    page.element("<span>new ", &text::runs(&comparison.new), "</span></p></header>");
    for of_place in
        comparison.rows.chunk_by(|one, other| (&one.phase, &one.load) == (&other.phase, &other.load))
    {
        page.element("<section><h2>", &of_place[0].phase, "");
        page.element(" <span class=\"sub\">", &of_place[0].load, "</span></h2>");
        page.raw(concat!(
            "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Result</th><th scope=\"col\">Figure</th>",
            "<th scope=\"col\" class=\"n\">Base</th><th scope=\"col\" class=\"n\">New</th>",
            "<th scope=\"col\" class=\"n\">Change</th><th scope=\"col\">Interval</th>",
            "<th scope=\"col\">−50% … ×2</th></tr></thead><tbody>"
        ));
        of_place.iter().for_each(|found| row(&mut page, found));
        page.raw("</tbody></table></div></section>");
    }
    timings(&mut page, comparison);
    if !comparison.notes.is_empty() {
        page.raw("<section><h2>Not compared, or not alike</h2><ul>");
        for note in &comparison.notes {
            page.raw("<li>").prose(note).raw("</li>");
        }
        page.raw("</ul></section>");
    }
    page.raw("<footer><p>").prose(&text::terms(comparison)).raw("</p></footer>\n</main>\n</body>\n</html>\n");
    page.finish()
}

fn row(page: &mut Page, row: &Row) {
    let [what, base, new, change, interval] = text::cells(row);
    let class = match row.verdict {
        Change::Worse => "bad tag",
        Change::Better => "good tag",
        Change::Same => "tag",
        Change::Unclear => "doubt tag",
    };
    page.raw("<tr><td><span class=\"").raw(class).raw("\">").text(row.verdict.word()).raw("</span></td>");
    page.element("<td>", &what, "</td>").element("<td class=\"n\">", &base, "</td>");
    page.element("<td class=\"n\">", new.trim_start_matches("→ "), "</td>");
    page.element("<td class=\"n\">", &change, "</td>").element("<td>", &interval, "</td><td>");
    plot(page, row, &interval);
    page.raw("</td></tr>");
}

/// The interval as a bar, the change as a mark, no change as a line in the middle.
fn plot(page: &mut Page, row: &Row, interval: &str) {
    let (width, height) = PLOT;
    // Halving and doubling lie equally far from no change; shares are drawn by their difference, 10 points at most.
    let place = |change: f64| {
        let scaled =
            if row.metric == Metric::NotGood { change * 10.0 } else { (1.0 + change).max(0.01).log2() };
        width * (0.5 + scaled.clamp(-PLOT_MOST, PLOT_MOST) / (2.0 * PLOT_MOST))
    };
    let (low, high, middle) = (place(row.low), place(row.high), height / 2.0);
    page.raw("<svg role=\"img\"").attr_number("width", width, "").attr_number("height", height, "");
    page.attr("aria-label", interval).raw("><line").attr_number("x1", width / 2.0, "");
    page.attr_number("x2", width / 2.0, "").attr_number("y1", 0.0, "").attr_number("y2", height, "");
    page.raw(" stroke=\"currentColor\" stroke-opacity=\"0.4\"/><line").attr_number("x1", low, "");
    page.attr_number("x2", high.max(low + 1.0), "")
        .attr_number("y1", middle, "")
        .attr_number("y2", middle, "");
    page.raw(" stroke=\"currentColor\" stroke-width=\"3\"/><circle").attr_number("cx", place(row.change), "");
    page.attr_number("cy", middle, "").raw(" r=\"4\" fill=\"currentColor\"/></svg>");
}

fn timings(page: &mut Page, comparison: &Comparison) {
    if comparison.timings.is_empty() {
        return;
    }
    page.raw(concat!(
        "<section><h2>Times <span class=\"sub\">not tested: one figure a run</span></h2><div class=\"scroll\"><table><thead><tr>",
        "<th scope=\"col\">Time</th><th scope=\"col\" class=\"n\">Base</th><th scope=\"col\" class=\"n\">New</th>",
        "</tr></thead><tbody>"
    ));
    for timing in &comparison.timings {
        let shown = |value: Option<f64>| value.map_or_else(|| "no data".into(), s);
        let name = timing.name.trim_end_matches("_s").replace('_', " ");
        page.element("<tr><td>", &name, "</td>").element("<td class=\"n\">", &shown(timing.base_s), "</td>");
        page.element("<td class=\"n\">", &shown(timing.new_s), "</td></tr>");
    }
    page.raw("</tbody></table></div></section>");
}
