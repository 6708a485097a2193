//! Judging: a plan, a made-up journal, and the verdict it must come to.

use chaos::agent::wire::{Counters, Engine};
use chaos::compare::{self, Change, Comparison, Row};
use chaos::error::Exit;
use chaos::event::{Entry, Event, Evidence, Generator, Measured, SCHEMA, Started, SteadyWhy};
use chaos::load::record::{Hist, Outcome, Stats};
use chaos::plan::Plan;
use chaos::plan::inventory::{Container, Inventory};
use chaos::verdict::{Judgement, SloMethod, Verdict, judge};

const EXPERIMENT: &str = "
experiment: reads survive a slow replica
targets:
  one: { service: api, pick: 1 }
load:
  shoppers:
    rate: 100/s
    requests: [{ get: http://127.0.0.1:8080/ }]
slos:
  fast: { load: shoppers, good: latency < 100ms, objective: 90% }
steady_state:
  - rate(good) >= 99% over 5s
phases:
  baseline: { for: 10s }
  slow:
    for: 10s
    faults: [{ latency: { on: one, delay: 50ms } }]
  after: { at_most: 10s, until: steady }
abort: [rate(good) < 50% over 3s]
expect:
  slow: [p99(latency) < 80ms, rate(good) >= 99% over 5s]
  after: [time_to_steady < 3s]
";

/// The same with SLOs by requests and by time, and every kind of figure.
const FIGURES: &str = "
experiment: reads survive a slow replica
targets:
  one: { service: api, pick: 1 }
load:
  shoppers:
    rate: 100/s
    requests: [{ get: http://127.0.0.1:8080/ }, { name: login, get: http://127.0.0.1:8080/login }]
slos:
  all: { load: shoppers, good: status < 500, objective: 99% }
  slices: { load: shoppers, good: status < 500, objective: 50%, slices: { of: 5s, at_least: 95% } }
steady_state:
  - rate(good) >= 99% over 5s
phases:
  baseline: { for: 10s }
  slow:
    for: 10s
    faults: [{ latency: { on: one, delay: 50ms } }]
  after: { at_most: 10s, until: steady }
abort: [rate(good) < 50% over 3s]
expect:
  slow:
    - p99(latency) < 7 * p99(latency, baseline)
    - rate(good, baseline) - rate(good) < 9.5%
    - p50(latency, request=login) / p50(latency, GET /) <= 2.01
    - throughput(good) > 80% * throughput(good, baseline) over 5s
    - time_to_breach > 1s
    - time_to_abort < 3s
    - time_to_heal < 200ms
    - time_in_violation(all) < 10s
    - harmed < 91
    - harmed(all) < 91
    - budget_spent_by_events(all) < 1%
    - budget_spent_by_time(all) < 1%
    - slo(slices)
  after: [time_to_steady < 3s]
  run: [count(scheduled) > 100, time_in_violation < 12s]
thresholds:
  http_req_duration: ['p(95)<100']
";

fn plan(text: &str) -> Plan {
    let input = chaos::spec::Input { file: "test.yaml".into(), text: text.into(), ..Default::default() };
    let experiment = chaos::spec::parse(&input).unwrap_or_else(|problems| panic!("{problems}"));
    let container =
        |name: &str| Container { name: name.into(), service: Some("api".into()), ..Container::default() };
    let inventory = Inventory { containers: vec![container("api-1"), container("api-2")], kernel: None };
    chaos::plan::build(&experiment, &inventory).expect("the test's experiment can be planned")
}

/// A run as the journal has it; fields are what tests vary.
struct Story {
    text: &'static str,
    slow_ms: u64,
    slow_bad: u64,
    evidence: Option<u64>,
    undone: bool,
    load: bool,
    finished: bool,
    until_since_s: Option<f64>,
    generator: Generator,
    extra: Vec<(f64, Event)>,
}

impl Default for Story {
    fn default() -> Self {
        Self {
            text: EXPERIMENT,
            slow_ms: 60,
            slow_bad: 0,
            evidence: Some(40),
            undone: true,
            load: true,
            finished: true,
            until_since_s: Some(21.5),
            generator: Generator::default(),
            extra: Vec::new(),
        }
    }
}

fn ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

fn measured(check: &str, holds: Option<bool>) -> Measured {
    Measured { check: check.into(), value: Some("1".into()), threshold: "2".into(), holds }
}

fn steady(why: SteadyWhy, holds: bool, since_s: f64) -> Event {
    let checks = vec![measured("rate(good) >= 99% over 5s", Some(holds))];
    Event::Steady { why, holds: Some(holds), since_ns: ns(since_s), checks }
}

/// The start of a run of `plan`.
pub fn started(plan: &Plan) -> Started {
    Started {
        schema: SCHEMA.into(),
        run: "r".into(),
        version: "0".into(),
        wall: "2026-01-01T00:00:00Z".into(),
        file: "test.yaml".into(),
        command: String::new(),
        plan: plan.clone(),
        lines: Default::default(),
        environment: Default::default(),
    }
}

impl Story {
    fn entries(&self, plan: &Plan) -> Vec<Entry> {
        let started = started(plan);
        let phase = |name: Option<&str>, at_s: f64| {
            (at_s, Event::Phase { name: name.map(Into::into), at_ns: ns(at_s) })
        };
        let mut events = vec![
            (0.0, Event::Started(Box::new(started))),
            (0.1, Event::Armed { step: 0, engine: Engine::Nfqueue, kernel: None }),
            phase(Some("baseline"), 0.2),
            (10.1, steady(SteadyWhy::Baseline, true, 0.2)),
            (10.2, Event::Applied { step: 0, asked_ns: ns(10.19), at_ns: ns(10.2) }),
            phase(Some("slow"), 10.2),
        ];
        if self.load {
            for second in 0..22 {
                let slow = (11..20).contains(&second);
                let mut stats = Stats::default();
                stats.boxes.bad = if slow { self.slow_bad } else { 0 };
                stats.boxes.good = 100 - stats.boxes.bad;
                let ms = if slow { self.slow_ms } else { 10 };
                stats.latency.record_n(ms * 1_000_000, 100);
                stats.slo_good.insert("fast".into(), if ms < 100 { 100 } else { 0 });
                stats.slo_good.insert("all".into(), stats.boxes.good);
                stats.slo_good.insert("slices".into(), stats.boxes.good);
                for (name, ms) in [("GET /", ms), ("login", 2 * ms)] {
                    let mut hist = Hist::default();
                    hist.record_n(ms * 1_000_000, 50);
                    stats.parts.entry(name.into()).or_default().insert(Outcome::Good, Some(hist));
                }
                let (from_ns, to_ns) = (ns(f64::from(second)), ns(f64::from(second + 1)));
                events.push((
                    21.9,
                    Event::Load { load: "shoppers".into(), from_ns, to_ns, stats: stats.into() },
                ));
            }
        }
        if let Some(packets) = self.evidence {
            let counters = Counters { delayed_packets: Some(packets), ..Counters::default() };
            events.push((20.0, Event::Evidence { step: 0, evidence: Evidence::Packets(counters) }));
        }
        if self.undone {
            events
                .push((20.3, Event::Undone { step: 0, asked_ns: ns(20.2), at_ns: ns(20.3), verified: true }));
        }
        events.push(phase(Some("after"), 20.3));
        if let Some(since_s) = self.until_since_s {
            events.push((since_s + 0.1, steady(SteadyWhy::Until, true, since_s)));
        }
        events.extend(self.extra.iter().cloned());
        events.push(phase(None, 24.0));
        events.push((24.1, Event::Generator(self.generator.clone())));
        if self.finished {
            events.push((24.2, Event::Finished));
        }
        events.into_iter().map(|(at_s, event)| Entry { t_ns: ns(at_s), event }).collect()
    }

    fn judged(&self) -> Judgement {
        let plan = plan(self.text);
        judge(&plan, &self.entries(&plan))
    }
}

fn check(what: &str, story: &Story, verdict: Verdict, exit: Exit, first_reason: &str) {
    let judged = story.judged();
    let reasons: Vec<_> = judged.reasons.iter().map(|reason| reason.check.as_str()).collect();
    assert_eq!((judged.verdict, judged.exit_code), (verdict, exit.code()), "{what}: {reasons:?}");
    let first = reasons.first().copied().unwrap_or_default();
    assert!(first.contains(first_reason), "{what}: {reasons:?}");
    assert_eq!(reasons.is_empty(), verdict == Verdict::Held, "{what}: {reasons:?}");
}

#[test]
fn each_verdict_is_reached_by_what_calls_for_it() {
    check("all well", &Story::default(), Verdict::Held, Exit::Held, "");
    let story = Story { slow_ms: 90, ..Story::default() };
    check("too slow", &story, Verdict::Failed, Exit::Failed, "p99(latency) < 80ms");
    let story = Story { slow_bad: 2, ..Story::default() };
    check("bad in every window", &story, Verdict::Failed, Exit::Failed, "rate(good) >= 99% over 5s");
    let story = Story { slow_ms: 200, ..Story::default() };
    check("an SLO over the whole run", &story, Verdict::Failed, Exit::Failed, "slo(fast)");
    let story = Story { until_since_s: None, ..Story::default() };
    check("never steady again", &story, Verdict::Failed, Exit::Failed, "time_to_steady < 3s");
    let story = Story { until_since_s: Some(23.5), ..Story::default() };
    check("steady too late", &story, Verdict::Failed, Exit::Failed, "time_to_steady < 3s");
    let story = Story { evidence: Some(0), ..Story::default() };
    check("nothing delayed", &story, Verdict::Invalid, Exit::Invalid, "slow/latency is not proven");
    let story = Story { load: false, ..Story::default() };
    check("no data", &story, Verdict::Invalid, Exit::Invalid, "slo(fast)");
    let story = Story { finished: false, ..Story::default() };
    check("cut short", &story, Verdict::Invalid, Exit::Invalid, "the journal ends before the run did");
    let story = Story { undone: false, ..Story::default() };
    check("never taken back", &story, Verdict::Unhealed, Exit::Unhealed, "was never taken back");
}

#[test]
fn what_happened_to_the_run_itself_counts() {
    let with = |at_s: f64, event: Event| Story { extra: vec![(at_s, event)], ..Story::default() };
    let guard = measured("rate(good) < 50% over 3s", Some(true));
    check(
        "guard",
        &with(15.0, Event::Guard { check: guard }),
        Verdict::Aborted,
        Exit::Aborted,
        "guard: rate(good)",
    );
    let by = Event::Interrupted { by: "SIGINT".into() };
    check("ctrl-c", &with(15.0, by), Verdict::Aborted, Exit::Aborted, "stopped by the user");
    let generator = Generator { saturated: true, why: "late".into(), ..Generator::default() };
    let story = Story { generator, ..Story::default() };
    check("saturated", &story, Verdict::Invalid, Exit::Invalid, "generator was saturated");
    let lost = Event::Lost { step: 0, why: "its agent is gone".into() };
    check("lost", &with(15.0, lost), Verdict::Invalid, Exit::Invalid, "ended by itself");
    let broke = Event::Broke { why: "Docker is gone".into(), exit: Exit::Environment };
    check("broke", &with(15.0, broke), Verdict::Invalid, Exit::Environment, "Docker is gone");
    let unmet = steady(SteadyWhy::Baseline, false, 0.2);
    check(
        "baseline",
        &with(10.1, unmet),
        Verdict::BaselineUnmet,
        Exit::BaselineUnmet,
        "baseline: rate(good)",
    );
    let ended = steady(SteadyWhy::End, false, 23.0);
    check(
        "not steady at the end",
        &with(23.0, ended),
        Verdict::Failed,
        Exit::Failed,
        "at the end: rate(good)",
    );
    let unhealed = Event::Unhealed { step: 0, why: "no".into(), command: "chaos recover r".into() };
    let story = with(20.5, unhealed);
    check("unhealed", &story, Verdict::Unhealed, Exit::Unhealed, "heal it with `chaos recover r`");
}

#[test]
fn a_figure_that_became_worse_since_the_baseline_fails_the_run() {
    let row = |change: f64, verdict| Row {
        phase: "slow".into(),
        load: "shoppers".into(),
        metric: compare::Metric::P99,
        base: 0.05,
        new: 0.05 * (1.0 + change),
        change,
        low: change - 0.01,
        high: change + 0.01,
        superiority: 0.9,
        p: 0.001,
        verdict,
    };
    let against = |rows: Vec<Row>| {
        let comparison = Comparison {
            schema: compare::SCHEMA.into(),
            base: Vec::new(),
            new: Vec::new(),
            tolerance: 0.05,
            confidence: 0.95,
            regressed: rows.iter().any(|row| row.verdict == Change::Worse),
            rows,
            timings: Vec::new(),
            notes: vec!["`shoppers` in phase `slow`: it is too short to tell".into()],
            sentence: String::new(),
        };
        Story { extra: vec![(24.0, Event::Compared(Box::new(comparison)))], ..Story::default() }
    };
    check("same", &against(vec![row(0.01, Change::Same)]), Verdict::Held, Exit::Held, "");
    let worse = against(vec![row(0.01, Change::Same), row(0.3, Change::Worse)]);
    check("worse", &worse, Verdict::Failed, Exit::Failed, "p99 latency of shoppers against the baseline");
    check("nothing in common", &against(Vec::new()), Verdict::Invalid, Exit::Invalid, "in common to compare");
}

#[test]
fn the_most_severe_reason_decides() {
    let story = Story {
        slow_ms: 90,
        evidence: Some(0),
        extra: vec![(15.0, Event::Interrupted { by: "SIGINT".into() })],
        ..Story::default()
    };
    let judged = story.judged();
    assert_eq!(judged.verdict, Verdict::Aborted);
    let kinds: Vec<_> = judged.reasons.iter().map(|reason| reason.check.as_str()).collect();
    assert!(kinds.iter().any(|check| check.contains("not proven")), "{kinds:?}");
    assert!(kinds.iter().any(|check| check.contains("p99(latency)")), "{kinds:?}");
}

#[test]
fn figures_are_those_of_the_measured_instants() {
    let judged = Story::default().judged();
    let phases: Vec<_> =
        judged.phases.iter().map(|phase| (phase.name.as_str(), phase.from_s, phase.to_s)).collect();
    assert_eq!(phases, [("baseline", 0.2, 10.2), ("slow", 10.2, 20.3), ("after", 20.3, 24.0)]);
    let slow = &judged.phases[1].load["shoppers"];
    assert_eq!((slow.scheduled, slow.good), (1000, 1000));
    assert_eq!(judged.timings.time_to_steady_s.map(|s| (s * 10.0).round()), Some(12.0));
    assert_eq!(judged.timings.time_to_detect_s, None);
    let slo = &judged.slos[0];
    assert_eq!(slo.good_ratio, Some(1.0));
    assert_eq!(slo.budget_spent_ratio, Some(0.0));
}

#[test]
fn every_kind_of_figure_is_measured_by_its_definition() {
    let guard = measured("rate(good) < 50% over 3s", Some(true));
    let story = Story {
        text: FIGURES,
        slow_bad: 10,
        extra: vec![(12.7, Event::Guard { check: guard })],
        ..Story::default()
    };
    let judged = story.judged();
    let told: Vec<_> = judged
        .checks
        .iter()
        .filter(|check| check.phase.as_deref() != Some("baseline"))
        .map(|check| {
            (check.check.as_str(), check.value.as_deref().unwrap_or("no data"), check.threshold.as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("slo(all)", "95.91%", ">= 99%"),
            // The slices of 5 s from 0.2 s on: three of those five were good.
            ("slo(slices)", "60%", ">= 50%"),
            ("p99(latency) < 7 * p99(latency, baseline)", "60ms", "< 70ms"),
            ("rate(good, baseline) - rate(good) < 9.5%", "9%", "< 9.5%"),
            ("p50(latency, request=login) / p50(latency, GET /) <= 2.01", "2", "<= 2.01"),
            ("throughput(good) > 80% * throughput(good, baseline) over 5s", "90/s", "> 80/s"),
            ("time_to_breach > 1s", "2000ms", "> 1000ms"),
            ("time_to_abort < 3s", "2500ms", "< 3000ms"),
            ("time_to_heal < 200ms", "100ms", "< 200ms"),
            ("time_in_violation(all) < 10s", "9000ms", "< 10s"),
            ("harmed < 91", "90", "< 91"),
            ("harmed(all) < 91", "90", "< 91"),
            ("budget_spent_by_events(all) < 1%", "0.0035%", "< 1%"),
            ("budget_spent_by_time(all) < 1%", "0.03%", "< 1%"),
            ("slo(slices)", "0%", ">= 50%"),
            ("time_to_steady < 3s", "1200ms", "< 3000ms"),
            ("count(scheduled) > 100", "2200", "> 100"),
            ("time_in_violation < 12s", "10s", "< 12s"),
            ("p95(latency) < 100ms", "60ms", "< 100ms"),
        ]
    );
    let timings = judged.timings;
    assert_eq!(timings.time_to_breach_s, Some(2.0));
    assert_eq!(timings.time_to_abort_s, Some(2.5));
    assert_eq!(judged.harm.requests_harmed, Some(90));
    assert_eq!(judged.slos[1].method, SloMethod::TimeSlices);
}

#[test]
fn a_reason_brings_what_it_rests_on() {
    let judged = Story { slow_ms: 90, ..Story::default() }.judged();
    let reason = &judged.reasons[0];
    assert_eq!((reason.check.as_str(), reason.phase.as_deref()), ("p99(latency) < 80ms", Some("slow")));
    let [exhibit] = reason.evidence.as_slice() else { panic!("one figure: {reason:?}") };
    assert_eq!(exhibit.value.as_deref(), Some("90ms"));
    assert_eq!((exhibit.low.as_deref(), exhibit.high.as_deref()), (Some("90ms"), Some("90ms")));
    assert_eq!((exhibit.n, exhibit.entries), (Some(1000), Some(10)));
    assert_eq!((exhibit.from_s, exhibit.to_s), (Some(10.2), Some(20.3)));
    assert_eq!(exhibit.source, "the latency histogram of all loads");

    // Of a window that slides, what the first one that failed saw.
    let judged = Story { slow_bad: 2, ..Story::default() }.judged();
    let [exhibit] = judged.reasons[0].evidence.as_slice() else { panic!("one figure") };
    assert_eq!((exhibit.n, exhibit.entries), (Some(500), Some(5)));
    assert_eq!(exhibit.to_s.zip(exhibit.from_s).map(|(to, from)| to - from), Some(5.0));
    assert!(exhibit.low < exhibit.value && exhibit.value < exhibit.high, "{exhibit:?}");

    let guard = measured("rate(good) < 50% over 3s", Some(true));
    let judged = Story { extra: vec![(15.0, Event::Guard { check: guard })], ..Story::default() }.judged();
    assert_eq!(judged.reasons[0].evidence[0].source, "the journal's `guard`");
    assert!(judged.checks.iter().all(|check| !check.evidence.is_empty()), "{:?}", judged.checks);
    assert!(judged.slos[0].good_ratio_confidence.is_some_and(|interval| interval.low < 1.0));
}

#[test]
fn judging_twice_gives_the_same_to_the_byte() {
    let story = Story::default();
    let plan = plan(story.text);
    let mut entries = story.entries(&plan);
    let once = serde_json::to_string(&judge(&plan, &entries)).unwrap();
    entries.push(Entry { t_ns: ns(99.0), event: Event::Verdict { verdict: "held".into(), exit_code: 0 } });
    assert_eq!(once, serde_json::to_string(&judge(&plan, &entries)).unwrap());
}
