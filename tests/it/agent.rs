//! The agent against a real kernel: what it does to packets, and that nothing of it is left.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use chaos::agent::wire::{Command, Direction, Distribution, Effect, Impairment, Kernel, Outcome, Protocol};

use super::agent_lab::{
    Case, FAR, NEAR, PATIENCE, Pair, delay, filter_cases, jittered, make_room, may_make_namespaces, step,
    tcp_round_trip,
};

/// How long what must not come is waited for.
const SILENCE: Duration = Duration::from_millis(150);

/// None early; and none so late that somebody waited for something else.
fn check_delays(trips: &[Duration], count: usize, ms: u64) {
    assert_eq!(trips.len(), count, "some never came back");
    let (least, most) = (Duration::from_millis(ms), Duration::from_millis(ms + 150));
    for trip in trips {
        assert!((least..most).contains(trip), "{trip:?} where {ms} ms were asked for");
    }
}

#[test]
fn says_hello_with_what_the_kernel_can_do() {
    if !may_make_namespaces("says_hello_with_what_the_kernel_can_do") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let hello = pair.agent().hello.clone();
    assert_eq!(hello.version, env!("CARGO_PKG_VERSION"));
    assert!(hello.mono_ns <= chaos::clock::mono_ns());
    // The runner's own look, in a namespace that it makes for the purpose.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_chaos")).args(["inside", "probe"]).output();
    let probed: Kernel = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(hello.kernel, probed);
    assert_eq!(pair.near.state(), before, "looking changed something");
}

#[test]
fn delays_packets_in_the_direction_asked() {
    if !may_make_namespaces("delays_packets_in_the_direction_asked") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let servers = [pair.echo_udp(0), pair.echo_udp(1)];
    let mut agent = pair.agent();
    for (direction, ms) in [(Direction::Egress, 40), (Direction::Ingress, 40), (Direction::Both, 80)] {
        // Not the hosts' own chatter about IPv6 neighbours, which would be counted too.
        agent.impair(&[Impairment { protocol: Some(Protocol::Udp), ..step(1, direction, delay(40)) }]);
        for server in servers {
            check_delays(&pair.udp_round_trips(server, 50, PATIENCE), 50, ms);
        }
        let undone = &agent.undo(&[1])[&1];
        assert!(undone.verified);
        let packets = if direction == Direction::Both { 200 } else { 100 };
        assert_eq!(undone.counters.matched_packets, packets);
        assert_eq!(undone.counters.delayed_packets, Some(packets));
        assert_eq!(undone.counters.overflowed_packets, Some(0));
        assert_eq!(undone.counters.lost_packets, Some(0));
        let least = undone.counters.delay_ms.as_ref().unwrap()["min"];
        assert!((40.0..60.0).contains(&least), "held {least} ms at least");
        assert_eq!(pair.near.state(), before);
    }
}

#[test]
fn delays_every_exchange_of_a_connection() {
    if !may_make_namespaces("delays_every_exchange_of_a_connection") {
        return;
    }
    let pair = Pair::new();
    let mut agent = pair.agent();
    for family in [0, 1] {
        let stream = pair.connect(pair.echo_tcp(family), PATIENCE).unwrap();
        agent.impair(&[step(1, Direction::Egress, delay(30))]);
        let trips: Vec<_> = (0..5).map(|_| tcp_round_trip(&stream).unwrap()).collect();
        check_delays(&trips, 5, 30);
        agent.undo(&[1]);
    }
}

/// Sends `len` bytes from `near` to `far` and closes at once; how long they take.
fn bulk(pair: &Pair, len: usize) -> Duration {
    let listener = pair.far.run(|| TcpListener::bind((FAR[0], 0)).unwrap());
    let target = listener.local_addr().unwrap();
    let mut sender = pair.near.run(|| TcpStream::connect(target).unwrap());
    let (mut receiver, _) = listener.accept().unwrap();
    let began = Instant::now();
    let sending = std::thread::spawn(move || sender.write_all(&vec![7; len]).unwrap());
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut received = Vec::new();
    receiver.read_to_end(&mut received).unwrap();
    sending.join().unwrap();
    assert_eq!(received.len(), len);
    began.elapsed()
}

#[test]
fn delays_a_flow_without_choking_it() {
    if !may_make_namespaces("delays_a_flow_without_choking_it") {
        return;
    }
    // Other people's rules, of no effect: that there are any changes how flows are told apart.
    for rules in
        ["", "nft add table ip nat; nft 'add chain ip nat c { type nat hook output priority -100; }'"]
    {
        let pair = Pair::new();
        pair.near.shell(rules);
        let before = pair.near.state();
        let mut agent = pair.agent();
        agent.impair(&[step(1, Direction::Egress, delay(20)), step(2, Direction::Egress, delay(20))]);
        // Held in the sender's name it would take ten times as long.
        let took = bulk(&pair, 4 << 20);
        assert!(took < Duration::from_secs(4), "{took:?} with `{rules}`");
        let counters = agent.read(1);
        assert_eq!((counters.overflowed_packets, counters.lost_packets), (Some(0), Some(0)));
        // Both see every packet once, the second a little later.
        let began = Instant::now();
        while agent.read(2).matched_packets != agent.read(1).matched_packets {
            assert!(began.elapsed() < PATIENCE, "{:?} and {:?}", agent.read(1), agent.read(2));
        }
        assert!(agent.undo(&[1, 2]).values().all(|undone| undone.verified));
        assert_eq!(pair.near.state(), before);
    }
}

#[test]
fn delays_datagrams_larger_than_a_packet() {
    if !may_make_namespaces("delays_datagrams_larger_than_a_packet") {
        return;
    }
    let pair = Pair::new();
    let mut agent = pair.agent();
    agent.impair(&[step(1, Direction::Both, delay(30))]);
    for family in [0, 1] {
        let near = pair.near.run(|| UdpSocket::bind((NEAR[family], 0)).unwrap());
        let far = pair.far.run(|| UdpSocket::bind((FAR[family], 0)).unwrap());
        for (sender, receiver) in [(&near, &far), (&far, &near)] {
            let began = Instant::now();
            sender.send_to(&[9; 8_000], receiver.local_addr().unwrap()).unwrap();
            receiver.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(receiver.recv(&mut [0; 9_000]).unwrap(), 8_000);
            check_delays(&[began.elapsed()], 1, 30);
        }
    }
}

#[test]
fn holds_a_crowd_of_packets_and_loses_none() {
    if !may_make_namespaces("holds_a_crowd_of_packets_and_loses_none") {
        return;
    }
    let pair = Pair::new();
    let [near, far] = [(&pair.near, NEAR), (&pair.far, FAR)]
        .map(|(end, addresses)| end.run(|| UdpSocket::bind((addresses[0], 0)).unwrap()));
    make_room(&far);
    let mut agent = pair.agent();
    agent.impair(&[Impairment { protocol: Some(Protocol::Udp), ..step(1, Direction::Egress, delay(1_000)) }]);
    let began = Instant::now();
    for number in 0..5_000u32 {
        near.send_to(&number.to_ne_bytes(), far.local_addr().unwrap()).unwrap();
    }
    assert!(
        began.elapsed() < Duration::from_millis(300),
        "this machine is too slow to have them held at once"
    );
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    for number in 0..5_000u32 {
        let mut buffer = [0; 4];
        far.recv(&mut buffer).unwrap_or_else(|error| panic!("packet {number}: {error}"));
        assert_eq!(u32::from_ne_bytes(buffer), number, "overtaken");
    }
    let counters = &agent.undo(&[1])[&1].counters;
    assert_eq!((counters.matched_packets, counters.delayed_packets), (5_000, Some(5_000)));
    assert_eq!((counters.overflowed_packets, counters.lost_packets), (Some(0), Some(0)));
}

#[test]
fn counts_packets_that_somebody_else_made_the_kernel_drop() {
    if !may_make_namespaces("counts_packets_that_somebody_else_made_the_kernel_drop") {
        return;
    }
    let pair = Pair::new();
    pair.near
        .shell("nft add table ip theirs; nft 'add chain ip theirs c { type filter hook input priority 0; }'");
    let mut agent = pair.agent();
    agent
        .impair(&[Impairment { protocol: Some(Protocol::Udp), ..step(1, Direction::Egress, delay(60_000)) }]);
    let near = pair.near.run(|| UdpSocket::bind((NEAR[0], 0)).unwrap());
    for _ in 0..7 {
        near.send_to(b"gone", (FAR[0], 9)).unwrap();
    }
    // Removing any hook of a namespace makes the kernel drop what its queues hold.
    pair.near.shell("nft delete table ip theirs");
    let counters = &agent.undo(&[1])[&1].counters;
    assert_eq!((counters.matched_packets, counters.lost_packets), (7, Some(7)));
    assert_eq!(counters.delayed_packets, Some(0));
}

#[test]
fn address_translation_works_on_under_delay() {
    if !may_make_namespaces("address_translation_works_on_under_delay") {
        return;
    }
    let pair = Pair::new();
    let listener = pair.echo_tcp(0);
    let outside = pair.far.run(|| UdpSocket::bind((FAR[0], 0)).unwrap());
    let outside_port = outside.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((len, from)) = outside.recv_from(&mut buffer) {
            outside.send_to(&buffer[..len], from).unwrap();
        }
    });
    // As a service mesh does: calls to one address end at another, and calls come in at another port.
    pair.near.shell(&format!(
        "nft add table ip mesh
         nft 'add chain ip mesh out {{ type nat hook output priority -100; }}'
         nft 'add chain ip mesh in {{ type nat hook prerouting priority -100; }}'
         nft 'add chain ip mesh guard {{ type filter hook input priority 0; }}'
         nft add rule ip mesh out ip daddr 10.77.0.9 udp dport 53 dnat to {}:{outside_port}
         nft add rule ip mesh in tcp dport 80 redirect to :{}
         nft add rule ip mesh guard ct state invalid drop",
        FAR[0],
        listener.port()
    ));
    let mut agent = pair.agent();
    agent.impair(&[step(1, Direction::Both, delay(20))]);
    // Two questions at once, as resolvers ask them: the second leaves before the first is known.
    let client = pair.near.run(|| UdpSocket::bind((NEAR[0], 0)).unwrap());
    client.connect(("10.77.0.9", 53)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..3 {
        client.send(b"A").unwrap();
        client.send(b"B").unwrap();
        for expected in [b'A', b'B'] {
            let mut answer = [0];
            client.recv(&mut answer).unwrap();
            assert_eq!(answer[0], expected);
        }
    }
    let stream = pair.connect((NEAR[0], 80).to_socket_addrs().unwrap().next().unwrap(), PATIENCE).unwrap();
    let trips: Vec<_> = (0..5).map(|_| tcp_round_trip(&stream).unwrap()).collect();
    check_delays(&trips, 5, 40);
}

#[test]
fn lets_held_packets_go_when_undone() {
    if !may_make_namespaces("lets_held_packets_go_when_undone") {
        return;
    }
    let pair = Pair::new();
    let stream = pair.connect(pair.echo_tcp(0), PATIENCE).unwrap();
    let mut agent = pair.agent();
    agent.impair(&[step(1, Direction::Ingress, delay(60_000))]);
    let waiting = std::thread::spawn(move || tcp_round_trip(&stream).unwrap());
    while agent.read(1).matched_packets == 0 {
        std::thread::yield_now();
    }
    assert!(agent.undo(&[1])[&1].verified);
    let trip = waiting.join().unwrap();
    assert!(trip < Duration::from_secs(5), "held for {trip:?} although it was undone");
}

#[test]
fn two_delays_add_up() {
    if !may_make_namespaces("two_delays_add_up") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let server = pair.echo_udp(0);
    let mut agent = pair.agent();
    agent.impair(&[step(1, Direction::Egress, delay(30)), step(2, Direction::Egress, delay(50))]);
    check_delays(&pair.udp_round_trips(server, 20, PATIENCE), 20, 80);
    // The one that stays must not notice that the other goes.
    assert!(agent.undo(&[1])[&1].verified);
    check_delays(&pair.udp_round_trips(server, 20, PATIENCE), 20, 50);
    assert!(agent.undo(&[2])[&2].verified);
    assert_eq!(pair.near.state(), before);
}

#[test]
fn drops_without_a_word() {
    if !may_make_namespaces("drops_without_a_word") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    for direction in [Direction::Egress, Direction::Ingress, Direction::Both] {
        let servers = [pair.echo_udp(0), pair.echo_udp(1)];
        let mut agent = pair.agent();
        agent.impair(&[step(3, direction, Effect::Drop)]);
        for server in servers {
            assert_eq!(pair.udp_round_trips(server, 1, SILENCE).len(), 0);
        }
        let sender = pair.near.run(|| UdpSocket::bind((NEAR[0], 0)).unwrap());
        assert_eq!(sender.send_to(b"hello?", (FAR[0], 9)).unwrap(), 6, "the sender was told");
        let undone = &agent.undo(&[3])[&3];
        assert!(undone.verified && undone.counters.matched_packets >= 2, "{undone:?}");
        assert_eq!(pair.udp_round_trips(servers[0], 1, PATIENCE).len(), 1);
        assert_eq!(pair.near.state(), before);
    }
}

#[test]
fn resets_at_once() {
    if !may_make_namespaces("resets_at_once") {
        return;
    }
    let pair = Pair::new();
    for direction in [Direction::Egress, Direction::Ingress, Direction::Both] {
        for family in [0, 1] {
            let server = pair.echo_tcp(family);
            let open = pair.connect(server, PATIENCE).unwrap();
            tcp_round_trip(&open).unwrap();
            let outside = pair.far.run(|| TcpListener::bind((FAR[family], 0)).unwrap());
            let outside = outside.local_addr().unwrap();
            let mut agent = pair.agent();
            agent.impair(&[step(1, direction, Effect::Reset)]);
            let reset = tcp_round_trip(&open).unwrap_err();
            assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset, "{direction:?}");
            if direction != Direction::Egress {
                let refused = pair.connect(server, PATIENCE).unwrap_err();
                assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{direction:?}");
            }
            if direction != Direction::Ingress {
                let refused = pair.near.run(|| TcpStream::connect_timeout(&outside, PATIENCE));
                let refused = refused.unwrap_err().kind();
                assert_eq!(refused, std::io::ErrorKind::ConnectionRefused, "{direction:?}");
            }
            assert!(agent.undo(&[1])[&1].counters.matched_packets > 0);
            pair.connect(server, PATIENCE).unwrap();
        }
    }
}

#[test]
fn touches_only_what_the_filter_names() {
    if !may_make_namespaces("touches_only_what_the_filter_names") {
        return;
    }
    let pair = Pair::new();
    let mut agent = pair.agent();
    for Case { what, filter, hit } in filter_cases() {
        for direction in [Direction::Egress, Direction::Ingress] {
            let servers = [pair.echo_udp(0), pair.echo_udp(1)];
            let mut impairment = step(1, direction, Effect::Drop);
            impairment.ports = vec![servers[0].port(), servers[1].port()];
            filter(&mut impairment);
            agent.impair(&[impairment]);
            for (server, hit) in servers.into_iter().zip(hit) {
                let patience = if hit { SILENCE } else { PATIENCE };
                let came = pair.udp_round_trips(server, 1, patience).len();
                assert_eq!(came, usize::from(!hit), "{what}, {direction:?}, {server}");
            }
            agent.undo(&[1]);
        }
    }
}

#[test]
fn leaves_loopback_alone() {
    if !may_make_namespaces("leaves_loopback_alone") {
        return;
    }
    let pair = Pair::new();
    let mut agent = pair.agent();
    agent.impair(&[step(1, Direction::Both, Effect::Drop)]);
    // To the loopback address, and to its own outside address, which goes over loopback too.
    for address in ["127.0.0.1", "::1", NEAR[0], NEAR[1]] {
        pair.near.run(|| {
            let [a, b] = [0; 2].map(|port| UdpSocket::bind((address, port)).unwrap());
            a.send_to(b"x", b.local_addr().unwrap()).unwrap();
            b.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(b.recv(&mut [0]).unwrap(), 1, "{address}");
        });
    }
}

#[test]
fn changes_nothing_until_fired() {
    if !may_make_namespaces("changes_nothing_until_fired") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let server = pair.echo_udp(0);
    let mut agent = pair.agent();
    agent.arm(&[step(1, Direction::Both, Effect::Drop), step(2, Direction::Both, delay(60_000))]);
    assert_eq!(pair.udp_round_trips(server, 1, PATIENCE).len(), 1);
    assert_eq!(agent.read(1).matched_packets, 0);
    assert!(agent.undo(&[1, 2]).values().all(|undone| undone.verified));
    assert_eq!(pair.near.state(), before);
}

#[test]
fn undoes_everything_when_its_input_ends_or_it_is_told_to_stop() {
    if !may_make_namespaces("undoes_everything_when_its_input_ends_or_it_is_told_to_stop") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let server = pair.echo_udp(0);
    for signal in [None, Some(libc::SIGTERM), Some(libc::SIGINT), Some(libc::SIGKILL)] {
        let mut agent = pair.agent();
        agent.impair(&[step(1, Direction::Both, delay(60_000)), step(2, Direction::Both, Effect::Drop)]);
        let status = match signal {
            None => agent.close(),
            Some(signal) => {
                // SAFETY: no pointers; the child is ours and has not been waited for.
                unsafe { libc::kill(agent.child.id().cast_signed(), signal) };
                agent.child.wait().unwrap()
            }
        };
        assert_eq!(status.success(), signal != Some(libc::SIGKILL), "{signal:?}: {status}");
        assert_eq!(pair.near.state(), before, "{signal:?}");
        assert_eq!(pair.udp_round_trips(server, 1, PATIENCE).len(), 1, "{signal:?}");
    }
}

#[test]
fn undoes_by_itself_at_the_deadline() {
    if !may_make_namespaces("undoes_by_itself_at_the_deadline") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let mut agent = pair.agent();
    agent.ask(Command::Arm {
        tag: "test".into(),
        impairments: vec![step(5, Direction::Both, delay(10)), step(6, Direction::Both, Effect::Drop)],
        tasks: BTreeMap::new(),
        engine: None,
        deadline_ns: 100_000_000,
    });
    let Outcome::Fired(fired) = agent.ask(Command::Fire { steps: vec![5, 6], at_ns: None }) else {
        panic!("not fired");
    };
    let news = agent.hear();
    let (None, Outcome::Expired(expired)) = (news.id, &news.outcome) else {
        panic!("{news:?}");
    };
    assert_eq!(expired.keys().collect::<Vec<_>>(), [&5, &6]);
    for (number, undone) in expired {
        assert!(undone.verified);
        assert!(undone.at_ns - fired[number] >= 100_000_000, "undone before its deadline");
    }
    assert_eq!(pair.near.state(), before);
}

#[test]
fn fires_at_the_agreed_instant_unless_it_is_called_off() {
    if !may_make_namespaces("fires_at_the_agreed_instant_unless_it_is_called_off") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let mut agent = pair.agent();
    agent.arm(&[step(1, Direction::Both, Effect::Drop), step(2, Direction::Both, Effect::Drop)]);
    let at_ns = chaos::clock::mono_ns() + 200_000_000;
    let Outcome::Fired(fired) = agent.ask(Command::Fire { steps: vec![1], at_ns: Some(at_ns) }) else {
        panic!("not fired");
    };
    assert!(fired[&1] >= at_ns, "fired {} ns early", at_ns - fired[&1]);

    let far_ns = chaos::clock::mono_ns() + chaos::agent::wire::MAX_AHEAD_NS;
    let waiting = agent.tell(Command::Fire { steps: vec![2], at_ns: Some(far_ns) });
    let refused = agent.ask(Command::Fire { steps: vec![2], at_ns: None });
    assert_eq!(refused, Outcome::Error("another firing waits for its instant".into()));
    let asked = agent.tell(Command::Undo { steps: vec![2, 1] });
    let called_off = agent.hear();
    assert_eq!(called_off.id, Some(waiting));
    assert_eq!(called_off.outcome, Outcome::Error("it was taken back before its instant".into()));
    let undone = agent.hear();
    assert_eq!(undone.id, Some(asked));
    assert_eq!(pair.near.state(), before);
}

#[test]
fn leaves_other_peoples_tables_alone() {
    if !may_make_namespaces("leaves_other_peoples_tables_alone") {
        return;
    }
    let pair = Pair::new();
    pair.near.shell(
        "nft add table inet theirs
         nft 'add chain inet theirs c { type filter hook output priority 0; }'
         nft add rule inet theirs c udp dport 9 drop
         nft add table ip chaos_other_1",
    );
    let tables = || pair.near.shell("nft -a list ruleset");
    let before = tables();
    let mut agent = pair.agent();
    agent.impair(&[step(1, Direction::Both, Effect::Reset)]);
    assert_ne!(tables(), before);
    assert!(agent.undo(&[1])[&1].verified);
    assert_eq!(agent.ask(Command::Purge { tag: "test".into() }), Outcome::Purged(0));
    assert_eq!(tables(), before);
    assert_eq!(agent.ask(Command::Purge { tag: "other".into() }), Outcome::Purged(1));
    assert!(!tables().contains("chaos_"));
}

#[test]
fn answers_nonsense_with_an_error() {
    if !may_make_namespaces("answers_nonsense_with_an_error") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let mut agent = pair.agent();
    agent.impair(&[step(8, Direction::Both, Effect::Drop)]);
    let impaired = pair.near.shell("nft -s list ruleset");
    let mut check = |bytes: &[u8], expected: &str| {
        agent.write(bytes);
        agent.write(b"\n");
        let reply = agent.hear();
        let Outcome::Error(why) = &reply.outcome else { panic!("{reply:?}") };
        assert!(why.contains(expected), "{why}");
    };
    check(b"hello", "could not read the request");
    check(b"{\"id\":1}", "missing field `command`");
    check(&[0xff; 100], "could not read the request");
    check(&vec![b'['; 100_000], "could not read the request");
    check(&vec![b'x'; 5 << 20], "longer than");
    check(br#"{"id":1,"command":{"fire":{"steps":[9]}}}"#, "step 9 is not armed");
    let arm = |what: &str| {
        format!(
            r#"{{"id":2,"command":{{"arm":{{"tag":"t","impairments":[{what}],"engine":null,"deadline_ns":1}}}}}}"#
        )
    };
    let one = |filter: &str| {
        arm(&format!(r#"{{"step":1,"direction":"both","except":[],{filter},"effect":"drop"}}"#))
    };
    check(
        one(r#""peers":[{"addr":"10.0.0.0","prefix":33}],"ports":[],"protocol":null"#).as_bytes(),
        "no network",
    );
    check(one(r#""peers":[],"ports":[80],"protocol":"icmp""#).as_bytes(), "ICMP has no ports");
    let bad_tag = arm("").replace(r#""t""#, r#""../x""#);
    check(bad_tag.as_bytes(), "letters and digits");
    // What was in effect still is, and is taken back as ever; so is what the end of a half line leaves.
    assert_eq!(pair.near.shell("nft -s list ruleset"), impaired);
    assert!(agent.undo(&[8])[&8].verified);
    assert_eq!(pair.near.state(), before);
    agent.impair(&[step(9, Direction::Both, Effect::Drop)]);
    agent.write(br#"{"id":3,"command":{"undo":{"#);
    assert!(agent.close().success());
    assert_eq!(pair.near.state(), before);
}

#[test]
fn jitter_spreads_delays_and_loses_nothing() {
    if !may_make_namespaces("jitter_spreads_delays_and_loses_nothing") {
        return;
    }
    let pair = Pair::new();
    let server = pair.echo_udp(0);
    let mut agent = pair.agent();
    // The namespace sends packets of its own as well, to find its neighbours.
    let impairment = step(1, Direction::Egress, jittered(60, 30, Distribution::Uniform));
    agent.impair(&[Impairment { ports: vec![server.port()], ..impairment }]);
    let mut trips = pair.udp_round_trips(server, 200, PATIENCE);
    assert_eq!(trips.len(), 200);
    trips.sort();
    let ms = |index: usize| trips[index].as_millis();
    assert!(ms(0) >= 30 && ms(20) < 50 && ms(180) > 70, "{} {} {}", ms(0), ms(20), ms(180));
    let counters = agent.read(1);
    assert_eq!((counters.delayed_packets, counters.lost_packets), (Some(200), Some(0)));
}

#[test]
fn looks_whom_packets_reach_one_way_at_a_time() {
    if !may_make_namespaces("looks_whom_packets_reach_one_way_at_a_time") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let (mut near, mut far) = (pair.agent(), super::agent_lab::Agent::start(&pair.far));
    let mut look = |direction: Option<Direction>, effect: Effect| -> [Vec<u32>; 2] {
        if let Some(direction) = direction {
            near.impair(&[step(1, direction, effect)]);
        }
        let heard = super::agent_lab::look(&mut near, &mut far);
        if direction.is_some() {
            assert!(near.undo(&[1])[&1].verified);
        }
        heard
    };
    // Far's packets to near, over IPv4 and IPv6, and near's to far.
    assert_eq!(look(None, Effect::Drop), [vec![0, 1], vec![0, 1]]);
    for effect in [Effect::Drop, Effect::Reset] {
        assert_eq!(look(Some(Direction::Egress), effect.clone()), [vec![0, 1], vec![]]);
        assert_eq!(look(Some(Direction::Ingress), effect.clone()), [vec![], vec![0, 1]]);
        assert_eq!(look(Some(Direction::Both), effect), [const { Vec::<u32>::new() }; 2]);
    }
    assert_eq!(look(None, Effect::Drop), [vec![0, 1], vec![0, 1]]);
    assert_eq!(pair.near.state(), before);
    assert_eq!(pair.near.shell("ss -Hlnu"), "", "a port stays open");
}
