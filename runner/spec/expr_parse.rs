//! Reads checks (`p99(latency) < 300ms over 10s`) from text, and says where inside the text a mistake is.
//!
//! By hand rather than by a grammar tool: the language is three lines long, and what matters is that each
//! mistake is answered with what to write instead. Conditions and status codes have their own file,
//! `expr_condition.rs`; `expr_decode.rs` brings both to the tree. Start at [`check`].

use std::ops::Range;
use std::str::FromStr;

use super::decode::{list_of, nearest};
use super::expr::{Check, Metric, Op, Outcome, Quantity, Series};
use crate::units::{Duration, Rate, Ratio};

/// What is wrong with an expression, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The bytes of the expression that are wrong; empty at its end where something is missing.
    pub at: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead; may be empty.
    pub hint: String,
}

impl Mistake {
    pub(super) fn new(at: Range<usize>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { at, message: message.into(), hint: hint.into() }
    }
}

impl From<Mistake> for String {
    fn from(mistake: Mistake) -> Self {
        if mistake.hint.is_empty() {
            mistake.message
        } else {
            format!("{}; {}", mistake.message, mistake.hint)
        }
    }
}

/// Every function, with an example that people can copy.
const FUNCTIONS: [&str; 10] = ["p50", "p90", "p95", "p99", "p99.9", "mean", "max", "rate", "count", "slo"];
const TIMES: [&str; 2] = ["time_to_steady", "time_to_detect"];
const SERIES: [(&str, Series); 3] =
    [("latency", Series::Latency), ("service", Series::Service), ("send_lag", Series::SendLag)];
const OUTCOMES: [(&str, Outcome); 8] = [
    ("scheduled", Outcome::Scheduled),
    ("good", Outcome::Good),
    ("bad", Outcome::Bad),
    ("timed_out", Outcome::TimedOut),
    ("failed", Outcome::Failed),
    ("dropped", Outcome::Dropped),
    ("cut_off", Outcome::CutOff),
    ("errors", Outcome::Errors),
];
/// Longer signs first, so that `<=` is not read as `<`.
pub(super) const OPS: [(&str, Op); 6] =
    [("<=", Op::Le), (">=", Op::Ge), ("==", Op::Eq), ("!=", Op::Ne), ("<", Op::Lt), (">", Op::Gt)];

/// A part of an expression, and where it stands.
pub(super) type Part<'t> = (&'t str, Range<usize>);

/// Walks over an expression from left to right.
pub(super) struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    pub(super) fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes what comes before the first character that `ends` it; may be empty.
    pub(super) fn take_until(&mut self, ends: impl Fn(char) -> bool) -> Part<'t> {
        let start = self.at;
        let len = self.rest().find(ends).unwrap_or(self.rest().len());
        self.at += len;
        (&self.text[start..self.at], start..self.at)
    }

    /// Takes `sign` if it comes next.
    pub(super) fn take(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    /// Takes a comparison.
    pub(super) fn op(&mut self, example: &str) -> Result<Op, Mistake> {
        self.skip_space();
        if let Some((_, op)) = OPS.iter().find(|(sign, _)| self.take(sign)) {
            return Ok(*op);
        }
        let (found, at) = self.take_until(char::is_whitespace);
        let hint = match found {
            "=" => "write `==`".to_owned(),
            _ => format!("write `<`, `<=`, `>`, `>=`, `==` or `!=`, as in `{example}`"),
        };
        let message = if found.is_empty() {
            "a comparison is missing".to_owned()
        } else {
            format!("`{found}` is not a comparison")
        };
        Err(Mistake::new(at, message, hint))
    }

    /// Takes a comparison's right side: all before the word `word` or the end.
    pub(super) fn value(&mut self, word: &str) -> Part<'t> {
        self.skip_space();
        let start = self.at;
        let rest = self.rest();
        let len = rest
            .match_indices(word)
            .map(|(at, _)| at)
            .find(|at| {
                let around = (rest[..*at].chars().next_back(), rest[at + word.len()..].chars().next());
                matches!(around, (Some(before), after) if before.is_whitespace() && after.is_none_or(char::is_whitespace))
            })
            .unwrap_or(rest.len());
        self.at += len;
        let value = rest[..len].trim_end();
        (value, start..start + value.len())
    }
}

/// Reads a check: `p99(latency) < 300ms over 10s`.
pub fn check(text: &str) -> Result<Check, Mistake> {
    let mut cursor = Cursor::new(text);
    cursor.skip_space();
    let (name, name_at) = cursor.take_until(|c| c.is_whitespace() || "()<>=!,".contains(c));
    cursor.skip_space();
    let (metric, load) = metric(&mut cursor, name, name_at)?;
    let (op, threshold) = if matches!(metric, Metric::Slo(_)) {
        cursor.skip_space();
        if OPS.iter().any(|(sign, _)| cursor.rest().starts_with(sign)) {
            let at = cursor.at..text.trim_end().len();
            let hint = "leave the comparison out: its objective is what it is compared with";
            return Err(Mistake::new(at, "`slo` stands alone", hint));
        }
        (Op::Ge, Quantity::Objective)
    } else {
        let op = cursor.op("p99(latency) < 300ms")?;
        let value = cursor.value("over");
        (op, quantity(&metric, name, &value)?)
    };
    let over = over(&mut cursor, &metric)?;
    Ok(Check { text: text.trim().to_owned(), metric, op, threshold, over, load })
}

/// Reads the sliding window, if there is one, and makes sure that nothing follows.
fn over(cursor: &mut Cursor<'_>, metric: &Metric) -> Result<Option<Duration>, Mistake> {
    const EXAMPLE: &str = "write a window such as `over 10s` there, or nothing";
    cursor.skip_space();
    let start = cursor.at;
    let end = cursor.text.trim_end().len();
    if start >= end {
        return Ok(None);
    }
    if !cursor.take("over") {
        let found = &cursor.text[start..end];
        return Err(Mistake::new(start..end, format!("`{found}` can't follow here"), EXAMPLE));
    }
    if matches!(metric, Metric::TimeToSteady | Metric::TimeToDetect) {
        return Err(Mistake::new(start..end, "a time has no window", "leave the `over` out"));
    }
    cursor.skip_space();
    let at = cursor.at.min(end)..end;
    match Duration::from_str(&cursor.text[at.clone()]) {
        Ok(window) if !window.is_zero() => Ok(Some(window)),
        Ok(_) => Err(Mistake::new(at, "a window can't be empty", EXAMPLE)),
        Err(_) => Err(Mistake::new(at, "`over` needs a duration such as 10s", EXAMPLE)),
    }
}

/// Reads what is measured, and the load it is measured on.
fn metric(
    cursor: &mut Cursor<'_>,
    name: &str,
    at: Range<usize>,
) -> Result<(Metric, Option<String>), Mistake> {
    match name {
        "" => {
            let hint = "write a function such as `p99(latency)` or `rate(good)`";
            return Err(Mistake::new(at, "the check measures nothing", hint));
        }
        "time_to_steady" => return Ok((Metric::TimeToSteady, None)),
        "time_to_detect" => return Ok((Metric::TimeToDetect, None)),
        _ => {}
    }
    if cursor.rest().starts_with(')') {
        let hint = "between `[` and `]`, quote a check that has a comma";
        return Err(Mistake::new(cursor.at..cursor.at + 1, "this parenthesis was never opened", hint));
    }
    let quantile = quantile(name, &at)?;
    if quantile.is_none() && !FUNCTIONS.contains(&name) {
        let known: Vec<&str> = FUNCTIONS.iter().chain(&TIMES).copied().collect();
        let hint = nearest(name, &known)
            .map_or_else(|| format!("known: {}", list_of(&known)), |near| format!("did you mean `{near}`?"));
        return Err(Mistake::new(at, format!("unknown function `{name}`"), hint));
    }
    let (first, load) = arguments(cursor, name, &at)?;
    let metric = if let Some(share) = quantile {
        Metric::Quantile(share, word(&SERIES, "time", &first)?)
    } else {
        match name {
            "mean" => Metric::Mean(word(&SERIES, "time", &first)?),
            "max" => Metric::Max(word(&SERIES, "time", &first)?),
            "rate" => Metric::Rate(word(&OUTCOMES, "outcome", &first)?),
            "count" => Metric::Count(word(&OUTCOMES, "outcome", &first)?),
            _ => {
                if let Some((_, at)) = load {
                    return Err(Mistake::new(
                        at,
                        "`slo` takes one name",
                        "the SLO says which load it is about",
                    ));
                }
                return Ok((Metric::Slo(first.0.to_owned()), None));
            }
        }
    };
    Ok((metric, load.map(|(name, _)| name.to_owned())))
}

/// Reads `p99.9` as 0.999; nothing where the name is no quantile at all.
fn quantile(name: &str, at: &Range<usize>) -> Result<Option<f64>, Mistake> {
    let Some(digits) = name
        .strip_prefix('p')
        .filter(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.'))
    else {
        return Ok(None);
    };
    // Through text, because 99.9 / 100 is 0.9990000000000001.
    match format!("{digits}e-2").parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(Some(share)),
        _ => {
            let hint = "write a percentile between 0 and 100, such as `p99` or `p99.9`; the longest is `max`";
            Err(Mistake::new(at.clone(), format!("there is no percentile `{name}`"), hint))
        }
    }
}

/// Reads `(first)` or `(first, load)`.
fn arguments<'t>(
    cursor: &mut Cursor<'t>,
    name: &str,
    name_at: &Range<usize>,
) -> Result<(Part<'t>, Option<Part<'t>>), Mistake> {
    let example = match name {
        "rate" | "count" => "good",
        "slo" => "availability",
        _ => "latency",
    };
    let say = format!("write `{name}({example})`");
    if !cursor.take("(") {
        return Err(Mistake::new(name_at.clone(), format!("`{name}` of what?"), say));
    }
    let opened = cursor.at - 1;
    let inside = cursor.take_until(|c| c == ')');
    if !cursor.take(")") {
        let hint = format!("{say}; between `[` and `]`, quote a check that has a comma");
        return Err(Mistake::new(opened..opened + 1, "this parenthesis is never closed", hint));
    }
    let mut parts = Vec::new();
    let mut start = inside.1.start;
    for part in inside.0.split(',') {
        let lead = part.len() - part.trim_start().len();
        parts.push((part.trim(), start + lead..start + lead + part.trim().len()));
        start += part.len() + 1;
    }
    match parts.as_slice() {
        [("", at), ..] => Err(Mistake::new(at.start..at.start + 1, format!("`{name}` of what?"), say)),
        [first] => Ok((first.clone(), None)),
        [_, ("", at)] => {
            Err(Mistake::new(at.start..at.start + 1, "the load's name is missing after the comma", say))
        }
        [first, load] => Ok((first.clone(), Some(load.clone()))),
        _ => Err(Mistake::new(
            inside.1,
            format!("`{name}` takes one or two words"),
            format!("write `{name}({example})` or `{name}({example}, LOAD)`"),
        )),
    }
}

/// Finds one of a few words.
fn word<T: Copy>(words: &[(&str, T)], what: &str, (text, at): &Part<'_>) -> Result<T, Mistake> {
    if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
        return Ok(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let hint = nearest(text, &known)
        .map_or_else(|| format!("known: {}", list_of(&known)), |near| format!("did you mean `{near}`?"));
    Err(Mistake::new(at.clone(), format!("unknown {what} `{text}`"), hint))
}

/// Reads what `metric` is compared with.
fn quantity(metric: &Metric, name: &str, (text, at): &Part<'_>) -> Result<Quantity, Mistake> {
    let wrong = |wanted: String, hint: &str| {
        let message = if text.is_empty() { wanted } else { format!("{wanted}, found `{text}`") };
        Err(Mistake::new(at.clone(), message, hint))
    };
    match metric {
        Metric::Quantile(..)
        | Metric::Mean(_)
        | Metric::Max(_)
        | Metric::TimeToSteady
        | Metric::TimeToDetect => {
            let of = match metric {
                Metric::Quantile(_, series) | Metric::Mean(series) | Metric::Max(series) => {
                    SERIES.iter().find(|(_, known)| known == series).map_or(name, |(word, _)| word)
                }
                _ => name,
            };
            match Duration::from_str(text) {
                Ok(limit) => Ok(Quantity::Seconds(limit.as_s())),
                Err(_) => wrong(
                    format!("`{of}` needs a duration such as 300ms"),
                    "write a number with its unit: us, ms, s, m",
                ),
            }
        }
        Metric::Rate(_) => {
            if let Ok(share) = Ratio::from_str(text) {
                return Ok(Quantity::Share(share.get()));
            }
            if let Ok(rate) = Rate::from_str(text) {
                return Ok(Quantity::PerSecond(rate.as_per_s()));
            }
            wrong(
                format!("`{name}` compares with a percentage or a rate"),
                "write `99.9%` for a share, or `500/s` for a rate",
            )
        }
        Metric::Count(_) => match text.replace('_', "").parse::<u64>() {
            Ok(count) => Ok(Quantity::Events(count as f64)),
            Err(_) => wrong(
                format!("`{name}` compares with a whole number"),
                "write a number of requests such as `0`",
            ),
        },
        Metric::Slo(_) => Ok(Quantity::Objective),
    }
}
