//! What is known of a run so far, folded from its events.
//!
//! All forms of the view read this and nothing else. Times are of the run's clock; nothing here estimates.

use std::collections::BTreeMap;

use super::history::History;
use crate::event::{Entry, Event, Started, SteadyWhy, Tick};
use crate::report::Ink;
use crate::report::terminal::{Paint, paint};
use crate::report::text::{self, NAME_MAX_CHARS, clean};
use crate::spec::OnRestart;
use crate::units::NS_PER_S;

/// A run so far.
#[derive(Default)]
pub(super) struct Watch {
    /// The run's start; nothing until it was seen.
    pub started: Option<Box<Started>>,
    /// The current phase: its index in the plan and its start.
    pub phase: Option<(usize, u64)>,
    /// When the phases so far began, the current one last.
    pub began_ns: Vec<u64>,
    /// Steps in effect, with the instant at which their phase must end.
    pub active: BTreeMap<u32, Active>,
    /// The latest look at the stream.
    pub tick: Option<Tick>,
    /// All looks at it.
    pub history: History,
    /// The highest rate seen.
    rate_most: f64,
    /// The last answer of each probe: as expected, not so, or none.
    pub probes: BTreeMap<String, Option<bool>>,
    /// The latest instant.
    pub now_ns: u64,
}

/// A step in effect.
pub(super) struct Active {
    /// What it is, as `latency api-1`.
    pub label: String,
    /// When it took effect.
    pub from_ns: u64,
    /// When its phase ends at the latest; nothing where it is irreversible.
    pub until_ns: Option<u64>,
}

/// Something worth a line of its own that stays.
pub(super) struct News {
    paint: Paint,
    text: String,
}

impl News {
    fn new(paint: Paint, text: String) -> Option<Self> {
        Some(Self { paint, text })
    }

    /// The line, painted if there is ink.
    pub fn line(&self, ink: Ink) -> String {
        let text = clean(&self.text, 2 * NAME_MAX_CHARS);
        match self.paint {
            Paint::Strong => text,
            style => paint(&text, style, ink),
        }
    }
}

impl Watch {
    /// Takes an event in; gives a line about it if it is worth one.
    pub fn on(&mut self, entry: &Entry) -> Option<News> {
        self.now_ns = entry.t_ns;
        match &entry.event {
            Event::Started(started) => {
                let claim = &started.plan.experiment;
                // A load by itself has no run's id.
                let line =
                    if started.run.is_empty() { claim.clone() } else { format!("{claim} ({})", started.run) };
                self.started = Some(started.clone());
                News::new(Paint::Strong, line)
            }
            Event::Recovered { run, healed } => {
                let what = healed.join(", ");
                News::new(Paint::Doubt, format!("healed what dead run {run} left behind: {what}"))
            }
            Event::Lab { up: true, endpoints } => {
                let places: Vec<_> = endpoints.iter().map(|(name, at)| format!("{name} at {at}")).collect();
                News::new(Paint::Strong, format!("lab up: {}", places.join(", ")))
            }
            Event::Lab { up: false, .. } => News::new(Paint::Strong, "lab down".into()),
            Event::Phase { name, .. } => self.on_phase(name.as_deref(), entry.t_ns),
            Event::Applied { step, asked_ns, at_ns } => {
                let label = self.label(*step);
                let took = text::ms(at_ns.saturating_sub(*asked_ns) as f64 / 1e6);
                let until_ns = self.ends(*step, *at_ns);
                self.active.insert(*step, Active { label: label.clone(), from_ns: *at_ns, until_ns });
                News::new(Paint::Doubt, format!("broken: {label} (took {took})"))
            }
            Event::NotApplied { step, why } => {
                News::new(Paint::Bad, format!("not applied: {}: {why}", self.label(*step)))
            }
            Event::Undone { step, verified, .. } => {
                self.active.remove(step);
                let seen = if *verified { "" } else { ", not verified" };
                News::new(Paint::Good, format!("healed: {}{seen}", self.label(*step)))
            }
            Event::Lost { step, why } => {
                self.active.remove(step);
                News::new(Paint::Doubt, format!("lost: {}: {why}", self.label(*step)))
            }
            Event::Lapsed { step, why, on_restart } => {
                self.active.remove(step);
                let then = match on_restart {
                    OnRestart::Reapply => "applied again when it runs",
                    OnRestart::End => "not applied again",
                };
                News::new(Paint::Doubt, format!("lapsed: {}: {why}; {then}", self.label(*step)))
            }
            Event::Unhealed { step, why, command } => {
                News::new(Paint::Bad, format!("NOT HEALED: {}: {why}; run: {command}", self.label(*step)))
            }
            Event::Alert { slo, alert, firing, burn, .. } => {
                let (word, style) = if *firing { ("fires", Paint::Bad) } else { ("ended", Paint::Good) };
                News::new(style, format!("alert of {slo} {word}: {alert} (is {burn:.1})"))
            }
            Event::Guard { check } => {
                let value = check.value.as_deref().unwrap_or("no data");
                News::new(Paint::Bad, format!("guard fired: {} (is {value}); healing", check.check))
            }
            Event::Interrupted { by } => News::new(Paint::Doubt, format!("{by}: healing, then stopping")),
            Event::Broke { why, .. } => News::new(Paint::Bad, format!("can't go on: {why}")),
            // That it still holds at the end, or that a phase ends by it, is not news.
            Event::Steady { why: SteadyWhy::Until | SteadyWhy::End, holds: Some(true), .. } => None,
            Event::Steady { holds, checks, .. } => self.on_steady(*holds, checks),
            Event::Container { container, action } => {
                News::new(Paint::Faint, format!("docker: {container} {action}"))
            }
            Event::Tick(tick) => {
                self.history.on(entry.t_ns, tick);
                self.rate_most = self.rate_most.max(tick.rate_per_s);
                self.tick = Some(tick.clone());
                None
            }
            Event::Probe { probe, ok, detail, .. } => self.on_probe(probe, *ok, detail),
            Event::Trial { load, rate, holds, unfit, .. } => {
                let (word, style) = match (unfit, holds) {
                    (Some(_), _) => ("could not be sent", Paint::Doubt),
                    (None, Some(true)) => ("holds", Paint::Good),
                    (None, _) => ("does not hold", Paint::Doubt),
                };
                News::new(style, format!("{load} at {rate}: {word}"))
            }
            Event::Capacity { load, held, .. } => {
                let held = held.map_or_else(|| "none".to_owned(), |held| held.to_string());
                News::new(Paint::Strong, format!("highest rate of {load} that held: {held}"))
            }
            Event::Rate { .. }
            | Event::Indicator { .. }
            | Event::Armed { .. }
            | Event::Evidence { .. }
            | Event::Reach { .. }
            | Event::Load { .. }
            | Event::Generator(_)
            | Event::Finished
            | Event::Compared(_)
            | Event::Verdict { .. } => None,
        }
    }

    fn on_phase(&mut self, name: Option<&str>, t_ns: u64) -> Option<News> {
        let plan = &self.started.as_ref()?.plan;
        let index = name.and_then(|name| plan.phases.iter().position(|phase| phase.name == name));
        self.phase = index.map(|index| (index, t_ns));
        if let Some(index) = index {
            self.began_ns.resize(index, t_ns);
            self.began_ns.push(t_ns);
        }
        let phase = &plan.phases[index?];
        let most = if phase.until_steady || phase.find_rate.is_some() { "at most " } else { "" };
        News::new(Paint::Strong, format!("phase {} ({most}{})", phase.name, phase.longest))
    }

    /// That a probe is answered as it should be is news only after it was not.
    fn on_probe(&mut self, probe: &str, ok: Option<bool>, detail: &str) -> Option<News> {
        let before = self.probes.insert(probe.to_owned(), ok);
        match (before, ok) {
            (Some(before), _) if before == ok => None,
            (None, Some(true)) => None,
            (_, Some(true)) => News::new(Paint::Good, format!("probe {probe}: ok again")),
            (_, Some(false)) => News::new(Paint::Doubt, format!("probe {probe} fails: {detail}")),
            (_, None) => News::new(Paint::Doubt, format!("probe {probe} gives no answer: {detail}")),
        }
    }

    #[expect(clippy::unused_self, reason = "beside its siblings")]
    fn on_steady(&self, holds: Option<bool>, checks: &[crate::event::Measured]) -> Option<News> {
        if holds == Some(true) {
            return News::new(Paint::Good, "steady state holds".into());
        }
        let broken: Vec<String> = checks
            .iter()
            .filter(|check| check.holds != Some(true))
            .map(|check| format!("{} is {}", check.check, check.value.as_deref().unwrap_or("without data")))
            .collect();
        News::new(Paint::Doubt, format!("steady state does not hold: {}", broken.join("; ")))
    }

    /// A step in a few words: `latency api-1`.
    fn label(&self, step: u32) -> String {
        let found = self.started.as_ref().and_then(|started| started.plan.step(step));
        match found {
            Some((fault, step)) => clean(&format!("{} {}", fault.kind, step.container), 60),
            None => format!("step {step}"),
        }
    }

    /// When a step in effect since `at_ns` is healed at the latest: its phase, not the one that was
    /// announced last, as onsets are measured before their phase's start is known.
    fn ends(&self, step: u32, at_ns: u64) -> Option<u64> {
        let plan = &self.started.as_ref()?.plan;
        let has = |fault: &crate::plan::FaultPlan| fault.steps.iter().any(|change| change.id == step);
        let (_, change) = plan.step(step)?;
        change.undo.as_ref()?;
        let fault = plan.faults.iter().position(has)?;
        let phase = plan.phases.iter().find(|phase| phase.faults.contains(&fault))?;
        Some(at_ns.saturating_add(phase.longest.as_ns()))
    }

    /// Whole seconds from now until `at_ns`, rounded up; 0 for the past.
    pub fn seconds_until(&self, at_ns: u64) -> u64 {
        at_ns.saturating_sub(self.now_ns).div_ceil(NS_PER_S)
    }

    /// The highest rate seen, rounded up a little: what a full bar stands for, so that bars seldom shrink.
    pub fn rate_most(&self) -> f64 {
        let power = 10f64.powf(self.rate_most.max(1e-3).log10().floor());
        [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0]
            .into_iter()
            .map(|digit| digit * power)
            .find(|nice| *nice >= self.rate_most)
            .unwrap_or(10.0 * power)
    }

    /// The current phase's name.
    pub fn phase_name(&self) -> Option<&str> {
        let (index, _) = self.phase?;
        self.started.as_ref().map(|started| started.plan.phases[index].name.as_str())
    }
}
