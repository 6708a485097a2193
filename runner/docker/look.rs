//! Looking at the daemon: what runs, in what state, at which addresses, and what belongs to which run.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::stream::{self, BoxStream, StreamExt};

use super::{CALL_LIMIT, Docker, absent_is_none, api, bounded, full_name, label, query, short};
use crate::error::Result;
use crate::event::ContainerState;
use crate::plan::inventory::Container;

/// Calls under way at once when many containers are looked at.
const PARALLEL: usize = 16;

/// A container that runs or is paused.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its id.
    pub id: String,
    /// As a plan sees it; in a lab with the lab's short names.
    pub container: Container,
    /// Its addresses in all networks, IPv4 and IPv6, sorted; of the container whose network it shares.
    pub addresses: Vec<IpAddr>,
    /// The id of the container whose network it shares, if it does.
    pub shares: Option<String>,
    /// The run it was made for.
    pub run: Option<String>,
    /// Its role in that run.
    pub role: Option<String>,
}

/// What a [`Leftover`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftoverKind {
    /// A container, running or not.
    Container,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

/// Something on the daemon with labels of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// What it is.
    pub kind: LeftoverKind,
    /// Its id; a volume's name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its run; empty if the labels don't say.
    pub run: String,
    /// Its role; empty if the labels don't say.
    pub role: String,
    /// The machine whose runner made it; empty if the labels don't say.
    pub host: String,
    /// True for what stays until `chaos lab down`.
    pub keep: bool,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
}

/// Something that happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The container.
    pub id: String,
    /// Its name; in a lab the short one.
    pub name: String,
    /// `die`, `start`, `pause`, `health_status: healthy`, ….
    pub action: String,
    /// The container's labels and, by action, `exitCode`, `signal`, ….
    pub attributes: BTreeMap<String, String>,
    /// When, by the daemon's wall clock, in nanoseconds since 1970.
    pub time_ns: i64,
}

impl Docker {
    /// Containers that run or are paused, sorted by name; agents are left out.
    ///
    /// # Errors
    /// The daemon does not answer. Containers that vanish meanwhile are left out.
    pub async fn containers(&self) -> Result<Vec<Found>> {
        let options = query::ListContainersOptions {
            filters: Some(HashMap::from([("status".into(), vec!["running".into(), "paused".into()])])),
            ..Default::default()
        };
        let listed = bounded("list containers", CALL_LIMIT, self.api.list_containers(Some(options))).await?;
        let ids = listed
            .into_iter()
            .filter(|one| {
                one.labels
                    .as_ref()
                    .and_then(|labels| labels.get(label::ROLE))
                    .is_none_or(|role| role != label::ROLE_AGENT)
            })
            .filter_map(|one| one.id);
        let looked: Vec<_> = stream::iter(ids)
            .map(|id| async move { self.inspect(&id).await })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        let mut found = Vec::new();
        for one in looked {
            found.extend(one?.map(found_of));
        }
        share_networks(&mut found);
        let mut found: Vec<Found> = found.into_iter().map(|(found, _)| found).collect();
        found.sort_by(|a, b| (&a.container.name, &a.id).cmp(&(&b.container.name, &b.id)));
        Ok(found)
    }

    pub(super) async fn inspect(&self, id: &str) -> Result<Option<api::ContainerInspectResponse>> {
        let call = self.api.inspect_container(id, None::<query::InspectContainerOptions>);
        absent_is_none(bounded(format!("look at container {}", short(id)), CALL_LIMIT, call).await)
    }

    /// A container's state; nothing if it does not exist.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn state(&self, id: &str) -> Result<Option<ContainerState>> {
        Ok(self.inspect(id).await?.map(|container| {
            let state = container.state.unwrap_or_default();
            let runs = state.running.unwrap_or_default();
            ContainerState {
                status: state.status.map(|status| status.to_string()).unwrap_or_default(),
                pid: state.pid.and_then(|pid| pid.try_into().ok()).filter(|pid| *pid > 0),
                exit_code: state.exit_code.filter(|_| !runs),
                restarts: container.restart_count.and_then(|count| count.try_into().ok()).unwrap_or_default(),
                started_at: state.started_at.unwrap_or_default(),
                oom_killed: state.oom_killed.unwrap_or_default(),
            }
        }))
    }

    /// True if the daemon removes the container as soon as it stops (`docker run --rm`); false if it does not
    /// exist.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn goes_when_it_stops(&self, id: &str) -> Result<bool> {
        let host = self.inspect(id).await?.and_then(|container| container.host_config);
        Ok(host.and_then(|host| host.auto_remove).unwrap_or_default())
    }

    /// A container's addresses in all its networks, sorted; empty if it does not run or exist, or has none.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn addresses(&self, id: &str) -> Result<Vec<IpAddr>> {
        let Some(container) = self.inspect(id).await? else { return Ok(Vec::new()) };
        let (found, shares) = found_of(container);
        match shares {
            Some(other) => {
                Ok(self.inspect(&other).await?.map(|other| found_of(other).0.addresses).unwrap_or_default())
            }
            None => Ok(found.addresses),
        }
    }

    /// What a container's health check says, as `healthy`; nothing if it has none or does not exist.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn health(&self, id: &str) -> Result<Option<String>> {
        let state = self.inspect(id).await?.and_then(|container| container.state);
        let status = state.and_then(|state| state.health).and_then(|health| health.status);
        Ok(status.map(|status| status.to_string()).filter(|status| !matches!(status.as_str(), "" | "none")))
    }

    /// Where a container's TCP ports are reached from this machine, by the port inside.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn published(&self, id: &str) -> Result<BTreeMap<u16, SocketAddr>> {
        let settings = self.inspect(id).await?.and_then(|container| container.network_settings);
        let ports = settings.and_then(|settings| settings.ports).unwrap_or_default();
        let published = ports.into_iter().filter_map(|(port, bindings)| {
            let inside = port.strip_suffix("/tcp")?.parse().ok()?;
            // IPv4 first: that is what a client on this machine tries.
            let mut addresses: Vec<SocketAddr> = bindings?.into_iter().filter_map(reached_at).collect();
            addresses.sort();
            Some((inside, addresses.into_iter().next()?))
        });
        Ok(published.collect())
    }

    /// What happens to containers from now on. Ends when the connection does.
    pub fn events(&self) -> BoxStream<'static, ContainerEvent> {
        let options = query::EventsOptions {
            since: self.since_now(),
            filters: Some(HashMap::from([("type".into(), vec!["container".into()])])),
            ..Default::default()
        };
        let events = self.api.events(Some(options));
        events
            .take_while(|event| std::future::ready(event.is_ok()))
            .filter_map(|event| async move { event.ok().and_then(container_event) })
            .boxed()
    }

    /// From when on the daemon is to replay what happened; without it, events before the answer's head are lost.
    /// Nothing where the daemon's clock may be another.
    pub(super) fn since_now(&self) -> Option<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.endpoint.socket().map(|_| format!("{}.{:09}", now.as_secs(), now.subsec_nanos()))
    }

    /// Everything with these labels, agents and stopped containers included, sorted by kind and name.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn labelled(&self, labels: &[(&str, &str)]) -> Result<Vec<Leftover>> {
        let wanted = labels
            .iter()
            .map(|(key, value)| if value.is_empty() { (*key).to_owned() } else { format!("{key}={value}") })
            .collect::<Vec<_>>();
        let filters = Some(HashMap::from([("label".to_owned(), wanted)]));
        let containers =
            query::ListContainersOptions { all: true, filters: filters.clone(), ..Default::default() };
        let networks = query::ListNetworksOptions { filters: filters.clone() };
        let volumes = query::ListVolumesOptions { filters };
        let containers =
            bounded("list containers", CALL_LIMIT, self.api.list_containers(Some(containers))).await?;
        let networks = bounded("list networks", CALL_LIMIT, self.api.list_networks(Some(networks))).await?;
        let volumes = bounded("list volumes", CALL_LIMIT, self.api.list_volumes(Some(volumes))).await?;
        let mut found: Vec<Leftover> =
            containers
                .into_iter()
                .map(|one| {
                    let name = one.names.unwrap_or_default().into_iter().next().unwrap_or_default();
                    leftover(
                        LeftoverKind::Container,
                        one.id.unwrap_or_default(),
                        name.trim_start_matches('/').to_owned(),
                        one.labels,
                    )
                })
                .chain(networks.into_iter().map(|one| {
                    leftover(
                        LeftoverKind::Network,
                        one.id.unwrap_or_default(),
                        one.name.unwrap_or_default(),
                        one.labels,
                    )
                }))
                .chain(
                    volumes.volumes.unwrap_or_default().into_iter().map(|one| {
                        leftover(LeftoverKind::Volume, one.name.clone(), one.name, Some(one.labels))
                    }),
                )
                .collect();
        found.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        Ok(found)
    }

    /// The last `lines` lines a container wrote, for messages; empty if there are none to be had.
    pub async fn last_words(&self, id: &str, lines: u32) -> String {
        let options =
            query::LogsOptions { stdout: true, stderr: true, tail: lines.to_string(), ..Default::default() };
        let logs = self.api.logs(id, Some(options)).take(lines as usize * 2);
        let read =
            logs.filter_map(|line| async move { line.ok().map(|line| line.to_string()) }).collect::<String>();
        tokio::time::timeout(CALL_LIMIT, read).await.unwrap_or_default().trim_end().to_owned()
    }
}

/// A container as plans see it, and the id of the container whose network it shares, if it does.
fn found_of(container: api::ContainerInspectResponse) -> (Found, Option<String>) {
    let config = container.config.unwrap_or_default();
    let host = container.host_config.unwrap_or_default();
    let labels: BTreeMap<String, String> = config.labels.unwrap_or_default().into_iter().collect();
    let label = |key: &str| labels.get(key).cloned();
    let mode = host.network_mode.unwrap_or_default();
    let attached = container.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let mut addresses: Vec<IpAddr> = attached
        .values()
        .flat_map(|one| [&one.ip_address, &one.global_ipv6_address])
        .filter_map(|address| address.as_ref()?.parse().ok())
        .collect();
    addresses.sort();
    let mut networks: Vec<String> = attached.into_keys().map(|name| short_network(name, &labels)).collect();
    networks.sort();
    let policy =
        host.restart_policy.and_then(|policy| policy.name).map(|name| name.to_string()).unwrap_or_default();
    let full = container.name.unwrap_or_default().trim_start_matches('/').to_owned();
    let found = Found {
        id: container.id.unwrap_or_default(),
        container: Container {
            name: short_name(&labels).unwrap_or(full),
            image: config.image.unwrap_or_default(),
            service: label(label::SERVICE).or_else(|| label(label::COMPOSE_SERVICE)),
            networks,
            restart_policy: if policy.is_empty() { "no".into() } else { policy },
            host_network: mode == "host",
            held_by: None,
            protected: labels.get(label::PROTECT).is_some_and(|value| value == "true"),
            labels: labels.clone(),
        },
        addresses,
        shares: mode.strip_prefix("container:").map(str::to_owned),
        run: label(label::RUN),
        role: label(label::ROLE),
    };
    let shares = found.shares.clone();
    (found, shares)
}

/// Where a binding is reached: through loopback where it is bound to every address.
fn reached_at(binding: api::PortBinding) -> Option<SocketAddr> {
    let port = binding.host_port?.parse().ok()?;
    let bound: IpAddr = binding
        .host_ip
        .filter(|ip| !ip.is_empty())
        .map_or(Ok(Ipv4Addr::UNSPECIFIED.into()), |ip| ip.parse())
        .ok()?;
    let reached = match bound {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    Some(SocketAddr::new(reached, port))
}

/// A lab container's short name; nothing outside labs.
fn short_name(labels: &BTreeMap<String, String>) -> Option<String> {
    if labels.get(label::ROLE)? != label::ROLE_LAB {
        return None;
    }
    labels.get(label::NAME).cloned().or_else(|| {
        let service = labels.get(label::COMPOSE_SERVICE)?;
        Some(format!("{service}-{}", labels.get(label::COMPOSE_NUMBER)?))
    })
}

/// A network's name as the lab's experiments use it; outside labs as it is.
pub(super) fn short_network(name: String, labels: &BTreeMap<String, String>) -> String {
    if labels.get(label::ROLE).is_none_or(|role| role != label::ROLE_LAB) {
        return name;
    }
    let prefixes = [
        labels.get(label::RUN).map(|run| full_name(run, "")),
        labels.get(label::COMPOSE_PROJECT).map(|project| format!("{project}_")),
    ];
    let stripped =
        prefixes.into_iter().flatten().find_map(|prefix| name.strip_prefix(&prefix).map(str::to_owned));
    stripped.unwrap_or(name)
}

/// Gives containers that share another's network that one's addresses.
fn share_networks(found: &mut [(Found, Option<String>)]) {
    let known: HashMap<String, (Vec<IpAddr>, bool)> = found
        .iter()
        .map(|(one, _)| (one.id.clone(), (one.addresses.clone(), one.container.host_network)))
        .collect();
    for (one, shares) in found {
        if let Some((addresses, host_network)) = shares.as_ref().and_then(|id| known.get(id)) {
            one.addresses.clone_from(addresses);
            one.container.host_network = *host_network;
        }
    }
}

fn container_event(event: api::EventMessage) -> Option<ContainerEvent> {
    let actor = event.actor?;
    let attributes: BTreeMap<String, String> = actor.attributes.unwrap_or_default().into_iter().collect();
    Some(ContainerEvent {
        id: actor.id?,
        name: short_name(&attributes).or_else(|| attributes.get("name").cloned()).unwrap_or_default(),
        action: event.action?,
        attributes,
        time_ns: event.time_nano.unwrap_or_default(),
    })
}

fn leftover(
    kind: LeftoverKind,
    id: String,
    name: String,
    labels: Option<HashMap<String, String>>,
) -> Leftover {
    let labels: BTreeMap<String, String> = labels.unwrap_or_default().into_iter().collect();
    let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
    Leftover {
        kind,
        id,
        name,
        run: label(label::RUN),
        role: label(label::ROLE),
        host: label(label::HOST),
        keep: label(label::KEEP) == "true",
        labels,
    }
}
