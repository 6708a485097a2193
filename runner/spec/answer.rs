//! What a request expects of its answer besides the status, and what a flow takes out of it.
//!
//! Types and their text forms only; `load/scrutiny.rs` holds answers against them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::decode::{Located, Named};
use super::expr::{Op, StatusSet};
use crate::{by_text, record, tagged};

record! {
    /// What makes an answer good; anything else is bad.
    pub struct Expect ("expect") {
        /// Status codes: `200`, `2xx`, `< 500`, or a list of these.
        pub status: StatusSet = StatusSet::default(),
        /// Headers that must be there, by name: a text to be equal to, or `/RE/` to match somewhere.
        pub header: Named<Located<Match>>,
        /// A text that the body must contain.
        pub body: Option<Located<String>>,
        /// A regular expression that must match somewhere in the body.
        pub regex: Option<Located<String>>,
        /// Values in the body, which must be JSON, by JSONPath (RFC 9535): `"$.items[0].ok": true`. Something
        /// must be found there, and all that is found must be equal to the value.
        pub json: Named<serde_json::Value>,
        /// The body's size as it came (chunked transfer undone, still compressed): `< 10KB`, `>= 1KiB`, `== 0`.
        pub size: Option<SizeCheck>,
        /// With `tcp`: bytes that must come back, anywhere in the first 64 KiB; any will do where left out.
        pub bytes: Option<Located<String>>,
    }
}

#[expect(clippy::derivable_impls, reason = "`record!` derives the same for every record")]
impl Default for Expect {
    fn default() -> Self {
        Self {
            status: StatusSet::default(),
            header: Named::default(),
            body: None,
            regex: None,
            json: Named::default(),
            size: None,
            bytes: None,
        }
    }
}

tagged! {
    /// Where a value is found in an answer. An answer without it is bad.
    pub enum Extract ("place to extract from") {
        /// The first value at this JSONPath (RFC 9535) of the body; a text without its quotes, anything else as JSON.
        Json(Located<String>) = "json",
        /// The first header of this name.
        Header(Located<String>) = "header",
        /// The first match of this regular expression in the body: its first group, or all of it.
        Regex(Located<String>) = "regex",
        /// The cookie of this name that the answer sets.
        Cookie(Located<String>) = "cookie",
    }
}

/// A text to be equal to, or a regular expression between slashes. Saved and printed as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Match {
    /// Exactly this.
    Equal(String),
    /// This regular expression matches somewhere.
    Regex(String),
}

impl FromStr for Match {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let regex = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        Ok(regex.map_or_else(|| Self::Equal(text.into()), |regex| Self::Regex(regex.into())))
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(text) => f.write_str(text),
            Self::Regex(regex) => write!(f, "/{regex}/"),
        }
    }
}

impl From<Match> for String {
    fn from(value: Match) -> Self {
        value.to_string()
    }
}

by_text!(Match, "a text or a /regular expression/", "A text to be equal to, or `/RE/` to match somewhere.");

/// A size to hold a body's against. Saved and printed as its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SizeCheck {
    /// How it is compared.
    pub op: Op,
    /// With what, in bytes.
    pub bytes: u64,
}

impl FromStr for SizeCheck {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 6] =
            [("KiB", 1 << 10), ("MiB", 1 << 20), ("KB", 1_000), ("MB", 1_000_000), ("B", 1), ("", 1)];
        let hint = || "write a comparison with a size: `< 10KB`, `>= 1KiB`, `== 0`".to_owned();
        let text = text.trim();
        const OPS: [(&str, Op); 6] =
            [("<=", Op::Le), (">=", Op::Ge), ("==", Op::Eq), ("!=", Op::Ne), ("<", Op::Lt), (">", Op::Gt)];
        let (op, rest) = OPS
            .into_iter()
            .find_map(|(word, op)| Some((op, text.strip_prefix(word)?.trim())))
            .ok_or_else(hint)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, unit) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| hint())?;
        let unit = UNITS.iter().find(|(word, _)| *word == unit.trim()).ok_or_else(hint)?.1;
        Ok(Self { op, bytes: number.checked_mul(unit).ok_or_else(hint)? })
    }
}

impl fmt::Display for SizeCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            Op::Lt => "<",
            Op::Le => "<=",
            Op::Gt => ">",
            Op::Ge => ">=",
            Op::Eq => "==",
            Op::Ne => "!=",
        };
        write!(f, "{op} {}B", self.bytes)
    }
}

impl From<SizeCheck> for String {
    fn from(value: SizeCheck) -> Self {
        value.to_string()
    }
}

by_text!(SizeCheck, "a size", "A comparison with a size: `< 10KB`, `>= 1KiB`, `== 0`.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, op, bytes) in [
            ("< 10KB", Op::Lt, 10_000),
            (">=1KiB", Op::Ge, 1_024),
            ("== 0", Op::Eq, 0),
            ("<= 3 MiB", Op::Le, 3 << 20),
            ("> 5B", Op::Gt, 5),
        ] {
            let size: SizeCheck = text.parse().expect(text);
            assert_eq!((size.op, size.bytes), (op, bytes), "{text}");
            assert_eq!(size.to_string().parse(), Ok(size), "{text} prints what it parses");
        }
        for text in ["", "10KB", "< KB", "< 1TB", "= 1", "< 99999999999999999999", "< 99999999999999MiB"] {
            assert!(text.parse::<SizeCheck>().is_err(), "{text}");
        }
    }

    #[test]
    fn slashes_make_a_regular_expression() {
        for (text, expected) in [
            ("text/html", Match::Equal("text/html".into())),
            ("/^text\\//", Match::Regex("^text\\/".into())),
            ("/", Match::Equal("/".into())),
            ("", Match::Equal(String::new())),
        ] {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string(), text);
        }
    }
}
