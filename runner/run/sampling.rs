//! Sampling indicators beside the load as a run goes on: each SLO's is a task of its own that tells the loop what came
//! of it, stretch after stretch from the run's first phase to its end.
//!
//! Stretches are of equal length and asked for by their own instants, so that what could not be known at one of them
//! can be asked for again when all is over. Start at [`Sampling`].

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::happening::Happening;
use super::live::Live;
use crate::clock::Clock;
use crate::error::Result;
use crate::event::Event;
use crate::plan::Plan;
use crate::probe::Asker;
use crate::sli::{Gauge, Said};
use crate::slo::burn::Turned;
use crate::units::Duration;

/// What an indicator's task tells the loop.
#[derive(Debug)]
pub(super) enum Sampled {
    /// What a stretch came to.
    Stretch {
        /// The SLO's name.
        slo: String,
        /// The stretch.
        span: (u64, u64),
        said: Said,
        /// True if it was found out when all was over.
        late: bool,
    },
    /// This SLO's task is done.
    Done(String),
}

/// The indicators of a run. Asks nothing any more once it is dropped.
pub(super) struct Sampling {
    /// When the last phase ended, once it has.
    over: watch::Sender<Option<u64>>,
    /// The SLOs whose task is not done.
    waiting: BTreeSet<String>,
    tasks: Vec<JoinHandle<()>>,
}

impl Sampling {
    /// Begins to sample every indicator of a plan that is not of a load.
    pub fn start(
        plan: &Plan,
        asker: &Arc<Asker>,
        clock: Clock,
        happenings: &mpsc::Sender<Happening>,
    ) -> Self {
        let (over, _) = watch::channel(None);
        let mut sampling = Self { over, waiting: BTreeSet::new(), tasks: Vec::new() };
        for (name, slo) in plan.slos.iter() {
            let gauge = Gauge::of(&slo.sli, Arc::clone(asker));
            let (Some(gauge), Some(every)) = (gauge, slo.sli.every()) else { continue };
            let sampler = Sampler {
                slo: name.to_owned(),
                gauge,
                every: every.value,
                clock,
                begin_ns: clock.now_ns(),
                begin: Timestamp::now(),
                missed: Vec::new(),
                happenings: happenings.clone(),
            };
            sampling.waiting.insert(name.to_owned());
            let over = sampling.over.subscribe();
            sampling.tasks.push(tokio::spawn(async move {
                // Whoever would be told is gone only when the run is.
                let _ = sampler.run(over).await;
            }));
        }
        sampling
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// One SLO's indicator.
struct Sampler {
    slo: String,
    gauge: Gauge,
    every: Duration,
    clock: Clock,
    /// When the first stretch began.
    begin_ns: u64,
    /// The same by the wall clock.
    begin: Timestamp,
    /// Stretches that are not known, from 1.
    missed: Vec<u32>,
    happenings: mpsc::Sender<Happening>,
}

/// Nobody listens any more.
struct Deaf;

impl Sampler {
    async fn run(mut self, mut over: watch::Receiver<Option<u64>>) -> Result<(), Deaf> {
        self.gauge.begin(self.begin).await;
        let mut done = 0;
        let end_ns = loop {
            let due_ns = self.ends_ns(done + 1);
            tokio::select! {
                end = over.wait_for(Option::is_some) => match end {
                    Ok(end) => break end.unwrap_or(due_ns),
                    Err(_) => return Err(Deaf),
                },
                () = tokio::time::sleep(self.until(due_ns)) => {}
            }
            let index = self.index(self.clock.now_ns()).max(done + 1);
            self.skip(done + 1..index).await?;
            self.stretch(index).await?;
            done = index;
        };
        let last = self.index(end_ns).max(done);
        self.skip(done + 1..last + 1).await?;
        let (from_ns, lasted) =
            (self.ends_ns(last), Duration::from_ns(end_ns.saturating_sub(self.ends_ns(last))));
        if !lasted.is_zero() {
            let said = self.gauge.read(self.wall(end_ns), lasted).await;
            self.tell((from_ns, end_ns), said, false).await?;
        }
        self.look_back(last).await?;
        self.happenings.send(Happening::Sampled(Sampled::Done(self.slo))).await.map_err(|_| Deaf)
    }

    /// Reads a stretch that is just over.
    async fn stretch(&mut self, index: u32) -> Result<(), Deaf> {
        let said = self.gauge.read(self.wall(self.ends_ns(index)), self.every).await;
        if said.tally.is_none() {
            self.missed.push(index);
        }
        self.tell(self.span(index), said, false).await
    }

    /// Stretches that ended while another one's answer was waited for.
    async fn skip(&mut self, stretches: std::ops::Range<u32>) -> Result<(), Deaf> {
        for index in stretches {
            self.gauge.skip();
            self.missed.push(index);
            let detail = "not asked: the last answer took too long".to_owned();
            self.tell(self.span(index), Said { tally: None, detail }, false).await?;
        }
        Ok(())
    }

    /// Asks once more for what was missed of `count` stretches.
    async fn look_back(&mut self, count: u32) -> Result<(), Deaf> {
        let missed = std::mem::take(&mut self.missed);
        if missed.is_empty() {
            return Ok(());
        }
        let mut found = self.gauge.look_back(self.begin, self.every, count).await;
        for index in missed {
            if let Some(said) = found.remove(&index) {
                self.tell(self.span(index), said, true).await?;
            }
        }
        Ok(())
    }

    async fn tell(&self, span: (u64, u64), said: Said, late: bool) -> Result<(), Deaf> {
        let sampled = Sampled::Stretch { slo: self.slo.clone(), span, said, late };
        self.happenings.send(Happening::Sampled(sampled)).await.map_err(|_| Deaf)
    }

    /// When a stretch, from 1, ends.
    const fn ends_ns(&self, index: u32) -> u64 {
        self.begin_ns + self.every.as_ns() * index as u64
    }

    const fn span(&self, index: u32) -> (u64, u64) {
        (self.ends_ns(index - 1), self.ends_ns(index))
    }

    /// The last stretch that is over at an instant; 0 before the end of the first.
    fn index(&self, at_ns: u64) -> u32 {
        u32::try_from(at_ns.saturating_sub(self.begin_ns) / self.every.as_ns()).unwrap_or(u32::MAX)
    }

    fn until(&self, at_ns: u64) -> std::time::Duration {
        std::time::Duration::from_nanos(at_ns.saturating_sub(self.clock.now_ns()))
    }

    /// An instant of the run by the wall clock.
    fn wall(&self, at_ns: u64) -> Timestamp {
        let after = SignedDuration::from_nanos(i64::try_from(at_ns - self.begin_ns).unwrap_or(i64::MAX));
        self.begin.saturating_add(after).unwrap_or(self.begin)
    }
}

impl Live<'_> {
    /// Takes note of what an indicator came to.
    pub(super) fn sampled(&mut self, sampled: Sampled) -> Result<()> {
        let (slo, span, Said { tally, detail }, late) = match sampled {
            Sampled::Stretch { slo, span, said, late } => (slo, span, said, late),
            Sampled::Done(slo) => {
                self.sampling.waiting.remove(&slo);
                return Ok(());
            }
        };
        // What is found out when all is over fires nothing any more.
        let mut turned = Vec::new();
        if let Some(tally) = tally.filter(|_| !late) {
            self.recent.take(&slo, span, tally);
            self.spending.take_one(&slo, span, tally);
            turned = self.alerts.take_one(&slo, span, tally);
        }
        let (from_ns, to_ns) = span;
        self.scribe.note(Event::Indicator { slo, from_ns, to_ns, tally, detail, late })?;
        self.note_turned(turned)
    }

    /// Notes the alerts that turned.
    pub(super) fn note_turned(&mut self, turned: Vec<Turned>) -> Result<()> {
        for Turned { slo, alert, firing, at_ns, burn, short } in turned {
            self.scribe.note(Event::Alert { slo, alert, firing, at_ns, burn, short })?;
        }
        Ok(())
    }

    /// Waits until every indicator is known as far as it can be, up to `end_ns`, unless the user asks to stop.
    pub(super) async fn end_sampling(&mut self, end_ns: u64) -> Result<()> {
        self.sampling.over.send_replace(Some(end_ns));
        let (before, healing) = (self.interrupts, std::mem::replace(&mut self.healing, true));
        while !self.sampling.waiting.is_empty() && self.interrupts == before {
            self.turn(u64::MAX).await?;
        }
        self.healing = healing;
        Ok(())
    }
}
