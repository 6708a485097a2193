//! The blast radius: how much of what is hit, and whether `limits` allow it. Pure; asked when planning, and again
//! when the containers are found, since a service may have lost replicas meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use super::inventory::Container;
use super::{FaultPlan, PhasePlan, Share};
use crate::error::Span;
use crate::spec::{Limits, TargetLimit};
use crate::units::Duration;

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

/// An agent undoes its steps this long after the longest its phase may take, whatever happens to us.
const SLACK: Duration = Duration::from_s(30);
/// The least of it: a runner that is busy heals late, and what it heals is no loss.
const LEAST_SLACK: Duration = Duration::from_s(5);

/// How long after it was fired an agent undoes a step by itself, in a run whose longest phase with faults may take
/// `longest`: by the limit on faults, as far as that leaves the runner time to do it first.
pub fn deadline(limits: &Limits, longest: Duration) -> Duration {
    let usual = longest + SLACK;
    limits.fault.as_ref().map_or(usual, |limit| limit.value.clamp(longest + LEAST_SLACK, usual))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::step::{Op, Step};
    use crate::spec::{Located, OnRestart, fragment};

    fn limits(targets: Option<TargetLimit>, containers: Option<u32>) -> Limits {
        let span = Span::default();
        Limits {
            targets: targets.map(|value| Located { value, span }),
            containers: containers.map(|value| Located { value, span }),
            ..Limits::default()
        }
    }

    /// So many containers of service `api`, and a phase that pauses the first `hit` of them.
    fn scene(there: usize, hit: usize) -> (Vec<Container>, PhasePlan, FaultPlan) {
        let container = |number: usize| Container {
            name: format!("api-{number}"),
            image: "shop".into(),
            labels: BTreeMap::new(),
            service: Some("api".into()),
            networks: Vec::new(),
            restart_policy: "no".into(),
            host_network: false,
            held_by: None,
            protected: false,
        };
        let step = |number: usize| Step {
            id: number as u32,
            container: format!("api-{number}"),
            apply: Op::Pause,
            undo: Some(Op::Unpause),
        };
        let phase = PhasePlan {
            name: "broken".into(),
            starts: Duration::ZERO,
            longest: Duration::from_s(1),
            until_steady: false,
            find_rate: None,
            faults: vec![0],
            on_restart: OnRestart::Reapply,
        };
        let fault = FaultPlan {
            name: "broken/pause".into(),
            kind: "pause".into(),
            summary: String::new(),
            fault: fragment("pause: { on: apis }").unwrap(),
            engine: None,
            reach: None,
            steps: (0..hit).map(step).collect(),
        };
        ((0..there).map(container).collect(), phase, fault)
    }

    #[test]
    fn limits_go_by_what_is_there() {
        let half = TargetLimit::Share("50%".parse().unwrap());
        // Planned with four there; when it is applied some may be gone.
        for (limits, there, hit, refused) in [
            (limits(Some(half), None), 4, 2, ""),
            (
                limits(Some(half), None),
                3,
                2,
                "phase `broken` hits 2 of 3 containers of `api`; `limits.targets: 50%` allows 1",
            ),
            (limits(Some(TargetLimit::Count(2)), None), 2, 2, ""),
            (
                limits(Some(TargetLimit::Count(1)), None),
                4,
                2,
                "phase `broken` hits 2 of 4 containers of `api`; `limits.targets: 1` allows 1",
            ),
            (limits(None, Some(2)), 2, 2, ""),
            (limits(None, Some(1)), 4, 2, "phase `broken` hits 2 containers; `limits.containers` allows 1"),
        ] {
            let (containers, phase, fault) = scene(there, hit);
            let (_, excesses) = shares(&limits, &[phase], &[fault], &containers);
            let said: Vec<&str> = excesses.iter().map(|excess| excess.message.as_str()).collect();
            assert_eq!(said.join("; "), refused, "{hit} of {there}");
        }
    }

    #[test]
    fn agents_keep_the_limit_on_faults_but_leave_the_runner_time() {
        let s = Duration::from_s;
        for (limit, longest, expected) in [
            (None, s(10), s(40)),
            (Some(s(10)), s(10), s(15)),
            (Some(s(20)), s(10), s(20)),
            (Some(s(300)), s(10), s(40)),
        ] {
            let fault = limit.map(|value| Located { value, span: Span::default() });
            assert_eq!(deadline(&Limits { fault, ..Limits::default() }, longest), expected, "{limit:?}");
        }
    }
}
