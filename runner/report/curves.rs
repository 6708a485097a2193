//! Percentile curves by phase: how slow the slowest tenth, hundredth, thousandth of requests is.
//!
//! Across are nines, as HdrHistogram's own plots have it, so that the tail has as much room as the rest.

use super::charts::spoken;
use super::markup::Page;
use super::plot::{self, ACROSS, Scale};
use super::series::Sum;
use super::span::{Band, Span};
use super::text;
use crate::load::record::Hist;

/// The plot's height, in pixels.
const HEIGHT: f64 = 240.0;

/// Phases with a line of their own; more can't be told apart.
const CURVES_MAX: usize = 8;

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
        return;
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
    page.raw("<section class=\"plot\" id=\"percentiles\" aria-labelledby=\"percentiles-title\"><h2 id=\"percentiles-title\">Latency percentiles by phase</h2><p class=\"sub\">");
    page.raw("How slow the slowest tenth, hundredth and thousandth of requests were. Curves end where a phase has no more requests to tell.");
    page.raw("</p><ul class=\"key\">");
    for ((phase, _), (_, key)) in curves.iter().zip(&classes) {
        page.element(key, &phase.label, "</li>");
    }
    page.raw("</ul>");
    page.raw("<div class=\"chart alone\" tabindex=\"0\" role=\"group\" data-table=\"percentile-values\" aria-label=\"Latency percentiles by phase; arrow keys read values\"><div class=\"row\">");
    plot::y_labels(page, scale, HEIGHT, text::ms_tick);
    page.raw("<div class=\"view\">");
    plot::rules(page, scale, HEIGHT);
    let tail = |sum: &Sum| sum.latency.quantile_s(0.999).map(|s| text::ms(s * 1e3));
    plot::open_stretched(page, HEIGHT, &spoken(span, phases, "p99.9 latency", tail));
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
    page.raw("</div></div><div class=\"row\"><span class=\"gutter\"></span><div class=\"view\">");
    plot::x_axis(page, &marks);
    page.raw("</div></div></div>");
    let mut head = vec!["percentile"];
    head.extend(curves.iter().map(|(phase, _)| phase.label.as_str()));
    page.raw("<details class=\"values\"><summary>Values</summary><div class=\"scroll tall\" tabindex=\"0\" role=\"region\" aria-label=\"Latency by percentile and phase\"><table id=\"percentile-values\"><thead><tr>");
    for column in head {
        page.element("<th scope=\"col\">", column, "</th>");
    }
    page.raw("</tr></thead><tbody>");
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
