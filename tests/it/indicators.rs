//! SLOs that are measured beside the load: judged by what a journal has of them, and in whole runs by what a real
//! Prometheus and real containers say.

use std::sync::atomic::{AtomicU64, Ordering};

use chaos::event::{Entry, Event};
use chaos::plan::inventory::{Container, Inventory};
use chaos::slo::Tally;
use chaos::verdict::{Judgement, SloMethod, judge};
use serde_json::Value;

use super::probe_servers::{exporter, prometheus, prometheus_fields};
use super::run::{Place, text};
use super::shell::Shell;

/// From when to when, in seconds, so much good of so much, or nobody knows.
type Sample = (f64, f64, Option<(f64, f64)>);

const EVENTS: &str =
    "prometheus: { url: 'http://127.0.0.1:1', good: good_total, total: all_total, every: 5s }";
const FIGURE: &str = "prometheus: { url: 'http://127.0.0.1:1', query: queue, value: < 9, every: 5s }";
const CONTAINERS: &str = "containers: { on: api, every: 1s }";

/// A run of two phases, 0 to 60 s and 60 to 120 s, in which the SLO `it` was sampled like this.
fn judged(slo: &str, expect: &str, samples: &[Sample]) -> Judgement {
    let text = format!(
        "experiment: x\ntargets: {{ api: {{ service: api }} }}\nslos: {{ it: {{ {slo} }} }}\n\
         phases: {{ first: {{ for: 60s }}, second: {{ for: 60s }} }}\nexpect: {{ {expect} }}"
    );
    let input = chaos::spec::Input { file: "test.yaml".into(), text, ..Default::default() };
    let experiment = chaos::spec::parse(&input).unwrap_or_else(|problems| panic!("{problems}"));
    let container = Container { name: "api-1".into(), service: Some("api".into()), ..Container::default() };
    let inventory = Inventory { containers: vec![container], kernel: None };
    let plan = chaos::plan::build(&experiment, &inventory).expect("the test's experiment can be planned");
    let ns = |seconds: f64| (seconds * 1e9) as u64;
    let phase =
        |name: Option<&str>, at_s| (at_s, Event::Phase { name: name.map(Into::into), at_ns: ns(at_s) });
    let mut events = vec![
        (0.0, Event::Started(Box::new(super::verdict::started(&plan)))),
        phase(Some("first"), 0.0),
        phase(Some("second"), 60.0),
        phase(None, 120.0),
        (125.0, Event::Finished),
    ];
    events.extend(samples.iter().map(|(from_s, to_s, counted)| {
        let indicator = Event::Indicator {
            slo: "it".into(),
            from_ns: ns(*from_s),
            to_ns: ns(*to_s),
            tally: counted.map(|(good, total)| Tally { good, total }),
            detail: "what came back".into(),
            late: false,
        };
        (*to_s, indicator)
    }));
    let entries: Vec<_> = events.into_iter().map(|(at_s, event)| Entry { t_ns: ns(at_s), event }).collect();
    judge(&plan, &entries)
}

/// Samples of equal length all through the run.
fn all_along(every_s: u32, counted: impl Fn(u32) -> Option<(f64, f64)>) -> Vec<Sample> {
    let sample = |index| (f64::from(index * every_s), f64::from((index + 1) * every_s), counted(index));
    (0..120 / every_s).map(sample).collect()
}

fn close(found: Option<f64>, expected: f64) {
    let found = found.expect("a figure");
    assert!((found - expected).abs() < 1e-9 * expected.abs().max(1e-3), "{found}, expected {expected}");
}

const MONTH_S: f64 = 30.0 * 86_400.0;

#[test]
fn events_of_prometheus_go_through_the_same_arithmetic() {
    // 5,000 events a second, 50 of them bad in one stretch of five seconds.
    let samples = all_along(5, |index| Some((if index == 3 { 24_950.0 } else { 25_000.0 }, 25_000.0)));
    let judged = judged(&format!("{EVENTS}, objective: 99.9%"), "first: [slo(it)]", &samples);
    assert_eq!(judged.exit_code, 0, "{:#?}", judged.reasons);
    let slo = &judged.slos[0];
    assert_eq!((slo.method, slo.unknown_s), (SloMethod::Events, 0.0));
    close(slo.good_ratio, 599_950.0 / 600_000.0);
    let burn = 50.0 / 600_000.0 / 0.001;
    close(slo.burn_rate, burn);
    close(slo.budget_spent_ratio, burn * 120.0 / MONTH_S);
    // 49,950 of 50,000 of a second are fewer than 99.9%: the stretch was broken, all of it.
    close(slo.violation_s, 5.0);
    close(slo.budget_spent_by_time_ratio, 5.0 * 1_000.0 / MONTH_S);
    assert!(slo.good_ratio_confidence.is_some(), "{slo:?}");
    assert_eq!(slo.measures, "prometheus http://127.0.0.1:1: good_total of all_total");
}

#[test]
fn a_total_outage_is_told_by_the_alert_when_the_arithmetic_has_it() {
    // Burn 14.4 over 1h at 99.9% is reached after 51.84 s: with the sample after it.
    let slo = format!("{EVENTS}, objective: 99.9%, alerts: [{{ burn: 14.4, over: 1h, and: 5m }}]");
    let judged = judged(&slo, "", &all_along(5, |_| Some((0.0, 500.0))));
    let fired: Vec<f64> = judged.slos[0].alerts[0].fired.iter().map(|fired| fired.from_s).collect();
    assert_eq!(fired, [55.0]);
}

#[test]
fn figures_and_containers_count_time() {
    // Of 24 looks at the figure, three are not as wanted; the last is taken as the second phase begins.
    let bad = |index: u32| if [5, 6, 11].contains(&index) { 0.0 } else { 5.0 };
    let figure = judged(
        &format!("{FIGURE}, objective: 80%, window: week"),
        "first: [slo(it)], second: [slo(it)]",
        &all_along(5, |index| Some((bad(index), 5.0))),
    );
    assert_eq!(figure.exit_code, 1, "{:#?}", figure.reasons);
    let by_phase: Vec<_> =
        figure.checks.iter().map(|check| (check.phase.as_deref(), check.value.as_deref())).collect();
    let expected = [(None, Some("87.5%")), (Some("first"), Some("75%")), (Some("second"), Some("100%"))];
    assert_eq!(by_phase, expected);
    let slo = &figure.slos[0];
    assert_eq!(slo.method, SloMethod::TimeSlices);
    close(slo.good_ratio, 21.0 / 24.0);
    close(slo.violation_s, 15.0);
    close(slo.budget_spent_by_time_ratio, 15.0 * 5.0 / (7.0 * 86_400.0));

    // Two containers, one of them ill from 10 s to 40 s.
    let ill = all_along(1, |index| Some((if (10..40).contains(&index) { 1.0 } else { 2.0 }, 2.0)));
    let containers = judged(&format!("{CONTAINERS}, objective: 99%"), "second: [slo(it)]", &ill);
    assert_eq!(containers.exit_code, 1, "{:#?}", containers.reasons);
    let slo = &containers.slos[0];
    assert_eq!((slo.method, slo.good_ratio_confidence), (SloMethod::ContainerSeconds, None));
    close(slo.good_ratio, 210.0 / 240.0);
    close(slo.burn_rate, 0.125 / 0.01);
    close(slo.violation_s, 30.0);
    // The same by slices of ten seconds, of which three are half bad.
    let sliced =
        judged(&format!("{CONTAINERS}, objective: 70%, slices: {{ of: 10s, at_least: 60% }}"), "", &ill);
    close(sliced.slos[0].good_ratio, 9.0 / 12.0);
}

#[test]
fn a_stretch_belongs_to_the_phases_it_lies_in_by_its_share() {
    // One sample, of which 10 s lie in the first phase and 30 s in the second.
    let judged =
        judged(&format!("{EVENTS}, objective: 50%"), "first: [slo(it)]", &[(50.0, 90.0, Some((30.0, 40.0)))]);
    let check = judged.checks.iter().find(|check| check.phase.is_some()).unwrap();
    assert_eq!((check.value.as_deref(), check.evidence[0].n), (Some("75%"), Some(10)));
}

#[test]
fn what_nobody_knows_is_not_good_and_may_not_be_what_tips_it() {
    let of = |bad: u32, unknown: u32| {
        all_along(5, move |index| match index {
            index if index < unknown => None,
            index if index < unknown + bad => Some((0.0, 100.0)),
            _ => Some((100.0, 100.0)),
        })
    };
    let all_unknown = all_along(5, |_| None);
    let cases = [
        ("objective: 90%", of(0, 0), 0, 0.0),
        // 2 of 24 may have been bad: 91.7% at least. 3 may not: 87.5%.
        ("objective: 90%", of(0, 2), 0, 10.0),
        ("objective: 90%", of(0, 3), 5, 15.0),
        // Broken whatever the rest was.
        ("objective: 90%", of(6, 3), 1, 15.0),
        ("objective: 90%", all_unknown.clone(), 5, 120.0),
        ("objective: 90%", Vec::new(), 5, 0.0),
    ];
    for (objective, samples, exit, unknown_s) in cases {
        let judged = judged(&format!("{EVENTS}, {objective}"), "", &samples);
        assert_eq!(judged.exit_code, exit, "{samples:?}: {:#?}", judged.reasons);
        assert_eq!(judged.slos[0].unknown_s, unknown_s, "{samples:?}");
    }
    // As the experiment says.
    let says = |no_data: &str, samples: &[Sample]| {
        judged(
            &format!("{}, objective: 90%", EVENTS.replace("every", &format!("no_data: {no_data}, every"))),
            "",
            samples,
        )
    };
    assert_eq!(says("ignore", &of(0, 3)).exit_code, 0);
    assert_eq!(says("ignore", &all_unknown).exit_code, 5, "there is nothing to judge");
    let fails = says("fails", &of(0, 3));
    assert_eq!(fails.exit_code, 1, "{:#?}", fails.reasons);
    close(fails.slos[0].good_ratio, 0.875);
    close(fails.slos[0].violation_s, 15.0);
    assert_eq!(says("fails", &all_unknown).exit_code, 1);
    // It is told why.
    let judged = judged(&format!("{EVENTS}, objective: 90%"), "first: [slo(it)]", &of(0, 3));
    for reason in &judged.reasons {
        let value = reason.value.as_deref().unwrap();
        assert_eq!(value, "100%, 15s without data, from 0s on: what came back", "{reason:?}");
    }
    assert_eq!(judged.reasons.len(), 2, "{:#?}", judged.reasons);
}

#[test]
fn what_was_found_out_late_is_known() {
    let mut samples = all_along(5, |index| (index > 3).then_some((100.0, 100.0)));
    samples.extend([(15.0, 20.0, Some((0.0, 100.0))), (0.0, 5.0, Some((100.0, 100.0)))]);
    let judged = judged(&format!("{EVENTS}, objective: 80%"), "", &samples);
    assert_eq!(judged.slos[0].unknown_s, 10.0, "{:#?}", judged.reasons);
    close(judged.slos[0].good_ratio, 21.0 / 22.0);
}

/// Each event of a kind in a run's journal.
fn events(place: &Place, kind: &str) -> Vec<Value> {
    let journal = std::fs::read_to_string(place.out().join("journal.jsonl")).unwrap();
    let entries = journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.filter(|entry| entry["event"] == kind).collect()
}

#[tokio::test]
async fn a_real_prometheus_is_asked_while_it_runs_and_for_what_was_missed() {
    // Each scrape finds ten good events more and ten bad ones.
    let scraped = AtomicU64::new(0);
    let address = exporter(move || {
        let each = 10 * scraped.fetch_add(1, Ordering::Relaxed);
        format!(
            "# TYPE asked_total counter\nasked_total{{code=\"200\"}} {each}\nasked_total{{code=\"500\"}} {each}\n\
             # TYPE queue gauge\nqueue 3\n"
        )
    });
    let server = prometheus(&address);
    server.wait_for("asked_total").await;
    let fields = prometheus_fields(&server);
    let place = Place::new();
    // It may take long to answer when it goes on, and that is not what this is about.
    let asked = |rest: &str| format!("prometheus: {{ {fields}, every: 1s, timeout: 2s, {rest} }}");
    let file = place.experiment(&format!(
        "experiment: what Prometheus knows is what is judged
slos:
  half: {{ {}, objective: 40% }}
  most: {{ {}, objective: 90% }}
  rates: {{ {}, objective: 40% }}
  short: {{ {}, objective: 90% }}
  long: {{ {}, objective: 10% }}
phases: {{ first: {{ for: 12s }}, second: {{ for: 8s }} }}
expect: {{ second: [slo(half), slo(short)] }}
",
        asked("good: 'asked_total{code!~\"5..\"}', total: asked_total"),
        asked("good: 'asked_total{code!~\"5..\"}', total: asked_total"),
        asked(
            "kind: rates, good: 'sum(rate(asked_total{code=\"200\"}[10s]))', total: 'sum(rate(asked_total[10s]))'"
        ),
        asked("query: queue, value: < 5"),
        asked("query: 'sum(queue)', value: '> 5'"),
    ));
    let mut run = place.run_command(&file, &[]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    place.wait_for("indicator");
    server.pause();
    place.wait_for_text("\"tally\":null");
    server.resume();
    let status = run.wait().unwrap();
    let report = place.report();
    assert_eq!(status.code(), Some(1), "{:#?}", report["reasons"]);
    let told: Vec<_> = report["slos"]
        .as_array()
        .unwrap()
        .iter()
        .map(|slo| (slo["name"].as_str().unwrap(), slo["held"].as_bool(), slo["good_ratio"].as_f64()))
        .collect();
    for (name, held, good) in told {
        let expected = match name {
            // The two queries of an instant may see a scrape that the other does not see yet.
            "half" | "rates" => (Some(true), good.filter(|good| (good - 0.5).abs() < 0.05)),
            "most" => (Some(false), good.filter(|good| (good - 0.5).abs() < 0.05)),
            "short" => (Some(true), Some(1.0)),
            _ => (Some(false), Some(0.0)),
        };
        assert_eq!((held, good), expected, "{name}");
    }
    let late = events(&place, "indicator").into_iter().filter(|entry| entry["late"] == true).count();
    assert!(late > 0, "what was missed was asked for again");
    assert!(!text(&place.chaos(&["plan", file.to_str().unwrap()]).output().unwrap()).contains("hunter2"));
    let journal = std::fs::read_to_string(place.out().join("journal.jsonl")).unwrap();
    assert!(!journal.contains("hunter2"), "a secret was saved");
    // The journal alone gives the same again.
    let again = place.chaos(&["report", place.out().to_str().unwrap()]).output().unwrap();
    assert_eq!(place.report()["slos"], report["slos"], "{}", text(&again));
}

#[tokio::test]
async fn containers_that_fall_ill_break_their_objective_and_stop_the_run() {
    let shell = Shell::start("wellness", &["--health-cmd", "test ! -e /ill", "--health-interval", "300ms"]);
    let place = Place::new();
    let file = place.experiment(&format!(
        "experiment: the box is well
targets: {{ box: {{ name: {} }} }}
slos:
  strict: {{ containers: {{ on: box }}, objective: 99.9%, window: year }}
  lax: {{ containers: {{ on: box }}, objective: 50%, window: 1m }}
steady_state: [slo(lax) over 3s]
limits: {{ error_budget: 10% }}
phases:
  baseline: {{ for: 8s }}
  ill: {{ for: 90s, faults: [{{ exec: {{ on: box, run: [sh, -c, ': > /ill'], undo: [rm, -f, /ill], timeout: 60s }} }}] }}
  after: {{ for: 1s }}
",
        shell.name
    ));
    let output = place.run(&file, &[]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    let report = place.report();
    let held: Vec<_> = report["slos"].as_array().unwrap().iter().map(|slo| slo["held"].as_bool()).collect();
    assert_eq!(held, [Some(false), Some(true)], "{:#?}", report["slos"]);
    let said = events(&place, "indicator");
    let ill = said.iter().filter(|entry| entry["detail"] == format!("{} is unhealthy", shell.name)).count();
    assert!(ill > 0, "{said:#?}");
    let fired = events(&place, "guard");
    assert_eq!(fired[0]["check"]["check"], "limits.error_budget of lax", "{fired:#?}");
}
