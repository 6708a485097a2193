//! Journals that a crash cut: judged as far as they go, and said to be cut.

use chaos::event::Entry;
use chaos::journal::{FILE, read_from};
use chaos::output::Concluded;
use chaos::report::Ink;
use chaos::verdict::{Verdict, judge};

use super::render;
use super::sample::Sample;

fn lines(entries: &[Entry]) -> Vec<u8> {
    let lines = entries.iter().map(|entry| serde_json::to_string(entry).expect("JSON") + "\n");
    lines.collect::<String>().into_bytes()
}

fn concluded(bytes: &[u8]) -> Concluded {
    let journal = read_from(bytes, FILE).expect("its first line is whole");
    let judgement = judge(&journal.started.plan, &journal.entries);
    Concluded { dir: "reports/cut".into(), journal, judgement }
}

#[test]
fn cut_anywhere_in_its_last_kilobyte_a_journal_is_judged_up_to_there() {
    let entries = Sample { phases_s: [1, 1, 1], rate: 30, ..Sample::default() }.entries();
    let bytes = lines(&entries);
    // With its newline missing the last event is whole, and the journal as well.
    for cut in bytes.len() - 1_024..bytes.len() - 1 {
        let concluded = concluded(&bytes[..cut]);
        let whole = bytes[..=cut].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(concluded.journal.entries, entries[..whole], "cut at {cut}");
        assert!(concluded.journal.cut_short.is_some(), "cut at {cut}");
        assert_eq!(concluded.judgement.verdict, Verdict::Invalid, "cut at {cut}");
        let said = "the journal ends before the run did";
        assert!(
            concluded.judgement.reasons.iter().any(|reason| reason.check.starts_with(said)),
            "cut at {cut}"
        );
        let last_s = entries[whole - 1].t_ns as f64 / 1e9;
        assert!(concluded.judgement.duration_s <= last_s.max(3.0), "nothing after the cut is known");
        let summary = render(&concluded, "terminal", Ink::Plain);
        assert!(summary.contains("The journal was cut short: "), "cut at {cut}: {summary}");
    }
    assert_eq!(concluded(&bytes).journal.cut_short, None);
    assert_eq!(concluded(&bytes[..bytes.len() - 1]).journal.cut_short, None);
}

#[test]
fn every_form_that_judges_says_that_the_journal_is_cut() {
    let bytes = lines(&Sample { phases_s: [1, 1, 1], rate: 30, ..Sample::default() }.entries());
    for cut in [bytes.len() - 2, bytes.len() - 700, bytes.len() * 2 / 3] {
        let concluded = concluded(&bytes[..cut]);
        for (form, said) in [
            ("json", "the journal ends before the run did"),
            ("html", "The journal was cut short:"),
            ("junit", "The journal was cut short:"),
            ("github", "the journal ends before the run did"),
            ("gitlab", "the journal ends before the run did"),
            ("markdown", "The journal was cut short:"),
            ("step-summary", "The journal was cut short:"),
            ("postmortem", "The journal was cut short:"),
            ("openmetrics", "chaos_run_journal_whole 0"),
            ("chaostoolkit", "\"status\": \"aborted\""),
        ] {
            let report = render(&concluded, form, Ink::Plain);
            assert!(report.contains(said), "{form} cut at {cut}: {report:.3000}");
        }
    }
}
