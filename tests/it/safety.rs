//! Guards, holds and levers: what ends a run early, and what keeps two of them apart.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::docker::connect;
use super::run::{Place, left_of, text};
use super::target::{Target, docker};

const PAUSE: &str = "pause: { on: one }";

/// A run under way, until it has put its fault into effect.
fn start(place: &Place, experiment: &str) -> Child {
    let file = place.experiment(experiment);
    let child = place.run_command(&file, &[]).stdout(Stdio::null()).spawn().unwrap();
    place.wait_for("applied");
    child
}

#[tokio::test]
async fn a_container_that_a_run_holds_is_refused_to_others_with_its_name() {
    let target = Target::start("held", &[]).await;
    let (first, second) = (Place::new(), Place::new());
    let mut child = start(&first, &target.experiment(PAUSE, 60, ""));
    let holder = format!("held by run {}", first.run_id());
    let file = second.experiment(&target.experiment("latency: { on: one, delay: 10ms }", 1, ""));
    for verb in ["plan", "run"] {
        let refused =
            second.chaos(&[verb, file.to_str().unwrap()]).current_dir(second.0.path()).output().unwrap();
        assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
        assert!(text(&refused).contains(&holder), "{}", text(&refused));
    }
    let asked = Instant::now();
    let stopped = first.chaos(&["stop"]).output().unwrap();
    assert_eq!(stopped.status.code(), Some(0), "{}", text(&stopped));
    assert!(text(&stopped).contains(&first.run_id()), "{}", text(&stopped));
    assert!(asked.elapsed() < Duration::from_secs(20), "stopping took {:?}", asked.elapsed());
    assert_eq!(child.wait().unwrap().code(), Some(6), "a run that was stopped is aborted");
    assert_eq!(target.status(), "running");
    assert_eq!(left_of(&first.run_id()).await, [""; 0], "its hold is released");
}

#[tokio::test]
async fn of_several_runs_at_once_one_gets_the_container() {
    let target = Target::start("raced", &[]).await;
    let places: Vec<Place> = (0..4).map(|_| Place::new()).collect();
    let text_of = target.experiment(PAUSE, 4, "");
    let mut children: Vec<Child> = places
        .iter()
        .map(|place| {
            place.run_command(&place.experiment(&text_of), &[]).stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let codes: Vec<_> = children.iter_mut().map(|child| child.wait().unwrap().code()).collect();
    let held = codes.iter().filter(|code| **code == Some(0)).count();
    assert!(held >= 1, "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 3))), "{codes:?}");
    // More than one may have had it, one after the other; never two at the same time.
    let mut spans: Vec<(String, String)> = Vec::new();
    for place in places.iter().filter(|place| place.out().join("report.json").exists()) {
        let journal = std::fs::read_to_string(place.out().join("journal.jsonl")).unwrap();
        if journal.contains("\"event\":\"applied\"") {
            spans.push((place.run_id(), journal));
        }
    }
    assert_eq!(spans.len(), held, "who applied held it");
    assert_eq!(target.status(), "running");
    let marks = connect().await.marks(&[("io.chaos.holds", &target.inspect("{{.Id}}"))]).await.unwrap();
    assert_eq!(marks, [], "holds are left");
}

/// The lever must not stay pulled, whatever comes of the test.
struct Released;

impl Drop for Released {
    fn drop(&mut self) {
        let _ = Place::new().chaos(&["halt", "--release"]).output();
    }
}

#[tokio::test]
async fn the_lever_stops_every_run_and_refuses_new_ones_until_released() {
    let target = Target::start("halted", &[]).await;
    let _released = Released;
    let (running, refused, elsewhere) = (Place::new(), Place::new(), Place::new());
    let mut child = start(&running, &target.experiment(PAUSE, 60, ""));
    // From another state directory, as another user or machine has.
    let halted = elsewhere.chaos(&["halt", "--all"]).output().unwrap();
    assert_eq!(halted.status.code(), Some(0), "{}", text(&halted));
    assert!(text(&halted).contains(&format!("{}: stopped", running.run_id())), "{}", text(&halted));
    assert_eq!(child.wait().unwrap().code(), Some(6));
    assert_eq!(target.status(), "running");
    let file = refused.experiment(&target.experiment(PAUSE, 1, ""));
    let output = refused.run(&file, &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("runs are halted on this daemon by"), "{}", text(&output));
    let doctor = elsewhere.chaos(&["doctor"]).output().unwrap();
    assert!(text(&doctor).contains("halted by"), "{}", text(&doctor));
    let released = elsewhere.chaos(&["halt", "--release"]).output().unwrap();
    assert!(text(&released).contains("allowed again"), "{}", text(&released));
    let output = refused.run(&file, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[tokio::test]
async fn guards_go_by_probes_and_by_health() {
    // Its health check can't even be started: it is unhealthy as soon as Docker has tried.
    let health = ["--health-cmd", "nothing", "--health-interval", "1s", "--health-retries", "1"];
    let target = Target::start("unwell", &health).await;
    let place = Place::new();
    let output =
        place.run(&place.experiment(&target.experiment(PAUSE, 60, "abort: [{ unhealthy: one }]")), &[]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    assert!(text(&output).contains("one is unhealthy"), "{}", text(&output));
    assert_eq!(target.status(), "running");

    let well = Target::start("well", &[]).await;
    let place = Place::new();
    let probe = format!(
        "abort: [{{ probe: {{ http: {{ get: 'http://127.0.0.1:{}/health', every: 200ms, timeout: 300ms }} }}, failures: 2 }}]",
        well.port
    );
    let output = place.run(&place.experiment(&well.experiment(PAUSE, 60, &probe)), &[]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    let why = place.report()["reasons"][0].to_string();
    assert!(why.contains("fails 2 times in a row") && why.contains("broken"), "{why}");
    assert_eq!(well.status(), "running");

    let place = Place::new();
    let output = place.run(&place.experiment(&well.experiment(PAUSE, 1, "abort: [{ unhealthy: one }]")), &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let why = place.report()["reasons"][0]["check"].to_string();
    assert!(why.contains("has no health check"), "{why}");
}

#[tokio::test]
async fn limits_end_a_run_that_exceeds_them() {
    let target = Target::start("limited", &[]).await;
    let slo = "slos: { available: { load: users, good: status < 500, objective: 99.9%, window: 1h } }";
    for (limit, exit, says) in [
        ("requests: 10", 2, "the loads send up to"),
        ("containers: 0", 2, "a limit of `0` containers refuses every fault"),
        ("error_budget: 10%", 6, "limits.error_budget of available"),
    ] {
        let place = Place::new();
        let rest = format!("{slo}\nlimits: {{ {limit} }}");
        let output = place.run(&place.experiment(&target.experiment(PAUSE, 30, &rest)), &[]);
        assert_eq!(output.status.code(), Some(exit), "{limit}: {}", text(&output));
        assert!(text(&output).contains(says), "{limit}: {}", text(&output));
        assert_eq!(target.status(), "running", "{limit}");
    }
}

#[tokio::test]
async fn what_others_did_to_a_target_stays_as_it_was() {
    let target = Target::start("others", &["--memory", "300m"]).await;
    target.inside(&["nft", "add table inet theirs; add chain inet theirs out { type filter hook output priority 0; }; add rule inet theirs out tcp dport 9 drop"]);
    target.inside(&[
        "tc", "qdisc", "add", "dev", "eth0", "root", "handle", "7:", "tbf", "rate", "80mbit", "burst", "64k",
        "latency", "100ms",
    ]);
    docker(&["update", "--memory", "200m", "--memory-swap", "400m", "--pids-limit", "77", &target.name]);
    let before = target.everything();
    for fault in ["latency: { on: one, delay: 20ms }", "loss: { on: one, share: 10% }", PAUSE] {
        let place = Place::new();
        let output = place.run(&place.experiment(&target.experiment(fault, 1, "")), &[]);
        assert_eq!(output.status.code(), Some(0), "{fault}: {}", text(&output));
        assert_eq!(target.everything(), before, "{fault}");
    }
    // And where the run is killed in the middle of it.
    let place = Place::new();
    let mut child = start(&place, &target.experiment("latency: { on: one, delay: 20ms }", 60, ""));
    super::run::kill_9(&child);
    child.wait().unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while place.ledgers() > 0 {
        assert!(Instant::now() < until, "nobody healed");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(target.everything(), before);

    docker(&["pause", &target.name]);
    let place = Place::new();
    let output = place.run(&place.experiment(&target.experiment(PAUSE, 1, "")), &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let why = place.report()["reasons"][0]["check"].to_string();
    assert!(why.contains("is paused before anything was done to it"), "{why}");
    assert_eq!(target.status(), "paused", "it is somebody else's pause");
}
