//! Loads over every protocol and transport, against real servers of it, well-behaved and hostile.

#[path = "load_servers.rs"]
mod servers;

use std::collections::BTreeMap;
use std::time::Duration as StdDuration;

use chaos::clock::Clock;
use chaos::load::record::Stats;
use chaos::load::{Endpoints, Generator, Setup};
use chaos::plan::LoadPlan;
use servers::{Certificates, Counts, Hostile, Nature, Served};

/// A load as an experiment writes it, without its braces.
fn plan(load: &str) -> LoadPlan {
    let load =
        chaos::spec::fragment(&format!("{{ {load} }}")).unwrap_or_else(|problems| panic!("{problems}"));
    LoadPlan { name: "users".into(), load, seed: 7, slos: Vec::new(), expected_requests: None }
}

/// Runs a load for a while; every arrival is in one box.
async fn run(load: &str, length_ms: u64) -> Stats {
    let plan = plan(load);
    let generator = Generator::start(&[plan], &Endpoints::new(), Clock::start(), Setup::default())
        .await
        .expect("it starts");
    tokio::time::sleep(StdDuration::from_millis(length_ms)).await;
    let (intervals, _) = generator.stop().await;
    let mut total = Stats::default();
    for interval in &intervals {
        total.merge(&interval.stats);
    }
    assert!(total.boxes.scheduled() > 0, "{load}");
    total
}

#[track_caller]
fn all_good(load: &str, stats: &Stats) {
    assert_eq!(stats.boxes.good, stats.boxes.scheduled(), "{load}: {:?} {:?}", stats.boxes, stats.errors);
}

#[track_caller]
fn all(load: &str, stats: &Stats, class: &str) {
    let scheduled = stats.boxes.scheduled();
    assert_eq!(stats.errors, BTreeMap::from([(class.to_owned(), scheduled)]), "{load}: {:?}", stats.boxes);
}

/// `resolve` that sends `shop.test` to a server.
fn at(served: &Served) -> String {
    format!("resolve: {{ 'shop.test:443': '{}' }}", served.address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_and_resumed() {
    let certificates = Certificates::new();
    let ca = certificates.file("ca.pem");
    let ca = ca.display();
    let served = servers::tls(Nature::default(), &certificates, false).await;
    let get = "requests: [ get: 'https://shop.test/x' ]";
    for (resume, resumes) in [("true", true), ("false", false)] {
        let before = Counts::get(&served.counts.resumed);
        let load = format!(
            "rate: 200/s, connections: {{ requests: 1 }}, tls: {{ ca: '{ca}', resume: {resume} }}, {}, {get}",
            at(&served)
        );
        all_good(&load, &run(&load, 400).await);
        assert_eq!(Counts::get(&served.counts.resumed) > before, resumes, "{load}");
    }
    assert_eq!(*served.counts.hosts.lock().unwrap(), ["shop.test"]);
    // Kept connections and bodies of several records.
    let large = servers::tls(Nature { body_bytes: 300_000, ..Nature::default() }, &certificates, false).await;
    let load = format!("rate: 100/s, tls: {{ ca: '{ca}' }}, {}, {get}", at(&large));
    let stats = run(&load, 400).await;
    all_good(&load, &stats);
    assert!(stats.bytes >= 300_000 * stats.boxes.good, "{stats:?}");
    assert!(Counts::get(&large.counts.connections) < Counts::get(&large.counts.requests));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_trusts_and_shows_what_it_is_told_to() {
    let certificates = Certificates::new();
    let file = |name: &str| certificates.file(name).display().to_string();
    let open = servers::tls(Nature::default(), &certificates, false).await;
    let strict = servers::tls(Nature::default(), &certificates, true).await;
    let ca = format!("ca: '{}'", file("ca.pem"));
    let shown = format!("{ca}, cert: '{}', key: '{}'", file("client.pem"), file("client.key"));
    let by_address = |served: &Served| format!("requests: [ get: 'https://{}/' ]", served.address);
    let by_name = |served: &Served| format!("{}, requests: [ get: 'https://shop.test/' ]", at(served));
    for (tls, rest, class) in [
        ("insecure: false", by_name(&open), Some("tls")),
        ("insecure: true", by_address(&open), None),
        (&ca, by_address(&open), Some("tls")),
        (&format!("{ca}, sni: shop.test"), by_address(&open), None),
        (&format!("{ca}, sni: other.test"), by_name(&open), Some("tls")),
        (&ca, by_name(&strict), Some("tls")),
        (&shown, by_name(&strict), None),
    ] {
        let load = format!("rate: 100/s, tls: {{ {tls} }}, {rest}");
        let stats = run(&load, 300).await;
        match class {
            None => all_good(&load, &stats),
            Some(class) => all(&load, &stats, class),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_spoken_with_and_without_tls() {
    let certificates = Certificates::new();
    let ca = certificates.file("ca.pem");
    let nature = Nature { h2: true, delay_ms: 5, ..Nature::default() };
    let secure = servers::tls(nature.clone(), &certificates, false).await;
    let load = format!(
        "rate: 500/s, http: h2, tls: {{ ca: '{}' }}, {}, requests: [ get: 'https://shop.test/{{{{ counter }}}}' ]",
        ca.display(),
        at(&secure)
    );
    all_good(&load, &run(&load, 500).await);
    assert_eq!(Counts::get(&secure.counts.connections), 1, "one connection carries them all");
    assert_eq!(*secure.counts.hosts.lock().unwrap(), ["shop.test"]);

    let plain = servers::plain(nature.clone(), "127.0.0.1:0").await;
    let load = format!("rate: 500/s, http: h2, requests: [ get: 'http://{}/' ]", plain.address);
    all_good(&load, &run(&load, 500).await);
    assert_eq!(Counts::get(&plain.counts.connections), 1);

    // The server's bound on streams holds, once it is known; so does ours.
    let narrow = servers::plain(Nature { streams: 3, delay_ms: 20, ..nature.clone() }, "127.0.0.1:0").await;
    let load = format!("rate: 500/s, http: h2, requests: [ get: 'http://{}/' ]", narrow.address);
    all_good(&load, &run(&load, 500).await);
    let load = format!(
        "rate: 500/s, http: h2, streams: 2, connections: {{ max: 3 }}, timeout: 5s, requests: [ get: 'http://{}/' ]",
        plain.address
    );
    plain.counts.most_at_once.store(0, std::sync::atomic::Ordering::Relaxed);
    all_good(&load, &run(&load, 300).await);
    assert!(Counts::get(&plain.counts.most_at_once) <= 6, "{:?}", plain.counts);

    // A redirect goes on along the same connection.
    let moving = servers::plain(nature.clone(), "127.0.0.1:0").await;
    let load = format!(
        "rate: 300/s, http: h2, redirects: 2, requests: [ {{ post: 'http://{}/moved/moved/there', body: body }} ]",
        moving.address
    );
    let stats = run(&load, 400).await;
    all_good("redirects", &stats);
    let good = stats.boxes.good as usize;
    assert_eq!(Counts::get(&moving.counts.requests), 3 * good);
    assert_eq!(Counts::get(&moving.counts.body_bytes), 3 * 4 * good, "307 keeps the body");
    assert_eq!(Counts::get(&moving.counts.connections), 1);

    // Bodies both ways, larger than windows.
    let large = servers::plain(Nature { body_bytes: 3_000_000, ..nature }, "127.0.0.1:0").await;
    let body = "b".repeat(300_000);
    let load = format!(
        "rate: 20/s, http: h2, timeout: 5s, requests: [ {{ post: 'http://{}/', body: '{body}' }} ]",
        large.address
    );
    let stats = run(&load, 500).await;
    all_good("a large body", &stats);
    assert_eq!(Counts::get(&large.counts.body_bytes), 300_000 * stats.boxes.good as usize);
    assert!(stats.bytes >= 3_000_000 * stats.boxes.good);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unix_sockets_and_ipv6_are_connected_to() {
    let dir = tempfile::tempdir().unwrap();
    for h2 in [false, true] {
        let nature = Nature { h2, ..Nature::default() };
        let http = if h2 { "h2" } else { "h1" };
        let path = dir.path().join(http);
        let unix = servers::unix(nature.clone(), &path);
        let load = format!(
            "rate: 200/s, http: {http}, unix_socket: '{}', requests: [ get: 'http://shop.test/' ]",
            path.display()
        );
        all_good(&load, &run(&load, 300).await);
        assert_eq!(*unix.counts.hosts.lock().unwrap(), ["shop.test"]);
        let six = servers::plain(nature, "[::1]:0").await;
        let load = format!("rate: 200/s, http: {http}, requests: [ get: 'http://{}/' ]", six.address);
        all_good(&load, &run(&load, 300).await);
        assert_eq!(*six.counts.hosts.lock().unwrap(), [six.address.to_string()]);
    }
    let load = format!(
        "rate: 200/s, unix_socket: '{}', requests: [ get: 'http://a/' ]",
        dir.path().join("nobody").display()
    );
    let stats = run(&load, 100).await;
    assert_eq!(stats.boxes.failed, stats.boxes.scheduled(), "{:?}", stats.errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_as_many_as_they_may_be() {
    let served = servers::plain(Nature { delay_ms: 20, ..Nature::default() }, "127.0.0.1:0").await;
    let load = format!(
        "rate: 150/s, timeout: 5s, connections: {{ max: 4 }}, requests: [ get: 'http://{}/' ]",
        served.address
    );
    let stats = run(&load, 600).await;
    all_good(&load, &stats);
    assert_eq!(Counts::get(&served.counts.connections), 4);
    // Four of 20 ms each are 200/s: poisson arrivals at 150/s wait now and then, and the wait is latency.
    assert!(stats.latency.quantile_ns(1.0) > stats.latency.quantile_ns(0.01), "{stats:?}");

    for each in [1, 10] {
        let served = servers::plain(Nature::default(), "127.0.0.1:0").await;
        let load = format!(
            "rate: 200/s, connections: {{ max: 1, requests: {each} }}, timeout: 5s, requests: [ get: 'http://{}/' ]",
            served.address
        );
        let stats = run(&load, 500).await;
        all_good(&load, &stats);
        let expected = stats.boxes.good.div_ceil(each) as usize;
        assert_eq!(Counts::get(&served.counts.connections), expected, "{load}");
        let h2 = servers::plain(Nature { h2: true, ..Nature::default() }, "127.0.0.1:0").await;
        let load = load.replace(&served.address.to_string(), &h2.address.to_string());
        let load = format!("http: h2, {load}");
        let stats = run(&load, 500).await;
        all_good(&load, &stats);
        assert_eq!(Counts::get(&h2.counts.connections), stats.boxes.good.div_ceil(each) as usize, "{load}");
    }
    // Whoever waits for a connection for too long has timed out.
    let slow = servers::plain(Nature { delay_ms: 3_000, ..Nature::default() }, "127.0.0.1:0").await;
    let load = format!(
        "rate: 200/s, timeout: 200ms, connections: {{ max: 1 }}, requests: [ get: 'http://{}/' ]",
        slow.address
    );
    let stats = run(&load, 500).await;
    assert_eq!(stats.boxes.timed_out, stats.boxes.scheduled(), "{:?} {:?}", stats.boxes, stats.errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_tcp_is_asked_and_answered() {
    let pong = servers::echo().await;
    let requests = |expected: &str| {
        format!(
            "requests: [ {{ tcp: '{}', send: \"PING {{{{ counter }}}}\\r\\n\", expect: {{ bytes: \"{expected}\" }} }} ]",
            pong.address
        )
    };
    let load = format!("rate: 200/s, {}", requests("PING"));
    all_good(&load, &run(&load, 300).await);
    assert!(
        Counts::get(&pong.counts.connections) < Counts::get(&pong.counts.requests),
        "connections are kept"
    );
    let load = format!("rate: 200/s, timeout: 200ms, {}", requests("PONG"));
    all(&load, &run(&load, 300).await, "timeout: body");
    let closed = servers::hostile(Hostile::SaysAndCloses(b"-ERR".to_vec())).await;
    let load = format!(
        "rate: 100/s, requests: [ {{ tcp: '{}', send: '{}', expect: {{ bytes: OK }} }} ]",
        closed.address,
        "x".repeat(200)
    );
    all(&load, &run(&load, 300).await, "truncated");
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_http2_servers_end_in_the_right_box() {
    let settings = frame(4, 0, 0, &[]);
    let after = |frames: &[Vec<u8>]| [settings.clone(), frames.concat()].concat();
    let goaway = frame(7, 0, 0, &[0; 8]);
    // A stream each, so that every connection is treated alike.
    let load = |served: &Served| {
        format!(
            "rate: 100/s, http: h2, streams: 1, connections: {{ requests: 1 }}, timeout: 300ms, requests: [ get: 'http://{}/' ]",
            served.address
        )
    };
    for (manner, class) in [
        (Hostile::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), "protocol"),
        (Hostile::Says(vec![0xff; 100]), "protocol"),
        (Hostile::Says(after(&[frame(1, 4, 1, &[0xbe])])), "protocol"),
        (Hostile::Says(after(&[frame(1, 4, 1, b"\x88\x5c\x015"), frame(0, 1, 1, b"hell")])), "protocol"),
        (Hostile::Repeats(after(&[frame(1, 0, 1, &[0x88])]), frame(9, 0, 1, b"").repeat(500)), "protocol"),
        (
            Hostile::Repeats(after(&[frame(1, 4, 1, &[0x88])]), frame(0, 0, 1, &[b'x'; 16_384])),
            "timeout: body",
        ),
        (Hostile::Says(Vec::new()), "timeout: answer"),
        (Hostile::Says(settings.clone()), "timeout: answer"),
        (Hostile::Says(after(&[frame(1, 4, 1, &[0x88])])), "timeout: body"),
        (Hostile::SaysAndCloses(Vec::new()), "reset"),
        (Hostile::SaysAndCloses(after(&[frame(1, 4, 1, &[0x88])])), "truncated"),
        (Hostile::SaysAndCloses(after(std::slice::from_ref(&goaway))), "reset"),
        (Hostile::Says(after(&[frame(3, 0, 1, &2u32.to_be_bytes())])), "reset"),
        (Hostile::Says(after(&[frame(3, 0, 1, &7u32.to_be_bytes())])), "reset"),
        (Hostile::Resets, "reset"),
    ] {
        let served = servers::hostile(manner.clone()).await;
        all(&format!("{manner:?}"), &run(&load(&served), 300).await, class);
    }
    // A flood of pings: where we can't keep up with answering it is refused, on other connections it runs into the
    // timeout.
    let served = servers::hostile(Hostile::Repeats(settings, frame(6, 0, 0, &[0; 8]))).await;
    let stats = run(&load(&served), 300).await;
    let ends =
        ["protocol", "timeout: answer"].map(|class| stats.errors.get(class).copied().unwrap_or_default());
    assert_eq!(ends.iter().sum::<u64>(), stats.boxes.scheduled(), "a flood of pings: {:?}", stats.errors);
    // A window that is never opened: the body never leaves.
    let served = servers::hostile(Hostile::Says(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]))).await;
    let body = "b".repeat(100_000);
    let load = format!(
        "rate: 50/s, http: h2, timeout: 300ms, requests: [ {{ post: 'http://{}/', body: '{body}' }} ]",
        served.address
    );
    all("a closed window", &run(&load, 300).await, "timeout: answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_tls_servers_end_in_the_right_box() {
    for (manner, class) in [
        (Hostile::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), "tls"),
        (Hostile::Says(vec![0x16, 3, 3, 0, 4, 2, 0, 0, 0]), "tls"),
        (Hostile::Says(vec![0x15, 3, 3, 0, 2, 2, 40]), "tls"),
        (Hostile::SaysAndCloses(Vec::new()), "tls"),
        (Hostile::Says(Vec::new()), "timeout: tls"),
        (Hostile::Says(vec![0x16, 3, 3]), "timeout: tls"),
        (Hostile::Repeats(Vec::new(), vec![0x16, 3, 3, 0, 4, 11, 0, 0, 0]), "tls"),
        (Hostile::Resets, "tls"),
    ] {
        for http in ["h1", "h2"] {
            let served = servers::hostile(manner.clone()).await;
            let load = format!(
                "rate: 100/s, http: {http}, streams: 1, timeout: 300ms, tls: {{ insecure: true }}, requests: [ get: 'https://{}/' ]",
                served.address
            );
            all(&format!("{http}: {manner:?}"), &run(&load, 200).await, class);
        }
    }
}
