//! Guards beside the load: probes that fail several times in a row, and containers that say they are unhealthy.

use std::collections::BTreeMap;

use crate::docker::Docker;
use crate::error::{Error, Result};
use crate::event::Measured;
use crate::inject::Bound;
use crate::plan::Plan;
use crate::spec::Guard;

/// How Docker's event of a health check's new outcome begins.
const HEALTH_EVENT: &str = "health_status: ";
/// What Docker calls a container whose health check failed too often.
const UNHEALTHY: &str = "unhealthy";

/// What guards beside the load go by.
pub(super) struct Vitals<'p> {
    plan: &'p Plan,
    /// Failures in a row, by probe.
    failures: BTreeMap<String, u32>,
    /// What its health check says, by container.
    health: BTreeMap<String, String>,
}

impl<'p> Vitals<'p> {
    /// Nothing is known yet.
    pub const fn of(plan: &'p Plan) -> Self {
        Self { plan, failures: BTreeMap::new(), health: BTreeMap::new() }
    }

    /// Looks at the containers that guards are about.
    ///
    /// # Errors
    /// One of them has no health check, or the daemon does not answer.
    pub async fn look(docker: &Docker, plan: &'p Plan, bound: &BTreeMap<String, Bound>) -> Result<Self> {
        let mut health = BTreeMap::new();
        for name in watched(plan) {
            let Some(container) = bound.get(name) else { continue };
            let Some(says) = docker.health(&container.id).await? else {
                return Err(Error::environment(format!(
                    "a guard goes by the health of {name}, which has no health check"
                ))
                .hint("give the container a HEALTHCHECK, or guard by a `probe`"));
            };
            health.insert(name.to_owned(), says);
        }
        Ok(Self { health, ..Self::of(plan) })
    }

    /// Takes note of a probe's answer. One that could not be asked says nothing.
    pub fn answered(&mut self, probe: &str, ok: Option<bool>) {
        match ok {
            Some(true) => drop(self.failures.remove(probe)),
            Some(false) => *self.failures.entry(probe.into()).or_default() += 1,
            None => {}
        }
    }

    /// Takes note of what Docker says of a container.
    pub fn happened(&mut self, container: &str, action: &str) {
        if let (Some(says), Some(known)) = (action.strip_prefix(HEALTH_EVENT), self.health.get_mut(container))
        {
            *known = says.to_owned();
        }
    }

    /// Every guard beside the load with its present value.
    pub fn guards(&self) -> Vec<Measured> {
        let measured = |guard: &Guard| match guard {
            Guard::Check(_) => None,
            Guard::Probe(probe) => {
                let failures = self.failures.get(&probe.probe.to_string()).copied().unwrap_or_default();
                let most = probe.failures.value;
                Some((format!("{failures} failures"), format!("{most} failures"), failures >= most))
            }
            Guard::Unhealthy(target) => {
                let containers = self.plan.targets.get(&target.unhealthy.value)?;
                let unwell = containers
                    .iter()
                    .find(|name| self.health.get(*name).is_some_and(|says| says == UNHEALTHY));
                let value = unwell.map_or("none".to_owned(), |name| format!("{name} is"));
                Some((value, UNHEALTHY.to_owned(), unwell.is_some()))
            }
        };
        let abort = self.plan.abort.iter();
        abort
            .filter_map(|guard| {
                let (value, threshold, fires) = measured(guard)?;
                Some(Measured { check: guard.to_string(), value: Some(value), threshold, holds: Some(fires) })
            })
            .collect()
    }
}

/// The containers whose health guards go by.
pub(super) fn watched(plan: &Plan) -> impl Iterator<Item = &str> {
    let targets = plan.abort.iter().filter_map(|guard| match guard {
        Guard::Unhealthy(guard) => plan.targets.get(&guard.unhealthy.value),
        Guard::Check(_) | Guard::Probe(_) => None,
    });
    targets.flatten().map(String::as_str)
}
