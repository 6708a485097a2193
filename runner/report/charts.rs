//! The three plots of the page: latency over time, throughput by outcome, and percentiles by phase.
//!
//! Each comes with a sentence that says the same to those who can't see it, and a table of its values, which
//! is also what the script reads from: the page has every figure once.

use super::markup::Page;
use super::plot::{self, ACROSS, Scale};
use super::series::{LINES, OUTCOMES, Point, Sum};
use super::span::{Band, Span, strips, time_axis, windows};
use super::text;
use crate::load::record::Hist;

/// Heights of plots, in pixels.
const HEIGHT: f64 = 240.0;
const ERRORS_HEIGHT: f64 = 72.0;

/// Phases with a line of their own in the percentile plot; more can't be told apart.
const CURVES_MAX: usize = 8;

/// Latency percentiles over time.
pub(super) fn latency(page: &mut Page, span: &Span, phases: &[Sum]) {
    let lines = || span.points.iter().filter_map(|point| point.latency_ms);
    if lines().next().is_none() {
        return nothing(page, "Latency over time");
    }
    let scale = Scale::fit(lines().flatten());
    page.raw("<section class=\"plot\" aria-labelledby=\"latency\"><h2 id=\"latency\">Latency over time</h2><p class=\"sub\">");
    page.text(&format!(
        "From the instant a request was due to its end, all loads together{}. Each point is the worst interval in {}.",
        if scale.is_log() { ", on a logarithmic scale" } else { "" },
        span.grain()
    ));
    page.raw("</p><ul class=\"key\"><li class=\"l3\">max</li><li class=\"l2\">p99</li><li class=\"l1\">p90</li><li class=\"l0\">p50</li></ul>");
    open_chart(page, "latency-values", "Latency over time");
    strips(page, span);
    open_svg(
        page,
        HEIGHT,
        &spoken(span, phases, "p99 latency", |stats| {
            stats.latency.quantile_s(0.99).map(|s| text::ms(s * 1e3))
        }),
    );
    windows(page, span, HEIGHT);
    plot::y_axis(page, scale, HEIGHT, text::ms_tick);
    plot::open_stretched(page, HEIGHT);
    for (at, class) in ["line l0", "line l1", "line l2", "line l3"].into_iter().enumerate().rev() {
        let points = span.points.iter().map(|point| {
            let value = point.latency_ms?[at];
            Some((span.x(point.middle_s()), HEIGHT * (1.0 - scale.share(value))))
        });
        plot::line(page, class, points);
    }
    page.raw("</svg>");
    time_axis(page, span, HEIGHT);
    close_chart(page);
    let mut head = vec!["time", "phase"];
    head.extend(LINES.map(|(_, label)| label));
    open_table(page, "latency-values", "Latency by time", &head);
    for point in &span.points {
        open_row(page, span, point);
        for at in 0..LINES.len() {
            let value = point.latency_ms.map_or_else(|| "no data".into(), |lines| text::ms(lines[at]));
            page.element("<td>", &value, "</td>");
        }
        page.raw("</tr>");
    }
    page.raw("</tbody></table></div></details></section>");
}

/// Throughput by outcome, stacked; below it what was not good, on a scale of its own.
pub(super) fn throughput(page: &mut Page, span: &Span, phases: &[Sum]) {
    if span.points.is_empty() {
        return nothing(page, "Throughput by outcome");
    }
    const AREAS: [&str; OUTCOMES.len()] = ["area o0", "area o1", "area o2", "area o3", "area o4", "area o5"];
    const KEYS: [&str; OUTCOMES.len()] = [
        "<li class=\"o0\">",
        "<li class=\"o1\">",
        "<li class=\"o2\">",
        "<li class=\"o3\">",
        "<li class=\"o4\">",
        "<li class=\"o5\">",
    ];
    let ended = |at: usize| span.points.iter().any(|point| OUTCOMES[at].1(&point.boxes) > 0);
    let any_errors = (1..OUTCOMES.len()).any(ended);
    page.raw("<section class=\"plot\" aria-labelledby=\"throughput\"><h2 id=\"throughput\">Throughput by outcome</h2><p class=\"sub\">");
    page.raw("Requests a second, by the instant they were due. ");
    page.raw(if any_errors {
        "Below: only those that did not end well, on a scale of their own."
    } else {
        "Every one of them ended well."
    });
    page.raw("</p><ul class=\"key\">");
    for (at, key) in KEYS.into_iter().enumerate() {
        if at == 0 || ended(at) {
            page.raw(key).raw(OUTCOMES[at].0).raw("</li>");
        }
    }
    page.raw("</ul>");
    open_chart(page, "throughput-values", "Throughput by outcome");
    strips(page, span);
    let good = |sum: &Sum| text::share(sum.boxes.good, sum.boxes.known());
    let whole_height = if any_errors { HEIGHT + ERRORS_HEIGHT + 24.0 } else { HEIGHT };
    open_svg(page, whole_height, &spoken(span, phases, "good requests", good));
    windows(page, span, whole_height);
    stack(page, span, HEIGHT, &AREAS, 0);
    if any_errors {
        page.raw("<svg class=\"below\"").attr_number("y", HEIGHT + 24.0, "").raw(">");
        stack(page, span, ERRORS_HEIGHT, &AREAS, 1);
        page.raw("</svg>");
    }
    time_axis(page, span, whole_height);
    close_chart(page);
    let mut head = vec!["time", "phase"];
    head.extend(OUTCOMES.map(|(label, _)| label));
    open_table(page, "throughput-values", "Requests a second by time and outcome", &head);
    for point in &span.points {
        open_row(page, span, point);
        for (_, count) in OUTCOMES {
            page.element("<td>", &text::rate(point.per_s(count(&point.boxes))), "</td>");
        }
        page.raw("</tr>");
    }
    page.raw("</tbody></table></div></details></section>");
}

/// Outcomes from the one at `first` on, stacked, with their own scale.
fn stack(page: &mut Page, span: &Span, height: f64, areas: &[&'static str], first: usize) {
    let below = |point: &Point, end: usize| -> f64 {
        OUTCOMES[first..end].iter().map(|(_, count)| point.per_s(count(&point.boxes))).sum()
    };
    let top = span.points.iter().map(|point| below(point, OUTCOMES.len())).fold(0.0, f64::max);
    let scale = Scale::linear(top);
    if first == 0 {
        plot::y_axis(page, scale, height, text::rate_tick);
    } else {
        // The small plot has room for its top alone.
        let Scale::Linear { max } = scale else { unreachable!("the scale is linear") };
        page.raw("<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"0\" y2=\"0\"/><text class=\"y\" x=\"-8\" y=\"4\">");
        page.text(&text::rate_tick(max)).raw("</text>");
    }
    plot::open_stretched(page, height);
    for (at, class) in areas.iter().enumerate().skip(first) {
        let y = |value| height * (1.0 - scale.share(value));
        let steps = span.points.iter().map(|point| {
            [span.x(point.from_s), span.x(point.to_s), y(below(point, at + 1)), y(below(point, at))]
        });
        plot::area(page, class, steps);
    }
    page.raw("</svg>");
}

/// Percentile curves: how slow the slowest tenth, hundredth, thousandth of requests is, by phase.
pub(super) fn percentiles(page: &mut Page, span: &Span, phases: &[Sum]) {
    const QUANTILES: [f64; 11] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999];
    const CLASSES: [(&str, &str); CURVES_MAX] = [
        ("line c0", "<li class=\"c0\">"),
        ("line c1", "<li class=\"c1\">"),
        ("line c2", "<li class=\"c2\">"),
        ("line c3", "<li class=\"c3\">"),
        ("line c4", "<li class=\"c4\">"),
        ("line c5", "<li class=\"c5\">"),
        ("line c6", "<li class=\"c6\">"),
        ("line c7", "<li class=\"c7\">"),
    ];
    let curves: Vec<(&Band, &Hist)> = span
        .phases
        .iter()
        .zip(phases)
        .map(|(phase, stats)| (phase, &stats.latency))
        .filter(|(_, hist)| hist.count() > 0)
        .take(CURVES_MAX)
        .collect();
    let most = curves.iter().map(|(_, hist)| hist.count()).max().unwrap_or(0);
    if most == 0 {
        return nothing(page, "Latency percentiles by phase");
    }
    // Broken phases take the warm colours from the end, the others the cool ones from the start.
    let (mut warm, mut cool) = (CURVES_MAX, 0);
    let classes: Vec<_> = curves
        .iter()
        .map(|(phase, _)| {
            if phase.broken {
                warm = if warm > CURVES_MAX / 2 { warm - 1 } else { CURVES_MAX - 1 };
                CLASSES[warm]
            } else {
                cool += 1;
                CLASSES[(cool - 1) % (CURVES_MAX / 2)]
            }
        })
        .collect();
    // As many nines as the largest phase has requests to show them with.
    let nines = (most as f64).log10().clamp(2.0, 5.0).ceil();
    let ends = curves.iter().flat_map(|(_, hist)| {
        [hist.quantile_ns(0.0), hist.quantile_ns(1.0)].map(|ns| ns.unwrap_or(0) as f64 / 1e6)
    });
    let scale = Scale::fit(ends);
    page.raw("<section class=\"plot\" aria-labelledby=\"percentiles\"><h2 id=\"percentiles\">Latency percentiles by phase</h2><p class=\"sub\">");
    page.raw("How slow the slowest tenth, hundredth and thousandth of requests were. Curves end where a phase has no more requests to tell.");
    page.raw("</p><ul class=\"key\">");
    for ((phase, _), (_, key)) in curves.iter().zip(&classes) {
        page.element(key, &phase.label, "</li>");
    }
    page.raw("</ul>");
    open_chart(page, "percentile-values", "Latency percentiles by phase");
    let tail = |sum: &Sum| sum.latency.quantile_s(0.999).map(|s| text::ms(s * 1e3));
    open_svg(page, HEIGHT, &spoken(span, phases, "p99.9 latency", tail));
    plot::y_axis(page, scale, HEIGHT, text::ms_tick);
    plot::open_stretched(page, HEIGHT);
    for ((_, hist), (class, _)) in curves.iter().zip(&classes) {
        let open = hist.open();
        let reach = (hist.count() as f64).log10().min(nines);
        let points = (0..=CURVE_POINTS).map(|at| {
            let across = reach * f64::from(at) / f64::from(CURVE_POINTS);
            let ns = open.value_at_quantile(1.0 - 10f64.powf(-across)).min(open.max());
            Some((across / nines * ACROSS, HEIGHT * (1.0 - scale.share(ns as f64 / 1e6))))
        });
        plot::line(page, class, points);
    }
    page.raw("</svg>");
    let across = |quantile: f64| -(1.0 - quantile).log10() / nines;
    let marks: Vec<(f64, String)> = [
        (0.0, "0%"),
        (0.5, "50%"),
        (0.9, "90%"),
        (0.99, "99%"),
        (0.999, "99.9%"),
        (0.9999, "99.99%"),
        (0.99999, "99.999%"),
    ]
    .into_iter()
    .map(|(quantile, label)| (across(quantile), label.to_owned()))
    .filter(|(share, _)| *share <= 1.001)
    .collect();
    plot::x_axis(page, HEIGHT, &marks);
    close_chart(page);
    let mut head = vec!["percentile"];
    head.extend(curves.iter().map(|(phase, _)| phase.label.as_str()));
    open_table(page, "percentile-values", "Latency by percentile and phase", &head);
    for quantile in QUANTILES.into_iter().filter(|quantile| across(*quantile) <= 1.0) {
        page.raw("<tr").attr_number("data-x", across(quantile) * ACROSS, "").raw(">");
        page.element("<th scope=\"row\">", &format!("{}%", (quantile * 1e6).round() / 1e4), "</th>");
        for (_, hist) in &curves {
            let told = hist.count() as f64 * (1.0 - quantile) >= 1.0;
            let value = hist.quantile_s(quantile).filter(|_| told).map(|s| text::ms(s * 1e3));
            page.element("<td>", value.as_deref().unwrap_or("too few"), "</td>");
        }
        page.raw("</tr>");
    }
    page.raw("</tbody></table></div></details></section>");
}

/// Points of a percentile curve.
const CURVE_POINTS: u32 = 160;

/// The plot in words: a value for each phase.
fn spoken(span: &Span, phases: &[Sum], what: &str, value: impl Fn(&Sum) -> Option<String>) -> String {
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
    page.raw("<section class=\"plot\"><h2>")
        .raw(what)
        .raw("</h2><p class=\"sub\">No data: no request ended.</p></section>");
}

fn open_chart(page: &mut Page, table: &'static str, what: &'static str) {
    page.raw("<div class=\"chart\" tabindex=\"0\" role=\"group\"").attr("data-table", table);
    page.attr("aria-label", &format!("{what}; arrow keys read values")).raw(">");
}

fn open_svg(page: &mut Page, height: f64, spoken: &str) {
    page.raw("<svg class=\"frame\" role=\"img\"").attr_number("height", height + 26.0, "");
    page.raw(" aria-label=\"").prose(spoken).raw("\">");
}

fn close_chart(page: &mut Page) {
    page.raw("<line class=\"cursor\" y1=\"0\" y2=\"100%\" x1=\"-9\" x2=\"-9\"/></svg><div class=\"tip\" role=\"status\" hidden></div></div>");
}

/// Opens the values behind a plot: a table with the columns `head`.
fn open_table(page: &mut Page, id: &'static str, caption: &'static str, head: &[&str]) {
    page.raw("<details class=\"values\"><summary>Values</summary><div class=\"scroll tall\" tabindex=\"0\" role=\"region\"");
    page.attr("aria-label", caption).raw("><table").attr("id", id).raw("><thead><tr>");
    for column in head {
        page.element("<th scope=\"col\">", column, "</th>");
    }
    page.raw("</tr></thead><tbody>");
}

/// Opens a row of a table by time, with its instant and phase.
fn open_row(page: &mut Page, span: &Span, point: &Point) {
    page.raw("<tr").attr_number("data-x", span.x(point.middle_s()), "").raw("><th scope=\"row\">");
    page.number(point.from_s).raw(" s</th>").element("<td>", span.phase_at(point.middle_s()), "</td>");
}
