//! What loads send and what they look into, against a real server: flows, data, credentials, checks.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration as StdDuration, Instant};

use bytes::Bytes;
use chaos::clock::Clock;
use chaos::load::record::Stats;
use chaos::load::{Endpoints, Generator, Setup};
use chaos::plan::LoadPlan;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

/// A request as the server saw it.
#[derive(Clone, Debug)]
struct Seen {
    at: Instant,
    line: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// A megabyte and a half of spaces, packed.
static BOMB: OnceLock<Vec<u8>> = OnceLock::new();

/// A shop: `/login` gives out a token and a cookie that belong together, `/orders` takes them.
struct Shop {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _serving: tokio::task::JoinSet<()>,
}

impl Shop {
    async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let mut serving = tokio::task::JoinSet::new();
        let noted = seen.clone();
        serving.spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let noted = noted.clone();
                let service = hyper::service::service_fn(move |request| serve(request, noted.clone()));
                tokio::spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    // A client that goes away is the client's business.
                    let _ = connection.await;
                });
            }
        });
        Self { address, seen, _serving: serving }
    }

    /// Requests whose line begins so, in the order in which they came.
    fn seen(&self, begins: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|seen| seen.line.starts_with(begins)).cloned().collect()
    }
}

async fn serve(
    request: Request<Incoming>,
    noted: Arc<Mutex<Vec<Seen>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let at = Instant::now();
    let line = format!("{} {}", request.method(), request.uri());
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    let seen = Seen { at, line: line.clone(), headers, body };
    let session = {
        let mut noted = noted.lock().unwrap();
        noted.push(seen.clone());
        noted.len()
    };
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let (status, headers, body): (u16, Vec<(&str, String)>, Vec<u8>) = match line.as_str() {
        "GET /login" => (
            200,
            vec![
                ("set-cookie", format!("sid=s{session}; Path=/orders")),
                ("set-cookie", "gone=1; Max-Age=0".into()),
            ],
            format!("{{\"token\": \"t{session} &\\n?\", \"id\": {session}}}").into(),
        ),
        "POST /orders"
            if seen.header("authorization").replace("Bearer t", "")
                == format!("{} & ?", seen.header("cookie").replace("sid=s", "")) =>
        {
            (201, vec![("location", format!("/orders/{}", seen.header("cookie")))], Vec::new())
        }
        "GET /packed" => {
            let text = "{\"ok\": true, \"list\": [1, 2]}";
            (
                200,
                vec![("content-encoding", "gzip".into()), ("content-type", "application/json".into())],
                gzip(text),
            )
        }
        "GET /bomb" => (
            200,
            vec![("content-encoding", "gzip".into())],
            BOMB.get_or_init(|| gzip(&" ".repeat(3 << 19))).clone(),
        ),
        "GET /large" => (200, vec![], vec![b'x'; (1 << 20) + 1]),
        "GET /text" => (200, vec![("x-version", "v1.2".into())], b"all is well".to_vec()),
        // Leads on with the status that it names: `/go/302/where/to?a` to `/where/to?a`.
        _ if line.contains(" /go/") => {
            let (_, rest) = line.split_once(" /go/").unwrap();
            let to = ("location", rest[3..].replace("/to-other", "http://other.test"));
            (rest[..3].parse().unwrap(), vec![to, ("set-cookie", "way=1; Path=/".into())], b"moved".to_vec())
        }
        "GET /round" => (302, vec![("location", "round".into())], Vec::new()),
        "GET /nowhere" => (302, vec![], Vec::new()),
        "POST /ok" => (200, vec![], seen.body.into()),
        _ if line.starts_with("GET /ok") || line.starts_with("GET /orders/") => (200, vec![], Vec::new()),
        _ => (500, vec![], Vec::new()),
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(body.into())).unwrap())
}

/// Runs a load for a while. The text is the load's; `shop` in its URLs is the server.
async fn run(shop: &Shop, load: &str, length_ms: u64) -> (Stats, chaos::event::Generator) {
    let load = chaos::spec::fragment(load).unwrap_or_else(|problems| panic!("{problems}"));
    let plan = LoadPlan { name: "users".into(), load, seed: 3, slos: Vec::new(), expected_requests: None };
    let endpoints: Endpoints = [("shop", shop.address)].into_iter().collect();
    let generator =
        Generator::start(&[plan], &endpoints, Clock::start(), Setup::default()).await.expect("it starts");
    tokio::time::sleep(StdDuration::from_millis(length_ms)).await;
    let (intervals, generator) = generator.stop().await;
    let mut total = Stats::default();
    intervals.iter().for_each(|interval| total.merge(&interval.stats));
    (total, generator)
}

fn counts(stats: &Stats) -> BTreeMap<&str, u64> {
    stats.errors.iter().map(|(class, count)| (class.as_str(), *count)).collect()
}

const CHECKOUT: &str = "
    - flow: checkout
      steps:
        - get: http://shop/login
          extract: { token: { json: $.token }, sid: { cookie: sid } }
        - post: http://shop/orders
          auth: { bearer: '{{ token }}' }
          json: { session: '{{ sid }}', token: '{{ token }}' }
          expect: { status: 201 }
          extract: { order: { header: location }, number: { regex: '^$' } }
        - get: http://shop{{ none }}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_carries_what_answers_held_to_its_later_steps() {
    let shop = Shop::open().await;
    let steps = CHECKOUT.replace("http://shop{{ none }}", "http://shop/orders/7?of={{ order }}&{{ number }}");
    let (stats, _) = run(&shop, &format!("rate: 200/s\nrequests:{steps}"), 600).await;
    let (logins, orders) = (shop.seen("GET /login"), shop.seen("POST /orders"));
    let looks = shop.seen("GET /orders/7");
    assert!(looks.len() > 20, "{}", looks.len());
    // The load may end between two steps of a flow, and never within an answer of this server.
    assert_eq!(stats.boxes.good, (logins.len() + orders.len() + looks.len()) as u64, "{:?}", stats.boxes);
    assert_eq!(stats.boxes.scheduled(), stats.boxes.good, "{:?} {:?}", stats.boxes, stats.errors);
    assert!(logins.len() >= orders.len() && orders.len() >= looks.len());
    for order in &orders {
        // That token and cookie belong together the server has checked itself: it answered 201.
        let body: serde_json::Value = serde_json::from_str(&order.body).expect("values are escaped in JSON");
        let sid = body["session"].as_str().unwrap();
        assert_eq!(body["token"].as_str().unwrap(), format!("{} &\n?", sid.replace('s', "t")));
        assert_eq!(order.header("cookie"), format!("sid={sid}"));
    }
    for look in &looks {
        let sid = look.header("cookie").replace("sid=", "");
        assert_eq!(look.line, format!("GET /orders/7?of=%2Forders%2Fsid%3D{sid}&"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_ends_where_an_answer_is_not_as_expected() {
    let shop = Shop::open().await;
    let load = "{ rate: 100/s, requests: [ { flow: broken, steps: [ { get: 'http://shop/ok' }, \
                { get: 'http://shop/fails' }, { get: 'http://shop/ok/never' } ] } ] }";
    let (stats, _) = run(&shop, load, 400).await;
    assert!(stats.boxes.bad > 10, "{:?}", stats.boxes);
    assert_eq!(shop.seen("GET /ok/never").len(), 0);
    assert_eq!(stats.boxes.bad, shop.seen("GET /fails").len() as u64);
    assert_eq!(counts(&stats), [("unexpected: status", stats.boxes.bad)].into());

    let shop = Shop::open().await;
    let load = "{ rate: 100/s, requests: [ { flow: broken, steps: [ { get: 'http://shop/login', \
                extract: { a: { json: $.nothing } } }, { get: 'http://shop/ok/{{ a }}' } ] } ] }";
    let (stats, _) = run(&shop, load, 400).await;
    assert_eq!(shop.seen("GET /ok").len(), 0);
    assert_eq!(stats.boxes.bad, stats.boxes.scheduled());
    assert_eq!(counts(&stats), [("unexpected: nothing to extract", stats.boxes.bad)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_thinks_between_steps_and_is_under_way_meanwhile() {
    let shop = Shop::open().await;
    let load = "{ rate: 200/s, max_in_flight: 1, requests: [ { flow: slow, steps: [ { get: 'http://shop/ok/1' }, \
                { get: 'http://shop/ok/2', think: 250ms } ] } ] }";
    let (stats, _) = run(&shop, load, 900).await;
    let (first, second) = (shop.seen("GET /ok/1"), shop.seen("GET /ok/2"));
    assert!((1..=4).contains(&first.len()), "one at a time, each a quarter of a second: {}", first.len());
    assert!(!second.is_empty() && second.len() <= first.len());
    for (first, second) in first.iter().zip(&second) {
        let thought = second.at.duration_since(first.at);
        assert!(thought >= StdDuration::from_millis(249), "{thought:?}");
    }
    // Thinking is not latency.
    assert!(stats.latency.quantile_s(0.5).is_some_and(|median_s| median_s < 0.25), "{:?}", stats.latency);
    assert_eq!(stats.boxes.good, (first.len() + second.len()) as u64);
    assert!(stats.boxes.dropped > 50, "{:?}", stats.boxes);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_again_when_their_flow_is_over() {
    let shop = Shop::open().await;
    let load = "{ users: 3, think: 20ms, requests: [ { flow: pair, steps: [ { get: 'http://shop/ok/1' }, \
                { get: 'http://shop/ok/2', think: 30ms } ] } ] }";
    let (stats, _) = run(&shop, load, 600).await;
    let mut visitors = 0i32;
    for seen in shop.seen("GET /ok") {
        visitors += if seen.line.ends_with('1') { 1 } else { -1 };
        assert!((0..=3).contains(&visitors), "{visitors} users are between two steps");
    }
    assert!(stats.boxes.good > 12, "{:?}", stats.boxes);
    assert_eq!(stats.boxes.scheduled(), shop.seen("GET").len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_data_are_dealt_in_turn_however_many_threads_send() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, jsonl) = (folder.path().join("users.csv"), folder.path().join("items.jsonl"));
    let rows: String = (0..7).map(|n| format!("u{n}@example.org,p&{n}\n")).collect();
    std::fs::write(&csv, format!("email,password\n{rows}")).unwrap();
    std::fs::write(&jsonl, "{\"item\": {\"id\": 1}}\n{\"item\": {\"id\": \"b/c\"}}\n").unwrap();
    let shop = Shop::open().await;
    let load = format!(
        "{{ rate: 300/s, data: {{ users: {{ csv: {} }}, items: {{ jsonl: {} }} }}, requests: [ \
         {{ get: 'http://shop/ok/{{{{ users.email }}}}?p={{{{ users.password }}}}' }}, {{ get: 'http://shop/ok/i/{{{{ items.item.id }}}}' }} ] }}",
        csv.display(),
        jsonl.display()
    );
    let (stats, _) = run(&shop, &load, 600).await;
    assert_eq!(stats.boxes.good, stats.boxes.scheduled(), "{:?} {:?}", stats.boxes, stats.errors);
    let mut dealt: BTreeMap<String, u64> = BTreeMap::new();
    shop.seen("GET").into_iter().for_each(|seen| *dealt.entry(seen.line).or_default() += 1);
    let users: Vec<u64> =
        (0..7).map(|n| dealt.remove(&format!("GET /ok/u{n}%40example.org?p=p%26{n}")).unwrap_or(0)).collect();
    assert!(users[6] > 0 && users[0] - users[6] <= 1 && users.is_sorted_by(|a, b| a >= b), "{users:?}");
    let items = ["1", "b%2Fc"].map(|id| dealt.remove(&format!("GET /ok/i/{id}")).unwrap_or(0));
    assert!(items[1] > 0 && items[0] - items[1] <= 1, "{items:?}");
    assert!(dealt.is_empty(), "{dealt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_far_down_in_data_makes_the_run_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("users.csv");
    let rows: String = (0..80).map(|n| format!("{n}\n")).collect();
    std::fs::write(&csv, format!("n\n{rows}one,too many\n")).unwrap();
    let shop = Shop::open().await;
    let load = format!(
        "{{ rate: 500/s, data: {{ u: {{ csv: {} }} }}, requests: [ get: 'http://shop/ok/{{{{ u.n }}}}' ] }}",
        csv.display()
    );
    let (stats, generator) = run(&shop, &load, 500).await;
    assert_eq!(stats.boxes.good, 64, "what was read before the mistake: {:?}", stats.boxes);
    assert_eq!(counts(&stats), [("local: data", stats.boxes.failed)].into());
    let said = format!("{generator:?}");
    assert!(said.contains("local: data"), "{said}");
    let example = &stats.examples["local: data"];
    assert!(example.ends_with("users.csv:82: 2 of 1 columns"), "{example}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_looked_into() {
    for (request, errors, says) in [
        (
            "{ get: 'http://shop/packed', expect: { header: { content-type: '/json$/' }, json: { $.ok: true, '$.list[1]': 2 }, size: < 1KB } }",
            None,
            "",
        ),
        (
            "{ get: 'http://shop/packed', expect: { json: { $.ok: false } } }",
            Some("unexpected: json"),
            "GET /packed: expected $.ok = false, got true",
        ),
        (
            "{ get: 'http://shop/packed', expect: { size: '== 0' } }",
            Some("unexpected: size"),
            "GET /packed: expected a body of == 0B, got",
        ),
        (
            "{ get: 'http://shop/packed', expect: { status: 404, size: '== 0' } }",
            Some("unexpected: status"),
            "GET /packed answered 200 where 404 was expected",
        ),
        (
            "{ get: 'http://shop/bomb', expect: { body: x } }",
            Some("unexpected: body"),
            "decoded, the body is longer than",
        ),
        ("{ get: 'http://shop/bomb' }", None, ""),
        (
            "{ get: 'http://shop/large', expect: { body: x } }",
            Some("unexpected: body"),
            "the body of 1048577 bytes is longer than",
        ),
        ("{ get: 'http://shop/large', expect: { size: > 1MiB } }", None, ""),
        (
            "{ get: 'http://shop/text', expect: { body: is well, regex: '^all .* well$', header: { X-Version: v1.2 } } }",
            None,
            "",
        ),
        (
            "{ get: 'http://shop/text', expect: { body: is ill } }",
            Some("unexpected: body"),
            "got all is well",
        ),
        (
            "{ get: 'http://shop/text', expect: { regex: ^well } }",
            Some("unexpected: body"),
            "matching /^well/, got all is well",
        ),
        (
            "{ get: 'http://shop/text', expect: { header: { x-version: /v2/ } } }",
            Some("unexpected: header"),
            "x-version = /v2/, got v1.2",
        ),
        (
            "{ get: 'http://shop/text', expect: { json: { $.ok: true } } }",
            Some("unexpected: json"),
            "expected a body of JSON, got all is well",
        ),
    ] {
        let shop = Shop::open().await;
        let (stats, _) = run(&shop, &format!("{{ rate: 50/s, requests: [ {request} ] }}"), 150).await;
        let total = stats.boxes.scheduled();
        let (good, bad) = if errors.is_some() { (0, total) } else { (total, 0) };
        assert!(total > 0);
        assert_eq!((stats.boxes.good, stats.boxes.bad), (good, bad), "{request}: {:?}", stats.errors);
        assert_eq!(counts(&stats), errors.map(|class| (class, total)).into_iter().collect(), "{request}");
        let example = stats.examples.values().next().map_or("", String::as_str);
        assert!(example.contains(says), "{request}: {example}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_say_who_they_are_from() {
    let shop = Shop::open().await;
    let load = "{ rate: 100/s, compression: true, auth: { basic: { user: me, password: 'open:sesame' } }, \
                requests: [ { get: 'http://shop/ok/load' }, { get: 'http://shop/ok/own', auth: { bearer: 't-{{ counter }}' } } ] }";
    let (stats, _) = run(&shop, load, 400).await;
    assert_eq!(stats.boxes.good, stats.boxes.scheduled());
    let (load, own) = (shop.seen("GET /ok/load"), shop.seen("GET /ok/own"));
    assert!(!load.is_empty() && !own.is_empty());
    assert!(load.iter().all(|seen| seen.header("authorization") == "Basic bWU6b3BlbjpzZXNhbWU="));
    assert!(load.iter().all(|seen| seen.header("accept-encoding") == "gzip, br, zstd, deflate"));
    assert!(own.iter().all(|seen| seen.header("authorization").starts_with("Bearer t-")));
    assert!(own[0].header("authorization") != own[1].header("authorization"));
}

/// Requests of this line; how many there were is the number of a load's arrivals.
fn came(shop: &Shop, line: &str, arrivals: u64) -> Vec<Seen> {
    let seen: Vec<_> = shop.seen(line).into_iter().filter(|seen| seen.line == line).collect();
    assert_eq!(seen.len() as u64, arrivals, "{line}");
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_as_often_as_asked() {
    let shop = Shop::open().await;
    let load = "{ rate: 200/s, redirects: 2, connections: { max: 1 }, auth: { bearer: me }, requests: [ \
                { get: 'http://shop/go/302/go/307/ok?way={{ counter }}', expect: { status: 200, size: == 0B } } ] }";
    let (stats, _) = run(&shop, load, 500).await;
    let arrivals = stats.boxes.good;
    assert!(arrivals > 50 && stats.boxes.scheduled() == arrivals, "{:?} {:?}", stats.boxes, stats.errors);
    for line in ["GET /go/302/go/307/ok?", "GET /go/307/ok?", "GET /ok?"] {
        let seen = shop.seen(line);
        assert_eq!(seen.len() as u64, arrivals, "{line}");
        assert!(
            seen.iter()
                .all(|seen| seen.header("authorization") == "Bearer me" && seen.header("cookie").is_empty())
        );
    }
    // Three answers each, of which those on the way count too.
    assert!(stats.bytes > 3 * 40 * arrivals, "{} bytes of {arrivals}", stats.bytes);
    assert_eq!(stats.latency.count(), arrivals, "one arrival is one latency");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_change_methods_as_browsers_do() {
    for (status, method, body) in
        [(301, "GET", ""), (302, "GET", ""), (303, "GET", ""), (307, "POST", "tea"), (308, "POST", "tea")]
    {
        let shop = Shop::open().await;
        let load = format!(
            "{{ rate: 100/s, redirects: 1, requests: [ {{ post: 'http://shop/go/{status}/ok', \
             body: tea, headers: {{ content-type: text/plain }} }} ] }}"
        );
        let (stats, _) = run(&shop, &load, 300).await;
        assert!(stats.boxes.good > 10, "{status}: {:?}", stats.boxes);
        assert_eq!(stats.boxes.scheduled(), stats.boxes.good, "{status}: {:?}", stats.errors);
        for seen in came(&shop, &format!("{method} /ok"), stats.boxes.good) {
            assert_eq!(seen.body, body, "{status}");
            assert_eq!(seen.header("content-type").is_empty(), body.is_empty(), "{status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_that_lead_nowhere_fail() {
    let shop = Shop::open().await;
    for (path, requests, why) in [
        ("round", 4, "redirected more than 3 times, at last to http://shop/round"),
        ("nowhere", 1, "answered 302 without a location"),
        ("go/302/to-other/x", 1, "redirected to http://other.test/x, where no request of this load goes"),
    ] {
        let load = format!("{{ rate: 100/s, redirects: 3, requests: [ {{ get: 'http://shop/{path}' }} ] }}");
        let (stats, _) = run(&shop, &load, 300).await;
        let failed = stats.boxes.failed;
        assert!(failed > 10 && stats.boxes.scheduled() == failed, "{path}: {:?}", stats.boxes);
        assert_eq!(counts(&stats), [("redirects", failed)].into(), "{path}");
        assert_eq!(stats.examples["redirects"], format!("GET /{path}: {why}"));
        came(&shop, &format!("GET /{path}"), failed * requests);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed_unless_asked() {
    let shop = Shop::open().await;
    let load = "{ rate: 100/s, requests: [ { get: 'http://shop/go/302/ok', expect: { status: 302 } } ] }";
    let (stats, _) = run(&shop, load, 300).await;
    assert!(stats.boxes.good > 10 && stats.boxes.scheduled() == stats.boxes.good, "{:?}", stats.boxes);
    came(&shop, "GET /go/302/ok", stats.boxes.good);
    came(&shop, "GET /ok", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_to_another_host_of_the_load_leave_credentials_behind() {
    let (shop, other) = (Shop::open().await, Shop::open().await);
    let load = format!(
        "{{ rate: 100/s, redirects: 1, auth: {{ bearer: me }}, headers: {{ cookie: c=1, x-kept: 'yes' }}, \
         resolve: {{ 'other.test:80': '{}' }}, requests: [ {{ get: 'http://shop/go/307/to-other/ok/1' }}, \
         {{ get: 'http://other.test/ok/2' }} ] }}",
        other.address
    );
    let (stats, _) = run(&shop, &load, 400).await;
    assert_eq!(stats.boxes.scheduled(), stats.boxes.good, "{:?} {:?}", stats.boxes, stats.errors);
    let (strayed, meant) = (other.seen("GET /ok/1"), other.seen("GET /ok/2"));
    assert!(strayed.len() > 5 && meant.len() > 5, "{} and {}", strayed.len(), meant.len());
    assert_eq!((strayed.len() + meant.len()) as u64, stats.boxes.good);
    for (seen, who) in
        strayed.iter().map(|seen| (seen, "")).chain(meant.iter().map(|seen| (seen, "Bearer me")))
    {
        assert_eq!((seen.header("host"), seen.header("x-kept")), ("other.test", "yes"));
        assert_eq!((seen.header("authorization"), seen.header("cookie").is_empty()), (who, who.is_empty()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_is_redirected_within_its_step() {
    let shop = Shop::open().await;
    let load = "{ rate: 100/s, redirects: 1, requests: [ { flow: moved, steps: [ \
                { get: 'http://shop/go/303/login', extract: { token: { json: $.token } } }, \
                { get: 'http://shop/orders/{{ token }}' } ] } ] }";
    let (stats, _) = run(&shop, load, 500).await;
    assert_eq!(stats.boxes.scheduled(), stats.boxes.good, "{:?} {:?}", stats.boxes, stats.errors);
    let (logins, orders) = (shop.seen("GET /login"), shop.seen("GET /orders/t"));
    assert!(orders.len() > 10, "{}", orders.len());
    assert_eq!((logins.len() + orders.len()) as u64, stats.boxes.good, "a hop is no step of its own");
    assert!(logins.iter().all(|seen| seen.header("cookie") == "way=1"));
    assert!(
        orders
            .iter()
            .all(|seen| seen.header("cookie").contains("way=1") && seen.header("cookie").contains("sid=s"))
    );
}
