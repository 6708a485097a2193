//! Limits of a container: what they are, changing them, and what the kernel's cgroups say of them.

use futures_util::StreamExt as _;

use super::{CALL_LIMIT, Docker, absent_is_none, api, bounded, query, short};
use crate::error::{Error, Result};
use crate::fault::found::{Cgroup, Limits};
use crate::fault::step::{BelowUse, Limit};
use crate::spec::amount::size_text;

/// The kernel's period for CPU quotas where none is set, in microseconds.
const USUAL_PERIOD_US: i64 = 100_000;
/// The kernel's word for no memory limit (`PAGE_COUNTER_MAX`, cgroup v1 and v2 alike): Docker's API has none.
const NO_MEMORY_LIMIT: i64 = 0x7fff_ffff_ffff_f000;
/// Docker's word for no limit of CPU time and of swap.
const UNLIMITED: i64 = -1;
/// Docker's word for a billionth of a core.
const NANOS_PER_CORE: f64 = 1e9;

/// A change of limits, and what takes it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is written.
    pub to: Limits,
    /// What was there before.
    pub from: Limits,
}

impl Docker {
    /// What lowering a limit of a container comes to, and what takes it back. Changes nothing.
    ///
    /// # Errors
    /// The container has no more than that already, uses more memory than that (unless that is allowed), does
    /// not exist, or the daemon does not answer.
    pub async fn lowering(&self, id: &str, limit: &Limit) -> Result<Change> {
        let gone = || Error::environment(format!("container {} is not there any more", short(id)));
        let has = self.host_config(id).await?.ok_or_else(gone)?;
        match limit {
            Limit::Cpu(amount) => {
                // A whole machine's worth, where nothing limits it.
                let machine = self.facts().await?.cpus as f64;
                lower_cpu(&has, |has| amount.of(has), machine)
            }
            Limit::Memory(amount, below) => {
                let now = self.cgroup(id).await?.ok_or_else(gone)?;
                let change = lower_memory(&has, |has| amount.of(has), now.memory_limit_bytes)?;
                let to = change.to.memory.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default();
                if *below == BelowUse::Refuse && now.memory_used_bytes > to {
                    return Err(Error::environment(format!(
                        "container {} uses {} of memory, more than {}: it would be killed at once",
                        short(id),
                        size_text(now.memory_used_bytes),
                        size_text(to)
                    ))
                    .hint("leave it more, or write `below_use: true` if that is what you want to know"));
                }
                Ok(change)
            }
            Limit::Processes(most) => {
                let from = has.pids_limit.filter(|limit| *limit > 0).unwrap_or(0);
                if from != 0 && i64::from(*most) >= from {
                    return Err(too_high(most, from, "processes and threads"));
                }
                let limits = |pids| Limits { pids: Some(pids), ..Limits::default() };
                Ok(Change { to: limits((*most).into()), from: limits(from) })
            }
        }
    }

    /// Writes limits of a container, running or not.
    ///
    /// # Errors
    /// The kernel refuses them, the container does not exist, or the daemon does not answer.
    pub async fn set_limits(&self, id: &str, limits: &Limits) -> Result<()> {
        let body = api::ContainerUpdateBody {
            nano_cpus: limits.nano_cpus,
            cpu_quota: limits.cpu_quota,
            memory: limits.memory,
            memory_swap: limits.memory_swap,
            pids_limit: limits.pids,
            ..Default::default()
        };
        let call = self.api.update_container(id, body);
        bounded(format!("change the limits of container {}", short(id)), CALL_LIMIT, call)
            .await
            .map_err(Into::into)
    }

    /// True if a container has these limits, as far as they say anything; nothing if it does not exist.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn has_limits(&self, id: &str, limits: &Limits) -> Result<Option<bool>> {
        let Some(has) = self.host_config(id).await? else { return Ok(None) };
        let same =
            |wanted: Option<i64>, is: Option<i64>| wanted.is_none_or(|wanted| wanted == is.unwrap_or(0));
        Ok(Some(
            same(limits.nano_cpus, has.nano_cpus)
                && same(limits.cpu_quota, has.cpu_quota)
                && same(limits.memory, has.memory)
                && same(limits.memory_swap, has.memory_swap)
                && same(limits.pids, has.pids_limit),
        ))
    }

    /// What the kernel's cgroups say of a container; nothing if it does not run or exist.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn cgroup(&self, id: &str) -> Result<Option<Cgroup>> {
        // One look: two of them, a second apart, would give rates.
        let options = query::StatsOptions { stream: false, one_shot: true };
        let mut stats = std::pin::pin!(self.api.stats(id, Some(options)));
        let first = async { stats.next().await.transpose() };
        let what = format!("read the counters of container {}", short(id));
        let stats = absent_is_none(bounded(what, CALL_LIMIT, first).await)?.flatten();
        Ok(stats.and_then(cgroup_of))
    }

    async fn host_config(&self, id: &str) -> Result<Option<api::HostConfig>> {
        Ok(self.inspect(id).await?.map(|container| container.host_config.unwrap_or_default()))
    }
}

fn lower_cpu(has: &api::HostConfig, wanted: impl Fn(f64) -> f64, machine: f64) -> Result<Change> {
    let nano = has.nano_cpus.filter(|nano| *nano > 0);
    let quota = has.cpu_quota.filter(|quota| *quota > 0);
    let period_us = has.cpu_period.filter(|period| *period > 0).unwrap_or(USUAL_PERIOD_US);
    let cores = match (nano, quota) {
        (Some(nano), _) => nano as f64 / NANOS_PER_CORE,
        (None, Some(quota)) => quota as f64 / period_us as f64,
        (None, None) => machine,
    };
    let to = wanted(cores);
    if to >= cores {
        return Err(too_high(to, cores, "cores"));
    }
    // Docker takes a container's limit only in the terms in which it was first given.
    let (to, from) = match nano {
        Some(nano) => {
            let limits = |nano| Limits { nano_cpus: Some(nano), ..Limits::default() };
            (limits((to * NANOS_PER_CORE) as i64), limits(nano))
        }
        None => {
            let limits = |quota| Limits { cpu_quota: Some(quota), ..Limits::default() };
            (limits((to * period_us as f64) as i64), limits(quota.unwrap_or(UNLIMITED)))
        }
    };
    Ok(Change { to, from })
}

fn lower_memory(has: &api::HostConfig, wanted: impl Fn(u64) -> u64, in_force: u64) -> Result<Change> {
    let memory = has.memory.filter(|bytes| *bytes > 0);
    let to = wanted(in_force);
    if to >= in_force {
        return Err(too_high(size_text(to), size_text(in_force), "of memory"));
    }
    let to = i64::try_from(to).unwrap_or(i64::MAX);
    // Docker refuses a limit without a word on swap where there was none of either.
    let swap = memory.is_none().then_some(UNLIMITED);
    let limits = |memory| Limits { memory: Some(memory), memory_swap: swap, ..Limits::default() };
    Ok(Change { to: limits(to), from: limits(memory.unwrap_or(NO_MEMORY_LIMIT)) })
}

fn too_high(to: impl std::fmt::Display, has: impl std::fmt::Display, what: &str) -> Error {
    Error::environment(format!("a limit of {to} {what} takes nothing from a container that has {has}"))
        .hint("write less than that, or a share such as `20%`")
}

fn cgroup_of(stats: api::ContainerStatsResponse) -> Option<Cgroup> {
    let memory = stats.memory_stats.unwrap_or_default();
    // Docker answers with nothing at all for a container that does not run.
    let memory_limit_bytes = memory.limit.filter(|limit| *limit > 0)?;
    let pages = memory.stats.unwrap_or_default();
    let idle = ["total_inactive_file", "inactive_file"].iter().find_map(|name| pages.get(*name)).copied();
    let cpu = stats.cpu_stats.unwrap_or_default();
    let throttling = cpu.throttling_data.unwrap_or_default();
    let pids = stats.pids_stats.unwrap_or_default();
    Some(Cgroup {
        cpu_periods: throttling.periods.unwrap_or_default(),
        throttled_periods: throttling.throttled_periods.unwrap_or_default(),
        throttled_ns: throttling.throttled_time.unwrap_or_default(),
        cpu_used_ns: cpu.cpu_usage.and_then(|usage| usage.total_usage).unwrap_or_default(),
        memory_limit_bytes,
        memory_used_bytes: memory.usage.unwrap_or_default().saturating_sub(idle.unwrap_or_default()),
        // Version 1 alone counts inactive files of a whole subtree, and failures.
        memory_failures: pages
            .contains_key("total_inactive_file")
            .then(|| memory.failcnt.unwrap_or_default()),
        pids: pids.current.unwrap_or_default(),
        pids_limit: pids.limit.filter(|limit| *limit > 0 && *limit < u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(has: &api::HostConfig, to: f64) -> Result<Change> {
        lower_cpu(has, |_| to, 2.0)
    }

    #[test]
    fn a_quota_is_lowered_and_put_back_in_the_terms_it_was_given_in() {
        let limits = |quota| Limits { cpu_quota: Some(quota), ..Limits::default() };
        let none = api::HostConfig::default();
        assert_eq!(cpu(&none, 0.5).unwrap(), Change { to: limits(50_000), from: limits(-1) });
        let quota = api::HostConfig { cpu_quota: Some(40_000), cpu_period: Some(20_000), ..none.clone() };
        assert_eq!(cpu(&quota, 0.5).unwrap(), Change { to: limits(10_000), from: limits(40_000) });
        let nano = api::HostConfig { nano_cpus: Some(1_500_000_000), ..none.clone() };
        let nanos = |nano| Limits { nano_cpus: Some(nano), ..Limits::default() };
        assert_eq!(cpu(&nano, 0.5).unwrap(), Change { to: nanos(500_000_000), from: nanos(1_500_000_000) });
        assert!(cpu(&nano, 1.5).is_err(), "it has no more");
        assert!(cpu(&none, 2.0).is_err(), "it has no more");
    }

    #[test]
    fn no_memory_limit_is_put_back_as_the_kernel_writes_it() {
        let none = api::HostConfig::default();
        let change = lower_memory(&none, |_| 100, 1 << 30).unwrap();
        assert_eq!((change.to.memory, change.to.memory_swap), (Some(100), Some(-1)));
        assert_eq!((change.from.memory, change.from.memory_swap), (Some(NO_MEMORY_LIMIT), Some(-1)));
        let some = api::HostConfig { memory: Some(512), memory_swap: Some(1024), ..none };
        let change = lower_memory(&some, |has| has / 2, 512).unwrap();
        assert_eq!((change.to.memory, change.to.memory_swap), (Some(256), None));
        assert_eq!((change.from.memory, change.from.memory_swap), (Some(512), None));
        assert!(lower_memory(&some, |has| has, 512).is_err());
    }
}
