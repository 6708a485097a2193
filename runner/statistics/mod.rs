//! The statistics that say how far figures can be believed: confidence in percentiles, whether arrivals
//! were what they were meant to be, whether one latency tells of the next, whether two samples differ. Pure.

mod exponential;
mod ranks;
mod succession;
mod whitney;

pub use exponential::{CRITICAL_1_PERCENT, exponential_misfit};
pub use ranks::{Ranks, quantile_ranks};
pub use succession::{CRITICAL_Z, Succession, rank_correlation, succession};
pub use whitney::{WHITNEY_LEAST, Whitney, whitney};

/// How many seconds some spans of nanoseconds cover together, in any order: what lies in several counts once.
pub fn covered_s(mut spans: Vec<(u64, u64)>) -> f64 {
    spans.sort_unstable();
    let (mut covered_ns, mut reached_ns) = (0, 0);
    for (from_ns, to_ns) in spans {
        covered_ns += to_ns.saturating_sub(from_ns.max(reached_ns));
        reached_ns = reached_ns.max(to_ns);
    }
    covered_ns as f64 / 1e9
}
