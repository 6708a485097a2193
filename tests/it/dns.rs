//! The `dns` fault in network namespaces: a target that asks a resolver of its own namespace, translated as
//! Docker's is, and resolvers outside, by UDP and TCP, IPv4 and IPv6.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use chaos::agent::task::Task;
use chaos::agent::task::dns::{Answer, Dns};
use chaos::agent::wire::{self, Outcome};
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, Ttl};
use domain::rdata::{A, Aaaa, AllRecordData};

use super::agent_lab::{Agent, FAR, NEAR, PATIENCE, Pair, may_make_namespaces};

/// What the resolvers say of every name.
const TRUTH: [&str; 2] = ["192.0.2.53", "2001:db8::53"];
/// How long a test waits for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(300);

/// How a query is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    Udp,
    Tcp,
}

/// An answer: its code and addresses.
type Told = (Rcode, Vec<IpAddr>);

fn truth(kind: Rtype) -> Told {
    (Rcode::NOERROR, vec![TRUTH[usize::from(kind == Rtype::AAAA)].parse().unwrap()])
}

fn query(name: &str, kind: Rtype, id: u16) -> Vec<u8> {
    let mut query = MessageBuilder::new_vec().question();
    query.header_mut().set_id(id);
    query.push((&name.parse::<Name<Vec<u8>>>().unwrap(), kind)).unwrap();
    query.finish()
}

/// The true answer to a query.
fn resolve(bytes: &[u8]) -> Vec<u8> {
    let query = Message::from_slice(bytes).unwrap();
    let question = query.sole_question().unwrap();
    let mut answer = MessageBuilder::new_vec().start_answer(query, Rcode::NOERROR).unwrap();
    let ttl = Ttl::from_secs(60);
    match (question.qtype(), TRUTH[0].parse(), TRUTH[1].parse()) {
        (Rtype::A, Ok(addr), _) => answer.push((question.qname(), Class::IN, ttl, A::new(addr))).unwrap(),
        (_, _, Ok(addr)) => answer.push((question.qname(), Class::IN, ttl, Aaaa::new(addr))).unwrap(),
        _ => unreachable!(),
    }
    answer.finish()
}

fn read(bytes: &[u8]) -> Told {
    let answer = Message::from_slice(bytes).unwrap();
    let records = answer.answer().unwrap().limit_to::<AllRecordData<_, _>>();
    let addresses = records.map(|record| match record.unwrap().into_data() {
        AllRecordData::A(a) => IpAddr::from(a.addr()),
        AllRecordData::Aaaa(aaaa) => aaaa.addr().into(),
        other => panic!("{other:?}"),
    });
    (answer.header().rcode(), addresses.collect())
}

/// A resolver that tells the truth, in the namespace of the thread, until the test ends.
fn serve(address: SocketAddr) -> SocketAddr {
    let udp = UdpSocket::bind(address).unwrap();
    let address = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&resolve(&buffer[..len]), from);
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                while let Ok(message) = read_framed(&mut stream) {
                    write_framed(&mut stream, &resolve(&message));
                }
            });
        }
    });
    address
}

fn read_framed(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn write_framed(stream: &mut TcpStream, message: &[u8]) {
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend(message);
    let _ = stream.write_all(&framed);
}

/// The namespaces with resolvers in them.
struct Town {
    pair: Pair,
    /// As the target asks them: Docker's, then outside by IPv4 and IPv6.
    resolvers: [SocketAddr; 3],
}

impl Town {
    fn new() -> Self {
        let pair = Pair::new();
        let docker = pair.near.run(|| serve(([127, 0, 0, 11], 0).into()));
        pair.near.shell(&format!(
            "nft add table ip docker
             nft 'add chain ip docker out {{ type nat hook output priority -100; }}'
             nft add rule ip docker out ip daddr 127.0.0.11 udp dport 53 dnat to {docker}
             nft add rule ip docker out ip daddr 127.0.0.11 tcp dport 53 dnat to {docker}"
        ));
        for address in FAR {
            pair.far.run(|| serve((address.parse::<IpAddr>().unwrap(), 53).into()));
        }
        let at = |address: &str| (address.parse::<IpAddr>().unwrap(), 53).into();
        Self { pair, resolvers: [at("127.0.0.11"), at(FAR[0]), at(FAR[1])] }
    }

    fn socket(&self, resolver: SocketAddr) -> UdpSocket {
        let any: IpAddr = if resolver.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
        let socket = self.pair.near.run(|| UdpSocket::bind((any, 0)).unwrap());
        self.pair.near.run(|| socket.connect(resolver).unwrap());
        socket
    }

    /// What the target is told about `name`; nothing if nobody answers in time.
    fn ask(
        &self,
        resolver: SocketAddr,
        over: Over,
        name: &str,
        kind: Rtype,
        patience: Duration,
    ) -> Option<Told> {
        match over {
            Over::Udp => ask_by(&self.socket(resolver), name, kind, patience),
            Over::Tcp => {
                let connect = || TcpStream::connect_timeout(&resolver, PATIENCE).unwrap();
                let mut stream = self.pair.near.run(connect);
                stream.set_read_timeout(Some(patience)).unwrap();
                write_framed(&mut stream, &query(name, kind, 7));
                read_framed(&mut stream).ok().map(|answer| read(&answer))
            }
        }
    }

    fn ways(&self) -> impl Iterator<Item = (SocketAddr, Over)> {
        self.resolvers.into_iter().flat_map(|resolver| [(resolver, Over::Udp), (resolver, Over::Tcp)])
    }
}

fn ask_by(socket: &UdpSocket, name: &str, kind: Rtype, patience: Duration) -> Option<Told> {
    socket.send(&query(name, kind, 7)).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    let mut buffer = [0; 2048];
    let len = socket.recv(&mut buffer).ok()?;
    Some(read(&buffer[..len]))
}

fn dns(answer: Answer) -> Dns {
    Dns { names: vec!["bad-*".parse().unwrap()], answer, delay_ns: 0, share: 1.0, seed: 1 }
}

fn fire(agent: &mut Agent, dns: &Dns) {
    let armed = agent.arm_task(&Task::Dns(dns.clone()));
    assert!(matches!(&armed, Outcome::Armed(engines) if engines[&0] == wire::Engine::Agent), "{armed:?}");
    agent.fire(&[0]);
}

#[test]
fn names_are_answered_falsely_whoever_is_asked() {
    if !may_make_namespaces("names_are_answered_falsely_whoever_is_asked") {
        return;
    }
    let town = Town::new();
    let before = town.pair.near.state();
    let false_addresses = Answer::Addresses(vec!["10.9.9.9".parse().unwrap()]);
    let cases = [
        (Answer::Nxdomain, "nxdomain_answers", Some((Rcode::NXDOMAIN, vec![]))),
        (Answer::Servfail, "servfail_answers", Some((Rcode::SERVFAIL, vec![]))),
        (Answer::Nothing, "unanswered_queries", None),
        (false_addresses, "wrong_address_answers", Some((Rcode::NOERROR, vec!["10.9.9.9".parse().unwrap()]))),
    ];
    for (answer, counted, told) in cases {
        let mut agent = town.pair.agent();
        fire(&mut agent, &dns(answer.clone()));
        for (resolver, over) in town.ways() {
            let what = format!("{answer:?} {resolver} {over:?}");
            let patience = if told.is_some() { PATIENCE } else { SILENCE };
            assert_eq!(town.ask(resolver, over, "Bad-1.lab", Rtype::A, patience), told, "{what}");
            assert_eq!(
                town.ask(resolver, over, "good.lab", Rtype::A, PATIENCE),
                Some(truth(Rtype::A)),
                "{what}"
            );
        }
        let undone = &agent.undo(&[0])[&0];
        let seen = &undone.counters.counted;
        assert!(undone.verified);
        for (name, count) in [("queries", 12), ("matched_queries", 6), ("altered_queries", 6), (counted, 6)] {
            assert_eq!(seen.get(name), Some(&count), "{name} of {seen:?}");
        }
        assert_eq!(town.pair.near.state(), before, "{answer:?}");
        for (resolver, over) in town.ways() {
            assert_eq!(town.ask(resolver, over, "bad-1", Rtype::A, PATIENCE), Some(truth(Rtype::A)));
        }
    }
}

#[test]
fn answers_are_late_by_what_was_asked_for() {
    if !may_make_namespaces("answers_are_late_by_what_was_asked_for") {
        return;
    }
    let town = Town::new();
    let mut agent = town.pair.agent();
    fire(&mut agent, &Dns { delay_ns: 100_000_000, ..dns(Answer::Truth) });
    for (resolver, over) in town.ways() {
        assert_eq!(town.ask(resolver, over, "bad", Rtype::A, PATIENCE), Some(truth(Rtype::A)));
        let began = Instant::now();
        assert_eq!(town.ask(resolver, over, "bad-1", Rtype::AAAA, PATIENCE), Some(truth(Rtype::AAAA)));
        let late = began.elapsed();
        assert!(late >= Duration::from_millis(100), "{late:?}");
    }
    let counters = agent.read(0);
    let delays = counters.delay_ms.as_ref().unwrap();
    assert!(counters.counted["delayed_queries"] == 6 && delays["min"] >= 100.0, "{counters:?}");
}

#[test]
fn a_share_of_queries_is_a_share() {
    if !may_make_namespaces("a_share_of_queries_is_a_share") {
        return;
    }
    let town = Town::new();
    let mut agent = town.pair.agent();
    fire(&mut agent, &Dns { share: 0.3, ..dns(Answer::Nxdomain) });
    let socket = town.socket(town.resolvers[0]);
    let count = 1_000;
    let hit = (0..count)
        .filter(|_| ask_by(&socket, "bad-1", Rtype::A, PATIENCE).unwrap().0 == Rcode::NXDOMAIN)
        .count();
    // 99% of 1,000 draws at 30%: 300 ± 37.3.
    assert!((263..=337).contains(&hit), "{hit} of {count}");
    assert_eq!(agent.read(0).counted["nxdomain_answers"], hit as u64);
}

#[test]
fn a_socket_that_is_kept_meets_the_fault_and_its_end() {
    if !may_make_namespaces("a_socket_that_is_kept_meets_the_fault_and_its_end") {
        return;
    }
    let town = Town::new();
    let sockets = town.resolvers.map(|resolver| town.socket(resolver));
    let ask = |expected: Rcode| {
        for socket in &sockets {
            assert_eq!(ask_by(socket, "bad-1", Rtype::A, PATIENCE).unwrap().0, expected);
        }
    };
    ask(Rcode::NOERROR);
    let mut agent = town.pair.agent();
    fire(&mut agent, &dns(Answer::Servfail));
    ask(Rcode::SERVFAIL);
    agent.undo(&[0]);
    ask(Rcode::NOERROR);
}

#[test]
fn an_agent_that_is_killed_leaves_nothing() {
    if !may_make_namespaces("an_agent_that_is_killed_leaves_nothing") {
        return;
    }
    let town = Town::new();
    let before = town.pair.near.state();
    let kept = town.socket(town.resolvers[1]);
    let mut agent = town.pair.agent();
    let asked = dns(Answer::Nxdomain);
    fire(&mut agent, &asked);
    assert_eq!(ask_by(&kept, "bad-1", Rtype::A, PATIENCE).unwrap().0, Rcode::NXDOMAIN);
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    assert_eq!(town.pair.near.state(), before);
    for (resolver, over) in town.ways() {
        assert_eq!(town.ask(resolver, over, "bad-1", Rtype::A, PATIENCE), Some(truth(Rtype::A)));
    }
    // The kernel still leads the kept socket's flow to the dead proxy: whoever heals makes it forget.
    let mut another = town.pair.agent();
    let restore = wire::Command::Restore { tag: "test".into(), task: Task::Dns(asked) };
    assert!(matches!(another.ask(restore), Outcome::Purged(_)));
    let mut told = None;
    // A refusal that came before may still be reported once.
    for _ in 0..2 {
        told = told.or_else(|| kept.send(&query("bad-1", Rtype::A, 7)).ok());
    }
    told.expect("the socket works again");
    kept.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 2048];
    let len = kept.recv(&mut buffer).unwrap();
    assert_eq!(read(&buffer[..len]), truth(Rtype::A));
}

#[test]
fn two_faults_add_up() {
    if !may_make_namespaces("two_faults_add_up") {
        return;
    }
    let town = Town::new();
    let before = town.pair.near.state();
    let mut agent = town.pair.agent();
    let late = Dns { names: Vec::new(), delay_ns: 80_000_000, ..dns(Answer::Truth) };
    agent.ask(wire::Command::Arm {
        tag: "test".into(),
        impairments: Vec::new(),
        tasks: [(0, Task::Dns(late)), (1, Task::Dns(dns(Answer::Nxdomain)))].into(),
        engine: None,
        deadline_ns: 600_000_000_000,
    });
    agent.fire(&[0, 1]);
    for (resolver, over) in town.ways() {
        for (name, code) in [("good", Rcode::NOERROR), ("bad-1", Rcode::NXDOMAIN)] {
            let began = Instant::now();
            assert_eq!(town.ask(resolver, over, name, Rtype::A, PATIENCE).unwrap().0, code);
            assert!(began.elapsed() >= Duration::from_millis(80));
        }
    }
    assert!(agent.undo(&[0])[&0].verified);
    assert_eq!(
        town.ask(town.resolvers[0], Over::Udp, "bad-1", Rtype::A, PATIENCE).unwrap().0,
        Rcode::NXDOMAIN
    );
    assert!(agent.undo(&[1])[&1].verified);
    assert_eq!(town.pair.near.state(), before);
}

#[test]
fn what_is_no_query_passes_and_what_was_not_led_here_is_ignored() {
    if !may_make_namespaces("what_is_no_query_passes_and_what_was_not_led_here_is_ignored") {
        return;
    }
    let town = Town::new();
    let echo = town.pair.far.run(|| UdpSocket::bind((FAR[0], 5353)).unwrap());
    let mut agent = town.pair.agent();
    fire(&mut agent, &Dns { names: Vec::new(), ..dns(Answer::Nxdomain) });
    // Another port is not looked at.
    let client = town.pair.near.run(|| UdpSocket::bind((NEAR[0], 0)).unwrap());
    client.send_to(&query("bad-1", Rtype::A, 1), (FAR[0], 5353)).unwrap();
    echo.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(echo.recv(&mut [0; 512]).unwrap(), query("bad-1", Rtype::A, 1).len());
    // The proxy's own port, asked directly, says nothing.
    let port = town.pair.near.shell("ss -Hlun src 127.0.0.1 | grep -o '127.0.0.1:[0-9]*' | cut -d: -f2");
    client.send_to(&query("bad-1", Rtype::A, 1), ("127.0.0.1", port.trim().parse().unwrap())).unwrap();
    client.set_read_timeout(Some(SILENCE)).unwrap();
    client.recv(&mut [0; 512]).expect_err("nobody may ask the proxy directly");
    assert_eq!(agent.read(0).counted.get("stray_queries"), Some(&1));
}
