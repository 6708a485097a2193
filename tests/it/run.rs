//! Whole runs: the program as a user starts it, against a real lab, to its exit code and its files.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use chaos::docker::{Docker, label};
use chaos::spec::Lab;
use serde_json::Value;

use super::docker::{CHAOS, Run, connect};

/// Nothing a run does by itself takes longer.
const LIMIT: Duration = Duration::from_secs(120);

/// A place for a run's files and the program's state, gone with the test.
pub struct Place(pub tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    pub fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    pub fn chaos(&self, args: &[&str]) -> Command {
        let mut command = Command::new(CHAOS);
        command.args(args).env("CHAOS_STATE_DIR", self.state()).env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    pub fn run_command(&self, file: &Path, more: &[&str]) -> Command {
        let mut command = self.chaos(&["run", file.to_str().unwrap(), "--quiet", "--out"]);
        command.arg(self.out()).args(more);
        command
    }

    /// Runs an experiment to its end.
    pub fn run(&self, file: &Path, more: &[&str]) -> Output {
        self.run_command(file, more).output().unwrap()
    }

    /// Writes an experiment and gives its path.
    pub fn experiment(&self, text: &str) -> PathBuf {
        let file = self.0.path().join("experiment.yaml");
        std::fs::write(&file, text).unwrap();
        file
    }

    pub fn report(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.out().join("report.json")).unwrap()).unwrap()
    }

    pub fn ledgers(&self) -> usize {
        std::fs::read_dir(self.state().join("runs")).map_or(0, Iterator::count)
    }

    /// Waits until no run has a ledger any more.
    pub fn wait_until_healed(&self, what: &str) {
        let deadline = Instant::now() + LIMIT;
        while self.ledgers() > 0 {
            assert!(Instant::now() < deadline, "{what}: nobody healed");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the journal has an event of this kind.
    pub fn wait_for(&self, event: &str) -> Value {
        self.wait_for_text(&format!("\"event\":\"{event}\""))
    }

    /// Waits until the journal has an event with this text.
    pub fn wait_for_text(&self, wanted: &str) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Ok(file) = std::fs::File::open(self.out().join("journal.jsonl")) {
                let line =
                    BufReader::new(file).lines().map_while(Result::ok).find(|line| line.contains(wanted));
                if let Some(line) = line
                    && let Ok(value) = serde_json::from_str(&line)
                {
                    return value;
                }
            }
            assert!(Instant::now() < deadline, "no `{wanted}` in the journal");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn run_id(&self) -> String {
        self.wait_for("started")["run"].as_str().unwrap().to_owned()
    }
}

pub fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Everything on the daemon that carries the run's label.
pub async fn left_of(run: &str) -> Vec<String> {
    let left = connect().await.labelled(&[(label::RUN, run)]).await.unwrap();
    left.into_iter().filter(|one| one.role != label::ROLE_IMAGE).map(|one| one.name).collect()
}

fn experiments() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

/// How often an experiment is begun whose system is not well before anything is broken: a machine that is
/// busy with something else makes it so, and then nothing was tested yet.
const BEGUN: usize = 4;

/// The exit code of a baseline that was not met.
const UNMET: i32 = 4;

/// Runs one of the ready experiments as its header says, and looks at what it left.
pub async fn ready_experiment(name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments").join(name);
    let header = std::fs::read_to_string(&file).unwrap();
    let expected: i32 = header
        .strip_prefix("# expect: exit ")
        .and_then(|rest| rest.split(' ').next())
        .and_then(|code| code.trim().parse().ok())
        .unwrap_or_else(|| panic!("{name} does not begin with `# expect: exit N`"));
    let mut place = Place::new();
    let mut output = place.run(&file, &[]);
    for _ in 1..BEGUN {
        if expected == UNMET || output.status.code() != Some(UNMET) {
            break;
        }
        place = Place::new();
        output = place.run(&file, &[]);
    }
    assert_eq!(output.status.code(), Some(expected), "{name}: {}", text(&output));
    let report = place.report();
    assert_eq!(report["exit_code"], expected);
    for (_, load) in
        report["phases"].as_array().unwrap().iter().flat_map(|phase| phase["load"].as_object().unwrap())
    {
        let boxes = ["good", "bad", "timed_out", "failed", "dropped", "cut_off"];
        let sum: u64 = boxes.iter().map(|name| load[*name].as_u64().unwrap()).sum();
        assert_eq!(load["scheduled"].as_u64(), Some(sum), "{name}: an arrival is in no box or in two");
    }
    assert_eq!(left_of(&place.run_id()).await, [""; 0], "{name} left something");
    assert_eq!(place.ledgers(), 0, "{name} left its ledger");

    // Made again from the journal alone, every file is the same to the byte.
    let again = place.0.path().join("again");
    let args = ["report", place.out().to_str().unwrap(), "--out", again.to_str().unwrap()].map(str::to_owned);
    let remade = place.chaos(&args.each_ref().map(String::as_str)).output().unwrap();
    assert_eq!(remade.status.code(), Some(expected), "{name}: {}", text(&remade));
    for file in ["report.json", "report.html"] {
        let (first, second) = (std::fs::read(place.out().join(file)), std::fs::read(again.join(file)));
        assert!(first.unwrap() == second.unwrap(), "{name}: {file} differs when remade");
    }
}

macro_rules! ready {
    ($($test:ident = $file:literal),* $(,)?) => {
        const READY: &[&str] = &[$($file),*];
        $(#[tokio::test]
        async fn $test() {
            ready_experiment($file).await;
        })*
    };
}

ready! {
    quickstart_holds = "quickstart.yaml",
    slow_replica_with_hedging_holds = "slow-replica-hedged.yaml",
    slow_replica_without_hedging_fails = "slow-replica.yaml",
    killed_replica_holds = "killed-replica.yaml",
    partitioned_store_fails = "partitioned-store.yaml",
    paused_replica_holds = "paused-replica.yaml",
    baseline_unmet_is_told = "baseline-unmet.yaml",
    nothing_proven_is_invalid = "nothing-proven.yaml",
    an_outage_is_told_by_its_alert = "alerted-outage.yaml",
    an_outage_is_told_by_probes = "probed-outage.yaml",
    an_outage_is_told_by_its_containers = "unwell-replica.yaml",
    capacity_is_found_with_and_without_a_fault = "capacity.yaml",
}

#[test]
fn every_experiment_is_run() {
    let names: Vec<_> =
        experiments().iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let missing: Vec<_> = names.iter().filter(|name| !READY.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} are not run by any test");
}

/// A lab that is not the run's own, so that what a run leaves in it can be looked at.
struct Standing {
    docker: Docker,
    run: Run,
    endpoints: BTreeMap<String, String>,
}

impl Standing {
    async fn up(apis: u32) -> Self {
        let docker = connect().await;
        let run = Run::new("standing");
        let yaml = format!(
            "experiment: x\nlab: {{ replicas: {{ apis: {apis}, retries: 1, timeout: 500ms }} }}\nphases: {{ a: {{ for: 1s }} }}"
        );
        let input = chaos::spec::Input { text: yaml, ..Default::default() };
        let lab: Lab = chaos::spec::parse(&input).unwrap().lab.unwrap().value;
        let up = chaos::lab::up(&docker, &run.0, &lab, Path::new(".")).await.unwrap();
        Self { docker, run, endpoints: up.endpoints }
    }

    async fn id(&self, name: &str) -> String {
        let found = self.docker.containers().await.unwrap();
        let one = found
            .into_iter()
            .find(|found| found.run.as_deref() == Some(&self.run.0) && found.container.name == name);
        one.unwrap_or_else(|| panic!("no {name}")).id
    }

    async fn status(&self, name: &str) -> String {
        self.docker.state(&self.id(name).await).await.unwrap().unwrap().status
    }

    async fn pid(&self, name: &str) -> u64 {
        self.docker.state(&self.id(name).await).await.unwrap().unwrap().pid.unwrap()
    }

    /// Everything a network fault could leave in a container's namespace.
    async fn network(&self, name: &str) -> String {
        let net = format!("--net=/proc/{}/ns/net", self.pid(name).await);
        let show = |args: &[&str]| {
            let output = Command::new("nsenter").arg(&net).args(args).output().unwrap();
            assert!(output.status.success(), "{args:?}: {}", text(&output));
            String::from_utf8(output.stdout).unwrap()
        };
        // Counters in the listing would differ for reasons of their own.
        [show(&["nft", "-s", "list", "ruleset"]), show(&["tc", "qdisc", "show"]), show(&["ip", "-o", "link"])]
            .concat()
    }

    fn experiment(&self, phases: &str, rest: &str) -> String {
        let gateway = &self.endpoints["gateway"];
        format!(
            "experiment: it survives\ntargets: {{ one: {{ name: api-1 }}, store: {{ service: store }}, apis: {{ service: api }} }}\n\
             load: {{ shoppers: {{ rate: 100/s, timeout: 2s, requests: [{{ get: \"http://{gateway}/cart\" }}] }} }}\n\
             phases:\n  baseline: {{ for: 2s }}\n{phases}\nexpect: {{ broken: [count(scheduled) > 0] }}\n{rest}\n"
        )
    }
}

/// Faults of every kind of mechanism, as experiments write them.
const FAULTS: [(&str, &str); 6] = [
    ("latency", "latency: { on: one, delay: 100ms }"),
    ("partition", "partition: { groups: { apis: [apis], store: [store] } }"),
    ("kill", "kill: { on: one, restart: true }"),
    ("pause", "pause: { on: one }"),
    ("duplicate", "duplicate: { on: one, share: 50%, direction: both }"),
    (
        "flaky",
        "flaky: { on_for: 200ms, off_for: 200ms, fault: { corrupt: { on: one, share: 50%, direction: both } } }",
    ),
];

fn phase(fault: &str, seconds: u32) -> String {
    format!("  broken: {{ for: {seconds}s, faults: [{{ {fault} }}] }}")
}

pub fn kill_9(child: &Child) {
    // SAFETY: a plain kill of a child that was not waited for yet, so the pid is still its own.
    assert_eq!(unsafe { libc::kill(child.id().try_into().unwrap(), libc::SIGKILL) }, 0);
}

#[tokio::test]
async fn a_run_leaves_its_targets_as_they_were() {
    let lab = Standing::up(2).await;
    for (name, fault) in FAULTS {
        let before = (lab.network("api-1").await, lab.network("store-1").await);
        let place = Place::new();
        let phases = format!("{}\n  after: {{ for: 2s }}", phase(fault, 2));
        let file = place.experiment(&lab.experiment(&phases, ""));
        let output = place.run(&file, &[]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output));
        let report = place.report();
        assert_eq!(report["faults"][0]["proven"], true, "{name}: {report:#}");
        assert!(report["faults"][0]["targets"][0]["applied_s"].is_number(), "{name}");
        assert!(report["faults"][0]["targets"][0]["undone_s"].is_number(), "{name}");
        assert_eq!(lab.status("api-1").await, "running", "{name}");
        if name != "kill" {
            assert_eq!((lab.network("api-1").await, lab.network("store-1").await), before, "{name}");
        }
        assert_eq!(left_of(&place.run_id()).await, [""; 0], "{name}");
        assert_eq!(place.ledgers(), 0, "{name}");
    }
}

#[tokio::test]
async fn a_killed_runner_is_healed_by_its_warden() {
    let lab = Standing::up(2).await;
    for (name, fault) in FAULTS {
        let before = (lab.network("api-1").await, lab.network("store-1").await);
        let place = Place::new();
        let file = place.experiment(&lab.experiment(&phase(fault, 60), ""));
        let mut child = place.run_command(&file, &[]).stdout(Stdio::null()).spawn().unwrap();
        place.wait_for("applied");
        kill_9(&child);
        child.wait().unwrap();
        // The warden's last act is to remove the ledger's folder.
        place.wait_until_healed(name);
        assert_eq!(lab.status("api-1").await, "running", "{name}");
        if name != "kill" {
            assert_eq!((lab.network("api-1").await, lab.network("store-1").await), before, "{name}");
        }
        assert_eq!(left_of(&place.run_id()).await, [""; 0], "{name}");
        // What is left of the run can still be judged, and says that it was cut short.
        let out = place.out();
        let judged = place.chaos(&["report", out.to_str().unwrap()]).output().unwrap();
        assert_eq!(judged.status.code(), Some(5), "{name}: {}", text(&judged));
        assert!(text(&judged).contains("the journal ends before the run did"), "{name}: {}", text(&judged));
    }
}

#[tokio::test]
async fn when_runner_and_warden_are_killed_recover_heals() {
    let lab = Standing::up(2).await;
    for (name, fault) in FAULTS {
        let before = lab.network("api-1").await;
        let place = Place::new();
        let file = place.experiment(&lab.experiment(&phase(fault, 60), ""));
        let mut child = place.run_command(&file, &[]).stdout(Stdio::null()).spawn().unwrap();
        place.wait_for("applied");
        let run = place.run_id();
        let found = Command::new("pgrep").args(["-f", &format!("inside warden {run}")]).output().unwrap();
        let warden: i32 = String::from_utf8(found.stdout).unwrap().trim().parse().expect("one warden");
        // SAFETY: the warden of this test's own run, just found by its run's id.
        assert_eq!(unsafe { libc::kill(warden, libc::SIGKILL) }, 0);
        kill_9(&child);
        child.wait().unwrap();
        let recovered = place.chaos(&["recover"]).output().unwrap();
        assert_eq!(recovered.status.code(), Some(0), "{name}: {}", text(&recovered));
        assert!(text(&recovered).contains(&run), "{name}: {}", text(&recovered));
        assert_eq!(lab.status("api-1").await, "running", "{name}");
        if name != "kill" {
            assert_eq!(lab.network("api-1").await, before, "{name}");
        }
        assert_eq!(left_of(&run).await, [""; 0], "{name}");
        assert_eq!(place.ledgers(), 0, "{name}");
        let again = place.chaos(&["recover"]).output().unwrap();
        assert!(text(&again).contains("nothing to heal"), "{name}: {}", text(&again));
    }
}

#[tokio::test]
async fn ctrl_c_heals_and_reports() {
    let lab = Standing::up(2).await;
    let place = Place::new();
    let file = place.experiment(&lab.experiment(&phase(FAULTS[3].1, 60), ""));
    let mut child = place.run_command(&file, &[]).stdout(Stdio::null()).spawn().unwrap();
    place.wait_for("applied");
    // SAFETY: a plain signal to a child that was not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id().try_into().unwrap(), libc::SIGINT) }, 0);
    assert_eq!(child.wait().unwrap().code(), Some(6));
    assert_eq!(lab.status("api-1").await, "running");
    let report = place.report();
    assert_eq!(report["verdict"], "aborted");
    assert!(report["faults"][0]["targets"][0]["undone_s"].is_number());
}

#[tokio::test]
async fn one_fault_is_put_into_effect_by_hand() {
    let lab = Standing::up(1).await;
    let place = Place::new();
    let out = place.out();
    let line = ["fault", "pause", "--on", "api-1", "--for", "1s", "--out", out.to_str().unwrap()];
    let mut dry = line.to_vec();
    dry.push("--dry-run");
    let planned = place.chaos(&dry).output().unwrap();
    assert_eq!(planned.status.code(), Some(0), "{}", text(&planned));
    assert!(text(&planned).contains("api-1: freeze every process"), "{}", text(&planned));
    assert!(!out.exists(), "a plan leaves nothing");
    let output = place.chaos(&line).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(place.report()["faults"][0]["proven"], true);
    assert_eq!(lab.status("api-1").await, "running");
    assert_eq!(place.ledgers(), 0);
}

#[tokio::test]
async fn a_guard_aborts_and_heals() {
    let lab = Standing::up(1).await;
    let place = Place::new();
    let fault = "pause: { on: one }";
    let file = place.experiment(&lab.experiment(&phase(fault, 60), "abort: [rate(good) < 80% over 2s]"));
    let output = place.run(&file, &[]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    assert_eq!(lab.status("api-1").await, "running");
    let report = place.report();
    assert!(report["reasons"][0]["check"].as_str().unwrap().contains("rate(good) < 80%"), "{report:#}");
    assert!(report["timings"]["time_to_detect_s"].as_f64().unwrap() < 10.0, "{report:#}");
}

#[tokio::test]
async fn what_matches_nothing_or_is_protected_is_refused_with_what_exists() {
    let lab = Standing::up(1).await;
    let place = Place::new();
    let text_of = lab
        .experiment(&phase("pause: { on: ghost }", 2), "")
        .replace("targets: {", "targets: { ghost: { service: ghost },");
    let file = place.experiment(&text_of);
    for verb in ["plan", "run"] {
        let output =
            place.chaos(&[verb, file.to_str().unwrap()]).current_dir(place.0.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
        assert!(text(&output).contains("target `ghost` matches no container"), "{}", text(&output));
        assert!(text(&output).contains("api-1 (service api)"), "{}", text(&output));
    }
}

#[tokio::test]
async fn a_plan_is_the_same_every_time_and_touches_nothing() {
    let lab = Standing::up(3).await;
    let place = Place::new();
    let text_of = lab.experiment(&phase(FAULTS[0].1, 2), "").replace("name: api-1", "service: api, pick: 1");
    let file = place.experiment(&text_of);
    let before = lab.docker.labelled(&[(label::RUN, "")]).await.unwrap();
    let plan = || place.chaos(&["plan", "--json", file.to_str().unwrap()]).output().unwrap();
    let (first, second) = (plan(), plan());
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    assert!(first.stdout == second.stdout, "two plans differ");
    assert_eq!(lab.docker.labelled(&[(label::RUN, "")]).await.unwrap(), before);
}

#[tokio::test]
async fn a_signal_that_need_not_kill_is_proven_by_its_delivery() {
    let lab = Standing::up(1).await;
    let place = Place::new();
    let fault = "kill: { on: one, signal: SIGUSR1 }";
    let phases = format!("{}\n  after: {{ for: 2s }}", phase(fault, 2));
    let output = place.run(&place.experiment(&lab.experiment(&phases, "")), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let fault = &place.report()["faults"][0];
    assert_eq!(
        (&fault["proven"], &fault["targets"][0]["evidence"]["signal"]),
        (&true.into(), &"10".into()),
        "{fault:#}"
    );
}

#[tokio::test]
async fn a_directory_that_holds_a_run_is_not_written_over() {
    let place = Place::new();
    std::fs::create_dir(place.out()).unwrap();
    std::fs::write(place.out().join("journal.jsonl"), "precious").unwrap();
    let output = place.run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/quickstart.yaml"), &[]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert_eq!(std::fs::read_to_string(place.out().join("journal.jsonl")).unwrap(), "precious");
}

/// A container of somebody else's, without our labels, that Docker removes when it stops; gone with the test.
struct Fleeting(String);

impl Fleeting {
    async fn start() -> Self {
        let image = connect().await.ensure_image().await.unwrap();
        let fleeting = Self(format!("fleeting-{}", std::process::id()));
        let args = ["run", "-d", "--rm", "--name", &fleeting.0, &image, "inside", "role", "store"];
        let started = Command::new("docker").args(args).output().unwrap();
        assert!(started.status.success(), "{}", text(&started));
        fleeting
    }
}

impl Drop for Fleeting {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = Command::new("docker").args(["rm", "-f", &self.0]).output();
    }
}

#[tokio::test]
async fn what_docker_removes_at_its_end_is_not_killed_to_be_started_again() {
    let place = Place::new();
    let fleeting = Fleeting::start().await;
    let file = place.experiment(&format!(
        "experiment: it comes back\ntargets: {{ one: {{ name: {} }} }}\n\
         phases: {{ baseline: {{ for: 1s }}, broken: {{ for: 1s, faults: [{{ kill: {{ on: one, restart: true }} }}] }} }}\n\
         steady_state: [{{ probe: {{ http: {{ get: 'http://127.0.0.1:9/' }} }} }}]\n",
        fleeting.0
    ));
    let refused = place.run(&file, &[]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    let why = &place.report()["reasons"][0]["check"];
    let expected = "can't be started again: Docker removes it as soon as it stops (`--rm`)";
    assert!(why.as_str().unwrap().contains(expected), "{why}");
    let state = connect().await.state(&fleeting.0).await.unwrap().unwrap();
    assert_eq!(state.status, "running", "nothing was done to it");
}
