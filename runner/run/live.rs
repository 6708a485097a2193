//! The run itself: phases in order, faults fired and taken back, guards watched. The only loop there is.
//!
//! It waits on one channel of [`Happening`]s, one ticker, and the errands it sent; never on a daemon, an agent or a
//! disk alone (`errand.rs`), so that a guard that fires or a Ctrl-C is heard while any of them takes its time.
//! Whatever ends it early, every path leads through [`Live::take_back`]: nothing returns while something is in
//! effect. What is done to containers is in `effect.rs`, what is looked at meanwhile in `sight.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use super::books::Books;
use super::effect::DEADLINE;
use super::errand::{Done, Turn};
use super::happening::Happening;
use super::lapse::Lapses;
use super::paths::Before;
use super::probing::{Asked, Probing};
use super::recent::Recent;
use super::sampling::Sampling;
use super::scribe::Scribe;
use super::seek::Seek;
use super::spending::Spending;
use super::vitals::Vitals;
use super::watch::ProbeAnswers;
use crate::error::{Error, Exit, Result};
use crate::event::{Event, Look, SteadyWhy};
use crate::fault::step::Step;
use crate::inject::{Injector, Lane, News};
use crate::load::{Generator, Interval};
use crate::plan::{PhasePlan, Plan};
use crate::slo::burn::Alerts;
use crate::spec::{Moment, OnRestart};
use crate::units::NS_PER_S;

/// How often guards and the steady state are evaluated.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

/// Why a run ends before its last phase does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A guard fired, the user asked, or a fault could not be applied: the journal has which.
    Early,
    /// The steady state did not hold before anything was broken.
    Baseline,
}

/// A run under way.
pub(super) struct Live<'r> {
    pub plan: &'r Plan,
    pub scribe: &'r mut Scribe,
    pub books: Books,
    pub injector: Arc<Injector>,
    pub generator: Option<Generator>,
    pub happenings: mpsc::Receiver<Happening>,
    /// When guards and the steady state are looked at next.
    pub ticker: tokio::time::Interval,
    /// What was begun and is not waited for.
    pub errands: JoinSet<Done>,
    /// Lanes of which it is not known yet whether their steps are in effect.
    pub firing: BTreeSet<Lane>,
    /// Containers that started anew and whose agents are being replaced.
    pub rearming: BTreeMap<String, AbortHandle>,
    /// The first measured onset of the present phase's steps.
    pub onset_ns: Option<u64>,
    /// Debts of steps that turned out to be nothing of ours, to be struck out.
    pub unowed: Vec<u32>,
    /// Probes that are asked once and waited for.
    pub asked: Asked,
    /// True while everything in effect is taken back: guards have nothing more to ask for.
    pub healing: bool,
    pub run: &'r str,
    /// Who reached whom before anything was done.
    pub before: Before,
    /// Steps in effect of which everything that counts has been seen.
    pub looked_at: BTreeSet<u32>,
    pub probes: ProbeAnswers,
    pub probing: Probing<'r>,
    pub sampling: Sampling,
    /// What indicators beside the load came to of late.
    pub recent: Recent,
    /// Guards beside the load.
    pub vitals: Vitals<'r>,
    pub spending: Spending<'r>,
    pub alerts: Alerts,
    /// Steps in effect, in the order applied, with their ledger keys.
    pub active: Vec<(u32, Option<u32>)>,
    /// Those of them that were noted as lost.
    pub gone: BTreeSet<u32>,
    /// What the present phase wants where a container is started anew.
    pub on_restart: OnRestart,
    pub lapses: Lapses,
    pub interrupts: u32,
    pub last_tick_ns: u64,
    pub last_undo_ns: u64,
    /// True until the phase after the last undo has begun.
    pub just_undone: bool,
    /// What the steady state was at the last look, and since when.
    pub steady: Option<(Option<bool>, u64)>,
    pub gated: bool,
    /// The search for a rate that the present phase is for.
    pub seek: Option<Seek<'r>>,
    /// When the last search ended: windows before it are of rates that were meant to be too high.
    pub sought_ns: u64,
}

impl<'r> Live<'r> {
    pub fn new(
        plan: &'r Plan,
        run: &'r str,
        scribe: &'r mut Scribe,
        books: Books,
        injector: Arc<Injector>,
        (probing, sampling): (Probing<'r>, Sampling),
        happenings: mpsc::Receiver<Happening>,
    ) -> Self {
        let mut ticker = interval(LOOK_EVERY);
        // A look that came late is one look, not several at once.
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            plan,
            probing,
            sampling,
            recent: Recent::of(plan),
            scribe,
            books,
            injector,
            generator: None,
            happenings,
            ticker,
            errands: JoinSet::new(),
            firing: BTreeSet::new(),
            rearming: BTreeMap::new(),
            onset_ns: None,
            unowed: Vec::new(),
            asked: Asked::default(),
            healing: false,
            run,
            before: Before::new(),
            looked_at: BTreeSet::new(),
            probes: BTreeMap::new(),
            vitals: Vitals::of(plan),
            spending: Spending::new(plan),
            alerts: Alerts::of(&plan.slos),
            active: Vec::new(),
            gone: BTreeSet::new(),
            on_restart: OnRestart::Reapply,
            lapses: Lapses::default(),
            interrupts: 0,
            last_tick_ns: 0,
            last_undo_ns: 0,
            just_undone: false,
            steady: None,
            gated: false,
            seek: None,
            sought_ns: 0,
        }
    }

    /// Runs every phase, heals, and closes the books; `early` is what happened before there was a loop. True if its
    /// agents ended in order. Errors are of the journal or the ledger alone; everything else that goes wrong is an event.
    pub async fn run(mut self, early: Vec<Happening>) -> Result<bool> {
        let ended = self.phases(early).await;
        // Whatever happened: nothing stays in effect.
        let healed = self.take_back().await;
        let stop = match (ended, healed) {
            (Ok(stop), Ok(())) => stop,
            (Err(error), _) | (_, Err(error)) => {
                // If even this can't be written, the run still has agents to end and a lab to take down.
                let _ = self.scribe.note(broke(&error));
                Some(Stop::Early)
            }
        };
        // Straight after a fault there is nothing yet to say; an experiment that wants to know recovers.
        let recovered = self.plan.phases.last().is_some_and(|phase| phase.faults.is_empty());
        if stop.is_none() && recovered && !self.plan.steady_state.is_empty() {
            self.note_steady(SteadyWhy::End)?;
        }
        let at_ns = self.last_undo_ns.max(self.scribe.now_ns());
        self.cut(at_ns);
        self.scribe.note(Event::Phase { name: None, at_ns })?;
        self.probing.phase(None, at_ns);
        self.end_sampling(at_ns).await?;
        if stop.is_none() {
            self.ask_at(Moment::After).await?;
        }
        let in_order = self.injector.disarm().await;
        if let Some(generator) = self.generator.take() {
            let (intervals, about) = generator.stop().await;
            for interval in intervals {
                self.scribe.note(load_event(interval))?;
            }
            self.scribe.note(Event::Generator(about))?;
        }
        Ok(in_order)
    }

    async fn phases(&mut self, early: Vec<Happening>) -> Result<Option<Stop>> {
        for happening in early {
            self.happened(happening)?;
        }
        let plan = self.plan;
        let breaks = |phase: &PhasePlan| !phase.faults.is_empty() || phase.find_rate.is_some();
        let first = plan.phases.iter().position(breaks).unwrap_or(0);
        for (index, phase) in plan.phases.iter().enumerate() {
            // What happened while nobody listened, a Ctrl-C above all, counts before anything is fired.
            self.catch_up()?;
            if self.interrupts > 0 {
                return Ok(Some(Stop::Early));
            }
            if index == first
                && let Some(stop) = self.ask_at(Moment::Before).await?
            {
                return Ok(Some(stop));
            }
            // A rate beyond what the system can do breaks it like a fault does.
            if breaks(phase) && !self.gated {
                if !self.baseline_holds()? {
                    return Ok(Some(Stop::Baseline));
                }
                self.gated = true;
            }
            if let Some(stop) = self.phase(phase).await? {
                return Ok(Some(stop));
            }
        }
        if !self.gated && !self.baseline_holds()? {
            return Ok(Some(Stop::Baseline));
        }
        Ok(None)
    }

    async fn phase(&mut self, phase: &'r PhasePlan) -> Result<Option<Stop>> {
        let faults = phase.faults.iter().map(|fault| &self.plan.faults[*fault]);
        let steps: Vec<Step> = faults.flat_map(|fault| &fault.steps).cloned().collect();
        self.on_restart = phase.on_restart;
        let begins = if steps.is_empty() {
            let mut at_ns = self.scribe.now_ns();
            if std::mem::take(&mut self.just_undone) {
                // The phase after a fault begins where the fault ended, not where we noticed.
                at_ns = at_ns.min(self.last_undo_ns.max(at_ns.saturating_sub(NS_PER_S)));
            }
            self.enter(phase, at_ns)?;
            Some(at_ns)
        } else {
            self.just_undone = false;
            self.apply(phase, steps).await?
        };
        let Some(at_ns) = begins else {
            self.take_back().await?;
            return Ok(Some(Stop::Early));
        };
        self.seek = Seek::of(self.plan, phase);
        let mut stop = self.until(phase, at_ns + phase.longest.as_ns()).await;
        self.probing.over();
        let sought = self.end_seek();
        // In a hurry there is no time to look, and nothing that fails may keep anything from being taken back.
        if matches!(stop, Ok(None)) {
            stop = self.look_who_reaches(phase, Look::During).await;
        }
        self.take_back().await?;
        sought?;
        if matches!(stop, Ok(None)) {
            stop = self.look_who_reaches(phase, Look::After).await;
        }
        stop
    }

    /// Notes that a phase began at `at_ns`.
    pub fn enter(&mut self, phase: &PhasePlan, at_ns: u64) -> Result<()> {
        self.cut(at_ns);
        self.probing.phase(Some(&phase.name), at_ns);
        self.scribe.note(Event::Phase { name: Some(phase.name.clone()), at_ns })
    }

    /// Waits for the phase's end, looking at everything meanwhile.
    async fn until(&mut self, phase: &PhasePlan, ends_ns: u64) -> Result<Option<Stop>> {
        loop {
            let turn = self.turn(ends_ns).await?;
            if matches!(turn, Turn::Over) {
                return Ok(None);
            }
            if self.turned(turn)? {
                return Ok(Some(Stop::Early));
            }
            if self.seek.as_ref().is_some_and(Seek::is_over) {
                return Ok(None);
            }
            if phase.until_steady && self.settled() {
                self.note_steady(SteadyWhy::Until)?;
                return Ok(None);
            }
        }
    }

    /// Takes note of something; true if the run must stop.
    pub fn happened(&mut self, happening: Happening) -> Result<bool> {
        match happening {
            Happening::Interrupt(by) => {
                self.interrupts += 1;
                self.scribe.note(Event::Interrupted { by: by.into() })?;
                return Ok(true);
            }
            Happening::Agent(News::AgentGone { container, place, why }) => {
                self.lapses.suspect(container, place, why, self.scribe.now_ns());
            }
            Happening::Agent(News::Expired { steps }) => {
                return self.lost(|step| steps.contains(&step.id), DEADLINE);
            }
            Happening::Agent(News::Failed { step, why }) => {
                return self.lost(|one| one.id == step, &why);
            }
            Happening::Container(news) => return self.container(news),
            Happening::Probe(sample) => self.probed(sample)?,
            Happening::Sampled(sampled) => self.sampled(sampled)?,
        }
        Ok(false)
    }

    pub fn cut(&self, at_ns: u64) {
        if let Some(generator) = &self.generator {
            generator.cut(at_ns);
        }
    }
}

pub(super) fn load_event(interval: Interval) -> Event {
    Event::Load {
        load: interval.load,
        from_ns: interval.from_ns,
        to_ns: interval.to_ns,
        stats: Box::new(interval.stats),
    }
}

/// An error as an event.
pub(super) fn broke(error: &Error) -> Event {
    // A mistake found only now is still the experiment's; everything else is the environment's.
    let exit =
        if error.exit() == Exit::Mistake { Exit::Mistake } else { error.exit().max(Exit::Environment) };
    Event::Broke { why: error.chain(), exit }
}
