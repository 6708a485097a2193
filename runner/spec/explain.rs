//! What each fault and each probe is and takes, for a terminal: made from the schema, so that it can't say what the reader does
//! not do. Start at [`faults`] and [`explain`].

use std::fmt::Write;

use serde_json::{Map, Value};

use super::json_schema;
use super::reference::{docs, referred};

/// The width of what is printed, in characters; a terminal's usual 80 with some room to spare.
const WIDTH: usize = 78;
/// How far the docs of a field stand from the edge.
const INDENT: &str = "      ";

/// Every fault as the experiment language writes it, with one line about it, in the catalogue's order.
pub fn faults() -> Vec<(String, String)> {
    listed("Fault")
}

/// Every kind of probe, in the same way.
pub fn probes() -> Vec<(String, String)> {
    listed("Probe")
}

fn listed(of: &str) -> Vec<(String, String)> {
    kinds(&json_schema(), of).into_iter().map(|(word, docs, _)| (word, docs)).collect()
}

/// The fields of fault `word`, in order; nothing for a word that is no fault.
pub fn fields(word: &str) -> Option<Vec<String>> {
    let schema = json_schema();
    let (_, _, record) = kinds(&schema, "Fault").into_iter().find(|(known, ..)| known == word)?;
    Some(schema["$defs"][&record]["properties"].as_object()?.keys().cloned().collect())
}

/// Fault or probe `word`, or both where one word means either, with its fields, what they take and what they are where
/// left out; nothing for a word that is neither.
pub fn explain(word: &str) -> Option<String> {
    let parts = [of("Fault", word, word), of("Probe", word, &format!("{word} (a probe)"))];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}

fn of(kind: &str, word: &str, heading: &str) -> Option<String> {
    let schema = json_schema();
    let (_, _, record) = kinds(&schema, kind).into_iter().find(|(known, ..)| known == word)?;
    let record = &schema["$defs"][&record];
    let mut out = format!("{heading}\n\n");
    paragraph(&docs(record), "  ", &mut out);
    out.push_str("\nfields:\n");
    let required = record["required"].as_array();
    for (field, property) in record["properties"].as_object()? {
        let needed = required.is_some_and(|required| required.iter().any(|name| name == field));
        let absent = match property.get("default") {
            Some(Value::String(default)) => format!("; {default} where left out"),
            Some(default) => format!("; {default} where left out"),
            None if needed => "; needed".to_owned(),
            None => String::new(),
        };
        // Writing to a String does not fail.
        let _ = writeln!(out, "\n  {field}: {}{absent}", takes(property, schema["$defs"].as_object()?));
        paragraph(&docs(property), INDENT, &mut out);
    }
    Some(out)
}

/// The word of each kind of what has a key of its own, its line and the name of its record.
fn kinds(schema: &Value, of: &str) -> Vec<(String, String, String)> {
    let choices = schema["$defs"][of]["oneOf"].as_array().into_iter().flatten();
    let kind = |choice: &Value| {
        let (word, inner) = choice["properties"].as_object()?.iter().next()?;
        Some((word.clone(), docs(choice), referred(&inner["$ref"])?.to_owned()))
    };
    choices.filter_map(kind).collect()
}

/// What a field takes, in words: of a choice its words, of a record its fields.
fn takes(schema: &Value, definitions: &Map<String, Value>) -> String {
    if let Some(name) = referred(&schema["$ref"]) {
        let of = &definitions[name];
        let words: Vec<&str> = of["oneOf"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|choice| choice["const"].as_str())
            .collect();
        if !words.is_empty() {
            return words.join(" | ");
        }
        if let Some(properties) = of["properties"].as_object() {
            return format!("{{ {} }}", properties.keys().cloned().collect::<Vec<_>>().join(", "));
        }
        return name.to_lowercase();
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let some = any.iter().filter(|schema| schema["type"] != "null");
        return some.map(|schema| takes(schema, definitions)).collect::<Vec<_>>().join(" or ");
    }
    let is = |kind: &str| match &schema["type"] {
        Value::String(one) => one == kind,
        Value::Array(several) => several.iter().any(|one| one == kind),
        _ => false,
    };
    if is("array") {
        format!("list of {}", takes(&schema["items"], definitions))
    } else if is("object") {
        format!("name: {}", takes(&schema["additionalProperties"], definitions))
    } else if is("string") {
        "text".into()
    } else if is("integer") {
        "whole number".into()
    } else {
        "true or false".into()
    }
}

/// Docs as lines of at most [`WIDTH`] characters.
fn paragraph(text: &str, indent: &str, out: &mut String) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent.len() + line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{indent}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        let _ = writeln!(out, "{indent}{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_and_probe_is_explained_within_the_width() {
        let all = faults();
        assert!(all.iter().any(|(word, docs)| word == "latency" && docs == "Packets are held for a while."));
        for (word, _) in all.into_iter().chain(probes()) {
            let text = explain(&word).unwrap();
            let fields = fields(&word).unwrap_or_default();
            assert!(fields.iter().all(|field| text.contains(&format!("\n  {field}: "))), "{text}");
            let long: Vec<_> = text.lines().filter(|line| line.starts_with("   ")).collect();
            assert!(long.iter().all(|line| line.chars().count() <= WIDTH), "{long:#?}");
        }
        let sql = explain("sql").unwrap();
        assert!(sql.starts_with("sql (a probe)\n") && sql.contains("\n  connect: text; needed\n"), "{sql}");
        assert_eq!(explain("no-such-fault"), None);
    }
}
