//! What there is to aim at: the daemon's containers as a plan sees them, without ids or addresses.

use std::collections::BTreeMap;

use crate::agent::wire::Kernel;

/// The containers a daemon runs, or a lab will run, and what its kernel can do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    /// Running containers, sorted by name.
    pub containers: Vec<Container>,
    /// What the kernel can do; nothing where only an agent can tell (a remote daemon).
    pub kernel: Option<Kernel>,
}

/// A container as a plan sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name without the leading slash; in a lab, the lab's own short name (`api-1`).
    pub name: String,
    /// Its image, with tag.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its compose or lab service.
    pub service: Option<String>,
    /// The networks it is attached to.
    pub networks: Vec<String>,
    /// `no`, `always`, `unless-stopped`, `on-failure`.
    pub restart_policy: String,
    /// True if it shares the host's network namespace, where no network fault may go.
    pub host_network: bool,
    /// The run that aims at it already.
    pub held_by: Option<String>,
    /// True if it is labelled `chaos.protect=true`.
    pub protected: bool,
}
