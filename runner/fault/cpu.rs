//! `cpu`: the container's CPU is used up, or it gets less of it.

use super::step::{Limit, Op};
use super::{Cast, Change, FaultKind, cgroups, counted};
use crate::agent::task::Task;
use crate::agent::task::burn::Burn;
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::amount::CpuAmount;
use crate::spec::decode::Mistakes;

record! {
    /// Takes CPU away from the target, one way or the other: `burn` has a process of ours enter its cgroup and use
    /// up its quota; `throttle` lowers the quota through Docker's API. The former quota is written back when the
    /// phase ends (Docker then shows a quota of -1 where there was none: the same).
    pub struct Cpu ("cpu") {
        /// The target.
        pub on: Located<String>,
        /// How much to use up: cores (`2`, `0.5`), or a share of the target's quota as it is meanwhile (`90%`;
        /// without a quota, of all the CPUs it may run on). What its own processes use comes on top.
        pub burn: Option<Located<CpuAmount>>,
        /// How much CPU it may use from now on: cores (`0.5`), or a share of what it has (`20%`). At least
        /// 0.01 cores.
        pub throttle: Option<Located<CpuAmount>>,
    }
}

/// The least that the kernel takes: a millisecond in each of its usual periods of 100 ms.
const LEAST_CORES: f64 = 0.01;

/// The least of a core that is worth the name.
const LEAST_BURN: f64 = 0.001;

/// Either way to take CPU.
enum Way {
    Burn(CpuAmount),
    Throttle(CpuAmount),
}

impl Cpu {
    /// The way asked for; a fault that passed [`FaultKind::check`] has one.
    fn way(&self) -> Way {
        match (&self.burn, &self.throttle) {
            (Some(burn), _) => Way::Burn(burn.value),
            (None, Some(throttle)) => Way::Throttle(throttle.value),
            (None, None) => Way::Burn(CpuAmount::Cores(0.0)),
        }
    }
}

impl FaultKind for Cpu {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let (apply, undo) = match self.way() {
            Way::Burn(amount) => {
                let burn = Task::Burn(Burn { amount });
                (Op::Inside(burn.clone()), Op::Restore(burn))
            }
            Way::Throttle(amount) => (Op::Limit(Limit::Cpu(amount)), Op::Unlimit(None)),
        };
        cast.same(&self.on, &apply, Some(&undo))
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(match self.way() {
            Way::Burn(_) => Engine::Cgroup,
            Way::Throttle(_) => Engine::Docker,
        })
    }

    fn summary(&self) -> String {
        let on = &self.on.value;
        match self.way() {
            Way::Burn(CpuAmount::Cores(cores)) => format!("{cores} cores of {on} are used up"),
            Way::Burn(CpuAmount::Share(share)) => format!("{share} of the CPU of {on} is used up"),
            Way::Throttle(CpuAmount::Cores(cores)) => format!("{on} has {cores} cores"),
            Way::Throttle(CpuAmount::Share(share)) => format!("{on} has {share} of its CPU"),
        }
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        match self.way() {
            // What was burnt must be on the target's account; its clock ticks a little after ours.
            Way::Burn(_) => counted(evidence).iter().any(|counted| {
                let of = |name: &str| counted.get(name).copied().unwrap_or_default();
                of("burnt_cpu_ms") > 0 && of("target_cpu_ms") * 10 >= of("burnt_cpu_ms") * 9
            }),
            // A quota that nobody came up against took nothing from anybody.
            Way::Throttle(_) => {
                let seen = cgroups(evidence);
                let Some(before) = seen.first() else { return false };
                seen[1..].iter().any(|after| {
                    // A container that was started anew counts from nothing.
                    let anew = after.cpu_periods < before.cpu_periods;
                    after.throttled_periods > if anew { 0 } else { before.throttled_periods }
                })
            }
        }
    }

    fn check(&self, mistakes: &mut Mistakes) {
        if self.burn.is_some() == self.throttle.is_some() {
            mistakes.add(
                self.on.span,
                "`cpu` takes exactly one of `burn` and `throttle`",
                "write `burn: 90%` to use it up, or `throttle: 20%` to lower the quota",
            );
        }
        let below = |amount: CpuAmount, least: f64| match amount {
            CpuAmount::Cores(cores) => cores < least,
            CpuAmount::Share(share) => share.get() == 0.0,
        };
        if let Some(throttle) = self.throttle.as_ref().filter(|amount| below(amount.value, LEAST_CORES)) {
            let message = format!("`throttle` must leave something, got `{}`", throttle.value);
            mistakes.add(throttle.span, message, "write `0.01` or more, or use `pause`");
        }
        if let Some(burn) = self.burn.as_ref().filter(|amount| below(amount.value, LEAST_BURN)) {
            let message = format!("`burn` must take something, got `{}`", burn.value);
            mistakes.add(burn.span, message, "write a share such as `50%`");
        }
    }
}
