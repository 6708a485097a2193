//! `cpu`: the container gets less CPU than it has.

use super::step::{Limit, Op};
use super::{Cast, Change, FaultKind, cgroups};
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::amount::CpuAmount;
use crate::spec::decode::Mistakes;

record! {
    /// Takes CPU away from the target, by lowering its quota through Docker's API. The former quota is
    /// written back when the phase ends (Docker then shows a quota of -1 where there was none: the same).
    pub struct Cpu ("cpu") {
        /// The target.
        pub on: Located<String>,
        /// How much CPU it may use from now on: cores (`0.5`), or a share of what it has (`20%`). At least
        /// 0.01 cores.
        pub throttle: Located<CpuAmount>,
    }
}

/// The least that the kernel takes: a millisecond in each of its usual periods of 100 ms.
const LEAST_CORES: f64 = 0.01;

impl FaultKind for Cpu {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let change = |container: &String| Change {
            container: container.clone(),
            apply: Op::Limit(Limit::Cpu(self.throttle.value)),
            undo: Some(Op::Unlimit(None)),
        };
        cast.containers(&self.on).iter().map(change).collect()
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(Engine::Docker)
    }

    fn summary(&self) -> String {
        match self.throttle.value {
            CpuAmount::Cores(cores) => format!("{} has {cores} cores", self.on.value),
            CpuAmount::Share(share) => format!("{} has {share} of its CPU", self.on.value),
        }
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        // A quota that nobody came up against took nothing from anybody.
        let seen = cgroups(evidence);
        let Some(before) = seen.first() else { return false };
        seen[1..].iter().any(|after| {
            // A container that was started anew counts from nothing.
            let anew = after.cpu_periods < before.cpu_periods;
            after.throttled_periods > if anew { 0 } else { before.throttled_periods }
        })
    }

    fn check(&self, mistakes: &mut Mistakes) {
        let too_little = match self.throttle.value {
            CpuAmount::Cores(cores) => cores < LEAST_CORES,
            CpuAmount::Share(share) => share.get() == 0.0,
        };
        if too_little {
            let message = format!("`throttle` must leave something, got `{}`", self.throttle.value);
            mistakes.add(self.throttle.span, message, "write `0.01` or more, or use `pause`");
        }
    }
}
