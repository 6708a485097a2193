//! The run that is kept in `reports/sample`: what a reader who has no Docker looks at first, and a journal that later
//! versions must still read.

use std::path::Path;

use chaos::event::Started;
use chaos::output::conclude;
use chaos::report::{FORMATS, Ink};
use serde_json::Value;

#[test]
fn the_sample_is_read_judged_as_then_and_rendered_to_every_form() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/sample");
    let concluded = conclude(&dir).expect("made by this version: if it changed, make the sample anew");
    assert_eq!((concluded.journal.cut_short.as_deref(), concluded.journal.skipped.len()), (None, 0));
    let saved = std::fs::read_to_string(dir.join("report.json")).expect("it is kept");
    let saved: Value = serde_json::from_str(&saved).expect("JSON");
    let judged = serde_json::to_value(&concluded.judgement).expect("JSON");
    // Fields may be added; what was said then is said now.
    for field in ["verdict", "exit_code", "sentence", "checks"] {
        assert_eq!(judged[field], saved[field], "{field}");
    }
    for format in &FORMATS {
        let report = concluded.render(format, &dir, Ink::Plain);
        assert!(report.len() > 2, "{} is empty", format.name);
    }
    let page = std::fs::read_to_string(dir.join("report.html")).expect("it is kept");
    assert!(page.contains(&concluded.judgement.run), "the page is of the same run");
}

/// `whole` without every field that may be missing: what is read stays the same.
fn least(whole: &Value) -> Value {
    fn paths(value: &Value, at: &str, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, of)| {
                found.push((at.to_owned(), key.clone()));
                paths(of, &format!("{at}/{}", key.replace('/', "~1")), found);
            }),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, of)| paths(of, &format!("{at}/{index}"), found));
            }
            _ => {}
        }
    }
    let read = |value: &Value| serde_json::from_value::<Started>(value.clone()).ok();
    let meant = read(whole).expect("it is whole");
    let mut kept = whole.clone();
    let mut all = Vec::new();
    paths(whole, "", &mut all);
    for (at, key) in all {
        let mut without = kept.clone();
        let fields = without.pointer_mut(&at).and_then(Value::as_object_mut);
        if fields.is_some_and(|fields| fields.remove(&key).is_some())
            && read(&without).as_ref() == Some(&meant)
        {
            kept = without;
        }
    }
    kept
}

/// Fields with defaults are added to the language in every version: journals from before have none of them.
#[test]
fn a_journal_from_before_a_field_was_added_is_still_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/sample/journal.jsonl");
    let text = std::fs::read_to_string(path).expect("it is kept");
    let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    let least = least(&first);
    let part = |pointer: &str| least.pointer(pointer).expect("it must be given").to_string();
    insta::assert_snapshot!(
        ["/plan/loads/0/load", "/plan/slos", "/plan/limits", "/plan/faults/0/fault", "/plan/lab"].map(part).join("\n"),
        @r#"
    {"rate":"200/s","requests":[{"weight":4,"get":"http://gateway.lab/cart"},{"json":{"item":"{{ uuid }}"},"post":"http://gateway.lab/checkout"}],"timeout":"5s"}
    {"availability":{"objective":"99%","good":"status < 500","load":"shoppers"}}
    {"targets":"50%","fault":"1m"}
    {"latency":{"on":"one-api","delay":"200ms"}}
    {"replicas":{"eject_after":5,"hedge":"40ms","retries":2}}
    "#
    );
}
