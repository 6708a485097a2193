//! `chaos compare` as people call it, on runs made up in code.

use std::path::Path;
use std::process::{Command, Output};

use super::sample::Sample;

/// A directory with a run under reports/ for each sample, named `base`, `new`, ….
fn workplace(runs: &[(&str, Sample)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, sample) in runs {
        let run = dir.path().join("reports").join(name);
        std::fs::create_dir_all(&run).expect("made");
        let lines: String =
            sample.entries().iter().map(|entry| serde_json::to_string(entry).expect("JSON") + "\n").collect();
        std::fs::write(run.join(chaos::journal::FILE), lines).expect("written");
    }
    dir
}

fn compare(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chaos"))
        .arg("compare")
        .args(args)
        .current_dir(dir)
        .output()
        .expect("chaos runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn sample(held: bool) -> Sample {
    Sample { phases_s: [12, 20, 10], rate: 300, held, ..Sample::default() }
}

#[test]
fn runs_are_held_against_each_other_and_the_exit_says_how_that_went() {
    let dir = workplace(&[("base", sample(true)), ("new", sample(false)), ("again", sample(true))]);
    let same = compare(dir.path(), &["base", "again"]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stdout));
    assert!(text(&same.stdout).starts_with("NO REGRESSION"));
    let worse = compare(dir.path(), &["base", "new"]);
    assert_eq!(worse.status.code(), Some(1), "{}", text(&worse.stdout));
    assert!(text(&worse.stdout).starts_with("REGRESSED"));
    let better = compare(dir.path(), &["new", "base", "--format", "json"]);
    let found: serde_json::Value = serde_json::from_slice(&better.stdout).expect("JSON");
    assert_eq!((better.status.code(), found["regressed"].as_bool()), (Some(0), Some(false)));
    assert!(text(&better.stdout).contains("\"better\""));
}

#[test]
fn sides_of_several_runs_and_files_are_taken() {
    let dir = workplace(&[("a", sample(true)), ("b", sample(true)), ("c", sample(true))]);
    let saved = compare(dir.path(), &["a,b,c", "a", "b,c", "--format", "html", "--out", "page.html"]);
    assert_eq!(saved.status.code(), Some(0), "{}", text(&saved.stderr));
    let page = std::fs::read_to_string(dir.path().join("page.html")).expect("saved");
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    assert!(text(&saved.stdout).contains("base  2"), "the summary is printed: {}", text(&saved.stdout));
}

#[test]
fn names_are_inert_in_every_form() {
    let hostile = Sample { suffix: "<script>|`a`\u{1b}[31m\n@all".into(), ..sample(true) };
    let dir = workplace(&[("base", hostile.clone()), ("new", Sample { held: false, ..hostile })]);
    for form in ["text", "markdown", "html"] {
        let out = text(&compare(dir.path(), &["base", "new", "--format", form]).stdout);
        assert!(!out.contains('\u{1b}'), "{form}");
        let markup = form == "text" || !out.contains("<script>");
        assert!(markup, "{form}: {out}");
        if form == "markdown" {
            assert!(!out.contains("@all") && !out.contains("|`a`"), "{out}");
        }
    }
}

#[test]
fn nothing_in_common_and_no_such_run_are_said() {
    let short = Sample { phases_s: [3, 3, 2], rate: 100, ..Sample::default() };
    let dir = workplace(&[("base", sample(true)), ("short", short)]);
    let nothing = compare(dir.path(), &["base", "short"]);
    assert_eq!(nothing.status.code(), Some(5), "{}", text(&nothing.stdout));
    assert!(text(&nothing.stdout).contains("too short to tell"));
    let missing = compare(dir.path(), &["base", "gone"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("no run at `gone`"));
}
