//! Was the generator itself fit to measure? A pure function of how it fared.
//!
//! A generator that could not keep its schedule measures itself, not the system, and a run on its figures
//! would be worse than none. So it says so, why, and what this machine can hold.

use std::collections::BTreeMap;

use super::progress::Fared;
use super::record::{Hist, Stats};
use super::stretch::Stretch;
use crate::event::{self, Headroom, SelfWatch};
use crate::units::NS_PER_S;

/// Send lag that is never held against the generator: a hiccup of a busy shared machine's scheduler. It is
/// in the latency reported, which it can only make look worse.
const LAG_ALLOWED_NS: u64 = 25_000_000;

/// Beyond that, the share of the median latency that send lag may reach at its 99th percentile before it
/// distorts what is measured.
const LAG_ALLOWED_SHARE: f64 = 0.1;

/// The share of the time that it may be behind its schedule. Its requests then sit in the latency tail
/// that percentiles report.
const BEHIND_ALLOWED_SHARE: f64 = 0.01;

/// Being behind for less than this in all is a hiccup, however short the run.
const BEHIND_ALLOWED_NS: u64 = NS_PER_S / 5;

/// What was measured over the whole run, as far as fitness asks.
#[derive(Debug, Default)]
pub struct Measured {
    /// Of every arrival that was sent.
    pub send_lag: Hist,
    /// Of every arrival that was sent and ended.
    pub latency: Hist,
    /// Failures that were this machine's own, by class.
    pub local_errors: BTreeMap<&'static str, u64>,
    /// The share of the machine's CPU time that its hypervisor gave to others.
    pub steal_ratio: Option<f64>,
    /// Files open at once.
    pub open_files: Option<Headroom>,
    /// Ports taken.
    pub ports: Option<Headroom>,
    /// Successive arrivals of each load.
    pub stretches: Vec<Stretch>,
}

/// What fitness asks about a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its name.
    pub load: String,
    /// True if its arrivals are to be poisson at one rate.
    pub poisson: bool,
}

/// Time taken by the hypervisor that a reader should know of: it comes in pieces of milliseconds.
const STEAL_TOLD: f64 = 0.01;

/// The share of a limit from which on it is told: the next run may be a little larger.
const LIMIT_TOLD: f64 = 0.8;

/// A stall that is told although the schedule was kept on the whole.
const STALL_TOLD_NS: u64 = 50_000_000;

/// Judges a generator asked for these loads, `rate_per_s` in all, by how its threads fared.
pub fn judge(measured: &Measured, asked: &[Asked], threads: &[Fared], rate_per_s: f64) -> event::Generator {
    let mut reasons = Vec::new();
    let fared = worst(threads);
    let lag_ns = measured.send_lag.quantile_ns(0.99).unwrap_or(0);
    let median_ns = measured.latency.quantile_ns(0.5).unwrap_or(0);
    let allowed_ns = LAG_ALLOWED_NS.max((median_ns as f64 * LAG_ALLOWED_SHARE) as u64);
    if lag_ns > allowed_ns {
        reasons.push(format!("1 in 100 requests was sent more than {:.0} ms late", lag_ns as f64 / 1e6));
    }
    let behind = fared.behind_ns as f64 / (fared.wall_ns as f64).max(1.0);
    if behind > BEHIND_ALLOWED_SHARE && fared.behind_ns > BEHIND_ALLOWED_NS {
        reasons.push(format!(
            "it was behind its schedule for {:.0}% of the time, by up to {:.1} s",
            behind * 100.0,
            fared.furthest_ns as f64 / 1e9
        ));
    }
    if !reasons.is_empty() && fared.behind_ns > BEHIND_ALLOWED_NS {
        let held_per_s = fared.behind_count as f64 * 1e9 / fared.behind_ns as f64;
        if held_per_s < rate_per_s {
            reasons.push(format!("this machine held {held_per_s:.0}/s of the {rate_per_s:.0}/s asked for"));
        }
    }
    for (class, count) in &measured.local_errors {
        reasons.push(format!("{count} requests failed on this machine itself ({class})"));
    }
    event::Generator {
        cpu_ratio: (fared.wall_ns > 0)
            .then(|| fared.cpu_ns as f64 / (fared.wall_ns as f64 * threads.len() as f64)),
        saturated: !reasons.is_empty(),
        why: reasons.join("; "),
        watch: watch(measured, asked, threads),
    }
}

/// What the generator saw of itself, with what a reader should know of it in words.
fn watch(measured: &Measured, asked: &[Asked], threads: &[Fared]) -> SelfWatch {
    let mut warnings = Vec::new();
    let stall_ns = threads.iter().map(|fared| fared.longest_stall_ns).max();
    if let Some(stall_ns) = stall_ns.filter(|stall_ns| *stall_ns > STALL_TOLD_NS) {
        warnings.push(format!(
            "a sending thread stood still for {:.0} ms: another process had its core, or the machine was paused",
            stall_ns as f64 / 1e6
        ));
    }
    if let Some(steal) = measured.steal_ratio.filter(|steal| *steal > STEAL_TOLD) {
        warnings.push(format!(
            "the hypervisor gave {:.1}% of this machine's CPU time to others; latencies hold its pauses",
            steal * 100.0
        ));
    }
    for (what, remedy, room) in [
        ("open files", "raise the limit with `ulimit -n`", measured.open_files),
        ("local ports", "keep connections open, or widen net.ipv4.ip_local_port_range", measured.ports),
    ] {
        if let Some(room) = room.filter(|room| room.most as f64 > LIMIT_TOLD * room.limit as f64) {
            warnings.push(format!("{} of {} {what} were in use; {remedy}", room.most, room.limit));
        }
    }
    let mut arrivals = BTreeMap::new();
    let mut succession = BTreeMap::new();
    for (asked, stretch) in asked.iter().zip(&measured.stretches) {
        if let Some(check) = stretch.arrivals().filter(|_| asked.poisson) {
            if !check.poisson {
                warnings.push(format!(
                    "arrivals of `{}` were not poisson as sent (A² {:.2}, 1 in 100 is above {:.2}): send lag is \
                     not small beside the gaps between them",
                    asked.load, check.misfit, check.critical
                ));
            }
            arrivals.insert(asked.load.clone(), check);
        }
        if let Some(check) = stretch.succession() {
            succession.insert(asked.load.clone(), check);
        }
    }
    SelfWatch {
        warnings,
        threads: threads
            .iter()
            .map(|fared| if fared.wall_ns > 0 { fared.cpu_ns as f64 / fared.wall_ns as f64 } else { 0.0 })
            .collect(),
        realtime: (!threads.is_empty()).then(|| threads.iter().all(|fared| fared.realtime)),
        longest_stall_ms: stall_ns.map(|stall_ns| stall_ns as f64 / 1e6),
        steal_ratio: measured.steal_ratio,
        open_files: measured.open_files,
        ports: measured.ports,
        arrivals,
        succession,
    }
}

/// All threads in one: their work together, the lateness of the worst. Threads share arrivals evenly, so
/// what one could hold, each could.
fn worst(threads: &[Fared]) -> Fared {
    let longest = threads.iter().max_by_key(|fared| fared.behind_ns).copied().unwrap_or_default();
    Fared {
        cpu_ns: threads.iter().map(|fared| fared.cpu_ns).sum(),
        wall_ns: threads.iter().map(|fared| fared.wall_ns).max().unwrap_or(0),
        scheduled: threads.iter().map(|fared| fared.scheduled).sum(),
        behind_count: longest.behind_count * threads.len() as u64,
        furthest_ns: threads.iter().map(|fared| fared.furthest_ns).max().unwrap_or(0),
        realtime: threads.iter().all(|fared| fared.realtime),
        ..longest
    }
}

/// Why a stretch measured the generator and not the system; nothing if it did not. `due` arrivals were meant
/// to be sent, `burst` at once; `ended` is how many did, or hang.
pub fn unfit(stats: &Stats, ended: u64, due: f64, burst: u32) -> Option<String> {
    /// Standard deviations of a Poisson count that are still chance.
    const CHANCE: f64 = 5.0;
    let lag_ns = stats.send_lag.quantile_ns(0.99).unwrap_or(0);
    let median_ns = stats.latency.quantile_ns(0.5).unwrap_or(0);
    let local: u64 =
        stats.errors.iter().filter(|(class, _)| class.starts_with("local")).map(|(_, count)| count).sum();
    if lag_ns > LAG_ALLOWED_NS.max((median_ns as f64 * LAG_ALLOWED_SHARE) as u64) {
        Some(format!("1 in 100 requests was sent more than {:.0} ms late", lag_ns as f64 / 1e6))
    } else if (ended as f64) < due - CHANCE * (due * f64::from(burst)).sqrt() - f64::from(burst) {
        Some(format!("{ended} of {due:.0} requests were sent"))
    } else if local > 0 {
        Some(format!("{local} requests failed on this machine itself"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn check(lag_ms: u64, latency_ms: u64, fared: Fared, local: &[(&'static str, u64)], expected: &str) {
        let mut measured = Measured { local_errors: local.iter().copied().collect(), ..Measured::default() };
        measured.send_lag.record_n(lag_ms * MS, 100);
        measured.latency.record_n(latency_ms * MS, 100);
        let found = judge(&measured, &[], &[Fared { cpu_ns: 5, wall_ns: 10_000 * MS, ..fared }], 1_000.0);
        assert_eq!(found.why, expected);
        assert_eq!(found.saturated, !expected.is_empty());
    }

    #[test]
    fn a_stretch_that_measured_the_generator_says_so() {
        let stretch = |lag_ms: u64, local: u64| {
            let mut stats = Stats::default();
            stats.send_lag.record_n(lag_ms * MS, 100);
            stats.latency.record_n(20 * MS, 100);
            stats.errors = [("local: ports".to_owned(), local), ("refused".to_owned(), 5)].into();
            stats
        };
        assert_eq!(unfit(&stretch(24, 0), 960, 1_000.0, 1), None);
        let said = |stats: &Stats, ended| unfit(stats, ended, 1_000.0, 1).unwrap();
        assert_eq!(said(&stretch(30, 0), 1_000), "1 in 100 requests was sent more than 30 ms late");
        assert_eq!(said(&stretch(1, 0), 800), "800 of 1000 requests were sent");
        assert_eq!(unfit(&stretch(1, 0), 800, 1_000.0, 50), None, "bursts of 50 vary by as much");
        assert_eq!(said(&stretch(1, 3), 1_000), "3 requests failed on this machine itself");
    }

    #[test]
    fn a_generator_that_could_not_keep_up_says_so() {
        let fine = Fared::default();
        check(24, 20, fine, &[], "");
        check(26, 20, fine, &[], "1 in 100 requests was sent more than 26 ms late");
        // A tenth of what is measured does not distort it.
        check(40, 500, fine, &[], "");
        let behind = Fared { behind_ns: 5_000 * MS, behind_count: 2_500, furthest_ns: 2_500 * MS, ..fine };
        check(
            1,
            20,
            behind,
            &[],
            "it was behind its schedule for 50% of the time, by up to 2.5 s; this machine held 500/s of the \
             1000/s asked for",
        );
        check(1, 20, Fared { behind_ns: 190 * MS, behind_count: 9, furthest_ns: 190 * MS, ..fine }, &[], "");
        check(1, 20, fine, &[("local: ports", 7)], "7 requests failed on this machine itself (local: ports)");
    }
}
