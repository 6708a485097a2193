//! The generator against real servers, well-behaved and not: every arrival in exactly one box, the right
//! one, at its intended instant.

#[path = "load_server.rs"]
pub mod server;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration as StdDuration;

use chaos::clock::Clock;
use chaos::error::{Exit, Span};
use chaos::load::record::{Boxes, Outcome, Stats};
use chaos::load::schedule::{Arrival, Schedule};
use chaos::load::worker::{self, Pacing};
use chaos::load::{Endpoints, Generator, Interval, Setup};
use chaos::plan::LoadPlan;
use chaos::spec::expr::{Condition, Op, StatusSet, Term};
use chaos::spec::{self, Arrivals, Expect, Load, Located, Request};
use chaos::units::{Duration, NS_PER_S, Rate};
use futures_util::StreamExt;
use server::{Manner, Server};

fn located<T>(value: T) -> Located<T> {
    Located { value, span: Span::default() }
}

fn request(text: &str) -> Request {
    spec::fragment(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn get(url: &str) -> Request {
    request(&format!("get: '{url}'"))
}

fn post(url: &str) -> Request {
    request(&format!("post: '{url}'"))
}

fn load(per_s: f64, requests: Vec<Request>) -> LoadPlan {
    with(per_s, requests, |_| {})
}

/// A load that differs in something.
fn with(per_s: f64, requests: Vec<Request>, change: impl FnOnce(&mut Load)) -> LoadPlan {
    let mut load: Load =
        spec::fragment("{ rate: 1/s, timeout: 400ms, requests: [] }").expect("it is well-formed");
    load.rate = Some(located(Rate::per_s(per_s).into()));
    load.requests.value = requests;
    change(&mut load);
    LoadPlan { name: "users".into(), load, seed: 11, slos: Vec::new(), expected_requests: None }
}

/// What a finished run measured.
struct Ran {
    begin_ns: u64,
    intervals: Vec<Interval>,
    total: Stats,
    generator: chaos::event::Generator,
}

/// Runs a load for a while, draining as the run loop does.
async fn run(plan: &LoadPlan, server: &Server, length_ms: u64) -> Ran {
    run_with(plan, server, length_ms, |_, _, _| {}).await
}

/// The same, with something to do every 50 ms, given the generator, the clock and how often it was done.
async fn run_with(
    plan: &LoadPlan,
    server: &Server,
    length_ms: u64,
    every_50_ms: impl FnMut(&Generator, Clock, u64),
) -> Ran {
    let ran = run_set_up(plan, server, length_ms, Setup::default(), every_50_ms).await;
    check_ledger(Schedule::of(plan), &ran);
    ran
}

/// The same with a generator set up otherwise, its ledger unchecked.
async fn run_set_up(
    plan: &LoadPlan,
    server: &Server,
    length_ms: u64,
    setup: Setup,
    mut every_50_ms: impl FnMut(&Generator, Clock, u64),
) -> Ran {
    let clock = Clock::start();
    let endpoints: Endpoints = [("sut.lab", server.address)].into_iter().collect();
    let generator =
        Generator::start(std::slice::from_ref(plan), &endpoints, clock, setup).await.expect("it starts");
    let begin_ns = generator.begin_ns();
    let mut intervals = Vec::new();
    let mut beat = tokio::time::interval(StdDuration::from_millis(50));
    for count in 0..length_ms / 50 {
        beat.tick().await;
        every_50_ms(&generator, clock, count);
        intervals.extend(generator.drain());
    }
    beat.tick().await;
    let (rest, generator) = generator.stop().await;
    intervals.extend(rest);
    let mut total = Stats::default();
    for interval in &intervals {
        total.merge(&interval.stats);
    }
    Ran { begin_ns, intervals, total, generator }
}

/// Every interval holds exactly the arrivals that the schedule intends in it: none lost, none twice, none
/// elsewhere, however they ended.
fn check_ledger(schedule: impl Iterator<Item = Arrival>, ran: &Ran) {
    let mut by_place: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for interval in &ran.intervals {
        *by_place.entry((interval.from_ns, interval.to_ns)).or_default() += interval.stats.boxes.scheduled();
    }
    let end_ns = by_place.keys().map(|(_, to)| *to).max().unwrap_or(0);
    let intended: Vec<u64> =
        schedule.map(|arrival| ran.begin_ns + arrival.at_ns).take_while(|at_ns| *at_ns < end_ns).collect();
    for ((from_ns, to_ns), count) in &by_place {
        let expected = intended.iter().filter(|at_ns| (from_ns..to_ns).contains(at_ns)).count() as u64;
        assert_eq!(*count, expected, "arrivals in {from_ns}..{to_ns}");
    }
    assert_eq!(by_place.values().sum::<u64>(), intended.len() as u64, "no interval is missing");
    let Boxes { good, bad, timed_out, failed, cut_off, .. } = ran.total.boxes;
    assert!(ran.generator.cpu_ratio.is_some_and(|ratio| (0.0..=1.0).contains(&ratio)), "{:?}", ran.generator);
    let ended = good + bad + timed_out + failed;
    assert_eq!(ran.total.latency.count(), ended, "latency is of what was sent and ended");
    assert_eq!(ran.total.service.count(), ended, "service time is of what was sent and ended");
    assert_eq!(ran.total.send_lag.count(), ended + cut_off, "send lag is of what was sent");
    assert_eq!(ran.total.statuses.values().sum::<u64>(), good + bad);
    assert_eq!(ran.total.errors.values().sum::<u64>(), bad + timed_out + failed);
    assert_eq!(ran.total.censored.count(), cut_off, "what is cut off has an age");
    let parts = |wanted| ran.total.parts().filter(|part| part.1 == wanted).map(|part| part.2.count()).sum();
    let by_outcome: [u64; 4] = Outcome::ALL.map(parts);
    assert_eq!(by_outcome, [good, bad, timed_out, failed], "parts are all of it");
    assert!(ran.total.first_byte.count() >= good + bad, "an answer has a first byte");
    assert!(ran.total.errors.keys().eq(ran.total.examples.keys()), "{:?}", ran.total.examples);
}

/// Which box everything must be in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Box_ {
    Good,
    Bad(&'static str),
    TimedOut(&'static str),
    Failed(&'static str),
}

async fn check_box(manner: Manner, requests: Vec<Request>, expected: Box_) {
    let server = Server::start(manner);
    let ran = run(&load(200.0, requests), &server, 600).await;
    let Boxes { good, bad, timed_out, failed, dropped, cut_off } = ran.total.boxes;
    let (in_box, class) = match expected {
        Box_::Good => (good, None),
        Box_::Bad(class) => (bad, Some(class)),
        Box_::TimedOut(class) => (timed_out, Some(class)),
        Box_::Failed(class) => (failed, Some(class)),
    };
    let scheduled = good + bad + timed_out + failed + dropped + cut_off;
    assert!(scheduled > 50, "{manner:?}: only {scheduled} arrivals");
    assert_eq!(in_box, scheduled, "{manner:?}: {:?} {:?}", ran.total.boxes, ran.total.errors);
    if let Some(class) = class {
        assert_eq!(ran.total.errors, BTreeMap::from([(class.to_owned(), in_box)]), "{manner:?}");
        let example = &ran.total.examples[class];
        let (to, request) = (server.address.to_string(), "GET /path");
        assert!(example.contains(&to) || example.contains(request), "{manner:?}: {example}");
    }
    let opens = !matches!(manner, Manner::Refuse | Manner::NoAccept);
    assert_eq!(ran.total.connect.count() > 0, opens, "{manner:?}: connections are timed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_end_has_its_box() {
    let url = "http://sut.lab/path";
    let manners = [
        (Manner::Answer { delay_ms: 1 }, Box_::Good),
        (Manner::Status(404), Box_::Bad("unexpected: status")),
        (Manner::Status(204), Box_::Good),
        (Manner::Chunked, Box_::Good),
        (Manner::Interim, Box_::Good),
        (Manner::CloseEach, Box_::Good),
        (Manner::CloseSilently, Box_::Good),
        (Manner::UntilClose, Box_::Good),
        (Manner::Surplus, Box_::Good),
        (Manner::Big { bytes: 300_000 }, Box_::Good),
        (Manner::Refuse, Box_::Failed("refused")),
        (Manner::Reset, Box_::Failed("reset")),
        (Manner::CloseUnanswered, Box_::Failed("reset")),
        (Manner::Truncate, Box_::Failed("truncated")),
        (Manner::Garbage, Box_::Failed("protocol")),
        (Manner::TwoLengths, Box_::Failed("protocol")),
        (Manner::BadChunk, Box_::Failed("protocol")),
        (Manner::EndlessHeaders, Box_::Failed("protocol")),
        (Manner::Stall, Box_::TimedOut("timeout: answer")),
        (Manner::Drip, Box_::TimedOut("timeout: body")),
        (Manner::LongLength, Box_::TimedOut("timeout: body")),
        (Manner::NoAccept, Box_::TimedOut("timeout: connect")),
    ];
    // A few at a time: most of a run is waiting.
    futures_util::stream::iter(manners)
        .for_each_concurrent(4, |(manner, expected)| check_box(manner, vec![get(url)], expected))
        .await;
    let head = Request { get: None, head: Some(located(url.into())), ..get(url) };
    check_box(Manner::HeadWithLength, vec![head], Box_::Good).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_seen_as_its_users_see_it() {
    let server = Server::start(Manner::FreezeOneSecondInTen);
    let plan = with(1_000.0, vec![get("http://sut.lab/{{ counter }}")], |load| {
        load.timeout.value = Duration::from_s(10);
    });
    let mut clock_of_run = None;
    let ran = run_with(&plan, &server, 20_000, |_, clock, _| clock_of_run = Some(clock)).await;
    let clock = clock_of_run.expect("the run beats");
    let Boxes { good, .. } = ran.total.boxes;
    assert_eq!(good, ran.total.boxes.scheduled(), "{:?}", ran.total.errors);

    // The truth by the server's own log: when each answer left, against when it was meant to be asked for.
    let intended: Vec<u64> = Schedule::of(&plan)
        .map(|arrival| clock.to_mono(ran.begin_ns + arrival.at_ns))
        .take(good as usize)
        .collect();
    let answered = server.answered.lock().unwrap();
    let mut truth_ms: Vec<f64> = answered
        .iter()
        .map(|(number, at_ns)| at_ns.saturating_sub(intended[*number as usize - 1]) as f64 / 1e6)
        .collect();
    assert_eq!(truth_ms.len() as u64, good, "the server answered each once");
    truth_ms.sort_by(f64::total_cmp);

    // And by arithmetic: a tenth of the arrivals meets the freeze and waits for its end, uniformly 0 to
    // 1,000 ms, plus 1. How far the truth is from it says how busy this machine is, not how well we measure.
    for (quantile, arithmetic_ms) in [(0.95, 502.0), (0.99, 902.0), (0.999, 992.0), (1.0, 1_001.0)] {
        let found_ms = ran.total.latency.quantile_s(quantile).unwrap() * 1e3;
        let rank = ((truth_ms.len() as f64 * quantile).ceil() as usize).max(1) - 1;
        for (expected_ms, by, within) in
            [(truth_ms[rank], "the server's log", 0.03), (arithmetic_ms, "arithmetic", 0.15)]
        {
            let off = (found_ms - expected_ms).abs() / expected_ms;
            assert!(off < within, "p{} is {found_ms:.1} ms, {expected_ms:.1} by {by}", quantile * 100.0);
        }
    }
    // Most arrivals meet no freeze.
    let p50_ms = ran.total.latency.quantile_s(0.5).unwrap() * 1e3;
    assert!(p50_ms < 15.0, "p50 is the service time, not {p50_ms} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_that_is_set_begins_at_its_instant() {
    let server = Server::start(Manner::Status(200));
    let plan = load(200.0, vec![get("http://sut.lab/")]);
    let rate = Rate::per_s(900.0);
    let mut set_ns = 0;
    let ran = run_set_up(&plan, &server, 1_500, Setup::default(), |generator, _, count| {
        if count == 14 {
            set_ns = generator.set_rate("users", Some(rate)).expect("the load is there");
            generator.cut(set_ns);
            assert_eq!(generator.set_rate("nobody", Some(rate)), None);
        }
    })
    .await;
    let mut schedule = Schedule::of(&plan);
    schedule.switch(set_ns - ran.begin_ns, Schedule::at_rate(&plan, rate, 1), &[]);
    check_ledger(schedule, &ran);
    assert_eq!(ran.total.boxes.good, ran.total.boxes.scheduled(), "{:?}", ran.total.errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_sends_what_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("offsets.txt");
    std::fs::write(&file, "50ms\n50ms\n0.1\n300ms\n").unwrap();
    let server = Server::start(Manner::Status(200));
    let plan = with(1.0, vec![get("http://sut.lab/")], |load| {
        load.rate = Some(located(
            chaos::spec::fragment(&format!("replay: '{}'", file.display())).expect("it is well-formed"),
        ));
    });
    let ran = run_set_up(&plan, &server, 600, Setup::default(), |_, _, _| {}).await;
    let offsets = [50_000_000, 50_000_000, 100_000_000, 300_000_000];
    check_ledger(Schedule::replaying(&plan, offsets.into_iter()), &ran);
    assert_eq!(ran.total.boxes.good, 4, "{:?}", ran.total.errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_a_gigabyte_is_counted_and_not_kept() {
    const BYTES: usize = 1 << 30;
    let resident_kb = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let server = Server::start(Manner::Big { bytes: BYTES });
    // One request, and a minute for it.
    let plan = with(10.0, vec![get("http://sut.lab/")], |load| {
        load.timeout = located(Duration::from_ms(60_000));
        load.max_in_flight.value = 1;
    });
    let before_kb = resident_kb();
    let clock = Clock::start();
    let endpoints: Endpoints = [("sut.lab", server.address)].into_iter().collect();
    let loads = std::slice::from_ref(&plan);
    let generator = Generator::start(loads, &endpoints, clock, Setup::default()).await.expect("it starts");
    let mut beat = tokio::time::interval(StdDuration::from_millis(50));
    let mut total = Stats::default();
    while total.boxes.good == 0 {
        beat.tick().await;
        generator.drain().iter().for_each(|interval| total.merge(&interval.stats));
        assert!(clock.now_ns() < 60_000_000_000, "{:?} {:?}", total.boxes, total.errors);
    }
    assert!(total.bytes >= BYTES as u64, "{}", total.bytes);
    assert!(resident_kb() - before_kb < 64 << 10, "from {before_kb} kB to {} kB", resident_kb());
    generator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrivals_beyond_the_cap_are_dropped_at_their_instants() {
    let server = Server::start(Manner::Stall);
    let plan = with(300.0, vec![get("http://sut.lab/")], |load| load.max_in_flight.value = 10);
    // The ledger check that every run ends with finds each dropped arrival in the interval of its instant.
    let ran = run(&plan, &server, 1_200).await;
    let Boxes { timed_out, dropped, cut_off, .. } = ran.total.boxes;
    // Ten at a time for 400 ms each: three rounds in 1.2 s.
    assert!((20..=40).contains(&(timed_out + cut_off)), "{:?}", ran.total.boxes);
    assert_eq!(timed_out + cut_off + dropped, ran.total.boxes.scheduled(), "{:?}", ran.total.boxes);
    let timeout_ms = ran.total.latency.quantile_s(0.5).unwrap() * 1e3;
    assert!((400.0..420.0).contains(&timeout_ms), "timed out after {timeout_ms} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_interval_spans_a_cut() {
    let server = Server::start(Manner::Answer { delay_ms: 5 });
    let plan = load(500.0, vec![get("http://sut.lab/")]);
    let mut cuts = Vec::new();
    // Announced late by 0 to 400 ms, at odd instants.
    let ran = run_with(&plan, &server, 2_500, |generator, clock, count| {
        if count % 10 == 9 {
            let cut_ns = clock.now_ns() - count / 10 * 100_000_000 - 1_234_567;
            generator.cut(cut_ns);
            cuts.push(cut_ns);
        }
    })
    .await;
    assert_eq!(cuts.len(), 5);
    for cut_ns in cuts {
        for interval in &ran.intervals {
            assert!(
                cut_ns <= interval.from_ns || interval.to_ns <= cut_ns,
                "{cut_ns} is inside {interval:?}"
            );
        }
        // Both sides exist, and the ledger check of every run found each to hold exactly its arrivals.
        assert!(ran.intervals.iter().any(|interval| interval.to_ns == cut_ns), "nothing ends at {cut_ns}");
        assert!(
            ran.intervals.iter().any(|interval| interval.from_ns == cut_ns),
            "nothing begins at {cut_ns}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_server_is_seen_within_a_second_and_a_third() {
    let server = Server::start(Manner::HangOnDemand);
    let plan = with(200.0, vec![get("http://sut.lab/")], |load| load.timeout.value = Duration::from_s(10));
    let over = Duration::from_ms(1_500);
    let (mut hung_ns, mut seen_ns) = (0, 0);
    let ran = run_with(&plan, &server, 3_000, |generator, clock, count| {
        let window = generator.window(Some("users"), over);
        let Boxes { good, .. } = window.stats.boxes;
        if count == 20 {
            assert_eq!(window.overdue, 0, "nothing hangs yet: {window:?}");
            assert!(good > 100, "answers are seen as they come: {window:?}");
            assert_eq!(good, window.stats.boxes.known(), "{window:?}");
            server.hangs.store(true, std::sync::atomic::Ordering::Relaxed);
            hung_ns = clock.now_ns();
        }
        if hung_ns > 0 && seen_ns == 0 && window.overdue > 0 {
            seen_ns = clock.now_ns();
        }
        if count == 58 {
            // 1.9 s into the hang: no answer in the window; all that arrived in the first 0.9 s is overdue.
            assert_eq!(good, 0, "{window:?}");
            assert!(window.overdue > 100 && window.in_flight > window.overdue, "{window:?}");
            assert_eq!(
                window.stats.boxes.known(),
                0,
                "nothing ended, and what hangs is in no box: {window:?}"
            );
            let p50_s = window.stats.latency.quantile_s(0.5).unwrap();
            assert!(p50_s > 1.0, "the age of what hangs is its latency so far, not {p50_s}");
            assert_eq!(generator.window(Some("nobody"), over), Default::default());
            assert_eq!(generator.window(None, over).overdue, window.overdue);
        }
    })
    .await;
    assert!(hung_ns < seen_ns && seen_ns - hung_ns < 1_300_000_000, "seen after {} ns", seen_ns - hung_ns);
    let Boxes { good, cut_off, .. } = ran.total.boxes;
    assert!(cut_off > 300, "what hangs at the end is cut off: {:?}", ran.total.boxes);
    assert_eq!(good + cut_off, ran.total.boxes.scheduled(), "{:?}", ran.total.boxes);
    assert_eq!(ran.total.latency.count(), good, "how long it would have taken is not known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_connections_that_were_closed_are_replaced_unseen() {
    let server = Server::start(Manner::CloseSilently);
    // So many at once that some are sent just as the server closes.
    let plan = load(2_000.0, vec![get("http://sut.lab/")]);
    let ran = run(&plan, &server, 500).await;
    assert_eq!(ran.total.boxes.good, ran.total.boxes.scheduled(), "{:?}", ran.total.errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_on_the_wire_as_written() {
    let server = Server::start(Manner::Answer { delay_ms: 0 });
    let fixed = Request {
        weight: located(1),
        headers: BTreeMap::from([("X-Load".into(), "mine".into()), ("User-Agent".into(), "me".into())])
            .into(),
        ..get("http://sut.lab/fixed?a=b")
    };
    let filled = Request {
        weight: located(3),
        json: Some(located(serde_json::json!({ "id": "{{ uuid }}", "n": ["{{ int(7, 7) }}", 1] }))),
        ..post("http://sut.lab/items/{{ counter }}")
    };
    let plan = with(200.0, vec![fixed, filled], |load| {
        load.headers.insert("x-load".into(), "everyone's".into());
        load.arrivals = Arrivals::Constant;
    });
    let ran = run(&plan, &server, 450).await;
    assert_eq!(ran.total.boxes.good, ran.total.boxes.scheduled(), "{:?}", ran.total.errors);
    let seen = server.seen.lock().unwrap();
    let (fixed, filled): (Vec<_>, Vec<_>) = seen.iter().partition(|text| text.starts_with("GET"));
    assert!(fixed.len() > 8 && filled.len() > 2 * fixed.len(), "{} to {}", fixed.len(), filled.len());
    for text in fixed {
        assert_eq!(
            text,
            "GET /fixed?a=b HTTP/1.1\r\nhost: sut.lab\r\naccept: */*\r\nuser-agent: me\r\nx-load: mine\r\n\r\n"
        );
    }
    let mut ids = std::collections::BTreeSet::new();
    for text in &filled {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let number: u64 =
            head.strip_prefix("POST /items/").unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(number >= 1 && head.contains("\r\nx-load: everyone's"), "{text}");
        assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{text}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["n"], serde_json::json!(["7", 1]));
        ids.insert(body["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), filled.len(), "every uuid is another");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slos_are_judged_per_request() {
    let server = Server::start(Manner::Status(503));
    let condition = |text: &str, terms| Condition { text: text.into(), terms };
    let slos = vec![
        ("available".to_owned(), condition("status < 500", vec![Term::Status(Op::Lt, 500)])),
        ("fast".to_owned(), condition("latency < 10s", vec![Term::Latency(Op::Lt, 10 * NS_PER_S)])),
        (
            "both".to_owned(),
            condition(
                "status >= 500 and latency < 1ns",
                vec![Term::Status(Op::Ge, 500), Term::Latency(Op::Lt, 1)],
            ),
        ),
    ];
    let expect = Expect { status: StatusSet { ranges: vec![(500, 599)] }, ..Expect::default() };
    let plan = LoadPlan { slos, ..load(200.0, vec![Request { expect, ..get("http://sut.lab/") }]) };
    let ran = run(&plan, &server, 300).await;
    let Boxes { good, .. } = ran.total.boxes;
    assert!(good > 20 && good == ran.total.boxes.scheduled(), "503 was expected: {:?}", ran.total.boxes);
    assert_eq!(ran.total.slo_good, BTreeMap::from([("fast".to_owned(), good)]));
    // Refused within a millisecond is not a fast answer.
    let server = Server::start(Manner::Refuse);
    let ran = run(&plan, &server, 300).await;
    assert_eq!(ran.total.slo_good, BTreeMap::new(), "{:?}", ran.total.boxes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_larger_than_the_socket_takes_is_sent_whole() {
    let server = Server::start(Manner::Answer { delay_ms: 0 });
    let body = format!("{{{{ counter }}}}{}", "x".repeat(5_000_000));
    for body in [body.replace("{{ counter }}", "1"), body] {
        let request = Request { body: Some(located(body)), ..post("http://sut.lab/") };
        let plan = with(10.0, vec![request], |load| load.timeout.value = Duration::from_s(10));
        let ran = run(&plan, &server, 500).await;
        let Boxes { good, cut_off, .. } = ran.total.boxes;
        assert!(good > 0, "{:?}", ran.total.boxes);
        assert_eq!(good + cut_off, ran.total.boxes.scheduled(), "{:?}", ran.total.errors);
    }
    // Lengths are what they were said to be, or the server would still wait for the rest.
    let seen = server.seen.lock().unwrap();
    assert!(seen.iter().all(|text| text.ends_with("xxx") && text.len() > 5_000_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_keep_to_themselves() {
    let (quick, gone) = (Server::start(Manner::Answer { delay_ms: 1 }), Server::start(Manner::Refuse));
    let loads = [
        LoadPlan { name: "quick".into(), ..load(300.0, vec![get("http://quick.lab/")]) },
        LoadPlan { name: "gone".into(), seed: 5, ..load(100.0, vec![get("http://gone.lab:99/")]) },
    ];
    let endpoints = [("quick.lab", quick.address), ("gone.lab:99", gone.address)].into_iter().collect();
    let generator =
        Generator::start(&loads, &endpoints, Clock::start(), Setup::default()).await.expect("it starts");
    tokio::time::sleep(StdDuration::from_millis(700)).await;
    let over = Duration::from_s(5);
    let windows = [Some("quick"), Some("gone"), None].map(|load| generator.window(load, over).stats.boxes);
    assert!(windows[0].good > 100 && windows[0].failed == 0, "{windows:?}");
    assert!(windows[1].failed > 30 && windows[1].good == 0, "{windows:?}");
    assert!(windows[2].good >= windows[0].good && windows[2].failed >= windows[1].failed, "{windows:?}");
    let (intervals, _) = generator.stop().await;
    for interval in intervals {
        let Boxes { good, failed, .. } = interval.stats.boxes;
        let (right, wrong) = if interval.load == "quick" { (good, failed) } else { (failed, good) };
        assert!(right > 0 && wrong == 0, "{interval:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_cannot_be_kept_makes_the_run_invalid() {
    let server = Server::start(Manner::Answer { delay_ms: 0 });
    let impossible = with(20_000_000.0, vec![get("http://sut.lab/")], |load| {
        load.arrivals = Arrivals::Constant;
        load.max_in_flight.value = 1;
    });
    let endpoints = [("sut.lab", server.address)].into_iter().collect();
    let generator = Generator::start(&[impossible], &endpoints, Clock::start(), Setup::default())
        .await
        .expect("it starts");
    tokio::time::sleep(StdDuration::from_millis(300)).await;
    let (intervals, fitness) = generator.stop().await;
    assert!(!intervals.is_empty());
    assert!(fitness.saturated, "{fitness:?}");
    assert!(fitness.why.contains("/s of the 20000000/s asked for"), "{}", fitness.why);
    assert!(fitness.cpu_ratio.is_some_and(|ratio| ratio > 0.1), "{fitness:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_generator_ends_its_threads() {
    let server = Server::start(Manner::Stall);
    let endpoints = [("sut.lab", server.address)].into_iter().collect();
    let plan = load(100.0, vec![get("http://sut.lab/")]);
    let generator =
        Generator::start(&[plan], &endpoints, Clock::start(), Setup::default()).await.expect("it starts");
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.starts_with("chaos-")).count()
    };
    let deadline = std::time::Instant::now() + StdDuration::from_secs(5);
    let wait_for = async |count| {
        while threads() != count {
            assert!(std::time::Instant::now() < deadline, "{} threads, not {count}", threads());
            tokio::time::sleep(StdDuration::from_millis(5)).await;
        }
    };
    wait_for(2).await;
    drop(generator);
    wait_for(0).await;
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let with_header = |name: &str, value: &str| Request {
        headers: BTreeMap::from([(name.to_owned(), value.to_owned())]).into(),
        ..get("http://127.0.0.1/")
    };
    for (request, exit, why) in [
        (get("http://no-such-host.invalid/"), Exit::Environment, "could not resolve `no-such-host.invalid`"),
        (
            get("ftp://127.0.0.1/"),
            Exit::Mistake,
            "load `users`: `ftp://127.0.0.1/` can't be requested: write `http://",
        ),
        (get("http://127.0.0.1/{{ uid }}"), Exit::Mistake, "unknown template `uid`"),
        (Request { get: None, ..get("") }, Exit::Mistake, "exactly one of get, head, post"),
        (with_header("x y", "z"), Exit::Mistake, "`x y` is not a header's name"),
        (with_header("x", "a\r\nb: c"), Exit::Mistake, "holds a line break"),
        (with_header("Content-Length", "5"), Exit::Mistake, "follows from the body"),
    ] {
        let plan = load(1.0, vec![request]);
        let error = Generator::start(&[plan], &Endpoints::new(), Clock::start(), Setup::default())
            .await
            .expect_err(why);
        assert_eq!(error.exit(), exit, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_share_a_load_to_the_last_arrival() {
    let server = Server::start(Manner::Answer { delay_ms: 1 });
    let plan = load(900.0, vec![get("http://sut.lab/a"), get("http://sut.lab/b")]);
    for pacing in [Pacing::Precise, Pacing::Batched] {
        let manner = worker::Manner { pacing, realtime: false };
        let setup = Setup { threads: NonZeroU32::new(3), manner, ..Setup::default() };
        let ran = run_set_up(&plan, &server, 600, setup, |_, _, _| {}).await;
        check_ledger(Schedule::of(&plan), &ran);
        assert_eq!(ran.total.boxes.good, ran.total.boxes.scheduled(), "{:?}", ran.total.errors);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_wait_for_their_answers() {
    let server = Server::start(Manner::Answer { delay_ms: 10 });
    let mut plan = load(1.0, vec![get("http://sut.lab/")]);
    plan.load = spec::fragment("{ users: 5, think: 10ms, requests: [ get: 'http://sut.lab/' ] }").unwrap();
    for threads in [1, 2] {
        let setup = Setup { threads: NonZeroU32::new(threads), ..Setup::default() };
        let ran = run_set_up(&plan, &server, 1_000, setup, |generator, _, _| {
            assert!(generator.in_flight() <= 5, "five users have five requests under way at most");
        })
        .await;
        let Boxes { good, .. } = ran.total.boxes;
        assert_eq!(good, ran.total.boxes.scheduled(), "{:?}", ran.total.errors);
        // Each 20 ms at least a request; a busy machine only makes it slower.
        assert!((5..=5 * 51).contains(&good), "{good} requests of 5 users in a second");
        assert!(ran.total.latency.quantile_ns(0.0).is_some_and(|least| least >= 10_000_000));
    }
}
