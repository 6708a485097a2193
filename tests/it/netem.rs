//! The netem engine, and nftables' own `queue` expression, against a kernel that has them: user-mode Linux.
//!
//! Many kernels have neither, so the outer test boots one as an ordinary process, on this machine's own file
//! system (read-only), and has it run the inner tests of this same test program. Those are ignored otherwise.

#![expect(clippy::print_stdout, reason = "what was measured is shown with `--no-capture`")]

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chaos::agent::fate::Fates;
use chaos::agent::netlink::Socket;
use chaos::agent::nfqueue::Queue;
use chaos::agent::nft::Batch;
use chaos::agent::nft::rule::{Bypass, QueueWay};
use chaos::agent::wire::{self, Direction, Distribution, Engine, Outcome};

use super::agent_lab::{
    Case, FAR, NEAR, Namespace, PATIENCE, Pair, delay, filter_cases, jittered, make_room, step,
    tcp_round_trip,
};

/// Longer than the kernel takes to boot and the inner tests to run, on a busy machine.
const BOOT_PATIENCE: Duration = Duration::from_secs(240);
/// What the kernel under test prints when every inner test has passed.
const PASSED: &str = "inner tests: all passed";
/// This kernel's clock ticks a hundred times a second, and netem wakes by it.
const TICK: Duration = Duration::from_millis(10);

#[test]
fn netem_holds_what_it_says_in_a_kernel_that_has_it() {
    if !Path::new("/usr/bin/linux.uml").exists() {
        eprintln!("SKIPPED netem: needs Debian's package user-mode-linux");
        assert!(std::env::var_os("CHAOS_NO_SKIP").is_none(), "netem was skipped: needs user-mode-linux");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("init");
    let tests = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh
         PATH=/usr/sbin:/usr/bin:/sbin:/bin
         mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
         ip link set lo up
         {} --ignored --nocapture --test-threads=1 it::netem::inner_ it::netem_chance::inner_ && echo '{PASSED}'
         echo o > /proc/sysrq-trigger
         sleep 60",
        tests.display()
    );
    std::fs::write(&init, script).unwrap();
    std::fs::set_permissions(&init, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut kernel = Command::new("/usr/bin/linux.uml")
        .args(["mem=256M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet"])
        .args(["con=null", "con0=fd:0,fd:1"])
        .arg(format!("init={}", init.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = kernel.stdout.take().unwrap();
    let (sender, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = std::io::Read::read_to_end(&mut output, &mut text);
        let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
    });
    let said = said.recv_timeout(BOOT_PATIENCE);
    let _ = kernel.kill();
    let _ = kernel.wait();
    let said = said.expect("the kernel under test ends in time");
    assert!(said.contains(PASSED), "the kernel under test said:\n{said}");
    said.lines().filter(|line| line.contains("ms asked:")).for_each(|line| println!("{line}"));
}

/// Loads a module of the kernel under test with all it depends on. There is no modprobe for this kernel.
fn load(module: &str) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let folder = format!("/usr/lib/uml/modules/{}", release.trim());
    let all = std::fs::read_to_string(format!("{folder}/modules.dep")).unwrap();
    let line = all.lines().find(|line| line.split(':').next().unwrap().ends_with(&format!("/{module}.ko")));
    let (path, needs) = line.unwrap_or_else(|| panic!("no module {module}")).split_once(':').unwrap();
    for path in needs.split_whitespace().rev().chain([path]) {
        let file = std::fs::File::open(format!("{folder}/{path}")).unwrap();
        // SAFETY: an open file, empty parameters, no flags.
        let failed = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
        let error = std::io::Error::last_os_error();
        assert!(failed == 0 || error.raw_os_error() == Some(libc::EEXIST), "{path}: {error}");
    }
}

fn load_all() {
    for module in [
        "ipv6",
        "veth",
        "ifb",
        "sch_netem",
        "sch_ingress",
        "sch_tbf",
        "cls_flower",
        "act_mirred",
        "nf_tables",
        "nft_queue",
        "nfnetlink_queue",
        "bridge",
    ] {
        load(module);
    }
}

pub fn pair() -> Pair {
    load_all();
    Pair::new()
}

/// None early; the median within two ticks, as there are two netems where both directions are delayed, and
/// what this slow kernel takes for the exchange itself, and as much again for company.
fn check_delays(mut trips: Vec<Duration>, count: usize, ms: u64, plain: Duration) {
    assert_eq!(trips.len(), count, "some never came back");
    trips.sort();
    let (least, median) = (trips[0], trips[count / 2]);
    let asked = Duration::from_millis(ms);
    assert!(least >= asked, "{least:?} where {ms} ms were asked for");
    assert!(
        median < asked + 2 * TICK + 2 * plain,
        "{median:?} where {ms} ms were asked for, {plain:?} without"
    );
}

/// A hundred exchanges, ten under way at once: more would wait for each other on this slow kernel.
fn exchanges(pair: &Pair, server: std::net::SocketAddr) -> Vec<Duration> {
    (0..10).flat_map(|_| pair.udp_round_trips(server, 10, PATIENCE)).collect()
}

fn median(mut trips: Vec<Duration>) -> Duration {
    trips.sort();
    trips[trips.len() / 2]
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_netem_delays_in_the_direction_asked() {
    let pair = pair();
    let before = pair.near.state();
    let servers = [pair.echo_udp(0), pair.echo_udp(1)];
    let plain = median(exchanges(&pair, servers[0]));
    let mut agent = pair.agent();
    assert!(agent.hello.kernel.netem && agent.hello.kernel.ifb, "{:?}", agent.hello.kernel);
    for (direction, ms) in [(Direction::Egress, 200), (Direction::Ingress, 200), (Direction::Both, 400)] {
        agent.impair(&[step(1, direction, delay(200))]);
        for server in servers {
            let trips = exchanges(&pair, server);
            let added = median(trips.clone()) - plain;
            println!("netem, {direction:?}, {ms} ms asked: {added:?} added to the median of 100 exchanges");
            check_delays(trips, 100, ms, plain);
        }
        let undone = &agent.undo(&[1])[&1];
        assert!(undone.verified, "{undone:?}");
        assert!(undone.counters.matched_packets >= 200, "{undone:?}");
        assert_eq!(undone.counters.lost_packets, Some(0));
        assert_eq!(pair.near.state(), before);
    }
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_netem_touches_only_what_the_filter_names() {
    let pair = pair();
    let mut agent = pair.agent();
    for Case { what, filter, hit } in filter_cases() {
        for direction in [Direction::Egress, Direction::Ingress] {
            let servers = [pair.echo_udp(0), pair.echo_udp(1)];
            let mut impairment = step(1, direction, delay(100));
            impairment.ports = vec![servers[0].port(), servers[1].port()];
            filter(&mut impairment);
            agent.impair(&[impairment]);
            for (server, hit) in servers.into_iter().zip(hit) {
                let trip = pair.udp_round_trips(server, 1, PATIENCE)[0];
                assert_eq!(
                    trip >= Duration::from_millis(100),
                    hit,
                    "{what}, {direction:?}, {server}: {trip:?}"
                );
            }
            assert!(agent.undo(&[1])[&1].verified);
        }
    }
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_netem_never_turns_delay_into_loss() {
    let pair = pair();
    let mut agent = pair.agent();
    agent.impair(&[step(1, Direction::Egress, delay(500))]);
    let [near, far] = [(&pair.near, NEAR), (&pair.far, FAR)]
        .map(|(end, addresses)| end.run(|| UdpSocket::bind((addresses[0], 0)).unwrap()));
    make_room(&far);
    // Three times what netem holds unless told otherwise, in less time than the delay.
    for number in 0..3_000u32 {
        near.send_to(&number.to_ne_bytes(), far.local_addr().unwrap()).unwrap();
    }
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    for number in 0..3_000u32 {
        let mut buffer = [0; 4];
        far.recv(&mut buffer).unwrap_or_else(|error| panic!("packet {number}: {error}"));
        assert_eq!(u32::from_ne_bytes(buffer), number, "overtaken");
    }
    assert_eq!(agent.read(1).lost_packets, Some(0));
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_netem_lets_held_packets_go_on_when_undone() {
    let pair = pair();
    let stream = pair.connect(pair.echo_tcp(0), PATIENCE).unwrap();
    let mut agent = pair.agent();
    agent.impair(&[step(1, Direction::Egress, jittered(300, 50, Distribution::Pareto))]);
    let waiting = std::thread::spawn(move || tcp_round_trip(&stream).unwrap());
    while agent.read(1).matched_packets == 0 {
        std::thread::yield_now();
    }
    let undone = &agent.undo(&[1])[&1];
    assert!(undone.verified && undone.counters.lost_packets == Some(0), "{undone:?}");
    // A lost packet would be sent again after another 200 ms at the earliest.
    let trip = waiting.join().unwrap();
    assert!(trip < Duration::from_millis(700), "{trip:?}");
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_netem_of_a_dead_agent_is_purged() {
    let pair = pair();
    let before = pair.near.state();
    let mut dead = pair.agent();
    dead.impair(&[step(1, Direction::Both, delay(200))]);
    drop(dead);
    assert_ne!(pair.near.state(), before, "nothing was left to purge");
    let mut agent = pair.agent();
    assert_eq!(agent.ask(wire::Command::Purge { tag: "other".into() }), Outcome::Purged(0));
    assert_ne!(pair.near.state(), before, "another run's was purged");
    assert_eq!(agent.ask(wire::Command::Purge { tag: "test".into() }), Outcome::Purged(2));
    assert_eq!(pair.near.state(), before);
    let trip = pair.udp_round_trips(pair.echo_udp(0), 1, PATIENCE)[0];
    assert!(trip < Duration::from_millis(200), "{trip:?} after the purge");
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_netem_leaves_other_peoples_qdiscs_alone() {
    let pair = pair();
    pair.near.shell("tc qdisc replace dev eth0 root handle 7: tbf rate 100mbit burst 100k latency 50ms");
    let before = pair.near.state();
    let server = pair.echo_udp(0);
    let mut agent = pair.agent();
    agent.impair(&[step(1, Direction::Both, delay(50))]);
    assert!(pair.near.state().contains("tbf 7: dev eth0 root"), "their qdisc is gone");
    assert!(pair.udp_round_trips(server, 1, PATIENCE)[0] >= Duration::from_millis(100));
    assert!(agent.undo(&[1])[&1].verified);
    assert_eq!(pair.near.state(), before);
    // Filters of theirs in the place where ours would be: not for netem, and this kernel has nothing else.
    pair.near.shell("tc qdisc add dev eth0 clsact; tc filter add dev eth0 egress protocol ip prio 1 flower");
    let before = pair.near.state();
    let refused = agent.arm(&[step(2, Direction::Egress, delay(50))]);
    assert!(matches!(&refused, Outcome::Error(why) if why.contains("somebody else's")), "{refused:?}");
    assert_eq!(pair.near.state(), before);
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_netem_is_undone_at_the_end_of_input_and_at_the_deadline() {
    let pair = pair();
    let before = pair.near.state();
    let mut agent = pair.agent();
    agent.impair(&[step(1, Direction::Both, delay(200))]);
    assert!(agent.close().success());
    assert_eq!(pair.near.state(), before);
    let mut agent = pair.agent();
    let armed = agent.ask(wire::Command::Arm {
        tag: "test".into(),
        impairments: vec![step(1, Direction::Both, delay(50))],
        tasks: BTreeMap::new(),
        engine: Some(Engine::Netem),
        deadline_ns: 100_000_000,
    });
    assert_eq!(armed, Outcome::Armed([(1, Engine::Netem)].into()));
    agent.ask(wire::Command::Fire { steps: vec![1], at_ns: None });
    assert!(matches!(agent.hear().outcome, Outcome::Expired(expired) if expired[&1].verified));
    assert_eq!(pair.near.state(), before);
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_native_queue_expression_leads_to_our_engine() {
    // This kernel's nftables knows bridges alone, so the rule stands on a bridge between the two ends.
    const BRIDGE: u8 = libc::NFPROTO_BRIDGE as u8;
    const ASKED: Duration = Duration::from_millis(60);
    load_all();
    let [near, middle, far] = [(); 3].map(|()| Namespace::new());
    middle.ip("link add br0 type bridge");
    for (end, address, port) in [(&near, NEAR[0], "left"), (&far, FAR[0], "right")] {
        end.ip(&format!("link add eth0 type veth peer name {port} netns {}", middle.path()));
        end.ip(&format!("addr add {address}/24 dev eth0"));
        end.ip("link set eth0 up");
        middle.ip(&format!("link set {port} master br0 up"));
    }
    middle.ip("link set br0 up");
    let (queue, nft) = middle.run(|| {
        (
            Queue::bind(Fates::new(&delay(60)).unwrap(), None).unwrap(),
            Socket::open(libc::NETLINK_NETFILTER).unwrap(),
        )
    });
    middle
        .shell("nft 'add table bridge t; add chain bridge t base { type filter hook forward priority 0; }'");
    let mut batch = Batch::begin();
    batch.add_chain(BRIDGE, "t", "hit");
    batch.add_rule(BRIDGE, "t", "hit", |rule| rule.queue(QueueWay::Native, queue.number(), Bypass::Yes));
    batch.commit(&nft).unwrap();
    middle.shell("nft add rule bridge t base ether type ip goto hit");
    assert!(
        middle.shell("nft list ruleset").contains("flags bypass to"),
        "{}",
        middle.shell("nft list ruleset")
    );
    let [near, far] = [(&near, NEAR), (&far, FAR)]
        .map(|(end, addresses)| end.run(|| UdpSocket::bind((addresses[0], 0)).unwrap()));
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..20 {
        let began = Instant::now();
        near.send_to(b"over", far.local_addr().unwrap()).unwrap();
        far.recv(&mut [0; 4]).unwrap();
        assert!(began.elapsed() >= ASKED, "{:?}", began.elapsed());
    }
    assert_eq!(queue.report().unwrap().delayed, 20);
    drop(queue);
    // Nobody listens any more: the rule lets packets by.
    let began = Instant::now();
    near.send_to(b"over", far.local_addr().unwrap()).unwrap();
    far.recv(&mut [0; 4]).unwrap();
    assert!(began.elapsed() < ASKED, "{:?}", began.elapsed());
}
