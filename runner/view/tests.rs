//! What the forms of the view say, event by event.

use super::{live, plain};
use crate::agent::wire::Engine;
use crate::event::{Entry, Event, Measured, Started, Tick};
use crate::fault::Fault;
use crate::fault::pause::Pause;
use crate::fault::step::{Op, Step};
use crate::plan::{FaultPlan, PhasePlan, Plan};
use crate::report::Ink;
use crate::spec::Located;
use crate::units::{Duration, NS_PER_S};
use crate::view::watch::Watch;

fn plan(names: &str, faults: u32) -> Plan {
    let fault = |id: u32| FaultPlan {
        name: format!("frozen/pause#{id}"),
        kind: "pause".into(),
        summary: "one-api is frozen".into(),
        fault: Fault::Pause(Pause {
            on: Located { value: "one-api".into(), span: Default::default() },
            processes: Vec::new(),
        }),
        engine: Some(Engine::Docker),
        reach: None,
        steps: vec![Step {
            id,
            container: format!("api-{id}{names}"),
            apply: Op::Pause,
            undo: Some(Op::Unpause),
        }],
    };
    let phase = |name: &str, starts_s, longest_s, faults| PhasePlan {
        name: format!("{name}{names}"),
        starts: Duration::from_s(starts_s),
        longest: Duration::from_s(longest_s),
        until_steady: false,
        find_rate: None,
        faults,
        on_restart: crate::spec::OnRestart::Reapply,
    };
    Plan {
        experiment: format!("a frozen replica is left out{names}"),
        why: None,
        seed: 1,
        lab: None,
        targets: Default::default(),
        shares: Vec::new(),
        loads: Vec::new(),
        slos: Default::default(),
        steady_state: Vec::new(),
        phases: vec![
            phase("baseline", 0, 20, Vec::new()),
            phase("frozen", 20, 40, (0..faults as usize).collect()),
            phase("recover", 60, 30, Vec::new()),
        ],
        faults: (0..faults).map(fault).collect(),
        abort: Vec::new(),
        expect: Default::default(),
        limits: Default::default(),
        notes: Vec::new(),
    }
}

/// A run up to the middle of its broken phase.
fn entries(names: &str, faults: u32) -> Vec<Entry> {
    let plan = plan(names, faults);
    let phase = |index: usize| plan.phases[index].name.clone();
    let tick = |p99_ms: Option<f64>| {
        let guard = Measured {
            check: format!("rate(good) < 80% over 3s{names}"),
            value: p99_ms.map(|_| "99.9%".into()),
            threshold: "80%".into(),
            holds: Some(false),
        };
        Event::Tick(Tick {
            rate_per_s: 2_003.4,
            good_ratio: p99_ms.map(|_| 0.9997),
            p50_ms: p99_ms.map(|ms| ms / 4.0),
            p99_ms,
            in_flight: 12,
            guards: vec![guard],
        })
    };
    let mut entries = vec![(0.0, Event::Started(Box::new(started(plan.clone()))))];
    entries.push((0.4, phase_began(&phase(0))));
    entries.push((1.4, tick(None)));
    entries.push((2.4, tick(Some(14.0))));
    for step in 0..faults {
        let asked_ns = 20 * NS_PER_S;
        entries.push((20.1, Event::Applied { step, asked_ns, at_ns: asked_ns + 4_200_000 }));
    }
    entries.push((20.1, phase_began(&phase(1))));
    entries.push((32.4, tick(Some(212.0))));
    let entry = |(at_s, event): (f64, Event)| Entry { t_ns: (at_s * NS_PER_S as f64) as u64, event };
    entries.into_iter().map(entry).collect()
}

fn phase_began(name: &str) -> Event {
    Event::Phase { name: Some(name.into()), at_ns: 0 }
}

fn started(plan: Plan) -> Started {
    Started {
        schema: crate::event::SCHEMA.into(),
        run: "20260301-100000-k3v9".into(),
        version: "0.1.0".into(),
        wall: "2026-03-01T10:00:00Z".into(),
        file: "x.yaml".into(),
        command: "chaos run x.yaml".into(),
        plan,
        environment: Default::default(),
    }
}

/// The plain view's lines, and the live view's last frame.
fn replay(entries: &[Entry], columns: usize) -> (Vec<String>, Vec<String>) {
    let mut watch = Watch::default();
    let mut said = Vec::new();
    for entry in entries {
        let news = watch.on(entry);
        let line = news.map(|news| news.line(Ink::Plain)).or_else(|| plain::line(&watch, entry));
        said.extend(line.map(|line| plain::stamped(entry.t_ns, &line)));
    }
    (said, live::lines(&watch, columns, Ink::Plain))
}

#[test]
fn a_plain_line_for_each_second_and_each_change() {
    let (said, _) = replay(&entries("", 1), 80);
    insta::assert_snapshot!(said.join("\n"), @r"
        0.0s  a frozen replica is left out (20260301-100000-k3v9)
        0.4s  phase baseline (20s)
        1.4s  baseline  2,003/s  good -  p50 -  p99 -  12 in flight
        2.4s  baseline  2,003/s  good 99.97%  p50 3.50 ms  p99 14.0 ms  12 in flight
       20.1s  broken: pause api-0 (took 4.20 ms)
       20.1s  phase frozen (40s)
       32.4s  frozen  2,003/s  good 99.97%  p50 53.0 ms  p99 212 ms  12 in flight  1 broken
    ");
}

#[test]
fn the_live_frame_shows_where_the_run_is() {
    let (_, frame) = replay(&entries("", 1), 80);
    insta::assert_snapshot!(frame.join("\n"), @r"
    ✓ baseline  ▸ frozen ━━━━╌╌╌╌╌╌╌╌╌╌╌╌ 12s of 40s  · recover
    2,003/s  good 99.97%  p50 53.0 ms  p99 212 ms  12 in flight
    broken pause api-0, healed in 28s
    guard  rate(good) < 80% over 3s (is 99.9%)
    ");
}

#[test]
fn frames_fit_the_terminal_whatever_the_names() {
    let hostile = format!("\u{1b}[2J\n{}", "A".repeat(10_000));
    for columns in [20, 40, 80, 200] {
        let (said, frame) = replay(&entries(&hostile, 30), columns);
        assert!(frame.len() <= 12, "{} rows", frame.len());
        for row in &frame {
            assert!(console::measure_text_width(row) <= columns, "{columns}: {row}");
        }
        let acts = |row: &&String| row.chars().any(char::is_control);
        assert_eq!(said.iter().chain(&frame).find(acts), None);
    }
}

#[test]
fn an_undone_step_is_no_longer_shown() {
    let mut entries = entries("", 1);
    entries.push(Entry {
        t_ns: 60 * NS_PER_S,
        event: Event::Undone { step: 0, asked_ns: 60 * NS_PER_S, at_ns: 60 * NS_PER_S, verified: true },
    });
    let (said, frame) = replay(&entries, 80);
    assert_eq!(said.last().map(String::as_str), Some("   60.0s  healed: pause api-0"));
    assert!(!frame.iter().any(|row| row.contains("broken")), "{frame:?}");
}
