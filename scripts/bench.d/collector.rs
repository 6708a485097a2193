//! What collecting costs: pushes ten million samples through the collector, as a sending thread would
//! hand them over at 80,000/s, and prints nanoseconds a sample and the size of what a journal keeps
//! of it as JSON. `collector`.

use std::io::Write;
use std::time::{Duration, Instant};

use chaos::load::collector::Collector;
use chaos::load::counts::Named;
use chaos::load::outcome::{Class, End, Sample};
use chaos::load::window::Now;
use chaos::load::worker::Batch;

/// Samples of a batch, and batches.
const BATCH: u64 = 4_000;
const BATCHES: u64 = 2_500;
/// From one sample's end to the next one's.
const GAP_NS: u64 = 12_500;

fn main() {
    let named = Named {
        load: "shoppers".into(),
        requests: vec!["GET /cart".into(), "POST /checkout".into()],
        slos: vec!["fast".into()],
    };
    let mut collector = Collector::new(vec![named], 0, 1);
    let (mut state, mut at_ns, mut intervals, mut bytes) = (1u64, 0, 0, 0);
    let (mut collecting, mut handing_out) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..BATCHES {
        let samples = (0..BATCH)
            .map(|_| {
                // A linear congruential generator is random enough, and costs nothing beside.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                at_ns += GAP_NS;
                sample(state >> 33, at_ns)
            })
            .collect();
        let now = Now { at_ns, in_flight: vec![0], overdue: vec![Vec::new()] };
        let batch = Batch { thread: 0, samples, opened: Vec::new(), examples: Vec::new(), now };
        let started = Instant::now();
        collector.take(batch);
        collecting += started.elapsed();
        let started = Instant::now();
        let drained = collector.drain(at_ns);
        handing_out += started.elapsed();
        for interval in drained {
            intervals += 1;
            bytes += serde_json::to_string(&interval.stats).expect("stats are plain data").len();
        }
    }
    let ns = |spent: Duration| spent.as_nanos() as f64 / (BATCH * BATCHES) as f64;
    let out = serde_json::json!({
        "collecting_ns": ns(collecting),
        "handing_out_ns": ns(handing_out),
        "intervals": intervals,
        "bytes_a_second": bytes as f64 / (at_ns as f64 / 1e9),
    });
    writeln!(std::io::stdout(), "{out}").expect("stdout is open");
}

/// An arrival of some 150 µs, one in a hundred of up to 20 ms, one in a thousand answered wrongly.
fn sample(noise: u64, ended_ns: u64) -> Sample {
    let tail_ns = if noise.is_multiple_of(100) { noise % 20_000_000 } else { 0 };
    let intended_ns = ended_ns.saturating_sub(100_000 + noise % 100_000 + tail_ns);
    Sample {
        load: 0,
        request: (noise >> 8) as u32 % 2,
        end: if (noise >> 10).is_multiple_of(1_000) { End::Bad(503, Class::Status) } else { End::Good(200) },
        intended_ns,
        sent_ns: intended_ns + noise % 5_000,
        first_byte_ns: ended_ns,
        ended_ns,
        bytes: 150,
        slos: 1,
        retried: false,
    }
}
