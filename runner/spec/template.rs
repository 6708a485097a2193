//! Texts with values that differ from request to request: `{{ uuid }}`, `{{ users.email }}`, `{{ token }}`.
//!
//! Pure: takes a text apart and says what can't be read; `load/template.rs` fills in what is found here.
//! Text outside `{{ }}` is taken as it is; `{{` always opens a template. Start at [`parts`].

use super::decode::{list_of, nearest};

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Stands for itself.
    Text(String),
    /// Differs from request to request.
    Value(Value),
}

/// What a template stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `{{ uuid }}`: a random UUID, version 4.
    Uuid,
    /// `{{ counter }}`: the arrival's number in its load, from 1.
    Counter,
    /// `{{ int(1, 100) }}`: a random whole number, both ends included; the first is not above the second.
    Int(i64, i64),
    /// `{{ choice(a, b, c) }}`: one of these, each as likely. Never empty.
    Choice(Vec<String>),
    /// `{{ timestamp }}`: the intended instant, in milliseconds since 1970 (UTC).
    Timestamp,
    /// `{{ time }}`: the intended instant, in UTC as RFC 3339 writes it, with milliseconds.
    Time,
    /// `{{ users.email }}`: a column of a row of the load's data `users`.
    Column {
        /// The data's name.
        data: String,
        /// The column's.
        column: String,
    },
    /// `{{ token }}`: what an earlier step of the flow extracted.
    Extracted(String),
}

/// Why a template can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

/// The names that templates may use besides the built-in ones.
#[derive(Clone, Debug, Default)]
pub struct Known<'n> {
    /// The load's data.
    pub data: Vec<&'n str>,
    /// What earlier steps of the same flow extract.
    pub extracted: Vec<&'n str>,
}

/// Names that mean something by themselves.
pub const BUILT_IN: [&str; 6] = ["uuid", "counter", "int", "choice", "timestamp", "time"];

/// The most values of one `choice`.
const MAX_CHOICES: usize = 1_000;

/// Takes a text apart; each template that can't be read is a mistake of its own.
pub fn parts(text: &str, known: &Known<'_>) -> Vec<Result<Part, Wrong>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, opened)) = rest.split_once("{{") {
        if !before.is_empty() {
            parts.push(Ok(Part::Text(before.into())));
        }
        let Some((inside, after)) = opened.split_once("}}") else {
            parts.push(Err(wrong("a `{{` is never closed", "write `{{ uuid }}`")));
            return parts;
        };
        parts.push(value(inside.trim(), known).map(Part::Value));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Ok(Part::Text(rest.into())));
    }
    parts
}

/// True if `name` can be what a flow extracts or a load's data are called.
pub fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit() || c == '-')
}

fn wrong(message: impl Into<String>, hint: impl Into<String>) -> Wrong {
    Wrong { message: message.into(), hint: hint.into() }
}

fn value(inside: &str, known: &Known<'_>) -> Result<Value, Wrong> {
    let name = inside.split('(').next().unwrap_or_default().trim();
    let arguments = inside.strip_prefix(name).unwrap_or_default().trim();
    let alone = |value: Value| {
        let hint = || wrong(format!("`{name}` takes no arguments"), format!("write `{{{{ {name} }}}}`"));
        if arguments.is_empty() { Ok(value) } else { Err(hint()) }
    };
    match name {
        "uuid" => alone(Value::Uuid),
        "counter" => alone(Value::Counter),
        "timestamp" => alone(Value::Timestamp),
        "time" => alone(Value::Time),
        "int" => int(arguments).ok_or_else(|| {
            wrong(format!("`{inside}` is not a range"), "write `{{ int(1, 100) }}`, lowest first")
        }),
        "choice" => choice(arguments).ok_or_else(|| {
            let hint = format!("write `{{{{ choice(red, green) }}}}`, at most {MAX_CHOICES}, none empty");
            wrong(format!("`{inside}` is not a list to choose from"), hint)
        }),
        _ => match name.split_once('.') {
            Some((data, column)) if known.data.contains(&data) && !column.is_empty() => {
                alone(Value::Column { data: data.into(), column: column.into() })
            }
            None if known.extracted.contains(&name) => alone(Value::Extracted(name.into())),
            _ => Err(unknown(name, known)),
        },
    }
}

fn unknown(name: &str, known: &Known<'_>) -> Wrong {
    let message = format!("unknown template `{name}`");
    let data: Vec<String> = known.data.iter().map(|data| format!("{data}.COLUMN")).collect();
    let mut names: Vec<&str> = BUILT_IN.to_vec();
    names.extend(&known.extracted);
    if let Some((data, column)) = name.split_once('.') {
        let hint = match (nearest(data, &known.data), known.data.is_empty()) {
            (_, true) => "the load has no `data`".to_owned(),
            (Some(near), _) => format!("did you mean `{near}.{column}`?"),
            (None, _) => format!("the load's data: {}", list_of(&known.data)),
        };
        return wrong(message, hint);
    }
    if let Some(near) = nearest(name, &names) {
        return wrong(message, format!("did you mean `{near}`?"));
    }
    names.extend(data.iter().map(String::as_str));
    wrong(message, format!("known: {}", list_of(&names)))
}

fn bracketed(arguments: &str) -> Option<&str> {
    arguments.strip_prefix('(')?.strip_suffix(')')
}

fn int(arguments: &str) -> Option<Value> {
    let (low, high) = bracketed(arguments)?.split_once(',')?;
    let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    (low <= high).then_some(Value::Int(low, high))
}

fn choice(arguments: &str) -> Option<Value> {
    let choices: Vec<String> =
        bracketed(arguments)?.split(',').map(|choice| choice.trim().to_owned()).collect();
    let fits = choices.len() <= MAX_CHOICES && choices.iter().all(|choice| !choice.is_empty());
    fits.then_some(Value::Choice(choices))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Vec<Part>, (&str, &str)>) {
        let known = Known { data: vec!["users"], extracted: vec!["token"] };
        let got: Result<Vec<_>, _> = parts(text, &known).into_iter().collect();
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{text}"),
            (Err(got), Err((message, hint))) => {
                assert!(got.message.contains(message) && got.hint.contains(hint), "{text}: {got:?}");
            }
            (got, _) => panic!("{text}: {got:?}"),
        }
    }

    #[test]
    fn texts_are_taken_apart() {
        let text = |text: &str| Part::Text(text.into());
        let value = Part::Value;
        check("", Ok(vec![]));
        check("plain } text }}", Ok(vec![text("plain } text }}")]));
        check("a{{uuid}}b", Ok(vec![text("a"), value(Value::Uuid), text("b")]));
        check("{{ int ( -2 , 7 ) }}", Ok(vec![value(Value::Int(-2, 7))]));
        check("{{ choice(a, b c) }}", Ok(vec![value(Value::Choice(vec!["a".into(), "b c".into()]))]));
        let column = Value::Column { data: "users".into(), column: "home.city".into() };
        check("{{ users.home.city }}", Ok(vec![value(column)]));
        check("{{ token }}{{ time }}", Ok(vec![value(Value::Extracted("token".into())), value(Value::Time)]));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (text, message, hint) in [
            ("{{ uid }}", "unknown template `uid`", "did you mean `uuid`?"),
            ("{{ tokn }}", "unknown template `tokn`", "did you mean `token`?"),
            ("{{ zzz }}", "unknown template `zzz`", "`time`, `token`, `users.COLUMN`"),
            ("{{ user.email }}", "unknown template `user.email`", "did you mean `users.email`?"),
            ("{{ users. }}", "unknown template `users.`", "users"),
            ("{{ uuid", "never closed", "write `{{ uuid }}`"),
            ("{{ int(9, 1) }}", "`int(9, 1)` is not a range", "lowest first"),
            ("{{ int }}", "`int` is not a range", "lowest first"),
            ("{{ choice(a,,b) }}", "is not a list to choose from", "choice(red, green)"),
            ("{{ choice }}", "is not a list to choose from", "choice(red, green)"),
            ("{{ uuid(4) }}", "`uuid` takes no arguments", "write `{{ uuid }}`"),
            ("{{ token() }}", "`token` takes no arguments", "write `{{ token }}`"),
        ] {
            check(text, Err((message, hint)));
        }
        let none = parts("{{ users.email }}", &Known::default());
        assert_eq!(none[0].as_ref().unwrap_err().hint, "the load has no `data`");
    }
}
