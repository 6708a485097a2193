//! What `scripts/bench load` needs beside the program: its server, the floor below which no client gets, and
//! the engine by itself.
//!
//! `load-driver serve [log|freeze]`, `load-driver floor ADDRESS CONNECTIONS SECONDS`, `load-driver paced ADDRESS
//! CONNECTIONS RATE SECONDS`, and with a load as experiments write it `load-driver drive LOAD SECONDS`, which prints what was measured as JSON, and
//! `load-driver schedule LOAD COUNT`, which prints its intended instants in nanoseconds.

mod floor;
mod serve;

use std::io::Write;
use std::time::Duration as StdDuration;

use chaos::clock::Clock;
use chaos::load::record::Stats;
use chaos::load::schedule::Schedule;
use chaos::load::{Endpoints, Generator, Setup, worker};
use chaos::plan::LoadPlan;
use chaos::units::Duration;
use serve::Manner;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve"] => serve::serve(Manner::Plain).expect("it serves"),
        ["serve", "log"] => serve::serve(Manner::Log).expect("it serves"),
        ["serve", "freeze"] => serve::serve(Manner::Freeze).expect("it serves"),
        ["floor", address, connections, seconds] => {
            let seconds = StdDuration::from_secs_f64(seconds.parse().expect("seconds"));
            let address = address.parse().expect("an address");
            let count = floor::floor(address, connections.parse().expect("a number"), seconds);
            writeln!(std::io::stdout(), "{}", count.expect("it is answered")).expect("stdout is open");
        }
        ["paced", address, connections, rate_per_s, seconds] => {
            let seconds = StdDuration::from_secs_f64(seconds.parse().expect("seconds"));
            let (address, rate_per_s) =
                (address.parse().expect("an address"), rate_per_s.parse().expect("a rate"));
            let count = floor::paced(address, connections.parse().expect("a number"), rate_per_s, seconds);
            writeln!(std::io::stdout(), "{}", count.expect("it is answered")).expect("stdout is open");
        }
        ["drive", load, seconds, realtime @ ..] => {
            let manner = worker::Manner { realtime: realtime == ["realtime"], ..worker::Manner::default() };
            let setup = Setup { manner, ..Setup::default() };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(drive(load, seconds.parse().expect("seconds"), setup));
        }
        ["schedule", load, count] => {
            for arrival in Schedule::of(&plan(load)).take(count.parse().expect("a number")) {
                writeln!(std::io::stdout(), "{}", arrival.at_ns).expect("stdout is open");
            }
        }
        _ => panic!(
            "usage: load-driver serve [log|freeze] | floor ADDRESS CONNECTIONS SECONDS | \
             paced ADDRESS CONNECTIONS RATE SECONDS | drive LOAD SECONDS [realtime] | schedule LOAD COUNT"
        ),
    }
}

fn plan(load: &str) -> LoadPlan {
    let load = chaos::spec::fragment(load).unwrap_or_else(|problems| panic!("{problems}"));
    LoadPlan { name: "bench".into(), load, seed: 1, slos: Vec::new(), expected_requests: None }
}

async fn drive(load: &str, seconds: f64, setup: Setup) {
    let (loads, endpoints) = ([plan(load)], Endpoints::new());
    let generator = Generator::start(&loads, &endpoints, Clock::start(), setup);
    let generator = generator.await.expect("it starts");
    let mut total = Stats::default();
    let mut window_us = 0;
    for _ in 0..(seconds * 10.0) as u64 {
        tokio::time::sleep(StdDuration::from_millis(100)).await;
        for interval in generator.drain() {
            total.merge(&interval.stats);
        }
        let started = std::time::Instant::now();
        generator.window(None, Duration::from_s(10));
        window_us = window_us.max(started.elapsed().as_micros() as u64);
    }
    let (rest, fitness) = generator.stop().await;
    for interval in rest {
        total.merge(&interval.stats);
    }
    let lag_us = |quantile: f64| total.send_lag.quantile_ns(quantile).unwrap_or(0) as f64 / 1e3;
    let latency_us = |quantile: f64| total.latency.quantile_ns(quantile).unwrap_or(0) as f64 / 1e3;
    let out = serde_json::json!({
        "boxes": total.boxes,
        "cpu_ratio": fitness.cpu_ratio,
        "saturated": fitness.saturated,
        "why": fitness.why,
        "lag_us": [lag_us(0.5), lag_us(0.99), lag_us(0.999), lag_us(1.0)],
        "latency_us": [latency_us(0.5), latency_us(0.99), latency_us(0.999), latency_us(1.0)],
        "slowest_window_us": window_us,
    });
    writeln!(std::io::stdout(), "{out}").expect("stdout is open");
}
