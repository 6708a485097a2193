//! Reads conditions (`status < 500 and latency < 300ms`) and sets of status codes (`2xx, 304`) from text.
//!
//! A part of the expression reader, `expr_parse.rs`, whose cursor and mistakes it uses. Start at [`condition`].

use std::ops::Range;
use std::str::FromStr;

use super::decode::nearest;
use super::expr::{Condition, Op, StatusSet, Term};
use super::expr_parse::{Cursor, Mistake, OPS};
use crate::units::Duration;

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
