//! What happened, as marks along the time axis: one lane each for phases, faults, guards, alerts, probes and
//! what Docker said.
//!
//! Each mark has a short label for where it is drawn and a whole sentence for where it is read: the same marks
//! make the lanes, the words of those who can't see them, and the list of events. Start at [`lanes`]; drawing
//! is `board`'s, faults and probes are in files of their own.

mod faults;
mod probes;

use super::Case;
use super::span::Span;
use crate::event::{Event, Measured};
use crate::units::NS_PER_S;

/// Marks of a lane that are drawn; more could not be told apart on a screen.
const MARKS_MAX: usize = 300;

/// Marks above each other in a lane; more share the last row.
pub(super) const ROWS_MAX: usize = 4;

/// What a mark looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A phase in which nothing is broken.
    Phase,
    /// A phase with faults.
    Broken,
    /// A fault in effect.
    Fault,
    /// All is well.
    Good,
    /// Something is not.
    Bad,
    /// Not known.
    Doubt,
    /// Nothing to tell.
    Quiet,
}

/// Something that happened at an instant or for a while.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// When it began, in seconds since the run's start.
    pub from_s: f64,
    /// When it ended; the same for an instant.
    pub to_s: f64,
    /// Of a fault: when it was asked for, and when it was told to end.
    pub asked_s: [Option<f64>; 2],
    /// How it is drawn.
    pub look: Look,
    /// A word or two; anyone's.
    pub label: String,
    /// All of it; anyone's.
    pub words: String,
}

/// A kind of things that happen.
pub(super) struct Lane {
    /// What it is of, in at most seven letters: it stands left of the axis.
    pub name: &'static str,
    /// In order of their beginning.
    pub marks: Vec<Mark>,
    /// So many more were left out.
    pub left_out: usize,
}

/// Every lane that has something to show.
pub(super) fn lanes(case: &Case<'_>, span: &Span) -> Vec<Lane> {
    let lane = |name, mut marks: Vec<Mark>| {
        marks.sort_by(|one, other| one.from_s.total_cmp(&other.from_s));
        let left_out = marks.len().saturating_sub(MARKS_MAX);
        marks.truncate(MARKS_MAX);
        Lane { name, marks, left_out }
    };
    let before = [
        lane("Phases", phases(span)),
        lane("Faults", faults::marks(case, span)),
        lane("Trials", trials(case)),
        lane("Steady", steady(case, span)),
        lane("Guards", guards(case, span)),
        lane("Alerts", alerts(case, span)),
    ];
    // Each probe has a lane to itself: what it answered is read straight across.
    let probes = probes::marks(case, span).into_iter().map(|marks| lane("Probe", marks));
    let after = [lane("Docker", containers(case)), lane("Run", conduct(case))];
    before.into_iter().chain(probes).chain(after).filter(|lane| !lane.marks.is_empty()).collect()
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / NS_PER_S as f64
}

/// An instant as the page says it: `20.004 s`.
fn instant(at_s: f64) -> String {
    format!("{at_s:.3} s")
}

fn phases(span: &Span) -> Vec<Mark> {
    let mark = |phase: &super::span::Band| Mark {
        from_s: phase.from_s,
        to_s: phase.to_s,
        asked_s: [None; 2],
        look: if phase.broken { Look::Broken } else { Look::Phase },
        label: phase.label.clone(),
        words: format!("phase {}, {} to {}", phase.label, instant(phase.from_s), instant(phase.to_s)),
    };
    span.phases.iter().map(mark).collect()
}

fn trials(case: &Case<'_>) -> Vec<Mark> {
    let mark = |event: &Event| match event {
        Event::Trial { load, rate, from_ns, to_ns, holds, unfit, .. } => {
            let (look, came) = match (unfit, holds) {
                (None, Some(true)) => (Look::Good, "held"),
                (None, Some(false)) => (Look::Bad, "did not hold"),
                _ => (Look::Doubt, "says nothing"),
            };
            Some(Mark {
                from_s: seconds(*from_ns),
                to_s: seconds(*to_ns),
                asked_s: [None; 2],
                look,
                label: rate.to_string(),
                words: format!("{load} at {rate}: {came}"),
            })
        }
        _ => None,
    };
    case.entries.iter().filter_map(|entry| mark(&entry.event)).collect()
}

fn measured(checks: &[Measured]) -> String {
    let one =
        |check: &Measured| format!("{} is {}", check.check, check.value.as_deref().unwrap_or("without data"));
    checks.iter().filter(|check| check.holds != Some(true)).map(one).collect::<Vec<_>>().join("; ")
}

/// How the steady state was, from each look at it to the next change.
fn steady(case: &Case<'_>, span: &Span) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    for entry in case.entries {
        let Event::Steady { holds, since_ns, checks, .. } = &entry.event else { continue };
        let (look, label) = match holds {
            Some(true) => (Look::Good, "steady"),
            Some(false) => (Look::Bad, "not steady"),
            None => (Look::Doubt, "no data"),
        };
        let from_s = seconds(*since_ns);
        let said = seconds(entry.t_ns);
        match marks.last_mut() {
            Some(last) if last.look == look => last.to_s = said.max(last.to_s),
            last => {
                if let Some(last) = last {
                    last.to_s = from_s.max(last.from_s);
                }
                let broken = measured(checks);
                let why = if broken.is_empty() { String::new() } else { format!(": {broken}") };
                marks.push(Mark {
                    from_s,
                    to_s: said.max(from_s),
                    asked_s: [None; 2],
                    look,
                    label: label.into(),
                    words: format!("steady state, from {}: {label}{why}", instant(from_s)),
                });
            }
        }
    }
    if let Some(last) = marks.last_mut() {
        last.to_s = last.to_s.max(span.to_s);
    }
    marks
}

fn guards(case: &Case<'_>, span: &Span) -> Vec<Mark> {
    let fired = |entry: &crate::event::Entry| match &entry.event {
        Event::Guard { check } => {
            let at_s = seconds(entry.t_ns);
            let value = check.value.as_deref().unwrap_or("no data");
            Some(Mark {
                from_s: at_s,
                to_s: at_s,
                asked_s: [None; 2],
                look: Look::Bad,
                label: "fired".into(),
                words: format!("guard fired at {}: {} (was {value})", instant(at_s), check.check),
            })
        }
        _ => None,
    };
    let marks: Vec<Mark> = case.entries.iter().filter_map(fired).collect();
    let watched = case.started.plan.abort.len();
    if marks.is_empty() && watched > 0 {
        return vec![quiet(span, format!("{watched} watched, none fired"), "guards")];
    }
    marks
}

fn quiet(span: &Span, label: String, of: &str) -> Mark {
    Mark {
        from_s: span.from_s,
        to_s: span.to_s,
        asked_s: [None; 2],
        look: Look::Quiet,
        words: format!("{of}: {label}"),
        label,
    }
}

fn alerts(case: &Case<'_>, span: &Span) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut watched = 0;
    for slo in &case.judgement.slos {
        for alert in &slo.alerts {
            watched += 1;
            marks.extend(alert.fired.iter().map(|firing| Mark {
                from_s: firing.from_s,
                to_s: firing.to_s.unwrap_or(span.to_s),
                asked_s: [None; 2],
                look: Look::Bad,
                label: format!("{} {}", slo.name, alert.alert),
                words: format!(
                    "alert of {}: {} fired at {} (was {:.1}){}",
                    slo.name,
                    alert.alert,
                    instant(firing.from_s),
                    firing.burn,
                    firing.to_s.map_or_else(
                        || ", until the end".into(),
                        |to_s| format!(", until {}", instant(to_s))
                    )
                ),
            }));
        }
    }
    if marks.is_empty() && watched > 0 {
        return vec![quiet(span, format!("{watched} watched, none fired"), "alerts")];
    }
    marks
}

fn containers(case: &Case<'_>) -> Vec<Mark> {
    let mark = |entry: &crate::event::Entry| match &entry.event {
        Event::Container { container, action } => {
            let at_s = seconds(entry.t_ns);
            let look = match action.split([':', ' ']).next().unwrap_or_default() {
                "die" | "kill" | "oom" | "stop" | "pause" | "destroy" => Look::Bad,
                "start" | "unpause" | "restart" => Look::Good,
                _ => Look::Doubt,
            };
            Some(Mark {
                from_s: at_s,
                to_s: at_s,
                asked_s: [None; 2],
                look,
                label: format!("{container} {action}"),
                words: format!("docker, at {}: {container} {action}", instant(at_s)),
            })
        }
        _ => None,
    };
    case.entries.iter().filter_map(mark).collect()
}

/// What befell the run itself.
fn conduct(case: &Case<'_>) -> Vec<Mark> {
    let mark = |entry: &crate::event::Entry| {
        let at_s = seconds(entry.t_ns);
        let (label, words) = match &entry.event {
            Event::Interrupted { by } => ("stopped", format!("stopped by {by}")),
            Event::Broke { why, .. } => ("broke", format!("could not go on: {why}")),
            _ => return None,
        };
        Some(Mark {
            from_s: at_s,
            to_s: at_s,
            asked_s: [None; 2],
            look: Look::Bad,
            label: label.into(),
            words: format!("at {}: {words}", instant(at_s)),
        })
    };
    case.entries.iter().filter_map(mark).collect()
}

/// A row for each mark, so that marks that overlap do not share one while there are rows. Instants take
/// `instant_s` of room.
pub(super) fn rows(marks: &[Mark], instant_s: f64) -> Vec<usize> {
    let mut free_s: Vec<f64> = Vec::new();
    let choose = |mark: &Mark| {
        let to_s = if mark.to_s > mark.from_s { mark.to_s } else { mark.from_s + instant_s };
        let row =
            free_s.iter().position(|end_s| *end_s <= mark.from_s).unwrap_or(free_s.len()).min(ROWS_MAX - 1);
        if row == free_s.len() {
            free_s.push(to_s);
        } else {
            free_s[row] = free_s[row].max(to_s);
        }
        row
    };
    marks.iter().map(choose).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(from_s: f64, to_s: f64) -> Mark {
        Mark {
            from_s,
            to_s,
            asked_s: [None; 2],
            look: Look::Fault,
            label: String::new(),
            words: String::new(),
        }
    }

    #[test]
    fn marks_that_overlap_are_in_rows_of_their_own() {
        let of = |spans: &[(f64, f64)]| {
            rows(&spans.iter().map(|(from, to)| mark(*from, *to)).collect::<Vec<_>>(), 0.5)
        };
        assert_eq!(of(&[(0.0, 10.0), (2.0, 4.0), (10.0, 12.0)]), [0, 1, 0]);
        assert_eq!(of(&[(1.0, 1.0), (1.2, 1.2), (1.6, 1.6)]), [0, 1, 0]);
        assert_eq!(of(&[(0.0, 9.0); 6]), [0, 1, 2, 3, 3, 3]);
    }
}
