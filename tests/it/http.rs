//! The `http` fault in network namespaces: a server in the target, asked from outside.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use chaos::agent::task::Task;
use chaos::agent::task::http::{Abort, Edit, Http};
use chaos::agent::wire::{self, Outcome};

use super::agent_lab::{Agent, FAR, NEAR, PATIENCE, Pair, may_make_namespaces};

const PORT: u16 = 8080;
const BODY: &str = "0123456789";

/// A server that answers every request with its own head, so that a test sees what it was asked, or with
/// [`BODY`] in one or two pieces.
fn serve(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let _ = answer(stream);
            });
        }
    });
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut seen = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                // What is no text comes back as it is: TLS, say.
                len if seen.is_empty() && !buffer[0].is_ascii_alphabetic() => {
                    stream.write_all(&buffer[..len])?
                }
                len => seen.extend_from_slice(&buffer[..len]),
            }
        };
        let head = String::from_utf8(seen.drain(..end).collect()).unwrap();
        let text = match head.split(' ').nth(1).unwrap() {
            "/chunked" => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n"
                    .into()
            }
            "/upgrade" => {
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n".into()
            }
            "/body" => format!("HTTP/1.1 200 OK\r\nX-Server: near\r\nContent-Length: 10\r\n\r\n{BODY}"),
            "*" => format!("echo {head}"),
            _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len()),
        };
        stream.write_all(text.as_bytes())?;
        if head.starts_with("GET /upgrade") {
            let mut buffer = [0; 4096];
            loop {
                match stream.read(&mut buffer)? {
                    0 => return Ok(()),
                    len => stream.write_all(&buffer[..len])?,
                }
            }
        }
    }
}

fn start() -> (Pair, String) {
    let pair = Pair::new();
    for address in ["0.0.0.0", "::"] {
        let address: IpAddr = address.parse().unwrap();
        let listener = pair.near.run(|| {
            let socket = socket2::Socket::new(
                socket2::Domain::for_address((address, 0).into()),
                socket2::Type::STREAM,
                None,
            )
            .unwrap();
            if address.is_ipv6() {
                socket.set_only_v6(true).unwrap();
            }
            socket.set_reuse_address(true).unwrap();
            socket.bind(&SocketAddr::new(address, PORT).into()).unwrap();
            socket.listen(128).unwrap();
            socket
        });
        serve(listener.into());
    }
    let before = pair.near.state();
    (pair, before)
}

fn http() -> Http {
    Http {
        port: PORT,
        methods: Vec::new(),
        paths: Vec::new(),
        headers: Vec::new(),
        share: 1.0,
        seed: 1,
        delay_ns: 0,
        abort: None,
        request: Edit::default(),
        response: Edit::default(),
        body: None,
        truncate_bytes: None,
        drip_bytes_per_s: None,
    }
}

fn fire(agent: &mut Agent, http: &Http) {
    let armed = agent.arm_task(&Task::Http(http.clone()));
    assert!(matches!(&armed, Outcome::Armed(engines) if engines[&0] == wire::Engine::Agent), "{armed:?}");
    agent.fire(&[0]);
}

fn connect(pair: &Pair, family: usize) -> TcpStream {
    pair.connect((NEAR[family].parse::<IpAddr>().unwrap(), PORT).into(), PATIENCE).unwrap()
}

/// Asks and reads to the end of the connection.
fn ask(pair: &Pair, family: usize, request: &str) -> String {
    let mut stream = connect(pair, family);
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = Vec::new();
    // A reset ends it, too.
    let _ = stream.read_to_end(&mut all);
    String::from_utf8(all).unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: near\r\nX-User: gold-1\r\n\r\n")
}

fn one(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.into(), value.into())]
}

#[test]
fn what_matches_nothing_passes_as_it_is() {
    if !may_make_namespaces("what_matches_nothing_passes_as_it_is") {
        return;
    }
    let (pair, before) = start();
    let requests = [
        get("/body"),
        get("/chunked"),
        get("/echo?x=%20"),
        get("/body") + &get("/echo"),
        "POST /a HTTP/1.1\r\nHost: near\r\nContent-Length: 0\r\nX-OdD-CaSe: 1\r\n\r\n".into(),
    ];
    let direct: Vec<String> = requests.iter().map(|request| ask(&pair, 0, request)).collect();
    let mut agent = pair.agent();
    fire(&mut agent, &Http { paths: vec!["/no-such-path".parse().unwrap()], delay_ns: 1, ..http() });
    for family in [0, 1] {
        for (request, direct) in requests.iter().zip(&direct) {
            assert_eq!(&ask(&pair, family, request), direct, "{request}");
        }
    }
    let undone = &agent.undo(&[0])[&0];
    let counted = &undone.counters.counted;
    assert!(undone.verified && counted["requests"] == 12, "{counted:?}");
    assert_eq!((counted.get("altered_requests"), counted.get("matched_requests")), (None, None));
    assert_eq!(pair.near.state(), before);
}

/// A fault, the request that meets it, what is counted, and what the client gets.
type Case = (Http, String, &'static str, fn(&str) -> bool);

fn cases() -> Vec<Case> {
    let abort = Some(Abort { status: 503, body: "out of order".into() });
    let edit = Edit { set: one("x-tenant", "7"), remove: vec!["X-User".into()] };
    let reply = Edit { set: one("x-server", "elsewhere"), remove: Vec::new() };
    vec![
        (Http { abort, ..http() }, get("/body"), "aborted_requests", |got| {
            got.starts_with("HTTP/1.1 503 Service Unavailable\r\n") && got.ends_with("\r\n\r\nout of order")
        }),
        (Http { request: edit, ..http() }, get("/echo"), "changed_requests", |got| {
            got.contains("x-tenant: 7\r\n")
                && !got.to_lowercase().contains("x-user")
                && got.contains("Host: near")
        }),
        (Http { response: reply, ..http() }, get("/body"), "changed_responses", |got| {
            got.to_lowercase().contains("x-server: elsewhere\r\n")
                && got.ends_with(BODY)
                && !got.contains("near")
        }),
        (Http { body: Some("short".into()), ..http() }, get("/body"), "replaced_bodies", |got| {
            got.to_lowercase().contains("content-length: 5\r\n") && got.ends_with("\r\n\r\nshort")
        }),
        (Http { body: Some("short".into()), ..http() }, get("/chunked"), "replaced_bodies", |got| {
            got.to_lowercase().contains("content-length: 5\r\n") && got.ends_with("\r\n\r\nshort")
        }),
        (Http { truncate_bytes: Some(4), ..http() }, get("/body"), "truncated_bodies", |got| {
            got.contains("Content-Length: 10\r\n") && got.ends_with("\r\n\r\n0123")
        }),
        (Http { drip_bytes_per_s: Some(20), ..http() }, get("/body"), "slowed_bodies", |got| {
            got.ends_with(BODY)
        }),
        (Http { delay_ns: 100_000_000, ..http() }, get("/body"), "delayed_requests", |got| {
            got.ends_with(BODY)
        }),
    ]
}

#[test]
fn requests_and_answers_are_changed_as_asked() {
    if !may_make_namespaces("requests_and_answers_are_changed_as_asked") {
        return;
    }
    let (pair, before) = start();
    for (fault, request, counted, expected) in cases() {
        let mut agent = pair.agent();
        fire(&mut agent, &fault);
        for family in [0, 1] {
            let began = Instant::now();
            let got = ask(&pair, family, &request);
            assert!(expected(&got), "{counted}: {got}");
            let slow = fault.delay_ns > 0 || fault.drip_bytes_per_s.is_some();
            let least = Duration::from_millis(if slow { 100 } else { 0 });
            assert!(began.elapsed() >= least, "{counted} took {:?}", began.elapsed());
        }
        let undone = &agent.undo(&[0])[&0];
        let seen = &undone.counters.counted;
        assert!(
            undone.verified && seen.get(counted) == Some(&2) && seen["altered_requests"] == 2,
            "{seen:?}"
        );
        assert_eq!(pair.near.state(), before, "{counted}");
        assert!(ask(&pair, 0, &get("/body")).ends_with(BODY));
    }
}

#[test]
fn only_chosen_requests_are_changed() {
    if !may_make_namespaces("only_chosen_requests_are_changed") {
        return;
    }
    let (pair, _) = start();
    let fault = Http {
        methods: vec!["GET".into()],
        paths: vec!["/a/*".parse().unwrap(), "re:^/b[0-9]$".parse().unwrap()],
        headers: vec![("x-user".into(), "gold-*".parse().unwrap())],
        abort: Some(Abort { status: 500, body: String::new() }),
        ..http()
    };
    let mut agent = pair.agent();
    fire(&mut agent, &fault);
    let check = |request: &str, hit: bool| {
        assert_eq!(ask(&pair, 0, request).starts_with("HTTP/1.1 500"), hit, "{request}");
    };
    check(&get("/a/1?q"), true);
    check(&get("/b7"), true);
    check(&get("/b77"), false);
    check(&get("/c"), false);
    check(&get("/a/1").replace("GET", "PUT"), false);
    check(&get("/a/1").replace("gold-1", "tin-1"), false);
    check("GET /a/1 HTTP/1.1\r\nHost: near\r\n\r\n", false);
}

#[test]
fn a_share_of_requests_is_a_share_over_one_connection() {
    if !may_make_namespaces("a_share_of_requests_is_a_share_over_one_connection") {
        return;
    }
    let (pair, _) = start();
    let mut agent = pair.agent();
    let fault = Http { share: 0.3, body: Some("abcdefghij".into()), ..http() };
    fire(&mut agent, &fault);
    let mut stream = connect(&pair, 0);
    let (count, mut hit) = (1_000, 0);
    for _ in 0..count {
        stream.write_all(get("/body").as_bytes()).unwrap();
        let mut seen = Vec::new();
        while !(seen.ends_with(BODY.as_bytes()) || seen.ends_with(b"abcdefghij")) {
            let mut buffer = [0; 512];
            let len = stream.read(&mut buffer).unwrap();
            assert!(len > 0, "the connection was closed");
            seen.extend_from_slice(&buffer[..len]);
        }
        hit += u64::from(seen.ends_with(b"abcdefghij"));
    }
    // 99% of 1,000 draws at 30%: 300 ± 37.3.
    assert!((263..=337).contains(&hit), "{hit} of {count}");
    assert_eq!(agent.read(0).counted["replaced_bodies"], hit);
}

#[test]
fn what_can_t_be_altered_passes_byte_for_byte() {
    if !may_make_namespaces("what_can_t_be_altered_passes_byte_for_byte") {
        return;
    }
    let (pair, _) = start();
    let mut agent = pair.agent();
    fire(&mut agent, &Http { abort: Some(Abort { status: 500, body: String::new() }), ..http() });
    let echo = |sent: &[u8], expected: &[u8]| {
        let mut stream = connect(&pair, 0);
        stream.write_all(sent).unwrap();
        let mut got = vec![0; expected.len()];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got, expected);
    };
    let hello = [&[0x16, 3, 1, 0, 200][..], &[7; 200]].concat();
    echo(&hello, &hello);
    echo(&[0, 1, 2, 255], &[0, 1, 2, 255]);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    echo(preface, b"echo PRI * HTTP/2.0\r\n\r\n");
    let counted = agent.read(0).counted;
    for passed in ["tls_connections_passed", "other_connections_passed", "http2_connections_passed"] {
        assert_eq!(counted.get(passed), Some(&1), "{passed} of {counted:?}");
    }
    assert_eq!(counted.get("altered_requests"), None);
}

#[test]
fn upgraded_connections_pass() {
    if !may_make_namespaces("upgraded_connections_pass") {
        return;
    }
    let (pair, _) = start();
    let mut agent = pair.agent();
    fire(&mut agent, &Http { paths: vec!["/no".parse().unwrap()], delay_ns: 1, ..http() });
    let mut stream = connect(&pair, 0);
    let request = "GET /upgrade HTTP/1.1\r\nHost: near\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    let head = String::from_utf8(seen).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("Upgrade: echo"), "{head}");
    for _ in 0..3 {
        stream.write_all(b"anything").unwrap();
        let mut back = [0; 8];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"anything");
    }
    assert_eq!(agent.read(0).counted["upgraded_connections_passed"], 1);
}

#[test]
fn open_connections_go_on_and_a_server_that_is_down_stays_down() {
    if !may_make_namespaces("open_connections_go_on_and_a_server_that_is_down_stays_down") {
        return;
    }
    let (pair, before) = start();
    let mut open = connect(&pair, 0);
    let mut exchange = || {
        open.write_all(get("/body").as_bytes()).unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(BODY.as_bytes()) {
            let mut buffer = [0; 512];
            let len = open.read(&mut buffer).unwrap();
            assert!(len > 0);
            seen.extend_from_slice(&buffer[..len]);
        }
    };
    exchange();
    let mut agent = pair.agent();
    let abort = Some(Abort { status: 500, body: String::new() });
    let down = Http { port: 8081, abort: abort.clone(), ..http() };
    agent.ask(wire::Command::Arm {
        tag: "test".into(),
        impairments: Vec::new(),
        tasks: [(0, Task::Http(Http { abort, ..http() })), (1, Task::Http(down))].into(),
        engine: None,
        deadline_ns: 600_000_000_000,
    });
    agent.fire(&[0, 1]);
    exchange();
    // From inside the container itself nothing is changed: its own health checks, say.
    let inside = pair.near.run(|| {
        let mut stream = TcpStream::connect((NEAR[0], PORT)).unwrap();
        stream.write_all(get("/body").as_bytes()).unwrap();
        let mut buffer = [0; 12];
        stream.read_exact(&mut buffer).unwrap();
        buffer
    });
    assert_eq!(&inside, b"HTTP/1.1 200");
    let address: SocketAddr = (NEAR[0].parse::<IpAddr>().unwrap(), 8081).into();
    // The reset may come before the client has noticed that it is connected.
    let asked = pair.connect(address, PATIENCE).and_then(|mut stream| stream.read(&mut [0]));
    assert_eq!(asked.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(agent.read(1).counted["refused_connections"], 1);
    assert!(agent.undo(&[0, 1]).values().all(|undone| undone.verified));
    exchange();
    assert_eq!(pair.near.state(), before);
}

#[test]
fn the_proxy_can_t_be_reached_directly() {
    if !may_make_namespaces("the_proxy_can_t_be_reached_directly") {
        return;
    }
    let (pair, _) = start();
    let mut agent = pair.agent();
    let ports = || {
        let listed = pair.near.shell("ss -Hltn | grep -o '0.0.0.0:[0-9]* ' | cut -d: -f2");
        listed.split_whitespace().map(|port| port.parse().unwrap()).collect::<Vec<u16>>()
    };
    let theirs = ports();
    fire(&mut agent, &Http { delay_ns: 1, ..http() });
    let ours: Vec<u16> = ports().into_iter().filter(|port| !theirs.contains(port)).collect();
    assert_eq!(ours.len(), 1, "{ours:?}");
    for family in [0, 1] {
        let address: SocketAddr = (NEAR[family].parse::<IpAddr>().unwrap(), ours[0]).into();
        let refused = pair.far.run(|| TcpStream::connect_timeout(&address, Duration::from_millis(300)));
        assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "{address} from {FAR:?}");
    }
}

#[test]
fn an_agent_that_is_killed_leaves_the_server_as_it_was() {
    if !may_make_namespaces("an_agent_that_is_killed_leaves_the_server_as_it_was") {
        return;
    }
    let (pair, before) = start();
    let mut agent = pair.agent();
    fire(&mut agent, &Http { abort: Some(Abort { status: 500, body: String::new() }), ..http() });
    assert!(ask(&pair, 0, &get("/body")).starts_with("HTTP/1.1 500"));
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    assert_eq!(pair.near.state(), before);
    assert!(ask(&pair, 0, &get("/body")).ends_with(BODY));
}

#[test]
fn two_faults_of_one_port_add_up() {
    if !may_make_namespaces("two_faults_of_one_port_add_up") {
        return;
    }
    let (pair, before) = start();
    let mut agent = pair.agent();
    let late = Http { delay_ns: 80_000_000, ..http() };
    let bad = Http { abort: Some(Abort { status: 500, body: String::new() }), ..http() };
    agent.ask(wire::Command::Arm {
        tag: "test".into(),
        impairments: Vec::new(),
        tasks: [(0, Task::Http(late)), (1, Task::Http(bad))].into(),
        engine: None,
        deadline_ns: 600_000_000_000,
    });
    agent.fire(&[0, 1]);
    for family in [0, 1] {
        let began = Instant::now();
        assert!(ask(&pair, family, &get("/body")).starts_with("HTTP/1.1 500"));
        assert!(began.elapsed() >= Duration::from_millis(80));
    }
    assert!(agent.undo(&[0])[&0].verified);
    assert!(ask(&pair, 0, &get("/body")).starts_with("HTTP/1.1 500"));
    assert!(agent.undo(&[1])[&1].verified);
    assert_eq!(pair.near.state(), before);
}
