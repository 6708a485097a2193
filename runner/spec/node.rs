//! A YAML document as a tree in which every value knows where it stands.
//!
//! This is the seam between the parser (`yaml.rs`, which fills it within limits) and the typed language
//! (`decode.rs`, which reads it). Keys keep their order and their own place, so that a misspelt key can be
//! underlined itself.

use crate::error::Span;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value stands; of an alias, the place of the alias (what is inside keeps its own).
    pub span: Span,
    /// The value.
    pub value: Value,
    /// The text of a plain (unquoted) scalar as written, so that `1.10` as an image's tag stays `1.10`.
    /// Of a quoted one only where it is a variable and nothing else: then a field may take it as a number.
    pub plain: Option<String>,
    /// The byte at which the text begins, where it stands in the file letter by letter: on one line and
    /// without escapes. Lets a message point inside the text.
    pub verbatim: Option<usize>,
}

/// What a value is. Plain scalars are resolved by YAML 1.2's core schema; quoted ones are always text.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number; wide enough for every seed.
    Int(i128),
    /// A number with a fraction or exponent.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping in file order; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A mapping's key and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Where the key stands.
    pub span: Span,
    /// The key's text.
    pub text: String,
}

impl Node {
    /// A value at a place, neither plain nor verbatim.
    pub const fn new(span: Span, value: Value) -> Self {
        Self { span, value, plain: None, verbatim: None }
    }

    /// What the value is, in words for a message: "a list", "text".
    pub const fn noun(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true/false",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// A scalar's text as written; `None` of lists, mappings and nothing.
    pub fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Text(value) => Some(value.clone()),
            Value::Bool(value) => Some(self.plain.clone().unwrap_or_else(|| value.to_string())),
            Value::Int(value) => Some(self.plain.clone().unwrap_or_else(|| value.to_string())),
            Value::Float(value) => Some(self.plain.clone().unwrap_or_else(|| value.to_string())),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The value as a field takes that wants a number or a yes or no.
    pub fn resolved(&self) -> Value {
        match (&self.value, &self.plain) {
            (Value::Text(_), Some(plain)) => super::yaml::resolve(plain),
            (value, _) => value.clone(),
        }
    }

    /// The same data as JSON; places are lost.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            // A whole number beyond 64 bits has no exact JSON form that readers keep.
            Value::Int(value) => serde_json::Number::from_i128(*value)
                .map_or_else(|| (*value as f64).into(), serde_json::Value::Number),
            Value::Float(value) => (*value).into(),
            Value::Text(value) => value.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                entries.iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect()
            }
        }
    }
}
