//! The view on a terminal: five lines or so that repaint themselves, below the news that stays.
//!
//! What they say is made by pure functions of [`Watch`]; indicatif only paints. It redraws on events and
//! starts no thread of its own, so it takes nothing from the load's cores.

use console::{Alignment, measure_text_width, pad_str, truncate_str};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plain;
use super::watch::{News, Watch};
use crate::event::{Entry, Event};
use crate::report::Ink;
use crate::report::terminal::{Paint, paint};
use crate::report::text::clean;
use crate::units::{Duration, NS_PER_S};

/// Repaints a second at most; events come in bursts when faults fire.
const FRAMES_PER_S: u8 = 8;

/// Columns to plan for when the terminal does not say.
const COLUMNS: usize = 80;

/// Faults and guards named at most; the rest is counted.
const LIST_ROWS: usize = 4;

/// Paints a run on a terminal.
pub(super) struct Live {
    bars: MultiProgress,
    bar: ProgressBar,
    ink: Ink,
}

impl Live {
    pub fn new(ink: Ink) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(FRAMES_PER_S));
        let bar = bars.add(ProgressBar::new_spinner());
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is valid"));
        Self { bars, bar, ink }
    }

    /// Prints the news, if any, and repaints.
    pub fn show(&self, watch: &Watch, entry: &Entry, news: Option<&News>) {
        if let Some(news) = news {
            // A terminal that went away is no reason to stop: the run still has to heal.
            let _ = self.bars.println(plain::stamped(entry.t_ns, &news.line(self.ink)));
        }
        if news.is_some() || matches!(entry.event, Event::Tick(_)) {
            let columns =
                console::Term::stderr().size_checked().map_or(COLUMNS, |(_, columns)| columns.into());
            // Repaints, too.
            self.bar.set_message(lines(watch, columns, self.ink).join("\n"));
        }
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
        // Only the painting can fail, and there is nobody to tell.
        let _ = self.bars.clear();
    }
}

/// The lines, each at most `columns` wide.
pub(super) fn lines(watch: &Watch, columns: usize, ink: Ink) -> Vec<String> {
    let mut rows = vec![timeline(watch, columns, ink)];
    if let Some(tick) = &watch.tick {
        rows.push(plain::stream(tick));
        let broken: Vec<String> = watch
            .active
            .values()
            .map(|active| match active.until_ns {
                Some(until_ns) => {
                    let left = Duration::from_s(watch.seconds_until(until_ns));
                    format!("{}, healed in {left}", active.label)
                }
                None => format!("{}, not undone", active.label),
            })
            .collect();
        rows.extend(listed("broken", &broken, Paint::Doubt, ink));
        let guards: Vec<String> = tick
            .guards
            .iter()
            .map(|guard| {
                let value = guard.value.as_deref().unwrap_or("no data");
                clean(&format!("{} (is {value})", guard.check), columns)
            })
            .collect();
        rows.extend(listed("guard", &guards, Paint::Faint, ink));
    }
    rows.iter().map(|row| truncate_str(row, columns, "…").into_owned()).collect()
}

/// A list, a line each, headed by `what`; the last line counts what does not fit.
fn listed(what: &str, items: &[String], style: Paint, ink: Ink) -> Vec<String> {
    let shown = if items.len() > LIST_ROWS { LIST_ROWS - 1 } else { items.len() };
    let mut rows: Vec<String> = items[..shown]
        .iter()
        .map(|item| format!("{} {item}", paint(&format!("{what:<6}"), style, ink)))
        .collect();
    if items.len() > shown {
        rows.push(format!("{:<6} … and {} more", "", items.len() - shown));
    }
    rows
}

/// The phases with how far each is: `✓ baseline  ▸ slow-api ━━━━━╌╌╌╌ 12 s of 40 s  · recover`.
fn timeline(watch: &Watch, columns: usize, ink: Ink) -> String {
    let Some(started) = &watch.started else {
        return "starting".into();
    };
    let Some((current, from_ns)) = watch.phase else {
        return "preparing".into();
    };
    let phases = &started.plan.phases;
    // Names share what the bar leaves; a phase is never too long to see where the run is.
    let room = (columns.saturating_sub(46) / phases.len().max(1)).clamp(6, 20);
    let name = |name: &str| {
        let clean = clean(name, 100);
        let width = measure_text_width(&clean).min(room);
        pad_str(&clean, width, Alignment::Left, Some("…")).into_owned()
    };
    let parts = phases.iter().enumerate().map(|(index, phase)| match index.cmp(&current) {
        std::cmp::Ordering::Less => paint(&format!("✓ {}", name(&phase.name)), Paint::Faint, ink),
        std::cmp::Ordering::Greater => paint(&format!("· {}", name(&phase.name)), Paint::Faint, ink),
        std::cmp::Ordering::Equal => {
            let gone_s = watch.now_ns.saturating_sub(from_ns) as f64 / NS_PER_S as f64;
            let gone = Duration::from_s(gone_s as u64);
            let style = if phase.faults.is_empty() { Paint::Strong } else { Paint::Doubt };
            let head = paint(&format!("▸ {}", name(&phase.name)), style, ink);
            format!("{head} {} {gone} of {}", bar(gone_s / phase.longest.as_s()), phase.longest)
        }
    });
    parts.collect::<Vec<_>>().join("  ")
}

/// Cells of the current phase's bar.
const BAR_CELLS: usize = 16;

fn bar(share: f64) -> String {
    let full = ((share.clamp(0.0, 1.0) * BAR_CELLS as f64) as usize).min(BAR_CELLS);
    format!("{}{}", "━".repeat(full), "╌".repeat(BAR_CELLS - full))
}
