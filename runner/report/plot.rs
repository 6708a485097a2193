//! The pieces plots are made of: scales, axes, areas and lines as SVG.
//!
//! Lines and areas are in an SVG that stretches, [`ACROSS`] units wide, with strokes that do not. Text is in SVGs
//! without a view box, so that it keeps its size on any screen; positions across are percentages there. So a zoom
//! is nothing but a wider plot. Nothing here knows what is plotted.

use super::markup::Page;

/// Units across the stretching part of a plot.
pub(super) const ACROSS: f64 = 1_000.0;

/// A scale for values, upwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From 0 to `max`.
    Linear {
        /// The value at the top.
        max: f64,
    },
    /// From `min` to `max`, both positive.
    Log {
        /// The value at the bottom.
        min: f64,
        /// The value at the top.
        max: f64,
    },
}

/// Above this ratio between the largest and the smallest value a linear scale would press most of them
/// against the axis.
const LINEAR_SPAN: f64 = 12.0;

impl Scale {
    /// A scale that holds all `values`; logarithmic where they span too much for a linear one. Values that are
    /// not positive are at the bottom.
    pub fn fit(values: impl Iterator<Item = f64> + Clone) -> Self {
        let max = values.clone().fold(0.0, f64::max);
        let min = values.filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        if max > min * LINEAR_SPAN {
            Self::Log { min: round_down(min), max: round_up(max) }
        } else {
            Self::linear(max)
        }
    }

    /// A linear scale from 0 that holds `max`.
    pub fn linear(max: f64) -> Self {
        // A step above the last full one leaves the peak visible under the frame.
        let step = step(max);
        Self::Linear { max: if max > 0.0 { (max / step).ceil() * step } else { 1.0 } }
    }

    /// True for a logarithmic scale.
    pub const fn is_log(self) -> bool {
        matches!(self, Self::Log { .. })
    }

    /// How far up `value` is: 0 at the bottom, 1 at the top.
    pub fn share(self, value: f64) -> f64 {
        match self {
            Self::Linear { max } => value / max,
            Self::Log { min, max } => (value.max(min) / min).ln() / (max / min).ln(),
        }
        .clamp(0.0, 1.0)
    }

    /// Values worth a line across, ascending.
    pub fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { max } => {
                let step = step(max);
                (0..=(max / step).round() as u32).map(|at| f64::from(at) * step).collect()
            }
            Self::Log { min, max } => {
                let decades = (max / min).log10();
                let of_decade: &[f64] = if decades <= 2.7 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                (min.log10().floor() as i32..=max.log10().ceil() as i32)
                    .flat_map(|exponent| of_decade.iter().map(move |digit| digit * 10f64.powi(exponent)))
                    .filter(|tick| (min * 0.999..=max * 1.001).contains(tick))
                    .collect()
            }
        }
    }
}

/// The step between ticks of a linear scale up to `max`: 1, 2 or 5 of a power of ten, at most five of them.
fn step(max: f64) -> f64 {
    if max <= 0.0 {
        return 1.0;
    }
    let rough = max / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let digit =
        [1.0, 2.0, 5.0, 10.0].into_iter().find(|digit| digit * power >= rough * 0.999).unwrap_or(10.0);
    digit * power
}

/// The next 1, 2 or 5 of a power of ten, upwards.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|nice| *nice >= value * 0.999)
        .unwrap_or(value)
}

/// The same, downwards.
fn round_down(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|nice| *nice <= value * 1.001)
        .unwrap_or(value)
}

/// Seconds worth a mark on a time axis from `from_s` to `to_s`: at most ten, at round times.
pub(super) fn time_ticks(from_s: f64, to_s: f64) -> Vec<f64> {
    const STEPS_S: [f64; 14] =
        [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0];
    let span_s = to_s - from_s;
    let days_s = (span_s / 10.0 / 86_400.0).ceil() * 86_400.0;
    let step_s = STEPS_S.into_iter().find(|step_s| span_s / step_s <= 10.0).unwrap_or(days_s);
    let first = (from_s / step_s).ceil() as u64;
    (first..).map(|at| at as f64 * step_s).take_while(|tick_s| *tick_s <= to_s + 1e-9).take(32).collect()
}

/// A time on an axis that goes up to `most_s`: `20 s`, `1:30`, `1:05:00`.
pub(super) fn time_label(at_s: f64, most_s: f64) -> String {
    let whole = at_s.round() as u64;
    if most_s < 2.0 {
        format!("{at_s:.1} s")
    } else if most_s < 120.0 {
        format!("{whole} s")
    } else if most_s < 3_600.0 {
        format!("{}:{:02}", whole / 60, whole % 60)
    } else {
        format!("{}:{:02}:{:02}", whole / 3_600, whole / 60 % 60, whole % 60)
    }
}

/// Labels of a plot `height` pixels high, in a column of their own at its left.
pub(super) fn y_labels(page: &mut Page, scale: Scale, height: f64, label: impl Fn(f64) -> String) {
    page.raw("<svg class=\"gutter\" aria-hidden=\"true\"").attr_number("height", height, "").raw(">");
    let ticks = scale.ticks();
    // A low plot has room for its ends alone.
    let every = (ticks.len() as f64 * LABEL_HEIGHT / height).ceil().max(1.0) as usize;
    for tick in ticks.into_iter().step_by(every) {
        let y = height * (1.0 - scale.share(tick));
        page.raw("<text class=\"y\" x=\"100%\" dx=\"-8\"").attr_number("y", (y + 4.0).max(9.0), "").raw(">");
        page.text(&label(tick)).raw("</text>");
    }
    page.raw("</svg>");
}

/// Pixels that a label takes with its room.
const LABEL_HEIGHT: f64 = 18.0;

/// Lines across a plot `height` pixels high, at its labels.
pub(super) fn rules(page: &mut Page, scale: Scale, height: f64) {
    page.raw("<svg class=\"rules\" aria-hidden=\"true\"").attr_number("height", height, "").raw(">");
    for tick in scale.ticks() {
        let y = height * (1.0 - scale.share(tick));
        page.raw("<line class=\"grid\" x1=\"0\" x2=\"100%\"").attr_number("y1", y, "");
        page.attr_number("y2", y, "").raw("/>");
    }
    page.raw("</svg>");
}

/// The height of an axis below a plot, in pixels.
const AXIS_HEIGHT: f64 = 24.0;

/// An axis with labels: share across (0 to 1) and text. Every second one is left out where there is no room.
pub(super) fn x_axis(page: &mut Page, ticks: &[(f64, String)]) {
    page.raw("<svg class=\"ticks\" aria-hidden=\"true\"").attr_number("height", AXIS_HEIGHT, "");
    page.raw("><line class=\"axis\" x1=\"0\" x2=\"100%\" y1=\"0.5\" y2=\"0.5\"/>");
    for (at, (share, label)) in ticks.iter().enumerate() {
        page.raw(match (*share, at % 2 == 0) {
            // Centred, it would stick out of the page.
            (last, true) if last > 0.96 => "<text class=\"x last\"",
            (last, false) if last > 0.96 => "<text class=\"x last wide\"",
            (first, _) if first < 0.02 => "<text class=\"x first\"",
            (_, true) => "<text class=\"x\"",
            (_, false) => "<text class=\"x wide\"",
        });
        page.attr_number("x", share * 100.0, "%").raw(" y=\"17\">").text(label).raw("</text>");
    }
    page.raw("</svg>");
}

/// Opens the stretching part of a plot `height` pixels high; `spoken` says what it shows.
pub(super) fn open_stretched(page: &mut Page, height: f64, spoken: &str) {
    page.raw("<svg class=\"stretched\" role=\"img\" width=\"100%\"").attr_number("height", height, "");
    page.raw(" viewBox=\"0 0 1000 ").number(height).raw("\" preserveAspectRatio=\"none\" aria-label=\"");
    page.prose(spoken).raw("\">");
}

/// A line through points given as units across and pixels down; a gap where there is none.
pub(super) fn line(page: &mut Page, class: &'static str, points: impl Iterator<Item = Option<(f64, f64)>>) {
    page.raw("<path class=\"").raw(class).raw("\" d=\"");
    let mut pen_down = false;
    for point in points {
        if let Some((x, y)) = point {
            page.raw(if pen_down { "L" } else { "M" }).number(x).raw(" ").number(y);
            if !pen_down {
                // A lone point still shows: round caps make it a dot.
                page.raw("h0");
            }
        }
        pen_down = point.is_some();
    }
    page.raw("\"/>");
}

/// A band between two lines, given as units across and pixels down of its upper and its lower edge; a gap where
/// there is none.
pub(super) fn band(page: &mut Page, class: &'static str, points: &[Option<[f64; 3]>]) {
    page.raw("<path class=\"").raw(class).raw("\" d=\"");
    for stretch in points.split(Option::is_none) {
        let edge = |page: &mut Page, at: usize, point: &Option<[f64; 3]>, pen: &'static str| {
            if let Some(point) = point {
                page.raw(pen).number(point[0]).raw(" ").number(point[at]);
            }
        };
        for (at, point) in stretch.iter().enumerate() {
            edge(page, 1, point, if at == 0 { "M" } else { "L" });
        }
        stretch.iter().rev().for_each(|point| edge(page, 2, point, "L"));
        page.raw(if stretch.is_empty() { "" } else { "z" });
    }
    page.raw("\"/>");
}

/// An area between two edges, as steps: each item is from, to (units across), top and bottom (pixels down).
pub(super) fn area(page: &mut Page, class: &'static str, steps: impl Iterator<Item = [f64; 4]>) {
    page.raw("<path class=\"").raw(class).raw("\" d=\"");
    for [from, to, top, bottom] in steps {
        // Nothing to see: thousands of empty boxes would only cost bytes.
        if bottom - top < 0.005 {
            continue;
        }
        page.raw("M").number(from).raw(" ").number(bottom).raw("V").number(top).raw("H").number(to);
        page.raw("V").number(bottom).raw("z");
    }
    page.raw("\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_fit_what_they_hold() {
        assert_eq!(Scale::fit([3.0, 14.0].into_iter()), Scale::Linear { max: 15.0 });
        assert_eq!(Scale::fit([2.3, 212.0].into_iter()), Scale::Log { min: 2.0, max: 500.0 });
        assert_eq!(Scale::fit([0.0].into_iter()), Scale::Linear { max: 1.0 });
        assert_eq!(Scale::linear(2_040.0).ticks(), [0.0, 500.0, 1_000.0, 1_500.0, 2_000.0, 2_500.0]);
        let log = Scale::Log { min: 2.0, max: 500.0 };
        assert_eq!(
            log.ticks().iter().map(|tick| tick.round()).collect::<Vec<_>>(),
            [2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
        );
        assert_eq!((log.share(2.0), log.share(500.0), log.share(0.0)), (0.0, 1.0, 0.0));
    }

    #[test]
    fn time_marks_are_round_and_few() {
        assert_eq!(time_ticks(0.4, 70.0), [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]);
        for span_s in [0.5, 3.0, 59.0, 119.0, 3_600.0, 86_400.0, 1e7] {
            let ticks = time_ticks(0.0, span_s);
            assert!((2..=11).contains(&ticks.len()), "{span_s}: {ticks:?}");
        }
        assert_eq!(time_label(90.0, 300.0), "1:30");
        assert_eq!(time_label(3_900.0, 7_200.0), "1:05:00");
    }
}
