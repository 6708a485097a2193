//! Seeking the highest rate that holds: the trials of a search, carried out while its phase lasts.
//!
//! Looked at ten times a second by the loop, which it never makes wait. What was decided, and on what, goes
//! into the journal as events; which rate comes next is `slo/search.rs`'s to say. Start at [`Seek::look`].

use crate::event::{Event, Measured};
use crate::load::record::Stats;
use crate::load::{Generator, Interval, fitness};
use crate::plan::{LoadPlan, PhasePlan, Plan};
use crate::slo::search::{Answer, End, Next, Search};
use crate::slo::{self, Sample};
use crate::spec::find_rate::LINGER;
use crate::spec::{FindRate, Named, Slo};
use crate::units::Rate;

/// A search under way.
pub(super) struct Seek<'p> {
    plan: &'p FindRate,
    load: &'p LoadPlan,
    slos: &'p Named<Slo>,
    search: Search,
    stage: Stage,
    /// Of the trial's own requests: what came out of the generator so far.
    stats: Stats,
}

/// What is waited for.
#[derive(Clone, Copy)]
enum Stage {
    /// That nothing of the last trial hangs any more.
    Resting { until_ns: u64 },
    /// That a new rate has settled.
    Settling { until_ns: u64 },
    /// That the trial has lasted long enough.
    Measuring { from_ns: u64, to_ns: u64 },
    /// That its last requests end.
    Lingering { from_ns: u64, to_ns: u64 },
    /// Nothing: the search is over.
    Over,
}

impl<'p> Seek<'p> {
    /// The search of a phase, if it has one; begins with its first look.
    pub fn of(plan: &'p Plan, phase: &'p PhasePlan) -> Option<Self> {
        let search = phase.find_rate.as_ref()?;
        Some(Self {
            plan: search,
            load: plan.loads.iter().find(|load| load.name == search.load.value)?,
            slos: &plan.slos,
            search: Search::new(search.from.value, search.to.value, search.within.value),
            stage: Stage::Resting { until_ns: 0 },
            stats: Stats::default(),
        })
    }

    /// True once it has its answer.
    pub const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Takes an interval that the generator has handed out.
    pub fn take(&mut self, interval: &Interval) {
        if let Stage::Measuring { from_ns, to_ns } | Stage::Lingering { from_ns, to_ns } = self.stage
            && interval.load == self.load.name
            && (from_ns..to_ns).contains(&interval.from_ns.midpoint(interval.to_ns))
        {
            self.stats.merge(&interval.stats);
        }
    }

    /// Moves on if it is time to; returns what happened, to be noted.
    pub fn look(&mut self, now_ns: u64, generator: &Generator) -> Vec<Event> {
        match self.stage {
            Stage::Resting { until_ns } if now_ns >= until_ns || generator.hanging(&self.load.name) == 0 => {
                self.stage = Stage::Settling { until_ns: now_ns + self.plan.settle.as_ns() };
                self.rate(generator, Some(self.search.trying()))
            }
            Stage::Settling { until_ns } if now_ns >= until_ns => {
                generator.cut(now_ns);
                self.stats = Stats::default();
                let to_ns = now_ns + self.plan.hold_for.as_ns();
                self.stage = Stage::Measuring { from_ns: now_ns, to_ns };
                Vec::new()
            }
            Stage::Measuring { from_ns, to_ns } if now_ns >= to_ns => {
                generator.cut(to_ns);
                self.stage = Stage::Lingering { from_ns, to_ns };
                // A system that is beyond its capacity recovers meanwhile.
                self.rate(generator, Some(self.plan.from.value))
            }
            Stage::Lingering { from_ns, to_ns } if now_ns >= to_ns + LINGER.as_ns() => {
                self.judge((from_ns, to_ns), now_ns, generator)
            }
            _ => Vec::new(),
        }
    }

    /// Ends the search, whatever it has come to, and gives the load its own rate again.
    pub fn end(mut self, generator: &Generator) -> Vec<Event> {
        let mut events = self.rate(generator, None);
        if !self.is_over() {
            events.push(self.over(End::Time));
        }
        events
    }

    fn rate(&self, generator: &Generator, rate: Option<Rate>) -> Vec<Event> {
        let load = &self.load.name;
        let changed = generator.set_rate(load, rate);
        changed.map(|at_ns| Event::Rate { load: load.clone(), rate, at_ns }).into_iter().collect()
    }

    /// Judges a trial by its own requests, all of which have ended or hang.
    fn judge(&mut self, (from_ns, to_ns): (u64, u64), now_ns: u64, generator: &Generator) -> Vec<Event> {
        let load = &self.load.name;
        let (rest, hanging) = generator.undrained(load, from_ns, to_ns);
        let mut stats = std::mem::take(&mut self.stats);
        stats.merge(&rest);
        for intended_ns in &hanging {
            stats.latency.record(now_ns.saturating_sub(*intended_ns));
        }
        let overdue = hanging.len() as u64;
        let seconds = self.plan.hold_for.as_s();
        let sample = Sample { overdue, ..Sample::of(&stats, seconds, self.slos) };
        let checks: Vec<Measured> =
            self.plan.holds.iter().map(|check| slo::measure(&check.value, &sample)).collect();
        let holds = if checks.iter().any(|check| check.holds == Some(false)) {
            Some(false)
        } else {
            checks.iter().all(|check| check.holds == Some(true)).then_some(true)
        };
        let rate = self.search.trying();
        let requests = stats.boxes.scheduled() + overdue;
        let due = rate.as_per_s() * seconds;
        let unfit = fitness::unfit(&stats, requests, due, self.load.load.burst.value);
        let answer = match (&unfit, holds) {
            (Some(_), _) => Answer::Unfit,
            (None, Some(true)) => Answer::Held,
            (None, _) => Answer::Broke,
        };
        let not_good = requests - stats.boxes.good;
        let trial = Event::Trial {
            load: load.clone(),
            rate,
            from_ns,
            to_ns,
            requests,
            not_good,
            holds,
            unfit,
            checks,
        };
        match self.search.answer(answer) {
            Next::Try(_) => {
                self.stage = Stage::Resting { until_ns: now_ns + self.load.load.timeout.as_ns() };
                vec![trial]
            }
            Next::Over(end) => vec![trial, self.over(end)],
        }
    }

    fn over(&mut self, end: End) -> Event {
        self.stage = Stage::Over;
        let (held, broke) = (self.search.held(), self.search.broke());
        Event::Capacity { load: self.load.name.clone(), end, held, broke }
    }
}
