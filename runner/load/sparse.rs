//! The counts of a saved histogram, walked where they lie.
//!
//! An open histogram has room for every value it could hold, a hundred KiB and more; an interval holds some hundred
//! different ones. The journal of an hour has fifty thousand histograms, each of which is looked at when it is read,
//! added to a phase, and plotted: opening each time took most of a report's time. Here the V2 encoding is read value by
//! value: zigzag varints, negative ones for runs of zeros, in the order of HdrHistogram's counters.
//!
//! It knows the one layout that our histograms have: from 1 on, three significant digits. Start at [`Counts`].

/// Counters of the first bucket, whose values are told apart one by one.
const SUB_BUCKETS: u64 = 2_048;

/// Counters of every further bucket; each tells values apart twice as coarsely as the one before.
const HALF: u64 = SUB_BUCKETS / 2;

/// Values that were counted, in order, each with how often. A value stands for those that its counter does not tell
/// from it, and is the lowest of them.
#[derive(Clone, Debug)]
pub(super) struct Counts<'p> {
    payload: &'p [u8],
    /// Of the next counter.
    index: u64,
}

/// Why counts can't be read.
pub(super) const DAMAGED: &str = "its counts are damaged";

impl<'p> Counts<'p> {
    /// The counts in the payload of the plain V2 form.
    pub fn of(payload: &'p [u8]) -> Self {
        Self { payload, index: 0 }
    }

    /// A varint of at most nine bytes, the last of which has eight bits.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for at in 0..9 {
            let (first, rest) = self.payload.split_first()?;
            self.payload = rest;
            if at == 8 {
                return Some(value | u64::from(*first) << 56);
            }
            value |= u64::from(first & 0x7f) << (7 * at);
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        unreachable!("the ninth byte ends it")
    }

    fn step(&mut self) -> Option<Option<(u64, u64)>> {
        let zigzag = self.varint()?;
        let number = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        let steps = if number < 0 { number.unsigned_abs() } else { 1 };
        let index = self.index;
        self.index = index.checked_add(steps)?;
        if number <= 0 {
            return Some(None);
        }
        Some(Some((lowest(index)?, number.unsigned_abs())))
    }
}

impl Iterator for Counts<'_> {
    type Item = Result<(u64, u64), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.payload.is_empty() {
            match self.step() {
                Some(None) => {}
                Some(Some(counted)) => return Some(Ok(counted)),
                None => {
                    self.payload = &[];
                    return Some(Err(DAMAGED));
                }
            }
        }
        None
    }
}

/// The lowest value of a counter; nothing if no 64 bits hold it.
fn lowest(index: u64) -> Option<u64> {
    if index < SUB_BUCKETS {
        return Some(index);
    }
    let bucket = u32::try_from(index / HALF - 1).ok()?;
    let sub = index % HALF + HALF;
    // Eleven bits and so many zeros.
    (bucket <= 52).then(|| sub << bucket)
}

/// The highest value that is not told from `lowest`, the lowest of its counter.
pub(super) const fn highest(lowest: u64) -> u64 {
    let bits = 64 - lowest.leading_zeros();
    lowest | ((1 << bits.saturating_sub(11)) - 1)
}

/// The lowest value beyond the counters of a histogram that tells values apart up to `high`, at most 2⁶².
pub(super) const fn limit(high: u64) -> u64 {
    let above = (high + 1).next_power_of_two();
    if above < SUB_BUCKETS { SUB_BUCKETS } else { above }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::{Serializer, V2Serializer};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_are_those_that_were_recorded(values in prop::collection::vec((1u64..1 << 42, 1u64..1 << 40), 0..50)) {
            let mut histogram = Histogram::<u64>::new(3).unwrap();
            values.iter().for_each(|(value, count)| histogram.record_n(*value, *count).unwrap());
            let mut bytes = Vec::new();
            V2Serializer::new().serialize(&histogram, &mut bytes).unwrap();
            let walked: Vec<_> = Counts::of(&bytes[40..]).map(Result::unwrap).collect();
            let expected: Vec<_> = histogram
                .iter_recorded()
                .map(|at| (histogram.lowest_equivalent(at.value_iterated_to()), at.count_at_value()))
                .collect();
            prop_assert_eq!(&walked, &expected);
            for (value, _) in walked {
                prop_assert_eq!(highest(value), histogram.highest_equivalent(value));
                prop_assert!(value < limit(histogram.high()));
            }
        }

        #[test]
        fn damage_is_an_error_and_never_a_panic(payload in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Counts::of(&payload).count();
        }
    }

    #[test]
    fn half_a_number_is_damage() {
        assert_eq!(Counts::of(&[0x80]).next(), Some(Err(DAMAGED)));
        assert_eq!(Counts::of(&[]).next(), None);
    }
}
