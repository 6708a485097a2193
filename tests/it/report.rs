//! Reports from a made-up journal: the same every time, on one screen, inert, and as the schema says.

mod browser;
mod chrome;
mod cli;
mod compare;
mod cut;
mod formats;
mod kept;
mod page;
mod recipes;
mod sample;
mod showcase;

use std::path::Path;

use chaos::event::Entry;
use chaos::journal::Journal;
use chaos::output::Concluded;
use chaos::report::{FORMATS, Ink};
use sample::Sample;

/// A sample, judged as if its journal had been read.
fn concluded(sample: &Sample) -> Concluded {
    let mut concluded = concluded_from(sample.entries());
    if !sample.suffix.is_empty() {
        // Names that act stand there, too.
        concluded.judgement.capacities = vec![sample::capacity(&sample.suffix); 9];
    }
    concluded
}

fn concluded_from(entries: Vec<Entry>) -> Concluded {
    let chaos::event::Event::Started(started) = &entries[0].event else { panic!("starts with `started`") };
    let started = started.clone();
    let judgement = chaos::verdict::judge(&started.plan, &entries);
    let journal = Journal { started, entries, cut_short: None, skipped: Vec::new() };
    Concluded { dir: "reports/20260301-100000-k3v9".into(), journal, judgement }
}

fn render(concluded: &Concluded, name: &str, ink: Ink) -> String {
    let format = FORMATS.iter().find(|format| format.name == name).expect("a known format");
    concluded.render(format, &concluded.dir, ink)
}

/// A run whose every name acts.
fn wild() -> Sample {
    Sample { suffix: hostile(), phases_s: [5, 8, 4], rate: 200, ..Sample::default() }
}

/// Text that acts if it is let through: markup, terminal escapes, new lines, direction marks, sheer length.
fn hostile() -> String {
    format!(
        "</title><script>alert(1)</script>\"'>&\u{1b}[2J\u{1b}]0;x\u{7}\n\r\u{202e}{}",
        "A".repeat(10_000)
    )
}

#[test]
fn summary_of_a_held_run() {
    insta::assert_snapshot!(render(&concluded(&Sample::default()), "terminal", Ink::Plain));
}

#[test]
fn summary_of_a_failed_run() {
    let failed = Sample { held: false, loads: vec!["shoppers".into(), "admins".into()], ..Sample::default() };
    insta::assert_snapshot!(render(&concluded(&failed), "terminal", Ink::Plain));
}

#[test]
fn summary_fits_one_screen_whatever_the_names() {
    let names = (0..9).map(|load| format!("load-{load}")).collect();
    let wild =
        Sample { suffix: hostile(), loads: names, rate: 100, phases_s: [2, 3, 2], ..Sample::default() };
    let summary = render(&concluded(&wild), "terminal", Ink::Plain);
    assert!(summary.lines().count() <= 23, "{summary}");
    for line in summary.lines() {
        let columns = console::measure_text_width(line);
        assert!(columns <= 80, "{columns} columns: {line}");
        assert!(!line.contains(|character: char| character.is_control()), "{line:?}");
    }
}

#[test]
fn colour_changes_nothing_but_colour() {
    let concluded = concluded(&Sample::default());
    let color = render(&concluded, "terminal", Ink::Color);
    assert!(color.contains('\u{1b}'));
    assert_eq!(console::strip_ansi_codes(&color), render(&concluded, "terminal", Ink::Plain));
}

#[test]
fn report_json_of_a_held_run() {
    insta::assert_snapshot!(render(&concluded(&Sample::default()), "json", Ink::Plain));
}

#[test]
fn report_json_is_as_its_schema_says() {
    let schema = chaos::report::json::report_schema();
    let validator = jsonschema::validator_for(&schema).expect("the schema is valid");
    let held = concluded(&Sample::default());
    let mut silent = concluded(&Sample { held: false, suffix: hostile(), ..Sample::default() });
    silent.judgement.generator = None;
    silent.judgement.slos[0].good_ratio = None;
    silent.judgement.timings = Default::default();
    for concluded in [&held, &silent] {
        let report = serde_json::from_str(&render(concluded, "json", Ink::Plain)).expect("JSON");
        let errors: Vec<_> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new());
    }
    let mut wrong: serde_json::Value =
        serde_json::from_str(&render(&held, "json", Ink::Plain)).expect("JSON");
    wrong["verdict"] = "great".into();
    assert!(!validator.is_valid(&wrong), "the schema knows the verdicts");
}

#[test]
fn reports_remade_from_the_journal_are_the_same() {
    let sample = Sample { phases_s: [3, 4, 2], rate: 300, ..Sample::default() };
    let dir = tempfile::tempdir().expect("a directory");
    let write = |entries: &[Entry]| {
        let lines: String =
            entries.iter().map(|entry| serde_json::to_string(entry).expect("JSON") + "\n").collect();
        std::fs::write(dir.path().join(chaos::journal::FILE), lines).expect("written");
    };
    write(&sample.entries());
    let conclude = || chaos::output::conclude(dir.path()).expect("a journal");
    let save = |into: &Path| {
        conclude().save(into).expect("saved");
        ["report.json", "report.html"].map(|file| std::fs::read(into.join(file)).expect("a report"))
    };
    let first = save(dir.path());
    assert_eq!(first, save(&dir.path().join("elsewhere")));
    let fresh = concluded(&sample);
    assert_eq!(first[0], render(&fresh, "json", Ink::Plain).into_bytes());
    assert_eq!(first[1], render(&fresh, "html", Ink::Plain).into_bytes());
}
