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
        "abort: [{{ probe: {{ http: {{ get: 'http://127.0.0.1:{}/health', every: 200ms, delay: 1s, timeout: 3s }} }}, failures: 2 }}]",
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
async fn a_fault_outlasts_its_limit_by_no_more_than_the_agents_deadline() {
    let target = Target::start("outlasting", &[]).await;
    let before = target.everything();
    let place = Place::new();
    let fault = "blackhole: { on: one, direction: both }";
    let mut child = start(&place, &target.experiment(fault, 1, "limits: { fault: 1s }"));
    assert_ne!(target.everything(), before);
    // A runner that hangs holds its lock, so that its warden takes it for alive.
    let runner = child.id().try_into().unwrap();
    // SAFETY: a plain signal to a child that was not waited for yet.
    assert_eq!(unsafe { libc::kill(runner, libc::SIGSTOP) }, 0);
    let asked = Instant::now();
    while target.everything() != before {
        assert!(asked.elapsed() < Duration::from_secs(25), "the agent has not undone it");
        std::thread::sleep(Duration::from_millis(50));
    }
    // SAFETY: as above.
    assert_eq!(unsafe { libc::kill(runner, libc::SIGCONT) }, 0);
    // What ended too early is no proof of anything, also where the phase was over when its runner heard of it.
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let journal = std::fs::read_to_string(place.out().join("journal.jsonl")).unwrap();
    let lost = journal.lines().filter(|line| line.contains(r#""event":"lost""#)).collect::<Vec<_>>();
    assert_eq!(lost.len(), 1, "{journal}");
    assert!(lost[0].contains("its deadline passed"), "{}", lost[0]);
    assert_eq!((target.everything(), place.ledgers()), (before, 0));
}

/// A volume that is gone with the test.
struct Volume(String);

impl Volume {
    fn create(name: String, more: &[&str]) -> Self {
        docker(&[&["volume", "create"], more, &[name.as_str()]].concat());
        Self(name)
    }

    fn is_there(&self) -> bool {
        docker(&["volume", "ls", "-q"]).lines().any(|name| name == self.0)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::process::Command::new("docker").args(["volume", "rm", &self.0]).output();
    }
}

#[test]
fn a_hold_that_is_nobodys_is_removed_and_any_other_stays() {
    let id = |digit: &str| format!("{}{digit}", std::process::id()).repeat(3);
    // As a daemon leaves it that is killed between making a volume and labelling it.
    let nobodys = Volume::create(format!("chaos-hold-{}", id("0")), &[]);
    let labels = ["--label", "io.chaos.run=of-another-machine", "--label", "io.chaos.role=hold"];
    let held = Volume::create(format!("chaos-hold-{}", id("1")), &labels);
    let theirs = Volume::create(format!("my-chaos-hold-{}", id("2")), &[]);
    let output = Place::new().chaos(&["recover"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(!nobodys.is_there());
    assert!(held.is_there() && theirs.is_there());
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

#[tokio::test]
async fn restart_policies_are_in_force_again_after_every_fault_that_ends_a_container() {
    let policies = ["always", "unless-stopped", "on-failure"];
    let mut targets = Vec::new();
    for policy in policies {
        targets.push(Target::start("policy", &["--restart", policy]).await);
    }
    let place = Place::new();
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    let phases = "  killed: { for: 500ms, faults: [{ kill: { on: one, restart: true } }] }\n  \
        stopped: { for: 500ms, faults: [{ stop: { on: one, grace: 0s } }] }\n  \
        restarted: { for: 500ms, faults: [{ restart: { on: one, grace: 0s } }] }";
    let text_of = targets[0]
        .experiment(PAUSE, 1, "")
        .replace(&format!("name: {}", names[0]), &format!("re: '{}'", names.join("|")))
        .replace("  broken: { for: 1s, faults: [{ pause: { on: one } }] }", phases)
        .replace(
            "expect: { broken:",
            "expect: { stopped: [count(scheduled) > 0], restarted: [count(scheduled) > 0], killed:",
        );
    let output = place.run(&place.experiment(&text_of), &[]);
    // On a slow machine a restart may be seen too late to be proven; what counts here is what is left.
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", text(&output));
    for (target, policy) in targets.iter().zip(policies) {
        assert_eq!(target.status(), "running", "{policy}");
        assert_eq!(target.inspect("{{.HostConfig.RestartPolicy.Name}}"), policy);
        let first = target.inspect("{{.State.Pid}}");
        let pid: i32 = first.parse().unwrap();
        // SAFETY: the first process of this test's own container, just found: a crash that is none of Docker's doing.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0, "{policy}");
        let until = Instant::now() + Duration::from_secs(60);
        while target.status() != "running" || target.inspect("{{.State.Pid}}") == first {
            assert!(Instant::now() < until, "`{policy}` does not bring it back any more");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    // A signal that ends nothing would leave a container that runs without its policy.
    let refused = place.experiment(&targets[0].experiment("kill: { on: one, signal: SIGUSR1 }", 1, ""));
    let output = place.chaos(&["plan", refused.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("without its restart policy `always`"), "{}", text(&output));
}

#[tokio::test]
async fn a_protected_container_is_filtered_by_and_never_touched() {
    let target = Target::start("beside", &[]).await;
    let service = "com.docker.compose.service=vault";
    let protected = Target::start("vault", &["--label", "chaos.protect=true", "--label", service]).await;
    let before = protected.everything();
    let place = Place::new();
    let fault = "latency: { on: one, delay: 10ms, direction: both, except: ['service:vault'] }";
    let output = place.run(&place.experiment(&target.experiment(fault, 1, "")), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(protected.everything(), before);
    let vault = format!("targets: {{ vault: {{ name: {} }},", protected.name);
    for fault in [
        "pause: { on: vault }",
        "partition: { groups: { here: [one], there: [vault] } }",
        "partition: { groups: { here: [vault], there: [one] }, direction: one-way }",
    ] {
        let aimed = target.experiment(fault, 1, "").replace("targets: {", &vault);
        let output = place.chaos(&["plan", place.experiment(&aimed).to_str().unwrap()]).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{fault}: {}", text(&output));
        assert!(text(&output).contains("chaos.protect=true"), "{fault}: {}", text(&output));
    }
    assert_eq!(protected.everything(), before);
}

#[tokio::test]
async fn a_fault_that_takes_its_time_keeps_no_guard_from_healing_another() {
    let (slow, quick) = (Target::start("slow", &[]).await, Target::start("quick", &[]).await);
    let place = Place::new();
    // A command that ends when it is told to: what was done to the other container must not wait for it.
    let told = place.0.path().join("told");
    let command = format!("while [ ! -e {} ]; do sleep 0.05; done", told.display());
    let fault = format!(
        "exec: {{ on: slow, place: host, run: [sh, -c, '{command}'], undo: ['true'], timeout: 5m }} }}, {{ pause: {{ on: one }}"
    );
    let text_of = quick
        .experiment(&fault, 60, "")
        .replace("targets: {", &format!("targets: {{ slow: {{ name: {} }},", slow.name));
    let mut child = place.run_command(&place.experiment(&text_of), &["--allow-host-exec"]).spawn().unwrap();
    place.wait_for("applied");
    // SAFETY: a plain signal to a child that was not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id().try_into().unwrap(), libc::SIGINT) }, 0);
    let asked = Instant::now();
    while quick.status() != "running" {
        assert!(asked.elapsed() < Duration::from_secs(60), "it waits for the command to end");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(child.try_wait().unwrap().is_none(), "the command still runs");
    std::fs::write(told, "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6));
    assert_eq!(place.ledgers(), 0);
}
