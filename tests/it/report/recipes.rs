//! The recipes for CI services, read as their services do and their shell steps run, in order, with a real run.
//!
//! What reaches out to a service is played: `uses:` steps do nothing here, and `gh` is a program that notes how it was
//! called.

use std::path::Path;
use std::process::{Command, Output};

use serde_yaml::Value;

/// Seconds of everything: what is tested is the recipe.
const EXPERIMENT: &str = "\
experiment: the shop answers while one of its replicas is slow
lab: { replicas: { apis: 2 } }
targets: { one-api: { service: api, pick: 1 } }
load:
  shoppers: { rate: 50/s, requests: [{ get: http://gateway.lab/cart }] }
slos:
  availability: { load: shoppers, good: status < 500, objective: 90% }
phases:
  baseline: { for: 2s }
  slow-api: { for: 3s, faults: [{ latency: { on: one-api, delay: 20ms } }] }
  recover: { for: 2s }
expect:
  slow-api: [rate(good) >= 50%]
";

fn recipe(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/ci").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name} is not YAML: {error}"))
}

/// A checkout with the experiment, and a `gh` that notes what it was told.
fn checkout() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("experiments")).expect("made");
    std::fs::write(dir.path().join("experiments/checkout.yaml"), EXPERIMENT).expect("written");
    let gh = dir.path().join("gh");
    std::fs::write(&gh, "#!/bin/sh\necho \"$@\" >> gh.log\n").expect("written");
    let made = Command::new("chmod").arg("+x").arg(&gh).status().expect("chmod runs");
    assert!(made.success());
    dir
}

/// Runs a piece of shell as a service does: bash that stops at the first error.
fn shell(dir: &Path, script: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_chaos")).parent().expect("it lies somewhere");
    let path = std::env::var("PATH").expect("there is one");
    Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", script])
        .current_dir(dir)
        .env("PATH", format!("{}:{}:{path}", program.display(), dir.display()))
        .env("EXPERIMENT", "experiments/checkout.yaml")
        .env("GITHUB_STEP_SUMMARY", dir.join("summary.md"))
        .env("PULL_REQUEST", "7")
        .output()
        .expect("bash runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeed(dir: &Path, script: &str) -> String {
    let output = shell(dir, script);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{script}\n{said}\n{}", text(&output.stderr));
    said
}

#[test]
fn the_github_recipe_gates_shows_and_keeps() {
    let recipe = recipe("github.yml");
    let steps = recipe["jobs"]["chaos"]["steps"].as_sequence().expect("steps").clone();
    let dir = checkout();
    let mut said = String::new();
    for step in &steps {
        let name = step["name"].as_str().unwrap_or("checkout");
        assert!(step["run"].is_string() != step["uses"].is_string(), "{name} runs or uses something");
        if let Some(uses) = step["uses"].as_str() {
            assert!(uses.contains('@'), "{name}: {uses} has a version");
        }
        if let Some(run) = step["run"].as_str() {
            said.push_str(&succeed(dir.path(), run));
        }
    }
    let read = |file: &str| {
        std::fs::read_to_string(dir.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    };
    assert!(said.contains("\n::notice file=experiments/checkout.yaml,line=1,title="), "{said}");
    assert!(read("summary.md").starts_with("## ✅ "));
    assert!(read("run/junit.xml").contains("failures=\"0\" errors=\"0\""));
    assert!(read("run/postmortem.md").starts_with("# Post-mortem: "));
    assert_eq!(read("gh.log"), "pr comment 7 --body-file run/report.md --edit-last --create-if-none\n");
    // What a step wants to keep is there, and is a baseline that the next run can be held against.
    let kept = steps.iter().find(|step| step["name"] == "Keep the evidence").expect("a step");
    assert!(dir.path().join(kept["with"]["path"].as_str().expect("a path")).is_dir());
    succeed(dir.path(), "chaos compare baseline run --tolerance 50% || [ $? = 5 ]");
    // A gate that may not be run twice in one place says so instead of passing.
    let again =
        steps.iter().find(|step| step["name"] == "Run").expect("a step")["run"].as_str().expect("a script");
    let refused = shell(dir.path(), again);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
}

#[test]
fn the_gitlab_recipe_leaves_what_it_names() {
    let recipe = recipe("gitlab-ci.yml");
    let lines = |job: &str, part: &str| -> String {
        let list = recipe[job][part].as_sequence().unwrap_or_else(|| panic!("{job} has {part}"));
        list.iter().map(|line| line.as_str().expect("a command").to_owned() + "\n").collect()
    };
    let dir = checkout();
    // GitLab runs what comes before and the script in one shell, and what comes after in another.
    succeed(dir.path(), &(lines("chaos", "before_script") + &lines("chaos", "script")));
    succeed(dir.path(), &lines("chaos", "after_script"));
    succeed(dir.path(), &lines("chaos-baseline", "script"));
    for (kind, file) in recipe["chaos"]["artifacts"]["reports"].as_mapping().expect("reports") {
        let file = dir.path().join(file.as_str().expect("a file"));
        assert!(file.is_file(), "{kind:?} is to be in {}", file.display());
    }
    assert!(dir.path().join("baseline/journal.jsonl").is_file());
    assert!(dir.path().join("run/postmortem.md").is_file());
}
