//! A target as careful people run theirs, a daemon that is reached over TCP, and IPv6: the same faults, and nothing left.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::docker::connect;
use super::run::{Place, kill_9, left_of, text};
use super::target::{Target, docker};

/// Nothing here takes longer by itself.
const LIMIT: Duration = Duration::from_secs(120);

/// An API with a read-only root, no shell, no privilege and a user of its own, in two networks, the second one with
/// IPv6 where the daemon can; and the store that it asks, beside it. Gone with the test.
struct Hardened {
    name: String,
    store: String,
    port: u16,
    ipv6: bool,
}

impl Hardened {
    async fn start(what: &str) -> Self {
        let image = connect().await.ensure_image().await.unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let name = format!("{what}-{}-{port}", std::process::id());
        let mut made = Self { store: format!("{name}-store"), name, port, ipv6: true };
        let [one, two] = made.networks();
        docker(&["network", "create", &one]);
        let subnet = format!("fd77:{port:x}::/64");
        let with = ["network", "create", "--ipv6", "--subnet", &subnet, &two];
        if !Command::new("docker").args(with).output().unwrap().status.success() {
            eprintln!("SKIPPED IPv6 of {what}: this daemon has none");
            docker(&["network", "create", &two]);
            made.ipv6 = false;
        }
        let publish = format!("127.0.0.1:{port}:8080");
        let hardening = "--read-only --tmpfs /scratch:size=16m,mode=1777 --user 4711:4712 --cap-drop ALL \
                         --security-opt no-new-privileges --memory 256m --cpus 0.5 --pids-limit 64";
        let asks = format!("{}:8080", made.store);
        for (name, options, role) in [
            (&made.store, "", ["store"].as_slice()),
            (&made.name, hardening, ["api", "--name", "one", "--store", &asks].as_slice()),
        ] {
            let mut args = vec!["create", "--name", name, "--network", &one];
            args.extend(options.split_whitespace());
            if name == &made.name {
                args.extend(["-p", &publish]);
            }
            args.extend([image.as_str(), "inside", "role"]);
            args.extend(role);
            docker(&args);
            docker(&["network", "connect", &two, name]);
            docker(&["start", name]);
        }
        made
    }

    fn networks(&self) -> [String; 2] {
        [format!("{}-one", self.name), format!("{}-two", self.name)]
    }

    fn inspect(&self, format: &str) -> String {
        docker(&["inspect", "-f", format, &self.name])
    }

    fn pid(&self) -> String {
        self.inspect("{{.State.Pid}}")
    }

    /// An experiment whose phases these are, each with a condition that always holds.
    fn experiment(&self, phases: &[(String, &str, &str)]) -> String {
        let each =
            |line: &dyn Fn(&(String, &str, &str)) -> String| phases.iter().map(line).collect::<String>();
        format!(
            "experiment: it is as it was\ntargets: {{ one: {{ name: {} }}, store: {{ name: {} }} }}\n\
             load: {{ users: {{ rate: 30/s, timeout: 500ms, requests: [{{ get: 'http://127.0.0.1:{}/cart' }}] }} }}\n\
             phases:\n{}expect:\n{}",
            self.name,
            self.store,
            self.port,
            each(&|(name, lasts, faults)| format!("  {name}: {{ for: {lasts}, faults: [{faults}] }}\n")),
            each(&|(name, ..)| format!("  {name}: [count(scheduled) > 0]\n")),
        )
    }

    /// Everything about it that a fault could have changed.
    fn state(&self) -> String {
        let pid = self.pid();
        let inside = |line: &str| {
            let net = format!("--net=/proc/{pid}/ns/net");
            let output = Command::new("nsenter").args([&net, "sh", "-c", line]).output().unwrap();
            assert!(output.status.success(), "{line}: {}", text(&output));
            String::from_utf8(output.stdout).unwrap()
        };
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let files = |folder: &str| {
            let entries = std::fs::read_dir(format!("/proc/{pid}/root/{folder}")).unwrap();
            entries.map(|entry| format!("{:?}\n", entry.unwrap().file_name())).collect::<String>()
        };
        [
            inside("nft -s list ruleset; tc -d qdisc show; ip -o addr | sed 's/valid_lft.*//; s/tentative //'; ip route; ip -6 route"),
            self.inspect("{{json .HostConfig}} {{.State.Status}} {{json .NetworkSettings.Networks}}"),
            read("limits"),
            read("cgroup"),
            files("scratch"),
            files("dev/shm"),
        ]
        .join("\n")
    }

    /// How long a connection from inside it to `to` takes; nothing if none comes about within `patience`.
    fn connects(&self, to: IpAddr, patience: Duration) -> Option<Duration> {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        let inside = std::thread::spawn(move || {
            // SAFETY: the descriptor is a network namespace; concerns this thread alone.
            assert_eq!(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            let began = Instant::now();
            TcpStream::connect_timeout(&SocketAddr::new(to, 8080), patience).ok().map(|_| began.elapsed())
        });
        inside.join().unwrap()
    }

    /// The store's address in network two.
    fn store_at(&self, key: &str) -> IpAddr {
        let format = format!("{{{{(index .NetworkSettings.Networks \"{}\").{key}}}}}", self.networks()[1]);
        docker(&["inspect", "-f", &format, &self.store]).parse().unwrap()
    }
}

impl Drop for Hardened {
    fn drop(&mut self) {
        // Gone already is as good.
        let [one, two] = self.networks();
        let _ = Command::new("docker").args(["rm", "-f", &self.name, &self.store]).output();
        let _ = Command::new("docker").args(["network", "rm", &one, &two]).output();
    }
}

/// What agents do, a phase each; with what makes something come by of what would otherwise be rare.
const INSIDE: &[&str] = &[
    "latency: { on: one, delay: 20ms }",
    "loss: { on: one, share: 50%, direction: both }",
    "duplicate: { on: one, share: 50% }",
    "corrupt: { on: one, share: 20% }",
    "reorder: { on: one, share: 50%, delay: 20ms }",
    "flaky: { on_for: 100ms, off_for: 100ms, fault: { loss: { on: one, share: 100% } } }",
    "bandwidth: { on: one, rate: 1Mbit/s }",
    "partition: { groups: { a: [one], b: [store] } }",
    "blackhole: { on: one, peers: [store] }",
    "reset: { on: one, peers: [store] }",
    "connections: { on: one, reset: 100%, every: 100ms }}, { connections: { on: one, limit: 0 }",
    "dns: { on: one, answer: nxdomain, share: 50% }}, { connections: { on: one, reset: 100%, every: 100ms, direction: egress }",
    "http: { on: one, port: 8080, abort: { status: 503 } }}, { connections: { on: one, reset: 100%, every: 100ms }",
    "cpu: { on: one, burn: 50% }",
    "memory: { on: one, fill: 60% }",
    "processes: { on: one, fill: 10 }",
    "files: { on: one, leave: 0 }",
    "disk: { on: one, path: /scratch, leave: 1MB }",
    "clock: { on: one, offset: 1h }",
];

/// What can't be had of it, and why.
const REFUSED: &[(&str, &str)] = &[
    ("disk: { on: one, path: /, leave: 1MB }", "read-only"),
    ("io: { on: one, path: /scratch, write: 1MiB/s }", "is kept in memory"),
    ("kill: { on: one, processes: [chaos] }", "is the container's first process"),
    ("pause: { on: one, processes: [chaos] }", "is the container's first process"),
];

#[tokio::test]
async fn every_fault_from_inside_works_on_a_hardened_target_and_leaves_it_as_it_was() {
    let target = Hardened::start("hardened").await;
    let faults: Vec<String> = INSIDE.iter().map(|fault| format!("{{ {fault} }}")).collect();
    let mut phases = vec![("baseline".to_owned(), "1s", "")];
    phases.extend(faults.iter().enumerate().map(|(at, fault)| (format!("p{at}"), "1s", fault.as_str())));
    let before = target.state();
    let place = Place::new();
    let output = place.run(&place.experiment(&target.experiment(&phases)), &[]);
    // Held means: each of them was put into effect, proven from inside, and taken back.
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(target.state(), before);
    assert_eq!(left_of(&place.run_id()).await, [""; 0]);

    for (fault, why) in REFUSED {
        let place = Place::new();
        let fault = format!("{{ {fault} }}");
        let output =
            place.run(&place.experiment(&target.experiment(&[("broken".into(), "1s", &fault)])), &[]);
        assert_eq!(output.status.code(), Some(3), "{fault}: {}", text(&output));
        // Lines may be wrapped anywhere.
        let said = text(&output).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(why), "{fault}: {said}");
    }
    assert_eq!(target.state(), before);
}

#[tokio::test]
async fn peers_are_told_apart_by_ipv6_as_well() {
    let target = Hardened::start("ipv6").await;
    if !target.ipv6 {
        return;
    }
    let (v4, v6) = (target.store_at("IPAddress"), target.store_at("GlobalIPv6Address"));
    let before = target.state();
    let broken = |fault: &str, look: &dyn Fn()| {
        let place = Place::new();
        let fault = format!("{{ {fault} }}");
        let file = place.experiment(&target.experiment(&[("broken".into(), "60s", &fault)]));
        let mut child = place.run_command(&file, &[]).stdout(Stdio::null()).spawn().unwrap();
        place.wait_for("applied");
        look();
        assert!(place.chaos(&["stop"]).output().unwrap().status.success());
        child.wait().unwrap();
        assert_eq!(target.state(), before);
    };
    broken("latency: { on: one, delay: 400ms, peers: [store] }", &|| {
        for to in [v4, v6] {
            let took = target.connects(to, LIMIT).expect("it is late, not lost");
            assert!(took >= Duration::from_millis(400), "{to}: {took:?}");
        }
    });
    broken(&format!("blackhole: {{ on: one, peers: ['{v6}'] }}"), &|| {
        assert_eq!(target.connects(v6, Duration::from_secs(2)), None);
        assert!(target.connects(v4, LIMIT).is_some(), "only that address");
    });
    broken(&format!("blackhole: {{ on: one, except: ['{v6}/128'] }}"), &|| {
        assert_eq!(target.connects(v4, Duration::from_secs(2)), None);
        assert!(target.connects(v6, LIMIT).is_some(), "all but that one");
    });
}

/// The daemon of this machine, at a port of 127.0.0.1.
fn forwarded() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let socket =
        std::env::var("DOCKER_HOST").ok().and_then(|host| Some(host.strip_prefix("unix://")?.to_owned()));
    let socket = socket.unwrap_or_else(|| "/var/run/docker.sock".into());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((mut client, _)) = listener.accept().await {
                let socket = socket.clone();
                tokio::spawn(async move {
                    let mut daemon = tokio::net::UnixStream::connect(&socket).await.unwrap();
                    // Either end may hang up.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut daemon).await;
                });
            }
        });
    });
    address
}

#[tokio::test]
async fn a_daemon_over_tcp_does_as_well() {
    let target = Hardened::start("remote").await;
    let host = format!("tcp://{}", forwarded());
    let before = target.state();
    // The runner dies: its warden, which also has nothing but TCP, heals.
    let place = Place::new();
    let latency = "{ latency: { on: one, delay: 50ms } }, { cpu: { on: one, throttle: 0.2 } }";
    let file = place.experiment(&target.experiment(&[("broken".into(), "60s", latency)]));
    let mut child =
        place.run_command(&file, &[]).env("DOCKER_HOST", &host).stdout(Stdio::null()).spawn().unwrap();
    place.wait_for("applied");
    kill_9(&child);
    child.wait().unwrap();
    let began = Instant::now();
    place.wait_until_healed("latency and cpu over TCP");
    // The daemon removes agents in its own time.
    while left_of(&place.run_id()).await != [""; 0] {
        assert!(began.elapsed() < LIMIT, "{:?} are left", left_of(&place.run_id()).await);
    }
    let limits = |state: &str| state.replace("\"CpuQuota\":-1", "\"CpuQuota\":0");
    assert_eq!(limits(&target.state()), limits(&before));

    let place = Place::new();
    let phases: Vec<(String, &str, &str)> = [
        ("latency", "{ latency: { on: one, delay: 20ms } }"),
        ("cpu", "{ cpu: { on: one, throttle: 0.02 } }"),
        ("partition", "{ partition: { groups: { a: [one], b: [store] } } }"),
        ("kill", "{ kill: { on: one, restart: true } }"),
    ]
    .map(|(name, fault)| (name.to_owned(), "1s", fault))
    .into();
    let file = place.experiment(&target.experiment(&phases));
    let output = place.run_command(&file, &[]).env("DOCKER_HOST", &host).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(left_of(&place.run_id()).await, [""; 0]);
    assert_eq!(target.inspect("{{.State.Status}}"), "running");
}

/// The disk under Docker's own files: its number, and its file in /dev. Nothing if there is none to be seen.
fn dockers_disk() -> Option<(String, String)> {
    use std::os::unix::fs::MetadataExt;
    let root = docker(&["info", "-f", "{{.DockerRootDir}}"]);
    let device = std::fs::metadata(root).ok()?.dev();
    let entry = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
    let mut entry = std::fs::canonicalize(entry).ok()?;
    if entry.join("partition").exists() {
        entry = entry.parent()?.to_owned();
    }
    let number = std::fs::read_to_string(entry.join("dev")).ok()?.trim().to_owned();
    let node = format!("/dev/{}", entry.file_name()?.to_str()?);
    std::path::Path::new(&node).exists().then_some((number, node))
}

/// What a process's cgroup says of limits on its I/O, in either version.
fn io_limits(pid: &str) -> String {
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path_of = |key: &str| cgroups.lines().find_map(|line| Some(line.split_once(key)?.1.to_owned()));
    let files = match path_of(":blkio:") {
        Some(path) => ["read", "write"]
            .map(|way| format!("/sys/fs/cgroup/blkio{path}/blkio.throttle.{way}_bps_device"))
            .to_vec(),
        None => vec![format!("/sys/fs/cgroup{}/io.max", path_of("0::").expect("one of the versions"))],
    };
    files.iter().map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect()
}

#[tokio::test]
async fn less_of_a_disk_is_had_and_given_back_as_it_was() {
    let Some((number, node)) = dockers_disk() else {
        eprintln!(
            "SKIPPED less_of_a_disk_is_had_and_given_back_as_it_was: Docker's files lie on no disk to be seen"
        );
        return;
    };
    // What it had is a limit as well.
    let had = format!("{node}:50mb");
    let target = Target::start("throttled", &["--rm", "-v", "/data", "--device-write-bps", &had]).await;
    let pid = target.inspect("{{.State.Pid}}");
    let before = io_limits(&pid);
    assert!(before.contains(&number) && before.contains("52428800"), "{before}");
    let fault =
        "io: { on: one, path: /data, write: 8MiB/s } }, { io: { on: one, path: /data, limit_write: 1MiB/s }";
    let place = Place::new();
    let output = place.run(&place.experiment(&target.experiment(fault, 4, "")), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(io_limits(&pid), before);
    let journal = std::fs::read_to_string(place.out().join("journal.jsonl")).unwrap();
    let counted = |line: &str| -> Option<[u64; 2]> {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let counted = value.pointer("/evidence/packets/counted").or(value.pointer("/evidence/counted"))?;
        Some([counted["target_io_bytes"].as_u64()?, counted["effect_ms"].as_u64()?])
    };
    let [bytes, ms] = journal.lines().filter_map(counted).next_back().expect("it was looked at");
    // Eight times as much was wanted, and a little may go at once.
    assert!(bytes < 3_000 * ms + (3 << 20), "{bytes} bytes in {ms} ms");

    // A runner that dies gives it back as well.
    let place = Place::new();
    let limit = "io: { on: one, path: /data, limit_write: 1MiB/s }";
    let file = place.experiment(&target.experiment(limit, 60, ""));
    let mut child = place.run_command(&file, &[]).stdout(Stdio::null()).spawn().unwrap();
    place.wait_for("applied");
    assert!(io_limits(&pid).contains("1048576"), "{}", io_limits(&pid));
    kill_9(&child);
    child.wait().unwrap();
    place.wait_until_healed("io");
    assert_eq!(io_limits(&pid), before);
}
