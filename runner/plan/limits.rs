//! The blast radius: how much of what is hit, and whether `limits` allow it. Pure; asked when planning, and again
//! when the containers are found, since a service may have lost replicas meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use super::inventory::Container;
use super::{FaultPlan, PhasePlan, Share};
use crate::error::Span;
use crate::spec::{Limits, TargetLimit};

/// A limit that is exceeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Where the experiment says it.
    pub span: Span,
    /// What exceeds it.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// How much of each service is hit, at worst in any one phase, and what of it `limits` forbid.
pub fn shares(
    limits: &Limits,
    phases: &[PhasePlan],
    faults: &[FaultPlan],
    containers: &[Container],
) -> (Vec<Share>, Vec<Excess>) {
    let service_of =
        |container: &Container| container.service.clone().unwrap_or_else(|| container.name.clone());
    let mut members = BTreeMap::<String, BTreeSet<String>>::new();
    let mut services = BTreeMap::<&str, String>::new();
    for container in containers {
        members.entry(service_of(container)).or_default().insert(container.name.clone());
        services.insert(&container.name, service_of(container));
    }
    let (mut worst, mut excesses) = (BTreeMap::<String, u32>::new(), Vec::new());
    for phase in phases {
        let hit: BTreeSet<&str> = phase
            .faults
            .iter()
            .flat_map(|fault| &faults[*fault].steps)
            .map(|step| step.container.as_str())
            .collect();
        excesses.extend(too_many(limits, &phase.name, hit.len()));
        let mut here = BTreeMap::<String, u32>::new();
        for name in hit {
            *here.entry(services.get(name).cloned().unwrap_or_else(|| name.to_owned())).or_default() += 1;
        }
        for (service, hit) in here {
            let of = members.get(&service).map_or(hit, |members| members.len() as u32);
            excesses.extend(too_much(limits, &phase.name, &service, hit, of));
            let entry = worst.entry(service).or_default();
            *entry = (*entry).max(hit);
        }
    }
    let shares = worst
        .into_iter()
        .map(|(service, hit)| {
            let containers: Vec<String> = members.remove(&service).into_iter().flatten().collect();
            let of = if containers.is_empty() { hit } else { containers.len() as u32 };
            Share { service, hit, of, containers }
        })
        .collect();
    (shares, excesses)
}

fn too_many(limits: &Limits, phase: &str, hit: usize) -> Option<Excess> {
    let limit = limits.containers.as_ref()?;
    (hit > limit.value as usize).then(|| Excess {
        span: limit.span,
        message: format!("phase `{phase}` hits {hit} containers; `limits.containers` allows {}", limit.value),
        hint: "pick fewer containers, or widen the limit if that is what you want to know",
    })
}

fn too_much(limits: &Limits, phase: &str, service: &str, hit: u32, of: u32) -> Option<Excess> {
    let limit = limits.targets.as_ref()?;
    let most = match limit.value {
        TargetLimit::Count(count) => count,
        TargetLimit::Share(share) => (share.get() * f64::from(of)).floor() as u32,
    };
    let limit_text = String::from(limit.value);
    (hit > most).then(|| Excess {
        span: limit.span,
        message: format!(
            "phase `{phase}` hits {hit} of {of} containers of `{service}`; `limits.targets: {limit_text}` allows {most}"
        ),
        hint: "pick fewer containers, or widen the limit if that is what you want to know",
    })
}
