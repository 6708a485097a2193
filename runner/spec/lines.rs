//! On which lines of an experiment's file things stand, for reports that point at them.
//!
//! A plan forgets places: two texts that mean the same make the same plan. A run notes them beside it. Start at
//! [`lines`].

use std::collections::BTreeMap;

use super::{Experiment, Guard, Steady};
use crate::error::{OVERRIDE, Span};

/// Lines, from 1, by what stands there: `expect/PHASE/CHECK`, `phase/NAME`, `slo(NAME)`, and steady states and guards
/// by their text. Without what was not written in the file but given with `--set`.
pub fn lines(experiment: &Experiment, text: &str) -> BTreeMap<String, u32> {
    let file = text.split(OVERRIDE).next().unwrap_or_default();
    let mut found = BTreeMap::new();
    let mut note = |key: String, span: Span| {
        // `0..0` is the place of what nobody wrote.
        if span.end > 0
            && let Some(before) = file.get(..span.start)
        {
            let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
            found.entry(key).or_insert(u32::try_from(line).unwrap_or(u32::MAX));
        }
    };
    for (phase, checks) in &experiment.expect.0 {
        for check in checks {
            note(format!("expect/{}/{}", phase.value, check.value), check.span);
        }
    }
    for (name, _) in &experiment.slos.0 {
        note(format!("slo({})", name.value), name.span);
    }
    for steady in &experiment.steady_state {
        match steady {
            Steady::Check(check) => note(check.value.to_string(), check.span),
            Steady::Probe(entry) => note(steady.to_string(), entry.span),
        }
    }
    for guard in &experiment.abort {
        if let Guard::Check(check) = guard {
            note(check.value.to_string(), check.span);
        }
    }
    for (name, _) in &experiment.phases.0 {
        note(format!("phase/{}", name.value), name.span);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Input, parse};

    #[test]
    fn things_are_found_on_their_lines() {
        let text = "experiment: x\nload:\n  shop: { rate: 5/s, requests: [{ get: http://127.0.0.1/ }] }\nslos:\n  \
                    fast: { load: shop, good: latency < 1s, objective: 99% }\nphases:\n  calm: { for: 9s }\nexpect:\n  \
                    calm:\n    - p99(latency) < 1s\n    - slo(fast)\nabort:\n  - rate(good) < 80% over 3s\n";
        let input = Input { text: text.into(), ..Default::default() };
        let experiment = parse(&input).expect("it is well-formed");
        let found: Vec<_> = lines(&experiment, text).into_iter().collect();
        let expected = [
            ("expect/calm/p99(latency) < 1s", 10),
            ("expect/calm/slo(fast)", 11),
            ("phase/calm", 7),
            ("rate(good) < 80% over 3s", 13),
            ("slo(fast)", 5),
        ];
        assert_eq!(found, expected.map(|(key, line)| (key.to_owned(), line)));
    }
}
