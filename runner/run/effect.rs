//! Putting a phase's steps into effect and taking them back: the only place where the loop has something done to
//! containers. What is owed is on disk before anything is fired, without exception.
//!
//! Everything here goes by lanes ([`Lane`]): a container that takes its time keeps no other one from being fired,
//! and above all from being healed. Start at [`Live::apply`] and [`Live::take_back`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::errand::{Done, Turn};
use super::live::{Live, broke};
use crate::error::Result;
use crate::event::Event;
use crate::fault::step::Step;
use crate::heal;
use crate::inject::{Applied, Haste, Lane, TakenBack};
use crate::plan::PhasePlan;

/// By when all onsets of a phase are known, if its containers are as quick as others: load intervals are cut at the
/// first one, and what they are made of is kept for a second only.
const KNOWN_WITHIN_NS: u64 = 500_000_000;

/// Why a step is lost that its agent undid.
pub(super) const DEADLINE: &str = "its deadline passed";

/// What telling one lane may take, on a machine that has little time: lines go through the daemon one by one.
const TELLING_NS: u64 = 4_000_000;
/// The longest that lanes are told ahead: what it takes is taken from the phase before.
const LONGEST_AHEAD_NS: u64 = 500_000_000;

/// How long before they fire so many lanes are told to, so that all of them know by then. One by itself fires at once.
fn ahead_ns(lanes: usize) -> u64 {
    match lanes {
        0 | 1 => 0,
        lanes => (lanes as u64 * TELLING_NS).min(LONGEST_AHEAD_NS),
    }
}

/// Steps by the lane that carries them out, each in the order given.
fn lanes<'s>(steps: impl IntoIterator<Item = &'s Step>) -> BTreeMap<Lane, Vec<Step>> {
    let mut lanes = BTreeMap::<Lane, Vec<Step>>::new();
    for step in steps {
        lanes.entry(Lane::of(step)).or_default().push(step.clone());
    }
    lanes
}

impl<'r> Live<'r> {
    /// Puts a phase's steps into effect and enters the phase at the first measured onset; when that was, or nothing
    /// if the run must stop.
    pub async fn apply(&mut self, phase: &PhasePlan, steps: Vec<Step>) -> Result<Option<u64>> {
        let (injector, these) = (Arc::clone(&self.injector), steps.clone());
        match self.attend(async move { injector.ready(&these).await }).await? {
            None => return Ok(None),
            Some(Err(error)) => {
                self.scribe.note(broke(&error))?;
                self.enter(phase, self.scribe.now_ns())?;
                return Ok(None);
            }
            Some(Ok(())) => {}
        }
        if self.owe(&steps).await? {
            return Ok(None);
        }
        self.onset_ns = None;
        let asked_ns = self.fire(&steps);
        loop {
            let over = self.firing.is_empty() || self.scribe.now_ns() >= asked_ns + KNOWN_WITHIN_NS;
            if let Some(onset_ns) = self.onset_ns.filter(|_| over) {
                self.enter(phase, onset_ns)?;
                return Ok(Some(onset_ns));
            }
            let until_ns = if self.onset_ns.is_some() { asked_ns + KNOWN_WITHIN_NS } else { u64::MAX };
            let turn = self.turn(until_ns).await?;
            if self.turned(turn)? {
                self.enter(phase, self.onset_ns.unwrap_or_else(|| asked_ns.min(self.scribe.now_ns())))?;
                return Ok(None);
            }
        }
    }

    /// Writes down what these steps will owe, in one fsync; true if the run must stop instead of firing them.
    async fn owe(&mut self, steps: &[Step]) -> Result<bool> {
        let debts = steps.iter().filter_map(|step| self.injector.debt_of(step).transpose());
        let debts = debts.collect::<Result<Vec<_>>>()?;
        let books = self.books.clone();
        let (keys, stop) = self.finish(async move { books.owe(debts).await }).await;
        let mut keys = keys?.into_iter();
        // A step that fails may have half happened: it is taken back like the others. One that is not fired at all has
        // nothing to be taken back, which costs a look.
        self.active.extend(steps.iter().map(|step| (step.id, step.undo.as_ref().and_then(|_| keys.next()))));
        stop
    }

    /// Has steps fired, whose debts are on disk: all of them at one instant, which is returned.
    pub fn fire(&mut self, steps: &[Step]) -> u64 {
        let lanes = lanes(steps);
        let asked_ns = self.scribe.now_ns() + ahead_ns(lanes.len());
        for (lane, steps) in lanes {
            self.firing.insert(lane.clone());
            let injector = Arc::clone(&self.injector);
            self.errands.spawn(async move {
                let applied = injector.fire(&lane, &steps, asked_ns).await;
                let failed = applied.iter().any(|applied| applied.at.is_err());
                let runs = !failed || injector.runs(&lane.container).await;
                Done::Fired { lane, asked_ns, applied, runs }
            });
        }
        asked_ns
    }

    /// Takes note of what came of firing a lane; true if the run must stop.
    pub fn fired(&mut self, lane: &Lane, asked_ns: u64, applied: Vec<Applied>, runs: bool) -> Result<bool> {
        self.firing.remove(lane);
        let mut stop = false;
        let mut noted = Ok(());
        for Applied { step, at, seen, touched } in applied {
            if !touched {
                // Not ours to undo: somebody else had changed the container first.
                let (ours, theirs) = self.active.iter().partition(|(id, _)| *id != step);
                self.active = ours;
                let theirs: Vec<(u32, Option<u32>)> = theirs;
                self.unowed.extend(theirs.into_iter().filter_map(|(_, key)| key));
            }
            if let Some(evidence) = seen {
                noted = noted.and(self.scribe.note(Event::Evidence { step, evidence }));
            }
            match at {
                Ok(at_ns) => {
                    self.onset_ns = Some(self.onset_ns.map_or(at_ns, |first_ns| first_ns.min(at_ns)));
                    self.lapses.applied_again(step);
                    if self.plan.step(step).is_some_and(|(_, step)| step.apply.ends_processes()) {
                        self.lapses.ends(&lane.container);
                    }
                    noted = noted.and(self.scribe.note(Event::Applied { step, asked_ns, at_ns }));
                }
                Err(error) if self.lapses.has(step) => {
                    // To a container that has ended again it will be applied when that starts again.
                    if runs {
                        stop = true;
                        let why = format!("it could not be applied again: {}", error.chain());
                        noted = noted.and(self.scribe.note(Event::Lost { step, why }));
                    }
                }
                Err(error) => {
                    stop = true;
                    noted = noted.and(self.scribe.note(Event::NotApplied { step, why: error.chain() }));
                }
            }
        }
        noted.map(|()| stop)
    }

    /// Takes all that is in effect back, each lane on its own, and strikes out what was verified. Whatever fails to be
    /// written down keeps nothing from being taken back.
    pub async fn take_back(&mut self) -> Result<()> {
        if self.active.is_empty() && self.firing.is_empty() {
            return self.settle(Vec::new()).await;
        }
        self.healing = true;
        // A second Ctrl-C hurries.
        let mut noted = self.catch_up();
        noted = noted.and(self.end_lapses());
        let mut due = self.active_lanes();
        let mut under_way = 0;
        let mut settled = Vec::new();
        loop {
            // What is being fired is taken back when that is over, one way or the other.
            let ready: Vec<Lane> = due.keys().filter(|lane| !self.firing.contains(*lane)).cloned().collect();
            for lane in ready {
                let steps = due.remove(&lane).unwrap_or_default();
                self.begin_undo(lane, steps);
                under_way += 1;
            }
            if under_way == 0 && due.is_empty() && self.firing.is_empty() {
                break;
            }
            match self.turn(u64::MAX).await {
                Ok(Turn::Done(Done::Back { asked_ns, back })) => {
                    under_way -= 1;
                    for back in back {
                        noted = noted.and(self.took_back(asked_ns, back, &mut settled));
                    }
                }
                Ok(Turn::Done(Done::Fired { lane, asked_ns, applied, runs })) => {
                    noted = noted.and(self.fired(&lane, asked_ns, applied, runs).map(drop));
                    // What turned out not to be ours is left alone.
                    let active = self.active_lanes().remove(&lane);
                    match active {
                        Some(steps) => drop(due.insert(lane, steps)),
                        None => drop(due.remove(&lane)),
                    }
                }
                Ok(_) => {}
                Err(error) => noted = noted.and(Err(error)),
            }
        }
        let ended: Vec<String> = self
            .active
            .iter()
            .filter_map(|(id, _)| self.plan.step(*id).map(|(_, step)| step))
            .filter(|step| step.apply.ends_processes())
            .map(|step| step.container.clone())
            .collect();
        for container in ended {
            self.injector.restarted(&container);
        }
        self.active.clear();
        self.gone.clear();
        self.looked_at.clear();
        self.steady = None;
        let struck = self.settle(settled).await;
        self.healing = false;
        struck.and(noted)
    }

    /// Steps in effect by their lanes, in the order applied.
    fn active_lanes(&self) -> BTreeMap<Lane, Vec<Step>> {
        lanes(self.active.iter().filter_map(|(id, _)| self.plan.step(*id).map(|(_, step)| step)))
    }

    fn begin_undo(&mut self, lane: Lane, steps: Vec<Step>) {
        let haste = if self.interrupts < 2 { Haste::Looking } else { Haste::Hurried };
        let (injector, asked_ns) = (Arc::clone(&self.injector), self.scribe.now_ns());
        self.errands.spawn(async move {
            let back = injector.take_back(&lane, &steps, haste).await;
            Done::Back { asked_ns, back }
        });
    }

    fn took_back(&mut self, asked_ns: u64, back: TakenBack, settled: &mut Vec<u32>) -> Result<()> {
        let TakenBack { step, result, evidence, expired } = back;
        let mut noted = Ok(());
        // A runner that hung until then, or heard of it only now, has not noted it yet.
        if expired && self.gone.insert(step) {
            noted = self.scribe.note(Event::Lost { step, why: DEADLINE.into() });
        }
        if let Some(evidence) = evidence
            && !self.looked_at.contains(&step)
        {
            noted = noted.and(self.scribe.note(Event::Evidence { step, evidence }));
        }
        let reversible = self.plan.step(step).is_some_and(|(_, step)| step.undo.is_some());
        let unhealed = |why: String| Event::Unhealed { step, why, command: heal::command(self.run) };
        let event = match result {
            Ok((at_ns, true)) => {
                self.last_undo_ns = self.last_undo_ns.max(at_ns);
                self.just_undone = true;
                settled.extend(self.active.iter().filter(|(id, _)| *id == step).filter_map(|(_, key)| *key));
                if !reversible {
                    return noted;
                }
                Event::Undone { step, asked_ns: asked_ns.min(at_ns), at_ns, verified: true }
            }
            Ok((_, false)) => unhealed("something of it is left".into()),
            Err(error) => unhealed(error.chain()),
        };
        noted.and(self.scribe.note(event))
    }

    /// Strikes debts out.
    async fn settle(&mut self, mut keys: Vec<u32>) -> Result<()> {
        keys.append(&mut self.unowed);
        if keys.is_empty() {
            return Ok(());
        }
        let books = self.books.clone();
        let (struck, turned) = self.finish(async move { books.settle(keys).await }).await;
        struck.and(turned.map(drop))
    }

    /// Notes that active steps ended by themselves; true if there were any: what follows would be judged
    /// as if they were still in effect.
    pub fn lost(&mut self, which: impl Fn(&Step) -> bool, why: &str) -> Result<bool> {
        // What is being taken back is lost to nobody.
        if self.healing {
            return Ok(false);
        }
        let lost: Vec<u32> = self
            .active
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| self.plan.step(*id).is_some_and(|(_, step)| which(step)))
            .collect();
        for step in &lost {
            self.gone.insert(*step);
            self.scribe.note(Event::Lost { step: *step, why: why.into() })?;
        }
        Ok(!lost.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_told_ahead_and_one_is_not() {
        for (lanes, expected_ms) in [(0, 0), (1, 0), (2, 8), (50, 200), (100, 400), (200, 500)] {
            assert_eq!(ahead_ns(lanes), expected_ms * 1_000_000, "{lanes} lanes");
        }
    }
}
