//! Defines the language's types: from one definition the type, its reader, its JSON Schema and its docs.
//!
//! - [`record!`](crate::record): a mapping with known fields,
//! - [`choice!`](crate::choice): one word of a few,
//! - [`tagged!`](crate::tagged): a mapping with one key that says what it is, as `latency: {…}`,
//! - [`by_text!`](crate::by_text): a value with a text form of its own.
//!
//! One definition, so that what is read, what the schema takes and what the reference says can't part.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::decode::{Decode, Fields, Mistakes};

/// Defines a mapping with known fields: the type, its reader and its JSON Schema.
///
/// A field is required unless its type can be absent (`Option`, `Vec`, `Named`) or a default follows `=`.
/// The name in backquotes of messages and of the schema is the type's. A last field `..pub name: Record` is
/// another record whose fields are written among the record's own.
///
/// Saved, as in a journal's plan, a field that may be left out when writing may be missing, too, and means the same: so
/// a field with a default can be added without making older journals unreadable.
#[macro_export]
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident ($what:literal) {
            $( $(#[doc = $fdoc:literal])* pub $field:ident $(($key:literal))? : $type:ty $(= $default:expr)? ),*
            $(, ..pub $inner:ident : $inner_type:ty )?
            $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize)]
        pub struct $name {
            $( $(#[doc = $fdoc])* $(#[serde(rename = $key)])? pub $field: $type, )*
            $(
                /// Fields that others have too, written among its own.
                #[serde(flatten)]
                pub $inner: $inner_type,
            )?
        }

        impl $crate::spec::define::Record for $name {
            fn known() -> Vec<&'static str> {
                [
                    vec![$( $crate::record!(@key $field $($key)?) ),*],
                    $( <$inner_type as $crate::spec::define::Record>::known(), )?
                ]
                .concat()
            }

            fn take(
                fields: &$crate::spec::decode::Fields<'_>,
                mistakes: &mut $crate::spec::decode::Mistakes,
            ) -> Option<Self> {
                // Every field is read before any failure returns, so that each mistake is reported.
                $( let $field: Option<$type> = fields.take(
                    $crate::record!(@key $field $($key)?), $crate::record!(@default $type $(, $default)?), mistakes,
                ); )*
                $( let $inner = <$inner_type as $crate::spec::define::Record>::take(fields, mistakes); )?
                Some(Self { $( $field: $field?, )* $( $inner: $inner?, )? })
            }

            fn describe(
                schema: &mut $crate::spec::define::RecordSchema,
                generator: &mut ::schemars::SchemaGenerator,
            ) {
                $( schema.field::<$type>(
                    generator, $crate::record!(@key $field $($key)?), &[$($fdoc),*],
                    $crate::record!(@default $type $(, $default)?),
                ); )*
                $( <$inner_type as $crate::spec::define::Record>::describe(schema, generator); )?
            }
        }

        impl $crate::spec::decode::Decode for $name {
            fn decode(
                node: &$crate::spec::node::Node,
                mistakes: &mut $crate::spec::decode::Mistakes,
            ) -> Option<Self> {
                let known = <Self as $crate::spec::define::Record>::known();
                let fields = $crate::spec::decode::Fields::open(node, $what, known, mistakes)?;
                <Self as $crate::spec::define::Record>::take(&fields, mistakes)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                /// Every field may be missing here; which ones must not is told below.
                #[derive(::serde::Deserialize)]
                struct Saved {
                    $( $(#[serde(rename = $key)])? $field: Option<$type>, )*
                    $( #[serde(flatten)] $inner: $inner_type, )?
                }
                let saved = <Saved as ::serde::Deserialize>::deserialize(deserializer)?;
                Ok(Self {
                    $( $field: match saved.$field {
                        Some(given) => given,
                        None => $crate::spec::decode::absent($crate::record!(@default $type $(, $default)?))
                            .ok_or_else(|| <D::Error as ::serde::de::Error>::missing_field(
                                $crate::record!(@key $field $($key)?),
                            ))?,
                    }, )*
                    $( $inner: saved.$inner, )?
                })
            }
        }

        impl ::schemars::JsonSchema for $name {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(generator: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                let mut schema = $crate::spec::define::RecordSchema::new();
                <Self as $crate::spec::define::Record>::describe(&mut schema, generator);
                schema.finish(&[$($doc),*])
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@default $type:ty) => { None };
    (@default $type:ty, $default:expr) => { Some((|| $default) as fn() -> $type) };
}

/// Defines one word of a few: the type, its reader and its JSON Schema.
#[macro_export]
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident ($what:literal) {
            $( $(#[doc = $vdoc:literal])* $variant:ident = $word:literal ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name { $( $(#[doc = $vdoc])* #[serde(rename = $word)] $variant, )* }

        impl $name {
            /// The word as written in an experiment.
            pub const fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl $crate::spec::decode::Decode for $name {
            fn decode(
                node: &$crate::spec::node::Node,
                mistakes: &mut $crate::spec::decode::Mistakes,
            ) -> Option<Self> {
                const KNOWN: &[&str] = &[$($word),*];
                let Some(text) = node.scalar() else {
                    let wanted = format!("one of {}", $crate::spec::decode::list_of(KNOWN));
                    mistakes.wrong_kind(node, &wanted, "write the word by itself");
                    return None;
                };
                match text.as_str() {
                    $( $word => Some(Self::$variant), )*
                    _ => {
                        $crate::spec::decode::unknown(&text, node.span, $what, KNOWN, mistakes);
                        None
                    }
                }
            }
        }

        impl ::schemars::JsonSchema for $name {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                let words: &[(&str, &[&str])] = &[$( ($word, &[$($vdoc),*]) ),*];
                let variants: Vec<_> = words.iter().map(|(word, docs)| ::serde_json::json!({
                    "const": word, "description": $crate::spec::define::doc_text(docs),
                })).collect();
                ::schemars::json_schema!({
                    "description": $crate::spec::define::doc_text(&[$($doc),*]), "oneOf": variants,
                })
            }
        }
    };
}

/// Defines a mapping with one key that says what it is: the type, its reader and its JSON Schema.
///
/// `Variant(Type) = "word" or alone` lets the word stand for `word: {}`.
#[macro_export]
macro_rules! tagged {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident ($what:literal) {
            $( $(#[doc = $vdoc:literal])* $variant:ident($type:ty) = $word:literal $(or $alone:ident)? ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name { $( $(#[doc = $vdoc])* #[serde(rename = $word)] $variant($type), )* }

        impl $name {
            /// Every word there is, in the order of definition.
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            /// The word as written in an experiment.
            pub const fn word(&self) -> &'static str {
                match self { $( Self::$variant(_) => $word, )* }
            }
        }

        impl $crate::spec::decode::Decode for $name {
            fn decode(
                node: &$crate::spec::node::Node,
                mistakes: &mut $crate::spec::decode::Mistakes,
            ) -> Option<Self> {
                $($(
                    // The word by itself is short for the word with nothing behind it.
                    if node.scalar().as_deref() == Some($word) {
                        let $alone = $crate::spec::node::Node::new(node.span, $crate::spec::node::Value::Null);
                        return <$type as $crate::spec::decode::Decode>::decode(&$alone, mistakes).map(Self::$variant);
                    }
                )?)*
                let $crate::spec::node::Value::Map(entries) = &node.value else {
                    $crate::spec::decode::wrong_tag(node, $what, Self::WORDS, mistakes);
                    return None;
                };
                let [(key, value)] = entries.as_slice() else {
                    mistakes.add(
                        node.span,
                        format!("a {} is a mapping with exactly one key, found {}", $what, entries.len()),
                        format!("one of {}", $crate::spec::decode::list_of(Self::WORDS)),
                    );
                    return None;
                };
                match key.text.as_str() {
                    $( $word => <$type as $crate::spec::decode::Decode>::decode(value, mistakes).map(Self::$variant), )*
                    _ => {
                        $crate::spec::decode::unknown(&key.text, key.span, $what, Self::WORDS, mistakes);
                        None
                    }
                }
            }
        }

        impl ::schemars::JsonSchema for $name {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(generator: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                let mut variants = Vec::new();
                $(
                    let inner = generator.subschema_for::<$type>();
                    variants.push(::serde_json::json!({
                        "type": "object",
                        "description": $crate::spec::define::doc_text(&[$($vdoc),*]),
                        "properties": { $word: inner },
                        "required": [$word],
                        "additionalProperties": false,
                    }));
                )*
                $($(
                    let $alone = format!("Short for `{}: {{}}`.", $word);
                    variants.push(::serde_json::json!({ "const": $word, "description": $alone }));
                )?)*
                ::schemars::json_schema!({
                    "description": $crate::spec::define::doc_text(&[$($doc),*]), "oneOf": variants,
                })
            }
        }
    };
}

/// Gives a type that has a `FromStr` (whose error is the hint) its reader, its saved form and its schema.
#[macro_export]
macro_rules! by_text {
    ($type:ty, $what:literal, $doc:literal) => {
        impl $crate::spec::decode::Decode for $type {
            fn decode(
                node: &$crate::spec::node::Node,
                mistakes: &mut $crate::spec::decode::Mistakes,
            ) -> Option<Self> {
                $crate::spec::decode::from_text(node, $what, mistakes)
            }
        }

        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl ::schemars::JsonSchema for $type {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({ "type": ["string", "number"], "description": $doc })
            }
        }
    };
}

/// The text of doc comments: lines joined, one leading space off each.
pub fn doc_text(lines: &[&str]) -> String {
    lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// What a [`record!`](crate::record) knows of its fields, so that another record can have them too.
pub trait Record: Sized {
    /// The names of its fields, in the order of definition.
    fn known() -> Vec<&'static str>;

    /// Reads its fields; nothing if one is missing or wrong, which `mistakes` then has.
    fn take(fields: &Fields<'_>, mistakes: &mut Mistakes) -> Option<Self>;

    /// Adds its fields to `schema`.
    fn describe(schema: &mut RecordSchema, generator: &mut SchemaGenerator);
}

/// The JSON Schema of a [`record!`](crate::record), put together from its fields.
pub struct RecordSchema {
    properties: Map<String, Value>,
    required: Vec<&'static str>,
    /// Each of several ways, one of which must be written, with its docs and the fields that it requires; empty where
    /// there is one way.
    ways: Vec<(String, Vec<&'static str>)>,
}

impl RecordSchema {
    /// A record without fields yet.
    #[expect(clippy::new_without_default, reason = "only the macro makes one")]
    pub fn new() -> Self {
        Self { properties: Map::new(), required: Vec::new(), ways: Vec::new() }
    }

    /// Adds the fields of one of several ways, exactly one of which is written.
    pub fn way(&mut self, docs: &[&str], describe: impl FnOnce(&mut Self)) {
        let before = self.required.len();
        describe(self);
        self.ways.push((doc_text(docs), self.required.split_off(before)));
    }

    /// Adds a field of type `T` with its docs and default.
    pub fn field<T: Decode + JsonSchema + Serialize>(
        &mut self,
        generator: &mut SchemaGenerator,
        name: &'static str,
        docs: &[&str],
        default: Option<fn() -> T>,
    ) {
        let default = default.map(|default| default());
        let optional = default.is_some() || T::absent().is_some();
        let mut schema = match generator.subschema_for::<T>().to_value() {
            Value::Object(schema) => schema,
            // Any data at all.
            _ => Map::new(),
        };
        if optional {
            schema = or_nothing(schema);
        } else {
            self.required.push(name);
        }
        schema.insert("description".into(), doc_text(docs).into());
        if let Some(default) = default.and_then(|default| given(serde_json::to_value(default).ok()?)) {
            schema.insert("default".into(), default);
        }
        self.properties.insert(name.into(), schema.into());
    }

    /// The finished schema.
    pub fn finish(self, docs: &[&str]) -> Schema {
        let kind = if self.required.is_empty() { json!(["object", "null"]) } else { json!("object") };
        let mut schema = json_schema!({
            "type": kind,
            "description": doc_text(docs),
            "properties": self.properties,
            "required": self.required,
            "additionalProperties": false,
        });
        if !self.ways.is_empty() {
            let ways: Vec<_> = self
                .ways
                .iter()
                .map(|(docs, fields)| json!({ "description": docs, "required": fields }))
                .collect();
            schema.insert("oneOf".into(), ways.into());
        }
        schema
    }
}

/// The same schema, but nothing is right too: a field that may be left out may stand there empty.
fn or_nothing(mut schema: Map<String, Value>) -> Map<String, Value> {
    let nothing = json!({ "type": "null" });
    let already =
        schema.get("anyOf").and_then(|any| any.as_array()).is_some_and(|any| any.contains(&nothing));
    if let Some(kind) = schema.get_mut("type") {
        let mut kinds = kind.as_array().cloned().unwrap_or_else(|| vec![kind.clone()]);
        if !kinds.contains(&json!("null")) {
            kinds.push(json!("null"));
        }
        *kind = kinds.into();
    } else if !already && !schema.is_empty() {
        schema = Map::from_iter([("anyOf".to_owned(), json!([schema, nothing]))]);
    }
    schema
}

/// A default without what it leaves out; nothing if it leaves out everything.
fn given(default: Value) -> Option<Value> {
    match default {
        Value::Null => None,
        Value::Object(mut fields) => {
            fields.retain(|_, value| !value.is_null());
            (!fields.is_empty()).then_some(fields.into())
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::de::DeserializeOwned;

    use super::Decode;
    use crate::fault::{latency::Latency, partition::Partition};
    use crate::spec::{Limits, Load, Slo, fragment};

    /// JSON is YAML: what is written so and what is saved so are read alike, fields left out included.
    fn check<T: Decode + DeserializeOwned + PartialEq + Debug>(text: &str) {
        let written: T = fragment(text).expect("it is well-formed");
        assert_eq!(serde_json::from_str::<T>(text).expect(text), written, "{text}");
    }

    #[test]
    fn a_saved_field_may_be_missing_where_a_written_one_may() {
        check::<Latency>("{\"on\": \"api\", \"delay\": \"5ms\"}");
        check::<Latency>("{\"on\": \"api\", \"delay\": \"5ms\", \"jitter\": null, \"ports\": [80]}");
        check::<Partition>("{\"groups\": {\"a\": [\"x\"], \"b\": [\"y\"]}}");
        check::<Load>("{\"rate\": \"5/s\", \"requests\": [{\"get\": \"http://localhost/\"}]}");
        check::<Slo>("{\"load\": \"shoppers\", \"good\": \"status < 500\", \"objective\": \"99%\"}");
        check::<Limits>("{}");
        let error = serde_json::from_str::<Latency>("{\"on\": \"api\"}").expect_err("it must be given");
        assert!(error.to_string().contains("missing field `delay`"), "{error}");
    }
}
