//! Each kind of fault as its experiments in experiments/faults show it: held, and broken.
//!
//! One test for each experiment, so that they run side by side. Every file there must be in the list.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chaos::docker::label;
use serde_json::Value;

use super::docker::{CHAOS, connect};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/faults")
}

/// Runs an experiment as its first line says it ends, and looks at what it left.
async fn ends_as_it_says(name: &str) {
    let file = folder().join(name);
    let source = std::fs::read_to_string(&file).unwrap();
    let mut lines = source.lines();
    let header = lines.next().unwrap_or_default();
    let expected: i32 = match header {
        "# expect: exit 0 (held)" => 0,
        "# expect: exit 1 (failed)" => 1,
        other => panic!("{name} begins with `{other}`"),
    };
    assert!(lines.next().is_some_and(|line| line.starts_with("# ")), "{name} does not say what it teaches");

    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    let output = Command::new(CHAOS)
        .args(["run", file.to_str().unwrap(), "--quiet", "--out", out.to_str().unwrap()])
        .env("CHAOS_STATE_DIR", place.path().join("state"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(expected), "{name}: {said}");
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    for fault in report["faults"].as_array().unwrap() {
        assert_eq!(fault["proven"], true, "{name}: {fault:#}");
    }
    let run = report["run"].as_str().unwrap();
    let left = connect().await.labelled(&[(label::RUN, run)]).await.unwrap();
    let left: Vec<_> =
        left.into_iter().filter(|one| one.role != label::ROLE_IMAGE).map(|one| one.name).collect();
    assert_eq!(left, [""; 0], "{name} left something");
    let ledgers = std::fs::read_dir(place.path().join("state/runs")).map_or(0, Iterator::count);
    assert_eq!(ledgers, 0, "{name} left its ledger");
}

macro_rules! experiments {
    ($($test:ident = $file:literal),* $(,)?) => {
        const LISTED: &[&str] = &[$($file),*];
        $(#[tokio::test]
        async fn $test() {
            ends_as_it_says($file).await;
        })*
    };
}

experiments! {
    kill_holds = "kill.yaml",
    kill_breaks = "kill-broken.yaml",
    stop_holds = "stop.yaml",
    stop_breaks = "stop-broken.yaml",
    restart_holds = "restart.yaml",
    restart_breaks = "restart-broken.yaml",
    remove_holds = "remove.yaml",
    remove_breaks = "remove-broken.yaml",
    disconnect_holds = "disconnect.yaml",
    disconnect_breaks = "disconnect-broken.yaml",
    cpu_holds = "cpu.yaml",
    cpu_breaks = "cpu-broken.yaml",
    memory_holds = "memory.yaml",
    memory_breaks = "memory-broken.yaml",
    processes_holds = "processes.yaml",
    exec_holds = "exec.yaml",
    cpu_burn_holds = "cpu-burn.yaml",
    cpu_burn_breaks = "cpu-burn-broken.yaml",
    memory_fill_holds = "memory-fill.yaml",
    memory_fill_breaks = "memory-fill-broken.yaml",
    processes_fill_holds = "processes-fill.yaml",
    disk_holds = "disk.yaml",
    clock_holds = "clock.yaml",
    clock_breaks = "clock-broken.yaml",
}

#[test]
fn every_fault_experiment_is_run() {
    let mut names: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    let missing: Vec<_> = names.iter().filter(|name| !LISTED.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} are not run by any test");
}
