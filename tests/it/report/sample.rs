//! A run made up in code: baseline, one slow replica, recovery; and a judge that knows only its shape.
//!
//! Figures come from a fixed formula, so every test sees the same journal.

use std::collections::BTreeMap;

use chaos::agent::wire::{Counters, Delay, Direction, Distribution, Effect, Engine, Kernel};
use chaos::event::{Entry, Event, Evidence, Generator, Measured, SCHEMA, Started, SteadyWhy, Tick};
use chaos::fault::Fault;
use chaos::fault::latency::Latency;
use chaos::fault::step::{Op, Packets, Step};
use chaos::load::record::Stats;
use chaos::plan::{FaultPlan, LoadPlan, PhasePlan, Plan};
use chaos::slo::search::End;
use chaos::spec::{Limits, Located, Replicas};
use chaos::units::{Duration, NS_PER_S, Ratio};
use chaos::verdict::{
    CapacityReport, Checked, FaultReport, FaultTarget, GeneratorReport, Judgement, LoadReport, Percentiles,
    PhaseReport, Reason, SloReport, Timings, TrialReport, Verdict,
};

/// What varies between samples.
#[derive(Clone)]
pub struct Sample {
    /// Seconds of baseline, fault and recovery.
    pub phases_s: [u64; 3],
    /// Arrivals a second of each load.
    pub rate: u64,
    /// Load names.
    pub loads: Vec<String>,
    /// Appended to every name: something hostile.
    pub suffix: String,
    /// Does the system survive?
    pub held: bool,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            phases_s: [20, 40, 10],
            rate: 2_000,
            loads: vec!["shoppers".into()],
            suffix: String::new(),
            held: true,
        }
    }
}

fn located<T>(value: T) -> Located<T> {
    Located { value, span: chaos::error::Span::default() }
}

/// The same as it is read from a journal: with histograms that take no room.
fn packed(stats: &Stats) -> Stats {
    serde_json::from_str(&serde_json::to_string(stats).expect("JSON")).expect("what was written")
}

/// A small generator of repeatable noise: 0 to 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Sample {
    /// The plan.
    pub fn plan(&self) -> Plan {
        let name = |name: &str| format!("{name}{}", self.suffix);
        let [baseline_s, fault_s, recover_s] = self.phases_s;
        let step = Step {
            id: 0,
            container: name("api-1"),
            apply: Op::Impair(
                Packets {
                    direction: Direction::Egress,
                    peers: Vec::new(),
                    except: Vec::new(),
                    ports: Vec::new(),
                    protocol: None,
                },
                Effect::Delay(Delay {
                    delay_ns: 200_000_000,
                    jitter_ns: 20_000_000,
                    distribution: Distribution::Normal,
                    correlation: 0.0,
                    seed: 42,
                }),
            ),
            undo: Some(Op::Clear),
        };
        let fault = Fault::Latency(Latency {
            on: located(name("one-api")),
            delay: located(Duration::from_ms(200)),
            jitter: Duration::from_ms(20),
            distribution: Distribution::Normal,
            correlation: Ratio::new(0.0),
            direction: Direction::Egress,
            peers: Vec::new(),
            except: Vec::new(),
            ports: Vec::new(),
            protocol: None,
        });
        let phase = |label: &str, starts_s, longest_s, until_steady, faults| PhasePlan {
            name: name(label),
            starts: Duration::from_s(starts_s),
            longest: Duration::from_s(longest_s),
            until_steady,
            find_rate: None,
            faults,
        };
        Plan {
            experiment: name("checkout survives one slow replica"),
            why: Some(name("the gateway hedges around a slow backend; prove it before the spring release")),
            seed: 42,
            lab: Some(chaos::spec::Lab::Replicas(Replicas {
                apis: 3,
                timeout: Duration::from_s(1),
                retries: 0,
                hedge: Some(Duration::from_ms(60)),
                eject_after: None,
                eject_for: Duration::from_s(5),
                store_delay: Duration::from_ms(1),
                balance: chaos::spec::Balance::RoundRobin,
            })),
            targets: BTreeMap::from([(name("one-api"), vec![name("api-1")])]),
            shares: Vec::new(),
            loads: self
                .loads
                .iter()
                .map(|load| LoadPlan {
                    name: name(load),
                    load: chaos::spec::fragment(&format!("{{ rate: {}/s, requests: [] }}", self.rate))
                        .expect("it is well-formed"),
                    seed: 42,
                    slos: Vec::new(),
                    expected_requests: Some(self.rate * self.phases_s.iter().sum::<u64>()),
                })
                .collect(),
            slos: Default::default(),
            steady_state: Vec::new(),
            phases: vec![
                phase("baseline", 0, baseline_s, false, vec![]),
                phase("slow-api", baseline_s, fault_s, false, vec![0]),
                phase("recover", baseline_s + fault_s, recover_s * 3, true, vec![]),
            ],
            faults: vec![FaultPlan {
                name: name("slow-api/latency"),
                kind: "latency".into(),
                summary: name("packets leaving one-api are held 200ms ± 20ms"),
                fault,
                engine: Some(Engine::Nfqueue),
                steps: vec![step],
            }],
            abort: Vec::new(),
            expect: Default::default(),
            limits: Limits::default(),
            notes: Vec::new(),
        }
    }

    fn edges_s(&self) -> [u64; 4] {
        let [baseline_s, fault_s, recover_s] = self.phases_s;
        [0, baseline_s, baseline_s + fault_s, baseline_s + fault_s + recover_s]
    }

    /// The whole journal.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut note = |t_ns: u64, event: Event| entries.push(Entry { t_ns, event });
        let plan = self.plan();
        let [_, fault_s, heal_s, end_s] = self.edges_s();
        let phase =
            |index: usize, at_ns: u64| Event::Phase { name: Some(plan.phases[index].name.clone()), at_ns };
        let onset_ns = fault_s * NS_PER_S + 4_200_000;
        let undone_ns = heal_s * NS_PER_S + 2_900_000;
        note(0, Event::Started(Box::new(self.started(&plan))));
        note(
            300_000_000,
            Event::Armed {
                step: 0,
                engine: Engine::Nfqueue,
                kernel: Some(Kernel {
                    release: "6.18.5".into(),
                    netem: false,
                    ifb: true,
                    nft: true,
                    nft_owner: true,
                    nft_queue: false,
                    xt_queue: true,
                    nfqueue: true,
                }),
            },
        );
        note(400_000_000, phase(0, 0));
        let mut noise = Noise(42);
        let mut made: BTreeMap<(String, bool, u64), Stats> = BTreeMap::new();
        for second in 0..end_s {
            let t_ns = second * NS_PER_S + 500_000_000;
            if second == fault_s {
                note(second * NS_PER_S, phase(1, onset_ns));
                note(onset_ns, Event::Applied { step: 0, asked_ns: fault_s * NS_PER_S, at_ns: onset_ns });
            }
            if second == heal_s {
                let matched = self.rate * (heal_s - fault_s);
                note(
                    second * NS_PER_S,
                    Event::Evidence {
                        step: 0,
                        evidence: Evidence::Packets(Counters {
                            matched_packets: matched,
                            matched_bytes: matched * 412,
                            delayed_packets: Some(matched),
                            overflowed_packets: Some(0),
                            lost_packets: None,
                            delay_ms: Some(BTreeMap::from([
                                ("min".into(), 141.2),
                                ("p50".into(), 200.4),
                                ("p99".into(), 246.9),
                                ("max".into(), 262.0),
                            ])),
                        }),
                    },
                );
                note(
                    undone_ns,
                    Event::Undone { step: 0, asked_ns: heal_s * NS_PER_S, at_ns: undone_ns, verified: true },
                );
                note(undone_ns, phase(2, undone_ns));
            }
            let slow = (fault_s..heal_s).contains(&second);
            for load in &plan.loads {
                let since_s = second - if slow { fault_s } else { 0 };
                // After a minute, seconds repeat: an hour of fresh ones takes a minute to make.
                let like_s = if since_s < 60 { since_s } else { 30 + since_s % 30 };
                let made = made.entry((load.name.clone(), slow, like_s));
                let stats = made.or_insert_with(|| packed(&self.second(slow, since_s, &mut noise))).clone();
                note(
                    t_ns,
                    Event::Tick(Tick {
                        rate_per_s: stats.boxes.scheduled() as f64,
                        good_ratio: Some(stats.boxes.good as f64 / stats.boxes.scheduled() as f64),
                        p50_ms: stats.latency.quantile_s(0.5).map(|s| s * 1e3),
                        p99_ms: stats.latency.quantile_s(0.99).map(|s| s * 1e3),
                        in_flight: 12,
                        guards: vec![Measured {
                            check: format!("rate(good) < 80% over 3s{}", self.suffix),
                            value: Some("99.9%".into()),
                            threshold: "80%".into(),
                            holds: Some(false),
                        }],
                    }),
                );
                // Late answers come in a record of their own, as the engine does.
                let mut late = Stats::default();
                late.boxes.timed_out = u64::from(slow && second % 10 == 7);
                late.latency.record_n(10 * NS_PER_S, late.boxes.timed_out);
                for stats in [stats, late].into_iter().filter(|stats| stats.boxes.scheduled() > 0) {
                    let load = load.name.clone();
                    let from_ns = second * NS_PER_S;
                    let stats = Box::new(stats);
                    note(t_ns, Event::Load { load, from_ns, to_ns: from_ns + NS_PER_S, stats });
                }
            }
        }
        let end_ns = end_s * NS_PER_S;
        note(
            end_ns,
            Event::Steady { why: SteadyWhy::Until, holds: Some(true), since_ns: end_ns, checks: Vec::new() },
        );
        note(end_ns, Event::Phase { name: None, at_ns: end_ns });
        note(
            end_ns,
            Event::Generator(Generator { cpu_ratio: Some(0.31), saturated: false, why: String::new() }),
        );
        note(end_ns + 60_000_000, Event::Finished);
        entries
    }

    fn started(&self, plan: &Plan) -> Started {
        let text = |text: &str| format!("{text}{}", self.suffix);
        Started {
            schema: SCHEMA.into(),
            run: "20260301-100000-k3v9".into(),
            version: "0.1.0".into(),
            wall: "2026-03-01T10:00:00Z".into(),
            file: text("experiments/slow-replica.yaml"),
            command: text("chaos run experiments/slow-replica.yaml --set seed=42"),
            plan: plan.clone(),
            environment: BTreeMap::from([
                ("kernel".into(), "6.18.5".into()),
                ("docker".into(), "20.10.24".into()),
                ("api".into(), "1.41".into()),
                ("cpus".into(), "2".into()),
                (text("clock"), text("tsc")),
            ]),
        }
    }

    /// One second of one load.
    fn second(&self, slow: bool, since_s: u64, noise: &mut Noise) -> Stats {
        let mut stats = Stats::default();
        let arrivals = self.rate - 20 + (noise.next() * 40.0) as u64;
        for arrival in 0..arrivals {
            // A third of the requests meets the slow replica; hedging wins most of them back.
            let met = slow && arrival % 3 == 0;
            let base_ms = 1.6 - (1.0 - noise.next()).ln() * 0.9;
            let rare_ms = if noise.next() > 0.997 { noise.next() * 9.0 } else { 0.0 };
            let slow_ms = match (met, self.held) {
                (true, true) if noise.next() < 0.9 => 60.0,
                (true, _) => {
                    190.0 + 30.0 * noise.next() + if since_s < 2 { 150.0 * noise.next() } else { 0.0 }
                }
                (false, _) => 0.0,
            };
            let service_ns = ((base_ms + rare_ms + slow_ms) * 1e6) as u64;
            let lag_ns = (20_000.0 + noise.next() * 60_000.0) as u64;
            stats.service.record(service_ns);
            stats.latency.record(service_ns + lag_ns);
            stats.send_lag.record(lag_ns);
        }
        let bad = if slow && !self.held { arrivals / 40 } else { 0 };
        let failed = if slow && since_s < 2 { 3 } else { 0 };
        stats.boxes.bad = bad;
        stats.boxes.failed = failed;
        stats.boxes.good = arrivals - bad - failed;
        stats.statuses = BTreeMap::from([(200, arrivals - bad - failed)]);
        if bad > 0 {
            stats.statuses.insert(503, bad);
        }
        if failed > 0 {
            stats.errors.insert(format!("reset{}", self.suffix), failed);
        }
        stats.bytes = arrivals * 412;
        stats
    }
}

/// Judges a sample: right about its shape, indifferent to its expectations, which it makes up.
pub fn judge(plan: &Plan, entries: &[Entry]) -> Judgement {
    let Event::Started(started) = &entries[0].event else { panic!("the first event is `started`") };
    let at_s = |ns: u64| ns as f64 / NS_PER_S as f64;
    let mut marks: Vec<(usize, f64)> = Vec::new();
    let mut end_s = 0.0;
    let (mut applied_s, mut undone_s, mut evidence) = (None, None, BTreeMap::new());
    for entry in entries {
        match &entry.event {
            Event::Phase { name: Some(name), .. } => {
                let index =
                    plan.phases.iter().position(|phase| phase.name == *name).expect("a planned phase");
                marks.push((index, at_s(entry.t_ns)));
            }
            Event::Applied { at_ns, .. } => applied_s = Some(at_s(*at_ns)),
            Event::Undone { at_ns, .. } => undone_s = Some(at_s(*at_ns)),
            Event::Evidence { evidence: seen, .. } => {
                let seen = serde_json::to_value(seen).expect("evidence serialises");
                evidence = serde_json::from_value(seen).expect("a map");
            }
            _ => {}
        }
        if !matches!(entry.event, Event::Verdict { .. }) {
            end_s = at_s(entry.t_ns);
        }
    }
    let phases: Vec<PhaseReport> = marks
        .iter()
        .enumerate()
        .map(|(at, (index, from_s))| {
            let to_s = marks.get(at + 1).map_or(end_s, |(_, next_s)| *next_s);
            PhaseReport {
                name: plan.phases[*index].name.clone(),
                from_s: *from_s,
                to_s,
                load: loads(entries, *from_s, to_s),
            }
        })
        .collect();
    let p99 =
        phases.get(1).and_then(|phase| phase.load.values().next()?.latency_ms).map(|latency| latency.p99);
    let held = phases.iter().flat_map(|phase| phase.load.values()).all(|load| load.bad == 0);
    let suffix = plan.experiment.strip_prefix("checkout survives one slow replica").unwrap_or_default();
    let value = p99.map(|ms| format!("{ms:.0}ms"));
    let fast = Checked {
        check: format!("p99(latency) < 400ms{suffix}"),
        phase: phases.get(1).map(|phase| phase.name.clone()),
        value,
        threshold: "400ms".into(),
        holds: p99.map(|ms| ms < 400.0),
    };
    let available = Checked {
        check: "slo(availability)".into(),
        phase: fast.phase.clone(),
        value: Some(if held { "99.99%".into() } else { "97.48%".into() }),
        threshold: "99.9%".into(),
        holds: Some(held),
    };
    let steady = Checked {
        check: "time_to_steady < 10s".into(),
        phase: phases.get(2).map(|phase| phase.name.clone()),
        value: Some("1.4s".into()),
        threshold: "10s".into(),
        holds: Some(true),
    };
    let slo = |name: &str, objective, good_ratio: f64| SloReport {
        name: format!("{name}{suffix}"),
        objective,
        good_ratio: Some(good_ratio),
        budget_spent_ratio: Some((1.0 - good_ratio) / (1.0 - objective) * end_s / (30.0 * 86_400.0)),
        burn_rate: Some((1.0 - good_ratio) / (1.0 - objective)),
        held: Some(good_ratio >= objective),
    };
    let reason = Reason {
        check: available.check.clone(),
        phase: available.phase.clone(),
        value: available.value.clone(),
        threshold: Some(available.threshold.clone()),
        at_s: applied_s,
    };
    let lag = phases.iter().flat_map(|phase| phase.load.values()).find_map(|load| load.send_lag_ms);
    let (verdict, exit_code, sentence) = if held {
        (Verdict::Held, 0, "Held: every check passed while api-1 answered 200ms late.")
    } else {
        (
            Verdict::Failed,
            1,
            "Failed: during slow-api, slo(availability) was 97.48% and had to be at least 99.9%.",
        )
    };
    Judgement {
        schema: chaos::verdict::SCHEMA.into(),
        experiment: plan.experiment.clone(),
        why: plan.why.clone(),
        run: started.run.clone(),
        started: started.wall.clone(),
        duration_s: end_s,
        verdict,
        exit_code,
        sentence: format!("{sentence}{suffix}"),
        reasons: if held { Vec::new() } else { vec![reason] },
        checks: vec![fast, available, steady],
        phases,
        slos: if held {
            vec![slo("availability", 0.999, 0.999_957), slo("fast", 0.95, 0.997_1)]
        } else {
            vec![slo("availability", 0.999, 0.985_6), slo("fast", 0.95, 0.991_3)]
        },
        faults: plan
            .faults
            .iter()
            .map(|fault| FaultReport {
                name: fault.name.clone(),
                kind: fault.kind.clone(),
                engine: Some("nfqueue".into()),
                summary: fault.summary.clone(),
                proven: !evidence.is_empty(),
                targets: fault
                    .steps
                    .iter()
                    .map(|step| FaultTarget {
                        container: step.container.clone(),
                        applied_s,
                        undone_s,
                        evidence: evidence.clone(),
                    })
                    .collect(),
            })
            .collect(),
        timings: Timings { time_to_detect_s: None, time_to_steady_s: Some(1.4) },
        generator: Some(GeneratorReport { send_lag_ms: lag, cpu_ratio: Some(0.31), saturated: false }),
        // Names that act stand there, too; a sample that people look at has nothing to say of capacity.
        capacities: if suffix.is_empty() { Vec::new() } else { vec![capacity(suffix); 9] },
    }
}

fn loads(entries: &[Entry], from_s: f64, to_s: f64) -> BTreeMap<String, LoadReport> {
    let mut loads: BTreeMap<String, Stats> = BTreeMap::new();
    for entry in entries {
        if let Event::Load { load, from_ns, to_ns, stats } = &entry.event {
            let middle_s = (from_ns + to_ns) as f64 / 2.0 / NS_PER_S as f64;
            if (from_s..to_s).contains(&middle_s) {
                loads.entry(load.clone()).or_default().merge(stats);
            }
        }
    }
    let percentiles = |hist: &chaos::load::record::Hist| {
        let ms = |quantile| hist.quantile_s(quantile).map(|s| s * 1e3);
        Some(Percentiles {
            p50: ms(0.5)?,
            p90: ms(0.9)?,
            p95: ms(0.95)?,
            p99: ms(0.99)?,
            p999: ms(0.999)?,
            max: ms(1.0)?,
        })
    };
    let report = |stats: Stats| LoadReport {
        scheduled: stats.boxes.scheduled(),
        good: stats.boxes.good,
        bad: stats.boxes.bad,
        timed_out: stats.boxes.timed_out,
        failed: stats.boxes.failed,
        dropped: stats.boxes.dropped,
        cut_off: stats.boxes.cut_off,
        rate_per_s: Some(stats.boxes.scheduled() as f64 / (to_s - from_s)),
        latency_ms: percentiles(&stats.latency),
        service_ms: percentiles(&stats.service),
        send_lag_ms: percentiles(&stats.send_lag),
        statuses: stats.statuses,
        errors: stats.errors,
    };
    loads.into_iter().map(|(name, stats)| (name, report(stats))).collect()
}

/// What a search came to, with names that act.
fn capacity(suffix: &str) -> CapacityReport {
    let trial = |rate_per_s, held: Option<bool>| TrialReport {
        rate_per_s,
        from_s: 1.0,
        to_s: 2.0,
        requests: 400,
        not_good: 3,
        not_good_below: 0.019_3,
        held,
        why: (held != Some(true)).then(|| format!("p99(latency) < 50ms was {suffix}")),
    };
    CapacityReport {
        phase: format!("slow-api{suffix}"),
        load: format!("shoppers{suffix}"),
        end: End::Found,
        with_fault: true,
        held_per_s: Some(400.0),
        broke_per_s: Some(420.5),
        sentence: format!("400/s held{suffix}"),
        lost_ratio: Some(0.67),
        lost_against: Some(format!("healthy{suffix}")),
        trials: vec![trial(400.0, Some(true)), trial(420.5, Some(false)), trial(800.0, None)],
    }
}
