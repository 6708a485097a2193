//! The journal, sorted into what judgement asks about: phases, steps, loads, and what ended the run.

use std::collections::BTreeMap;

use super::indicators::{Indicator, Stretch};
use super::probes::ProbeSample;
use crate::agent::wire::Engine;
use crate::compare::Comparison;
use crate::error::Exit;
use crate::event::{Entry, Event, Evidence, Generator, Look, Measured, Started, SteadyWhy};
use crate::fault::reach::Looks;
use crate::load::record::Stats;
use crate::slo::burn::{Alerts, Turned};
use crate::slo::search::End;
use crate::spec::{Named, Slo};
use crate::units::Rate;

/// A phase as it took place.
pub(super) struct PhaseSpan<'j> {
    pub name: &'j str,
    pub from_ns: u64,
    pub to_ns: u64,
}

/// What became of a step.
#[derive(Default)]
pub(super) struct StepFate<'j> {
    pub engine: Option<Engine>,
    pub applied_ns: Option<u64>,
    pub undone_ns: Option<u64>,
    /// When taking it back was first asked for, and when it was last measured to be gone.
    pub undo_ns: Option<(u64, u64)>,
    pub evidence: Vec<Evidence>,
    pub not_applied: Option<&'j str>,
    pub lost: Option<(u64, &'j str)>,
    pub unhealed: Option<(&'j str, &'j str)>,
}

/// One look at the steady state.
pub(super) struct SteadyLook<'j> {
    pub t_ns: u64,
    pub why: SteadyWhy,
    pub holds: Option<bool>,
    pub since_ns: u64,
    pub checks: &'j [Measured],
}

/// One interval of one load.
pub(super) struct Interval<'j> {
    pub load: &'j str,
    pub from_ns: u64,
    pub to_ns: u64,
    pub stats: &'j Stats,
}

/// A rate that was tried.
pub(super) struct Trial<'j> {
    /// The phase it was tried in, as an index.
    pub phase: usize,
    pub rate: Rate,
    pub from_ns: u64,
    pub to_ns: u64,
    pub requests: u64,
    pub not_good: u64,
    pub holds: Option<bool>,
    pub unfit: Option<&'j str>,
    pub checks: &'j [Measured],
}

/// The end of a search for the highest rate.
pub(super) struct Capacity<'j> {
    /// The phase that searched, as an index.
    pub phase: usize,
    pub load: &'j str,
    pub end: End,
    pub held: Option<Rate>,
    pub broke: Option<Rate>,
}

/// The journal, sorted.
#[derive(Default)]
pub(super) struct Timeline<'j> {
    pub started: Option<&'j Started>,
    pub phases: Vec<PhaseSpan<'j>>,
    pub steps: BTreeMap<u32, StepFate<'j>>,
    /// What agents saw of who reaches whom, by fault.
    pub reach: BTreeMap<&'j str, Looks<'j>>,
    pub intervals: Vec<Interval<'j>>,
    /// What was sampled beside the load, by SLO.
    pub indicators: BTreeMap<&'j str, Indicator<'j>>,
    pub steady: Vec<SteadyLook<'j>>,
    pub probes: Vec<ProbeSample<'j>>,
    pub guards: Vec<(u64, &'j Measured)>,
    /// The alerts on burn rates that began or ceased to fire, judged anew from what was measured.
    pub turned: Vec<Turned>,
    pub interrupted: Option<(u64, &'j str)>,
    pub broke: Vec<(u64, &'j str, Exit)>,
    pub trials: Vec<Trial<'j>>,
    pub capacities: Vec<Capacity<'j>>,
    pub generator: Option<&'j Generator>,
    /// What came of holding the run against a baseline.
    pub compared: Option<&'j Comparison>,
    pub finished: bool,
    pub end_ns: u64,
}

impl<'j> Timeline<'j> {
    pub fn new(entries: &'j [Entry]) -> Self {
        let mut line = Self::default();
        for entry in entries {
            // What comes after the end is no part of what happened: judging twice must give the same.
            if !matches!(entry.event, Event::Verdict { .. } | Event::Compared(_)) {
                line.end_ns = line.end_ns.max(entry.t_ns);
            }
            line.take(entry);
        }
        if let Some(last) = line.phases.last_mut()
            && last.to_ns == u64::MAX
        {
            last.to_ns = line.end_ns;
        }
        line.intervals.sort_by_key(|interval| interval.from_ns);
        if let Some(started) = line.started {
            line.settle(&started.plan.slos);
            line.turned = line.turns(&started.plan.slos);
        }
        line
    }

    fn take(&mut self, entry: &'j Entry) {
        let t_ns = entry.t_ns;
        match &entry.event {
            Event::Started(started) => self.started = Some(started),
            Event::Phase { name, at_ns } => {
                if let Some(last) = self.phases.last_mut()
                    && last.to_ns == u64::MAX
                {
                    last.to_ns = *at_ns;
                }
                if let Some(name) = name {
                    self.phases.push(PhaseSpan { name, from_ns: *at_ns, to_ns: u64::MAX });
                }
            }
            Event::Armed { step, engine, .. } => self.step(*step).engine = Some(*engine),
            Event::Applied { step, at_ns, .. } => {
                // A step that was applied again to a container that started anew began with the first time.
                self.step(*step).applied_ns.get_or_insert(*at_ns);
            }
            Event::NotApplied { step, why } => self.step(*step).not_applied = Some(why),
            Event::Evidence { step, evidence } => self.step(*step).evidence.push(evidence.clone()),
            Event::Reach { fault, when, reach, unheard } => {
                let looks = self.reach.entry(fault).or_default();
                looks.unheard = looks.unheard.max(*unheard);
                match when {
                    Look::Before => looks.before = Some(reach),
                    Look::During => looks.during = Some(reach),
                    Look::After => looks.after = Some(reach),
                }
            }
            Event::Undone { step, asked_ns, at_ns, .. } => {
                let fate = self.step(*step);
                fate.undone_ns = Some(*at_ns);
                fate.undo_ns = Some((fate.undo_ns.map_or(*asked_ns, |(asked, _)| asked.min(*asked_ns)), *at_ns));
                fate.unhealed = None;
            }
            Event::Lost { step, why } => self.step(*step).lost = Some((t_ns, why)),
            Event::Unhealed { step, why, command } => self.step(*step).unhealed = Some((why, command)),
            Event::Load { load, from_ns, to_ns, stats } => {
                self.intervals.push(Interval { load, from_ns: *from_ns, to_ns: *to_ns, stats });
            }
            Event::Steady { why, holds, since_ns, checks } => {
                self.steady.push(SteadyLook { t_ns, why: *why, holds: *holds, since_ns: *since_ns, checks })
            }
            Event::Probe { probe, at_ns, moment, ok, detail, .. } => self.probes.push(ProbeSample {
                at_ns: at_ns.unwrap_or(t_ns),
                probe,
                moment: *moment,
                ok: *ok,
                detail,
            }),
            Event::Indicator { slo, from_ns, to_ns, tally, detail, .. } => {
                self.indicators.entry(slo).or_default().take((*from_ns, *to_ns), *tally, detail);
            }
            Event::Guard { check } => self.guards.push((t_ns, check)),
            Event::Interrupted { by } => {
                self.interrupted.get_or_insert((t_ns, by));
            }
            Event::Broke { why, exit } => {
                self.broke.push((t_ns, why, *exit));
            }
            Event::Trial { rate, from_ns, to_ns, requests, not_good, holds, unfit, checks, .. } => {
                self.trials.push(Trial {
                    phase: self.phases.len().saturating_sub(1),
                    rate: *rate,
                    from_ns: *from_ns,
                    to_ns: *to_ns,
                    requests: *requests,
                    not_good: *not_good,
                    holds: *holds,
                    unfit: unfit.as_deref(),
                    checks,
                });
            }
            Event::Capacity { load, end, held, broke } => {
                let phase = self.phases.len().saturating_sub(1);
                self.capacities.push(Capacity { phase, load, end: *end, held: *held, broke: *broke });
            }
            Event::Generator(generator) => self.generator = Some(generator),
            Event::Compared(comparison) => self.compared = Some(comparison),
            Event::Finished => self.finished = true,
            Event::Recovered { .. }
            | Event::Lab { .. }
            | Event::Rate { .. }
            | Event::Tick(_)
            | Event::Lapsed { .. }
            // Judged anew from what was measured.
            | Event::Alert { .. }
            | Event::Container { .. }
            | Event::Verdict { .. } => {}
        }
    }

    fn step(&mut self, id: u32) -> &mut StepFate<'j> {
        self.steps.entry(id).or_default()
    }

    /// The first onset of all steps.
    pub fn first_onset_ns(&self) -> Option<u64> {
        self.steps.values().filter_map(|step| step.applied_ns).min()
    }

    /// The last undo at or before `at_ns`.
    pub fn last_undo_ns(&self, at_ns: u64) -> Option<u64> {
        self.steps.values().filter_map(|step| step.undone_ns).filter(|undone| *undone <= at_ns).max()
    }

    /// Seconds from the first onset until a guard or an alert fired or the steady state was seen broken.
    pub fn time_to_detect_s(&self) -> Option<f64> {
        let onset = self.first_onset_ns()?;
        let guards = self.guards.iter().map(|(t_ns, _)| *t_ns);
        let broken = self
            .steady
            .iter()
            .filter(|look| look.why == SteadyWhy::Changed && look.holds == Some(false))
            .map(|look| look.t_ns);
        let alerts = self.turned.iter().filter(|turned| turned.firing).map(|turned| turned.at_ns);
        guards
            .chain(broken)
            .chain(alerts)
            .filter(|t_ns| *t_ns >= onset)
            .min()
            .map(|t_ns| (t_ns - onset) as f64 / 1e9)
    }

    /// Seconds from the first onset until a guard ended the run.
    pub fn time_to_abort_s(&self) -> Option<f64> {
        let onset = self.first_onset_ns()?;
        let fired = self.guards.iter().map(|(t_ns, _)| *t_ns).filter(|t_ns| *t_ns >= onset);
        fired.min().map(|t_ns| (t_ns - onset) as f64 / 1e9)
    }

    /// Seconds from the last undo at or before `phase`'s start (at the latest its end) until the steady
    /// state held.
    pub fn time_to_steady_s(&self, phase: &PhaseSpan<'_>) -> Option<f64> {
        let undone = self.last_undo_ns(phase.from_ns.max(1)).or_else(|| self.last_undo_ns(phase.to_ns))?;
        self.steady
            .iter()
            .find(|look| {
                look.why == SteadyWhy::Until
                    && look.holds == Some(true)
                    && look.t_ns >= phase.from_ns
                    && look.t_ns <= phase.to_ns.max(phase.from_ns)
            })
            .map(|look| look.since_ns.saturating_sub(undone) as f64 / 1e9)
    }

    /// What a load measured in all of the run but some stretches of it.
    pub fn stats_outside(&self, load: &str, stretches: &[(u64, u64)]) -> Option<Stats> {
        let mut sum: Option<Stats> = None;
        for interval in self.intervals.iter().filter(|interval| interval.load == load) {
            let middle = interval.from_ns.midpoint(interval.to_ns);
            if !stretches.iter().any(|(from_ns, to_ns)| (*from_ns..*to_ns).contains(&middle)) {
                sum.get_or_insert_default().merge(interval.stats);
            }
        }
        sum
    }

    /// Watches the alerts as they were while the run lasted.
    fn turns(&self, slos: &Named<Slo>) -> Vec<Turned> {
        let mut alerts = Alerts::of(slos);
        let each = self.intervals.iter().flat_map(|interval| {
            let Interval { load, from_ns, to_ns, stats } = interval;
            let good = |slo: &str| stats.slo_good.get(slo).copied().unwrap_or_default();
            alerts.take(load, (*from_ns, *to_ns), stats.boxes.known(), good)
        });
        let mut turned: Vec<_> = each.collect();
        for (slo, Stretch { from_ns, to_ns, tally }) in self.sampled() {
            turned.extend(alerts.take_one(slo, (from_ns, to_ns), tally));
        }
        turned.sort_by_key(|turned| turned.at_ns);
        turned
    }

    /// What the loads measured between two instants, by load.
    pub fn stats(&self, from_ns: u64, to_ns: u64) -> BTreeMap<&'j str, Stats> {
        let mut by_load = BTreeMap::<_, Stats>::new();
        for interval in &self.intervals {
            // Intervals are cut at phase changes; one whose cut came too late belongs where most of it lies.
            let middle = interval.from_ns.midpoint(interval.to_ns);
            if (from_ns..to_ns).contains(&middle) {
                by_load.entry(interval.load).or_default().merge(interval.stats);
            }
        }
        by_load
    }

    /// What each load's errors looked like, by class, over the whole run.
    pub fn examples(&self) -> BTreeMap<&'j str, BTreeMap<String, String>> {
        let mut by_load = BTreeMap::<_, BTreeMap<String, String>>::new();
        for interval in &self.intervals {
            for (class, text) in &interval.stats.examples {
                let examples = by_load.entry(interval.load).or_default();
                examples.entry(class.clone()).or_insert_with(|| text.clone());
            }
        }
        by_load
    }
}
