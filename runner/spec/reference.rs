//! The language reference as Markdown, made from the schema: every record with its fields, types, defaults
//! and docs.
//!
//! The schema is the one source, so that the reference can't say what the reader does not do.
//! experiments/README.md holds the result behind an introduction by hand; a test compares them. Start at
//! [`reference`].

use std::fmt::Write;

use serde_json::{Map, Value};

use super::json_schema;

/// The reference, from the experiment itself down to its smallest values, in the order of mention.
pub fn reference() -> String {
    let schema = json_schema();
    let definitions = schema["$defs"].as_object().expect("the experiment refers to other types");
    let mut out = String::new();
    section("Experiment", &schema, &mut out);
    for name in order(&schema, definitions) {
        section(&name, &definitions[&name], &mut out);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Names of definitions in the order in which a reader meets them.
fn order(schema: &Value, definitions: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    let without_definitions = schema.as_object().into_iter().flatten().filter(|(key, _)| *key != "$defs");
    without_definitions.for_each(|(_, value)| mentions(value, &mut found));
    let mut index = 0;
    while let Some(name) = found.get(index).cloned() {
        mentions(&definitions[&name], &mut found);
        index += 1;
    }
    found
}

fn mentions(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(name) = fields.get("$ref").and_then(referred)
                && !found.iter().any(|known| known == name)
            {
                found.push(name.to_owned());
            }
            fields.values().for_each(|value| mentions(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| mentions(item, found)),
        _ => {}
    }
}

/// The definition that a `$ref` is to.
pub(super) fn referred(reference: &Value) -> Option<&str> {
    reference.as_str()?.strip_prefix("#/$defs/")
}

/// One type: its docs, then its fields, its words or its kinds.
fn section(name: &str, schema: &Value, out: &mut String) {
    let _ = write!(out, "### {name}\n\n{}\n\n", docs(schema));
    if let Some(properties) = schema["properties"].as_object() {
        out.push_str("| field | takes | left out | |\n|---|---|---|---|\n");
        let required = schema["required"].as_array();
        for (field, property) in properties {
            let needed = required.is_some_and(|required| required.iter().any(|name| name == field));
            let absent = match property.get("default") {
                Some(Value::String(default)) => format!("`{default}`"),
                Some(default) => format!("`{default}`"),
                None if needed => "**needed**".to_owned(),
                None => String::new(),
            };
            let _ = writeln!(
                out,
                "| `{field}` | {} | {absent} | {} |",
                kind(property),
                docs(property).replace('|', "\\|")
            );
        }
        out.push('\n');
    }
    if schema["properties"].is_null() && schema["anyOf"].is_array() {
        let _ = write!(out, "Takes {}.\n\n", kind(schema));
    }
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    for choice in choices {
        if let Some(word) = choice["const"].as_str() {
            let _ = writeln!(out, "- `{word}`: {}", docs(choice));
        } else if let Some((word, inner)) =
            choice["properties"].as_object().and_then(|inner| inner.iter().next())
        {
            let _ = writeln!(out, "- `{word}:` {}: {}", kind(inner), docs(choice));
        }
    }
    if let Some(ways) = ways(schema) {
        let _ = writeln!(out, "Takes exactly one of {ways}.");
    }
    if schema["oneOf"].is_array() {
        out.push('\n');
    }
}

/// The fields of which exactly one lot is given, as "`load` with `good`, `prometheus`"; nothing where there is no choice.
fn ways(schema: &Value) -> Option<String> {
    let lots = schema["oneOf"].as_array()?.iter().map(|way| {
        let fields = way["required"].as_array().filter(|_| way["properties"].is_null())?;
        let fields: Vec<_> =
            fields.iter().filter_map(Value::as_str).map(|name| format!("`{name}`")).collect();
        Some(fields.join(" with "))
    });
    let lots: Option<Vec<_>> = lots.collect();
    lots.map(|lots| lots.join(", "))
}

/// A schema's docs on one line.
pub(super) fn docs(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ")
}

/// What a field takes, in words; that an optional one may be left empty goes without saying.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema.get("$ref").and_then(referred) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let kinds: Vec<_> = any.iter().filter(|schema| schema["type"] != "null").map(kind).collect();
        return kinds.join(" or ");
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect()
        }
        _ => return "any data".to_owned(),
    };
    match kinds.as_slice() {
        ["array"] => format!("list of {}", kind(&schema["items"])),
        ["object"] => format!("name: {}", kind(&schema["additionalProperties"])),
        ["integer"] => "whole number".to_owned(),
        ["boolean"] => "`true` or `false`".to_owned(),
        _ => "text".to_owned(),
    }
}
