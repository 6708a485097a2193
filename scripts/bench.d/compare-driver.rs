//! Simulated runs held against each other: how often chance is taken for a change, and how often a change is found.
//!
//! Whole journals are made and judged, so that what is measured is all of `chaos compare` but reading the file.

use std::io::Write as _;

use chaos::compare::{Change, Metric, Run, compare};
use chaos::event::{Entry, Event, SCHEMA, Started};
use chaos::load::record::Stats;
use chaos::plan::inventory::Inventory;
use chaos::units::{NS_PER_S, Ratio};
use chaos::verdict::judge;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Whose plan the simulated runs have.
const EXPERIMENT: &str = "
experiment: nothing changes
load: { users: { rate: 500/s, requests: [{ get: http://127.0.0.1:1/ }] } }
phases: { steady: { for: 60s } }
";

const SECONDS: u64 = 60;
const RATE: u64 = 500;

/// What a simulated system is like.
#[derive(Clone, Copy)]
struct System {
    /// The spread of latencies: of their logarithm.
    spread: f64,
    /// How much of one second's drift goes on into the next, 0 to 1.
    memory: f64,
    /// The drift's size a second, as a share.
    drift: f64,
    /// How much slower the slowest twentieth is.
    slower: f64,
}

/// A run that was never made.
struct Simulated {
    started: Started,
    entries: Vec<Entry>,
    judgement: chaos::verdict::Judgement,
}

impl Simulated {
    fn run(&self) -> Run<'_> {
        Run { started: &self.started, entries: &self.entries, judgement: &self.judgement }
    }
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (one, other) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
    (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos()
}

fn simulate(started: &Started, system: System, seed: u64) -> Simulated {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let load = started.plan.loads[0].name.clone();
    let phase = started.plan.phases[0].name.clone();
    let at = |second: u64| second * NS_PER_S;
    let mut events = vec![
        (0, Event::Started(Box::new(started.clone()))),
        (0, Event::Phase { name: Some(phase), at_ns: 0 }),
    ];
    let mut drift = 0.0;
    for second in 0..SECONDS {
        drift = system.memory * drift + system.drift * normal(&mut rng);
        let mut stats = Stats::default();
        for _ in 0..RATE {
            let spread = normal(&mut rng);
            let factor = if spread > 1.645 { system.slower } else { 1.0 };
            stats.latency.record((20e6 * (system.spread * spread + drift).exp() * factor) as u64);
            if rng.random::<f64>() < 0.002 { stats.boxes.bad += 1 } else { stats.boxes.good += 1 }
        }
        let (from_ns, to_ns) = (at(second), at(second + 1));
        events.push((to_ns, Event::Load { load: load.clone(), from_ns, to_ns, stats: Box::new(stats) }));
    }
    events.push((at(SECONDS), Event::Phase { name: None, at_ns: at(SECONDS) }));
    events.push((at(SECONDS), Event::Finished));
    let entries: Vec<Entry> = events.into_iter().map(|(t_ns, event)| Entry { t_ns, event }).collect();
    let judgement = judge(&started.plan, &entries);
    Simulated { started: started.clone(), entries, judgement }
}

/// Which figures are told to have changed.
fn told(base: &[Simulated], new: &[Simulated]) -> Vec<(Metric, Change)> {
    let (base, new): (Vec<_>, Vec<_>) =
        (base.iter().map(Simulated::run).collect(), new.iter().map(Simulated::run).collect());
    let found = compare(&base, &new, Ratio::new(0.05));
    let changed = found.rows.iter().filter(|row| matches!(row.verdict, Change::Worse | Change::Better));
    changed.map(|row| (row.metric, row.verdict)).collect()
}

/// The start of a run of the experiment.
fn started() -> Started {
    let input =
        chaos::spec::Input { file: "compare.yaml".into(), text: EXPERIMENT.into(), ..Default::default() };
    let experiment = chaos::spec::parse(&input).unwrap_or_else(|problems| panic!("{problems}"));
    let plan = chaos::plan::build(&experiment, &Inventory::default()).expect("it has no targets");
    Started {
        schema: SCHEMA.into(),
        run: "simulated".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        wall: "2026-01-01T00:00:00Z".into(),
        file: "compare.yaml".into(),
        command: String::new(),
        plan,
        environment: Default::default(),
        lines: Default::default(),
    }
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let started = started();
    let systems = [
        ("independent seconds", System { spread: 0.5, memory: 0.0, drift: 0.0, slower: 1.0 }),
        ("seconds that are alike", System { spread: 0.5, memory: 0.5, drift: 0.01, slower: 1.0 }),
        ("a heavy tail", System { spread: 1.0, memory: 0.3, drift: 0.02, slower: 1.0 }),
    ];
    writeln!(
        out,
        "{SECONDS} s at {RATE}/s, tolerance 5%: alike pairs flagged of 200 (at most 10), and p99 10% higher found of 100 (at least 95)"
    )?;
    let mut seed = 0;
    for (name, system) in systems {
        let mut sides = |of: System, runs: u64| -> Vec<Simulated> {
            seed += runs;
            (0..runs).map(|run| simulate(&started, of, seed + run)).collect()
        };
        let flagged = (0..200).filter(|_| !told(&sides(system, 1), &sides(system, 1)).is_empty()).count();
        let slower = System { slower: 1.1, ..system };
        let found = (0..100)
            .filter(|_| told(&sides(system, 1), &sides(slower, 1)).contains(&(Metric::P99, Change::Worse)))
            .count();
        let sets = (0..20).filter(|_| !told(&sides(system, 3), &sides(system, 3)).is_empty()).count();
        writeln!(
            out,
            "  {name:24} {flagged:3} of 200 flagged   {found:3} of 100 found   three runs a side: {sets} of 20 flagged"
        )?;
    }
    Ok(())
}
