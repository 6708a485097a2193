//! Containers that end and start anew while something is in effect on them.
//!
//! What a step did inside a container's processes or its network namespace goes with them. By the phase's
//! `on_restart` it is applied again to the new ones, or was all of it; either way the journal has it. Its debt
//! stays on the books until it is taken back as always: that a look finds nothing left costs little.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::errand::Done;
use super::happening::Happening;
use super::live::Live;
use crate::agent::task::{Place, Task};
use crate::error::Result;
use crate::event::{Event, Evidence};
use crate::fault::step::{Limit, Op, Step};
use crate::spec::OnRestart;

/// By when Docker has told of a container's end, after its processes are gone.
const END_IS_KNOWN_NS: u64 = 500_000_000;

/// What Docker says happened to a container of the plan.
#[derive(Debug)]
pub(super) struct ContainerNews {
    /// The container's id.
    pub id: String,
    /// `die`, `start`, `kill`, `oom`, ….
    pub action: String,
    /// Of a `kill`: the signal.
    pub signal: Option<String>,
    /// When, by the daemon's wall clock, in nanoseconds since 1970.
    pub at_ns: i64,
}

/// What is known of containers that ended during the present phase.
#[derive(Default)]
pub(super) struct Lapses {
    /// Steps that ended with their containers' processes and are not in effect again.
    steps: BTreeSet<u32>,
    /// Containers that run anew, with lapsed steps to be applied again.
    anew: BTreeSet<String>,
    /// Containers that our own steps end: that they do is no news.
    ended_by_us: BTreeSet<String>,
    /// Agents that ended, of which it is not known yet whether they ended with their containers.
    suspects: Vec<Suspect>,
}

/// An agent that ended.
struct Suspect {
    container: String,
    place: Place,
    why: String,
    at_ns: u64,
}

impl Lapses {
    /// Notes that a step ends its container.
    pub fn ends(&mut self, container: &str) {
        self.ended_by_us.insert(container.to_owned());
    }

    /// Notes that an agent ended. One that sits among its container's processes goes with them, and may be heard
    /// of before they are.
    pub fn suspect(&mut self, container: String, place: Place, why: String, at_ns: u64) {
        self.suspects.push(Suspect { container, place, why, at_ns });
    }

    /// True if a step ended with its container's processes and is not in effect again.
    pub fn has(&self, step: u32) -> bool {
        self.steps.contains(&step)
    }

    /// Notes that a step is in effect, again or for the first time.
    pub fn applied_again(&mut self, step: u32) {
        self.steps.remove(&step);
    }
}

impl Live<'_> {
    /// Takes note of what Docker says of a container; true if the run must stop.
    pub(super) fn container(&mut self, news: ContainerNews) -> Result<bool> {
        let ContainerNews { id, action, signal, at_ns } = news;
        let Some(name) = self.injector.name_of(&id) else { return Ok(false) };
        if let (Some(signal), "kill") = (&signal, action.as_str())
            && let Some(step) = self.injector.signalled(&id, signal, at_ns)
        {
            self.scribe.note(Event::Evidence { step, evidence: Evidence::Signalled(signal.clone()) })?;
        }
        self.vitals.happened(&name, &action);
        self.scribe.note(Event::Container { container: name.clone(), action: action.clone() })?;
        match action.as_str() {
            "oom" => self.out_of_memory(&name)?,
            "die" => self.lapse(&name)?,
            "start" => {
                self.injector.restarted(&name);
                let again = self.lapses.steps.iter().any(|id| self.step_on(*id, &name).is_some());
                if again && self.on_restart == OnRestart::Reapply {
                    self.lapses.anew.insert(name);
                }
            }
            _ => {}
        }
        Ok(false)
    }

    fn step_on(&self, id: u32, container: &str) -> Option<&Step> {
        self.plan.step(id).map(|(_, step)| step).filter(|step| step.container == container)
    }

    /// Steps in effect on a container, in the order applied.
    fn active_on(&self, container: &str) -> Vec<&Step> {
        if self.healing {
            // What ends then was ended by us, or ends nothing that is still wanted.
            return Vec::new();
        }
        self.active.iter().filter_map(|(id, _)| self.step_on(*id, container)).collect()
    }

    /// The kernel killed for lack of memory; if that is because we took it, the end is ours.
    fn out_of_memory(&mut self, container: &str) -> Result<()> {
        let took =
            |step: &&Step| matches!(step.apply, Op::Limit(Limit::Memory(..)) | Op::Inside(Task::Fill(_)));
        let steps: Vec<u32> =
            self.active_on(container).into_iter().filter(took).map(|step| step.id).collect();
        for step in steps {
            self.lapses.ends(container);
            self.scribe.note(Event::Evidence { step, evidence: Evidence::OutOfMemory })?;
        }
        Ok(())
    }

    /// What went with agents that ended without their containers is lost; true if anything was.
    pub(super) fn agents_gone(&mut self) -> Result<bool> {
        let now_ns = self.scribe.now_ns();
        let waits = |suspect: &Suspect| now_ns.saturating_sub(suspect.at_ns) < END_IS_KNOWN_NS;
        let (waiting, due): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.lapses.suspects).into_iter().partition(waits);
        self.lapses.suspects = waiting;
        let mut lost = false;
        for Suspect { container, place, why, .. } in due {
            let lapsed = self.lapses.steps.clone();
            let hit = |step: &Step| {
                step.container == container && step.apply.place() == Some(place) && !lapsed.contains(&step.id)
            };
            lost |= self.lost(hit, &format!("its agent is gone: {why}"))?;
        }
        Ok(lost)
    }

    fn lapse(&mut self, container: &str) -> Result<()> {
        self.lapses.suspects.retain(|suspect| suspect.container != container);
        let steps: Vec<u32> = self
            .active_on(container)
            .into_iter()
            .filter(|step| step.apply.ends_with_processes() && !self.lapses.steps.contains(&step.id))
            .map(|step| step.id)
            .collect();
        self.lapses.anew.remove(container);
        for step in steps {
            self.lapses.steps.insert(step);
            let on_restart = self.on_restart;
            self.scribe.note(Event::Lapsed { step, why: "the container ended".into(), on_restart })?;
        }
        Ok(())
    }

    /// Has lapsed steps applied again to containers that run anew, beginning with their agents.
    pub(super) fn begin_reapply(&mut self) {
        let due: Vec<String> =
            self.lapses.anew.iter().filter(|name| !self.rearming.contains_key(*name)).cloned().collect();
        for container in due {
            self.lapses.anew.remove(&container);
            let steps = self.lapsed_on(&container);
            let (injector, name) = (Arc::clone(&self.injector), container.clone());
            let errand = self.errands.spawn(async move {
                // The agent of the old namespace, if it lives, still knows what it did there.
                let evidence = injector.look(&steps).await;
                let result = injector.rearm(&steps).await;
                let runs = result.is_ok() || injector.runs(&name).await;
                Done::Rearmed { container: name, evidence, result, runs }
            });
            self.rearming.insert(container, errand);
        }
    }

    fn lapsed_on(&self, container: &str) -> Vec<Step> {
        let lapsed = self.active_on(container).into_iter().filter(|step| self.lapses.has(step.id));
        lapsed.cloned().collect()
    }

    /// Goes on with applying again once a container's agents are replaced; true if the run must stop.
    pub(super) fn rearmed(
        &mut self,
        container: &str,
        evidence: Vec<(u32, Evidence)>,
        result: Result<()>,
        runs: bool,
    ) -> Result<bool> {
        self.rearming.remove(container);
        for (step, evidence) in evidence {
            self.scribe.note(Event::Evidence { step, evidence })?;
        }
        let steps = self.lapsed_on(container);
        let Err(error) = result else {
            self.fire(&steps);
            return Ok(false);
        };
        if !runs {
            // It has ended again, and will be when it starts again.
            return Ok(false);
        }
        for step in &steps {
            let why = format!("it could not be applied again: {}", error.chain());
            self.scribe.note(Event::Lost { step: step.id, why })?;
        }
        Ok(!steps.is_empty())
    }

    /// The phase is over: what was to be applied again and never was is lost, unless we ended the container.
    pub(super) fn end_lapses(&mut self) -> Result<()> {
        for errand in std::mem::take(&mut self.rearming).into_values() {
            errand.abort();
        }
        let lapses = std::mem::take(&mut self.lapses);
        if self.on_restart == OnRestart::End {
            return Ok(());
        }
        for step in lapses.steps {
            let ours =
                self.plan.step(step).is_some_and(|(_, step)| lapses.ended_by_us.contains(&step.container));
            if !ours {
                let why = "its container ended and did not come back".into();
                self.scribe.note(Event::Lost { step, why })?;
            }
        }
        Ok(())
    }
}

impl From<ContainerNews> for Happening {
    fn from(news: ContainerNews) -> Self {
        Self::Container(news)
    }
}
