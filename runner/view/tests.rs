//! What the forms of the view say, event by event.

use super::frame::frame;
use super::plain;
use super::screen::{Row, Screen, Size};
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
        probes: Default::default(),
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
        lines: Default::default(),
        environment: Default::default(),
    }
}

/// A usual terminal, and a large one.
const DESK: Size = Size { columns: 80, rows: 24 };
const WALL: Size = Size { columns: 120, rows: 40 };

/// The plain view's lines, and the live view's last frame.
fn replay(entries: &[Entry], size: Size) -> (Vec<String>, Vec<Row>) {
    let mut watch = Watch::default();
    let mut said = Vec::new();
    for entry in entries {
        let news = watch.on(entry);
        let line = news.map(|news| news.line(Ink::Plain)).or_else(|| plain::line(&watch, entry));
        said.extend(line.map(|line| plain::stamped(entry.t_ns, &line)));
    }
    (said, frame(&watch, size))
}

/// A run in the middle of its broken phase, a look a second.
fn busy() -> Vec<Entry> {
    let mut busy = entries("", 2);
    busy.truncate(2);
    let at = |at_s: f64, event| Entry { t_ns: (at_s * NS_PER_S as f64) as u64, event };
    for second in 1..33u32 {
        let slow = second >= 20;
        if second == 20 {
            busy.extend(entries("", 2).into_iter().filter(|entry| entry.t_ns == 20_100_000_000));
        }
        let guard = |check: &str, value: &str, threshold: &str| Measured {
            check: check.into(),
            value: Some(value.into()),
            threshold: threshold.into(),
            holds: Some(false),
        };
        let good = if slow { "97.2%" } else { "99.9%" };
        let p99 = if slow { "212ms" } else { "14ms" };
        busy.push(at(
            f64::from(second) + 0.4,
            Event::Tick(Tick {
                rate_per_s: if slow { 1_700.0 } else { 2_003.4 },
                good_ratio: Some(if slow { 0.972 } else { 0.999_7 }),
                p50_ms: Some(if slow { 53.0 } else { 3.5 }),
                p99_ms: Some(if slow { 212.0 } else { 14.0 }),
                in_flight: 12,
                guards: vec![
                    guard("rate(good) < 80% over 3s", good, "< 80%"),
                    guard("p99(latency) > 250ms over 3s", p99, "> 250ms"),
                ],
            }),
        ));
    }
    let probe = serde_json::json!({
        "event": "probe", "probe": "http GET http://127.0.0.1:8080/health", "ok": false, "detail": "503 instead of 200",
        "took_ms": 3.2
    });
    busy.push(at(32.5, serde_json::from_value(probe).expect("an event")));
    busy
}

fn shown(rows: &[Row], ink: Ink) -> String {
    // Colour is written so that it can be read.
    rows.iter().map(|row| row.text(ink).replace('\u{1b}', "^") + "\n").collect()
}

#[test]
fn frames_show_where_the_run_is() {
    for (name, size, ink) in [
        ("80x24", DESK, Ink::Plain),
        ("80x24_color", DESK, Ink::Color),
        ("120x40", WALL, Ink::Plain),
        ("120x40_color", WALL, Ink::Color),
    ] {
        let (_, rows) = replay(&busy(), size);
        insta::assert_snapshot!(format!("frame_{name}"), shown(&rows, ink));
        // Colour repeats what the words say.
        assert_eq!(
            console::strip_ansi_codes(&rows.iter().map(|row| row.text(Ink::Color)).collect::<String>()),
            rows.iter().map(|row| row.text(Ink::Plain)).collect::<String>()
        );
    }
}

/// A terminal as small as it takes to follow what is sent to one.
struct Terminal {
    cells: Vec<Vec<char>>,
    at: (usize, usize),
}

impl Terminal {
    fn new() -> Self {
        Self { cells: vec![Vec::new(); 200], at: (0, 0) }
    }

    fn take(&mut self, sent: &str) {
        let mut rest = sent.chars();
        while let Some(character) = rest.next() {
            let (row, column) = &mut self.at;
            match character {
                '\n' => self.at = (*row + 1, 0),
                '\r' => *column = 0,
                '\u{1b}' => {
                    assert_eq!(rest.next(), Some('['));
                    let rest: &mut dyn Iterator<Item = char> = &mut rest;
                    let mut number = String::new();
                    let kind = loop {
                        let next = rest.next().expect("sequences end");
                        if next.is_ascii_alphabetic() {
                            break next;
                        }
                        number.push(next);
                    };
                    let count = number.parse().unwrap_or(1);
                    match kind {
                        'A' => *row -= count,
                        'B' => *row += count,
                        'G' => *column = count - 1,
                        'K' => self.cells[*row].truncate(*column),
                        'J' => {
                            self.cells[*row].truncate(*column);
                            self.cells[*row + 1..].iter_mut().for_each(Vec::clear);
                        }
                        'm' => {}
                        other => panic!("{other} is not expected"),
                    }
                }
                shown => {
                    let line = &mut self.cells[*row];
                    line.resize(line.len().max(*column + 1), ' ');
                    line[*column] = shown;
                    *column += 1;
                }
            }
        }
    }

    fn text(&self) -> String {
        let lines: Vec<String> =
            self.cells.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned()).collect();
        lines.join("\n").trim_end().to_owned()
    }
}

#[test]
fn only_what_changed_is_sent_and_makes_the_same_screen() {
    for ink in [Ink::Plain, Ink::Color] {
        let mut watch = Watch::default();
        let (mut screen, mut terminal) = (Screen::default(), Terminal::new());
        let (mut news_so_far, mut quiet) = (String::new(), Vec::new());
        for entry in &busy() {
            let news = watch.on(entry).map(|news| news.line(ink));
            let rows = frame(&watch, DESK);
            let sent = screen.show(news.as_deref(), rows.clone(), DESK, ink);
            terminal.take(&sent);
            match news {
                Some(news) => news_so_far += &format!("{}\n", console::strip_ansi_codes(&news)),
                None => quiet.push(sent.len()),
            }
            let wanted: String =
                rows.iter().map(|row| row.text(Ink::Plain).trim_end().to_owned() + "\n").collect();
            assert_eq!(terminal.text(), (news_so_far.clone() + &wanted).trim_end());
        }
        // A second without news takes a line's worth of bytes, not a screen's.
        quiet.sort_unstable();
        let usual = quiet[quiet.len() / 2];
        assert!(usual < 200, "{usual} bytes a second, {ink:?}");
        terminal.take(&screen.erase(DESK));
        assert_eq!(terminal.text(), news_so_far.trim_end(), "what was printed stays");
    }
}

#[test]
fn a_terminal_that_is_resized_or_tiny_is_no_trouble() {
    let sizes = [(80, 24), (120, 40), (40, 10), (20, 5), (9, 3), (2, 2), (1, 1), (500, 200), (80, 24)];
    let mut watch = Watch::default();
    let mut screen = Screen::default();
    for (at, entry) in busy().iter().enumerate() {
        let news = watch.on(entry).map(|news| news.line(Ink::Plain));
        let (columns, rows) = sizes[at % sizes.len()];
        let size = Size { columns, rows };
        let made = frame(&watch, size);
        assert!(made.len() <= rows.saturating_sub(1).max(1), "{} rows of {rows}", made.len());
        for row in &made {
            assert!(row.width() <= columns.saturating_sub(1).max(1), "{columns}: {}", row.text(Ink::Plain));
        }
        screen.show(news.as_deref(), made, size, Ink::Color);
    }
}

#[test]
fn frames_fit_the_terminal_whatever_the_names() {
    let hostile = format!("\u{1b}[2J\n{}", "A".repeat(10_000));
    for columns in [20, 40, 80, 200] {
        let (said, rows) = replay(&entries(&hostile, 30), Size { columns, rows: 24 });
        assert!(rows.len() <= 23, "{} rows", rows.len());
        for row in &rows {
            assert!(row.width() < columns, "{columns}: {}", row.text(Ink::Plain));
        }
        let rows: Vec<String> = rows.iter().map(|row| row.text(Ink::Plain)).collect();
        let acts = |row: &&String| row.chars().any(char::is_control);
        assert_eq!(said.iter().chain(&rows).find(acts), None);
    }
}

#[test]
fn an_undone_step_is_no_longer_shown() {
    let mut entries = entries("", 1);
    entries.push(Entry {
        t_ns: 60 * NS_PER_S,
        event: Event::Undone { step: 0, asked_ns: 60 * NS_PER_S, at_ns: 60 * NS_PER_S, verified: true },
    });
    let (said, rows) = replay(&entries, DESK);
    assert_eq!(said.last().map(String::as_str), Some("   60.0s  healed: pause api-0"));
    assert!(!shown(&rows, Ink::Plain).contains("broken"), "{rows:?}");
}

#[test]
fn probes_are_news_when_their_answer_changes() {
    let answers = [Some(true), Some(true), Some(false), Some(false), None, Some(true)];
    let mut watch = Watch::default();
    let mut said = Vec::new();
    for (second, ok) in (1u64..).zip(answers) {
        let probe = serde_json::json!({
            "event": "probe", "probe": "tcp db:5432", "ok": ok, "detail": "refused", "took_ms": 1.0
        });
        let event = serde_json::from_value(probe).expect("an event");
        said.extend(watch.on(&Entry { t_ns: second * NS_PER_S, event }).map(|news| news.line(Ink::Plain)));
    }
    assert_eq!(
        said,
        [
            "probe tcp db:5432 fails: refused",
            "probe tcp db:5432 gives no answer: refused",
            "probe tcp db:5432: ok again"
        ]
    );
}

#[test]
fn a_plain_line_for_each_second_and_each_change() {
    let (said, _) = replay(&entries("", 1), DESK);
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
