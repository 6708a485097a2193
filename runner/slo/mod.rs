//! The arithmetic of objectives, budgets and burn rates, and the evaluation of checks. Pure.
//!
//! Burn rate and budget follow the Google SRE Workbook, chapter 5 ("Alerting on SLOs"): a burn rate of 1
//! spends exactly the window's budget in the window. No samples is no data: never zero and never a pass.

pub mod burn;
mod confidence;
mod eval;
pub mod search;
mod tally;
mod value;

pub use confidence::{bad_ratio_below, share_interval};
pub use eval::{Sample, measure, measure_by, measure_unsure, text_of, text_of_value, value_of};
pub(crate) use eval::{evaluate, series_of};
pub use tally::Tally;
pub use value::Value;

use crate::units::Duration;

/// How many times faster than sustainable the error budget is being spent: bad ratio / (1 − objective).
///
/// `objective` is a share below 1; the answer is infinite for an objective of exactly 1 with anything bad.
pub fn burn_rate(bad_ratio: f64, objective: f64) -> f64 {
    bad_ratio / (1.0 - objective)
}

/// The share of the budget of `window` that burning at `burn` for `time` spends: burn · time / window.
pub fn budget_spent(burn: f64, time: Duration, window: Duration) -> f64 {
    burn * time.as_s() / window.as_s()
}

/// The share of the budget of `window` that `bad_s` seconds of being broken spend, counted by time.
pub fn budget_by_time(bad_s: f64, objective: f64, window: Duration) -> f64 {
    budget_spent(largest_burn(objective), Duration::from_ns((bad_s * 1e9).round() as u64), window)
}

/// How long a full outage may last in `window` without breaking `objective`.
pub fn allowed_downtime(objective: f64, window: Duration) -> Duration {
    Duration::from_ns(((1.0 - objective) * window.as_ns() as f64).round() as u64)
}

/// The burn rate that spends `share` of the budget of `window` in `time`.
pub fn burn_for(share: f64, time: Duration, window: Duration) -> f64 {
    share * window.as_s() / time.as_s()
}

/// The largest burn rate an objective can have: everything bad.
pub fn largest_burn(objective: f64) -> f64 {
    burn_rate(1.0, objective)
}

/// How long a total outage takes until the burn rate over a sliding window of `over` reaches `burn`;
/// nothing if it never does.
pub fn time_to_burn(burn: f64, objective: f64, over: Duration) -> Option<Duration> {
    let share = burn / largest_burn(objective);
    (share <= 1.0).then(|| Duration::from_ns((share * over.as_ns() as f64).round() as u64))
}

/// The bad ratio that `n` requests, none of them bad, exclude with 95% confidence: 1 − 0.05^(1/n)
/// (the exact form of the "rule of three").
pub fn bad_ratio_excluded_by(n: u64) -> f64 {
    -((0.05f64).ln() / n as f64).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86_400;

    fn check(found: f64, expected: f64, digits: i32, what: &str) {
        let half_unit = 0.5 * 10f64.powi(-digits) * (1.0 + 1e-9);
        assert!((found - expected).abs() <= half_unit, "{what}: {found}, expected {expected}");
    }

    #[test]
    fn the_golden_table_holds_to_the_printed_digit() {
        let days = |days: u64| Duration::from_s(days * DAY_S);
        let hours = |hours: u64| Duration::from_s(hours * 3_600);
        for (window, minutes) in [(30, 43.2), (28, 40.32), (365, 525.6)] {
            check(allowed_downtime(0.999, days(window)).as_s() / 60.0, minutes, 2, "allowed downtime");
        }
        check(burn_for(0.05, hours(1), days(30)), 36.0, 6, "5% in 1h");
        check(36.0 * (1.0 - 0.999), 0.036, 6, "its error ratio");
        check(burn_for(0.10, hours(6), days(30)), 12.0, 6, "10% in 6h");
        let alerts = [(0.02, 1), (0.05, 6), (0.10, 24), (0.10, 72)];
        for (window, burns) in [(30, [14.4, 6.0, 3.0, 1.0]), (28, [13.44, 5.6, 2.8, 0.9333])] {
            for ((share, time), burn) in alerts.iter().zip(burns) {
                check(burn_for(*share, hours(*time), days(window)), burn, 4, "alert burn");
            }
        }
        let outage = time_to_burn(14.4, 0.999, hours(1)).map(Duration::as_s);
        check(outage.unwrap_or(f64::NAN), 51.84, 2, "time until burn 14.4");
        let bad_ratio = 50_000.0 / (5_000.0 * 30.0 * DAY_S as f64);
        check(budget_spent(burn_rate(bad_ratio, 0.999), days(30), days(30)) * 100.0, 0.3858, 4, "by events");
        check(budget_by_time(600.0, 0.999, days(30)) * 100.0, 23.15, 2, "by time");
        check(bad_ratio_excluded_by(60_000) * 1e5, 4.993, 3, "60,000 requests, none bad");
        check(0.999f64.powi(3), 0.997_003, 6, "serial dependencies");
        check(largest_burn(0.95), 20.0, 6, "largest burn at 95%");
        assert_eq!(time_to_burn(36.0, 0.95, hours(1)), None, "a burn of 36 is out of reach at 95%");
    }
}
