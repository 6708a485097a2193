//! HdrHistogram's log format (`.hlog`): read, merged, and shown as its own tools show it. Pure.
//!
//! The format is that of HdrHistogram's `HistogramLogWriter`, version 1.3: comments, a header, and lines of
//! `[Tag=TAG,]START,LENGTH,MAX,HISTOGRAM`, the histogram being base64 of the compressed V2 form. Lines are
//! parsed by the `hdrhistogram` crate and histograms opened by [`crate::load::packed`], which refuses
//! those that claim more memory than they can use.

mod curve;
mod merge;
mod table;

pub use curve::curve;
pub use merge::{Choice, MAX_LINE_BYTES, Merged, Tagged};
pub use table::{Figures, figures, table};

/// How many of a histogram's unit (nanoseconds, of those written here) make one of what is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// Its sign.
    pub sign: &'static str,
    /// What values are divided by.
    pub divisor: f64,
}

impl Unit {
    /// Units of histograms of nanoseconds, and `raw` for histograms of anything else.
    pub const ALL: [Self; 5] = [
        Self { sign: "ns", divisor: 1.0 },
        Self { sign: "us", divisor: 1e3 },
        Self { sign: "ms", divisor: 1e6 },
        Self { sign: "s", divisor: 1e9 },
        Self { sign: "raw", divisor: 1.0 },
    ];
}
