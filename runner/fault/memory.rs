//! `memory`: the container's memory is filled, or it gets less of it.

use super::step::{BelowUse, Limit, Op};
use super::{Cast, Change, FaultKind, cgroups, counted};
use crate::agent::task::Task;
use crate::agent::task::fill::Fill;
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::amount::{ByteRate, MemoryAmount};
use crate::spec::decode::Mistakes;
use crate::units::Duration;

record! {
    /// Takes memory away from the target, one way or the other. With `fill` a process of ours enters its cgroup,
    /// takes memory until the use of it is at that level, and holds what it took in no process's name. Where memory then
    /// runs short, it is the target that lives with less, as when a neighbour within its limit leaks: the kernel takes
    /// back pages of its files, its code among them, and in the end kills its biggest process. That is seen and told,
    /// and the container is started again when the phase ends. All is given back at once, and the fault not proven,
    /// where the machine itself has less than 2% of its memory left. A target with no limit below what the machine has
    /// could take all of that: there the process of ours holds it, and is the first to be killed. `limit` lowers the
    /// limit through Docker's API: refused if the target uses more than that already; the former limit is written back
    /// when the phase ends, and a container that the kernel killed meanwhile for lack of memory is started again.
    pub struct Memory ("memory") {
        /// The target.
        pub on: Located<String>,
        /// The level to fill to: a share of its limit (`80%`), or a size (`256MiB`). Measured as `docker stats` does:
        /// file pages that nobody uses don't count.
        pub fill: Option<Located<MemoryAmount>>,
        /// How fast to fill, as `50MiB/s`. Without it as fast as the kernel gives.
        pub rate: Option<Located<ByteRate>>,
        /// Give it back this long after the level was reached. Without it when the phase ends.
        pub hold: Option<Located<Duration>>,
        /// Its memory limit from now on: a size (`64MiB`), or a share of the limit it has (`50%`). At least 6MiB,
        /// as Docker demands.
        pub limit: Option<Located<MemoryAmount>>,
        /// Lower the limit even below what is in use: the kernel takes back what it can, and then kills.
        pub below_use: bool = false,
    }
}

/// The least that Docker takes.
const LEAST_BYTES: u64 = 6 << 20;

/// Either way to take memory.
enum Way {
    Fill(MemoryAmount),
    Limit(MemoryAmount),
}

impl Memory {
    /// The way asked for; a fault that passed [`FaultKind::check`] has one.
    fn way(&self) -> Way {
        match (&self.fill, &self.limit) {
            (Some(fill), _) => Way::Fill(fill.value),
            (None, Some(limit)) => Way::Limit(limit.value),
            (None, None) => Way::Fill(MemoryAmount::Bytes(0)),
        }
    }
}

impl FaultKind for Memory {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let (apply, undo) = match self.way() {
            Way::Fill(level) => {
                let fill = Task::Fill(Fill {
                    level,
                    rate_bytes_per_s: self.rate.as_ref().map(|rate| rate.bytes_per_s()),
                    hold: self.hold.as_ref().map(|hold| hold.value),
                });
                (Op::Inside(fill.clone()), Op::Restore(fill))
            }
            Way::Limit(amount) => {
                let below = if self.below_use { BelowUse::Allow } else { BelowUse::Refuse };
                (Op::Limit(Limit::Memory(amount, below)), Op::Unlimit(None))
            }
        };
        cast.same(&self.on, &apply, Some(&undo))
    }

    fn engine(&self, _: &Kernel) -> Option<Engine> {
        Some(match self.way() {
            Way::Fill(_) => Engine::Cgroup,
            Way::Limit(_) => Engine::Docker,
        })
    }

    fn summary(&self) -> String {
        let on = &self.on.value;
        match self.way() {
            Way::Fill(level) => format!("the memory of {on} is filled to {level}"),
            Way::Limit(MemoryAmount::Share(share)) => format!("{on} has {share} of its memory"),
            Way::Limit(limit) => format!("{on} has {limit} of memory"),
        }
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        if evidence.iter().any(|seen| matches!(seen, Evidence::OutOfMemory)) {
            return true;
        }
        match self.way() {
            Way::Fill(_) => counted(evidence).iter().any(|counted| {
                let of = |name: &str| counted.get(name).copied().unwrap_or_default();
                // Full already is not ours; what was taken must be on the target's account.
                let held = of("peak_held_bytes");
                held > 0
                    && of("reached") == 1
                    && of("machine_short") == 0
                    && of("target_memory_bytes") >= of("held_bytes")
                    || of("target_oom_kills") > 0
            }),
            // Living with less is what is tried; that the kernel's limit is lower says that it did.
            Way::Limit(_) => {
                let seen = cgroups(evidence);
                seen.first().is_some_and(|before| {
                    seen[1..].iter().any(|after| after.memory_limit_bytes < before.memory_limit_bytes)
                })
            }
        }
    }

    fn check(&self, mistakes: &mut Mistakes) {
        if self.fill.is_some() == self.limit.is_some() {
            mistakes.add(
                self.on.span,
                "`memory` takes exactly one of `fill` and `limit`",
                "write `fill: 80%` to fill it, or `limit: 64MiB` to lower the limit",
            );
        }
        let spans = [self.rate.as_ref().map(|rate| rate.span), self.hold.as_ref().map(|hold| hold.span)];
        if let Some(span) = spans.into_iter().flatten().next().filter(|_| self.fill.is_none()) {
            mistakes.add(span, "`rate` and `hold` are of `fill`", "leave them out with `limit`");
        }
        let below = |amount: MemoryAmount, least: u64| match amount {
            MemoryAmount::Bytes(bytes) => bytes < least,
            MemoryAmount::Share(share) => share.get() == 0.0,
        };
        if let Some(limit) = self.limit.as_ref().filter(|limit| below(limit.value, LEAST_BYTES)) {
            let least = crate::spec::amount::size_text(LEAST_BYTES);
            let message = format!("`limit` must be at least {least}, got `{}`", limit.value);
            mistakes.add(limit.span, message, "Docker takes no less");
        }
        if let Some(fill) = self.fill.as_ref().filter(|fill| below(fill.value, 1)) {
            let message = format!("`fill` must be positive, got `{}`", fill.value);
            mistakes.add(fill.span, message, "write a share such as `80%`");
        }
    }
}
