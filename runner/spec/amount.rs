//! Amounts of CPU and memory, as people write them: so much of it, or a share of what a container has.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::by_text;
use crate::units::Ratio;

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
