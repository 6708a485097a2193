//! Conditions on one request (`status < 500 and latency < 300ms`) and sets of status codes (`2xx, 304`), and how
//! they are read from text. Start at [`condition`].

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::decode::nearest;
use super::expr::Op;
use super::expr_cursor::{Cursor, Mistake, OPS};
use crate::units::Duration;

/// When one request counts as good for an SLO: every term must hold. Saved and printed as its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Condition {
    /// The text as written, trimmed.
    pub text: String,
    /// The terms; at least one.
    pub terms: Vec<Term>,
}

/// One comparison of a condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// `status < 500`; a request without an answer has no status and does not hold.
    Status(Op, u16),
    /// `latency < 300ms`, in nanoseconds.
    Latency(Op, u64),
}

/// Status codes that count as expected. Saved and printed as text: `200`, `2xx`, `< 500`, or several with commas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StatusSet {
    /// Inclusive ranges of codes, in the order written.
    pub ranges: Vec<(u16, u16)>,
}

impl Default for StatusSet {
    /// Anything below 400.
    fn default() -> Self {
        Self { ranges: vec![(100, 399)] }
    }
}

impl StatusSet {
    /// True if `status` is expected.
    pub fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&status))
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> Self {
        condition.text
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for StatusSet {
    /// The form it would be written in, as `2xx, 304`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (low, high)) in self.ranges.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match (*low, *high) {
                (low, high) if low == high => write!(f, "{low}")?,
                (low, high) if low % 100 == 0 && high == low + 99 => write!(f, "{}xx", low / 100)?,
                (100, high) => write!(f, "< {}", high + 1)?,
                (low, 599) => write!(f, ">= {low}")?,
                (low, high) => write!(f, "{low}-{high}")?,
            }
        }
        Ok(())
    }
}

impl From<StatusSet> for String {
    fn from(set: StatusSet) -> Self {
        set.to_string()
    }
}

/// Reads a condition: `status < 500 and latency < 300ms`.
pub fn condition(text: &str) -> Result<Condition, Mistake> {
    const EXAMPLE: &str = "status < 500 and latency < 300ms";
    let mut cursor = Cursor::new(text);
    let mut terms = Vec::new();
    loop {
        cursor.skip_space();
        let (name, at) = cursor.take_until(|c| c.is_whitespace() || "<>=!".contains(c));
        if !["status", "latency"].contains(&name) {
            let hint = nearest(name, &["status", "latency"])
                .map_or_else(|| format!("write `{EXAMPLE}`"), |near| format!("did you mean `{near}`?"));
            let message = if name.is_empty() {
                "a condition is missing".to_owned()
            } else {
                format!("unknown property `{name}`")
            };
            return Err(Mistake::new(at, message, hint));
        }
        let op = cursor.op(EXAMPLE)?;
        let (value, at) = cursor.value("and");
        if let Some(word) =
            ["or", "&&", "||"].iter().find(|word| value.split_whitespace().any(|part| part == **word))
        {
            return Err(Mistake::new(at, format!("`{word}` can't join conditions"), "join them by `and`"));
        }
        terms.push(term(name, op, value, at)?);
        if !cursor.take("and") {
            return Ok(Condition { text: text.trim().to_owned(), terms });
        }
    }
}

fn term(name: &str, op: Op, value: &str, at: Range<usize>) -> Result<Term, Mistake> {
    let found = if value.is_empty() { String::new() } else { format!(", found `{value}`") };
    if name == "status" {
        return match value.parse() {
            Ok(status @ 100..=599) => Ok(Term::Status(op, status)),
            _ => Err(Mistake::new(
                at,
                format!("`status` needs a code from 100 to 599{found}"),
                "write `status < 500`",
            )),
        };
    }
    match Duration::from_str(value) {
        Ok(limit) => Ok(Term::Latency(op, limit.as_ns())),
        Err(_) => Err(Mistake::new(
            at,
            format!("`latency` needs a duration such as 300ms{found}"),
            "write a number with its unit: us, ms, s, m",
        )),
    }
}

/// Reads a set of status codes: `2xx, 304`.
pub fn statuses(text: &str) -> Result<StatusSet, Mistake> {
    let mut ranges = Vec::new();
    let mut start = 0;
    for part in text.split(',') {
        let lead = part.len() - part.trim_start().len();
        let at = start + lead..start + lead + part.trim().len();
        start += part.len() + 1;
        let Some(range) = status_range(part.trim()) else {
            let message = format!("`{}` is not a status code", part.trim());
            return Err(Mistake::new(
                at,
                message,
                "write `200`, `2xx`, `200-204`, `< 500`, or several with commas",
            ));
        };
        ranges.push(range);
    }
    Ok(StatusSet { ranges })
}

fn status_range(text: &str) -> Option<(u16, u16)> {
    const LOWEST: u16 = 100;
    const HIGHEST: u16 = 599;
    let code = |text: &str| text.trim().parse().ok().filter(|code| (LOWEST..=HIGHEST).contains(code));
    if let Some((sign, op)) = OPS.iter().find(|(sign, _)| text.starts_with(sign)) {
        let code: u16 = code(&text[sign.len()..])?;
        let range = match op {
            Op::Lt => (LOWEST, code - 1),
            Op::Le => (LOWEST, code),
            Op::Gt => (code + 1, HIGHEST),
            Op::Ge => (code, HIGHEST),
            Op::Eq | Op::Ne => return None,
        };
        return Some(range).filter(|(low, high)| low <= high);
    }
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    if let Some((low, high)) = text.split_once('-') {
        return Some((code(low)?, code(high)?)).filter(|(low, high)| low <= high);
    }
    code(text).map(|code| (code, code))
}
