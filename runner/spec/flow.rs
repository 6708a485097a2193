//! How much flows and how much may wait: `10Mbit/s`, `64KiB`, `50ms`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::agent::wire::Room;
use crate::by_text;
use crate::units::Duration;

/// Bits a second; positive. Saved and printed as `10Mbit/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BitRate(u64);

/// An amount of data in bytes; positive. Saved and printed as `64KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(u64);

/// Room in a queue, as time or data. Saved and printed as `50ms` or `64KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueRoom(pub Room);

/// Units of bit rates, the largest first: bits a second.
const RATE_UNITS: [(&str, u64); 4] =
    [("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000), ("bit/s", 1)];

/// Units of data, those that print first: bytes.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl BitRate {
    /// So many bits a second.
    pub const fn per_s(bits: u64) -> Self {
        Self(bits)
    }

    /// Bits a second.
    pub const fn as_bits_per_s(self) -> u64 {
        self.0
    }
}

impl Size {
    /// So many bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// Reads a number with one of `units`, in any case; nothing for anything else and for what is below one.
fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim();
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    let value = (number * *factor as f64).round();
    (value >= 1.0 && value < u64::MAX as f64).then_some(value as u64)
}

/// Writes a number in the largest unit that leaves it whole.
fn written(value: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    whole.map_or_else(|| value.to_string(), |(name, factor)| format!("{}{name}", value / factor))
}

impl FromStr for BitRate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // Less than a byte a second is nothing that could be kept.
        let bits = read(text, &RATE_UNITS).filter(|bits| *bits >= 8);
        bits.map(Self)
            .ok_or_else(|| "write a bandwidth with its unit, such as `10Mbit/s` or `56kbit/s`".into())
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        read(text, &SIZE_UNITS)
            .map(Self)
            .ok_or_else(|| "write an amount of data with its unit, such as `64KiB` or `1500B`".into())
    }
}

impl FromStr for QueueRoom {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let time = || text.parse::<Duration>().ok().filter(|time| !time.is_zero());
        let room = read(text, &SIZE_UNITS).map(Room::Bytes).or_else(|| Some(Room::Time(time()?.as_ns())));
        room.map(Self)
            .ok_or_else(|| "write a time such as `50ms`, or an amount of data such as `64KiB`".into())
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(self.0, &RATE_UNITS))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(self.0, &SIZE_UNITS))
    }
}

impl fmt::Display for QueueRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Room::Time(ns) => fmt::Display::fmt(&Duration::from_ns(ns), f),
            Room::Bytes(bytes) => fmt::Display::fmt(&Size(bytes), f),
        }
    }
}

impl From<BitRate> for String {
    fn from(rate: BitRate) -> Self {
        rate.to_string()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl From<QueueRoom> for String {
    fn from(room: QueueRoom) -> Self {
        room.to_string()
    }
}

by_text!(BitRate, "a bandwidth", "Bits a second with their unit: `10Mbit/s`, `56kbit/s`.");
by_text!(Size, "an amount of data", "An amount of data with its unit: `64KiB`, `1MB`, `1500B`.");
by_text!(QueueRoom, "a time or an amount of data", "Room in a queue, as time or data: `50ms`, `64KiB`.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for (text, bits, again) in [
            ("10Mbit/s", 10_000_000, "10Mbit/s"),
            ("1.5 mbit/s", 1_500_000, "1500kbit/s"),
            ("56kbit/s", 56_000, "56kbit/s"),
            ("9bit/s", 9, "9bit/s"),
        ] {
            assert_eq!(text.parse().map(BitRate::as_bits_per_s), Ok(bits));
            assert_eq!(text.parse::<BitRate>().unwrap().to_string(), again);
        }
        for text in ["10", "10M", "Mbit/s", "0Mbit/s", "1bit/s", "-1Mbit/s", "10Mbit", "999999999999Gbit/s"] {
            assert!(text.parse::<BitRate>().is_err(), "{text}");
        }
        for (text, room) in [
            ("64KiB", Room::Bytes(65_536)),
            ("1500B", Room::Bytes(1_500)),
            ("1.5MB", Room::Bytes(1_500_000)),
            ("50ms", Room::Time(50_000_000)),
        ] {
            let read: QueueRoom = text.parse().unwrap();
            assert_eq!(read.0, room);
            assert_eq!(read.to_string().parse(), Ok(read));
        }
        assert!("0ms".parse::<QueueRoom>().is_err() && "50".parse::<QueueRoom>().is_err());
    }
}
