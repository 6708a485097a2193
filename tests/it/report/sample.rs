//! A run made up in code: baseline, one slow replica, recovery.
//!
//! Figures come from a fixed formula, so every test sees the same journal.

use std::collections::BTreeMap;

use chaos::agent::wire::{Counters, Delay, Direction, Distribution, Effect, Engine, Kernel};
use chaos::event::{Entry, Event, Evidence, Generator, Measured, SCHEMA, Started, SteadyWhy, Tick};
use chaos::fault::Fault;
use chaos::fault::latency::Latency;
use chaos::fault::packets::Filter;
use chaos::fault::step::{Op, Packets, Step};
use chaos::load::record::Stats;
use chaos::plan::{FaultPlan, LoadPlan, PhasePlan, Plan};
use chaos::slo::search::End;
use chaos::spec::expr::{Check, Condition, Expr, Figure, Metric, Op as Compare, Term};
use chaos::spec::{Limits, LoadSli, Located, Named, Replicas, Sli, Slo, Window};
use chaos::units::{Duration, NS_PER_S, Ratio};
use chaos::verdict::{CapacityReport, TrialReport};

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

/// What the SLO `fast` calls fast.
const FAST_NS: u64 = 300_000_000;

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
            filter: Filter {
                direction: Direction::Egress,
                peers: Vec::new(),
                except: Vec::new(),
                ports: Vec::new(),
                protocol: None,
            },
        });
        let phase = |label: &str, starts_s, longest_s, until_steady, faults| PhasePlan {
            name: name(label),
            starts: Duration::from_s(starts_s),
            longest: Duration::from_s(longest_s),
            until_steady,
            find_rate: None,
            faults,
            on_restart: chaos::spec::OnRestart::Reapply,
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
                durable: false,
                store_disk: false,
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
            slos: self.slos(),
            steady_state: Vec::new(),
            probes: Default::default(),
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
                reach: None,
                steps: vec![step],
            }],
            abort: Vec::new(),
            expect: self.expectations(),
            limits: Limits::default(),
            notes: Vec::new(),
        }
    }

    /// On the first load.
    fn slos(&self) -> Named<Slo> {
        let slo = |label: &str, good: &str, term: Term, objective| {
            let slo = Slo {
                sli: Sli::Load(LoadSli {
                    load: located(format!(
                        "{}{}",
                        self.loads.first().map_or("nobody", |load| load),
                        self.suffix
                    )),
                    good: located(Condition { text: good.into(), terms: vec![term] }),
                }),
                objective: located(Ratio::new(objective)),
                window: located(Window::Rolling(Duration::from_s(30 * 86_400))),
                alerts: Vec::new(),
                needs: Named::default(),
                slices: None,
            };
            (located(format!("{label}{}", self.suffix)), slo)
        };
        Named(vec![
            slo("availability", "status < 500", Term::Status(Compare::Lt, 500), 0.999),
            slo("fast", "latency < 300ms", Term::Latency(Compare::Lt, FAST_NS), 0.95),
        ])
    }

    fn expectations(&self) -> Named<Vec<Located<Check>>> {
        let name = |name: &str| format!("{name}{}", self.suffix);
        // The text as it is shown may be hostile; what is measured is not.
        let check = |text: &str, clean: &str| {
            located(Check { text: text.into(), ..clean.parse().expect("it is a check") })
        };
        let availability = name("availability");
        let objective = format!("slo({availability})");
        let figure = Figure { text: objective.clone(), metric: Metric::Slo(availability), names: Vec::new() };
        let mut met = check(&objective, "slo(a)");
        met.value.left = Expr::Figure(figure);
        let slow = vec![check(&name("p99(latency) < 400ms"), "p99(latency) < 400ms"), met];
        let steady = check("time_to_steady < 10s", "time_to_steady < 10s");
        Named(vec![(located(name("slow-api")), slow), (located(name("recover")), vec![steady])])
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
                    nft_redirect: true,
                    conntrack: true,
                    tbf: true,
                    sock_diag: true,
                    sock_destroy: true,
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
                            ..Counters::default()
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
            Event::Steady {
                why: SteadyWhy::Until,
                holds: Some(true),
                since_ns: end_ns.min(undone_ns + 1_400_000_000),
                checks: Vec::new(),
            },
        );
        note(end_ns, Event::Phase { name: None, at_ns: end_ns });
        note(end_ns, Event::Generator(Generator { cpu_ratio: Some(0.31), ..Generator::default() }));
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
            lines: BTreeMap::from([
                (format!("slo({})", text("availability")), 21),
                (format!("expect/{}/{}", text("slow-api"), text("p99(latency) < 400ms")), 41),
                (format!("phase/{}", text("slow-api")), 33),
            ]),
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
        let mut fast = 0;
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
            fast += u64::from(service_ns + lag_ns < FAST_NS);
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
        let slo = |label: &str| format!("{label}{}", self.suffix);
        let good = stats.boxes.good;
        stats.slo_good = BTreeMap::from([(slo("availability"), good), (slo("fast"), fast.min(good))]);
        stats
    }
}

/// What a search came to, with names that act.
pub fn capacity(suffix: &str) -> CapacityReport {
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
