//! A second look at an experiment that is well-formed: will it say what its author wants to know? Pure.
//!
//! `chaos validate` refuses what can't be run or judged; what stands here runs, and is likely to disappoint. A rule
//! is one function and one line in [`RULES`], and none speaks unless the file alone shows it: what depends on the
//! containers there are is the plan's to say. Start at [`lint`].

mod promise;
mod proof;
mod reach;
mod recovery;

use crate::error::{Problem, Span};
use crate::spec::Experiment;

/// A rule.
pub struct Rule {
    /// Its name, as findings have it.
    pub name: &'static str,
    /// What it looks for, in a few words.
    pub about: &'static str,
    find: fn(&Experiment, &mut Findings),
}

/// Every rule.
pub const RULES: [Rule; 7] = [
    Rule {
        name: "recovery",
        about: "faults after which nothing is looked at, or nothing waits for the steady state",
        find: recovery::look,
    },
    Rule {
        name: "whole-service",
        about: "faults that hit every container of a service at once",
        find: reach::whole_service,
    },
    Rule {
        name: "out-of-reach",
        about: "phases judged only by what their faults can't change",
        find: reach::out_of_reach,
    },
    Rule {
        name: "short-phase",
        about: "phases hardly longer than the windows they are judged on",
        find: proof::short_phases,
    },
    Rule { name: "too-few", about: "too few requests to prove an objective", find: proof::too_few },
    Rule {
        name: "ceiling",
        about: "objectives above what the things they need allow",
        find: promise::ceilings,
    },
    Rule { name: "redundant", about: "SLOs that contradict or imply each other", find: promise::pairs },
];

/// What a rule says of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// Where, what, and what to do about it.
    pub problem: Problem,
}

/// What a rule has found so far.
struct Findings {
    rule: &'static str,
    list: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        let problem = Problem { span, message: message.into(), hint: Some(hint.into()) };
        self.list.push(Finding { rule: self.rule, problem });
    }
}

/// Everything that the rules find, sorted by place. May be empty.
pub fn lint(experiment: &Experiment) -> Vec<Finding> {
    let mut found = Findings { rule: "", list: Vec::new() };
    for rule in &RULES {
        found.rule = rule.name;
        (rule.find)(experiment, &mut found);
    }
    found.list.sort_by_key(|finding| (finding.problem.span.start, finding.problem.span.end));
    found.list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Input, parse};

    /// An experiment about which there is nothing to say, with some of its text replaced.
    fn found(changes: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let mut text = "
experiment: reads survive a slow replica
targets: { one: { service: api, pick: 1 } }
load:
  readers: { rate: 500/s, requests: [{ get: http://127.0.0.1:1/ }] }
slos:
  available: { load: readers, good: status < 500, objective: 99.9% }
steady_state: [rate(good) >= 99% over 5s]
phases:
  before: { for: 20s }
  slow: { for: 20s, faults: [{ latency: { on: one, delay: 50ms } }] }
  after: { at_most: 20s, until: steady }
"
        .to_owned();
        for (old, new) in changes {
            assert!(text.contains(old), "{old} is not there");
            text = text.replace(old, new);
        }
        let experiment = parse(&Input { file: "a.yaml".into(), text, ..Input::default() });
        let experiment = experiment.unwrap_or_else(|problems| panic!("{problems}"));
        let findings = lint(&experiment).into_iter();
        findings.map(|finding| (finding.rule, finding.problem.message)).collect()
    }

    #[test]
    fn a_good_experiment_is_left_alone() {
        assert_eq!(found(&[]), []);
    }

    #[test]
    fn each_rule_says_what_it_found() {
        let after = "  after: { at_most: 20s, until: steady }\n";
        let second = |good: &str, objective: &str| {
            let old = "objective: 99.9% }";
            (old, format!("{old}\n  other: {{ load: readers, good: {good}, objective: {objective} }}"))
        };
        let (old, implied) = second("status <= 599", "99%");
        let (_, disjoint) = second("status >= 500", "20%");
        let cases: [(&str, &[(&str, &str)]); 13] = [
            ("nothing after", &[(after, "")]),
            ("nothing waits", &[("at_most: 20s, until: steady", "for: 20s")]),
            ("all of a service", &[(", pick: 1", "")]),
            ("all of it by share", &[("pick: 1", "pick: 100%")]),
            ("one window", &[("over 5s", "over 15s")]),
            (
                "one sample",
                &[(
                    old,
                    "objective: 99.9% }\n  well: { containers: { on: one, every: 15s }, objective: 90% }",
                )],
            ),
            ("few requests", &[("500/s", "20/s")]),
            ("few for four nines", &[("99.9%", "99.999%")]),
            ("a chain", &[("objective: 99.9%", "objective: 99.9%, needs: { a: 99.9%, b: 99.9%, c: 99.9% }")]),
            ("implied", &[(old, &implied)]),
            ("disjoint", &[(old, &disjoint)]),
            (
                "the generator's own figures",
                &[(
                    after,
                    "  after: { at_most: 20s, until: steady }\nexpect: { slow: [p99(send_lag) < 1ms] }\n",
                )],
            ),
            ("a chain that holds", &[("objective: 99.9%", "objective: 99.9%, needs: { a: 99.99% }")]),
        ];
        let told: Vec<String> = cases
            .iter()
            .map(|(name, changes)| {
                let found =
                    found(changes).into_iter().map(|(rule, message)| format!("  {rule}: {message}\n"));
                format!("{name}\n{}", found.collect::<String>())
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
