//! The plan: what a run will do, decided before it does anything.
//!
//! A pure function of the experiment, the inventory and the seed: targets chosen, faults turned into
//! numbered steps, times fixed. The same three give the same plan, byte for byte. It names containers as
//! people do and holds no ids or addresses; those are bound when steps are armed.

mod build;
pub mod inventory;
pub mod limits;
mod render;
mod select;
mod words;

pub use build::{Refusal, build};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::agent::wire::Engine;
use crate::fault::reach::Reach;
use crate::fault::step::Step;
use crate::spec::decode::Named;
use crate::spec::expr::{Check, Condition};
use crate::spec::{FindRate, Guard, Lab, Limits, Load, Located, OnRestart, Probe, Slo, Steady};
use crate::units::Duration;

/// What a run will do. Saved whole in the journal's first event: verdict and reports need nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The experiment's claim.
    pub experiment: String,
    /// Why it is worth knowing.
    pub why: Option<String>,
    /// Seed of every random choice.
    pub seed: u64,
    /// The system to start, if any.
    pub lab: Option<Lab>,
    /// Chosen containers by target name, sorted.
    pub targets: BTreeMap<String, Vec<String>>,
    /// For each service that is hit: how many of its containers.
    pub shares: Vec<Share>,
    /// The loads, in file order.
    pub loads: Vec<LoadPlan>,
    /// The SLOs, in file order.
    pub slos: Named<Slo>,
    /// The steady state.
    pub steady_state: Vec<Steady>,
    /// The named probes, in file order.
    #[serde(default, skip_serializing_if = "Named::is_empty")]
    pub probes: Named<Probe>,
    /// The phases, in order.
    pub phases: Vec<PhasePlan>,
    /// The faults, in order of phase and file.
    pub faults: Vec<FaultPlan>,
    /// The guards.
    pub abort: Vec<Guard>,
    /// Expectations by phase name. Phases that are judged by the steady state itself are not in it.
    pub expect: Named<Vec<Located<Check>>>,
    /// Bounds on the damage, already checked.
    pub limits: Limits,
    /// What is worth knowing before this runs, as "api-1 is not started again: …".
    pub notes: Vec<String>,
}

/// How much of a service is hit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The service; the container's own name where it belongs to none.
    pub service: String,
    /// Containers of it that some fault hits.
    pub hit: u32,
    /// Containers of it that there are.
    pub of: u32,
    /// Their names, sorted; empty in plans of older versions.
    #[serde(default)]
    pub containers: Vec<String>,
}

/// A load, ready to be scheduled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadPlan {
    /// Its name.
    pub name: String,
    /// What the experiment says of it.
    pub load: Load,
    /// Seed of its arrivals, weights and templates.
    pub seed: u64,
    /// The conditions of the SLOs measured on it, by SLO name.
    pub slos: Vec<(String, Condition)>,
    /// Arrivals expected over the longest the run can take; nothing of a closed model, whose users wait for
    /// answers, of a replay, whose file is not part of the plan, and of a load whose rate is searched.
    pub expected_requests: Option<u64>,
}

/// A phase with its faults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhasePlan {
    /// Its name.
    pub name: String,
    /// Its earliest possible start, from the run's first phase.
    pub starts: Duration,
    /// The longest it can last.
    pub longest: Duration,
    /// True if it ends as soon as the steady state holds.
    pub until_steady: bool,
    /// The search for a rate that ends it, if it is for that.
    #[serde(default)]
    pub find_rate: Option<FindRate>,
    /// Its faults, as indices into [`Plan::faults`].
    pub faults: Vec<usize>,
    /// What becomes of them on a container that is started anew.
    #[serde(default = "reapply")]
    pub on_restart: OnRestart,
}

/// What plans made before there was a choice meant.
const fn reapply() -> OnRestart {
    OnRestart::Reapply
}

/// A fault with its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultPlan {
    /// `PHASE/KIND`, with `#2` and so on where a phase has several of a kind.
    pub name: String,
    /// The kind's word.
    pub kind: String,
    /// One line for people.
    pub summary: String,
    /// As written.
    pub fault: crate::fault::Fault,
    /// What will carry it out as far as is known; the journal has what did.
    pub engine: Option<Engine>,
    /// Who reaches whom among its containers while it is in effect, if it is about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reach>,
    /// Its changes, in the order of application.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The step with this number and its fault.
    pub fn step(&self, id: u32) -> Option<(&FaultPlan, &Step)> {
        self.faults
            .iter()
            .find_map(|fault| fault.steps.iter().find(|step| step.id == id).map(|step| (fault, step)))
    }

    /// The phase called `name`.
    pub fn phase(&self, name: &str) -> Option<&PhasePlan> {
        self.phases.iter().find(|phase| phase.name == name)
    }
}
