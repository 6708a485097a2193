//! Looking who reaches whom around the faults that are about that, and noting what was seen.
//!
//! Before anything is done, just before such a fault is taken back, and after. A run that ends in a hurry does
//! not look: healing comes first.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::live::{Live, Stop, broke};
use super::scribe::Scribe;
use crate::error::Result;
use crate::event::{Event, Look};
use crate::fault::reach::Reach;
use crate::inject::Injector;
use crate::plan::{FaultPlan, PhasePlan, Plan};

/// Who reached whom before anything was done, by fault.
pub(super) type Before = BTreeMap<String, Reach>;

/// Looks for every fault of the plan that is about that, with agents that are armed already.
pub(super) async fn before(plan: &Plan, injector: &Injector, scribe: &mut Scribe) -> Result<Before> {
    let mut seen = Before::new();
    for fault in &plan.faults {
        if let Some(reach) = &fault.reach {
            let everyone = Reach::new(reach.members.clone(), |_, _| true);
            let reach = injector.reach(Look::Before, &everyone).await?;
            let unheard = injector.unheard(&reach);
            scribe.note(event(fault, Look::Before, reach.clone(), unheard))?;
            seen.insert(fault.name.clone(), reach);
        }
    }
    Ok(seen)
}

fn event(fault: &FaultPlan, when: Look, reach: Reach, unheard: u32) -> Event {
    Event::Reach { fault: fault.name.clone(), when, reach, unheard }
}

impl Live<'_> {
    /// Looks at the phase's faults that are about who reaches whom, unless the run must stop meanwhile. During them
    /// what their steps saw is noted first and for good: our own packets are lost like any other, and must not count
    /// as the target's.
    pub(super) async fn look_who_reaches(&mut self, phase: &PhasePlan, when: Look) -> Result<Option<Stop>> {
        let plan = self.plan;
        for fault in phase.faults.iter().map(|index| &plan.faults[*index]) {
            let (Some(reach), Some(before)) = (&fault.reach, self.before.get(&fault.name)) else { continue };
            let hoped = match when {
                Look::Before | Look::After => before.clone(),
                Look::During => Reach::new(reach.members.clone(), |from, to| {
                    reach.reaches(from, to) && before.reaches(from, to)
                }),
            };
            let injector = Arc::clone(&self.injector);
            let steps = if when == Look::During { fault.steps.clone() } else { Vec::new() };
            let looked = self.attend(async move {
                let evidence = injector.look(&steps).await;
                (evidence, injector.reach(when, &hoped).await)
            });
            let Some((evidence, seen)) = looked.await? else { return Ok(Some(Stop::Early)) };
            for (step, evidence) in evidence {
                self.looked_at.insert(step);
                self.scribe.note(Event::Evidence { step, evidence })?;
            }
            // What could not be looked at proves nothing, and the judgement says so; the run goes on to heal.
            match seen {
                Ok(seen) => self.scribe.note(event(fault, when, seen, 0))?,
                Err(error) => self.scribe.note(broke(&error))?,
            }
        }
        Ok(None)
    }
}
