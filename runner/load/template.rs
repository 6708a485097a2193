//! Texts with values that differ from request to request: `{{ uuid }}`, `{{ counter }}`,
//! `{{ int(1, 100) }}`, `{{ timestamp }}`.
//!
//! Compiled once; a text without templates is never rendered again. What a template becomes is a pure
//! function of the load's seed, the arrival's number and its intended instant. Text outside `{{ }}` is
//! taken as it is; `{{` always opens a template.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::schedule::below;

/// A text in pieces. At most [`MAX_VALUES`] of them are values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// The most values in one text: enough for any real body, and a bound on what one arrival can cost.
pub const MAX_VALUES: usize = 1_000;

const KNOWN: &str = "write `{{ uuid }}`, `{{ counter }}`, `{{ int(1, 100) }}` or `{{ timestamp }}`";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Uuid,
    Counter,
    Int(i64, i64),
    Timestamp,
}

/// What the values of one arrival are made from.
pub struct Values {
    /// `{{ counter }}`: the arrival's number in its load, from 1.
    pub number: u64,
    /// `{{ timestamp }}`: the intended instant, in milliseconds since 1970 (UTC).
    pub unix_ms: u64,
    /// The arrival's own random stream.
    pub rng: ChaCha8Rng,
}

/// Says what is wrong with the templates in `text`, and what to write instead.
pub fn check(text: &str) -> Result<(), String> {
    Template::compile(text).map(drop)
}

impl Template {
    /// Reads a text; the error quotes the template that can't be read.
    pub fn compile(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, opened)) = rest.split_once("{{") {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            let (inside, after) = opened
                .split_once("}}")
                .ok_or_else(|| format!("`{{{{` is never closed by `}}}}`; {KNOWN}"))?;
            pieces.push(Piece::read(inside.trim())?);
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        let template = Self { pieces };
        if template.values().count() > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} templates in one text"));
        }
        Ok(template)
    }

    /// The text itself if there is nothing in it to fill in.
    pub fn fixed(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text with its values.
    pub fn render(&self, values: &mut Values, out: &mut Vec<u8>) {
        use std::io::Write;
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Uuid => out.extend_from_slice(&uuid(&mut values.rng)),
                Piece::Counter => write!(out, "{}", values.number).expect("a Vec takes every write"),
                Piece::Int(low, high) => {
                    let span = low.abs_diff(*high);
                    let drawn = match span.checked_add(1) {
                        Some(count) => below(&mut values.rng, count),
                        None => values.rng.next_u64(),
                    };
                    write!(out, "{}", low.wrapping_add_unsigned(drawn)).expect("a Vec takes every write");
                }
                Piece::Timestamp => write!(out, "{}", values.unix_ms).expect("a Vec takes every write"),
            }
        }
    }

    fn values(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(|piece| !matches!(piece, Piece::Text(_)))
    }
}

impl Piece {
    fn read(inside: &str) -> Result<Self, String> {
        match inside {
            "uuid" => return Ok(Self::Uuid),
            "counter" => return Ok(Self::Counter),
            "timestamp" => return Ok(Self::Timestamp),
            _ => {}
        }
        let arguments = inside.strip_prefix("int").map(str::trim_start);
        let Some(arguments) = arguments.filter(|rest| rest.is_empty() || rest.starts_with('(')) else {
            return Err(format!("unknown template `{{{{ {inside} }}}}`; {KNOWN}"));
        };
        let bounds = arguments
            .strip_prefix('(')
            .and_then(|open| open.strip_suffix(')'))
            .and_then(|pair| pair.split_once(','))
            .and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
        match bounds {
            Some((low, high)) if low <= high => Ok(Self::Int(low, high)),
            Some((low, high)) => {
                Err(format!("`{{{{ {inside} }}}}` is empty; write `{{{{ int({high}, {low}) }}}}`"))
            }
            None => Err(format!("`{{{{ {inside} }}}}` needs two whole numbers, as `{{{{ int(1, 100) }}}}`")),
        }
    }
}

/// A random UUID (RFC 9562, version 4) in its usual 36 characters.
fn uuid(rng: &mut ChaCha8Rng) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = [0u8; 16];
    rng.fill_bytes(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in bytes.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::schedule::template_rng;

    fn rendered(text: &str, number: u64) -> String {
        let mut out = Vec::new();
        let mut values = Values { number, unix_ms: 1_700_000_000_123, rng: template_rng(5, number) };
        Template::compile(text).expect(text).render(&mut values, &mut out);
        String::from_utf8(out).expect("templates of text render text")
    }

    #[test]
    fn templates_are_filled_in() {
        for (text, expected) in [
            ("", ""),
            ("plain } text }}", "plain } text }}"),
            ("{{counter}}/{{ counter }}", "7/7"),
            ("at {{ timestamp }}.", "at 1700000000123."),
            ("{{ int(4, 4) }}{{ int ( -2 , -2 ) }}", "4-2"),
        ] {
            assert_eq!(rendered(text, 7), expected, "{text}");
        }
    }

    #[test]
    fn random_values_differ_by_arrival_and_repeat_by_seed() {
        let both = "{{ uuid }} {{ int(1, 1000000) }}";
        assert_eq!(rendered(both, 1), rendered(both, 1));
        assert_ne!(rendered(both, 1), rendered(both, 2));
        let uuid = rendered("{{ uuid }}", 3);
        let groups: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{uuid}");
        assert_eq!(uuid.as_bytes()[14], b'4', "{uuid} is of version 4");
        assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid} is of RFC 9562's variant");
    }

    #[test]
    fn ints_reach_both_ends_and_no_further() {
        let drawn: std::collections::BTreeSet<String> =
            (1..200).map(|number| rendered("{{ int(-1, 2) }}", number)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), ["-1", "0", "1", "2"]);
        let whole = format!("{{{{ int({}, {}) }}}}", i64::MIN, i64::MAX);
        assert_ne!(rendered(&whole, 1), rendered(&whole, 2));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (text, expected) in [
            ("{{ uid }}", "unknown template `{{ uid }}`; write `{{ uuid }}`"),
            ("{{ uuid", "`{{` is never closed by `}}`"),
            ("{{ int(1) }}", "`{{ int(1) }}` needs two whole numbers, as `{{ int(1, 100) }}`"),
            ("{{ int(9, 1) }}", "`{{ int(9, 1) }}` is empty; write `{{ int(1, 9) }}`"),
            ("{{ int }}", "needs two whole numbers"),
            ("{{ integer }}", "unknown template"),
        ] {
            let error = check(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(check(&"{{ uuid }}".repeat(MAX_VALUES + 1)).is_err());
    }
}
