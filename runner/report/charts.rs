//! The plots of the board: latency as percentiles and as a heatmap, throughput by outcome, errors by class, and the
//! generator's own send lag.
//!
//! Each says in a sentence what it shows to those who can't see it, and names the columns of the table of values
//! that it is drawn from. The frame around them is `board`'s.

use std::collections::BTreeMap;

use super::markup::Page;
use super::plot::{self, ACROSS, Scale};
use super::series::{CELLS, CELLS_PER_DECADE, LAG_LINES, LINES, OUTCOMES, Point, Sum, cell_from_ms};
use super::span::Span;
use super::text;

/// Heights of plots, in pixels: what is looked at most is highest.
const HEIGHT: f64 = 200.0;
const HEAT_HEIGHT: f64 = 150.0;
const LOW_HEIGHT: f64 = 84.0;

/// Error classes with a colour of their own; the rest is one more.
const CLASSES_MAX: usize = 6;

/// Steps of the heatmap's shade.
const SHADES: [&str; 6] = ["area h0", "area h1", "area h2", "area h3", "area h4", "area h5"];

/// The first column of the table of values that is latency's; `board` makes the columns in this order: time, phase,
/// latency, outcomes, errors, send lag.
const LATENCY_COLUMN: usize = 2;
const OUTCOME_COLUMN: usize = LATENCY_COLUMN + LINES.len();
const ERROR_COLUMN: usize = OUTCOME_COLUMN + OUTCOMES.len();

/// What the plots have in common that is not in the points: classes of errors, and the heatmap's range.
pub(super) struct Plotted {
    /// Classes of errors, the most frequent first; the last may be `other`.
    pub classes: Vec<String>,
    /// Cells of the heatmap that hold anything: the first, and one beyond the last.
    cells: (usize, usize),
}

/// The class that stands for all without a colour.
const OTHER: &str = "other errors";

impl Plotted {
    /// What the plots of `span` need.
    pub fn of(span: &Span) -> Self {
        let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
        for (class, count) in span.points.iter().flat_map(|point| &point.errors) {
            *totals.entry(class).or_default() += count;
        }
        let mut classes: Vec<(&str, u64)> = totals.into_iter().collect();
        classes.sort_by(|(one, a), (other, b)| b.cmp(a).then(one.cmp(other)));
        let more = classes.len() > CLASSES_MAX;
        let mut classes: Vec<String> =
            classes.into_iter().take(CLASSES_MAX).map(|(class, _)| class.to_owned()).collect();
        if more {
            classes.push(OTHER.into());
        }
        let used = |cell: &usize| span.points.iter().any(|point| point.heat[*cell] > 0);
        let first = (0..CELLS).find(used).unwrap_or(0);
        let beyond = (0..CELLS).rev().find(used).map_or(first, |last| last + 1);
        Self { classes, cells: (first, beyond) }
    }

    /// How many errors of each class a point has.
    pub fn errors(&self, point: &Point) -> Vec<u64> {
        let all: u64 = point.errors.values().sum();
        let mut known = 0;
        let count = |class: &String| {
            if class == OTHER && !point.errors.contains_key(class) {
                return all - known;
            }
            let count = point.errors.get(class).copied().unwrap_or(0);
            known += count;
            count
        };
        self.classes.iter().map(count).collect()
    }

    /// A point's cells of the heatmap, the fastest first.
    pub fn cells<'p>(&self, point: &'p Point) -> impl Iterator<Item = u32> + use<'p> {
        point.heat[self.cells.0..self.cells.1].iter().copied()
    }
}

/// A line of a plot: its class and its entry in the key.
type Style = (&'static str, &'static str);

const LATENCY_STYLES: [Style; LINES.len()] = [
    ("line l0", "<li class=\"l0\">"),
    ("line l1", "<li class=\"l1\">"),
    ("line l2", "<li class=\"l2\">"),
    ("line l3", "<li class=\"l3\">"),
];

/// Latency percentiles over time, with the room between them shaded.
pub(super) fn latency(page: &mut Page, span: &Span, phases: &[Sum]) {
    const BANDS: [&str; LINES.len() - 1] = ["band b0", "band b1", "band b2"];
    let lines = || span.points.iter().filter_map(|point| point.latency_ms);
    if lines().next().is_none() {
        return nothing(page, "Latency");
    }
    let scale = Scale::fit(lines().flatten());
    open(page, "Latency", "from the instant a request was due to its end", scale);
    for (at, (_, key)) in LATENCY_STYLES.iter().enumerate().rev() {
        page.raw(key).raw(LINES[at].1).raw("</li>");
    }
    close_key(page, "Latency", LATENCY_COLUMN, LINES.len(), "");
    let tail = |sum: &Sum| sum.latency.quantile_s(0.99).map(|s| text::ms(s * 1e3));
    open_plot(page, span, scale, HEIGHT, text::ms_tick, &spoken(span, phases, "p99 latency", tail));
    let y = |value| HEIGHT * (1.0 - scale.share(value));
    for (low, class) in BANDS.into_iter().enumerate() {
        let edges: Vec<Option<[f64; 3]>> = span
            .points
            .iter()
            .map(|point| {
                let lines = point.latency_ms?;
                Some([span.x(point.middle_s()), y(lines[low + 1]), y(lines[low])])
            })
            .collect();
        plot::band(page, class, &edges);
    }
    for (at, (class, _)) in LATENCY_STYLES.iter().enumerate().rev() {
        let points = span.points.iter().map(|point| {
            let value = point.latency_ms?[at];
            Some((span.x(point.middle_s()), y(value)))
        });
        plot::line(page, class, points);
    }
    close_plot(page);
}

/// How many requests took how long: what percentiles hide, as two humps where a third of the requests is slow.
pub(super) fn heat(page: &mut Page, span: &Span, phases: &[Sum], plotted: &Plotted) {
    let (first, beyond) = plotted.cells;
    if first == beyond {
        return;
    }
    let densest = span
        .points
        .iter()
        .flat_map(|point| plotted.cells(point).map(|count| point.per_s(u64::from(count))))
        .fold(0.0, f64::max);
    let scale = Scale::Log { min: cell_from_ms(first), max: cell_from_ms(beyond) };
    open(page, "Latency, how many took how long", "requests a second in each cell", scale);
    page.raw("<li class=\"h1\">few</li><li class=\"h3\">more</li><li class=\"h5\">");
    page.text(&format!("{}/s in a cell", text::rate(densest))).raw("</li>");
    let cells = format!("{} {} {}", first, beyond, CELLS_PER_DECADE);
    close_key(page, "Latency, how many took how long", LATENCY_COLUMN, 0, &cells);
    let middle = |sum: &Sum| sum.latency.quantile_s(0.5).map(|s| text::ms(s * 1e3));
    open_plot(page, span, scale, HEAT_HEIGHT, text::ms_tick, &spoken(span, phases, "median latency", middle));
    let shade = |point: &Point, cell: usize| -> Option<usize> {
        let per_s = point.per_s(u64::from(point.heat[cell]));
        // Few a second must still show beside thousands.
        let share = (1.0 + per_s).ln() / (1.0 + densest).ln();
        (per_s > 0.0).then(|| ((share * SHADES.len() as f64) as usize).min(SHADES.len() - 1))
    };
    let mut shades: [Vec<[f64; 4]>; SHADES.len()] = Default::default();
    let height = HEAT_HEIGHT / (beyond - first) as f64;
    for cell in first..beyond {
        let (top, bottom) = ((beyond - cell - 1) as f64 * height, (beyond - cell) as f64 * height);
        let mut last: Option<usize> = None;
        for point in &span.points {
            let (from, to) = (span.x(point.from_s), span.x(point.to_s));
            let shade = shade(point, cell);
            if let Some(shade) = shade {
                match shades[shade].last_mut() {
                    // Neighbours of one shade are one area: thousands of cells would cost a megabyte.
                    Some(area) if last == Some(shade) && (area[1] - from).abs() < 0.01 => area[1] = to,
                    _ => shades[shade].push([from, to, top, bottom]),
                }
            }
            last = shade;
        }
    }
    for (class, areas) in SHADES.into_iter().zip(shades) {
        plot::area(page, class, areas.into_iter());
    }
    close_plot(page);
}

/// Throughput by outcome, stacked.
pub(super) fn throughput(page: &mut Page, span: &Span, phases: &[Sum]) {
    const STYLES: [Style; OUTCOMES.len()] = [
        ("area o0", "<li class=\"o0\">"),
        ("area o1", "<li class=\"o1\">"),
        ("area o2", "<li class=\"o2\">"),
        ("area o3", "<li class=\"o3\">"),
        ("area o4", "<li class=\"o4\">"),
        ("area o5", "<li class=\"o5\">"),
    ];
    let counts = |point: &Point| OUTCOMES.map(|(_, count)| point.per_s(count(&point.boxes))).to_vec();
    let ended = |at: usize| span.points.iter().any(|point| counts(point)[at] > 0.0);
    let top = span.points.iter().map(|point| counts(point).iter().sum()).fold(0.0, f64::max);
    let scale = Scale::linear(top);
    open(page, "Throughput", "requests a second by outcome, at the instant they were due", scale);
    for (at, (_, key)) in STYLES.iter().enumerate() {
        if at == 0 || ended(at) {
            page.raw(key).raw(OUTCOMES[at].0).raw("</li>");
        }
    }
    close_key(page, "Throughput by outcome", OUTCOME_COLUMN, OUTCOMES.len(), "");
    let good = |sum: &Sum| text::share(sum.boxes.good, sum.boxes.known());
    open_plot(page, span, scale, HEIGHT, text::rate_tick, &spoken(span, phases, "good requests", good));
    stack(page, span, scale, HEIGHT, &STYLES, counts);
    close_plot(page);
}

/// What was not good, by class, on a scale of its own.
pub(super) fn errors(page: &mut Page, span: &Span, plotted: &Plotted) {
    const STYLES: [Style; CLASSES_MAX + 1] = [
        ("area e0", "<li class=\"e0\">"),
        ("area e1", "<li class=\"e1\">"),
        ("area e2", "<li class=\"e2\">"),
        ("area e3", "<li class=\"e3\">"),
        ("area e4", "<li class=\"e4\">"),
        ("area e5", "<li class=\"e5\">"),
        ("area e6", "<li class=\"e6\">"),
    ];
    let unwell = span.points.iter().map(|point| point.boxes.errors()).sum::<u64>();
    if plotted.classes.is_empty() {
        page.raw("<div class=\"chart\"><div class=\"caption\"><h3>Errors</h3><p class=\"sub\">");
        page.raw(if unwell == 0 {
            "None: every request that ended did so well."
        } else {
            "No class of them is known."
        });
        page.raw("</p></div></div>");
        return;
    }
    let counts = |point: &Point| -> Vec<f64> {
        plotted.errors(point).into_iter().map(|count| point.per_s(count)).collect()
    };
    let top = span.points.iter().map(|point| counts(point).iter().sum()).fold(0.0, f64::max);
    let scale = Scale::linear(top);
    open(page, "Errors by class", "requests a second that did not end well, on a scale of their own", scale);
    for (class, (_, key)) in plotted.classes.iter().zip(STYLES) {
        page.element(key, class, "</li>");
    }
    close_key(page, "Errors by class", ERROR_COLUMN, plotted.classes.len(), "");
    let mut said = Vec::new();
    for (at, class) in plotted.classes.iter().enumerate() {
        let count: u64 = span.points.iter().map(|point| plotted.errors(point)[at]).sum();
        said.push(format!("{} {}", text::clean(class, 40), text::count(count)));
    }
    let spoken =
        format!("Plot; errors in the whole run: {}. The values are in the table below.", said.join(", "));
    open_plot(page, span, scale, LOW_HEIGHT, text::rate_tick, &spoken);
    stack(page, span, scale, LOW_HEIGHT, &STYLES[..plotted.classes.len()], counts);
    close_plot(page);
}

/// How late the generator itself was: above a millisecond or so, latency is partly its own.
pub(super) fn lag(page: &mut Page, span: &Span, phases: &[Sum]) {
    const STYLES: [Style; LAG_LINES.len()] = [
        ("line l0", "<li class=\"l0\">p50"),
        ("line l2", "<li class=\"l2\">p99"),
        ("line l3", "<li class=\"l3\">max"),
    ];
    let lines = || span.points.iter().filter_map(|point| point.lag_ms);
    if lines().next().is_none() {
        return;
    }
    let scale = Scale::fit(lines().flatten());
    open(page, "Send lag", "how late the generator itself sent", scale);
    STYLES.iter().rev().for_each(|(_, key)| {
        page.raw(key).raw("</li>");
    });
    // The three of them are the table's last columns.
    let first = ERROR_COLUMN + Plotted::of(span).classes.len();
    close_key(page, "Send lag", first, LAG_LINES.len(), "");
    let tail = |sum: &Sum| sum.send_lag.quantile_s(0.99).map(|s| text::ms(s * 1e3));
    open_plot(page, span, scale, LOW_HEIGHT, text::ms_tick, &spoken(span, phases, "p99 send lag", tail));
    for (at, (class, _)) in STYLES.iter().enumerate().rev() {
        let points = span.points.iter().map(|point| {
            let value = point.lag_ms?[at];
            Some((span.x(point.middle_s()), LOW_HEIGHT * (1.0 - scale.share(value))))
        });
        plot::line(page, class, points);
    }
    close_plot(page);
}

/// Values a second on top of each other.
fn stack(
    page: &mut Page,
    span: &Span,
    scale: Scale,
    height: f64,
    styles: &[Style],
    counts: impl Fn(&Point) -> Vec<f64>,
) {
    for (at, (class, _)) in styles.iter().enumerate() {
        let y = |value| height * (1.0 - scale.share(value));
        let steps = span.points.iter().map(|point| {
            let counts = counts(point);
            let below: f64 = counts[..at].iter().sum();
            [span.x(point.from_s), span.x(point.to_s), y(below + counts[at]), y(below)]
        });
        plot::area(page, class, steps);
    }
}

/// A plot in words: a value for each phase.
pub(super) fn spoken(
    span: &Span,
    phases: &[Sum],
    what: &str,
    value: impl Fn(&Sum) -> Option<String>,
) -> String {
    let parts: Vec<String> = span
        .phases
        .iter()
        .zip(phases)
        .map(|(phase, stats)| {
            let value = value(stats).unwrap_or_else(|| "no data".into());
            format!("{} {value}", text::clean(&phase.label, 40))
        })
        .collect();
    format!("Plot; {what} by phase: {}. The values are in the table below.", parts.join(", "))
}

fn nothing(page: &mut Page, what: &'static str) {
    page.raw("<div class=\"chart\"><div class=\"caption\"><h3>")
        .raw(what)
        .raw("</h3><p class=\"sub\">No data: no request ended.</p></div></div>");
}

/// Opens a plot's caption, up to the entries of its key.
fn open(page: &mut Page, what: &'static str, about: &'static str, scale: Scale) {
    page.raw("<div class=\"caption\"><h3>").raw(what).raw("</h3><p class=\"sub\">").raw(about);
    page.raw(if scale.is_log() { "; logarithmic scale" } else { "" }).raw("</p><ul class=\"key\">");
}

/// Closes the caption and opens the plot: `columns` of the table of values from `first` on are its own; `cells` are the
/// heatmap's, else nothing.
fn close_key(page: &mut Page, what: &'static str, first: usize, columns: usize, cells: &str) {
    page.raw("</ul></div><div class=\"chart\" tabindex=\"0\" role=\"group\" aria-describedby=\"how\"");
    page.attr("aria-label", what).attr_number("data-first", first as f64, "");
    page.attr_number("data-columns", columns as f64, "");
    if !cells.is_empty() {
        page.attr("data-cells", cells);
    }
    page.raw(">");
}

fn open_plot(
    page: &mut Page,
    span: &Span,
    scale: Scale,
    height: f64,
    label: impl Fn(f64) -> String,
    spoken: &str,
) {
    page.raw("<div class=\"row\">");
    plot::y_labels(page, scale, height, label);
    page.raw("<div class=\"view\">");
    plot::rules(page, scale, height);
    page.raw("<div class=\"time\">");
    plot::open_stretched(page, height, spoken);
    for (from_s, to_s) in &span.windows {
        let (from, to) = (span.x(*from_s), span.x(*to_s));
        page.raw("<rect class=\"window\" y=\"0\"").attr_number("x", from, "");
        page.attr_number("width", to - from, "").attr_number("height", height, "").raw("/>");
    }
    for phase in span.phases.iter().skip(1) {
        let x = span.share(phase.from_s) * ACROSS;
        page.raw("<line class=\"edge\" y1=\"0\"").attr_number("y2", height, "");
        page.attr_number("x1", x, "").attr_number("x2", x, "").raw("/>");
    }
}

fn close_plot(page: &mut Page) {
    page.raw("</svg></div></div></div></div>");
}
