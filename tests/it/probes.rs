//! Probes: judged by what a journal has of them, and asked of real servers and containers by whole runs.

use std::net::TcpListener;

use chaos::event::{Entry, Event};
use chaos::plan::inventory::{Container, Inventory};
use chaos::spec::Moment;
use chaos::verdict::{Judgement, judge};

use super::run::{Place, text};
use super::shell::Shell;

/// When a probe was asked, in seconds, at which moment if at one, and what came of it.
type Asked = (f64, Option<Moment>, Option<bool>);

/// A run of two phases, 0 to 10 s and 10 to 20 s, in which a probe called `it` was asked at these seconds and
/// answered so.
fn judged(probe: &str, asked: &[Asked]) -> Judgement {
    let text = format!(
        "experiment: x\ntargets: {{ api: {{ service: api }} }}\nprobes: {{ it: {{ {probe} }} }}\n\
         phases: {{ first: {{ for: 10s }}, second: {{ for: 10s }} }}"
    );
    let input = chaos::spec::Input { file: "test.yaml".into(), text, ..Default::default() };
    let experiment = chaos::spec::parse(&input).unwrap_or_else(|problems| panic!("{problems}"));
    let container = Container { name: "api-1".into(), service: Some("api".into()), ..Container::default() };
    let inventory = Inventory { containers: vec![container], kernel: None };
    let plan = chaos::plan::build(&experiment, &inventory).expect("the test's experiment can be planned");
    let started = super::verdict::started(&plan);
    let ns = |seconds: f64| (seconds * 1e9) as u64;
    let phase =
        |name: Option<&str>, at_s: f64| (at_s, Event::Phase { name: name.map(Into::into), at_ns: ns(at_s) });
    let mut events = vec![
        (0.0, Event::Started(Box::new(started))),
        phase(Some("first"), 0.0),
        phase(Some("second"), 10.0),
        phase(None, 20.0),
        (25.0, Event::Finished),
    ];
    events.extend(asked.iter().map(|(at_s, moment, ok)| {
        let sample = Event::Probe {
            probe: "it".into(),
            at_ns: Some(ns(*at_s)),
            moment: *moment,
            ok: *ok,
            detail: "what came back".into(),
            took_ms: 1.0,
            attempts: 1,
        };
        (at_s + 0.1, sample)
    }));
    let entries: Vec<_> = events.into_iter().map(|(at_s, event)| Entry { t_ns: ns(at_s), event }).collect();
    judge(&plan, &entries)
}

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

#[test]
fn a_probe_is_judged_by_when_it_was_asked() {
    let http = |more: &str| format!("http: {{ get: 'http://127.0.0.1:1/', {more} }}");
    let (before, after) = (Some(Moment::Before), Some(Moment::After));
    let cases: [(&str, &[Asked], u8); 23] = [
        ("when: edge", &[(9.0, before, YES), (20.0, after, YES)], 0),
        ("when: edge", &[(9.0, before, YES), (20.0, after, NO)], 1),
        ("when: before", &[(9.0, before, NO)], 4),
        ("when: before", &[(9.0, before, None)], 5),
        ("when: before, no_data: ignore", &[(9.0, before, None)], 0),
        ("when: after", &[(20.0, after, None)], 5),
        ("when: after", &[], 5),
        ("every: 1s", &[(1.0, None, YES), (11.0, None, YES)], 0),
        ("every: 1s", &[(1.0, None, YES), (11.0, None, NO)], 1),
        ("every: 1s", &[(1.0, None, YES), (11.0, None, None)], 5),
        ("every: 1s", &[], 5),
        ("no_data: ignore", &[(1.0, None, YES), (11.0, None, None)], 0),
        ("no_data: ignore", &[(1.0, None, None)], 0),
        // More than is allowed failed, whatever nobody knows.
        ("every: 1s", &[(1.0, None, NO), (11.0, None, None)], 1),
        ("allowed_failures: 1", &[(1.0, None, YES), (2.0, None, NO), (3.0, None, YES)], 0),
        ("allowed_failures: 1", &[(1.0, None, YES), (2.0, None, None), (3.0, None, YES)], 0),
        // It may have been a no.
        ("allowed_failures: 1", &[(1.0, None, YES), (2.0, None, NO), (3.0, None, None)], 5),
        ("allowed_failures: 1", &[(1.0, None, NO), (2.0, None, NO), (3.0, None, YES)], 1),
        ("allowed_failures: 50%", &[(1.0, None, NO), (2.0, None, YES)], 0),
        ("during: second", &[(9.0, None, NO), (11.0, None, YES)], 0),
        ("during: second", &[(9.0, None, YES), (11.0, None, NO)], 1),
        ("during: second", &[(9.0, None, YES)], 5),
        // What was asked once the last phase was over is of no phase.
        ("every: 1s", &[(1.0, None, YES), (20.5, None, NO)], 0),
    ];
    for (more, asked, exit) in cases {
        let judged = judged(&http(more), asked);
        assert_eq!(judged.exit_code, exit, "{more} {asked:?}: {:#?}", judged.reasons);
        assert!(!judged.checks.is_empty(), "{more} {asked:?}: it is told of");
    }
}

#[test]
fn a_reason_says_what_came_back_and_when() {
    let judged = judged(
        "http: { get: 'http://127.0.0.1:1/', allowed_failures: 1 }",
        &[(1.0, None, YES), (12.34, None, NO), (13.0, None, NO)],
    );
    let reason = &judged.reasons[0];
    assert_eq!(reason.check, "probe it: http GET http://127.0.0.1:1/");
    let value = "1 of 3 as expected, the first other at 12.3s: what came back";
    assert_eq!(reason.value.as_deref(), Some(value));
    assert_eq!(reason.threshold.as_deref(), Some("at most 1 not as expected"));
    assert_eq!(reason.at_s, Some(12.34));
}

/// A web server that says that it is well until the test ends; its address.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                use std::io::{Read as _, Write as _};
                let mut stream = stream;
                // A probe of the port alone says nothing and goes.
                let asked = stream.read(&mut [0; 4_096]).unwrap_or(0);
                if asked > 0 {
                    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";
                    let _ = stream.write_all(answer.as_bytes());
                }
            });
        }
    });
    address
}

/// Makes the box ill, and noisy with it, until it is undone.
const ILLNESS: &str = "exec: { on: box, run: [sh, -c, ': > /ill'], undo: [rm, -f, /ill], timeout: 60s }";

#[tokio::test]
async fn every_kind_is_asked_when_it_is_due() {
    let shell = Shell::start("probed", &["--health-cmd", "test ! -e /ill", "--health-interval", "300ms"]);
    let (place, address) = (Place::new(), server());
    // Generous throughout: nothing here is about how fast it goes.
    let patient = "timeout: 10s, retries: 50, retry_after: 200ms";
    let file = place.experiment(&format!(
        "experiment: every kind is asked
targets: {{ box: {{ name: {} }} }}
probes:
  web: {{ http: {{ get: 'http://{address}/', expect: {{ json: {{ $.ok: true }} }}, when: edge, timeout: 30s }} }}
  port: {{ tcp: {{ connect: '{address}', send: 'anyone?', bytes: '200 OK', every: 300ms, timeout: 30s }} }}
  here: {{ exec: {{ run: [sh, -c, 'echo 3; exit 7'], exit: 7, output: '>= 3', when: after, timeout: 30s }} }}
  inside: {{ exec: {{ on: box, run: [sh, -c, '[ -e /ill ]'], during: ill, every: 300ms, timeout: 30s }} }}
  well: {{ docker: {{ on: box, health: healthy, when: edge, {patient} }} }}
  stays: {{ docker: {{ on: box, state: running, restarts: == 0, oom: false, timeout: 30s }} }}
  calm: {{ logs: {{ on: box, pattern: '^ERROR', count: == 0, when: before, timeout: 30s }} }}
  noisy: {{ logs: {{ on: box, pattern: '^ERROR [0-9]+$', during: ill, {patient} }} }}
phases:
  baseline: {{ for: 1s }}
  ill: {{ for: 5s, faults: [{{ {ILLNESS} }}] }}
  after: {{ for: 1s }}
",
        shell.name
    ));
    let refused = place.run(&file, &[]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("--allow-host-exec"), "{}", text(&refused));
    let output = place.run(&file, &["--allow-host-exec"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let report = place.report();
    let told: Vec<_> =
        report["checks"].as_array().unwrap().iter().map(|check| check["check"].as_str().unwrap()).collect();
    for (name, count) in [
        ("probe web, before: ", 1),
        ("probe web, after: ", 1),
        ("probe port: ", 1),
        ("probe here, after: ", 1),
        ("probe inside: ", 1),
        ("probe well, before: ", 1),
        ("probe well, after: ", 1),
        ("probe stays: ", 1),
        ("probe calm, before: ", 1),
        ("probe noisy: ", 1),
    ] {
        assert_eq!(told.iter().filter(|check| check.starts_with(name)).count(), count, "{name}: {told:?}");
    }
}

/// What a run left behind, all of it together.
pub fn everything(place: &Place) -> String {
    let files = std::fs::read_dir(place.out()).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned()).collect()
}

#[tokio::test]
async fn what_is_not_well_before_is_not_broken() {
    let shell = Shell::start("unwell", &[]);
    let place = Place::new();
    let file = place.experiment(&format!(
        "experiment: it is open
targets: {{ box: {{ name: {} }} }}
probes:
  door: {{ http: {{ get: 'http://127.0.0.1:9/', headers: {{ authorization: Bearer hunter2 }}, when: before }} }}
  up: {{ docker: {{ on: box, timeout: 30s }} }}
phases:
  ill: {{ for: 1s, faults: [{{ {ILLNESS} }}] }}
  after: {{ for: 1s }}
",
        shell.name
    ));
    let output = place.run(&file, &[]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    let left = everything(&place);
    assert!(!left.contains("\"event\":\"applied\""), "nothing was done");
    assert!(left.contains("probe door, before: http GET http://127.0.0.1:9/"), "{}", text(&output));
    assert!(!left.contains("hunter2"), "a secret was saved");
    let planned = place.chaos(&["plan", file.to_str().unwrap()]).output().unwrap();
    assert!(text(&planned).contains("door (before): http GET"), "{}", text(&planned));
    assert!(!text(&planned).contains("hunter2"), "a secret was printed");
}

#[tokio::test]
async fn what_nobody_can_answer_makes_a_run_invalid() {
    let shell = Shell::start("mute", &[]);
    let place = Place::new();
    let file = place.experiment(&format!(
        "experiment: its health is known
targets: {{ box: {{ name: {} }} }}
probes:
  unknown: {{ docker: {{ on: box, health: healthy, during: second, timeout: 30s }} }}
  unimportant: {{ docker: {{ on: box, health: healthy, no_data: ignore, timeout: 30s }} }}
phases: {{ first: {{ for: 1s }}, second: {{ for: 2s }} }}
",
        shell.name
    ));
    let output = place.run(&file, &[]);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    let report = place.report();
    let reasons = report["reasons"].as_array().unwrap();
    assert_eq!(reasons.len(), 1, "{reasons:#?}");
    assert!(reasons[0]["check"].as_str().unwrap().starts_with("probe unknown: "), "{reasons:#?}");
    assert!(reasons[0]["value"].as_str().unwrap().contains("has no health check"), "{reasons:#?}");
}
