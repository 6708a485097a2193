//! The time that plots span: phases, faults, and points in between, and how they are drawn along it.
//!
//! Phases are named above a plot and marked by lines; faults are named in lanes below the phases and shaded.

use super::Case;
use super::figures::breaks;
use super::markup::Page;
use super::plot::{self, ACROSS};
use super::series::{self, Point};
use super::terminal::window;

/// Fault windows above each other; more share the last lane.
const LANES_MAX: usize = 4;

/// A stretch of time with a name.
pub(super) struct Band {
    /// Its name; anyone's.
    pub label: String,
    /// Its start, in seconds since the run's start.
    pub from_s: f64,
    /// Its end.
    pub to_s: f64,
    /// True if something was broken in it.
    pub broken: bool,
}

/// The time that plots span, and what happened in it.
pub(super) struct Span {
    from_s: f64,
    to_s: f64,
    /// In order.
    pub phases: Vec<Band>,
    faults: Vec<Band>,
    /// All loads together.
    pub points: Vec<Point>,
}

impl Span {
    /// What `case` plots over time.
    pub fn of(case: &Case<'_>) -> Self {
        let judgement = case.judgement;
        let phases: Vec<Band> = judgement
            .phases
            .iter()
            .map(|phase| Band {
                label: phase.name.clone(),
                from_s: phase.from_s,
                to_s: phase.to_s,
                broken: breaks(case, phase),
            })
            .collect();
        let edges_s: Vec<f64> = phases.iter().map(|phase| phase.from_s).collect();
        let mut points = series::over_time(case.entries, &edges_s);
        // Between the last phase and the load's stop lie milliseconds, whose rate says nothing.
        points.retain(|point| phases.last().is_none_or(|last| point.middle_s() < last.to_s));
        let starts = phases.iter().map(|phase| phase.from_s).chain(points.first().map(|point| point.from_s));
        let ends = phases.iter().map(|phase| phase.to_s).chain(points.last().map(|point| point.to_s));
        let from_s = starts.reduce(f64::min).unwrap_or(0.0);
        let to_s = ends.reduce(f64::max).unwrap_or(1.0).max(from_s + 0.001);
        let faults = judgement.faults.iter().filter_map(|fault| {
            let (applied_s, undone_s) = window(fault)?;
            let on: Vec<&str> = fault.targets.iter().map(|target| target.container.as_str()).collect();
            let on = if on.len() > 2 { format!("{} containers", on.len()) } else { on.join(", ") };
            Some(Band {
                label: format!("{} {on}", fault.kind),
                from_s: applied_s,
                to_s: undone_s.unwrap_or(to_s),
                broken: true,
            })
        });
        let faults = faults.collect();
        Self { from_s, to_s, phases, faults, points }
    }

    /// How far across `at_s` is: 0 to 1.
    fn share(&self, at_s: f64) -> f64 {
        ((at_s - self.from_s) / (self.to_s - self.from_s)).clamp(0.0, 1.0)
    }

    /// The same in units of the stretching part.
    pub fn x(&self, at_s: f64) -> f64 {
        self.share(at_s) * ACROSS
    }

    pub fn phase_at(&self, at_s: f64) -> &str {
        let found = self.phases.iter().find(|phase| (phase.from_s..phase.to_s).contains(&at_s));
        found.map_or("", |phase| phase.label.as_str())
    }

    /// How long a point lasts, in words: `1 s`.
    pub fn grain(&self) -> String {
        let longest_s = self.points.iter().map(|point| point.to_s - point.from_s).fold(0.0, f64::max);
        format!("{} s", (longest_s * 10.0).round() / 10.0)
    }
}

/// Phases and faults as labelled strips above a plot.
pub(super) fn strips(page: &mut Page, span: &Span) {
    let strip = |page: &mut Page, bands: &mut dyn Iterator<Item = &Band>, fault: &'static str| {
        for band in bands {
            let (from, to) = (span.share(band.from_s) * 100.0, span.share(band.to_s) * 100.0);
            page.raw(if band.broken { fault } else { "<span" });
            page.attr("title", &band.label);
            page.raw(" style=\"left:").number(from).raw("%;width:").number(to - from).raw("%\">");
            page.text(&band.label).raw("</span>");
        }
    };
    page.raw("<div class=\"strip\" aria-hidden=\"true\">");
    strip(page, &mut span.phases.iter(), "<span class=\"broken\"");
    page.raw("</div>");
    let lanes = lanes(&span.faults);
    for lane in 0..lanes.iter().map(|lane| lane + 1).max().unwrap_or(0) {
        page.raw("<div class=\"strip faults\" aria-hidden=\"true\">");
        let mut of_lane = span.faults.iter().zip(&lanes).filter(|(_, of)| **of == lane).map(|(band, _)| band);
        strip(page, &mut of_lane, "<span class=\"fault\"");
        page.raw("</div>");
    }
}

/// A lane for each band, so that bands that overlap do not share one while there are lanes.
fn lanes(bands: &[Band]) -> Vec<usize> {
    let mut free_s: Vec<f64> = Vec::new();
    let choose = |band: &Band| {
        let lane =
            free_s.iter().position(|end_s| *end_s <= band.from_s).unwrap_or(free_s.len()).min(LANES_MAX - 1);
        if lane == free_s.len() {
            free_s.push(band.to_s);
        } else {
            free_s[lane] = free_s[lane].max(band.to_s);
        }
        lane
    };
    bands.iter().map(choose).collect()
}

/// Fault windows shaded, and a line where each phase begins.
pub(super) fn windows(page: &mut Page, span: &Span, height: f64) {
    for fault in &span.faults {
        let (from, to) = (span.share(fault.from_s) * 100.0, span.share(fault.to_s) * 100.0);
        page.raw("<rect class=\"window\" y=\"0\"").attr_number("x", from, "%").attr_number(
            "width",
            to - from,
            "%",
        );
        page.attr_number("height", height, "").raw("/>");
    }
    for phase in span.phases.iter().skip(1) {
        let x = span.share(phase.from_s) * 100.0;
        page.raw("<line class=\"edge\" y1=\"0\"").attr_number("y2", height, "");
        page.attr_number("x1", x, "%").attr_number("x2", x, "%").raw("/>");
    }
}

pub(super) fn time_axis(page: &mut Page, span: &Span, height: f64) {
    let ticks: Vec<(f64, String)> = plot::time_ticks(span.from_s, span.to_s)
        .into_iter()
        .map(|at_s| (span.share(at_s), plot::time_label(at_s, span.to_s)))
        .collect();
    plot::x_axis(page, height, &ticks);
}
