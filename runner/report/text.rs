//! Values and names as people read them, for every format.
//!
//! Figures keep three significant digits, the precision of the histograms, and are never rounded up to a
//! better claim: 99.996% good is not 100%. Names lose whatever could act on a terminal or disguise
//! themselves on a page.

use serde_json::Value;

use crate::slo::search::End;
use crate::verdict::LoadReport;

/// The most characters of a name that is shown; the whole is in report.json.
pub const NAME_MAX_CHARS: usize = 200;

/// The most characters of a sentence that is shown.
pub const PROSE_MAX_CHARS: usize = 600;

/// `text` as one line without control characters and invisible or direction-changing marks, cut to `most`
/// characters with `…` at the end.
pub fn clean(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (at, character) in text.chars().enumerate() {
        if at + 1 >= most && text.chars().nth(most).is_some() {
            out.push('…');
            break;
        }
        out.push(match character {
            '\n' | '\r' | '\t' => ' ',
            harmful if is_harmful(harmful) => char::REPLACEMENT_CHARACTER,
            harmless => harmless,
        });
    }
    out
}

/// Control characters, and marks that hide text or turn its direction (U+202E makes `gpj.exe` of `exe.jpg`).
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A time given in milliseconds, with its unit: `3.10 ms`, `212 ms`, `1.20 s`, `85 µs`.
pub fn ms(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 60_000.0 {
        s(value / 1e3)
    } else if magnitude >= 1e3 {
        format!("{} s", three_digits(value / 1e3))
    } else if magnitude >= 1.0 || magnitude == 0.0 {
        format!("{} ms", three_digits(value))
    } else {
        format!("{} µs", three_digits(value * 1e3))
    }
}

/// A latency percentile by its name in report.json, as `212 ms`, or `≥ 2.00 s` where it is a lower bound.
pub fn latency(load: &LoadReport, name: &str) -> Option<String> {
    let latency = load.latency_ms?;
    let value = match name {
        "p50" => latency.p50,
        "p90" => latency.p90,
        "p95" => latency.p95,
        "p99" => latency.p99,
        "p999" => latency.p999,
        _ => latency.max,
    };
    let at_least = load.latency_at_least.iter().any(|bound| bound == name);
    Some(if at_least { format!("≥ {}", ms(value)) } else { ms(value) })
}

/// A round time on an axis, given in milliseconds: `5 ms`, `1 s`, `200 µs`.
pub(super) fn ms_tick(value: f64) -> String {
    let (scaled, unit) = match value {
        long if long >= 999.5 => (value / 1e3, "s"),
        short if short > 0.0 && short < 0.9995 => (value * 1e3, "µs"),
        _ => (value, "ms"),
    };
    format!("{} {unit}", (scaled * 100.0).round() / 100.0)
}

/// A time given in seconds, with its unit: `0.42 s`, `20.0 s`, `3 min 5 s`.
pub fn s(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{} s", three_digits(value));
    }
    let whole = value.round() as i64;
    if whole < 3_600 {
        format!("{} min {} s", whole / 60, whole % 60)
    } else {
        format!("{} h {} min", whole / 3_600, whole % 3_600 / 60)
    }
}

/// Three significant digits, never in exponent form.
fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        magnitude if magnitude >= 99.95 => 0,
        magnitude if magnitude >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches('-').chars().all(|digit| matches!(digit, '0' | '.')) {
        return "0".into();
    }
    text
}

/// A count with its thousands apart: `80,123`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Events a second, without the unit: `2,000`, `0.50`.
pub fn rate(per_s: f64) -> String {
    if per_s >= 99.95 { count(per_s.round() as u64) } else { three_digits(per_s) }
}

/// A capacity in a few words: `shoppers holds 410/s, not 430/s: 67% less than in healthy`.
pub fn capacity(capacity: &crate::verdict::CapacityReport) -> String {
    let load = clean(&capacity.load, NAME_MAX_CHARS);
    let mut out = match (capacity.held_per_s, capacity.end) {
        (Some(held), End::Found) => format!("{load} holds {}/s", rate(held)),
        (Some(held), _) => format!("{load} holds at least {}/s", rate(held)),
        (None, _) => format!("{load} holds no rate that was tried"),
    };
    if let Some(broke) = capacity.broke_per_s {
        out.push_str(&format!(", not {}/s", rate(broke)));
    }
    if let (Some(lost), Some(against)) = (capacity.lost_ratio, &capacity.lost_against) {
        let change = if lost >= 0.0 { "less" } else { "more" };
        let against = clean(against, NAME_MAX_CHARS);
        out.push_str(&format!(": {:.0}% {change} than in {against}", lost.abs() * 100.0));
    }
    out
}

/// A round rate on an axis: `2,000`, `3`, `0.5`.
pub(super) fn rate_tick(per_s: f64) -> String {
    if per_s.fract() == 0.0 { count(per_s as u64) } else { format!("{}", (per_s * 100.0).round() / 100.0) }
}

/// `good` of `of` in percent, rounded towards the worse: `100%` only if all were. Nothing of nothing is
/// nothing.
pub fn share(good: u64, of: u64) -> Option<String> {
    (of > 0).then(|| if good >= of { "100%".into() } else { below_one(good as f64 / of as f64) })
}

/// A ratio from 0 to 1 in percent, rounded towards the worse.
pub fn ratio(value: f64) -> String {
    if value >= 1.0 { "100%".into() } else { below_one(value) }
}

/// A ratio below 1 in percent, with as many digits as tell it from 100%, rounded down.
fn below_one(value: f64) -> String {
    let percent = value * 100.0;
    let decimals = match percent {
        high if high >= 99.999 => 5,
        high if high >= 99.99 => 4,
        high if high >= 99.9 => 3,
        _ => 2,
    };
    let scale = 10f64.powi(decimals);
    // A hair is added so that 99.9% is not printed as 99.899%: 0.999 * 100 is a little less than 99.9.
    let floored = ((percent * scale + 1e-6).floor() / scale).min(100.0 - 1.0 / scale);
    let text = format!("{floored:.*}", decimals.unsigned_abs() as usize);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A share of an error budget in percent; may be above 100%, is rounded up to the worse: `0.39%`, `231%`.
pub fn budget(value: f64) -> String {
    let percent = value * 100.0;
    match percent {
        none if none <= 0.0 => "0%".into(),
        little if little < 0.01 => "< 0.01%".into(),
        small if small < 100.0 => format!("{}%", (small * 100.0 - 1e-9).ceil() / 100.0),
        large => format!("{}%", count(large.ceil() as u64)),
    }
}

/// Evidence, flattened to paths and values as `packets matched`, `412,233`; nulls left out.
pub fn evidence(evidence: &std::collections::BTreeMap<String, Value>) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for (key, value) in evidence {
        match value {
            // One kind of evidence needs no heading: `matched packets`, not `packets matched packets`.
            Value::Object(fields) if evidence.len() == 1 => {
                fields.iter().for_each(|(key, value)| flatten(key, value, 1, &mut out));
            }
            _ => flatten(key, value, 0, &mut out),
        }
    }
    out
}

/// Evidence is two levels deep; anything deeper is shown as JSON.
const FLATTEN_DEPTH: u32 = 3;

fn flatten(path: &str, value: &Value, depth: u32, out: &mut Vec<(String, String)>) {
    let shown = match value {
        Value::Null => return,
        Value::Object(fields) if depth < FLATTEN_DEPTH => {
            for (key, value) in fields {
                flatten(&format!("{path} {key}"), value, depth + 1, out);
            }
            return;
        }
        Value::Number(number) => match number.as_u64() {
            Some(whole) => count(whole),
            None => number.as_f64().map_or_else(|| number.to_string(), |value| format!("{value:.3}")),
        },
        Value::String(text) => clean(text, NAME_MAX_CHARS),
        other => clean(&other.to_string(), NAME_MAX_CHARS),
    };
    out.push((clean(&path.replace('_', " "), NAME_MAX_CHARS), shown));
}

/// The first value with this key, at any depth.
pub fn find<'v>(evidence: &'v std::collections::BTreeMap<String, Value>, key: &str) -> Option<&'v Value> {
    fn inside<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
        let fields = value.as_object()?;
        fields
            .get(key)
            .filter(|value| !value.is_null())
            .or_else(|| fields.values().find_map(|value| inside(value, key)))
    }
    evidence
        .get(key)
        .filter(|value| !value.is_null())
        .or_else(|| evidence.values().find_map(|value| inside(value, key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shown: &[(String, &str)]) {
        for (got, wanted) in shown {
            assert_eq!(got, wanted);
        }
    }

    #[test]
    fn times_keep_three_digits() {
        check(&[
            (ms(0.0), "0 ms"),
            (ms(0.085), "85.0 µs"),
            (ms(3.1), "3.10 ms"),
            (ms(99.96), "100 ms"),
            (ms(212.4), "212 ms"),
            (ms(1_204.0), "1.20 s"),
            (ms(75_000.0), "75.0 s"),
            (s(0.42), "0.42 s"),
            (s(185.0), "3 min 5 s"),
            (s(7_260.0), "2 h 1 min"),
        ]);
    }

    #[test]
    fn shares_are_never_rounded_up() {
        let shown = |good, of| share(good, of).unwrap_or_else(|| "none".into());
        check(&[
            (shown(0, 0), "none"),
            (shown(5, 5), "100%"),
            (shown(999, 1_000), "99.9%"),
            (shown(99_996, 100_000), "99.996%"),
            (shown(9_999_999, 10_000_000), "99.99999%"),
            (shown(999_999_999_999, 1_000_000_000_000), "99.99999%"),
            (shown(1, 3), "33.33%"),
            (shown(0, 7), "0%"),
            (ratio(0.9995), "99.95%"),
        ]);
    }

    #[test]
    fn budgets_are_never_rounded_down() {
        check(&[
            (budget(0.0), "0%"),
            (budget(0.003_858), "0.39%"),
            (budget(0.000_01), "< 0.01%"),
            (budget(2.315), "232%"),
            (budget(0.25), "25%"),
        ]);
    }

    #[test]
    fn counts_are_grouped() {
        check(&[
            (count(0), "0"),
            (count(999), "999"),
            (count(80_123), "80,123"),
            (count(1_234_567), "1,234,567"),
            (rate(0.5), "0.50"),
            (rate(2_000.4), "2,000"),
        ]);
    }

    #[test]
    fn names_lose_what_could_act() {
        check(&[
            (clean("api-1", 10), "api-1"),
            (clean("a\u{1b}[31mred\u{7}", 20), "a\u{fffd}[31mred\u{fffd}"),
            (clean("two\nlines\tand", 20), "two lines and"),
            (clean("exe.\u{202e}gpj", 20), "exe.\u{fffd}gpj"),
            (clean("csi \u{9b}31m", 20), "csi \u{fffd}31m"),
            (clean("abcdef", 6), "abcdef"),
            (clean("abcdefg", 6), "abcde…"),
            (clean("日本語", 200), "日本語"),
        ]);
    }
}
