//! Drives the load engine by itself, for scripts/bench.d/load.py: `load-driver URL RATE SECONDS IN_FLIGHT`
//! loads a server and prints what it measured as JSON; `load-driver serve` is the server, which prints its
//! address and answers every request at once with 100 bytes, counting them at `/count`.

use std::io::Write;
use std::time::Duration as StdDuration;

use chaos::clock::Clock;
use chaos::load::record::Stats;
use chaos::load::{Endpoints, Generator};
use chaos::plan::LoadPlan;
use chaos::units::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve"] => tokio::task::LocalSet::new().block_on(&runtime, serve()),
        [url, rate, seconds, in_flight] => runtime.block_on(drive(
            url,
            rate.parse().expect("a rate"),
            seconds.parse().expect("seconds"),
            in_flight.parse().expect("a number of requests"),
        )),
        _ => panic!("usage: load-driver serve | load-driver URL RATE SECONDS IN_FLIGHT"),
    }
}

async fn drive(url: &str, rate: f64, seconds: u64, in_flight: u32) {
    let load = format!(
        "{{ rate: {rate}/s, arrivals: constant, max_in_flight: {in_flight}, requests: [ get: '{url}' ] }}"
    );
    let load = chaos::spec::fragment(&load).expect("it is well-formed");
    let plan = LoadPlan { name: "bench".into(), load, seed: 1, slos: Vec::new(), expected_requests: None };
    let generator = Generator::start(&[plan], &Endpoints::new(), Clock::start()).await.expect("it starts");
    let mut total = Stats::default();
    let mut window_us = 0;
    for _ in 0..seconds * 10 {
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

async fn serve() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    writeln!(std::io::stdout(), "{address}").expect("stdout is open");
    let count = std::rc::Rc::new(std::cell::Cell::new(0u64));
    while let Ok((mut stream, _)) = listener.accept().await {
        let count = count.clone();
        tokio::task::spawn_local(async move {
            stream.set_nodelay(true)?;
            let body = "x".repeat(100);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let mut buffer = [0; 4096];
            loop {
                // The bench's requests come whole, one at a time.
                let read = stream.read(&mut buffer).await?;
                if read == 0 {
                    return std::io::Result::Ok(());
                }
                if buffer.starts_with(b"GET /count ") {
                    let text = count.get().to_string();
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
                    stream.write_all(answer.as_bytes()).await?;
                } else {
                    count.set(count.get() + 1);
                    stream.write_all(answer.as_bytes()).await?;
                }
            }
        });
    }
}
