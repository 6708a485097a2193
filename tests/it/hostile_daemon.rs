//! A daemon that answers slowly, wrongly, or disappears in the middle of a call: a real one behind a proxy that
//! does so. Whatever it does, the run ends with a clear error and the target is as it was.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::run::{Place, text};
use super::target::Target;

/// A request's head is smaller.
const HEAD_BYTES: usize = 64 << 10;
const REAL: &str = "/var/run/docker.sock";

/// What the proxy does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Waits first.
    Slow(Duration),
    /// Answers that it failed, without having done it.
    Refuse,
    /// Answers something that is not JSON, without having done it.
    Nonsense,
    /// Hangs up without having done it.
    HangUpBefore,
    /// Does it, and hangs up without saying so.
    HangUpAfter,
    /// Does it when it is its turn.
    InTurn,
    /// Does it, and keeps the connection to speak on it in the daemon's name.
    Keep,
}

/// Which requests, how, and how often.
#[derive(Clone, Debug)]
struct Rule {
    /// In the request's first line.
    what: &'static str,
    way: Way,
    times: usize,
}

struct Proxy {
    place: Place,
    shared: Arc<Shared>,
    /// Lets one request go on that waits for its turn.
    turn: Sender<()>,
}

/// What the proxy's connections share.
struct Shared {
    rules: Mutex<Vec<Rule>>,
    /// Connections to speak on.
    kept: Mutex<Vec<UnixStream>>,
    turns: Mutex<Receiver<()>>,
}

impl Proxy {
    fn start(rules: &[Rule]) -> Self {
        let (turn, turns) = channel();
        let (rules, turns) = (Mutex::new(rules.to_vec()), Mutex::new(turns));
        let shared = Arc::new(Shared { rules, kept: Mutex::default(), turns });
        let proxy = Self { place: Place::new(), shared, turn };
        let listener = UnixListener::bind(proxy.socket()).unwrap();
        let shared = Arc::clone(&proxy.shared);
        // Ends with the test's process, or sooner: each test's program makes a few hundred connections.
        std::thread::spawn(move || {
            for stream in listener.incoming().take(100_000) {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream.unwrap(), &shared));
            }
        });
        proxy
    }

    fn socket(&self) -> std::path::PathBuf {
        self.place.0.path().join("docker.sock")
    }

    /// `chaos` with the proxy for its daemon.
    fn chaos(&self, args: &[&str]) -> Command {
        let mut command = self.place.chaos(args);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        command
    }

    fn run(&self, experiment: &str) -> Output {
        let file = self.place.experiment(experiment);
        let out = self.place.out();
        self.chaos(&["run", file.to_str().unwrap(), "--quiet", "--out", out.to_str().unwrap()])
            .output()
            .unwrap()
    }

    /// From now on an honest daemon.
    fn behave(&self) {
        self.shared.rules.lock().unwrap().clear();
    }
}

fn serve(mut client: UnixStream, shared: &Shared) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") && head.len() < HEAD_BYTES {
        match client.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(len) => head.extend(&buffer[..len]),
        }
    }
    let first = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let way = {
        let mut rules = shared.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| rule.times > 0 && first.contains(rule.what));
        rule.map(|rule| {
            rule.times -= 1;
            rule.way
        })
    };
    let answer = |status: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let failed = match way {
        Some(Way::Refuse) => {
            answer("500 Internal Server Error", "{\"message\":\"the daemon has no wish to\"}")
        }
        Some(Way::Nonsense) => answer("200 OK", "{[\u{1b}[2J"),
        Some(Way::HangUpBefore) => return,
        Some(Way::InTurn) => {
            // Everybody's turn once the test is over.
            let _ = shared.turns.lock().unwrap().recv();
            String::new()
        }
        Some(Way::Slow(time)) => {
            std::thread::sleep(time);
            String::new()
        }
        _ => String::new(),
    };
    if !failed.is_empty() {
        // A client that is gone needs no answer.
        let _ = client.write_all(failed.as_bytes());
        return;
    }
    let mut daemon = UnixStream::connect(REAL).unwrap();
    daemon.write_all(&head).unwrap();
    if way == Some(Way::HangUpAfter) {
        // It has been done once the daemon answers.
        let _ = daemon.read(&mut buffer);
        return;
    }
    if way == Some(Way::Keep) {
        shared.kept.lock().unwrap().push(client.try_clone().unwrap());
    }
    let (mut from, mut to) = (client.try_clone().unwrap(), daemon.try_clone().unwrap());
    let upward = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut daemon, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = upward.join();
}

fn rule(what: &'static str, way: Way, times: usize) -> Rule {
    Rule { what, way, times }
}

const PAUSE: &str = "pause: { on: one }";

#[tokio::test]
async fn a_slow_daemon_costs_time_and_nothing_else() {
    let target = Target::start("slow-daemon", &[]).await;
    let proxy = Proxy::start(&[rule("", Way::Slow(Duration::from_millis(100)), usize::MAX)]);
    let output = proxy.run(&target.experiment(PAUSE, 2, ""));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(target.status(), "running");
    assert_eq!(proxy.place.ledgers(), 0);
}

/// Calls that go wrong, and a fault that makes them.
const CALLS: [(&str, &str); 9] = [
    ("/containers/json", PAUSE),
    ("/info", PAUSE),
    ("/events", PAUSE),
    ("/pause", PAUSE),
    ("/unpause", PAUSE),
    ("/volumes", PAUSE),
    ("/containers/create", "latency: { on: one, delay: 10ms }"),
    ("/attach", "latency: { on: one, delay: 10ms }"),
    ("/start", "latency: { on: one, delay: 10ms }"),
];

/// Lets each call of a run against `target` go wrong in this way.
fn each_call_goes_wrong(target: &Target, way: Way) {
    let before = target.everything();
    for (what, fault) in CALLS {
        let proxy = Proxy::start(&[rule(what, way, 1)]);
        let begun = Instant::now();
        let output = proxy.run(&target.experiment(fault, 1, ""));
        let case = format!("{way:?} of {what}: {}", text(&output));
        assert!(matches!(output.status.code(), Some(0 | 1 | 3 | 5)), "{:?}: {case}", output.status);
        assert!(begun.elapsed() < Duration::from_secs(60), "{case}");
        assert!(!text(&output).contains('\u{1b}'), "{case}");
        assert_eq!(target.everything(), before, "{case}");
        assert_eq!(proxy.place.ledgers(), 0, "{case}");
    }
}

#[tokio::test]
async fn whatever_call_goes_wrong_the_target_is_healed() {
    let mut cases = Vec::new();
    for way in [Way::Refuse, Way::Nonsense, Way::HangUpBefore, Way::HangUpAfter] {
        cases.push((Target::start(&format!("wrong-daemon-{}", cases.len()), &[]).await, way));
    }
    // Side by side, each with a target of its own: runs wait for most of their time.
    std::thread::scope(|scope| {
        for (target, way) in &cases {
            scope.spawn(|| each_call_goes_wrong(target, *way));
        }
    });
}

#[tokio::test]
async fn what_can_not_be_healed_is_exit_7_with_the_command_that_heals_it() {
    let target = Target::start("unhealed", &[]).await;
    let proxy = Proxy::start(&[rule("/unpause", Way::Refuse, usize::MAX)]);
    let output = proxy.run(&target.experiment(PAUSE, 1, ""));
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    let run = proxy.place.run_id();
    let command = format!("chaos recover {run}");
    assert!(text(&output).contains(&command), "{}", text(&output));
    let why = proxy.place.report()["reasons"][0]["check"].to_string();
    assert!(why.contains(&target.name) && why.contains("the daemon has no wish to"), "{why}");
    assert_eq!(target.status(), "paused", "or the test proves nothing");
    proxy.behave();
    // Its warden goes on trying, and may be the one that heals it now.
    let until = Instant::now() + Duration::from_secs(30);
    while proxy.place.ledgers() > 0 {
        proxy.chaos(&["recover", &run]).output().unwrap();
        assert!(Instant::now() < until, "it is not healed");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(target.status(), "running");
}

#[tokio::test]
async fn an_agent_that_speaks_nonsense_is_taken_for_gone_and_the_target_is_healed() {
    // Longer than any line may be, and no end of it.
    let endless = vec![b'x'; chaos::agent::wire::MAX_LINE_BYTES + 1];
    for (said, why) in
        [(&b"hello\n"[..], "it spoke nonsense"), (&endless, "could not read what the agent says")]
    {
        let target = Target::start("babbling", &[]).await;
        let before = target.everything();
        let proxy = Proxy::start(&[rule("/attach", Way::Keep, 1)]);
        let fault = "latency: { on: one, delay: 10ms, direction: both }";
        let file = proxy.place.experiment(&target.experiment(fault, 60, ""));
        let out = proxy.place.out();
        let mut child = proxy
            .chaos(&["run", file.to_str().unwrap(), "--quiet", "--out", out.to_str().unwrap()])
            .spawn()
            .unwrap();
        proxy.place.wait_for("applied");
        // The daemon's frame of a program's standard output: its number, three zeros, the length.
        let mut stream = proxy.shared.kept.lock().unwrap().pop().expect("the agent's streams go through us");
        let length = u32::try_from(said.len()).unwrap().to_be_bytes();
        stream.write_all(&[&[1, 0, 0, 0], &length[..], said].concat()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(5), "{why}");
        let journal = std::fs::read_to_string(out.join("journal.jsonl")).unwrap();
        assert!(journal.contains(why), "{journal}");
        assert_eq!((target.everything(), proxy.place.ledgers()), (before, 0), "{why}");
        assert_eq!(super::run::left_of(&proxy.place.run_id()).await, [""; 0], "{why}");
    }
}

#[tokio::test]
async fn what_a_service_lost_since_it_was_planned_counts_for_limits() {
    let service = ["--label", "com.docker.compose.service=shrinking"];
    let (target, other) =
        (Target::start("shrinking", &service).await, Target::start("shrinking", &service).await);
    // What runs is asked for when planning, and again before anything is done.
    let proxy = Proxy::start(&[rule("status", Way::InTurn, 2)]);
    let file = proxy.place.experiment(&target.experiment(PAUSE, 1, "limits: { targets: 50% }"));
    let out = proxy.place.out();
    let run = proxy
        .chaos(&["run", file.to_str().unwrap(), "--quiet", "--out", out.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    proxy.turn.send(()).unwrap();
    proxy.place.wait_for("started");
    drop(other);
    proxy.turn.send(()).unwrap();
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("hits 1 of 1 containers of `shrinking`"), "{}", text(&output));
    assert_eq!((target.status().as_str(), proxy.place.ledgers()), ("running", 0));
}

#[tokio::test]
async fn a_container_that_vanishes_before_its_fault_is_an_error_and_nothing_is_left() {
    let target = Target::start("vanishing", &[]).await;
    let place = Place::new();
    for fault in [PAUSE, "latency: { on: one, delay: 10ms }"] {
        let target = Target::start("vanishing", &[]).await;
        let place = Place::new();
        let mut child =
            place.run_command(&place.experiment(&target.experiment(fault, 2, "")), &[]).spawn().unwrap();
        place.wait_for("armed");
        super::target::docker(&["rm", "-f", &target.name]);
        let code = child.wait().unwrap().code();
        assert!(matches!(code, Some(3 | 5)), "{fault}: {code:?}");
        assert_eq!(super::run::left_of(&place.run_id()).await, [""; 0], "{fault}");
        assert_eq!(place.ledgers(), 0, "{fault}");
    }
    // Gone before the run looks for it: refused when planning.
    let file = place.experiment(&target.experiment(PAUSE, 1, ""));
    drop(target);
    let output = place.run(&file, &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("matches no container"), "{}", text(&output));
}

#[tokio::test]
async fn hostile_labels_reach_no_terminal_and_no_page() {
    let service = "com.docker.compose.service=\u{1b}[2J<script>alert(1)</script>";
    let target = Target::start("hostile", &["--label", service]).await;
    let place = Place::new();
    let file = place.experiment(&target.experiment(PAUSE, 1, "limits: { targets: 1 }"));
    let plan = place.chaos(&["plan", file.to_str().unwrap()]).output().unwrap();
    let output = place.run(&file, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    for said in [text(&plan), text(&output)] {
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
    let page = std::fs::read_to_string(place.out().join("report.html")).unwrap();
    assert!(!page.contains("<script>alert(1)"), "markup of a label is in the page");
    let missing = place.experiment(&target.experiment(PAUSE, 1, "").replace(&target.name, "nowhere"));
    let refused = place.chaos(&["plan", missing.to_str().unwrap()]).output().unwrap();
    assert!(!text(&refused).contains('\u{1b}'), "{:?}", text(&refused));
}

#[test]
fn ctrl_c_while_the_lab_comes_up_leaves_nothing() {
    let place = Place::new();
    let text_of = "experiment: x\nlab: { replicas: { apis: 3 } }\ntargets: { one: { name: api-1 } }\n\
         load: { l: { rate: 10/s, requests: [{ get: 'http://gateway.lab/cart' }] } }\n\
         phases: { a: { for: 1s }, b: { for: 30s, faults: [{ pause: { on: one } }] } }\nexpect: { b: [count(scheduled) > 0] }\n";
    for wait_ms in [0, 150, 600] {
        let place_of_this = Place::new();
        let mut child = place_of_this.run_command(&place.experiment(text_of), &[]).spawn().unwrap();
        let run = place_of_this.run_id();
        std::thread::sleep(Duration::from_millis(wait_ms));
        // SAFETY: a plain signal to a child that was not waited for yet.
        assert_eq!(unsafe { libc::kill(child.id().try_into().unwrap(), libc::SIGINT) }, 0);
        let code = child.wait().unwrap().code();
        // On a machine so busy that the lab does not answer in time, that is what ends the run.
        assert!(matches!(code, Some(3 | 6)), "after {wait_ms} ms: {code:?}");
        let left = tokio::runtime::Runtime::new().unwrap().block_on(super::run::left_of(&run));
        assert_eq!(left, [""; 0], "after {wait_ms} ms");
        assert_eq!(place_of_this.ledgers(), 0, "after {wait_ms} ms");
    }
}
