//! Reads one figure of a check: `p99(latency, slow-api)`, `count(dropped)`, `time_to_steady`.
//!
//! A part of the reader in `expr_parse.rs`. The names behind a figure are kept as written: which of them is a load, a
//! phase or a request is known only to the experiment around. Start at [`figure`].

use std::ops::Range;

use super::decode::{list_of, nearest};
use super::expr::{Kind, Metric, Name, Outcome, Outturn, Series};
use super::expr_cursor::{Cursor, Mistake, Part};
use super::expr_parse::ends_word;

/// Every function, with an example that people can copy.
const FUNCTIONS: [&str; 13] = [
    "p50",
    "p90",
    "p95",
    "p99",
    "p99.9",
    "mean",
    "max",
    "min",
    "rate",
    "share",
    "throughput",
    "count",
    "slo",
];
pub(super) const SERIES: [(&str, Series); 6] = [
    ("latency", Series::Latency),
    ("service", Series::Service),
    ("send_lag", Series::SendLag),
    ("first_byte", Series::FirstByte),
    ("connect", Series::Connect),
    ("tls", Series::Tls),
];
pub(super) const OUTCOMES: [(&str, Outcome); 8] = [
    ("scheduled", Outcome::Scheduled),
    ("good", Outcome::Good),
    ("bad", Outcome::Bad),
    ("timed_out", Outcome::TimedOut),
    ("failed", Outcome::Failed),
    ("dropped", Outcome::Dropped),
    ("cut_off", Outcome::CutOff),
    ("errors", Outcome::Errors),
];
const KINDS: [(&str, Kind); 4] =
    [("load", Kind::Load), ("phase", Kind::Phase), ("request", Kind::Request), ("outcome", Kind::Outcome)];
/// One of each kind.
const MAX_NAMES: usize = KINDS.len();

/// A figure as it is read.
pub(super) struct Raw {
    pub text: String,
    pub measures: Measures,
    pub names: Vec<Name>,
}

/// What it measures, as far as it says by itself.
pub(super) enum Measures {
    Fixed(Metric),
    /// `rate(good)`: a share or so many a second; what it stands beside decides.
    Rate(Outcome),
}

/// An argument of a function.
struct Argument<'t> {
    kind: Option<Kind>,
    text: &'t str,
    at: Range<usize>,
}

/// True if this word is one of those that need no parentheses.
pub(super) fn is_outturn(word: &str) -> bool {
    Outturn::ALL.iter().any(|(known, _)| *known == word)
}

/// Reads a figure that stands within so many parentheses.
pub(super) fn figure(cursor: &mut Cursor<'_>, depth: usize) -> Result<Raw, Mistake> {
    let start = cursor.at;
    let (name, at) = cursor.take_until(ends_word);
    if name.is_empty() {
        return Err(nothing(cursor, at, depth));
    }
    let after = cursor.at;
    cursor.skip_space();
    let (measures, names) = match Outturn::ALL.iter().find(|(word, _)| *word == name) {
        Some((_, outturn)) => {
            if cursor.rest().starts_with('(') {
                (Measures::Fixed(Metric::Outturn(*outturn)), outturn_names(cursor, *outturn, &at)?)
            } else {
                cursor.at = after;
                (Measures::Fixed(Metric::Outturn(*outturn)), Vec::new())
            }
        }
        None => function(cursor, name, at)?,
    };
    Ok(Raw { text: cursor.text[start..cursor.at].to_owned(), measures, names })
}

fn nothing(cursor: &Cursor<'_>, at: Range<usize>, depth: usize) -> Mistake {
    if cursor.rest().starts_with(')') && depth == 0 {
        let hint = "between `[` and `]`, quote a check that has a comma";
        return Mistake::new(cursor.at..cursor.at + 1, "this parenthesis was never opened", hint);
    }
    if cursor.text[..at.start].trim().is_empty() {
        let hint = "write a function such as `p99(latency)` or `rate(good)`";
        return Mistake::new(at, "the check measures nothing", hint);
    }
    Mistake::new(
        at,
        "a value is missing",
        "write a figure such as `p99(latency)`, or an amount such as `300ms`",
    )
}

fn function(cursor: &mut Cursor<'_>, name: &str, at: Range<usize>) -> Result<(Measures, Vec<Name>), Mistake> {
    if cursor.rest().starts_with(')') {
        let hint = "between `[` and `]`, quote a check that has a comma";
        return Err(Mistake::new(cursor.at..cursor.at + 1, "this parenthesis was never opened", hint));
    }
    let quantile = quantile(name, &at)?;
    if quantile.is_none() && !FUNCTIONS.contains(&name) {
        let known: Vec<&str> = FUNCTIONS.iter().copied().chain(Outturn::ALL.map(|(word, _)| word)).collect();
        let hint = nearest(name, &known)
            .map_or_else(|| format!("known: {}", list_of(&known)), |near| format!("did you mean `{near}`?"));
        return Err(Mistake::new(at, format!("unknown function `{name}`"), hint));
    }
    let mut arguments = arguments(cursor, name, &at)?.into_iter();
    let first = arguments.next().expect("a function has something in its parentheses");
    let first = (first.text, first.at);
    let measures = if let Some(share) = quantile {
        Measures::Fixed(Metric::Quantile(share, word(&SERIES, "time", &first)?))
    } else {
        match name {
            "mean" => Measures::Fixed(Metric::Mean(word(&SERIES, "time", &first)?)),
            "max" => Measures::Fixed(Metric::Max(word(&SERIES, "time", &first)?)),
            "min" => Measures::Fixed(Metric::Min(word(&SERIES, "time", &first)?)),
            "rate" => Measures::Rate(word(&OUTCOMES, "outcome", &first)?),
            "share" => Measures::Fixed(Metric::Share(word(&OUTCOMES, "outcome", &first)?)),
            "throughput" => Measures::Fixed(Metric::Throughput(word(&OUTCOMES, "outcome", &first)?)),
            "count" => Measures::Fixed(Metric::Count(word(&OUTCOMES, "outcome", &first)?)),
            _ => {
                if let Some(second) = arguments.next() {
                    let hint = "the SLO says which load it is about";
                    return Err(Mistake::new(second.at, "`slo` takes one name", hint));
                }
                return Ok((Measures::Fixed(Metric::Slo(first.0.to_owned())), Vec::new()));
            }
        }
    };
    Ok((measures, arguments.map(|one| Name { kind: one.kind, text: one.text.to_owned() }).collect()))
}

fn outturn_names(cursor: &mut Cursor<'_>, outturn: Outturn, at: &Range<usize>) -> Result<Vec<Name>, Mistake> {
    let name = outturn.word();
    if !outturn.takes_slo() {
        let start = cursor.at;
        let (_, inside) = cursor.take_until(|c| c == ')');
        let message = format!("`{name}` is a figure of the run, and of nothing else");
        return Err(Mistake::new(start..inside.end, message, format!("write `{name}` alone")));
    }
    let found = arguments(cursor, name, at)?;
    if let Some(second) = found.get(1) {
        let message = format!("`{name}` takes one name");
        return Err(Mistake::new(second.at.clone(), message, format!("write `{name}(SLO)`")));
    }
    Ok(found.into_iter().map(|one| Name { kind: None, text: one.text.to_owned() }).collect())
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
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(Some(share)),
        _ => {
            let hint = "write a percentile from `p0`, the shortest, to `p100`, the longest, such as `p99` or `p99.95`";
            Err(Mistake::new(at.clone(), format!("there is no percentile `{name}`"), hint))
        }
    }
}

/// Reads `(first)`, `(first, NAME)`, `(first, load=NAME, request="GET /cart")`; at least one.
fn arguments<'t>(
    cursor: &mut Cursor<'t>,
    name: &str,
    name_at: &Range<usize>,
) -> Result<Vec<Argument<'t>>, Mistake> {
    let example = match name {
        "rate" | "share" | "throughput" | "count" => "good",
        "slo" => "availability",
        _ if is_outturn(name) => "availability",
        _ => "latency",
    };
    let say = format!("write `{name}({example})`");
    if !cursor.take("(") {
        return Err(Mistake::new(name_at.clone(), format!("`{name}` of what?"), say));
    }
    let opened = cursor.at - 1;
    let mut found = Vec::new();
    loop {
        found.push(argument(cursor));
        cursor.skip_space();
        if cursor.take(",") {
            continue;
        }
        if cursor.take(")") {
            break;
        }
        let hint = format!("{say}; between `[` and `]`, quote a check that has a comma");
        return Err(Mistake::new(opened..opened + 1, "this parenthesis is never closed", hint));
    }
    if let Some(place) = found.iter().position(|one| one.text.is_empty()) {
        let at = found[place].at.start;
        let message = match place {
            0 => format!("`{name}` of what?"),
            _ => "a name is missing after the comma".to_owned(),
        };
        return Err(Mistake::new(at..at + 1, message, say));
    }
    if let Some(extra) = found.get(1 + MAX_NAMES) {
        let last = found.last().map_or(extra.at.end, |last| last.at.end);
        let message = format!("`{name}` takes a load, a phase, a request and an outcome at most");
        return Err(Mistake::new(extra.at.start..last, message, format!("write `{name}({example}, NAME)`")));
    }
    Ok(found)
}

/// One argument: a word, `phase=NAME`, or either with the name in quotes.
fn argument<'t>(cursor: &mut Cursor<'t>) -> Argument<'t> {
    cursor.skip_space();
    let rest = cursor.rest();
    let said = KINDS.iter().find_map(|(word, kind)| {
        let behind = rest.strip_prefix(word)?.trim_start().strip_prefix('=')?;
        Some((*kind, rest.len() - behind.len()))
    });
    if let Some((_, len)) = said {
        cursor.at += len;
        cursor.skip_space();
    }
    let kind = said.map(|(kind, _)| kind);
    if let Some(quote) = cursor.rest().chars().next().filter(|c| matches!(c, '"' | '\''))
        && let Some(len) = cursor.rest()[1..].find(quote)
    {
        let at = cursor.at + 1..cursor.at + 1 + len;
        cursor.at = at.end + 1;
        return Argument { kind, text: &cursor.text[at.clone()], at };
    }
    let (text, at) = cursor.take_until(|c| c == ',' || c == ')');
    let text = text.trim_end();
    Argument { kind, text, at: at.start..at.start + text.len() }
}

/// Finds one of a few words.
pub(super) fn word<T: Copy>(words: &[(&str, T)], what: &str, (text, at): &Part<'_>) -> Result<T, Mistake> {
    if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
        return Ok(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let hint = nearest(text, &known)
        .map_or_else(|| format!("known: {}", list_of(&known)), |near| format!("did you mean `{near}`?"));
    Err(Mistake::new(at.clone(), format!("unknown {what} `{text}`"), hint))
}
