//! Amounts of CPU and memory, as people write them: so much of it, or a share of what a container has.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::by_text;
use crate::units::{Duration, Ratio};

/// An amount of CPU. Saved and printed as written: `0.5`, `50%`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CpuAmount {
    /// This many cores; positive.
    Cores(f64),
    /// This share of what the container may use: of its quota, else of every core there is.
    Share(Ratio),
}

/// An amount of memory. Saved and printed as written: `256MiB`, `50%`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MemoryAmount {
    /// This many bytes.
    Bytes(u64),
    /// This share of the container's limit; of the machine's memory where it has none.
    Share(Ratio),
}

/// How fast something is filled, in bytes. Saved and printed as written: `50MiB/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteRate(u64);

/// A span of time forwards or back. Saved and printed as written: `5m`, `-1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shift(i64);

/// How much faster a clock goes, in parts per million; slower if negative. Saved and printed as written: `500ppm`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Drift(f64);

/// How full a file system is to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskLevel {
    /// This share of it in use, as `df` counts.
    Used(Ratio),
    /// This many bytes free.
    Leave(u64),
}

/// So many of something, or all that there is room for. Saved and printed as written: `100`, `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Room {
    /// This many; positive.
    Count(u32),
    /// All.
    All,
}

/// Units of size, the largest first; each binary one before its decimal neighbour.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

impl CpuAmount {
    /// So many cores, of a container that may use `has` of them.
    pub fn of(self, has: f64) -> f64 {
        match self {
            Self::Cores(cores) => cores,
            Self::Share(share) => share.get() * has,
        }
    }
}

impl MemoryAmount {
    /// So many bytes, of a container that may use `has` of them.
    pub fn of(self, has: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Share(share) => (share.get() * has as f64) as u64,
        }
    }
}

impl ByteRate {
    /// Bytes per second; positive.
    pub const fn bytes_per_s(self) -> u64 {
        self.0
    }
}

impl Shift {
    /// None.
    pub const ZERO: Self = Self(0);

    /// In nanoseconds; negative: back.
    pub const fn as_ns(self) -> i64 {
        self.0
    }
}

impl Drift {
    /// None.
    pub const ZERO: Self = Self(0.0);

    /// In seconds per second.
    pub fn per_s(self) -> f64 {
        self.0 / 1e6
    }
}

impl Room {
    /// How many; nothing: all.
    pub const fn count(self) -> Option<u32> {
        match self {
            Self::Count(count) => Some(count),
            Self::All => None,
        }
    }
}

/// Reads a size such as `256MiB`: a whole number and a unit.
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, bytes) = SIZE_UNITS.iter().find(|(word, _)| *word == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

/// A size in the largest unit that says it exactly: `256MiB`.
pub fn size_text(bytes: u64) -> String {
    let (word, unit) = SIZE_UNITS
        .into_iter()
        .find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .unwrap_or(("B", 1));
    format!("{}{word}", bytes / unit)
}

impl FromStr for CpuAmount {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let hint = || "write a number of cores such as `0.5`, or a share such as `50%`".to_owned();
        if text.trim().ends_with('%') {
            return text.parse().map(Self::Share).map_err(|_| hint());
        }
        let cores = text.trim().parse::<f64>().ok().filter(|cores| cores.is_finite() && *cores > 0.0);
        cores.map(Self::Cores).ok_or_else(hint)
    }
}

impl FromStr for MemoryAmount {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let hint = || "write a size such as `256MiB`, or a share such as `50%`".to_owned();
        if text.trim().ends_with('%') {
            return text.parse().map(Self::Share).map_err(|_| hint());
        }
        size(text).map(Self::Bytes).ok_or_else(hint)
    }
}

impl FromStr for ByteRate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let per_s = text.trim().strip_suffix("/s").and_then(size).filter(|bytes| *bytes > 0);
        per_s.map(Self).ok_or_else(|| "write a size per second, such as `50MiB/s`".into())
    }
}

impl FromStr for Shift {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let span = rest.parse::<Duration>().ok().and_then(|span| i64::try_from(span.as_ns()).ok());
        span.map(|ns| Self(sign * ns)).ok_or_else(|| "write a duration, such as `5m` or `-1h`".into())
    }
}

impl FromStr for Drift {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.trim().strip_suffix("ppm").and_then(|number| number.trim().parse::<f64>().ok());
        let parts = parts.filter(|parts| parts.is_finite());
        parts.map(Self).ok_or_else(|| "write parts per million, such as `500ppm` or `-20ppm`".into())
    }
}

impl FromStr for Room {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let count = text.trim().parse().ok().filter(|count| *count > 0).map(Self::Count);
        let all = (text.trim() == "all").then_some(Self::All);
        count.or(all).ok_or_else(|| "write a number such as `100`, or `all`".into())
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", size_text(self.0))
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", Duration::from_ns(self.0.unsigned_abs()))
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ppm", self.0)
    }
}

impl fmt::Display for DiskLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Used(share) => write!(f, "{share} in use"),
            Self::Leave(bytes) => write!(f, "{} left free", size_text(*bytes)),
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::All => f.write_str("all"),
        }
    }
}

impl fmt::Display for CpuAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cores(cores) => cores.fmt(f),
            Self::Share(share) => share.fmt(f),
        }
    }
}

impl fmt::Display for MemoryAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&size_text(*bytes)),
            Self::Share(share) => share.fmt(f),
        }
    }
}

impl From<CpuAmount> for String {
    fn from(amount: CpuAmount) -> Self {
        amount.to_string()
    }
}

impl From<MemoryAmount> for String {
    fn from(amount: MemoryAmount) -> Self {
        amount.to_string()
    }
}

impl From<ByteRate> for String {
    fn from(rate: ByteRate) -> Self {
        rate.to_string()
    }
}

impl From<Shift> for String {
    fn from(shift: Shift) -> Self {
        shift.to_string()
    }
}

impl From<Drift> for String {
    fn from(drift: Drift) -> Self {
        drift.to_string()
    }
}

impl From<Room> for String {
    fn from(room: Room) -> Self {
        room.to_string()
    }
}

by_text!(ByteRate, "a size per second", "How fast, in bytes: `50MiB/s`.");
by_text!(Shift, "a duration", "A span of time, forwards or back: `5m`, `-1h`.");
by_text!(Drift, "parts per million", "How much faster a clock goes: `500ppm`; slower: `-20ppm`.");
by_text!(Room, "a number or `all`", "So many: `100`, or `all` that there is room for.");
by_text!(
    CpuAmount,
    "a number of cores or a percentage",
    "An amount of CPU: `0.5` cores, or `50%` of its quota."
);
by_text!(MemoryAmount, "a size or a percentage", "An amount of memory: `256MiB`, or `50%` of its limit.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_print_what_they_parse() {
        for text in ["0.5", "2", "50%", "0.1%"] {
            assert_eq!(text.parse::<CpuAmount>().map(|amount| amount.to_string()), Ok(text.into()));
        }
        for text in ["256MiB", "1GB", "1023B", "12.5%", "0B"] {
            assert_eq!(text.parse::<MemoryAmount>().map(|amount| amount.to_string()), Ok(text.into()));
        }
        for text in ["5m", "-1h", "1m30s"] {
            assert_eq!(text.parse::<Shift>().map(|shift| shift.to_string()), Ok(text.into()));
        }
        for text in ["500ppm", "-20.5ppm"] {
            assert_eq!(text.parse::<Drift>().map(|drift| drift.to_string()), Ok(text.into()));
        }
        for text in ["50MiB/s", "1GB/s"] {
            assert_eq!(text.parse::<ByteRate>().map(|rate| rate.to_string()), Ok(text.into()));
        }
        for text in ["100", "all"] {
            assert_eq!(text.parse::<Room>().map(|room| room.to_string()), Ok(text.into()));
        }
        assert!(
            "--1h".parse::<Shift>().is_err() && "5".parse::<Drift>().is_err() && "0".parse::<Room>().is_err()
        );
        for text in ["", "0", "-1", "1 core", "101%", "inf"] {
            assert!(text.parse::<CpuAmount>().is_err(), "{text}");
        }
        for text in ["", "256", "MiB", "1.5GiB", "101%", "99999999999GiB"] {
            assert!(text.parse::<MemoryAmount>().is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_of_what_there_is() {
        assert_eq!(CpuAmount::Share(Ratio::new(0.25)).of(2.0), 0.5);
        assert_eq!(CpuAmount::Cores(0.3).of(2.0), 0.3);
        assert_eq!(MemoryAmount::Share(Ratio::new(0.5)).of(1 << 30), 1 << 29);
    }
}
