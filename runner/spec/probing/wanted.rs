//! What an answer must be: a number that compares as wanted, or a text.
//!
//! Start at [`Wanted`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::by_text;
use crate::spec::answer::Match;
use crate::spec::expr::Op;

/// A comparison with a number, such as `>= 1`. Saved and printed as its text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NumberCheck {
    /// How it is compared.
    pub op: Op,
    /// With what; finite.
    pub number: f64,
}

impl NumberCheck {
    /// True if `number` is as wanted.
    pub fn holds(self, number: f64) -> bool {
        self.op.holds(number, self.number)
    }
}

/// A comparison and what follows its sign; nothing where the text does not begin with one.
fn comparison(text: &str) -> Option<(Op, &str)> {
    const OPS: [Op; 6] = [Op::Le, Op::Ge, Op::Eq, Op::Ne, Op::Lt, Op::Gt];
    OPS.into_iter().find_map(|op| Some((op, text.strip_prefix(op.sign())?.trim())))
}

impl FromStr for NumberCheck {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let read = comparison(text.trim())
            .and_then(|(op, number)| Some(Self { op, number: number.parse().ok()? }))
            .filter(|check| check.number.is_finite());
        read.ok_or_else(|| "write a comparison with a number: `== 0`, `< 5`, `>= 0.99`".into())
    }
}

impl fmt::Display for NumberCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.op.sign(), self.number)
    }
}

impl From<NumberCheck> for String {
    fn from(check: NumberCheck) -> Self {
        check.to_string()
    }
}

by_text!(NumberCheck, "a comparison with a number", "A comparison with a number: `== 0`, `< 5`, `>= 0.99`.");

/// What an answer must be: a number that compares as wanted, a text, or what a regular expression matches. Saved and
/// printed as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Wanted {
    /// A number, compared.
    Number(NumberCheck),
    /// A text.
    Text(Match),
}

impl FromStr for Wanted {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match comparison(text.trim()) {
            Some(_) => text.parse().map(Self::Number),
            None => text.parse().map(Self::Text),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(check) => check.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl From<Wanted> for String {
    fn from(wanted: Wanted) -> Self {
        wanted.to_string()
    }
}

by_text!(
    Wanted,
    "a text, a /regular expression/ or a comparison",
    "A text to be equal to, `/RE/` to match somewhere, or a comparison with a number such as `< 5`."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_read_as_people_write_them() {
        for (text, op, number) in
            [("== 0", Op::Eq, 0.0), (">=0.99", Op::Ge, 0.99), ("< 1e3", Op::Lt, 1e3), ("!= -2", Op::Ne, -2.0)]
        {
            let check: NumberCheck = text.parse().expect(text);
            assert_eq!((check.op, check.number), (op, number), "{text}");
            assert_eq!(check.to_string().parse(), Ok(check), "{text} prints what it parses");
        }
        for text in ["", "5", "< ", "< x", "= 1", "< NaN", "> inf"] {
            assert!(text.parse::<NumberCheck>().is_err(), "{text}");
        }
        assert_eq!("PONG".parse(), Ok(Wanted::Text(Match::Equal("PONG".into()))));
        assert_eq!("/^OK/".parse(), Ok(Wanted::Text(Match::Regex("^OK".into()))));
        assert!("< some".parse::<Wanted>().is_err(), "what looks like a comparison is one");
    }
}
