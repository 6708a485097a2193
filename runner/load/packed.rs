//! HdrHistogram's compressed form, opened in bounded memory.
//!
//! Its header says how much memory its reader is to take, so a few hostile bytes can claim gigabytes. Here
//! it is first inflated up to a limit and its claims are looked at; only then does the library open it.
//! The form is that of HdrHistogram's V2 encoding: a cookie and a length, then, deflated, a second cookie,
//! the payload's length, an offset, the digits, the range, a ratio, and the counts.

use std::io::Read;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

/// The first four bytes of the compressed form, and of what is inside.
const COMPRESSED: u32 = 0x1c84_9314;
const PLAIN: u32 = 0x1c84_9313;

/// Bytes of the plain form before its counts.
const HEAD_BYTES: usize = 40;

/// The most bytes of the plain form: two for each counter of five digits over all 64 bits. A counter takes up
/// to nine, but then the others are zero, and runs of zeros are as good as nothing.
const MAX_PLAIN_BYTES: usize = 16 << 20;

/// A histogram that was inflated and claims no more than it may.
#[derive(Clone, Debug)]
pub struct Claim {
    plain: Box<[u8]>,
}

/// Inflates a histogram in the compressed form, and looks at what it claims. Fails with a few words.
pub fn inflate(bytes: &[u8]) -> Result<Claim, String> {
    if u32_at(bytes, 0) != Some(COMPRESSED) {
        return Err("not in HdrHistogram's compressed V2 form".into());
    }
    let body = bytes.get(8..).unwrap_or_default();
    let length = u32_at(bytes, 4).unwrap_or(0) as usize;
    let body = body.get(..length).ok_or("it is cut short")?;
    let mut plain = Vec::new();
    flate2::read::ZlibDecoder::new(body)
        .take(MAX_PLAIN_BYTES as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| format!("it can't be inflated: {error}"))?;
    if plain.len() > MAX_PLAIN_BYTES {
        return Err("it inflates to more than any histogram takes".into());
    }
    if u32_at(&plain, 0) != Some(PLAIN) || plain.len() < HEAD_BYTES {
        return Err("it holds no histogram in HdrHistogram's V2 form".into());
    }
    let claim = Claim { plain: plain.into() };
    let payload = u32_at(&claim.plain, 4).unwrap_or(0) as usize;
    if payload > claim.plain.len() - HEAD_BYTES {
        return Err("it claims more counts than it holds".into());
    }
    // With that, and any range, it takes some 50 MB at most.
    if claim.digits() > 5 {
        return Err("it claims more than five significant digits".into());
    }
    Ok(claim)
}

impl Claim {
    /// Its significant digits.
    pub fn digits(&self) -> u8 {
        u32_at(&self.plain, 12).and_then(|digits| u8::try_from(digits).ok()).unwrap_or(u8::MAX)
    }

    /// The largest value it tells apart.
    pub fn high(&self) -> u64 {
        u64_at(&self.plain, 24).unwrap_or(u64::MAX)
    }

    /// True if its counters are those of our histograms: values from 1 on, as they are.
    pub fn is_plain(&self) -> bool {
        let (offset, low, ratio) = (u32_at(&self.plain, 8), u64_at(&self.plain, 16), u64_at(&self.plain, 32));
        (offset, low, ratio) == (Some(0), Some(1), Some(1f64.to_bits()))
    }

    /// Its counts, encoded.
    pub fn payload(&self) -> &[u8] {
        let length = u32_at(&self.plain, 4).unwrap_or(0) as usize;
        self.plain.get(HEAD_BYTES..HEAD_BYTES + length).unwrap_or_default()
    }

    /// Opens it.
    pub fn open(&self) -> Result<Histogram<u64>, String> {
        Deserializer::new().deserialize(&mut &*self.plain).map_err(|error| error.to_string())
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::{Serializer, V2DeflateSerializer, V2Serializer};
    use proptest::prelude::*;
    use std::io::Write;

    fn compressed(plain: &[u8]) -> Vec<u8> {
        let mut body = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        body.write_all(plain).unwrap();
        let body = body.finish().unwrap();
        let mut bytes = COMPRESSED.to_be_bytes().to_vec();
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn plain(low: u64, high: u64, digits: u8) -> Vec<u8> {
        let mut histogram = Histogram::<u64>::new_with_bounds(low, high, digits).unwrap();
        histogram.record(low).unwrap();
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&histogram, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_the_library_writes_opens() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        (1..100_000).for_each(|ns| histogram.record(ns * 77).unwrap());
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&histogram, &mut bytes).unwrap();
        assert_eq!(inflate(&bytes).unwrap().open().unwrap(), histogram);
        // The range and precision of any tool's usual settings.
        for (low, high, digits) in [(1, 3_600_000_000_000, 5), (1_000, u64::MAX / 4, 3), (1, 1 << 62, 2)] {
            let bytes = compressed(&plain(low, high, digits));
            assert_eq!(inflate(&bytes).unwrap().open().unwrap().len(), 1, "{low}..{high}, {digits} digits");
        }
    }

    #[test]
    fn what_claims_too_much_is_refused() {
        let check = |bytes: &[u8], expected: &str| {
            let found = inflate(bytes).and_then(|claim| claim.open()).map(drop).unwrap_err();
            assert!(found.contains(expected), "{found}");
        };
        let good = plain(1, 1_000_000, 3);
        let with = |at: usize, bytes: &[u8]| {
            let mut plain = good.clone();
            plain[at..at + bytes.len()].copy_from_slice(bytes);
            compressed(&plain)
        };
        check(b"", "not in HdrHistogram's");
        check(b"HISTFAAAAEV4", "not in HdrHistogram's");
        check(&compressed(&good)[..30], "cut short");
        check(&with(4, &u32::MAX.to_be_bytes()), "more counts than it holds");
        check(&with(12, &9u32.to_be_bytes()), "five significant digits");
        check(&compressed(&plain(1, u64::MAX / 4, 5)[..HEAD_BYTES]), "more counts than it holds");
        check(&compressed(&vec![0; MAX_PLAIN_BYTES + 1]), "inflates to more");
        check(&compressed(b"short"), "no histogram");
    }

    proptest! {
        #[test]
        fn damage_is_an_error_and_never_a_panic(at in 0usize..60, byte: u8, cut in 0usize..80) {
            let mut damaged = plain(1, 3_600_000_000_000, 3);
            let place = at % damaged.len();
            damaged[place] = byte;
            damaged.truncate(damaged.len().min(cut + 8));
            let opened = inflate(&compressed(&damaged)).and_then(|claim| claim.open());
            if let Ok(histogram) = opened {
                prop_assert!(histogram.distinct_values() <= MAX_PLAIN_BYTES / 2);
            }
        }
    }
}
