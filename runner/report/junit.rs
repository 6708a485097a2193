//! junit.xml: the run as test results, which every CI service shows.
//!
//! A phase is a suite and a check is a case; what belongs to no phase is in the suite `run`. A check that did not
//! hold is a *failure*: the system's doing. What could not be told is an *error*, as of a test that crashed: no data,
//! a fault that is not proven, a run that was stopped; and so is whatever speaks against a run that came to something
//! worse than `failed`. Nothing is ever skipped, since services count that as well.
//!
//! The shape is that of Jenkins' `junit-10.xsd`, which Surefire, GitLab and GitHub's readers accept.

use std::collections::BTreeMap;

use super::finding::{Finding, Tally, findings};
use super::outturns::outturns;
use super::text::{PROSE_MAX_CHARS, clean};
use super::{Case, Ink, exhibits, text, wall};

/// The suite of what belongs to no phase.
const RUN: &str = "run";

/// The results as XML.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let judgement = case.judgement;
    let mut by_phase: BTreeMap<Option<&str>, Vec<Finding<'_>>> = BTreeMap::new();
    for finding in findings(judgement) {
        by_phase.entry(finding.phase).or_default().push(finding);
    }
    let mut suites = vec![Suite {
        name: RUN,
        from_s: 0.0,
        to_s: judgement.duration_s,
        cases: by_phase.remove(&None).unwrap_or_default(),
    }];
    for phase in &judgement.phases {
        let cases = by_phase.remove(&Some(phase.name.as_str())).unwrap_or_default();
        suites.push(Suite { name: &phase.name, from_s: phase.from_s, to_s: phase.to_s, cases });
    }
    // A phase that is named in a reason and did not take place.
    for (phase, cases) in by_phase {
        suites.push(Suite { name: phase.unwrap_or(RUN), from_s: 0.0, to_s: 0.0, cases });
    }
    let mut xml = Xml::default();
    xml.raw("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites");
    xml.attr("name", &judgement.experiment).counts(suites.iter().flat_map(|suite| &suite.cases));
    xml.seconds("time", judgement.duration_s).raw(">\n");
    for (id, suite) in suites.iter().enumerate() {
        suite.write(id, case, &mut xml);
    }
    xml.raw("</testsuites>\n");
    xml.out
}

struct Suite<'j> {
    name: &'j str,
    from_s: f64,
    to_s: f64,
    cases: Vec<Finding<'j>>,
}

impl Suite<'_> {
    fn write(&self, id: usize, case: &Case<'_>, xml: &mut Xml) {
        let judgement = case.judgement;
        xml.raw("  <testsuite").attr("name", self.name).counts(&self.cases).attr("skipped", "0");
        xml.attr("id", &id.to_string()).seconds("time", self.to_s - self.from_s);
        if let Some(began) = wall::at_s(case, self.from_s) {
            xml.attr("timestamp", &began);
        }
        xml.attr("package", &judgement.experiment).raw(">\n");
        if self.name == RUN {
            properties(case, xml);
        }
        for finding in &self.cases {
            xml.raw("    <testcase").attr("name", finding.check).attr("classname", self.name);
            // Services add the times of cases up: a phase's own is its suite's.
            xml.seconds("time", 0.0);
            problem(finding, xml);
        }
        if self.name == RUN {
            xml.raw("    <system-out>").text(&judgement.sentence);
            if let Some(why) = case.cut_short {
                xml.text(" The journal was cut short: ").text(why).text(".");
            }
            xml.raw("</system-out>\n");
        }
        xml.raw("  </testsuite>\n");
    }
}

fn properties(case: &Case<'_>, xml: &mut Xml) {
    let judgement = case.judgement;
    let exit = judgement.exit_code.to_string();
    let told = [
        ("verdict", judgement.verdict.word()),
        ("exit_code", &exit),
        ("run", &judgement.run),
        ("file", &case.started.file),
        ("command", &case.started.command),
        ("version", &case.started.version),
    ];
    xml.raw("    <properties>\n");
    let mut property = |name: &str, value: &str| {
        xml.raw("      <property").attr("name", name).attr("value", value).raw("/>\n");
    };
    told.into_iter().for_each(|(name, value)| property(name, value));
    for outturn in outturns(judgement) {
        let of = outturn.of.map_or_else(String::new, |slo| format!("({slo})"));
        if let Some(value) = outturn.shown() {
            property(&format!("{}{of}", outturn.name), &value);
        }
    }
    xml.raw("    </properties>\n");
}

/// The rest of a case: nothing of what held.
fn problem(finding: &Finding<'_>, xml: &mut Xml) {
    let (open, close) = match finding.tally {
        Tally::Pass => {
            xml.raw("/>\n");
            return;
        }
        Tally::Failure => ("<failure", "</failure>"),
        Tally::Error => ("<error", "</error>"),
    };
    let at = finding.at_s.map(|at_s| format!(" (at {})", text::s(at_s))).unwrap_or_default();
    xml.raw(">\n      ").raw(open).attr("message", &finding.outcome()).attr("type", finding.word).raw(">");
    xml.text(&format!("{}{at}", finding.sentence()));
    for exhibit in finding.evidence {
        xml.raw("\nEvidence: ").text(&exhibits::sentence(exhibit));
    }
    xml.raw(close).raw("\n    </testcase>\n");
}

/// XML under construction: markup is ours, everything else is escaped.
#[derive(Default)]
struct Xml {
    out: String,
}

impl Xml {
    fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.out.push_str(markup);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        for character in clean(text, PROSE_MAX_CHARS).chars() {
            match character {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                // No characters of XML 1.0, not even as references; control characters went before.
                '\u{fffe}' | '\u{ffff}' => self.out.push(char::REPLACEMENT_CHARACTER),
                plain => self.out.push(plain),
            }
        }
        self
    }

    fn attr(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.raw(" ").raw(name).raw("=\"").text(value).raw("\"")
    }

    fn seconds(&mut self, name: &'static str, seconds: f64) -> &mut Self {
        self.attr(name, &format!("{:.3}", seconds.max(0.0)))
    }

    fn counts<'f, 'j: 'f>(&mut self, cases: impl IntoIterator<Item = &'f Finding<'j>>) -> &mut Self {
        let (mut tests, mut failures, mut errors) = (0u64, 0u64, 0u64);
        for finding in cases {
            tests += 1;
            failures += u64::from(finding.tally == Tally::Failure);
            errors += u64::from(finding.tally == Tally::Error);
        }
        self.attr("tests", &tests.to_string()).attr("failures", &failures.to_string());
        self.attr("errors", &errors.to_string())
    }
}
