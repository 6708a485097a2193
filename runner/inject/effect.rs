//! Putting armed steps into effect, looking at them, and taking them back.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::{Applied, Haste, Injector, Lane, Post, TakenBack, post, surprise};
use crate::agent::wire::{Command, Outcome};
use crate::error::{Error, Result};
use crate::event::Evidence;
use crate::fault::step::{Op, Step};
use crate::heal;

impl Injector {
    /// Puts the armed steps of one lane into effect at `at_ns` of the run's clock, at once if that is over; one answer
    /// each, in the order given. What they owe must be in the ledger.
    pub async fn fire(&self, lane: &Lane, steps: &[Step], at_ns: u64) -> Vec<Applied> {
        match lane.place {
            Some(place) => {
                let ids = steps.iter().map(|step| step.id).collect();
                self.fire_agent((lane.container.clone(), place), ids, at_ns).await
            }
            None => self.fire_docker(&lane.container, steps.iter().collect(), at_ns).await,
        }
    }

    async fn fire_agent(&self, post: Post, steps: Vec<u32>, at_ns: u64) -> Vec<Applied> {
        let fired = match self.link(&post) {
            Some(link) => link
                .call(Command::Fire {
                    steps: steps.clone(),
                    at_ns: Some(link.their_instant(self.clock, at_ns)),
                })
                .await
                .map(|outcome| (link, outcome))
                .map_err(|error| error.to_string()),
            None => Err("its agent was never armed".into()),
        };
        steps
            .into_iter()
            .map(|step| {
                let at = match &fired {
                    Ok((link, Outcome::Fired(instants))) => instants
                        .get(&step)
                        .map(|at_ns| link.instant(self.clock, *at_ns))
                        .ok_or_else(|| Error::environment("the agent did not fire it")),
                    Ok((_, other)) => Err(surprise(other)),
                    Err(why) => Err(Error::environment(why.clone())),
                };
                Applied { step, at, seen: None, touched: true }
            })
            .collect()
    }

    /// What can be seen of steps in effect, one answer each where there is one.
    pub async fn look(&self, steps: &[impl Borrow<Step>]) -> Vec<(u32, Evidence)> {
        let looks = steps.iter().map(|step| self.look_at(step.borrow().clone()));
        join_all(looks).await.into_iter().flatten().collect()
    }

    async fn look_at(&self, step: Step) -> Option<(u32, Evidence)> {
        let Some(post) = post(&step) else { return Some((step.id, self.look_by_docker(&step).await?)) };
        match self.link(&post)?.call(Command::Read { steps: vec![step.id] }).await {
            Ok(Outcome::Counters(counters)) => {
                Some((step.id, Evidence::Packets(counters.get(&step.id)?.clone())))
            }
            _ => None,
        }
    }

    /// Takes the steps of one lane back, the last one first, looking at each just before; one answer each. Where an
    /// agent is gone, another one looks.
    pub async fn take_back(&self, lane: &Lane, steps: &[Step], haste: Haste) -> Vec<TakenBack> {
        let steps: Vec<&Step> = steps.iter().rev().collect();
        match lane.place {
            Some(place) => self.take_back_by_agent(&(lane.container.clone(), place), &steps, haste).await,
            None => {
                let mut back = Vec::new();
                for step in steps {
                    back.push(self.take_back_by_docker(step, haste).await);
                }
                back
            }
        }
    }

    async fn take_back_by_agent(&self, post: &Post, steps: &[&Step], haste: Haste) -> Vec<TakenBack> {
        let ids: Vec<u32> = steps.iter().map(|step| step.id).collect();
        let stale = self.book().stale.contains(post);
        if !stale
            && let Some(link) = self.link(post)
            && let Ok(Outcome::Undone(undone)) = link.call(Command::Undo { steps: ids.clone() }).await
        {
            return ids
                .into_iter()
                .map(|step| {
                    let expired = link.expired(step);
                    match undone.get(&step).or(expired.as_ref()) {
                        Some(undone) => TakenBack {
                            step,
                            result: Ok((link.instant(self.clock, undone.at_ns), undone.verified)),
                            evidence: Some(Evidence::Packets(undone.counters.clone())),
                            expired: expired.is_some(),
                        },
                        // It was not in effect.
                        None => TakenBack {
                            step,
                            result: Ok((self.clock.now_ns(), true)),
                            evidence: None,
                            expired: false,
                        },
                    }
                })
                .collect();
        }
        // The agent of an older namespace, if it lives, still knows what it did there.
        let seen: BTreeMap<u32, Evidence> = match (stale, haste) {
            (true, Haste::Looking) => self.look(steps).await.into_iter().collect(),
            _ => BTreeMap::new(),
        };
        // The agent is gone, hangs, or is of an older namespace. It goes for good, and with it what it owns;
        // another one removes whatever is left.
        let healed = self.heal_steps(post, steps).await;
        let at_ns = self.clock.now_ns();
        let result = healed.map_err(|error| error.to_string());
        ids.into_iter()
            .map(|step| TakenBack {
                step,
                result: result.clone().map(|verified| (at_ns, verified)).map_err(Error::environment),
                evidence: seen.get(&step).cloned(),
                expired: false,
            })
            .collect()
    }

    /// Undoes steps without the agent that did them; true if a look found nothing of them left.
    async fn heal_steps(&self, post: &Post, steps: &[&Step]) -> Result<bool> {
        let container = &post.0;
        self.remove_agent(post).await?;
        let id = &self.id(container)?;
        let mut undos: Vec<Op> = Vec::new();
        for undo in steps.iter().filter_map(|step| self.undo_of(step)) {
            // One clearing is for all steps.
            if !undos.contains(&undo) {
                undos.push(undo);
            }
        }
        let mut whole = true;
        for undo in undos {
            whole &= heal::undo(&self.docker, &self.run, &self.tag, container, id, &undo).await?;
        }
        Ok(whole)
    }
}
