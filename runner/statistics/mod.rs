//! The statistics that say how far figures can be believed: confidence in percentiles, whether arrivals
//! were what they were meant to be, whether one latency tells of the next. Pure.

mod exponential;
mod ranks;
mod succession;

pub use exponential::{CRITICAL_1_PERCENT, exponential_misfit};
pub use ranks::{Ranks, quantile_ranks};
pub use succession::{CRITICAL_Z, Succession, rank_correlation, succession};
