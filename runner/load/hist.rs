//! A histogram of times, in a form that merges exactly and is small while nobody looks at it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::packed::{self, Claim};
use super::sparse::{self, Counts};
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
    Packed(Packed),
}

/// A histogram as it was saved, known to open: its counts were walked when it was read.
#[derive(Clone)]
struct Packed {
    /// As it is written again.
    saved: Box<[u8]>,
    /// The same inflated, which is still small: inflating costs more than all else that reading does, and most
    /// histograms are asked several times.
    claim: Claim,
    /// The number of values in it.
    count: u64,
}

impl Packed {
    /// Looks at what was saved without opening it, and counts its values.
    fn look(saved: Vec<u8>) -> Result<Self, String> {
        let claim = packed::inflate(&saved)?;
        // The range is rounded up to a power of two.
        if claim.digits() != DIGITS || claim.high() > 2 * HIST_MAX_NS || !claim.is_plain() {
            return Err("a histogram of another precision or range".into());
        }
        // A histogram has counters up to a power of two.
        let limit = sparse::limit(claim.high());
        let mut total = 0u64;
        for counted in Counts::of(claim.payload()) {
            let (value, count) = counted?;
            if value >= limit {
                return Err("it counts values beyond its range".into());
            }
            total = total.checked_add(count).ok_or("it counts more than 64 bits hold")?;
        }
        Ok(Self { saved: saved.into(), claim, count: total })
    }

    /// Every value that was counted, in order, and how often.
    fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        Counts::of(self.claim.payload()).flatten()
    }

    fn open(&self) -> Histogram<u64> {
        let mut histogram = self.claim.open().expect("what was looked at when it was read opens");
        histogram.auto(true);
        histogram
    }
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
        let mine = self.open_mut();
        match &other.0 {
            Form::Packed(packed) => packed.counts().for_each(|(value, count)| {
                mine.record_n(value, count).expect("a resizing histogram takes every value up to its hour");
            }),
            _ => mine.add(other.open().as_ref()).expect("a resizing histogram takes every other"),
        }
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
            Form::Packed(packed) => packed.count,
        }
    }

    /// True if none was counted.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The time in nanoseconds that `quantile` (0 to 1) of the counted ones do not exceed; nothing if none
    /// was counted.
    pub fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        self.quantiles_ns([quantile]).map(|[ns]| ns)
    }

    /// The same of several, given in ascending order, in one walk.
    pub fn quantiles_ns<const N: usize>(&self, quantiles: [f64; N]) -> Option<[u64; N]> {
        let Form::Packed(packed) = &self.0 else {
            let open = self.open();
            return (!open.is_empty())
                .then(|| quantiles.map(|quantile| open.value_at_quantile(quantile).min(open.max())));
        };
        let total = packed.count;
        if total == 0 {
            return None;
        }
        // As HdrHistogram does: the counter that holds the value of this rank, its highest value.
        let ranks = quantiles.map(|quantile| ((quantile * total as f64).ceil() as u64).clamp(1, total));
        let (mut found, mut next, mut seen) = ([0; N], 0, 0u64);
        packed.counts().for_each(|(value, count)| {
            seen += count;
            while next < N && ranks[next] <= seen {
                found[next] = if quantiles[next] > 0.0 { sparse::highest(value) } else { value };
                next += 1;
            }
        });
        Some(found)
    }

    /// Calls `take` with every time that was counted, in ascending order, and how often. A time stands for those that
    /// the histogram does not tell from it, and is the lowest of them, in nanoseconds.
    pub fn walk(&self, mut take: impl FnMut(u64, u64)) {
        match &self.0 {
            Form::Empty => {}
            Form::Packed(packed) => packed.counts().for_each(|(ns, count)| take(ns, count)),
            Form::Open(open) => open
                .iter_recorded()
                .for_each(|at| take(open.lowest_equivalent(at.value_iterated_to()), at.count_at_value())),
        }
    }

    /// The histogram in HdrHistogram's compressed V2 form, base64, as it is saved.
    pub fn encoded(&self) -> String {
        if let Form::Packed(packed) = &self.0 {
            return BASE64.encode(&packed.saved);
        }
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(self.open().as_ref(), &mut bytes)
            .expect("any histogram can be written to memory");
        BASE64.encode(bytes)
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
            Form::Packed(packed) => Cow::Owned(packed.open()),
        }
    }

    fn open_mut(&mut self) -> &mut Histogram<u64> {
        if !matches!(self.0, Form::Open(_)) {
            self.0 = Form::Open(self.open().into_owned());
        }
        match &mut self.0 {
            Form::Open(histogram) => histogram,
            Form::Empty | Form::Packed(_) => unreachable!("it was opened just now"),
        }
    }
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
        serializer.serialize_str(&self.encoded())
    }
}

impl<'de> Deserialize<'de> for Hist {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let bytes = BASE64.decode(String::deserialize(deserializer)?).map_err(Error::custom)?;
        Packed::look(bytes).map(|packed| Self(Form::Packed(packed))).map_err(Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hist(values: &[(u64, u64)]) -> Hist {
        let mut hist = Hist::default();
        values.iter().for_each(|(ns, n)| hist.record_n(*ns, *n));
        hist
    }

    fn saved(hist: &Hist) -> Hist {
        serde_json::from_str(&serde_json::to_string(hist).unwrap()).unwrap()
    }

    proptest! {
        /// What is asked of a saved histogram, and what it adds, is the same as of an open one.
        #[test]
        fn saved_ones_say_the_same(
            one in prop::collection::vec((0u64..HIST_MAX_NS * 2, 1u64..1_000_000), 0..40),
            other in prop::collection::vec((0u64..HIST_MAX_NS * 2, 1u64..1_000_000), 0..40),
        ) {
            let (open, other) = (hist(&one), hist(&other));
            let packed = saved(&open);
            let quantiles = [0.0, 0.001, 0.5, 0.9, 0.99, 0.999, 1.0];
            prop_assert_eq!(packed.count(), open.count());
            prop_assert_eq!(packed.quantiles_ns(quantiles), open.quantiles_ns(quantiles).filter(|_| !one.is_empty()));
            prop_assert_eq!(packed.encoded(), open.encoded());
            let (mut sum, mut fresh) = (other.clone(), Hist::default());
            sum.merge(&packed);
            fresh.merge(&packed);
            let mut expected = other;
            expected.merge(&open);
            prop_assert_eq!(&sum, &expected);
            prop_assert_eq!(sum.open().max(), expected.open().max());
            prop_assert_eq!(sum.open().min(), expected.open().min());
            prop_assert_eq!(&fresh, &open);
        }
    }
}
