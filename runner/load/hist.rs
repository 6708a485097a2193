//! A histogram of times, in a form that merges exactly and is small while nobody looks at it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::packed;
use crate::units::NS_PER_S;

/// A histogram of times in nanoseconds, 3 significant digits, 1 ns to 1 h. Saved as base64 of
/// HdrHistogram's V2 compressed form.
///
/// One read back stays in that form until it is asked or changed: open, it takes 100 KiB or more, and the
/// journal of an hour holds ten thousand of them.
#[derive(Clone, Default)]
pub struct Hist(Form);

#[derive(Clone, Default)]
enum Form {
    /// Nothing counted yet, and no room taken: of a journal's histograms nearly half stay so.
    #[default]
    Empty,
    Open(Histogram<u64>),
    /// Known to open: it was tried when it was read. With the number of values in it.
    Packed(Box<[u8]>, u64),
}

/// The longest time a histogram tells apart; longer ones count as this.
pub const HIST_MAX_NS: u64 = 3_600 * NS_PER_S;

/// Significant digits of every histogram.
const DIGITS: u8 = 3;

fn empty() -> Histogram<u64> {
    let mut histogram = Histogram::new(DIGITS).expect("3 significant digits are in HdrHistogram's range");
    // Grows with what it holds: most intervals span milliseconds, not the hour that is possible.
    histogram.auto(true);
    histogram
}

impl Hist {
    /// Counts one time.
    pub fn record(&mut self, ns: u64) {
        self.record_n(ns, 1);
    }

    /// Counts one time `n` times.
    pub fn record_n(&mut self, ns: u64, n: u64) {
        let ns = ns.clamp(1, HIST_MAX_NS);
        self.open_mut().record_n(ns, n).expect("a resizing histogram takes every value up to its hour");
    }

    /// Adds another histogram, exactly.
    pub fn merge(&mut self, other: &Self) {
        if other.count() == 0 {
            return;
        }
        let other = other.open();
        self.open_mut().add(other.as_ref()).expect("a resizing histogram takes every other");
    }

    /// Takes another histogram, which was added before, away again.
    ///
    /// # Panics
    ///
    /// If it was not added before: our own bug.
    pub fn take_away(&mut self, other: &Self) {
        if other.count() > 0 {
            let other = other.open();
            self.open_mut().subtract(other.as_ref()).expect("only what was added is taken away");
        }
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        match &self.0 {
            Form::Empty => 0,
            Form::Open(histogram) => histogram.len(),
            Form::Packed(_, count) => *count,
        }
    }

    /// True if none was counted.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The time in nanoseconds that `quantile` (0 to 1) of the counted ones do not exceed; nothing if none
    /// was counted.
    pub fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        let open = self.open();
        (!open.is_empty()).then(|| open.value_at_quantile(quantile).min(open.max()))
    }

    /// The same in seconds.
    pub fn quantile_s(&self, quantile: f64) -> Option<f64> {
        self.quantile_ns(quantile).map(|ns| ns as f64 / NS_PER_S as f64)
    }

    /// The mean in seconds; nothing if none was counted.
    pub fn mean_s(&self) -> Option<f64> {
        let open = self.open();
        (!open.is_empty()).then(|| open.mean() / NS_PER_S as f64)
    }

    /// The longest, in seconds; nothing if none was counted.
    pub fn max_s(&self) -> Option<f64> {
        self.quantile_s(1.0)
    }

    /// The histogram itself, for percentile curves and `.hlog` files; made anew where it was packed.
    pub fn open(&self) -> Cow<'_, Histogram<u64>> {
        match &self.0 {
            Form::Empty => Cow::Owned(empty()),
            Form::Open(histogram) => Cow::Borrowed(histogram),
            Form::Packed(bytes, _) => {
                Cow::Owned(unpack(bytes).expect("what opened when it was read opens again"))
            }
        }
    }

    fn open_mut(&mut self) -> &mut Histogram<u64> {
        if !matches!(self.0, Form::Open(_)) {
            self.0 = Form::Open(self.open().into_owned());
        }
        match &mut self.0 {
            Form::Open(histogram) => histogram,
            Form::Empty | Form::Packed(..) => unreachable!("it was opened just now"),
        }
    }
}

/// Opens what was saved, if it is what we would have written.
fn unpack(bytes: &[u8]) -> Result<Histogram<u64>, String> {
    let claim = packed::inflate(bytes)?;
    // The range is rounded up to a power of two.
    if claim.digits() != DIGITS || claim.high() > 2 * HIST_MAX_NS {
        return Err("a histogram of another precision or range".into());
    }
    let mut histogram = claim.open()?;
    histogram.auto(true);
    Ok(histogram)
}

impl PartialEq for Hist {
    fn eq(&self, other: &Self) -> bool {
        self.open() == other.open()
    }
}

impl fmt::Debug for Hist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.open();
        write!(f, "Hist({} values, max {} ns)", open.len(), open.max())
    }
}

impl Serialize for Hist {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Form::Packed(bytes, _) = &self.0 {
            return serializer.serialize_str(&BASE64.encode(bytes));
        }
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(self.open().as_ref(), &mut bytes)
            .map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&BASE64.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Hist {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let bytes = BASE64.decode(String::deserialize(deserializer)?).map_err(Error::custom)?;
        let count = unpack(&bytes).map_err(Error::custom)?.len();
        Ok(Self(Form::Packed(bytes.into(), count)))
    }
}
