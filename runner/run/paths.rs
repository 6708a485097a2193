//! Looking who reaches whom around the faults that are about that, and noting what was seen.
//!
//! Before anything is done, just before such a fault is taken back, and after. A run that ends in a hurry does
//! not look: healing comes first.

use std::collections::BTreeMap;

use super::live::{Live, broke};
use super::scribe::Scribe;
use crate::error::Result;
use crate::event::{Event, Look};
use crate::fault::reach::Reach;
use crate::fault::step::Step;
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
            note(scribe, fault, Look::Before, reach.clone())?;
            seen.insert(fault.name.clone(), reach);
        }
    }
    Ok(seen)
}

fn note(scribe: &mut Scribe, fault: &FaultPlan, when: Look, reach: Reach) -> Result<()> {
    scribe.note(Event::Reach { fault: fault.name.clone(), when, reach })
}

impl Live<'_> {
    /// Looks at the phase's faults that are about who reaches whom. During them what their steps saw is noted
    /// first and for good: our own packets are lost like any other, and must not count as the target's.
    pub(super) async fn look_who_reaches(&mut self, phase: &PhasePlan, when: Look) -> Result<()> {
        let plan = self.plan;
        for fault in phase.faults.iter().map(|index| &plan.faults[*index]) {
            let (Some(reach), Some(before)) = (&fault.reach, self.before.get(&fault.name)) else { continue };
            let hoped = match when {
                Look::Before | Look::After => before.clone(),
                Look::During => Reach::new(reach.members.clone(), |from, to| {
                    reach.reaches(from, to) && before.reaches(from, to)
                }),
            };
            if when == Look::During {
                let steps: Vec<&Step> = fault.steps.iter().collect();
                for (step, evidence) in self.injector.look(&steps).await {
                    self.looked_at.insert(step);
                    self.scribe.note(Event::Evidence { step, evidence })?;
                }
            }
            // What could not be looked at proves nothing, and the judgement says so; the run goes on to heal.
            match self.injector.reach(when, &hoped).await {
                Ok(seen) => note(self.scribe, fault, when, seen)?,
                Err(error) => self.scribe.note(broke(&error))?,
            }
        }
        Ok(())
    }
}
