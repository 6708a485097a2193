//! From a located tree to typed values, gathering every mistake on the way.
//!
//! serde stops at the first error and forgets where it was; people mending a file want all of them, each
//! with its line. The language's types get their readers from the macros in `define.rs`; what those are
//! made of is here. Start at [`Decode`].

use std::collections::BTreeMap;

pub use super::located::{Located, Named};
use super::node::{Key, Node, Value};
use crate::error::{Problem, Span};
use crate::units::{Duration, Rate, Ratio};

/// The mistakes found so far.
#[derive(Debug, Default)]
pub struct Mistakes {
    /// In the order found; at most [`MAX_MISTAKES`].
    pub list: Vec<Problem>,
}

/// The most mistakes that are kept. Nobody reads further, and a hostile file could hold a million.
pub const MAX_MISTAKES: usize = 100;

impl Mistakes {
    /// Notes a mistake at `span`; `hint` says what to write instead, and may be empty.
    pub fn add(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        if self.full() {
            return;
        }
        let hint = hint.into();
        let problem = Problem {
            span,
            message: shown(&message.into()),
            hint: Some(shown(&hint)).filter(|hint| !hint.is_empty()),
        };
        // Every use of an alias would repeat the mistakes inside the value that it stands for.
        if !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    /// True if no further mistake is kept.
    pub fn full(&self) -> bool {
        self.list.len() >= MAX_MISTAKES
    }

    /// True if a mistake lies within `span`.
    pub fn within(&self, span: Span) -> bool {
        self.list.iter().any(|problem| span.start <= problem.span.start && problem.span.end <= span.end)
    }

    /// Notes that a value is of the wrong kind; `hint` says what to write instead.
    pub fn wrong_kind(&mut self, node: &Node, wanted: &str, hint: &str) {
        let found = node.scalar().map_or_else(|| node.noun().to_owned(), |text| format!("`{text}`"));
        self.add(node.span, format!("expected {wanted}, found {found}"), hint);
    }
}

/// A message with what it quotes cut short, so that a hostile file can't fill the terminal with itself.
fn shown(message: &str) -> String {
    const LONGEST_QUOTE_CHARS: usize = 160;
    const LONGEST_MESSAGE_CHARS: usize = 1_000;
    let cut = |text: &str, longest: usize| match text.char_indices().nth(longest) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    };
    let parts: Vec<_> = message.split('`').map(|part| cut(part, LONGEST_QUOTE_CHARS)).collect();
    cut(&parts.join("`"), LONGEST_MESSAGE_CHARS)
}

/// What can be read from a node.
pub trait Decode: Sized {
    /// Reads the value, or notes why not and returns nothing; lists and mappings of names return what of
    /// them could be read. A value counts only if no mistake was noted on the way.
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self>;

    /// The value of a field that is left out; nothing where it must be given.
    fn absent() -> Option<Self> {
        None
    }
}

impl<T: Decode> Decode for Located<T> {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        Some(Self { value: T::decode(node, mistakes)?, span: node.span })
    }
    fn absent() -> Option<Self> {
        Some(Self { value: T::absent()?, span: Span::default() })
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        T::decode(node, mistakes).map(Self::new)
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        T::decode(node, mistakes).map(Some)
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Decode> Decode for Vec<T> {
    /// Items with mistakes are left out, so that the others can still be checked against the rest.
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        let Value::List(items) = &node.value else {
            let item = node.scalar().unwrap_or_else(|| "…".to_owned());
            mistakes.wrong_kind(
                node,
                "a list",
                &format!("write `[ {item} ]`, or each entry on a line behind a `- `"),
            );
            return Some(Self::new());
        };
        Some(items.iter().filter_map(|item| T::decode(item, mistakes)).collect())
    }
    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

impl<T: Decode> Decode for Named<T> {
    /// Things with mistakes are left out, so that the others can still be checked against the rest.
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            mistakes.wrong_kind(
                node,
                "a mapping of names",
                "write `NAME: …` for each, with a name of your choosing",
            );
            return Some(Self::default());
        };
        let read = |(key, value): &(Key, Node)| {
            let name = Located { value: key.text.clone(), span: key.span };
            T::decode(value, mistakes).map(|value| (name, value))
        };
        Some(Self(entries.iter().filter_map(read).collect()))
    }
    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

impl Decode for String {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        let text = node.scalar();
        if text.is_none() {
            mistakes.wrong_kind(node, "text", "write it on one line, quoted if it begins with a bracket");
        }
        text
    }
}

impl Decode for bool {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        if let Value::Bool(value) = node.resolved() {
            return Some(value);
        }
        mistakes.wrong_kind(node, "`true` or `false`", "without quotes, and no other word");
        None
    }
}

/// Reads a whole number that fits the type.
macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Decode for $type {
            fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
                if let Value::Int(value) = node.resolved()
                    && let Ok(value) = value.try_into()
                {
                    return Some(value);
                }
                let wanted = format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX);
                mistakes.wrong_kind(node, &wanted, "write digits alone, without quotes or unit");
                None
            }
        }
    )*};
}
whole_number!(u16, u32, u64);

/// Reads a value from text by its `FromStr`, whose error is the hint.
pub fn from_text<T: std::str::FromStr<Err = String>>(
    node: &Node,
    what: &str,
    mistakes: &mut Mistakes,
) -> Option<T> {
    let Some(text) = node.scalar() else {
        // What is said of no text at all is how to write one.
        let hint = "".parse::<T>().err().unwrap_or_default();
        mistakes.wrong_kind(node, what, &hint);
        return None;
    };
    match text.parse() {
        Ok(value) => Some(value),
        Err(hint) => {
            mistakes.add(node.span, format!("`{text}` is not {what}"), hint);
            None
        }
    }
}

impl Decode for Duration {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        from_text(node, "a duration", mistakes)
    }
}

impl Decode for Rate {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        from_text(node, "a rate", mistakes)
    }
}

impl Decode for Ratio {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        from_text(node, "a percentage", mistakes)
    }
}

/// Any data: a request's JSON body, say.
impl Decode for serde_json::Value {
    fn decode(node: &Node, _: &mut Mistakes) -> Option<Self> {
        Some(node.to_json())
    }
}

impl Decode for BTreeMap<String, String> {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        Named::<String>::decode(node, mistakes)
            .map(|named| named.0.into_iter().map(|(key, value)| (key.value, value)).collect())
    }
    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

/// Reads a mapping field by field and, at the end, complains of the fields nobody asked for.
pub struct Fields<'n> {
    node: &'n Node,
    what: &'static str,
    known: Vec<&'static str>,
    entries: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    /// Opens `node` as a `what` with the fields `known`; unknown ones are noted, with the nearest known one.
    pub fn open(
        node: &'n Node,
        what: &'static str,
        known: Vec<&'static str>,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let entries: &[(Key, Node)] = match &node.value {
            Value::Map(entries) => entries,
            // `recover:` with nothing behind it is a mapping with every field left out.
            Value::Null => &[],
            _ => {
                let wanted = format!("a mapping with {}", list_of(&known));
                mistakes.wrong_kind(node, &wanted, "write `FIELD: VALUE` lines, indented alike");
                return None;
            }
        };
        for (key, _) in entries {
            if mistakes.full() {
                break;
            }
            if !known.contains(&key.text.as_str()) {
                unknown(&key.text, key.span, &format!("field of `{what}`"), &known, mistakes);
            }
        }
        Some(Self { node, what, known, entries })
    }

    /// What is read.
    pub const fn what(&self) -> &'static str {
        self.what
    }

    /// Where the name of a field stands that says something; nothing where it is left out.
    pub fn key(&self, name: &str) -> Option<Span> {
        let given = self.entries.iter().find(|(key, value)| key.text == name && value.value != Value::Null);
        given.map(|(key, _)| key.span)
    }

    /// Notes that none of these fields is there, of which one must be.
    pub fn lacks_one_of(&self, names: &[&'static str], mistakes: &mut Mistakes) {
        // A misspelt field is complained of already; that it is missing follows from that.
        let misspelt = |key: &Key| !self.known.contains(&key.text.as_str());
        if mistakes.full() || self.entries.iter().any(|(key, _)| misspelt(key)) {
            return;
        }
        let message = format!("`{}` lacks one of the fields {}", self.what, list_of(names));
        mistakes.add(self.start(), message, format!("add `{}: …`, or another of them", names[0]));
    }

    fn start(&self) -> Span {
        Span { start: self.node.span.start, end: self.node.span.start + 1 }
    }

    /// The value of field `name`; the default, else what an absent field means, where it is left out.
    pub fn take<T: Decode>(
        &self,
        name: &'static str,
        default: Option<fn() -> T>,
        mistakes: &mut Mistakes,
    ) -> Option<T> {
        debug_assert!(self.known.contains(&name), "field `{name}` is not among the known ones");
        let given = self.entries.iter().find(|(key, _)| key.text == name).map(|(_, value)| value);
        let value = absent(default);
        // A field with nothing behind it (`faults:`, `hedge: null`) is left out, if it may be.
        if let Some(given) = given
            && (given.value != Value::Null || value.is_none())
        {
            return T::decode(given, mistakes);
        }
        if value.is_none() {
            // A misspelt field is complained of already; that it is missing follows from that.
            let misspelt = |key: &Key| {
                !self.known.contains(&key.text.as_str()) && nearest(&key.text, &self.known) == Some(name)
            };
            if !mistakes.full() && !self.entries.iter().any(|(key, _)| misspelt(key)) {
                mistakes.add(
                    self.start(),
                    format!("`{}` lacks the field `{name}`", self.what),
                    format!("add `{name}: …`"),
                );
            }
        }
        value
    }
}

/// What a field that is left out means: its default, else what its type means by that; nothing where it must be given.
pub fn absent<T: Decode>(default: Option<fn() -> T>) -> Option<T> {
    default.map(|default| default()).or_else(T::absent)
}

/// Notes that a scalar or a list stands where a mapping with one key was due.
pub fn wrong_tag(node: &Node, what: &str, known: &[&str], mistakes: &mut Mistakes) {
    let Some(text) = node.scalar() else {
        let wanted = format!("a mapping with one of {}", list_of(known));
        return mistakes.wrong_kind(node, &wanted, &format!("write `{}: …`", known[0]));
    };
    if known.contains(&text.as_str()) {
        let message = format!("`{text}` says nothing by itself");
        return mistakes.add(node.span, message, format!("write `{text}: …`"));
    }
    unknown(&text, node.span, what, known, mistakes);
}

/// Notes an unknown word, with the nearest known one or all of them.
pub fn unknown(text: &str, span: Span, what: &str, known: &[&str], mistakes: &mut Mistakes) {
    let hint = nearest(text, known)
        .map_or_else(|| format!("known: {}", list_of(known)), |near| format!("did you mean `{near}`?"));
    mistakes.add(span, format!("unknown {what}: `{text}`"), hint);
}

/// The known word most like `text`, if any is like it.
pub fn nearest<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    /// Below this Jaro–Winkler similarity a suggestion confuses more than it helps.
    const LIKE: f64 = 0.75;
    /// Longer words are no slips of the pen, and comparing takes the product of both lengths.
    const LONGEST_BYTES: usize = 100;
    /// No list of names that people wrote is longer.
    const MOST: usize = 1_000;
    if text.len() > LONGEST_BYTES {
        return None;
    }
    let lower = text.to_lowercase();
    known
        .iter()
        .take(MOST)
        .filter(|word| word.len() <= LONGEST_BYTES)
        .map(|word| (strsim::jaro_winkler(&lower, &word.to_lowercase()), *word))
        .filter(|(likeness, _)| *likeness > LIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// Words in backquotes, with commas.
pub fn list_of(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
