//! The run itself: phases in order, faults fired and taken back, guards watched. The only loop there is.
//!
//! It waits on one channel of [`Happening`]s and one ticker. Whatever ends it early, every path leads
//! through [`Live::take_back`]: nothing returns while something is in effect.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::lapse::{ContainerNews, Lapses};
use super::paths::Before;
use super::scribe::Scribe;
use super::seek::Seek;
use super::spending::Spending;
use super::vitals::Vitals;
use super::watch::{ProbeAnswers, Watch};
use crate::error::{Error, Exit, Result};
use crate::event::{Event, Look, SteadyWhy};
use crate::fault::step::Step;
use crate::heal;
use crate::inject::{Injector, News};
use crate::ledger::{Debt, Ledger};
use crate::load::{Generator, Interval};
use crate::plan::{PhasePlan, Plan};
use crate::spec::OnRestart;
use crate::units::{Duration, NS_PER_S};

/// How often guards and the steady state are evaluated.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);
/// How often people are shown figures.
const TICK_EVERY_NS: u64 = NS_PER_S;
/// The steady state counts as reached once every look at it has held for this long: one good look between
/// two bad ones is luck.
pub(super) const SETTLED_AFTER: Duration = Duration::from_s(2);

/// What can happen besides time passing.
#[derive(Debug)]
pub(super) enum Happening {
    /// The user asked to stop, by this signal.
    Interrupt(&'static str),
    /// An agent has news.
    Agent(News),
    /// Docker says something about a container of the plan.
    Container(ContainerNews),
    /// A probe was answered.
    Probe { probe: String, answer: crate::probe::Answer },
}

/// Why a run ends before its last phase does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// A guard fired, the user asked, or a fault could not be applied: the journal has which.
    Early,
    /// The steady state did not hold before anything was broken.
    Baseline,
}

/// A run under way.
pub(super) struct Live<'r> {
    pub plan: &'r Plan,
    pub scribe: &'r mut Scribe,
    pub ledger: &'r mut Ledger,
    pub injector: Injector,
    pub generator: Option<Generator>,
    pub happenings: mpsc::Receiver<Happening>,
    pub run: &'r str,
    /// Who reached whom before anything was done.
    pub before: Before,
    /// Steps in effect of which everything that counts has been seen.
    pub looked_at: BTreeSet<u32>,
    probes: ProbeAnswers,
    /// Guards beside the load.
    pub vitals: Vitals<'r>,
    spending: Spending<'r>,
    /// Steps in effect, in the order applied, with their ledger keys.
    pub(super) active: Vec<(u32, Option<u32>)>,
    /// What the present phase wants where a container is started anew.
    pub(super) on_restart: OnRestart,
    pub(super) lapses: Lapses,
    interrupts: u32,
    last_tick_ns: u64,
    last_undo_ns: u64,
    /// True until the phase after the last undo has begun.
    just_undone: bool,
    /// What the steady state was at the last look, and since when.
    steady: Option<(Option<bool>, u64)>,
    gated: bool,
    /// The search for a rate that the present phase is for.
    seek: Option<Seek<'r>>,
    /// When the last search ended: windows before it are of rates that were meant to be too high.
    sought_ns: u64,
}

impl<'r> Live<'r> {
    pub fn new(
        plan: &'r Plan,
        run: &'r str,
        scribe: &'r mut Scribe,
        ledger: &'r mut Ledger,
        injector: Injector,
        generator: Option<Generator>,
        happenings: mpsc::Receiver<Happening>,
    ) -> Self {
        Self {
            plan,
            scribe,
            ledger,
            injector,
            generator,
            happenings,
            run,
            before: Before::new(),
            looked_at: BTreeSet::new(),
            probes: BTreeMap::new(),
            vitals: Vitals::of(plan),
            spending: Spending::new(plan),
            active: Vec::new(),
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

    /// Runs every phase, heals, and closes the books. Errors are of the journal or the ledger alone;
    /// everything else that goes wrong is an event.
    pub async fn run(mut self) -> Result<()> {
        let ended = self.phases().await;
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
        self.injector.disarm().await;
        if let Some(generator) = self.generator.take() {
            let (intervals, about) = generator.stop().await;
            for interval in intervals {
                self.scribe.note(load_event(interval))?;
            }
            self.scribe.note(Event::Generator(about))?;
        }
        Ok(())
    }

    async fn phases(&mut self) -> Result<Option<Stop>> {
        let mut ticker = interval(LOOK_EVERY);
        // A look that came late is one look, not several at once.
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let plan = self.plan;
        for phase in &plan.phases {
            // What happened while nobody listened, a Ctrl-C above all, counts before anything is fired.
            while let Ok(happening) = self.happenings.try_recv() {
                self.happened(happening)?;
            }
            if self.interrupts > 0 {
                return Ok(Some(Stop::Early));
            }
            // A rate beyond what the system can do breaks it like a fault does.
            let breaks = !phase.faults.is_empty() || phase.find_rate.is_some();
            if breaks && !self.gated {
                if !self.baseline_holds()? {
                    return Ok(Some(Stop::Baseline));
                }
                self.gated = true;
            }
            if let Some(stop) = self.phase(phase, &mut ticker).await? {
                return Ok(Some(stop));
            }
        }
        if !self.gated && !self.baseline_holds()? {
            return Ok(Some(Stop::Baseline));
        }
        Ok(None)
    }

    async fn phase(
        &mut self,
        phase: &'r PhasePlan,
        ticker: &mut tokio::time::Interval,
    ) -> Result<Option<Stop>> {
        let steps: Vec<&Step> =
            phase.faults.iter().flat_map(|fault| &self.plan.faults[*fault].steps).collect();
        self.on_restart = phase.on_restart;
        let mut at_ns = self.scribe.now_ns();
        let mut applied = true;
        if !steps.is_empty() {
            self.just_undone = false;
            (applied, at_ns) = self.apply(&steps, at_ns).await?;
        } else if std::mem::take(&mut self.just_undone) {
            // The phase after a fault begins where the fault ended, not where we noticed.
            at_ns = at_ns.min(self.last_undo_ns.max(at_ns.saturating_sub(NS_PER_S)));
        }
        self.cut(at_ns);
        self.scribe.note(Event::Phase { name: Some(phase.name.clone()), at_ns })?;
        if !applied {
            self.take_back().await?;
            return Ok(Some(Stop::Early));
        }
        let ends_ns = at_ns + phase.longest.as_ns();
        self.seek = Seek::of(self.plan, phase);
        let stop = self.until(phase, ends_ns, ticker).await;
        let sought = self.end_seek();
        // In a hurry there is no time to look, and nothing that fails may keep anything from being taken back.
        let unhurried = matches!(stop, Ok(None));
        let looked = if unhurried { self.look_who_reaches(phase, Look::During).await } else { Ok(()) };
        self.take_back().await?;
        looked.and(sought)?;
        if unhurried {
            self.look_who_reaches(phase, Look::After).await?;
        }
        stop
    }

    /// Waits for the phase's end, looking at everything meanwhile.
    async fn until(
        &mut self,
        phase: &PhasePlan,
        ends_ns: u64,
        ticker: &mut tokio::time::Interval,
    ) -> Result<Option<Stop>> {
        loop {
            let left = std::time::Duration::from_nanos(ends_ns.saturating_sub(self.scribe.now_ns()));
            tokio::select! {
                happening = self.happenings.recv() => {
                    if let Some(happening) = happening
                        && self.happened(happening)?
                    {
                        return Ok(Some(Stop::Early));
                    }
                    if self.lapses.are_due() && self.reapply().await? {
                        return Ok(Some(Stop::Early));
                    }
                }
                _ = ticker.tick() => {
                    if self.look()? | self.agents_gone()? {
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
                () = tokio::time::sleep(left) => return Ok(None),
            }
        }
    }

    /// Puts steps into effect; true if all of them are, and the first measured onset.
    async fn apply(&mut self, steps: &[&Step], now_ns: u64) -> Result<(bool, u64)> {
        let ready = match self.injector.rearm(steps).await {
            // What undoing must know is found last of all, and written down with the debts.
            Ok(()) => self.injector.find(steps).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ready {
            self.scribe.note(broke(&error))?;
            return Ok((false, now_ns));
        }
        let keys = self.owe(steps)?;
        let asked_ns = self.scribe.now_ns();
        // A step that fails may have half happened: it is taken back like the others.
        self.active.extend(keys.iter().map(|(step, key)| (step.id, *key)));
        let applied = self.injector.fire(steps).await;
        let mut first_ns = u64::MAX;
        let mut all = true;
        for (applied, (step, key)) in applied.into_iter().zip(keys) {
            if !applied.touched {
                // Not ours to undo: somebody else had changed the container first.
                self.active.retain(|(id, _)| *id != step.id);
                self.ledger.settle(key.as_slice())?;
            }
            if let Some(evidence) = applied.seen {
                self.scribe.note(Event::Evidence { step: step.id, evidence })?;
            }
            match applied.at {
                Ok(at_ns) => {
                    first_ns = first_ns.min(at_ns);
                    if step.apply.ends_processes() {
                        self.lapses.ends(&step.container);
                    }
                    self.scribe.note(Event::Applied { step: step.id, asked_ns, at_ns })?;
                }
                Err(error) => {
                    all = false;
                    self.scribe.note(Event::NotApplied { step: step.id, why: error.chain() })?;
                }
            }
        }
        Ok((all, if first_ns == u64::MAX { asked_ns } else { first_ns }))
    }

    /// Writes down what these steps will owe: before they are fired, in one fsync.
    fn owe<'s>(&mut self, steps: &[&'s Step]) -> Result<Vec<(&'s Step, Option<u32>)>> {
        let mut debts = Vec::new();
        for step in steps {
            if let Some(op) = self.injector.undo_of(step) {
                debts.push(Debt::Undo {
                    step: step.id,
                    container: step.container.clone(),
                    id: self.injector.id(&step.container)?.to_owned(),
                    op,
                    tag: self.injector.tag().to_owned(),
                });
            }
        }
        let mut keys = self.ledger.owe(debts)?.into_iter();
        Ok(steps.iter().map(|step| (*step, step.undo.as_ref().and_then(|_| keys.next()))).collect())
    }

    /// Looks at what is in effect, takes all of it back in reverse, and strikes out what was verified.
    async fn take_back(&mut self) -> Result<()> {
        if self.active.is_empty() {
            return Ok(());
        }
        let active = std::mem::take(&mut self.active);
        let steps: Vec<&Step> =
            active.iter().filter_map(|(id, _)| self.plan.step(*id).map(|(_, step)| step)).collect();
        // A second Ctrl-C hurries: evidence can be done without, healing can't.
        // Nothing that fails to be written down may keep anything from being taken back.
        let mut noted = Ok(());
        while let Ok(happening) = self.happenings.try_recv() {
            noted = noted.and(self.happened(happening).map(drop));
        }
        noted = noted.and(self.end_lapses());
        if self.interrupts < 2 {
            let unseen: Vec<&Step> =
                steps.iter().filter(|step| !self.looked_at.contains(&step.id)).copied().collect();
            for (step, evidence) in self.injector.look(&unseen).await {
                noted = noted.and(self.scribe.note(Event::Evidence { step, evidence }));
            }
        }
        let mut settled = Vec::new();
        let asked_ns = self.scribe.now_ns();
        for back in self.injector.take_back(&steps).await {
            let step = back.step;
            if let Some(evidence) = back.evidence
                && !self.looked_at.contains(&step)
            {
                noted = noted.and(self.scribe.note(Event::Evidence { step, evidence }));
            }
            let reversible = self.plan.step(step).is_some_and(|(_, step)| step.undo.is_some());
            let unhealed = |why: String| Event::Unhealed { step, why, command: heal::command(self.run) };
            let event = match back.result {
                Ok((at_ns, true)) => {
                    self.last_undo_ns = self.last_undo_ns.max(at_ns);
                    self.just_undone = true;
                    settled.extend(active.iter().filter(|(id, _)| *id == step).filter_map(|(_, key)| *key));
                    if !reversible {
                        continue;
                    }
                    Event::Undone { step, asked_ns, at_ns, verified: true }
                }
                Ok((_, false)) => unhealed("something of it is left".into()),
                Err(error) => unhealed(error.chain()),
            };
            noted = noted.and(self.scribe.note(event));
        }
        for step in steps.iter().filter(|step| step.apply.ends_processes()) {
            self.injector.restarted(&step.container);
        }
        self.looked_at.clear();
        self.steady = None;
        self.ledger.settle(&settled).and(noted)
    }

    /// Takes note of something; true if the run must stop.
    fn happened(&mut self, happening: Happening) -> Result<bool> {
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
                return self.lost(|step| steps.contains(&step.id), "its deadline passed");
            }
            Happening::Agent(News::Failed { step, why }) => {
                return self.lost(|one| one.id == step, &why);
            }
            Happening::Container(news) => return self.container(news),
            Happening::Probe { probe, answer } => {
                self.probes.insert(probe.clone(), answer.ok);
                self.vitals.answered(&probe, answer.ok);
                self.scribe.note(Event::Probe {
                    probe,
                    ok: answer.ok,
                    detail: answer.detail,
                    took_ms: answer.took.as_secs_f64() * 1e3,
                })?;
            }
        }
        Ok(false)
    }

    /// Notes that active steps ended by themselves; true if there were any: what follows would be judged
    /// as if they were still in effect.
    pub(super) fn lost(&mut self, which: impl Fn(&Step) -> bool, why: &str) -> Result<bool> {
        let lost: Vec<u32> = self
            .active
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| self.plan.step(*id).is_some_and(|(_, step)| which(step)))
            .collect();
        for step in &lost {
            self.scribe.note(Event::Lost { step: *step, why: why.into() })?;
        }
        Ok(!lost.is_empty())
    }

    /// Everything that is looked at several times a second; true if a guard fired.
    fn look(&mut self) -> Result<bool> {
        let now_ns = self.scribe.now_ns();
        let intervals = self.generator.as_ref().map(Generator::drain).unwrap_or_default();
        for interval in intervals {
            self.spending.take(&interval);
            if let Some(seek) = &mut self.seek {
                seek.take(&interval);
            }
            self.scribe.note(load_event(interval))?;
        }
        if let (Some(seek), Some(generator)) = (&mut self.seek, &self.generator) {
            for event in seek.look(now_ns, generator) {
                self.scribe.note(event)?;
            }
        }
        let watch = Watch { plan: self.plan, generator: self.generator.as_ref() };
        let mut guards = watch.guards(now_ns);
        guards.extend(self.vitals.guards());
        guards.extend(self.spending.exceeded(now_ns));
        let fired: Vec<_> = guards.iter().filter(|guard| guard.holds == Some(true)).cloned().collect();
        if now_ns >= self.last_tick_ns + TICK_EVERY_NS {
            self.last_tick_ns = now_ns;
            self.scribe.note(Event::Tick(watch.tick(guards)))?;
        }
        let steady = watch.steady(now_ns, self.since_ns(), &self.probes);
        // A search goes beyond the steady state on purpose.
        if self.seek.is_none() {
            self.steady_looked(steady.holds, now_ns)?;
        }
        for check in &fired {
            self.scribe.note(Event::Guard { check: check.clone() })?;
        }
        Ok(!fired.is_empty())
    }

    /// Follows the steady state, and notes when it changes after the baseline.
    fn steady_looked(&mut self, holds: Option<bool>, now_ns: u64) -> Result<()> {
        let changed = self.steady.is_none_or(|(before, _)| before != holds);
        if changed {
            let first = self.steady.is_none();
            self.steady = Some((holds, now_ns));
            // No data yet is no news: windows begin anew after every undo.
            if self.gated && holds.is_some() && !(first && holds == Some(true)) {
                self.note_steady(SteadyWhy::Changed)?;
            }
        }
        Ok(())
    }

    /// True if the steady state has held at every look for long enough.
    fn settled(&self) -> bool {
        matches!(self.steady, Some((Some(true), since))
            if self.scribe.now_ns().saturating_sub(since) >= SETTLED_AFTER.as_ns())
    }

    fn baseline_holds(&mut self) -> Result<bool> {
        if self.plan.steady_state.is_empty() {
            return Ok(true);
        }
        Ok(self.note_steady(SteadyWhy::Baseline)? == Some(true))
    }

    fn note_steady(&mut self, why: SteadyWhy) -> Result<Option<bool>> {
        let now_ns = self.scribe.now_ns();
        let watch = Watch { plan: self.plan, generator: self.generator.as_ref() };
        let steady = watch.steady(now_ns, self.since_ns(), &self.probes);
        let since_ns =
            self.steady.filter(|(holds, _)| *holds == steady.holds).map_or(now_ns, |(_, since)| since);
        let holds = steady.holds;
        self.scribe.note(Event::Steady { why, holds, since_ns, checks: steady.checks })?;
        Ok(holds)
    }

    /// How far the steady state's windows may reach back.
    fn since_ns(&self) -> u64 {
        let undone_ns = if self.active.is_empty() { self.last_undo_ns } else { 0 };
        undone_ns.max(self.sought_ns)
    }

    /// Ends the phase's search, if it has one.
    fn end_seek(&mut self) -> Result<()> {
        let (Some(seek), Some(generator)) = (self.seek.take(), &self.generator) else { return Ok(()) };
        for event in seek.end(generator) {
            self.scribe.note(event)?;
        }
        self.sought_ns = self.scribe.now_ns();
        self.steady = None;
        Ok(())
    }

    fn cut(&self, at_ns: u64) {
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
