//! Every machine format, judged by its ecosystem's own tool; and by what may not happen in it.
//!
//! `scripts/setup` installs the tools; a missing one fails the test with the command that installs it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use chaos::output::Concluded;
use chaos::report::{FORMATS, Format, Ink};
use chaos::verdict::Verdict;
use serde_json::Value;

use super::sample::Sample;
use super::showcase::showcase;
use super::{concluded, concluded_from, hostile, render, wild};

/// Where `scripts/setup` puts readers that are no packages of the system.
fn validators() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/validators")
}

/// Runs `program` with `text` on its stdin.
fn judged_by(program: &Path, args: &[&str], text: &str) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs {}: {error}; run scripts/setup", program.display()));
    let mut stdin = child.stdin.take().expect("it was asked for");
    let text = text.to_owned();
    // A reader that stops early closes the pipe; what it says of that is in its output.
    let writing = std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
    let output = child.wait_with_output().expect("it ends");
    writing.join().expect("writing does not panic");
    output
}

/// What Python says of `text`, which the script reads from stdin; it fails by an exception.
fn python(script: &str, text: &str) -> String {
    let output = judged_by(&validators().join("bin/python"), &["-c", script], text);
    assert!(output.status.success(), "{}\n{:.2000}", String::from_utf8_lossy(&output.stderr), text);
    String::from_utf8(output.stdout).expect("text")
}

/// Runs that held, failed, said nothing, were cut short, and whose every name acts.
fn runs() -> Vec<(&'static str, Concluded)> {
    let short = Sample { phases_s: [3, 4, 2], rate: 200, ..Sample::default() };
    let failed = Sample { held: false, loads: vec!["shoppers".into(), "admins".into()], ..short.clone() };
    let silent = Sample { loads: Vec::new(), ..short.clone() };
    let mut entries = short.entries();
    entries.truncate(entries.len() / 2);
    let mut cut = concluded_from(entries);
    cut.journal.cut_short = Some("its last line (17) is torn".into());
    vec![
        ("held", concluded(&short)),
        ("failed", concluded(&failed)),
        ("silent", concluded(&silent)),
        ("cut", cut),
        ("wild", concluded(&wild())),
    ]
}

fn each(name: &str, mut check: impl FnMut(&str, &Concluded, &str)) {
    for (run, concluded) in runs() {
        check(run, &concluded, &render(&concluded, name, Ink::Plain));
    }
}

#[test]
fn junit_is_as_jenkins_schema_says() {
    let schema = validators().join("junit-10.xsd");
    assert!(schema.is_file(), "this test needs {}; run scripts/setup", schema.display());
    let schema = schema.to_str().expect("a path of ours");
    each("junit", |run, concluded, xml| {
        let output = judged_by(Path::new("xmllint"), &["--noout", "--schema", schema, "-"], xml);
        assert!(output.status.success(), "{run}: {}\n{xml:.2000}", String::from_utf8_lossy(&output.stderr));
        let count = |what: &str| xml.matches(what).count();
        assert_eq!(count("<testsuite "), concluded.judgement.phases.len() + 1, "{run}: one suite a phase");
        let judgement = &concluded.judgement;
        let broken = judgement.checks.iter().filter(|check| check.holds == Some(false)).count();
        let invalid = judgement.exit_code > 1;
        assert!(count(if invalid { "<error " } else { "<failure " }) >= broken, "{run}: {xml}");
        assert!(!invalid || count("<failure ") == 0, "{run}: {xml}");
        assert_eq!(count("<error ") > 0, invalid, "{run}: what says nothing is an error, not a failure");
        let total = format!("tests=\"{}\"", count("<testcase "));
        assert!(xml.lines().nth(1).is_some_and(|head| head.contains(&total)), "{run}: {xml:.300}");
    });
}

#[test]
fn openmetrics_is_read_by_prometheus_own_parsers() {
    let script = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
        print(sum(len(family.samples) for family in read(sys.stdin.read())))";
    let dir = tempfile::tempdir().expect("a directory");
    each("openmetrics", |run, concluded, text| {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(python(script, text).trim(), samples.clone().count().to_string(), "{run}");
        let output = judged_by(Path::new("promtool"), &["check", "metrics"], text);
        assert!(output.status.success(), "{run}: {}", String::from_utf8_lossy(&output.stderr));
        // Its parser of OpenMetrics is that of back-filling, which wants to know when.
        let dated = |line: &str| {
            if line.starts_with('#') { format!("{line}\n") } else { format!("{line} 1772359200\n") }
        };
        let (file, blocks) = (dir.path().join("dated.txt"), dir.path().join(run));
        std::fs::write(&file, text.lines().map(dated).collect::<String>()).expect("written");
        let output = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&file, &blocks])
            .output()
            .expect("promtool is there: it has just run");
        assert!(output.status.success(), "{run}: {}", String::from_utf8_lossy(&output.stderr));
        // GitLab takes what follows a `#` for a comment, wherever it stands.
        assert!(samples.clone().all(|line| !line.contains('#')), "{run}");
        let held = format!("chaos_run_verdict{{verdict=\"{}\"}} 1", concluded.judgement.verdict.word());
        assert!(text.contains(&held), "{run}");
        assert!(!text.contains("NaN"), "{run}: no data is no line");
    });
}

#[test]
fn the_chaos_toolkit_takes_our_journals_for_its_own() {
    let script = "import json, os, sys\n\
        from chaoslib.experiment import ensure_experiment_is_valid\n\
        from chaoslib.hypothesis import within_tolerance\n\
        from chaoslib.run import initialize_run_journal\n\
        from datetime import datetime\n\
        def when(text): return datetime.fromisoformat(text.replace('Z', '+00:00'))\n\
        journal = json.load(sys.stdin)\n\
        experiment = journal['experiment']\n\
        ensure_experiment_is_valid(experiment)\n\
        missing = set(initialize_run_journal(experiment)) - set(journal)\n\
        assert not missing, missing\n\
        assert journal['status'] in ('completed', 'failed', 'aborted', 'interrupted')\n\
        states = journal['steady_states']\n\
        looks = [state for state in [states['before'], states['after'], *states['during']] if state]\n\
        runs = journal['run'] + journal['rollbacks'] + [probe for look in looks for probe in look['probes']]\n\
        for run in runs:\n\
        \x20   took = (when(run['end']) - when(run['start'])).total_seconds()\n\
        \x20   assert abs(took - run['duration']) < 0.01, run\n\
        \x20   if run['activity']['type'] == 'probe' and run['status'] == 'succeeded':\n\
        \x20       assert within_tolerance(run['activity']['tolerance'], run['output']) == run['tolerance_met'], run\n\
        print(len(runs))";
    // The library looks for the program that a provider names.
    let program = Path::new(env!("CARGO_BIN_EXE_chaos")).parent().expect("it lies somewhere");
    let path = format!("import os\nos.environ['PATH'] += ':{}'\n", program.display());
    each("chaostoolkit", |run, concluded, text| {
        let runs: usize = python(&format!("{path}{script}"), text).trim().parse().expect("a number");
        let faults: usize = concluded.judgement.faults.iter().map(|fault| fault.targets.len()).sum();
        assert!(runs >= faults + concluded.judgement.checks.len(), "{run}: {runs}");
        let journal: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(journal["deviated"], concluded.judgement.exit_code == 1, "{run}");
    });
}

#[test]
fn gitlab_finds_what_it_documents() {
    let schema = serde_json::json!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["description", "check_name", "fingerprint", "severity", "location"],
            "properties": {
                "description": { "type": "string", "minLength": 1 },
                "check_name": { "type": "string", "minLength": 1 },
                "fingerprint": { "type": "string", "pattern": "^[0-9a-f]{64}$" },
                "severity": { "enum": ["info", "minor", "major", "critical", "blocker"] },
                "location": {
                    "type": "object",
                    "required": ["path", "lines"],
                    "properties": {
                        "path": { "type": "string", "pattern": "^[^./]" },
                        "lines": { "required": ["begin"], "properties": { "begin": { "type": "integer", "minimum": 1 } } }
                    }
                }
            }
        }
    });
    let validator = jsonschema::validator_for(&schema).expect("the schema is valid");
    each("gitlab", |run, concluded, text| {
        let list: Value = serde_json::from_str(text).expect("JSON");
        let errors: Vec<_> = validator.iter_errors(&list).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{run}");
        let list = list.as_array().expect("a list");
        assert_eq!(list.is_empty(), concluded.judgement.reasons.is_empty(), "{run}");
        let mut prints: Vec<_> = list.iter().map(|one| one["fingerprint"].to_string()).collect();
        prints.dedup();
        assert_eq!(prints.len(), list.len(), "{run}: of two with one fingerprint GitLab drops one");
    });
    // The same check is the same violation in the next run, whatever it came to there.
    let prints = |rate| {
        let sample = Sample { held: false, phases_s: [3, 4, 2], rate, ..Sample::default() };
        let list: Value =
            serde_json::from_str(&render(&concluded(&sample), "gitlab", Ink::Plain)).expect("JSON");
        list.as_array().expect("a list").iter().map(|one| one["fingerprint"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(prints(200), prints(300));
}

#[test]
fn annotations_are_commands_and_nothing_else() {
    each("github", |run, concluded, text| {
        let (mut errors, mut others) = (0, 0);
        for line in text.lines() {
            let (command, message) =
                line.strip_prefix("::").and_then(|rest| rest.split_once("::")).expect(line);
            let (kind, properties) = command.split_once(' ').expect(line);
            match kind {
                "error" => errors += 1,
                "warning" | "notice" => others += 1,
                _ => panic!("{run}: {line}"),
            }
            let names: Vec<_> =
                properties.split(',').map(|one| one.split('=').next().unwrap_or(one)).collect();
            assert_eq!(names, ["file", "line", "title"], "{run}: {line}");
            assert!(!message.is_empty() && !line.contains(['\r', '\u{1b}']), "{run}: {line:?}");
        }
        assert!(errors <= 10, "{run}: GitHub shows ten");
        assert_eq!((errors > 0, others), (!concluded.judgement.reasons.is_empty(), 1), "{run}");
    });
    let failed = Sample { held: false, phases_s: [3, 4, 2], rate: 200, ..Sample::default() };
    let text = render(&concluded(&failed), "github", Ink::Plain);
    let beside = "::error file=experiments/slow-replica.yaml,line=21,title=broken%3A slo(availability)::";
    assert!(text.contains(beside), "beside the line that asked: {text}");
}

/// The elements that GitHub's Markdown makes of a text, with their attributes: names and links.
const MARKDOWN: &str = "import sys\n\
    from markdown_it import MarkdownIt\n\
    def walk(tokens):\n\
    \x20   for token in tokens:\n\
    \x20       kind = token.content if token.type in ('html_block', 'html_inline') else token.type\n\
    \x20       print(repr((kind.strip(), dict(token.attrs))))\n\
    \x20       walk(token.children or [])\n\
    walk(MarkdownIt('gfm-like', {'linkify': False}).parse(sys.stdin.read()))";

#[test]
fn markdown_holds_no_markup_but_ours() {
    for name in ["markdown", "step-summary", "postmortem"] {
        each(name, |run, _, text| {
            let seen = python(MARKDOWN, text);
            let html: Vec<_> =
                seen.lines().filter(|line| line.contains('<') || line.contains("image")).collect();
            let ours = |line: &&str| !line.contains("<details>") && !line.contains("</details>");
            assert_eq!(
                html.into_iter().filter(ours).collect::<Vec<_>>(),
                Vec::<&str>::new(),
                "{name} of {run}"
            );
            let links: Vec<_> = seen.lines().filter(|line| line.contains("href")).collect();
            assert!(links.iter().all(|link| link.contains("'journal.jsonl#L")), "{name} of {run}: {links:?}");
            assert!(seen.contains("table_open"), "{name} of {run} has tables: {text}");
            assert!(text.len() < 400_000, "{name} of {run}: {} bytes", text.len());
            if name == "markdown" {
                assert!(text.chars().count() < 65_536, "GitHub takes no longer comment");
            }
        });
    }
}

#[test]
fn events_are_as_their_schema_says() {
    let schema = chaos::report::events::schema();
    let validator = jsonschema::validator_for(&schema).expect("the schema is valid");
    each("events", |run, concluded, text| {
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).expect("JSON");
            let errors: Vec<_> = validator.iter_errors(&event).map(|error| error.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new(), "{run}: {line}");
            // The line of the journal says the same.
            let number = event["line"].as_u64().expect("a number") as usize;
            let entry = serde_json::to_value(&concluded.journal.entries[number - 1]).expect("JSON");
            assert_eq!(event["event"], entry["event"], "{run}");
        }
        assert!(
            text.lines().next().is_some_and(|line| line.contains("\"time\":\"2026-03-01T10:00:00.000Z\""))
        );
    });
}

#[test]
fn intervals_are_a_table_that_calculates_nothing() {
    let script = "import csv, sys\n\
        rows = list(csv.DictReader(sys.stdin, strict=True))\n\
        for row in rows:\n\
        \x20   assert None not in row and None not in row.values(), row\n\
        \x20   assert not row['load'].startswith(('=', '+', '-', '@')), row\n\
        print(sum(int(row['scheduled']) for row in rows))";
    each("csv", |run, concluded, text| {
        let due =
            |phase: &chaos::verdict::PhaseReport| phase.load.values().map(|load| load.scheduled).sum::<u64>();
        let sum: u64 = python(script, text).trim().parse().expect("a number");
        let phases: u64 = concluded.judgement.phases.iter().map(due).sum();
        assert!(sum >= phases, "{run}: {sum} {phases}");
        // Of a whole run some are due before the first phase or after the last.
        assert!(run == "cut" || sum <= phases + phases / 5, "{run}: {sum} {phases}");
    });
    let formula =
        Sample { loads: vec!["=HYPERLINK(\"x\")".into()], phases_s: [1, 1, 1], ..Sample::default() };
    assert!(render(&concluded(&formula), "csv", Ink::Plain).contains("\"'=HYPERLINK(\"\"x\"\")\""));
}

#[test]
fn figures_and_answers_are_tables_that_calculate_nothing() {
    let script = "import csv, sys\n\
        rows = list(csv.DictReader(sys.stdin, strict=True))\n\
        for row in rows:\n\
        \x20   assert None not in row and None not in row.values(), row\n\
        \x20   assert not any(cell.startswith(('=', '+', '@')) for cell in row.values()), row\n\
        print(len(rows))";
    for name in ["figures", "probes"] {
        each(name, |run, concluded, text| {
            let rows: usize = python(script, text).trim().parse().expect("a number");
            let least = if name == "figures" { concluded.judgement.checks.len() + 7 } else { 0 };
            assert!(rows >= least, "{run}: {rows} of {least}");
        });
    }
    let busy = render(&showcase(), "figures", Ink::Plain);
    for row in [
        "outturn,time_to_heal,,,0.0029,s,",
        "check,p99(latency) < 400ms,slow-api,held,",
        ",the latency histogram of all loads,20.0042,60.0029",
    ] {
        assert!(busy.contains(row), "{row}\n{busy}");
    }
    let answers = render(&showcase(), "probes", Ink::Plain);
    assert!(answers.contains(",slow-api,,24.000000,no,3.200,1,503 instead of 200\n"), "{answers}");
}

/// The same that speaks against a run is called the same everywhere, and is an error where the run came to worse than
/// `failed`.
#[test]
fn only_a_run_that_failed_has_failures() {
    let failed = concluded(&Sample { held: false, ..Sample::default() });
    let aborted = showcase();
    assert_eq!((failed.judgement.verdict, aborted.judgement.verdict), (Verdict::Failed, Verdict::Aborted));
    let broken = |concluded: &Concluded| {
        concluded.judgement.checks.iter().filter(|check| check.holds == Some(false)).count()
    };
    assert!(broken(&failed) > 0 && broken(&aborted) > 0, "both broke something");
    for (run, failures) in [(&failed, true), (&aborted, false)] {
        let forms = ["junit", "gitlab", "github", "markdown"].map(|name| render(run, name, Ink::Plain));
        let [junit, gitlab, github, markdown] = &forms;
        assert_eq!(junit.contains("<failure"), failures, "{junit}");
        assert_eq!(junit.contains("<error"), !failures, "{junit}");
        assert_eq!(gitlab.contains("\"critical\""), failures, "{gitlab}");
        assert_eq!(gitlab.contains("\"major\""), !failures, "{gitlab}");
        // What it is called is a fact about the check, and no opinion about the run.
        assert!(github.contains("title=broken%3A ") && markdown.contains("**broken**"), "{github}{markdown}");
        assert_eq!(github.contains("title=aborted%3A guard"), !failures, "{github}");
        assert_eq!(markdown.contains("**aborted**"), !failures, "{markdown}");
    }
}

#[test]
fn names_do_nothing_in_any_form() {
    let wild = concluded(&wild());
    assert!(hostile().contains("<script>"));
    for format in &FORMATS {
        // What reads JSON for people must escape what it shows, as with anyone's JSON.
        if format.name == "json" {
            continue;
        }
        let text = render(&wild, format.name, Ink::Plain);
        let acts = |character: &char| {
            (character.is_control() && !matches!(character, '\n' | '\r')) || *character == '\u{202e}'
        };
        assert_eq!(text.chars().find(acts), None, "{}", format.name);
        // Commands are for copying and cut late.
        assert!(!text.contains(&"A".repeat(4_001)), "{}: 10 kB of a name", format.name);
        if !matches!(
            format.name,
            "terminal"
                | "csv"
                | "figures"
                | "probes"
                | "events"
                | "hlog"
                | "github"
                | "gitlab"
                | "chaostoolkit"
                | "openmetrics"
        ) {
            // Between backquotes it is text.
            let outside: String = text.split('`').step_by(2).collect();
            assert!(!outside.contains("<script>alert"), "{}", format.name);
        }
    }
}

#[test]
fn forms_are_told_apart() {
    let names: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
    let mut files: Vec<_> = FORMATS.iter().filter_map(Format::file).collect();
    assert_eq!(files.len() + 1, names.len(), "one is only printed");
    files.sort_unstable();
    files.dedup();
    assert_eq!(files.len() + 1, names.len(), "no two share a file");
    assert!(!files.contains(&chaos::journal::FILE), "none lies where the journal lies");
}
