//! The crash campaign has a line for every fault: `scripts/torture` itself is a step of `scripts/check`.

use std::path::Path;

use chaos::fault::Fault;
use chaos::spec::{Input, parse};

/// The campaign's lines, without comments.
fn lines() -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/torture.d/faults.txt");
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn every_fault_of_the_catalogue_is_tortured() {
    let lines = lines();
    let missing: Vec<_> = Fault::WORDS
        .iter()
        .filter(|word| !lines.iter().any(|line| line.split(':').next() == Some(word)))
        .collect();
    assert!(missing.is_empty(), "scripts/torture.d/faults.txt has no line for {missing:?}");
}

#[test]
fn every_line_of_the_campaign_is_a_fault() {
    let known = |line: &String| Fault::WORDS.iter().any(|word| line.split(':').next() == Some(word));
    for line in lines().into_iter().filter(known) {
        let text = format!(
            "experiment: x\ntargets: {{ one: {{ name: a }}, store: {{ name: b }}, gateway: {{ name: c }}, all: {{ re: '.*' }} }}\n\
             load: {{ l: {{ rate: 1/s, requests: [{{ get: 'http://127.0.0.1/' }}] }} }}\n\
             phases: {{ broken: {{ for: 1s, faults: [{{ {line} }}] }} }}\nexpect: {{ broken: [count(scheduled) > 0] }}\n"
        );
        if let Err(problems) = parse(&Input { text, ..Input::default() }) {
            panic!("{line}: {problems:?}");
        }
    }
}
