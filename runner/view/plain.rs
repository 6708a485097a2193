//! The view without a terminal: one line a second, readable in a CI log.

use super::watch::Watch;
use crate::event::{Entry, Event, Tick};
use crate::report::text::{self, clean};
use crate::units::NS_PER_S;

/// The line for an event that is not news by itself: a tick, with everything that matters just then.
pub(super) fn line(watch: &Watch, entry: &Entry) -> Option<String> {
    let Event::Tick(tick) = &entry.event else {
        return None;
    };
    let mut parts = vec![clean(watch.phase_name().unwrap_or("-"), 24)];
    parts.push(stream(tick));
    let active = watch.active.len();
    if active > 0 {
        parts.push(format!("{active} broken"));
    }
    Some(parts.join("  "))
}

/// The stream in a few figures: `2,000/s  good 99.97%  p50 3.10 ms  p99 14.0 ms  12 in flight`.
pub(super) fn stream(tick: &Tick) -> String {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    format!(
        "{}/s  good {}  p50 {}  p99 {}  {} in flight",
        text::rate(tick.rate_per_s),
        or_dash(tick.good_ratio.map(text::ratio)),
        or_dash(tick.p50_ms.map(text::ms)),
        or_dash(tick.p99_ms.map(text::ms)),
        text::count(tick.in_flight),
    )
}

/// `line` with its instant before it: `  12.3s  …`.
pub(super) fn stamped(t_ns: u64, line: &str) -> String {
    format!("{:>7.1}s  {line}", t_ns as f64 / NS_PER_S as f64)
}
