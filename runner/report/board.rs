//! What happened and what it did, on one axis of time: lanes of marks above plots, to be read straight down.
//!
//! All of it is in columns of one width, so that a zoom widens them together. The page has every figure once:
//! the table below the plots holds the values of each point, and the script reads them out from there. Plots
//! are in `charts`, marks are made in `lanes`.

use super::charts::{self, Plotted};
use super::lanes::{self, Lane, Look, Mark};
use super::markup::Page;
use super::plot;
use super::series::{LAG_LINES, LINES, OUTCOMES, Sum};
use super::span::Span;
use super::{Case, text};

/// Pixels of a row of marks, and of the mark itself.
const ROW_HEIGHT: f64 = 22.0;
const MARK_HEIGHT: f64 = 18.0;

/// What an instant's label takes of the whole width.
const LABEL_SHARE: f64 = 0.12;

/// Marks that are named to those who can't see the lane; the rest is in the list below.
const SPOKEN_MAX: usize = 8;

/// Phases that have a button to zoom to them.
const BUTTONS_MAX: usize = 8;

/// The whole board.
pub(super) fn board(page: &mut Page, case: &Case<'_>, span: &Span, phases: &[Sum]) {
    let lanes = lanes::lanes(case, span);
    let plotted = Plotted::of(span);
    page.raw("<section id=\"timeline\" aria-labelledby=\"timeline-title\"><h2 id=\"timeline-title\">Timeline</h2><p class=\"sub\">");
    page.text(&format!(
        "Everything on one axis, in seconds since the start. Each point is {}, all loads together; of several intervals the worst is kept, so no bad second is averaged away.",
        span.grain()
    ));
    page.raw("</p>");
    tools(page, span);
    page.raw("<div class=\"board\" id=\"board\"");
    page.attr_number("data-from-ms", span.from_s * 1e3, "");
    page.attr_number("data-to-ms", span.to_s * 1e3, "").raw(">");
    lanes.iter().for_each(|lane| draw(page, lane, span));
    axis(page, span);
    if span.points.is_empty() {
        page.raw("<p class=\"sub\">No data: no request ended.</p>");
    } else {
        charts::latency(page, span, phases);
        charts::heat(page, span, phases, &plotted);
        charts::throughput(page, span, phases);
        charts::errors(page, span, &plotted);
        charts::lag(page, span, phases);
        axis(page, span);
    }
    page.raw("</div>");
    values(page, span, &plotted);
    events(page, &lanes);
    page.raw("</section>");
}

/// What zooms; of use with the script only, which shows it.
fn tools(page: &mut Page, span: &Span) {
    page.raw(concat!(
        "<div class=\"tools\" id=\"tools\" role=\"group\" aria-label=\"Zoom of the timeline\" hidden>",
        "<button type=\"button\" data-do=\"whole\">Whole run</button>"
    ));
    for phase in span.phases.iter().take(BUTTONS_MAX) {
        page.raw("<button type=\"button\"").attr_number("data-a", span.x(phase.from_s), "");
        page.attr_number("data-b", span.x(phase.to_s), "").raw(">").text(&phase.label).raw("</button>");
    }
    page.raw(concat!(
        "<span class=\"steps\"><button type=\"button\" data-do=\"in\" aria-label=\"Zoom in\">+</button>",
        "<button type=\"button\" data-do=\"out\" aria-label=\"Zoom out\">−</button>",
        "<button type=\"button\" data-do=\"back\" aria-label=\"Earlier\">←</button>",
        "<button type=\"button\" data-do=\"on\" aria-label=\"Later\">→</button></span>",
        "<span id=\"shown\" role=\"status\"></span></div>",
        "<p class=\"sub\" id=\"how\" hidden>Drag across to zoom, double-click for the whole run. On a plot: ",
        "<kbd>←</kbd> <kbd>→</kbd> read values, with <kbd>Shift</kbd> they select, <kbd>Enter</kbd> zooms to it; ",
        "<kbd>+</kbd> <kbd>−</kbd> zoom, <kbd>Esc</kbd> shows the whole run.</p>"
    ));
}

/// One lane of marks.
fn draw(page: &mut Page, lane: &Lane, span: &Span) {
    // An instant's label needs some room.
    let label_s = (span.to_s - span.from_s) * LABEL_SHARE;
    let rows = lanes::rows(&lane.marks, label_s);
    let height = rows.iter().max().map_or(1, |most| most + 1) as f64 * ROW_HEIGHT;
    page.raw("<div class=\"row\"><span class=\"gutter\">").raw(lane.name).raw("</span>");
    page.raw("<div class=\"view\"><div class=\"time\"><svg class=\"lane\" role=\"img\" width=\"100%\"");
    page.attr_number("height", height, "").raw(" aria-label=\"").prose(&spoken(lane)).raw("\">");
    for (at, (mark, row)) in lane.marks.iter().zip(&rows).enumerate() {
        let next = lane.marks.iter().zip(&rows).skip(at + 1).find(|(_, other)| *other == row);
        let room_s = next.map_or(span.to_s, |(next, _)| next.from_s) - mark.from_s;
        // A label that would run into the next mark is left to what is read out.
        let label = if room_s >= label_s { text::clean(&mark.label, 24) } else { String::new() };
        draw_mark(page, mark, &label, *row as f64 * ROW_HEIGHT, span);
    }
    page.raw("</svg></div></div></div>");
}

const fn class(look: Look) -> &'static str {
    match look {
        Look::Phase => "mark phase",
        Look::Broken => "mark broken",
        Look::Fault => "mark fault",
        Look::Good => "mark well",
        Look::Bad => "mark ill",
        Look::Doubt => "mark unclear",
        Look::Quiet => "mark quiet",
    }
}

/// `label` is what an instant is named; a mark that lasts has its own name inside.
fn draw_mark(page: &mut Page, mark: &Mark, label: &str, y: f64, span: &Span) {
    let (from, to) = (span.share(mark.from_s), span.share(mark.to_s));
    let [asked_s, end_asked_s] = mark.asked_s;
    lead(page, span, y, asked_s.map(|asked_s| (asked_s, mark.from_s)));
    if mark.to_s <= mark.from_s {
        page.raw("<svg class=\"").raw(class(mark.look));
        page.raw(" instant\" overflow=\"visible\" width=\"12\" height=\"18\"");
        page.attr_share("x", from).attr_number("y", y, "").raw("><title>").prose(&mark.words);
        page.raw("</title><path d=\"M0 2l6 7-6 7-6-7z\"/>");
        page.element("<text x=\"9\" y=\"13\">", label, "</text>");
        page.raw("</svg>");
        return;
    }
    // The inner SVG cuts a label off where its mark ends.
    page.raw("<svg class=\"").raw(class(mark.look)).raw("\"").attr_share("x", from).attr_number("y", y, "");
    page.attr_share("width", (to - from).max(0.000_5)).attr_number("height", MARK_HEIGHT, "");
    page.raw("><title>").prose(&mark.words).raw("</title><rect width=\"100%\" height=\"100%\"/>");
    page.element("<text x=\"6\" y=\"13\">", &mark.label, "</text></svg>");
    lead(page, span, y, end_asked_s.map(|asked_s| (asked_s, mark.to_s)));
}

/// The time between what was asked and what came of it; milliseconds, seen when zoomed in.
fn lead(page: &mut Page, span: &Span, y: f64, stretch: Option<(f64, f64)>) {
    let Some((asked_s, came_s)) = stretch.filter(|(asked_s, came_s)| asked_s < came_s) else { return };
    let (asked, came) = (span.share(asked_s), span.share(came_s));
    page.raw("<rect class=\"lead\"").attr_share("x", asked).attr_number("y", y, "");
    page.attr_share("width", came - asked).attr_number("height", MARK_HEIGHT, "").raw("/>");
}

/// A lane in words.
fn spoken(lane: &Lane) -> String {
    let said: Vec<String> =
        lane.marks.iter().take(SPOKEN_MAX).map(|mark| text::clean(&mark.words, 90)).collect();
    let more = lane.marks.len() + lane.left_out - said.len();
    let rest = if more > 0 { format!("; and {more} more, see the list of events") } else { String::new() };
    format!("{}: {}{rest}", lane.name, said.join("; "))
}

fn axis(page: &mut Page, span: &Span) {
    let ticks: Vec<(f64, String)> = plot::time_ticks(span.from_s, span.to_s)
        .into_iter()
        .map(|at_s| (span.share(at_s), plot::time_label(at_s, span.to_s)))
        .collect();
    page.raw("<div class=\"row\"><span class=\"gutter\"></span><div class=\"view\"><div class=\"time\">");
    plot::x_axis(page, &ticks);
    page.raw("</div></div></div>");
}

/// The values behind all plots over time: a row a point.
fn values(page: &mut Page, span: &Span, plotted: &Plotted) {
    if span.points.is_empty() {
        return;
    }
    page.raw("<details class=\"values\"><summary>Values of the plots</summary><div class=\"scroll tall\" tabindex=\"0\" role=\"region\" aria-label=\"Values by time\">");
    page.raw("<table id=\"values\"><thead><tr><th scope=\"col\">time</th><th scope=\"col\">phase</th>");
    let heads = LINES.iter().map(|(_, label)| *label).chain(OUTCOMES.iter().map(|(label, _)| *label));
    let heads = heads.chain(plotted.classes.iter().map(String::as_str));
    for head in heads.chain(LAG_LINES.iter().map(|(_, label)| *label)) {
        page.element("<th scope=\"col\">", head, "</th>");
    }
    page.raw("</tr></thead><tbody>");
    let or_none = |value: Option<f64>| value.map_or_else(|| "no data".into(), text::ms);
    for point in &span.points {
        page.raw("<tr").attr_number("data-x", span.x(point.middle_s()), "").raw(" data-heat=\"");
        plotted.cells(point).for_each(|count| {
            page.number(f64::from(count)).raw(" ");
        });
        page.raw("\"><th scope=\"row\">").number(point.from_s).raw(" s</th>");
        page.element("<td>", span.phase_at(point.middle_s()), "</td>");
        for line in 0..LINES.len() {
            page.element("<td>", &or_none(point.latency_ms.map(|lines| lines[line])), "</td>");
        }
        let outcomes = OUTCOMES.iter().map(|(_, count)| count(&point.boxes));
        for count in outcomes.chain(plotted.errors(point)) {
            page.element("<td>", &text::rate(point.per_s(count)), "</td>");
        }
        for line in 0..LAG_LINES.len() {
            page.element("<td>", &or_none(point.lag_ms.map(|lines| lines[line])), "</td>");
        }
        page.raw("</tr>");
    }
    page.raw("</tbody></table></div><p class=\"sub\">Latency and send lag as times, everything else in requests a second.</p></details>");
}

/// Every mark in words, in order.
fn events(page: &mut Page, lanes: &[Lane]) {
    let mut marks: Vec<(&str, &Mark)> =
        lanes.iter().flat_map(|lane| lane.marks.iter().map(move |mark| (lane.name, mark))).collect();
    marks.sort_by(|(_, one), (_, other)| one.from_s.total_cmp(&other.from_s));
    page.raw("<details class=\"events\"><summary>What happened, in words</summary><ol tabindex=\"0\" aria-label=\"What happened\">");
    for (lane, mark) in marks {
        page.raw("<li><span class=\"sub\">").text(&format!("{:.3} s, {lane}", mark.from_s)).raw("</span> ");
        page.prose(&mark.words).raw("</li>");
    }
    page.raw("</ol>");
    for lane in lanes.iter().filter(|lane| lane.left_out > 0) {
        page.raw("<p class=\"sub\">")
            .text(&format!("{}: {} more are in the journal.", lane.name, lane.left_out));
        page.raw("</p>");
    }
    page.raw("</details>");
}
