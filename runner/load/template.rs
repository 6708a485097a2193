//! Texts compiled and filled in: what `spec/template.rs` found in them, for one arrival after another.
//!
//! Compiled once; a text without templates is never rendered again. What a template becomes is a pure
//! function of the load's seed, the arrival's number, its intended instant, and of the visit it belongs to:
//! the rows it was dealt and what its earlier answers held. Whatever a value holds stays in its place; see
//! [`Escape`]. Start at [`Template::compile`].

use std::borrow::Cow;
use std::io::Write;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::feed::Row;
use super::schedule::below;
use crate::spec::template::{Known, Part, Value, parts};

/// A text in pieces. At most [`MAX_VALUES`] of them are values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// The most values in one text: enough for any real body, and a bound on what one arrival can cost.
pub const MAX_VALUES: usize = 1_000;

/// Where values stand, and so what may not be in them as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// Anything goes: a body of text.
    Nothing,
    /// The path or query of a URL: all but unreserved characters (RFC 3986, 2.3) is percent-encoded, so that
    /// a value is one segment or one parameter whatever is in it.
    Url,
    /// A header: control characters become spaces (RFC 9110, 5.5), so that a value can't begin a line.
    Header,
    /// A text inside JSON: escaped as RFC 8259 has it.
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Uuid,
    Counter,
    Int(i64, i64),
    Choice(Vec<String>),
    Timestamp,
    Time,
    Column { feed: usize, column: usize, escape: Escape },
    Extracted { slot: usize, escape: Escape },
}

/// The names in a load's texts, with the places that their values have.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The load's data by name; of each the columns that texts use, in the order of first use.
    pub feeds: Vec<(String, Vec<String>)>,
    /// What the flow has extracted so far. The place of a name is the same in all its steps.
    pub extracted: Vec<String>,
}

/// What the values of one request are made from.
pub struct Values<'v> {
    /// `{{ counter }}`: the arrival's number in its load, from 1.
    pub number: u64,
    /// `{{ timestamp }}`: the intended instant, in milliseconds since 1970 (UTC).
    pub unix_ms: u64,
    /// The request's own random stream.
    pub rng: ChaCha8Rng,
    /// A row of each feed that the visit uses.
    pub rows: &'v [Option<Row>],
    /// What was extracted, by place.
    pub extracted: &'v [Option<Vec<u8>>],
}

impl Template {
    /// Reads a text, noting in `scope` which columns it uses; the error quotes the template that can't be
    /// read.
    pub fn compile(text: &str, escape: Escape, scope: &mut Scope) -> Result<Self, String> {
        let read = {
            let known = Known {
                data: scope.feeds.iter().map(|(name, _)| name.as_str()).collect(),
                extracted: scope.extracted.iter().map(String::as_str).collect(),
            };
            parts(text, &known)
        };
        let mut pieces = Vec::with_capacity(read.len());
        for part in read {
            let part = part.map_err(|wrong| format!("{}; {}", wrong.message, wrong.hint))?;
            pieces.push(Piece::of(part, escape, scope));
        }
        let template = Self { pieces };
        if template.values() > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} templates in one text"));
        }
        Ok(template)
    }

    /// This text with another behind it.
    #[must_use]
    pub fn then(mut self, after: Self) -> Self {
        for piece in after.pieces {
            match (self.pieces.last_mut(), piece) {
                (Some(Piece::Text(last)), Piece::Text(text)) => last.push_str(&text),
                (_, piece) => self.pieces.push(piece),
            }
        }
        self
    }

    /// A text that is taken as it is.
    pub fn plain(text: &str) -> Self {
        Self { pieces: vec![Piece::Text(text.into())] }
    }

    /// The text itself if there is nothing in it to fill in.
    pub fn fixed(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// True if a row of data is needed to fill it in.
    pub fn uses_data(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Column { .. }))
    }

    /// The places of the feeds it needs a row of.
    pub fn feeds(&self) -> impl Iterator<Item = usize> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Column { feed, .. } => Some(*feed),
            _ => None,
        })
    }

    /// Appends the text with its values. A value that there is not (no row was dealt) leaves its place empty.
    pub fn render(&self, values: &mut Values<'_>, out: &mut Vec<u8>) {
        const TAKES: &str = "a Vec takes every write";
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Uuid => out.extend_from_slice(&uuid(&mut values.rng)),
                Piece::Counter => write!(out, "{}", values.number).expect(TAKES),
                Piece::Int(low, high) => {
                    let span = low.abs_diff(*high);
                    let drawn = match span.checked_add(1) {
                        Some(count) => below(&mut values.rng, count),
                        None => values.rng.next_u64(),
                    };
                    write!(out, "{}", low.wrapping_add_unsigned(drawn)).expect(TAKES);
                }
                Piece::Choice(choices) => {
                    let drawn = below(&mut values.rng, choices.len() as u64) as usize;
                    out.extend_from_slice(choices[drawn].as_bytes());
                }
                Piece::Timestamp => write!(out, "{}", values.unix_ms).expect(TAKES),
                Piece::Time => {
                    let time = i64::try_from(values.unix_ms).ok();
                    let time = time.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
                    write!(out, "{:.3}", time.unwrap_or_default()).expect(TAKES);
                }
                Piece::Column { feed, column, escape } => {
                    let row = values.rows.get(*feed).and_then(Option::as_ref);
                    escape.write(row.map_or(b"", |row| row.value(*column).as_bytes()), out);
                }
                Piece::Extracted { slot, escape } => {
                    let value = values.extracted.get(*slot).and_then(Option::as_deref);
                    escape.write(value.unwrap_or_default(), out);
                }
            }
        }
    }

    fn values(&self) -> usize {
        self.pieces.iter().filter(|piece| !matches!(piece, Piece::Text(_))).count()
    }
}

impl Piece {
    fn of(part: Part, escape: Escape, scope: &mut Scope) -> Self {
        let place = |names: &[String], name: &str| names.iter().position(|known| known == name);
        match part {
            Part::Text(text) => Self::Text(text),
            Part::Value(Value::Uuid) => Self::Uuid,
            Part::Value(Value::Counter) => Self::Counter,
            Part::Value(Value::Int(low, high)) => Self::Int(low, high),
            Part::Value(Value::Timestamp) => Self::Timestamp,
            Part::Value(Value::Time) => Self::Time,
            Part::Value(Value::Choice(choices)) => {
                let escaped = |choice: &String| {
                    let mut out = Vec::new();
                    escape.write(choice.as_bytes(), &mut out);
                    String::from_utf8_lossy(&out).into_owned()
                };
                Self::Choice(choices.iter().map(escaped).collect())
            }
            Part::Value(Value::Column { data, column }) => {
                let feed = scope.feeds.iter().position(|(name, _)| *name == data);
                let feed = feed.expect("only columns of known data are read");
                let columns = &mut scope.feeds[feed].1;
                let column = place(columns, &column).unwrap_or_else(|| {
                    columns.push(column);
                    columns.len() - 1
                });
                Self::Column { feed, column, escape }
            }
            Part::Value(Value::Extracted(name)) => {
                let slot = place(&scope.extracted, &name).expect("only known names are read");
                Self::Extracted { slot, escape }
            }
        }
    }
}

impl Escape {
    /// Appends `value` so that it can't be more than a value where it stands.
    pub fn write(self, value: &[u8], out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        match self {
            Self::Nothing => out.extend_from_slice(value),
            Self::Url => {
                for &byte in value {
                    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                        out.push(byte);
                    } else {
                        out.extend_from_slice(&[
                            b'%',
                            HEX[usize::from(byte >> 4)],
                            HEX[usize::from(byte & 15)],
                        ]);
                    }
                }
            }
            Self::Header => {
                out.extend(value.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }));
            }
            Self::Json => {
                let text: Cow<'_, str> = String::from_utf8_lossy(value);
                let quoted = serde_json::to_string(&text).expect("a text is JSON");
                out.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
            }
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

    fn rendered_in(text: &str, number: u64, escape: Escape) -> String {
        let mut out = Vec::new();
        let mut scope = Scope {
            feeds: vec![("users".into(), Vec::new()), ("items".into(), Vec::new())],
            extracted: vec!["token".into(), "unset".into()],
        };
        let template = Template::compile(text, escape, &mut scope).expect(text);
        let row = |columns: &[String]| Row::new(columns.iter().map(|column| format!("<{column}\"\r\n>")));
        let rows = [Some(row(&scope.feeds[0].1)), None];
        let mut values = Values {
            number,
            unix_ms: 1_700_000_000_123,
            rng: template_rng(5, number),
            rows: &rows,
            extracted: &[Some(b"a/b c\r\nx: \"y\"".to_vec()), None],
        };
        template.render(&mut values, &mut out);
        String::from_utf8(out).expect("templates of text render text")
    }

    fn rendered(text: &str, number: u64) -> String {
        rendered_in(text, number, Escape::Nothing)
    }

    #[test]
    fn templates_are_filled_in() {
        for (text, expected) in [
            ("", ""),
            ("plain } text }}", "plain } text }}"),
            ("{{counter}}/{{ counter }}", "7/7"),
            ("at {{ timestamp }}.", "at 1700000000123."),
            ("at {{ time }}.", "at 2023-11-14T22:13:20.123Z."),
            ("{{ int(4, 4) }}{{ int ( -2 , -2 ) }}", "4-2"),
            ("{{ choice(one) }}", "one"),
            ("{{ items.none }}{{ unset }}", ""),
            ("{{ users.b }}{{ users.a }}{{ users.b }}", "<b\"\r\n><a\"\r\n><b\"\r\n>"),
        ] {
            assert_eq!(rendered(text, 7), expected, "{text}");
        }
    }

    #[test]
    fn values_stay_in_their_place() {
        for (escape, extracted, column) in [
            (Escape::Nothing, "a/b c\r\nx: \"y\"", "<e\"\r\n>"),
            (Escape::Url, "a%2Fb%20c%0D%0Ax%3A%20%22y%22", "%3Ce%22%0D%0A%3E"),
            (Escape::Header, "a/b c  x: \"y\"", "<e\"  >"),
            (Escape::Json, r#"a/b c\r\nx: \"y\""#, r#"<e\"\r\n>"#),
        ] {
            assert_eq!(rendered_in("{{ token }}", 1, escape), extracted, "{escape:?}");
            assert_eq!(rendered_in("{{ users.e }}", 1, escape), column, "{escape:?}");
        }
        assert_eq!(rendered_in("{{ choice(a&b) }}", 1, Escape::Url), "a%26b");
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
    fn ints_and_choices_reach_all_there_is_and_no_more() {
        let drawn = |text: &str| -> Vec<String> {
            let drawn: std::collections::BTreeSet<String> =
                (1..200).map(|number| rendered(text, number)).collect();
            drawn.into_iter().collect()
        };
        assert_eq!(drawn("{{ int(-1, 2) }}"), ["-1", "0", "1", "2"]);
        assert_eq!(drawn("{{ choice(b, a, c d) }}"), ["a", "b", "c d"]);
        let whole = format!("{{{{ int({}, {}) }}}}", i64::MIN, i64::MAX);
        assert_ne!(rendered(&whole, 1), rendered(&whole, 2));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let error =
            |text: &str| Template::compile(text, Escape::Nothing, &mut Scope::default()).expect_err(text);
        assert!(error("{{ uid }}").contains("unknown template `uid`; did you mean `uuid`?"));
        assert!(error(&"{{ uuid }}".repeat(MAX_VALUES + 1)).contains("more than 1000"));
    }
}
