//! The experiments of the fault catalogue, each run as a user would, and the plan that each comes to.

use std::path::{Path, PathBuf};

use chaos::agent::wire::Kernel;
use chaos::plan::inventory::Inventory;

use super::run::ready_experiment;

/// One test an experiment, so that they run side by side.
macro_rules! catalogue {
    ($($test:ident = $file:literal),* $(,)?) => {
        const RUN: &[&str] = &[$($file),*];
        $(#[tokio::test]
        async fn $test() {
            ready_experiment(concat!("faults/", $file)).await;
        })*
    };
}

catalogue! {
    bandwidth_holds = "bandwidth.yaml",
    bandwidth_fails = "bandwidth-broken.yaml",
    blackhole_holds = "blackhole.yaml",
    blackhole_fails = "blackhole-broken.yaml",
    partition_holds = "partition.yaml",
    partition_fails = "partition-broken.yaml",
    corrupt_holds = "corrupt.yaml",
    corrupt_fails = "corrupt-broken.yaml",
    duplicate_holds = "duplicate.yaml",
    duplicate_fails = "duplicate-broken.yaml",
    dns_holds = "dns.yaml",
    dns_fails = "dns-broken.yaml",
    http_holds = "http.yaml",
    http_fails = "http-broken.yaml",
    flaky_holds = "flaky.yaml",
    flaky_fails = "flaky-broken.yaml",
    loss_holds = "loss.yaml",
    loss_fails = "loss-broken.yaml",
    loss_in_bursts_holds = "loss-bursts.yaml",
    loss_in_bursts_fails = "loss-bursts-broken.yaml",
    reorder_holds = "reorder.yaml",
    reorder_fails = "reorder-broken.yaml",
    reset_holds = "reset.yaml",
    reset_fails = "reset-broken.yaml",
    connections_holds = "connections.yaml",
    connections_fails = "connections-broken.yaml",
    kill_holds = "kill.yaml",
    kill_fails = "kill-broken.yaml",
    stop_holds = "stop.yaml",
    stop_fails = "stop-broken.yaml",
    restart_holds = "restart.yaml",
    restart_fails = "restart-broken.yaml",
    remove_holds = "remove.yaml",
    remove_fails = "remove-broken.yaml",
    disconnect_holds = "disconnect.yaml",
    disconnect_fails = "disconnect-broken.yaml",
    cpu_holds = "cpu.yaml",
    cpu_fails = "cpu-broken.yaml",
    memory_holds = "memory.yaml",
    memory_fails = "memory-broken.yaml",
    processes_holds = "processes.yaml",
    processes_fails = "processes-broken.yaml",
    exec_holds = "exec.yaml",
    exec_fails = "exec-broken.yaml",
    pause_fails = "pause-broken.yaml",
    cpu_burn_holds = "cpu-burn.yaml",
    cpu_burn_fails = "cpu-burn-broken.yaml",
    memory_fill_holds = "memory-fill.yaml",
    memory_fill_fails = "memory-fill-broken.yaml",
    io_holds = "io.yaml",
    io_fails = "io-broken.yaml",
    processes_fill_holds = "processes-fill.yaml",
    processes_fill_fails = "processes-fill-broken.yaml",
    files_holds = "files.yaml",
    files_fails = "files-broken.yaml",
    disk_holds = "disk.yaml",
    disk_fails = "disk-broken.yaml",
    clock_holds = "clock.yaml",
    clock_fails = "clock-broken.yaml",
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/faults")
}

/// The names of the catalogue's experiments, sorted.
fn names() -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    names
}

/// Faults that no experiment of the catalogue shows one way or the other, and why.
const SHOWN_ELSEWHERE: &[(&str, &str)] = &[
    (
        "duplicate",
        "a packet that comes twice harms nothing here: duplicate-broken.yaml shows one that is not proven",
    ),
    ("latency", "slow-replica.yaml and slow-replica-hedged.yaml"),
    ("pause", "paused-replica.yaml holds"),
];

#[test]
fn every_fault_is_shown_held_and_broken() {
    let words = |exit: &str| -> Vec<String> {
        let texts = names().into_iter().map(|name| std::fs::read_to_string(folder().join(name)).unwrap());
        let texts = texts.filter(|text| text.starts_with(&format!("# expect: exit {exit} ")));
        texts
            .flat_map(|text| {
                text.split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect::<Vec<_>>()
            })
            .collect()
    };
    let (held, broken) = (words("0"), words("1"));
    for word in chaos::fault::Fault::WORDS.iter().map(|word| (*word).to_owned()) {
        if SHOWN_ELSEWHERE.iter().all(|(elsewhere, _)| *elsewhere != word) {
            assert!(
                held.contains(&word) && broken.contains(&word),
                "{word} needs one that holds and one that breaks"
            );
        }
    }
}

#[test]
fn every_experiment_of_the_catalogue_is_run() {
    let missing: Vec<_> = names().into_iter().filter(|name| !RUN.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} are not run by any test");
}

/// A kernel that has what every engine needs, but no netem.
fn kernel() -> Kernel {
    Kernel {
        ifb: true,
        nft: true,
        nft_owner: true,
        nft_queue: true,
        nfqueue: true,
        nft_redirect: true,
        conntrack: true,
        tbf: true,
        sock_diag: true,
        sock_destroy: true,
        ..Kernel::none()
    }
}

#[test]
fn every_fault_comes_to_its_steps() {
    for name in names() {
        let input = chaos::spec::Input {
            text: std::fs::read_to_string(folder().join(&name)).unwrap(),
            ..Default::default()
        };
        let experiment = chaos::spec::parse(&input).unwrap();
        let lab = &experiment.lab.as_ref().expect("the catalogue brings its labs").value;
        let containers = chaos::lab::predicted(lab, &folder()).unwrap();
        let plan =
            chaos::plan::build(&experiment, &Inventory { containers, kernel: Some(kernel()) }).unwrap();
        let text = plan.to_string();
        // The faults with their steps: what comes before and after is the experiment's own text.
        let steps: Vec<_> = text
            .lines()
            .skip_while(|line| *line != "phases")
            .take_while(|line| *line != "notes")
            .filter(|line| line.starts_with("    ") && !line.starts_with("    expects"))
            .collect();
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!(format!("steps_of_{}", name.trim_end_matches(".yaml")), steps.join("\n"));
        });
    }
}
