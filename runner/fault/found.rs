//! What only a look at a container can tell, and its undo must know: settings as they were found.
//!
//! A plan is made without looking inside, so an undo that puts something back exactly has a gap in the plan.
//! It is filled just before the step's debt is written, so that the ledger holds all that healing needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A container's first process, told from the next one by when it was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// When it was started, as Docker says it (RFC 3339).
    pub started_at: String,
}

/// How a container is attached to a network. Everything that a user could have asked for, and what it got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's name on the daemon.
    pub network: String,
    /// The network's id on the daemon: another network may have the name by now.
    pub network_id: String,
    /// The address it has; empty: none, or the container does not run.
    pub ipv4: String,
    /// The IPv6 address it has; empty: none.
    pub ipv6: String,
    /// The hardware address it has; empty: none.
    pub mac: String,
    /// The address that was asked for when it was attached; empty: whichever is free.
    pub asked_ipv4: String,
    /// The IPv6 address that was asked for; empty: whichever is free.
    pub asked_ipv6: String,
    /// Link-local addresses that were asked for; sorted.
    pub link_local: Vec<String>,
    /// Names by which others reach it there, without the one that Docker makes of its id; sorted.
    pub aliases: Vec<String>,
    /// Links to other containers, as `CONTAINER:ALIAS`; sorted.
    pub links: Vec<String>,
    /// Options of the network's driver.
    pub options: BTreeMap<String, String>,
}

impl Endpoint {
    /// What of `other` differs, in words; nothing if the one is as good as the other to everyone who looks.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let texts = [
            ("address", &self.ipv4, &other.ipv4),
            ("IPv6 address", &self.ipv6, &other.ipv6),
            ("hardware address", &self.mac, &other.mac),
        ];
        let lists = [("aliases", &self.aliases, &other.aliases), ("links", &self.links, &other.links)];
        let text = texts.into_iter().find(|(_, was, is)| was != is);
        let text = text.map(|(what, was, is)| format!("its {what} was `{was}` and is `{is}`"));
        text.or_else(|| {
            let list = lists.into_iter().find(|(_, was, is)| was != is);
            list.map(|(what, was, is)| {
                format!("its {what} were `{}` and are `{}`", was.join(", "), is.join(", "))
            })
        })
    }
}

/// Limits of a container, in the terms of Docker's API; what is nothing is neither written nor compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// CPU in billionths of a core (`--cpus`).
    pub nano_cpus: Option<i64>,
    /// CPU time in microseconds within each period; -1: as much as there is.
    pub cpu_quota: Option<i64>,
    /// Memory in bytes.
    pub memory: Option<i64>,
    /// Memory and swap together, in bytes; -1: as much as there is.
    pub memory_swap: Option<i64>,
    /// Processes and threads; 0: as many as there may be.
    pub pids: Option<i64>,
}

/// What the kernel's cgroups say of a container, by Docker's account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Periods in which its processes wanted to run, since it was started.
    pub cpu_periods: u64,
    /// Those of them in which they were held because the quota was used up.
    pub throttled_periods: u64,
    /// How long they were held, all together, in nanoseconds.
    pub throttled_ns: u64,
    /// CPU time it used, in nanoseconds.
    pub cpu_used_ns: u64,
    /// The memory limit in force, in bytes; the machine's memory where there is none.
    pub memory_limit_bytes: u64,
    /// Memory in use that can't be dropped: without the page cache that is not in active use.
    pub memory_used_bytes: u64,
    /// How often its memory came to the limit; nothing where the kernel does not count it (cgroup v2).
    pub memory_failures: Option<u64>,
    /// Processes and threads it has.
    pub pids: u64,
    /// The most it may have; nothing: no limit.
    pub pids_limit: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_the_same_if_nobody_can_tell() {
        let was = Endpoint {
            ipv4: "172.18.0.5".into(),
            mac: "02:42:ac:12:00:05".into(),
            aliases: vec!["api".into(), "api-1".into()],
            ..Endpoint::default()
        };
        assert_eq!(was.difference(&was), None);
        let fixed = Endpoint { asked_ipv4: "172.18.0.5".into(), ..was.clone() };
        assert_eq!(was.difference(&fixed), None, "what was asked for can't be seen from outside");
        let moved = Endpoint { ipv4: "172.18.0.6".into(), ..was.clone() };
        assert_eq!(was.difference(&moved).unwrap(), "its address was `172.18.0.5` and is `172.18.0.6`");
        let unnamed = Endpoint { aliases: vec!["api".into()], ..was.clone() };
        assert_eq!(was.difference(&unnamed).unwrap(), "its aliases were `api, api-1` and are `api`");
    }
}
