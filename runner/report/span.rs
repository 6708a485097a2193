//! The time that the page's plots span: phases, when something was broken, and the points in between.
//!
//! Everything over time shares one axis, so that what happened can be read straight up and down: start at
//! [`Span::of`]. What is drawn along it is in `lanes` and `board`.

use super::Case;
use super::figures::breaks;
use super::plot::ACROSS;
use super::series::{self, Point};
use super::terminal::window;

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

/// The time that plots span, and what was measured in it.
pub(super) struct Span {
    /// Its start, in seconds since the run's start.
    pub from_s: f64,
    /// Its end, later than its start.
    pub to_s: f64,
    /// In order.
    pub phases: Vec<Band>,
    /// When each fault was in effect on some container; one still in effect lasts to the end.
    pub windows: Vec<(f64, f64)>,
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
        let windows = judgement.faults.iter().filter_map(|fault| {
            let (applied_s, undone_s) = window(fault)?;
            Some((applied_s, undone_s.unwrap_or(to_s)))
        });
        let windows = windows.collect();
        Self { from_s, to_s, phases, windows, points }
    }

    /// How far across `at_s` is: 0 to 1.
    pub fn share(&self, at_s: f64) -> f64 {
        ((at_s - self.from_s) / (self.to_s - self.from_s)).clamp(0.0, 1.0)
    }

    /// The same in units of the stretching part.
    pub fn x(&self, at_s: f64) -> f64 {
        self.share(at_s) * ACROSS
    }

    /// The phase that holds `at_s`; nothing between phases.
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
