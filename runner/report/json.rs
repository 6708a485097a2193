//! report.json: the judgement itself, and the schema that describes it.

use schemars::generate::SchemaSettings;

use super::{Case, Ink};
use crate::verdict::{Judgement, SCHEMA};

/// The judgement as indented JSON, fields in the order of the schema, with a final newline.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let mut text = serde_json::to_string_pretty(case.judgement)
        .expect("a judgement has text keys only, so JSON can hold it");
    text.push('\n');
    text
}

/// The JSON Schema of report.json, made from the same types. Readers should accept fields that they do not
/// know: adding one does not change the format's number.
pub fn report_schema() -> serde_json::Value {
    let mut schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Judgement>();
    schema.insert("title".into(), format!("{SCHEMA}: report.json of a chaos run").into());
    if let Some(format) = schema.pointer_mut("/properties/schema") {
        format["const"] = SCHEMA.into();
    }
    schema.to_value()
}
