//! Holds an answer against what is expected of it, and takes out of it what later steps use.
//!
//! Compiled once from a request's `expect` and `extract`; requests that expect a status alone have none of
//! this. What is amiss comes with its class and a short text, as "expected $.ok = true, got false"; one
//! example of each class is reported. Start at [`Scrutiny::examine`].

use serde_json_path::JsonPath;

use super::cookies::pair;
use super::kept::{Keep, Kept};
use super::outcome::Class;
use crate::spec::{Expect, Extract, Match, Request, SizeCheck};

/// The longest text about one answer, in characters: it stands on a line of a report.
const MAX_TEXT_CHARS: usize = 200;

/// What is looked at in an answer besides its status.
#[derive(Clone, Debug)]
pub struct Scrutiny {
    headers: Vec<(String, Wanted)>,
    size: Option<SizeCheck>,
    body: Option<String>,
    regex: Option<regex::bytes::Regex>,
    json: Vec<(JsonPath, serde_json::Value)>,
    extract: Vec<Taken>,
}

#[derive(Clone, Debug)]
enum Wanted {
    Equal(String),
    Regex(regex::bytes::Regex),
}

/// A value to take out: its name, its place among the flow's, and where it is found.
#[derive(Clone, Debug)]
struct Taken {
    name: String,
    slot: usize,
    from: From,
}

#[derive(Clone, Debug)]
enum From {
    Json(JsonPath),
    Header(String),
    Regex(regex::bytes::Regex),
    Cookie(String),
}

/// Why an answer is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexpected {
    /// The class it is counted in.
    pub class: Class,
    /// What was expected, and what was found; one line, without control characters.
    pub text: String,
}

impl Unexpected {
    fn new(class: Class, text: &str) -> Self {
        let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        Self { class, text: line.take(MAX_TEXT_CHARS).collect() }
    }
}

impl Scrutiny {
    /// What is asked of answers beyond the status; nothing if that is all.
    pub fn of_expect(expect: &Expect) -> Result<Option<Self>, String> {
        let Expect { status: _, header, body, regex, json, size, bytes: _ } = expect;
        let wanted = |(name, wanted): (&str, &crate::spec::Located<Match>)| {
            let wanted = match &wanted.value {
                Match::Equal(text) => Wanted::Equal(text.clone()),
                Match::Regex(text) => Wanted::Regex(regular(text)?),
            };
            Ok::<_, String>((name.to_ascii_lowercase(), wanted))
        };
        let scrutiny = Self {
            headers: header.iter().map(wanted).collect::<Result<_, _>>()?,
            size: *size,
            body: body.as_ref().map(|body| body.value.clone()),
            regex: regex.as_ref().map(|regex| regular(regex)).transpose()?,
            json: json
                .iter()
                .map(|(path, value)| Ok::<_, String>((json_path(path)?, value.clone())))
                .collect::<Result<_, _>>()?,
            extract: Vec::new(),
        };
        Ok(scrutiny.looks().then_some(scrutiny))
    }

    /// What is looked at in the answers to a flow's step: at least the headers, for cookies. Extracted values get their places in `slots`,
    /// one each name.
    pub fn of_step(step: &Request, slots: &mut Vec<String>) -> Result<Self, String> {
        let nothing = Self {
            headers: Vec::new(),
            size: None,
            body: None,
            regex: None,
            json: Vec::new(),
            extract: Vec::new(),
        };
        let mut scrutiny = Self::of_expect(&step.expect)?.unwrap_or(nothing);
        for (name, place) in step.extract.iter() {
            let slot = slots.iter().position(|known| known == name).unwrap_or_else(|| {
                slots.push(name.to_owned());
                slots.len() - 1
            });
            let from = match place {
                Extract::Json(path) => From::Json(json_path(path)?),
                Extract::Header(header) => From::Header(header.to_ascii_lowercase()),
                Extract::Regex(text) => From::Regex(regular(text)?),
                Extract::Cookie(cookie) => From::Cookie(cookie.value.clone()),
            };
            scrutiny.extract.push(Taken { name: name.to_owned(), slot, from });
        }
        Ok(scrutiny)
    }

    /// How much of an answer must be kept for this.
    pub fn keep(&self) -> Keep {
        let body = self.body.is_some() || self.regex.is_some() || self.reads_json();
        let taken = |taken: &Taken| matches!(taken.from, From::Regex(_));
        if body || self.extract.iter().any(taken) { Keep::Body } else { Keep::Head }
    }

    fn looks(&self) -> bool {
        !self.headers.is_empty() || self.size.is_some() || self.keep() == Keep::Body
    }

    fn reads_json(&self) -> bool {
        !self.json.is_empty() || self.extract.iter().any(|taken| matches!(taken.from, From::Json(_)))
    }

    /// Looks at an answer; what is extracted is put into `extracted` at its place, which must be there. The
    /// first thing amiss ends it.
    pub fn examine(&self, kept: &Kept, extracted: &mut [Option<Vec<u8>>]) -> Result<(), Unexpected> {
        self.check_headers(kept)?;
        if let Some(size) = self.size
            && !size.op.holds(kept.body_bytes(), size.bytes)
        {
            let text = format!("expected a body of {size}, got {}B", kept.body_bytes());
            return Err(Unexpected::new(Class::Size, &text));
        }
        let body = if self.keep() == Keep::Body {
            let unreadable = |error| Unexpected::new(Class::Body, &format!("{error}"));
            kept.body().map_err(unreadable)?
        } else {
            Default::default()
        };
        self.check_text(&body)?;
        let json = if self.reads_json() {
            let not_json = |error| format!("expected a body of JSON, got {}: {error}", excerpt(&body));
            serde_json::from_slice(&body).map_err(|error| Unexpected::new(Class::Json, &not_json(error)))?
        } else {
            serde_json::Value::Null
        };
        for (path, wanted) in &self.json {
            check_json(path, wanted, &json)?;
        }
        for taken in &self.extract {
            extracted[taken.slot] = Some(taken.take(kept, &body, &json)?);
        }
        Ok(())
    }

    fn check_headers(&self, kept: &Kept) -> Result<(), Unexpected> {
        for (name, wanted) in &self.headers {
            let holds = |value: &[u8]| match wanted {
                Wanted::Equal(text) => value == text.as_bytes(),
                Wanted::Regex(regex) => regex.is_match(value),
            };
            if !kept.values(name).any(holds) {
                let wanted = match wanted {
                    Wanted::Equal(text) => format!("{text:?}"),
                    Wanted::Regex(regex) => format!("/{regex}/"),
                };
                let got = kept.values(name).next().map_or("none".into(), excerpt);
                let text = format!("expected header {name} = {wanted}, got {got}");
                return Err(Unexpected::new(Class::Header, &text));
            }
        }
        Ok(())
    }

    fn check_text(&self, body: &[u8]) -> Result<(), Unexpected> {
        if let Some(wanted) = &self.body
            && !contains(body, wanted.as_bytes())
        {
            let text = format!("expected a body with {wanted:?}, got {}", excerpt(body));
            return Err(Unexpected::new(Class::Body, &text));
        }
        if let Some(regex) = &self.regex
            && !regex.is_match(body)
        {
            let text = format!("expected a body matching /{regex}/, got {}", excerpt(body));
            return Err(Unexpected::new(Class::Body, &text));
        }
        Ok(())
    }
}

impl Taken {
    fn take(&self, kept: &Kept, body: &[u8], json: &serde_json::Value) -> Result<Vec<u8>, Unexpected> {
        let (found, place) = match &self.from {
            From::Json(path) => {
                let found = path.query(json).first().map(|value| match value {
                    serde_json::Value::String(text) => text.clone().into_bytes(),
                    value => value.to_string().into_bytes(),
                });
                (found, format!("at {path}"))
            }
            From::Header(name) => (kept.values(name).next().map(<[u8]>::to_vec), format!("in header {name}")),
            From::Regex(regex) => {
                let group = |found: regex::bytes::Captures<'_>| {
                    found.get(1).or_else(|| found.get(0)).map(|found| found.as_bytes().to_vec())
                };
                (regex.captures(body).and_then(group), format!("matching /{regex}/"))
            }
            From::Cookie(name) => {
                let pairs = kept.values("set-cookie").filter_map(pair);
                let found = pairs.filter(|(other, _)| other == name).last();
                (found.map(|(_, value)| value.as_bytes().to_vec()), format!("in cookie {name}"))
            }
        };
        found.ok_or_else(|| {
            let text = format!("nothing to extract as `{}` {place}", self.name);
            Unexpected::new(Class::NotExtracted, &text)
        })
    }
}

fn check_json(
    path: &JsonPath,
    wanted: &serde_json::Value,
    json: &serde_json::Value,
) -> Result<(), Unexpected> {
    let found = path.query(json);
    let got = match found.iter().find(|value| !same(value, wanted)) {
        Some(other) => excerpt(other.to_string().as_bytes()),
        None if found.is_empty() => "nothing there".into(),
        None => return Ok(()),
    };
    let text = format!("expected {path} = {wanted}, got {got}");
    Err(Unexpected::new(Class::Json, &text))
}

/// Equal as JSON has it: 1 and 1.0 are one number.
fn same(value: &serde_json::Value, wanted: &serde_json::Value) -> bool {
    value == wanted || value.as_f64().zip(wanted.as_f64()).is_some_and(|(value, wanted)| value == wanted)
}

fn contains(body: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(body, wanted).is_some()
}

/// The beginning of what was found, between quotes where it is text.
fn excerpt(bytes: &[u8]) -> String {
    const MOST: usize = 60;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MOST)]);
    let shown: String = text.chars().take(MOST).collect();
    let more = if shown.len() < bytes.len() { "…" } else { "" };
    format!("{shown}{more}")
}

fn regular(text: &str) -> Result<regex::bytes::Regex, String> {
    regex::bytes::Regex::new(text).map_err(|error| format!("`{text}` is not a regular expression: {error}"))
}

fn json_path(text: &str) -> Result<JsonPath, String> {
    JsonPath::parse(text).map_err(|error| format!("`{text}` is not a JSONPath: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: [(&str, &str); 4] = [
        ("Content-Type", "application/json; charset=utf-8"),
        ("Location", "/orders/7"),
        ("Set-Cookie", "sid=old"),
        ("Set-Cookie", "sid=new; Path=/"),
    ];

    const BODY: &str =
        r#"{"ok": true, "n": 2, "items": [{"id": "a", "q": 1}, {"id": "b", "q": 1.0}], "none": null}"#;

    fn examined(step: &str, body: &str) -> Result<Vec<(String, String)>, Unexpected> {
        let step: Request = crate::spec::fragment(step).unwrap_or_else(|problems| panic!("{problems}"));
        let mut slots = Vec::new();
        let scrutiny = Scrutiny::of_step(&step, &mut slots).expect("it compiles");
        let mut kept = Kept::new(scrutiny.keep());
        HEADERS.iter().for_each(|(name, value)| kept.header(name, value.as_bytes()));
        kept.piece(body.as_bytes());
        let mut extracted = vec![None; slots.len()];
        scrutiny.examine(&kept, &mut extracted)?;
        let text = |value: Option<Vec<u8>>| String::from_utf8(value.expect("it was extracted")).unwrap();
        Ok(slots.into_iter().zip(extracted.into_iter().map(text)).collect())
    }

    #[test]
    fn answers_are_as_expected_or_say_why_not() {
        for (expect, expected) in [
            ("{}", Ok(())),
            ("{ header: { Location: /orders/7 } }", Ok(())),
            ("{ header: { content-type: '/^application.json/' } }", Ok(())),
            ("{ header: { set-cookie: 'sid=old' } }", Ok(())),
            (
                "{ header: { content-type: text/html } }",
                Err(
                    "unexpected: header: expected header content-type = \"text/html\", got application/json; charset=utf-8",
                ),
            ),
            (
                "{ header: { x-none: '/./' } }",
                Err("unexpected: header: expected header x-none = /./, got none"),
            ),
            ("{ size: < 1KB }", Ok(())),
            ("{ size: == 89 }", Ok(())),
            ("{ size: '> 89' }", Err("unexpected: size: expected a body of > 89B, got 89B")),
            ("{ body: '\"ok\": true' }", Ok(())),
            ("{ body: maybe }", Err("unexpected: body: expected a body with \"maybe\", got BEGIN")),
            ("{ regex: '\"n\": [0-9]' }", Ok(())),
            ("{ regex: '^n' }", Err("unexpected: body: expected a body matching /^n/, got BEGIN")),
            ("{ json: { $.ok: true, '$.items[*].q': 1, $.none: null, '$.items[1].id': b } }", Ok(())),
            ("{ json: { $.ok: false } }", Err("unexpected: json: expected $.ok = false, got true")),
            ("{ json: { $.no: 1 } }", Err("unexpected: json: expected $.no = 1, got nothing there")),
            (
                "{ json: { '$.items[*].id': a } }",
                Err("unexpected: json: expected $.items[*].id = \"a\", got \"b\""),
            ),
            ("{ json: { $.n: '2' } }", Err("unexpected: json: expected $.n = \"2\", got 2")),
        ] {
            let got = examined(&format!("{{ get: 'http://a/', expect: {expect} }}"), BODY);
            let got = got.map(drop).map_err(|found| format!("{}: {}", found.class.word(), found.text));
            let begin = format!("{}…", &BODY[..60]);
            assert_eq!(got, expected.map_err(|text| text.replace("BEGIN", &begin)), "{expect}");
        }
        let got = examined("{ get: 'http://a/', expect: { json: { $.a: 1 } } }", "<html>\n");
        let text = "expected a body of JSON, got <html> : expected value at line 1 column 1";
        assert_eq!(got, Err(Unexpected { class: Class::Json, text: text.into() }));
    }

    #[test]
    fn values_are_taken_out() {
        let extract = |place: &str| {
            let step = format!("{{ get: 'http://a/', extract: {{ it: {place} }} }}");
            examined(&step, BODY).map(|values| values[0].1.clone()).map_err(|found| found.text)
        };
        for (place, expected) in [
            ("{ json: '$.items[1].id' }", Ok("b")),
            ("{ json: '$.items[*].id' }", Ok("a")),
            ("{ json: '$.items[0]' }", Ok("{\"id\":\"a\",\"q\":1}")),
            ("{ json: $.n }", Ok("2")),
            ("{ json: $.none }", Ok("null")),
            ("{ json: $.nothing }", Err("nothing to extract as `it` at $.nothing")),
            ("{ header: LOCATION }", Ok("/orders/7")),
            ("{ header: x-none }", Err("nothing to extract as `it` in header x-none")),
            ("{ regex: '\"id\": \"(.)\"' }", Ok("a")),
            ("{ regex: '\"n\": .' }", Ok("\"n\": 2")),
            ("{ regex: zzz }", Err("nothing to extract as `it` matching /zzz/")),
            ("{ cookie: sid }", Ok("new")),
            ("{ cookie: other }", Err("nothing to extract as `it` in cookie other")),
        ] {
            assert_eq!(extract(place).as_deref().map_err(String::as_str), expected, "{place}");
        }
    }

    #[test]
    fn only_what_is_looked_into_is_kept() {
        let scrutiny = |text: &str| {
            let request: Request =
                crate::spec::fragment(text).unwrap_or_else(|problems| panic!("{problems}"));
            Scrutiny::of_expect(&request.expect).expect("it compiles")
        };
        assert!(scrutiny("{ get: 'http://a/', expect: { status: 200 } }").is_none());
        let head = scrutiny("{ get: 'http://a/', expect: { size: < 1KB, header: { a: b } } }");
        assert_eq!(head.map(|scrutiny| scrutiny.keep()), Some(Keep::Head));
        let body = scrutiny("{ get: 'http://a/', expect: { json: { $.a: 1 } } }");
        assert_eq!(body.map(|scrutiny| scrutiny.keep()), Some(Keep::Body));
    }
}
