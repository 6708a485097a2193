//! `chaos report` as people call it.

use std::path::Path;
use std::process::{Command, Output};

use super::sample::Sample;

fn chaos(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chaos")).args(args).current_dir(dir).output().expect("chaos runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// A directory with a run under reports/, as `chaos run` leaves it.
fn workplace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let run = dir.path().join("reports/20260301-100000-k3v9");
    std::fs::create_dir_all(&run).expect("made");
    let sample = Sample { phases_s: [3, 4, 2], rate: 300, ..Sample::default() };
    let lines: String =
        sample.entries().iter().map(|entry| serde_json::to_string(entry).expect("JSON") + "\n").collect();
    std::fs::write(run.join(chaos::journal::FILE), lines).expect("written");
    dir
}

#[test]
fn a_run_is_found_by_its_id_its_directory_and_its_journal() {
    let dir = workplace();
    let run = "reports/20260301-100000-k3v9";
    let journal = format!("{run}/journal.jsonl");
    let reports = ["20260301-100000-k3v9", run, &journal].map(|name| {
        let output = chaos(dir.path(), &["report", name, "--format", "json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            output.status.code().map(i64::from),
            report["exit_code"].as_i64(),
            "{}",
            text(&output.stderr)
        );
        output.stdout
    });
    assert!(reports.iter().all(|report| *report == reports[0]));
    assert!(!dir.path().join(run).join("report.json").exists(), "printing saves nothing");
}

#[test]
fn all_forms_are_saved_beside_the_journal_or_elsewhere() {
    let dir = workplace();
    let beside = chaos(dir.path(), &["report", "20260301-100000-k3v9"]);
    let elsewhere = chaos(dir.path(), &["report", "20260301-100000-k3v9", "--out", "copy"]);
    let read = |at: &str, file: &str| std::fs::read(dir.path().join(at).join(file)).expect(file);
    for file in ["report.json", "report.html", "run.hlog"] {
        assert_eq!(read("reports/20260301-100000-k3v9", file), read("copy", file), "{file}");
    }
    assert!(text(&beside.stdout).contains("reports/20260301-100000-k3v9/report.html"));
    assert!(text(&elsewhere.stdout).contains("copy/report.html"));
    let leftovers = std::fs::read_dir(dir.path().join("copy")).expect("a directory").count();
    assert_eq!(leftovers, 3, "no half-written file stays");
}

#[test]
fn a_runs_histograms_are_an_hdrhistogram_log() {
    let dir = workplace();
    let run = "20260301-100000-k3v9";
    assert!(!chaos(dir.path(), &["report", run]).stdout.is_empty());
    let log = dir.path().join("reports").join(run).join("run.hlog");
    let log = log.to_str().expect("a temporary path is text");
    let report =
        std::fs::read(dir.path().join("reports").join(run).join("report.json")).expect("it was saved");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("it is JSON");
    let ended: u64 = report["phases"]
        .as_array()
        .expect("phases are a list")
        .iter()
        .flat_map(|phase| phase["load"].as_object().expect("loads have names").values())
        .flat_map(|load| ["good", "bad", "timed_out", "failed"].map(|end| load[end].as_u64().unwrap_or(0)))
        .sum();
    let figures = chaos(dir.path(), &["hist", log, "--json"]);
    let figures: serde_json::Value = serde_json::from_slice(&figures.stdout).expect("it is JSON");
    assert_eq!(figures["schema"], "chaos.hist/1");
    assert!(figures["values"]["count"].as_u64().is_some_and(|count| count >= ended), "{figures}");
    let twice = chaos(dir.path(), &["hist", log, log]);
    let table = text(&twice.stdout);
    assert!(table.contains("1/(1-Percentile)") && table.contains("#[Mean"), "{table}");

    let bad = dir.path().join("bad.hlog");
    std::fs::write(&bad, "#a comment\n0.1,1.0,2.0,HISTFAAAAEV42pNpmSzM\n").expect("it is writable");
    let refused = chaos(dir.path(), &["hist", bad.to_str().expect("a temporary path is text")]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("bad.hlog:2: its histogram"), "{}", text(&refused.stderr));
    let none = chaos(dir.path(), &["hist", log, "--tag", "no/such/tag"]);
    assert_eq!(none.status.code(), Some(5), "no data is no answer");
}

#[test]
fn what_can_not_be_reported_is_said() {
    let dir = workplace();
    for (args, said) in [
        (vec!["report", "nowhere"], "20260301-100000-k3v9"),
        (vec!["report", "20260301-100000-k3v9", "--format", "pdf"], "one of all, json, html, hlog, terminal"),
        (vec!["report", "20260301-100000-k3v9", "--format", "csv,terminal"], "ask for it by itself"),
        (vec!["run", "x.yaml", "--report", "pdf"], "there are: json, html, hlog, terminal, junit"),
        (vec!["run", "x.yaml", "--report", "terminal"], "terminal=FILE"),
        (vec!["postmortem", "nowhere"], "20260301-100000-k3v9"),
        (vec!["report"], "--help"),
    ] {
        let output = chaos(dir.path(), &args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(said), "{args:?}: {}", text(&output.stderr));
    }
    let several =
        chaos(dir.path(), &["report", "20260301-100000-k3v9", "--format", "junit,csv", "--out", "two"]);
    assert!(several.stdout.is_empty(), "{}", text(&several.stdout));
    let mut saved: Vec<_> = std::fs::read_dir(dir.path().join("two"))
        .expect("made")
        .map(|file| file.expect("read").file_name().into_string().expect("text"))
        .collect();
    saved.sort();
    assert_eq!(saved, ["intervals.csv", "junit.xml"]);
    let drafted = chaos(dir.path(), &["postmortem", "20260301-100000-k3v9"]);
    assert_eq!(drafted.status.code(), Some(0), "{}", text(&drafted.stderr));
    assert!(text(&drafted.stdout).starts_with("# Post-mortem: "));
    let list = text(&chaos(dir.path(), &["report", "--list"]).stdout);
    assert!(["json", "html", "terminal"].iter().all(|name| list.contains(name)), "{list}");
}
