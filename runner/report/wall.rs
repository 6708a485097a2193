//! Instants of a run as wall-clock time, for programs that know no other: the run's start, and what the one monotonic
//! clock says since. A journal without a start has no wall-clock times.

use super::Case;

/// The instant `at_s` seconds after the run's start, RFC 3339 in UTC with milliseconds.
pub(super) fn at_s(case: &Case<'_>, at_s: f64) -> Option<String> {
    at_ns(case, (at_s * 1e9) as u64)
}

/// The instant `t_ns` nanoseconds after the run's start.
pub(super) fn at_ns(case: &Case<'_>, t_ns: u64) -> Option<String> {
    let start: jiff::Timestamp = case.started.wall.parse().ok()?;
    let ns = start.as_nanosecond().checked_add(i128::from(t_ns))?;
    Some(format!("{:.3}", jiff::Timestamp::from_nanosecond(ns).ok()?))
}

/// The run's start as a person reads it: `2026-03-01 10:00:00 UTC`; as it stands in the journal if it is no time.
pub(super) fn start(rfc3339: &str) -> String {
    match rfc3339.strip_suffix('Z').and_then(|local| local.split_once('T')) {
        Some((date, time)) => format!("{date} {} UTC", time.split('.').next().unwrap_or(time)),
        None => rfc3339.to_owned(),
    }
}
