//! `chaos load` as people call it, against a server of the test's own.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::load::server::{Manner, Server};

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(30);

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.arg("load").args(args).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn chaos(args: &[&str]) -> Output {
    command(args).output().expect("chaos runs")
}

/// Where the machine was too busy to send on time, the program says so instead of judging: it is asked again.
fn on_time(mut call: impl FnMut() -> Output) -> Output {
    for _ in 0..4 {
        let output = call();
        if output.status.code() != Some(5) {
            return output;
        }
    }
    call()
}

fn url(server: &Server, path: &str) -> String {
    format!("http://{}{path}", server.address)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// What `--json -` printed, as its schema says; and the exit code that goes with it.
fn answered(output: &Output) -> Value {
    let answered: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)));
    let printed = Command::new(env!("CARGO_BIN_EXE_chaos")).args(["schema", "load"]).output().expect("runs");
    let schema = serde_json::from_slice(&printed.stdout).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is valid");
    let errors: Vec<_> = validator.iter_errors(&answered).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(output.status.code().map(i64::from), answered["exit_code"].as_i64());
    answered
}

#[test]
fn a_load_is_sent_to_the_last_request_and_summed_up() {
    let server = Server::start(Manner::Answer { delay_ms: 1 });
    let dir = tempfile::tempdir().expect("a directory");
    let (json, html) = (dir.path().join("sub/load.json"), dir.path().join("load.html"));
    let mut call = command(&[&url(&server, "/"), "--rate", "100/s", "--duration", "1s", "--slo", "p50 < 5s"]);
    let log = dir.path().join("load.hlog");
    call.arg("--json").arg(&json).arg("--html").arg(&html).arg("--hlog").arg(&log);
    let output = on_time(|| call.output().expect("chaos runs"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let summary = text(&output.stdout);
    for line in ["HELD  http://127.0.0.1:", "\n100/s, constant, for 1s\n", "\nrequests  100 due, 100/s\n"] {
        assert!(summary.contains(line), "{line}: {summary}");
    }
    for line in ["\ngood      100 (100%)\n", "\nstatus    200: 100\n", "\nok        p50(latency) < 5s (is "] {
        assert!(summary.contains(line), "{line}: {summary}");
    }
    assert!(text(&output.stderr).contains("phase load (1s)"), "{}", text(&output.stderr));
    let saved: Value = serde_json::from_slice(&std::fs::read(json).expect("saved")).expect("JSON");
    assert_eq!((&saved["schema"], &saved["load"]["good"]), (&"chaos.load/1".into(), &100.into()));
    assert_eq!(saved["load"]["rate_per_s"], 100.0);
    let hist = Command::new(env!("CARGO_BIN_EXE_chaos")).arg("hist").arg(log).output().expect("chaos runs");
    assert!(hist.status.success() && text(&hist.stdout).contains("100"), "{}", text(&hist.stderr));
    let page = std::fs::read_to_string(html).expect("saved");
    assert!(page.contains("100/s, constant, for 1s") && page.contains("</html>"));
    assert!(!page.contains("chaos report"), "there is no journal to make it from again");
}

#[test]
fn what_is_asked_decides_the_exit() {
    let slow = Server::start(Manner::Answer { delay_ms: 30 });
    let broken = Server::start(Manner::Status(503));
    let refused = Server::start(Manner::Refuse);
    let call = |server: &Server, more: &[&str]| {
        let url = url(server, "/");
        let args = [url.as_str(), "--requests", "20", "--rate", "100/s", "--json", "-", "--quiet"];
        answered(&on_time(|| chaos(&[&args[..], more].concat())))
    };
    for (server, more, exit, good) in [
        (&slow, &["--slo", "p99 < 5s", "--slo", "good == 100%"][..], 0, 20),
        (&slow, &["--slo", "p50 < 10ms"], 1, 20),
        (&slow, &["--expect-status", "404"], 0, 0),
        (&broken, &[], 0, 0),
        (&broken, &["--expect-status", "5xx", "--slo", "bad == 0"], 0, 20),
        (&broken, &["--slo", "good >= 99%"], 1, 0),
        (&refused, &["--slo", "count(failed) == 0"], 1, 0),
    ] {
        let answered = call(server, more);
        assert_eq!(
            (&answered["exit_code"], &answered["load"]["good"]),
            (&exit.into(), &good.into()),
            "{more:?}"
        );
        assert_eq!(answered["load"]["scheduled"], 20, "{more:?}");
    }
    assert_eq!(call(&refused, &[])["load"]["errors"]["refused"], 20);
}

#[test]
fn users_wait_for_answers_and_are_marked_as_such() {
    let server = Server::start(Manner::Answer { delay_ms: 2 });
    let args = [&url(&server, "/"), "--users", "4", "--requests", "57", "--threads", "2", "--quiet"];
    let output = chaos(&[&args[..], &["--json", "-"]].concat());
    let answered = answered(&output);
    assert_eq!((&answered["load"]["good"], &answered["load"]["scheduled"]), (&57.into(), &57.into()));
    assert_eq!(server.seen.lock().expect("seen").len(), 57);
    assert!(answered["model"].as_str().expect("text").contains("blind to coordinated omission"));
    assert_eq!(text(&output.stderr), "", "it was told to be quiet");
}

#[test]
fn requests_are_as_the_flags_say() {
    let server = Server::start(Manner::Answer { delay_ms: 0 });
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("body.json");
    std::fs::write(&file, "{\"price\": \"${NOT_A_VARIABLE}\"}").expect("written");
    let port = server.address.port();
    let (url, resolve) = (format!("http://shop.test:{port}/cart?a=b"), format!("shop.test:{port}:127.0.0.1"));
    let body = format!("@{}", file.display());
    let args = [url.as_str(), "--resolve", &resolve, "--requests", "1", "-H", "X-A: b:c", "-d", &body];
    let output = on_time(|| chaos(&[&args[..], &["--method", "put"]].concat()));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let seen = server.seen.lock().expect("seen");
    let (head, body) = seen[0].split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with(&format!("PUT /cart?a=b HTTP/1.1\r\nhost: shop.test:{port}\r\n")), "{head}");
    assert!(head.contains("\r\nx-a: b:c\r\n") && head.ends_with("content-length: 30"), "{head}");
    assert_eq!(body, "{\"price\": \"${NOT_A_VARIABLE}\"}");
}

#[test]
fn redirects_are_followed_when_a_flag_says_so() {
    let server = Server::start(Manner::Status(302));
    let url = url(&server, "/");
    let args = [url.as_str(), "--requests", "3", "--quiet", "--json", "-"];
    let plain = answered(&on_time(|| chaos(&args)));
    assert_eq!(plain["load"]["good"], 3, "{plain:#}");
    // Where to, this server does not say.
    let followed = answered(&on_time(|| chaos(&[&args[..], &["--redirects", "1"]].concat())));
    assert_eq!(followed["load"]["errors"], serde_json::json!({ "redirects": 3 }), "{followed:#}");
}

/// Asks a running `chaos load` to stop.
fn interrupt(child: &Child) {
    // SAFETY: a plain signal to a child that was not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id().try_into().expect("a pid"), libc::SIGINT) }, 0);
}

#[test]
fn ctrl_c_ends_the_load_and_reports() {
    let server = Server::start(Manner::Answer { delay_ms: 0 });
    let args = [&url(&server, "/"), "--rate", "200/s", "--duration", "10m", "--quiet", "--json", "-"];
    let child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let deadline = Instant::now() + LIMIT;
    while server.seen.lock().expect("seen").is_empty() {
        assert!(Instant::now() < deadline, "no request came");
        std::thread::sleep(Duration::from_millis(5));
    }
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    let answered = answered(&output);
    assert_eq!((output.status.code(), &answered["verdict"]), (Some(6), &"aborted".into()));
    assert_eq!(answered["sentence"], "Cut short: stopped by the user (SIGINT).");
    assert!(answered["load"]["good"].as_u64() >= Some(1), "{answered:#}");
}

#[test]
fn what_can_not_be_sent_is_refused_with_a_remedy() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("written");
    let below = file.join("below.json");
    let url = "http://127.0.0.1:1/";
    let mut said = String::new();
    for (args, exit) in [
        (&["127.0.0.1:8080"][..], 2),
        (&["http://gateway.lab/"], 2),
        (&[url, "--rate", "fast"], 2),
        (&[url, "--rate", "0/s"], 2),
        (&[url, "--users", "0"], 2),
        (&[url, "--users", "3", "--rate", "3/s"], 2),
        (&[url, "--duration", "0s", "--timeout", "0s"], 2),
        (&[url, "--slo", "p99 < 200"], 2),
        (&[url, "--slo", "slo(availability)"], 2),
        (&[url, "--expect-status", "ok"], 2),
        (&[url, "-H", "no colon"], 2),
        (&[url, "-H", "a: b", "-H", "A: c"], 2),
        (&[url, "-H", "content-length: 5"], 2),
        (&[url, "-d", "@nowhere"], 2),
        (&[url, "-d", "{{ uid }}"], 2),
        (&[url, "--resolve", "a:b:c"], 2),
        (&[url, "--redirects", "21"], 2),
        (&["http://no-such-host.invalid/"], 3),
        (&[url, "--json", below.to_str().expect("text")], 3),
    ] {
        let output = chaos(&[args, &["--quiet"]].concat());
        let stderr = text(&output.stderr).replace(&dir.path().display().to_string(), "DIR");
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{args:?}");
        let shown = args.join(" ").replace(&dir.path().display().to_string(), "DIR");
        said.push_str(&format!("$ chaos load {shown}\n{stderr}\n"));
    }
    assert!(!Path::new("nowhere").exists());
    insta::assert_snapshot!(said);
}
