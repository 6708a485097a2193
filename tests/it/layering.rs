//! The pure parts import no runtime, no Docker, no file system and no clock (ARCHITECTURE.md, Invariants).

use std::path::{Path, PathBuf};

/// What must stay pure.
const PURE: [&str; 16] = [
    "lint",
    "compare",
    "spec",
    "plan",
    "fault",
    "slo",
    "verdict",
    "report",
    "statistics",
    "hlog",
    "load/schedule.rs",
    "load/schedule",
    "load/censoring.rs",
    "load/packed.rs",
    "load/sparse.rs",
    "load/hist.rs",
];

/// What a pure part may not name.
const EFFECTS: [&str; 14] = [
    "tokio",
    "hyper",
    "bollard",
    "libc::",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "std::env",
    "crate::docker",
    "crate::clock",
];

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.into()];
    }
    let mut found: Vec<_> = std::fs::read_dir(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .flat_map(|entry| sources(&entry.unwrap().path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    found.sort();
    found
}

#[test]
fn pure_parts_name_no_effects() {
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("runner");
    let mut broken = Vec::new();
    for part in PURE {
        let files = sources(&runner.join(part));
        assert!(!files.is_empty(), "{part} has moved: name its new place here");
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            // Tests inside a file may use what they like.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (number, line) in code.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                for effect in EFFECTS.iter().filter(|effect| code.contains(**effect)) {
                    broken.push(format!("{}:{}: {effect}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "pure parts name effects:\n{}", broken.join("\n"));
}

#[test]
fn only_docker_names_bollard() {
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("runner");
    let named: Vec<_> = sources(&runner)
        .into_iter()
        .filter(|file| !file.starts_with(runner.join("docker")) && *file != runner.join("docker.rs"))
        .filter(|file| std::fs::read_to_string(file).unwrap().contains("bollard::"))
        .collect();
    assert!(named.is_empty(), "bollard is named in {named:?}");
}

/// Who reads the wall clock, and what for: people, Docker, templates. Nothing that is timed goes by it, so a clock that
/// jumps moves no instant of a run, no deadline and no wait.
const WALL_CLOCK: [(&str, &str); 15] = [
    ("docker.rs", "how far the daemon's clock is ahead of ours, whose events say when by it"),
    ("inject/sent.rs", "which of the daemon's events are of a signal of ours"),
    ("docker/image.rs", "the age that the image shows, which is the program's"),
    ("run/mod.rs", "a run's id, for people"),
    ("run/adhoc.rs", "when it began, for people"),
    ("run/opening.rs", "when a run began, for people"),
    ("run/probing.rs", "from when on lines of a container's log count, which bear the wall clock's time"),
    ("run/sampling.rs", "instants that Prometheus is asked about, which knows no other time"),
    ("halt.rs", "since when runs are halted, for people"),
    ("ledger.rs", "the age of a folder that a dead runner left without a lock"),
    ("docker/make.rs", "the age of an image that Docker tagged"),
    ("docker/look.rs", "from when on Docker tells events"),
    ("load/engine.rs", "templates that ask for the time"),
    ("agent/task/skew.rs", "the clock that the target's processes are to read wrongly"),
    ("load/stamp.rs", "the kernel's stamps of packets, brought over to the one clock at each wake-up"),
];

#[test]
fn nothing_is_timed_by_the_wall_clock() {
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("runner");
    let reads = ["SystemTime::now", "Timestamp::now", "CLOCK_REALTIME", "Zoned::now", ".modified()"];
    let mut unknown = Vec::new();
    for file in sources(&runner) {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let name = file.strip_prefix(&runner).unwrap().display().to_string();
        let found = code.lines().map(|line| line.split("//").next().unwrap_or_default());
        let found: Vec<_> = found.filter(|line| reads.iter().any(|read| line.contains(read))).collect();
        if !found.is_empty() && !WALL_CLOCK.iter().any(|(known, _)| *known == name) {
            unknown.push(format!("{name}: {}", found.join("; ")));
        }
    }
    assert!(unknown.is_empty(), "these read the wall clock; say here what for:\n{}", unknown.join("\n"));
}
