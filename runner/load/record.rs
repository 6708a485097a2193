//! What a load measured: the six boxes and the histograms, in a form that merges exactly.
//!
//! One [`Stats`] is an interval's, a phase's or a sliding window's; adding two gives what measuring both
//! together would have given. Pure: the engine fills it, judgement reads it, the journal keeps it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as HdrReader, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::NS_PER_S;

/// Where every scheduled arrival ends: in exactly one box. Requests in flight are in none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boxes {
    /// Answered as expected.
    pub good: u64,
    /// Answered, not as expected.
    pub bad: u64,
    /// Not answered in time.
    pub timed_out: u64,
    /// Not answered: refused, reset, malformed.
    pub failed: u64,
    /// Not sent: the in-flight cap was reached.
    pub dropped: u64,
    /// In flight when the load ended; how it would have ended is not known.
    pub cut_off: u64,
}

impl Boxes {
    /// Every arrival that has ended.
    pub const fn scheduled(&self) -> u64 {
        self.good + self.bad + self.timed_out + self.failed + self.dropped + self.cut_off
    }

    /// Arrivals whose end is known: all but those cut off.
    pub const fn known(&self) -> u64 {
        self.scheduled() - self.cut_off
    }

    /// Arrivals that ended other than well.
    pub const fn errors(&self) -> u64 {
        self.bad + self.timed_out + self.failed + self.dropped
    }

    /// Adds another count.
    pub const fn add(&mut self, other: &Self) {
        self.good += other.good;
        self.bad += other.bad;
        self.timed_out += other.timed_out;
        self.failed += other.failed;
        self.dropped += other.dropped;
        self.cut_off += other.cut_off;
    }

    /// Takes another count, which was added before, away again.
    const fn take_away(&mut self, other: &Self) {
        self.good -= other.good;
        self.bad -= other.bad;
        self.timed_out -= other.timed_out;
        self.failed -= other.failed;
        self.dropped -= other.dropped;
        self.cut_off -= other.cut_off;
    }
}

/// A histogram of times in nanoseconds, 3 significant digits, 1 ns to 1 h. Saved as base64 of
/// HdrHistogram's V2 compressed form.
///
/// One read back stays in that form until it is asked or changed: open, it takes 100 KiB or more, and the
/// journal of an hour holds ten thousand of them.
#[derive(Clone)]
pub struct Hist(Form);

#[derive(Clone)]
enum Form {
    Open(Histogram<u64>),
    /// Known to open: it was tried when it was read. With the number of values in it.
    Packed(Box<[u8]>, u64),
}

/// The longest time a histogram tells apart; longer ones count as this.
pub const HIST_MAX_NS: u64 = 3_600 * NS_PER_S;

/// Significant digits of every histogram.
const DIGITS: u8 = 3;

impl Default for Hist {
    fn default() -> Self {
        let mut histogram = Histogram::new(DIGITS).expect("3 significant digits are in HdrHistogram's range");
        // Grows with what it holds: most intervals span milliseconds, not the hour that is possible.
        histogram.auto(true);
        Self(Form::Open(histogram))
    }
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
            Form::Open(histogram) => histogram.len(),
            Form::Packed(_, count) => *count,
        }
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
            Form::Open(histogram) => Cow::Borrowed(histogram),
            Form::Packed(bytes, _) => {
                Cow::Owned(unpack(bytes).expect("what opened when it was read opens again"))
            }
        }
    }

    fn open_mut(&mut self) -> &mut Histogram<u64> {
        if let Form::Packed(..) = self.0 {
            self.0 = Form::Open(self.open().into_owned());
        }
        match &mut self.0 {
            Form::Open(histogram) => histogram,
            Form::Packed(..) => unreachable!("it was opened just now"),
        }
    }
}

/// Opens HdrHistogram's V2 compressed form, if it holds what we would have written: a few bytes can claim
/// gigabytes.
fn unpack(bytes: &[u8]) -> Result<Histogram<u64>, String> {
    let mut histogram: Histogram<u64> =
        HdrReader::new().deserialize(&mut &*bytes).map_err(|error| format!("{error:?}"))?;
    // The range is rounded up to a power of two.
    if histogram.sigfig() != DIGITS || histogram.high() > 2 * HIST_MAX_NS {
        return Err("a histogram of another precision or range".into());
    }
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

/// What one load measured over some stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// How many arrivals ended how.
    pub boxes: Boxes,
    /// Completion minus intended instant, of every arrival that was sent and ended; timeouts count with
    /// the time they were given up after.
    pub latency: Hist,
    /// Completion minus sending, of the same.
    pub service: Hist,
    /// Sending minus intended instant, of every arrival that was sent.
    pub send_lag: Hist,
    /// Answers by status code.
    #[serde(deserialize_with = "by_status")]
    pub statuses: BTreeMap<u16, u64>,
    /// Failures by class: `refused`, `reset`, `timeout: connect`, `timeout: answer`, `protocol`, ….
    pub errors: BTreeMap<String, u64>,
    /// Good requests by SLO; the total is `boxes.known()`.
    pub slo_good: BTreeMap<String, u64>,
    /// Bytes of answers, heads included.
    pub bytes: u64,
    /// Requests sent a second time because the kept connection they went out on had been closed.
    #[serde(default)]
    pub retried: u64,
}

/// Reads a map by status code. Written out because serde reads a flattened struct, as the journal's lines
/// are, from a buffer in which every key of a map is text and stays so.
fn by_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<u16, u64>, D::Error> {
    BTreeMap::<String, u64>::deserialize(deserializer)?
        .into_iter()
        .map(|(status, count)| Ok((status.parse().map_err(serde::de::Error::custom)?, count)))
        .collect()
}

impl Stats {
    /// Adds another stretch.
    pub fn merge(&mut self, other: &Self) {
        self.boxes.add(&other.boxes);
        self.latency.merge(&other.latency);
        self.service.merge(&other.service);
        self.send_lag.merge(&other.send_lag);
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (class, count) in &other.errors {
            *self.errors.entry(class.clone()).or_default() += count;
        }
        for (slo, count) in &other.slo_good {
            *self.slo_good.entry(slo.clone()).or_default() += count;
        }
        self.bytes += other.bytes;
        self.retried += other.retried;
    }

    /// Takes another stretch, which was added before, away again, exactly.
    ///
    /// # Panics
    ///
    /// If it was not added before: our own bug.
    pub fn take_away(&mut self, other: &Self) {
        let Self { boxes, latency, service, send_lag, statuses, errors, slo_good, bytes, retried } = other;
        self.boxes.take_away(boxes);
        self.latency.take_away(latency);
        self.service.take_away(service);
        self.send_lag.take_away(send_lag);
        counts_away(&mut self.statuses, statuses);
        counts_away(&mut self.errors, errors);
        counts_away(&mut self.slo_good, slo_good);
        self.bytes -= bytes;
        self.retried -= retried;
    }
}

/// Takes counts away, and with them what then was never counted.
fn counts_away<K: Ord>(counts: &mut BTreeMap<K, u64>, other: &BTreeMap<K, u64>) {
    // A key with nothing counted may have gone already, with the last of its counts.
    for (key, count) in other.iter().filter(|(_, count)| **count > 0) {
        let left = counts.get_mut(key).expect("only what was added is taken away");
        *left -= count;
        if *left == 0 {
            counts.remove(key);
        }
    }
}
