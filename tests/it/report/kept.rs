//! The run that is kept in `reports/sample`: what a reader who has no Docker looks at first.

use std::path::Path;

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
