//! The pure parts import no runtime, no Docker, no file system and no clock (ARCHITECTURE.md, Invariants).

use std::path::{Path, PathBuf};

/// What must stay pure.
const PURE: [&str; 8] =
    ["spec", "plan", "fault", "slo", "verdict", "report", "load/schedule.rs", "load/schedule"];

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
