//! Probes as marks: thousands of answers, of which only the changes matter.

use std::collections::BTreeMap;

use super::{Look, Mark, instant, seconds};
use crate::event::Event;
use crate::report::span::Span;
use crate::report::{Case, text};

/// Answers of each probe, joined while they stay the same.
pub(super) fn marks(case: &Case<'_>, span: &Span) -> Vec<Mark> {
    struct Stretch {
        mark: Mark,
        asked: u64,
        last_s: f64,
        detail: String,
        name: String,
    }
    let mut open: BTreeMap<&str, Stretch> = BTreeMap::new();
    let mut marks = Vec::new();
    let close = |stretch: Stretch, until_s: Option<f64>| {
        let mut mark = stretch.mark;
        mark.to_s = until_s.unwrap_or(stretch.last_s).max(mark.from_s);
        let times =
            if stretch.asked == 1 { String::new() } else { format!(", {} times in a row", stretch.asked) };
        let came = mark.label.clone();
        mark.label = format!("{came}: {}", stretch.name);
        mark.words = format!(
            "probe {}, from {}: {came}{times}; {}",
            stretch.name,
            instant(mark.from_s),
            stretch.detail
        );
        mark
    };
    for entry in case.entries {
        let Event::Probe { probe, at_ns, ok, detail, .. } = &entry.event else { continue };
        let at_s = seconds(at_ns.unwrap_or(entry.t_ns)).clamp(span.from_s, span.to_s);
        let (look, came) = match ok {
            Some(true) => (Look::Good, "ok"),
            Some(false) => (Look::Bad, "failed"),
            None => (Look::Doubt, "no answer"),
        };
        match open.get_mut(probe.as_str()) {
            Some(stretch) if stretch.mark.look == look => {
                stretch.asked += 1;
                stretch.last_s = at_s;
            }
            _ => {
                if let Some(before) = open.remove(probe.as_str()) {
                    marks.push(close(before, Some(at_s)));
                }
                let mark = Mark {
                    from_s: at_s,
                    to_s: at_s,
                    asked_s: [None; 2],
                    look,
                    label: came.into(),
                    words: String::new(),
                };
                let stretch = Stretch {
                    mark,
                    asked: 1,
                    last_s: at_s,
                    detail: text::clean(detail, 120),
                    name: text::clean(probe, 60),
                };
                open.insert(probe, stretch);
            }
        }
    }
    marks.extend(open.into_values().map(|stretch| close(stretch, None)));
    marks
}
