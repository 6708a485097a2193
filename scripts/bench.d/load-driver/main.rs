//! What `scripts/bench load` needs beside the program: its server, the floor below which no client gets, and
//! the engine by itself.
//!
//! `load-driver serve`, `load-driver floor ADDRESS CONNECTIONS SECONDS`, and `load-driver LOAD SECONDS` with
//! a load as experiments write it, which prints what was measured as JSON.

mod floor;
mod serve;

use std::io::Write;
use std::time::Duration as StdDuration;

use chaos::clock::Clock;
use chaos::load::record::Stats;
use chaos::load::{Endpoints, Generator, Setup};
use chaos::plan::LoadPlan;
use chaos::units::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve"] => serve::serve().expect("it serves"),
        ["floor", address, connections, seconds] => {
            let seconds = StdDuration::from_secs_f64(seconds.parse().expect("seconds"));
            let address = address.parse().expect("an address");
            let count = floor::floor(address, connections.parse().expect("a number"), seconds);
            writeln!(std::io::stdout(), "{}", count.expect("it is answered")).expect("stdout is open");
        }
        [load, seconds] => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(drive(load, seconds.parse().expect("seconds")));
        }
        _ => panic!("usage: load-driver serve | floor ADDRESS CONNECTIONS SECONDS | LOAD SECONDS"),
    }
}

async fn drive(load: &str, seconds: f64) {
    let load = chaos::spec::fragment(load).unwrap_or_else(|problems| panic!("{problems}"));
    let plan = LoadPlan { name: "bench".into(), load, seed: 1, slos: Vec::new(), expected_requests: None };
    let generator = Generator::start(&[plan], &Endpoints::new(), Clock::start(), Setup::default());
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
