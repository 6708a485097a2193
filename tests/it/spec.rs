//! The experiment language from outside: the real program on real files, its schema and its reference.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use chaos::spec::decode::Mistakes;
use chaos::spec::{json_schema, reference, yaml};
use serde_json::Value;

const MINIMAL: &str = "experiment: it stands\nphases: { only: { for: 1s } }\n";

fn chaos(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.args(args).env("NO_COLOR", "1");
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is UTF-8")
}

/// Runs `chaos validate` with `input` on stdin.
fn validate_stdin(args: &[&str], input: &str) -> Output {
    let mut child = chaos(&[&["validate", "-"], args].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("stdin is piped").write_all(input.as_bytes()).expect("the program reads stdin");
    child.wait_with_output().expect("the program ends")
}

/// The experiments that come with the program, sorted by name.
fn experiments() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("there are experiments")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 8, "{files:?}");
    files
}

/// An experiment as the data that its schema is about.
fn data(text: &str) -> Value {
    let mut mistakes = Mistakes::default();
    yaml::read(text, &mut mistakes).unwrap_or_else(|| panic!("{mistakes:?}")).to_json()
}

#[test]
fn every_experiment_validates_and_says_how_it_ends() {
    for file in experiments() {
        let output = chaos(&["validate"]).arg(&file).output().expect("the program starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let line = text(&output.stdout);
        assert!(
            line.contains("yaml: ok (") && line.contains(" fault") && line.lines().count() == 1,
            "{line}"
        );
        let source = std::fs::read_to_string(&file).expect("the experiment can be read");
        let words = ["held", "failed", "", "", "baseline_unmet", "invalid", "aborted", "unhealed"];
        let ends = |(code, word): (usize, &&str)| {
            !word.is_empty() && source.starts_with(&format!("# expect: exit {code} ({word})\n"))
        };
        assert!(words.iter().enumerate().any(ends), "{}: the first line says how it ends", file.display());
    }
}

#[test]
fn validate_reports_every_file_and_every_mistake() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the file can be written");
        path
    };
    let good = file("good.yaml", MINIMAL);
    let bad = file("bad.yaml", "experiment: x\nseed: y\nphases: { a: { for: 1 } }\n");
    let worse = file("worse.yaml", "experiment: [\n");
    let latin = file("latin.yaml", "");
    std::fs::write(&latin, b"experiment: caf\xe9\n").expect("the file can be written");
    let gone = folder.path().join("gone.yaml");
    let output =
        chaos(&["validate"]).args([&good, &bad, &worse, &latin, &gone]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), format!("{}: ok (1 phase, 0 faults, 0 loads)\n", good.display()));
    let errors = text(&output.stderr);
    for said in [
        "bad.yaml:2:7",
        "bad.yaml:3:21",
        "worse.yaml:2:1",
        "latin.yaml` is not UTF-8 text: line 1",
        "could not read `",
        "gone.yaml`\n  because: No such file",
    ] {
        assert!(errors.contains(said), "{said}:\n{errors}");
    }
}

#[test]
fn validate_reads_stdin_overrides_and_the_environment() {
    let good = validate_stdin(&["--set", "phases.only.for=2s", "--set", "seed=3"], MINIMAL);
    assert_eq!((good.status.code(), text(&good.stdout)), (Some(0), "-: ok (1 phase, 0 faults, 0 loads)\n"));

    let wrong = validate_stdin(&["--set", "phases.only.fro=2s"], MINIMAL);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("--> --set:1:13"), "{}", text(&wrong.stderr));

    let shapeless = validate_stdin(&["--set", "seed"], MINIMAL);
    assert_eq!(shapeless.status.code(), Some(2));
    assert!(text(&shapeless.stderr).contains("has no `=`"), "{}", text(&shapeless.stderr));

    let unset = validate_stdin(&[], "experiment: ${CHAOS_TEST_UNSET}\nphases: { only: { for: 1s } }\n");
    assert_eq!(unset.status.code(), Some(2));
    let said = text(&unset.stderr);
    assert!(said.contains("`CHAOS_TEST_UNSET` is not set") && said.contains("<stdin>:1:13"), "{said}");

    let set = chaos(&["validate", "/dev/stdin"])
        .env("CHAOS_TEST_SET", "it stands")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .and_then(|mut child| {
            let input = "experiment: ${CHAOS_TEST_SET}\nphases: { only: { for: 1s } }\n";
            child.stdin.take().expect("stdin is piped").write_all(input.as_bytes())?;
            child.wait()
        })
        .expect("the program runs");
    assert!(set.success());
}

#[test]
fn the_schema_takes_what_the_program_takes_and_refuses_unknown_fields() {
    let schema = json_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    for file in experiments() {
        let experiment = data(&std::fs::read_to_string(&file).expect("the experiment can be read"));
        let errors: Vec<_> = validator
            .iter_errors(&experiment)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
    }
    let around = |inside: &str| format!("{MINIMAL}{inside}\n");
    for right in [
        "lab: replicas",
        "lab: { replicas: }",
        "lab: { replicas: {} }",
        "lab: { compose: compose.yaml }",
        "targets: { a: { name: 7, pick: 1 }, b: { service: x, pick: 50% }, c: { re: a, pick: all } }",
        "load: { a: { rate: 1/s, requests: [ { get: http://a, expect: { status: 200 } } ] } }",
        "load: { a: { rate: 1/s, requests: [ { get: http://a, expect: { status: [200, 3xx] } } ] } }",
        "load: { a: { rate: 1/s, requests: [ { post: http://a, headers: { a: 1, b: true }, json: [1, {}] } ] } }",
        "load: { a: { rate: 1/s, timeout: 1m30s, requests: [ { get: http://a, weight: } ] } }",
        "targets: { a: { name: a } }\nlimits: { targets: 1, fault: }",
        "abort:",
        "limits:",
        "why: ~",
    ] {
        let errors: Vec<_> =
            validator.iter_errors(&data(&around(right))).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{right}: {errors:?}");
        let read = validate_stdin(&[], &around(right));
        assert!(read.status.success(), "{right}: {}", text(&read.stderr));
    }
    for wrong in [
        "sed: 1",
        "lab: replica",
        "lab: { replicas: { api: 1 } }",
        "lab: { replicas: {}, compose: x }",
        "targets: { a: { nam: a } }",
        "load: { a: { rate: 1/s, requests: [ { got: http://a } ] } }",
        "load: { a: { rate: 100, requests: [ { get: http://a } ] } }",
        "load: { a: { rate: 1/s, users: few, requests: [ { get: http://a } ] } }",
        "abort: [ nonsense ]",
        "limits: { fault: 5 }",
        "seed: -1",
        "seed: a",
    ] {
        assert!(!validator.is_valid(&data(&around(wrong))), "{wrong}");
        assert!(!validate_stdin(&[], &around(wrong)).status.success(), "{wrong}");
    }
}

#[test]
fn schema_prints_both_schemas() {
    for args in [&["schema"][..], &["schema", "experiment"], &["schema", "report"]] {
        let output = chaos(args).output().expect("the program starts");
        assert!(output.status.success());
        let schema: Value = serde_json::from_slice(&output.stdout).expect("the schema is JSON");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        jsonschema::validator_for(&schema).expect("the schema is one");
    }
}

#[test]
fn every_field_and_word_has_docs() {
    fn walk(schema: &Value, path: &str, count: &mut usize) {
        let Value::Object(fields) = schema else {
            return;
        };
        let properties = fields.get("properties").and_then(Value::as_object);
        let tagged =
            fields.get("required").and_then(Value::as_array).is_some_and(|required| required.len() == 1)
                && properties.is_some_and(|properties| properties.len() == 1);
        for (name, property) in properties.into_iter().flatten() {
            let docs = property["description"].as_str().unwrap_or_default();
            // What is behind a tag has the docs of its type.
            assert!(
                docs.len() > 5 || (tagged && fields.contains_key("description")),
                "{path}.{name} has no docs"
            );
            *count += 1;
            walk(property, &format!("{path}.{name}"), count);
        }
        for (index, choice) in fields.get("oneOf").and_then(Value::as_array).into_iter().flatten().enumerate()
        {
            assert!(
                choice["description"].as_str().is_some_and(|docs| docs.len() > 3),
                "{path}[{index}] has no docs"
            );
            walk(choice, &format!("{path}[{index}]"), count);
        }
        for (name, definition) in fields.get("$defs").and_then(Value::as_object).into_iter().flatten() {
            assert!(
                definition["description"].as_str().is_some_and(|docs| docs.len() > 5),
                "{name} has no docs"
            );
            walk(definition, name, count);
        }
    }
    let mut count = 0;
    walk(&json_schema(), "experiment", &mut count);
    assert!(count > 60, "only {count} fields were found");
}

/// experiments/README.md holds the generated reference between these two lines.
const BEGIN: &str =
    "<!-- What follows is generated from the types. To update it: UPDATE=1 cargo nextest run reference -->\n";
const END: &str = "<!-- The generated part ends here. -->\n";

#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/README.md");
    let readme = std::fs::read_to_string(&path).expect("the reference exists");
    let (head, tail) = readme.split_once(BEGIN).expect("the reference has its first mark");
    let (generated, tail) = tail.split_once(END).expect("the reference has its second mark");
    let current = format!("\n{}\n", reference());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{current}{END}{tail}"))
            .expect("the reference can be written");
    } else {
        assert!(
            generated == current,
            "experiments/README.md is not what the types say; run `UPDATE=1 cargo nextest run reference`"
        );
    }
}

#[test]
fn the_reference_shows_examples_that_validate() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/README.md");
    let readme = std::fs::read_to_string(path).expect("the reference exists");
    let examples: Vec<_> = readme
        .split("```yaml\n")
        .skip(1)
        .filter_map(|part| part.split("```").next())
        .filter(|example| example.starts_with("experiment:"))
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        let output = validate_stdin(&[], example);
        assert!(output.status.success(), "{example}\n{}", text(&output.stderr));
    }
}

/// What a process took until it ended.
struct Took {
    exit: i32,
    time: Duration,
    rss_bytes: u64,
    stderr: String,
}

/// Runs `chaos validate` on a file with these bytes and measures it.
fn measured(folder: &Path, name: &str, bytes: &[u8]) -> Took {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("the file can be written");
    let errors = folder.join(format!("{name}.err"));
    let started = Instant::now();
    #[expect(clippy::zombie_processes, reason = "it is waited for below, by wait4")]
    let child = chaos(&["validate"])
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&errors).expect("the file can be written"))
        .spawn()
        .expect("the program starts");
    let pid = i32::try_from(child.id()).expect("pids are small");
    let mut status = 0;
    // SAFETY: all-zero bytes are a valid rusage: it holds only integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `pid` is our own child that nobody else waits for, and both pointers are to live values.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    assert_eq!(waited, pid, "our child can be waited for");
    Took {
        exit: if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 },
        time: started.elapsed(),
        rss_bytes: u64::try_from(usage.ru_maxrss).expect("sizes are positive") * 1024,
        stderr: std::fs::read_to_string(errors).expect("messages are UTF-8"),
    }
}

#[test]
fn hostile_files_end_in_an_error_at_once_and_in_little_memory() {
    /// A second on a machine to itself; tests share theirs with others.
    const LONGEST: Duration = Duration::from_secs(5);
    const MOST_BYTES: u64 = 100_000_000;
    let mib = yaml::MAX_TEXT_BYTES;
    // A fixed sequence that looks like noise (Marsaglia's xorshift).
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut noise = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    let garbage: Vec<u8> = (0..10_000_000).map(&mut noise).collect();
    let printable: Vec<u8> = (0..mib).map(&mut noise).map(|byte| b' ' + byte % 95).collect();
    let laughs = (1..20).fold("l0: &l0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n".to_owned(), |text, level| {
        let aliases = vec![format!("*l{}", level - 1); 9].join(", ");
        format!("{text}l{level}: &l{level} [{aliases}]\n")
    });
    let repeated = |piece: &str| piece.repeat(mib / piece.len()).into_bytes();
    let named = |pattern: &str| (0..20_000).map(|n| pattern.replace('#', &n.to_string())).collect::<String>();
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in [
        ("garbage", garbage),
        ("ten megabytes of text", "experiment: x\n".repeat(750_000).into_bytes()),
        ("printable", printable),
        ("billion laughs", laughs.into_bytes()),
        (
            "one long alias",
            format!("a: &a {}\nb: [{}]", "x".repeat(mib / 2), "*a, ".repeat(100_000)).into_bytes(),
        ),
        ("nested lists", repeated("[")),
        ("nested mappings", repeated("{")),
        ("nested dashes", repeated("- ")),
        ("nested keys", repeated("? ")),
        ("anchors", repeated("&a ")),
        ("one long word", repeated("x")),
        ("one long foreign word", repeated("é")),
        ("an unclosed quote", [b"\"".to_vec(), repeated("\\u0041")].concat()),
        ("repeated keys", repeated("k: v\n")),
        ("unknown fields", named("k#: v\n").into_bytes()),
        ("unknown fields on a line", format!("{{ {} }}", named("k#: v, ")).into_bytes()),
        ("many variables", [b"experiment: ".to_vec(), repeated("${X}")[..mib - 20].to_vec()].concat()),
        ("many loads", format!("experiment: x\nload:\n{}", named("  l#: { rate: x }\n")).into_bytes()),
        ("many checks", format!("experiment: x\nsteady_state:\n{}", named("  - slo(s#)\n")).into_bytes()),
        ("many targets", format!("experiment: x\ntargets:\n{}", named("  t#: {}\n")).into_bytes()),
    ] {
        let took = measured(folder.path(), name, &bytes);
        assert_eq!(took.exit, 2, "{name}: {}", &took.stderr[..took.stderr.len().min(2_000)]);
        assert!(took.stderr.starts_with("error: "), "{name}");
        assert!(took.time < LONGEST, "{name}: {:?}", took.time);
        assert!(took.rss_bytes < MOST_BYTES, "{name}: {} bytes", took.rss_bytes);
        assert!(took.stderr.len() < 200_000, "{name}: {} bytes of messages", took.stderr.len());
        eprintln!("{name}: {:?}, {} kB", took.time, took.rss_bytes / 1000);
    }
}
