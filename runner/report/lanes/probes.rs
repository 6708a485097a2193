//! Probes as marks: thousands of answers, of which only the changes matter.

use super::{Look, Mark, instant};
use crate::report::samples::{Answer, Samples, samples};
use crate::report::span::Span;
use crate::report::{Case, text};

/// Probes with a lane of their own; the others share one more.
const LANES_MAX: usize = 8;

/// A list for each lane: the answers of a probe, joined while they stay the same.
pub(super) fn marks(case: &Case<'_>, span: &Span) -> Vec<Vec<Mark>> {
    let mut lanes: Vec<Vec<Mark>> = samples(case).iter().map(|of| of_probe(of, span)).collect();
    if lanes.len() > LANES_MAX {
        let shared = lanes.split_off(LANES_MAX).concat();
        lanes.push(shared);
    }
    lanes
}

/// Each stretch lasts until the answer that ends it; the last, until its last answer.
fn of_probe(of: &Samples<'_>, span: &Span) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    for stretch in of.answers.chunk_by(|one, other| one.ok == other.ok) {
        // What is asked after the last phase lies on the edge: the first of it shows, all of it is in the table.
        if stretch[0].at_s > span.to_s && marks.last().is_some_and(|last| last.to_s >= span.to_s) {
            break;
        }
        let mark = mark(of.probe, stretch, span);
        if let Some(before) = marks.last_mut() {
            before.to_s = mark.from_s;
        }
        marks.push(mark);
    }
    marks
}

fn mark(probe: &str, stretch: &[Answer<'_>], span: &Span) -> Mark {
    let (first, last) = (&stretch[0], &stretch[stretch.len() - 1]);
    let (look, came) = match first.ok {
        Some(true) => (Look::Good, "ok"),
        Some(false) => (Look::Bad, "failed"),
        None => (Look::Doubt, "no answer"),
    };
    let name = text::clean(probe, 60);
    let times =
        if stretch.len() == 1 { String::new() } else { format!(", {} times in a row", stretch.len()) };
    let slowest_ms = stretch.iter().map(|answer| answer.took_ms).fold(0.0, f64::max);
    let from_s = first.at_s.clamp(span.from_s, span.to_s);
    Mark {
        from_s,
        to_s: last.at_s.clamp(from_s, span.to_s.max(from_s)),
        asked_s: [None; 2],
        look,
        words: format!(
            "probe {name}, from {}: {came}{times}, within {}; {}",
            instant(from_s),
            text::ms(slowest_ms),
            text::clean(first.detail, 120)
        ),
        label: format!("{came}: {name}"),
    }
}
