//! The JSON Schema of experiments, made from the types themselves: what editors check and complete by.
//!
//! The language takes text where YAML reads a number (`name: 7`) and nothing where a field may be left out
//! (`faults:` with everything below it commented out), so the schema must take both too. Start at
//! [`json_schema`].

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::Experiment;

/// The schema (draft 2020-12), with the docs of every field.
pub fn json_schema() -> Value {
    let mut schema =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Experiment>().to_value();
    take_scalars_as_text(&mut schema);
    schema
}

/// Lets numbers and booleans stand where any text may.
fn take_scalars_as_text(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let bounded =
                ["pattern", "const", "enum", "format"].iter().any(|word| fields.contains_key(*word));
            if !bounded {
                match fields.get_mut("type") {
                    Some(Value::Array(kinds)) if kinds.contains(&json!("string")) => {
                        kinds.extend(["number", "boolean"].map(Value::from));
                        kinds.dedup();
                    }
                    Some(kind) if kind == "string" => *kind = json!(["string", "number", "boolean"]),
                    _ => {}
                }
            }
            // A property may itself be called `type`: schemas are the values of `properties`, never its keys.
            fields.values_mut().for_each(take_scalars_as_text);
        }
        Value::Array(items) => items.iter_mut().for_each(take_scalars_as_text),
        _ => {}
    }
}
