//! One frame of the live view: where the run is, how the stream fares, what is broken, and how far the guards are.
//!
//! Phases and the lines below them are on one axis, the run's time, as on the page: what happens in the stream is
//! read straight down from the phase it happens in. The axis moves only when a phase begins, so that from one second
//! to the next a frame changes in a few places, which is all that is sent to the terminal. Pure: start at [`frame`].

use console::{Alignment, measure_text_width, pad_str};

use super::history::Look;
use super::screen::{Row, Size};
use super::watch::Watch;
use crate::event::{Measured, Tick};
use crate::report::terminal::Paint;
use crate::report::text::{self, clean};
use crate::units::{Duration, NS_PER_S, Rate, Ratio};

/// Columns of what stands left of the axis, and right of it.
const LABEL: usize = 8;
const VALUE: usize = 12;

/// Rows that tell of the run as a whole; lists share the rest.
const FIXED_ROWS: usize = 6;

/// The most rows of a frame, however high the terminal: news want to be seen as well.
const ROWS_MAX: usize = 24;

/// Cells of a small bar.
const BAR: usize = 10;

/// The rows, each narrower than the terminal, and fewer than its rows.
pub(super) fn frame(watch: &Watch, size: Size) -> Vec<Row> {
    // A row that fills the last column wraps on some terminals.
    let columns = size.columns.saturating_sub(1).max(1);
    let room = size.rows.saturating_sub(1).clamp(1, ROWS_MAX);
    let mut rows = vec![heading(watch)];
    if let (Some(axis), Some(tick)) = (Axis::of(watch, columns), &watch.tick) {
        rows.push(phases(&axis, watch));
        rows.extend(stream(&axis, watch, tick));
        // Half of the screen is for news.
        let lists = (room / 2).max(FIXED_ROWS).saturating_sub(FIXED_ROWS - 1);
        rows.extend(listed("broken", broken(watch), lists));
        rows.extend(listed("probe", probes(watch), lists));
        rows.extend(listed("guard", guards(tick), lists));
    }
    rows.truncate(room);
    rows.into_iter().map(|row| row.cut(columns)).collect()
}

/// The current phase in words: `▸ frozen  12s of 40s  phase 2 of 3`.
fn heading(watch: &Watch) -> Row {
    let Some(started) = &watch.started else { return Row::default().plain("starting") };
    let Some((current, from_ns)) = watch.phase else {
        let word = if watch.began_ns.is_empty() { "preparing" } else { "ending" };
        return Row::default().plain(word);
    };
    let planned = &started.plan.phases;
    let phase = &planned[current];
    let style = if phase.faults.is_empty() { Paint::Strong } else { Paint::Doubt };
    let gone = Duration::from_s(watch.now_ns.saturating_sub(from_ns) / NS_PER_S);
    let most = if phase.until_steady || phase.find_rate.is_some() { "at most " } else { "" };
    Row::default()
        .painted(format!("▸ {}", clean(&phase.name, 30)), style)
        .plain(format!("  {gone}"))
        .plain(format!(" of {most}{}", phase.longest))
        .painted(format!("  phase {} of {}", current + 1, planned.len()), Paint::Faint)
}

/// The run's time across the screen: what is past as it was, what is to come as planned.
struct Axis {
    cells: usize,
    /// When each phase begins, and when the last one ends, in nanoseconds since the run's start.
    edges_ns: Vec<u64>,
}

impl Axis {
    /// Nothing before the first phase.
    fn of(watch: &Watch, columns: usize) -> Option<Self> {
        let plan = &watch.started.as_ref()?.plan;
        let (current, _) = watch.phase?;
        let mut edges_ns = watch.began_ns.clone();
        // Phases that were left out begin when the next one did.
        edges_ns.resize(current + 1, *watch.began_ns.last()?);
        for phase in &plan.phases[current..] {
            let begins = *edges_ns.last()?;
            edges_ns.push(begins.saturating_add(phase.longest.as_ns()).max(begins + 1));
        }
        // A phase that takes longer than planned does not leave the screen.
        if let Some(end) = edges_ns.last_mut() {
            *end = (*end).max(watch.now_ns + 1);
        }
        Some(Self { cells: columns.saturating_sub(LABEL + VALUE), edges_ns })
    }

    /// From when to when a cell is.
    fn span_ns(&self, cell: usize) -> (u64, u64) {
        let (first, last) = (self.edges_ns[0], self.edges_ns[self.edges_ns.len() - 1]);
        let at = |cell: usize| {
            first + (u128::from(last - first) * cell as u128 / self.cells.max(1) as u128) as u64
        };
        (at(cell), at(cell + 1))
    }

    /// The cell that holds an instant.
    fn cell(&self, at_ns: u64) -> usize {
        (0..self.cells).find(|cell| at_ns < self.span_ns(*cell).1).unwrap_or(self.cells)
    }
}

/// The phases along the axis: `baseline━━━━frozen━━━━╌╌╌╌recover╌╌╌╌  32s of 1m30s`.
fn phases(axis: &Axis, watch: &Watch) -> Row {
    let mut row = Row::default().plain(" ".repeat(LABEL));
    let Some(started) = &watch.started else { return row };
    let now = axis.cell(watch.now_ns) + 1;
    for (at, phase) in started.plan.phases.iter().enumerate() {
        let (from, to) = (axis.cell(axis.edges_ns[at]), axis.cell(axis.edges_ns[at + 1]));
        let width = to.saturating_sub(from);
        if width == 0 {
            continue;
        }
        // The name and a gap before the next phase.
        let name = clean(&phase.name, 100);
        let name = pad_str(&name, measure_text_width(&name).min(width - 1), Alignment::Left, Some("…"));
        let style = if phase.faults.is_empty() { Paint::Strong } else { Paint::Doubt };
        let named = measure_text_width(&name);
        let gone = now.clamp(from, to) - from;
        let full = gone.max(named).min(width - 1) - named;
        let rest = width - 1 - named - full;
        row = row.painted(name, style).painted("━".repeat(full), style);
        row = row.painted("╌".repeat(rest), Paint::Faint).plain(" ");
    }
    row
}

/// Blocks of a spark line, from low to high.
const SPARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Where nobody looked or nothing ended.
const NO_DATA: char = '·';

/// Shares of good requests and latencies at which a spark is one step higher. They are the same for every run, so
/// that a line means the same in each, and never has to be drawn anew.
const GOOD_STEPS: [f64; 7] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0];
const P99_STEPS_MS: [f64; 7] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0];

/// Rate, share of good requests, and latency: each over the run so far, and now.
fn stream(axis: &Axis, watch: &Watch, tick: &Tick) -> [Row; 4] {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let spark = |level: &dyn Fn(Look) -> Option<usize>| -> String {
        let now = axis.cell(watch.now_ns);
        let cell = |cell: usize| {
            let (from_ns, to_ns) = axis.span_ns(cell);
            let to_ns = to_ns.min(watch.now_ns + 1);
            let look = watch.history.between(from_ns, to_ns);
            // Looks are a second apart, cells may be less.
            let look = look.or_else(|| watch.history.between(from_ns.saturating_sub(NS_PER_S), to_ns));
            look.and_then(level).map_or(NO_DATA, |level| SPARKS[level.min(SPARKS.len() - 1)])
        };
        (0..axis.cells.min(now + 1)).map(cell).collect()
    };
    let steps = |steps: &[f64], value: f64| steps.iter().filter(|step| value >= **step).count();
    let row = |label: &str, line: String, value: &str| {
        Row::default()
            .painted(format!("{label:<LABEL$}"), Paint::Faint)
            .plain(pad_str(&line, axis.cells, Alignment::Left, None))
            .plain(format!("{value:>VALUE$}"))
    };
    let planned = watch.rate_most();
    [
        row(
            "rate",
            spark(&|look| Some((look.rate_per_s / planned.max(1e-9) * 8.0).round().max(1.0) as usize - 1)),
            &format!("{}/s", text::rate(tick.rate_per_s)),
        ),
        row(
            "good",
            spark(&|look| look.good_ratio.map(|good| steps(&GOOD_STEPS, good))),
            &or_dash(tick.good_ratio.map(text::ratio)),
        ),
        row(
            "p99",
            spark(&|look| look.p99_ms.map(|p99| steps(&P99_STEPS_MS, p99))),
            &or_dash(tick.p99_ms.map(text::ms)),
        ),
        Row::default()
            .painted(format!("{:<LABEL$}", "now"), Paint::Faint)
            .plain(format!("p50 {}", or_dash(tick.p50_ms.map(text::ms))))
            .plain(format!(", {} in flight", text::count(tick.in_flight))),
    ]
}

/// What is broken, with the time until it is healed.
fn broken(watch: &Watch) -> Vec<Row> {
    let row = |active: &super::watch::Active| {
        let row = Row::default().plain(format!("{:<28}", clean(&active.label, 28)));
        match active.until_ns {
            Some(until_ns) => {
                let whole = until_ns.saturating_sub(active.from_ns).max(1) as f64;
                let left = until_ns.saturating_sub(watch.now_ns) as f64;
                row.plain(format!("  {}", bar(1.0 - left / whole)))
                    .plain(format!("  healed in {}", Duration::from_s(watch.seconds_until(until_ns))))
            }
            None => row.plain("  not undone"),
        }
    };
    watch.active.values().map(row).collect()
}

/// Probes whose last answer was not what it should be.
fn probes(watch: &Watch) -> Vec<Row> {
    let row = |(probe, ok): (&String, &Option<bool>)| {
        let word = if ok.is_some() { "fails" } else { "gives no answer" };
        Row::default().plain(format!("{} {word}", clean(probe, 60)))
    };
    watch.probes.iter().filter(|(_, ok)| **ok != Some(true)).map(row).collect()
}

/// Each guard with its value and how far that is from firing it, the nearest first.
fn guards(tick: &Tick) -> Vec<Row> {
    let mut guards: Vec<(Option<Margin>, &Measured)> =
        tick.guards.iter().map(|guard| (margin(guard), guard)).collect();
    let share = |margin: &Option<Margin>| margin.as_ref().map_or(1.0, |margin| margin.share);
    guards.sort_by(|(one, _), (other, _)| share(one).total_cmp(&share(other)));
    let row = |(margin, guard): (Option<Margin>, &Measured)| {
        let row = Row::default().plain(format!("{:<34}", clean(&guard.check, 34)));
        let value = clean(guard.value.as_deref().unwrap_or("no data"), 14);
        let style = match &margin {
            _ if guard.holds == Some(true) => Some(Paint::Bad),
            Some(margin) if margin.share < 0.2 => Some(Paint::Doubt),
            _ => None,
        };
        let told = format!(" is {value}");
        let row = if let Some(style) = style { row.painted(told, style) } else { row.plain(told) };
        match margin {
            Some(margin) => row.plain(format!("  {} {} left", bar(margin.share), margin.text)),
            None => row,
        }
    };
    guards.into_iter().map(row).collect()
}

/// How far a guard's value is from its threshold.
struct Margin {
    /// 1: as far as it can be, or as zero is; 0: it fires.
    share: f64,
    /// The distance with its unit.
    text: String,
}

/// Nothing where there is no data, or nothing that can be subtracted.
fn margin(guard: &Measured) -> Option<Margin> {
    let bare = |text: &str| text.trim_start_matches(['<', '>', '=', '!', ' ']).to_owned();
    let (value, threshold) = (guard.value.as_deref()?, bare(&guard.threshold));
    let (value, threshold, most, unit): (f64, f64, f64, fn(f64) -> String) =
        if let (Ok(value), Ok(threshold)) = (value.parse::<Ratio>(), threshold.parse::<Ratio>()) {
            (value.get(), threshold.get(), 1.0, |share| format!("{:.1}%", share * 100.0))
        } else if let (Ok(value), Ok(threshold)) = (value.parse::<Duration>(), threshold.parse::<Duration>())
        {
            (value.as_s(), threshold.as_s(), f64::INFINITY, |s| text::ms(s * 1e3))
        } else if let (Ok(value), Ok(threshold)) = (value.parse::<Rate>(), threshold.parse::<Rate>()) {
            (value.as_per_s(), threshold.as_per_s(), f64::INFINITY, |per_s| {
                format!("{}/s", text::rate(per_s))
            })
        } else {
            return None;
        };
    // It has not fired, so the value is on the side where it does not; how far it could go there at most differs.
    let whole = match (value >= threshold, most.is_finite()) {
        (true, true) => most - threshold,
        (true, false) => value,
        (false, _) => threshold,
    };
    let distance = (value - threshold).abs();
    let share = if guard.holds == Some(true) || whole <= 0.0 { 0.0 } else { (distance / whole).min(1.0) };
    Some(Margin { share, text: unit(distance) })
}

/// A list, a row each, headed by `what`; the last row counts what does not fit.
fn listed(what: &str, items: Vec<Row>, most: usize) -> Vec<Row> {
    let left_out = if items.len() > most { items.len() + 1 - most } else { 0 };
    let shown = items.len() - left_out;
    let head = |row: Row| Row::default().painted(format!("{what:<LABEL$}"), Paint::Faint).with(row);
    let mut rows: Vec<Row> = items.into_iter().take(shown).map(head).collect();
    if left_out > 0 {
        rows.push(Row::default().plain(format!("{:<LABEL$}… and {left_out} more", "")));
    }
    rows
}

fn bar(share: f64) -> String {
    let full = ((share.clamp(0.0, 1.0) * BAR as f64).round() as usize).min(BAR);
    format!("{}{}", "━".repeat(full), "╌".repeat(BAR - full))
}
