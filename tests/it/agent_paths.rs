//! The agent's ways of making a path narrow or closed, against a real kernel.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use chaos::agent::wire::{
    Bandwidth, Command, Direction, Effect, Engine, Impairment, Outcome, Protocol, Room,
};

use super::agent_lab::{
    Case, FAR, NEAR, PATIENCE, Pair, delay, filter_cases, may_make_namespaces, step, tcp_round_trip,
};

fn at(bits_per_s: u64) -> Effect {
    Effect::Bandwidth(Bandwidth { bits_per_s, burst_bytes: None, queue: Room::Time(100_000_000) })
}

/// Megabits a second at which `len` bytes of TCP arrive, headers left out, once a first megabyte has.
fn mbit_per_s(pair: &Pair, direction: Direction, len: usize) -> f64 {
    let (to, from, address) = match direction {
        Direction::Ingress => (&pair.near, &pair.far, NEAR[0]),
        _ => (&pair.far, &pair.near, FAR[0]),
    };
    let listener = to.run(|| TcpListener::bind((address, 0)).unwrap());
    let target = listener.local_addr().unwrap();
    let mut sender = from.run(|| TcpStream::connect(target).unwrap());
    let (mut receiver, _) = listener.accept().unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let sending = std::thread::spawn(move || {
        // The receiver hangs up once it has enough.
        while sender.write_all(&[7; 65_536]).is_ok() {}
    });
    let mut buffer = vec![0; 65_536];
    let mut read_at_least = |wanted: usize| {
        let mut read = 0;
        while read < wanted {
            read += receiver.read(&mut buffer).unwrap();
        }
        read
    };
    read_at_least(len / 4);
    let began = Instant::now();
    let read = read_at_least(len);
    let took = began.elapsed();
    drop(receiver);
    sending.join().unwrap();
    read as f64 * 8.0 / took.as_secs_f64() / 1e6
}

#[test]
fn a_narrow_path_is_as_wide_as_asked() {
    if !may_make_namespaces("a_narrow_path_is_as_wide_as_asked") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let mut agent = pair.agent();
    for direction in [Direction::Egress, Direction::Ingress] {
        let armed = agent.arm(&[step(1, direction, at(20_000_000))]);
        assert_eq!(armed, Outcome::Armed([(1, Engine::Tbf)].into()));
        agent.ask(Command::Fire { steps: vec![1], at_ns: None });
        let got = mbit_per_s(&pair, direction, 4_000_000);
        // Of 1,514 bytes on the wire 1,448 are data.
        assert!((18.0..20.0).contains(&got), "{direction:?}: {got} Mbit/s");
        // The other way is as wide as ever.
        let other = if direction == Direction::Egress { Direction::Ingress } else { Direction::Egress };
        let free = mbit_per_s(&pair, other, 4_000_000);
        assert!(free > 60.0, "{direction:?}: the other way only has {free} Mbit/s");
        let undone = &agent.undo(&[1])[&1];
        assert!(undone.verified && undone.counters.matched_packets > 1_000, "{undone:?}");
        assert!(undone.counters.counted["waits"] > 0, "{undone:?}");
        assert_eq!(pair.near.state(), before);
    }
}

#[test]
fn only_packets_that_the_filter_names_wait() {
    if !may_make_namespaces("only_packets_that_the_filter_names_wait") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let mut agent = pair.agent();
    for Case { what, filter, hit } in filter_cases() {
        for direction in [Direction::Egress, Direction::Ingress] {
            let servers = [pair.echo_udp(0), pair.echo_udp(1)];
            let mut impairment = step(1, direction, at(1_000_000));
            impairment.ports = vec![servers[0].port(), servers[1].port()];
            filter(&mut impairment);
            agent.impair(&[Impairment {
                protocol: impairment.protocol.or(Some(Protocol::Udp)),
                ..impairment
            }]);
            for (server, hit) in servers.into_iter().zip(hit) {
                let seen = agent.read(1).matched_packets;
                assert_eq!(pair.udp_round_trips(server, 1, PATIENCE).len(), 1);
                let matched = agent.read(1).matched_packets - seen;
                assert_eq!(matched, u64::from(hit), "{what}, {direction:?}, {server}");
            }
            assert!(agent.undo(&[1])[&1].verified);
            assert_eq!(pair.near.state(), before);
        }
    }
}

#[test]
fn a_full_queue_drops_and_a_long_one_is_let_go() {
    if !may_make_namespaces("a_full_queue_drops_and_a_long_one_is_let_go") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let mut agent = pair.agent();
    let [near, far] = [(&pair.near, NEAR), (&pair.far, FAR)]
        .map(|(end, addresses)| end.run(|| UdpSocket::bind((addresses[0], 0)).unwrap()));
    let narrow = |queue| Effect::Bandwidth(Bandwidth { bits_per_s: 80_000, burst_bytes: Some(1), queue });
    let udp = |effect| Impairment { protocol: Some(Protocol::Udp), ..step(1, Direction::Egress, effect) };
    // 10 KB a second, room for 40 packets of a thousand bytes, one of which goes at once.
    agent.impair(&[udp(narrow(Room::Bytes(41_800)))]);
    for _ in 0..60 {
        near.send_to(&[1; 1_000], far.local_addr().unwrap()).unwrap();
    }
    let counters = agent.read(1);
    assert_eq!(counters.matched_packets, 60);
    assert!((18..=20).contains(&counters.counted["full_packets"]), "{counters:?}");
    // What waits would take four seconds more; undoing lets it go at once.
    let began = Instant::now();
    assert!(agent.undo(&[1])[&1].verified);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    far.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut came = 0;
    while far.recv(&mut [0; 2_000]).is_ok() {
        came += 1;
    }
    assert_eq!(came, 60 - counters.counted["full_packets"], "what waited was lost");
    assert_eq!(pair.near.state(), before);
}

#[test]
fn narrow_paths_compose_with_delay_and_with_each_other() {
    if !may_make_namespaces("narrow_paths_compose_with_delay_and_with_each_other") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let server = pair.echo_udp(0);
    let stream = pair.connect(pair.echo_tcp(0), PATIENCE).unwrap();
    let mut agent = pair.agent();
    let one =
        |number, port: u16, bits| Impairment { ports: vec![port], ..step(number, Direction::Both, at(bits)) };
    agent.impair(&[
        step(1, Direction::Both, delay(30)),
        one(2, server.port(), 1_000_000),
        one(3, stream.peer_addr().unwrap().port(), 8_000_000),
    ]);
    let trip = pair.udp_round_trips(server, 1, PATIENCE)[0];
    assert!(trip >= Duration::from_millis(60), "{trip:?}");
    assert!(tcp_round_trip(&stream).unwrap() >= Duration::from_millis(60));
    assert!(agent.read(2).matched_packets >= 2 && agent.read(3).matched_packets >= 2);
    // The one that stays must not notice that the other goes.
    assert!(agent.undo(&[2])[&2].verified);
    let seen = agent.read(3).matched_packets;
    tcp_round_trip(&stream).unwrap();
    assert!(agent.read(3).matched_packets > seen);
    assert!(agent.undo(&[1, 3]).values().all(|undone| undone.verified));
    assert_eq!(pair.near.state(), before);
}

#[test]
fn somebody_elses_filters_stay_as_they_were() {
    if !may_make_namespaces("somebody_elses_filters_stay_as_they_were") {
        return;
    }
    let pair = Pair::new();
    pair.near.shell(
        "tc qdisc add dev eth0 clsact
         tc filter add dev eth0 egress prio 7 protocol ip u32 match ip dport 9 0xffff flowid 1:1",
    );
    let before = pair.near.state();
    for killed in [false, true] {
        let mut agent = pair.agent();
        agent.impair(&[step(1, Direction::Both, at(1_000_000))]);
        assert_ne!(pair.near.state(), before);
        if killed {
            agent.child.kill().unwrap();
            agent.child.wait().unwrap();
            let mut next = pair.agent();
            let purged = next.ask(Command::Purge { tag: "test".into() });
            // Two filters and two devices.
            assert_eq!(purged, Outcome::Purged(4));
        } else {
            assert!(agent.undo(&[1])[&1].verified);
        }
        assert_eq!(pair.near.state(), before, "killed: {killed}");
    }
}

#[test]
fn what_a_killed_agent_left_of_a_narrow_path_is_purged() {
    if !may_make_namespaces("what_a_killed_agent_left_of_a_narrow_path_is_purged") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    for fired in [false, true] {
        let mut agent = pair.agent();
        let steps = [step(1, Direction::Both, at(1_000_000)), step(2, Direction::Egress, at(2_000_000))];
        if fired {
            agent.impair(&steps)
        } else {
            drop(agent.arm(&steps))
        }
        agent.child.kill().unwrap();
        agent.child.wait().unwrap();
        assert_ne!(pair.near.state(), before, "nothing was there to be purged");
        let mut next = pair.agent();
        assert_eq!(next.ask(Command::Purge { tag: "other".into() }), Outcome::Purged(0));
        // Three devices, and the interface's clsact.
        assert_eq!(next.ask(Command::Purge { tag: "test".into() }), Outcome::Purged(3 + u32::from(fired)));
        assert_eq!(pair.near.state(), before, "fired: {fired}");
    }
}
