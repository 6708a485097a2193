//! Faults as marks: from their measured onset until they were gone, with when they were asked for and told to end.

use std::collections::BTreeMap;

use super::{Look, Mark, instant, seconds};
use crate::event::Event;
use crate::plan::FaultPlan;
use crate::report::span::Span;
use crate::report::{Case, text};

/// What became of a fault's steps, all together.
#[derive(Default)]
struct Fate {
    asked_ns: Option<u64>,
    onset_ns: Option<u64>,
    end_asked_ns: Option<u64>,
    healed_ns: Option<u64>,
    /// Steps in effect now.
    open: usize,
    verified: bool,
    ill: Option<String>,
}

impl Fate {
    fn on(&mut self, event: &Event, t_ns: u64) {
        match event {
            Event::Applied { asked_ns, at_ns, .. } => {
                self.asked_ns = Some(self.asked_ns.map_or(*asked_ns, |first| first.min(*asked_ns)));
                self.onset_ns = Some(self.onset_ns.map_or(*at_ns, |first| first.min(*at_ns)));
                self.open += 1;
            }
            Event::Undone { asked_ns, at_ns, verified, .. } => {
                self.verified = *verified && (self.verified || self.healed_ns.is_none());
                self.end_asked_ns = Some(self.end_asked_ns.map_or(*asked_ns, |first| first.min(*asked_ns)));
                self.close(*at_ns);
            }
            Event::Lost { why, .. } | Event::Lapsed { why, .. } => {
                self.ill = Some(format!("ended early: {why}"));
                self.close(t_ns);
            }
            Event::Unhealed { why, .. } => self.ill = Some(format!("could not be healed: {why}")),
            Event::NotApplied { why, .. } => self.ill = Some(format!("was not applied: {why}")),
            _ => {}
        }
    }

    fn close(&mut self, at_ns: u64) {
        self.open = self.open.saturating_sub(1);
        self.healed_ns = self.healed_ns.max(Some(at_ns));
    }

    /// As marks: asked to onset, in effect, asked to end until healed.
    fn marks(&self, fault: &FaultPlan, span: &Span) -> Vec<Mark> {
        let containers: Vec<&str> = fault.steps.iter().map(|step| step.container.as_str()).collect();
        let on = match containers.as_slice() {
            [] => String::new(),
            [one] => text::clean(one, 40),
            [first, rest @ ..] if rest.iter().all(|other| other == first) => text::clean(first, 40),
            several => format!("{} containers", several.len()),
        };
        let name = format!("{} {on}", fault.kind);
        let ill = self.ill.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
        let (Some(asked), Some(onset)) = (self.asked_ns.map(seconds), self.onset_ns.map(seconds)) else {
            return self.ill.iter().map(|why| never(&name, why, span)).collect();
        };
        let healed = self.healed_ns.map(seconds).filter(|_| self.open == 0);
        let late = |from: f64, to: f64| text::ms((to - from).max(0.0) * 1e3);
        let mut words = format!(
            "{name}: asked at {}, in effect {} later, at {}",
            instant(asked),
            late(asked, onset),
            instant(onset)
        );
        let end_asked = self.end_asked_ns.map(seconds);
        match (end_asked, healed) {
            (Some(end), Some(healed)) => {
                let seen = if self.verified { "verified" } else { "not verified" };
                words += &format!(
                    "; told to end at {}, gone {} later, at {}, {seen}",
                    instant(end),
                    late(end, healed),
                    instant(healed)
                );
            }
            (None, Some(healed)) => words += &format!("; gone at {}", instant(healed)),
            (_, None) => words += "; not taken back",
        }
        words += &ill;
        let to_s = healed.unwrap_or(span.to_s).max(onset);
        let look = if healed.is_some() || end_asked.is_none() { Look::Fault } else { Look::Bad };
        vec![Mark { from_s: onset, to_s, asked_s: [Some(asked), end_asked], look, label: name, words }]
    }
}

fn never(name: &str, why: &str, span: &Span) -> Mark {
    Mark {
        from_s: span.from_s,
        to_s: span.from_s,
        asked_s: [None; 2],
        look: Look::Doubt,
        label: format!("{name}: never"),
        words: format!("{name} {why}"),
    }
}

/// A mark a fault.
pub(super) fn marks(case: &Case<'_>, span: &Span) -> Vec<Mark> {
    let plan = &case.started.plan;
    let of_step: BTreeMap<u32, usize> = plan
        .faults
        .iter()
        .enumerate()
        .flat_map(|(at, fault)| fault.steps.iter().map(move |step| (step.id, at)))
        .collect();
    let mut fates: Vec<Fate> = plan.faults.iter().map(|_| Fate::default()).collect();
    for entry in case.entries {
        let step = match &entry.event {
            Event::Applied { step, .. }
            | Event::NotApplied { step, .. }
            | Event::Undone { step, .. }
            | Event::Lost { step, .. }
            | Event::Lapsed { step, .. }
            | Event::Unhealed { step, .. } => step,
            _ => continue,
        };
        if let Some(at) = of_step.get(step) {
            fates[*at].on(&entry.event, entry.t_ns);
        }
    }
    fates.iter().zip(&plan.faults).flat_map(|(fate, fault)| fate.marks(fault, span)).collect()
}
