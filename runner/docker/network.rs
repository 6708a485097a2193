//! Taking a container off a network, and putting it back as it was.

use std::time::Duration;

use super::look::short_network;
use super::{CALL_LIMIT, Docker, absent_is_none, api, bounded, short};
use crate::error::{Error, Result};
use crate::fault::found::Endpoint;

/// The longest to go on trying for an address that somebody else holds for a moment.
const ADDRESS_LIMIT: Duration = Duration::from_secs(5);
/// How long to wait between.
const ADDRESS_EVERY: Duration = Duration::from_millis(50);
/// Characters of an id that Docker makes an alias of.
const SHORT_ID_CHARS: usize = 12;

impl Docker {
    /// How a container is attached to a network, by the network's name as plans have it or its id on the
    /// daemon; nothing if it is not, or does not exist.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn attachment(&self, id: &str, network: &str) -> Result<Option<Endpoint>> {
        let Some(container) = self.inspect(id).await? else { return Ok(None) };
        let labels =
            container.config.and_then(|config| config.labels).unwrap_or_default().into_iter().collect();
        let attached = container.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let found = attached.into_iter().find(|(name, settings)| {
            settings.network_id.as_deref() == Some(network) || short_network(name.clone(), &labels) == network
        });
        Ok(found.map(|(name, settings)| endpoint_of(name, settings, &container.id.unwrap_or_default())))
    }

    /// Takes a container off a network. No error if it is not attached or does not exist.
    ///
    /// # Errors
    /// It is still attached, or the daemon does not answer.
    pub async fn disconnect(&self, id: &str, endpoint: &Endpoint) -> Result<()> {
        let request = api::NetworkDisconnectRequest { container: id.into(), force: None };
        let call = self.api.disconnect_network(&endpoint.network_id, request);
        let what = format!("detach container {} from network {}", short(id), endpoint.network);
        let Err(failed) = bounded(what, CALL_LIMIT, call).await else { return Ok(()) };
        match self.attachment(id, &endpoint.network_id).await? {
            Some(_) => Err(failed.into()),
            None => Ok(()),
        }
    }

    /// Takes a running container off a network where its daemon still says it is attached, though it was to be taken
    /// off. One that died meanwhile has it on its books as it was, and the kernel may have nothing of it any more. No
    /// error if it is not attached.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn detach_half(&self, id: &str, endpoint: &Endpoint) -> Result<()> {
        let attached = self.attachment(id, &endpoint.network_id).await?.is_some();
        if attached && self.state(id).await?.is_some_and(|state| state.pid.is_some()) {
            self.forget(id, endpoint).await;
        }
        Ok(())
    }

    /// Has the daemon drop whatever it still knows of a container's part in a network. Best effort: what comes of it
    /// is seen when it is attached.
    async fn forget(&self, id: &str, endpoint: &Endpoint) {
        let request = api::NetworkDisconnectRequest { container: id.into(), force: Some(true) };
        let call = self.api.disconnect_network(&endpoint.network_id, request);
        let _ = bounded("drop what is left of an endpoint", CALL_LIMIT, call).await;
    }

    /// Attaches a container to a network as it was attached when `was` was found. No error if it is.
    ///
    /// Where addresses are the daemon's to give, it gives the first free one: another container that is
    /// attached at the same time may take it. So this is done by one at a time, and again if it failed.
    ///
    /// # Errors
    /// The network is gone, somebody else has its address, or the daemon does not answer. The container is
    /// then attached, with what there was to be had.
    pub async fn reconnect(&self, id: &str, was: &Endpoint) -> Result<()> {
        static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let until = tokio::time::Instant::now() + ADDRESS_LIMIT;
        loop {
            let turn = ONE_AT_A_TIME.lock().await;
            if self.attachment(id, &was.network_id).await?.is_none() {
                self.attach_again(id, was).await?;
            }
            let Some(is) = self.attachment(id, &was.network_id).await? else {
                if self.state(id).await?.is_none() || tokio::time::Instant::now() >= until {
                    return Ok(());
                }
                // A daemon that died while it attached knows an endpoint that the container does not.
                self.forget(id, was).await;
                drop(turn);
                tokio::time::sleep(ADDRESS_EVERY).await;
                continue;
            };
            let runs = self.state(id).await?.is_some_and(|state| state.pid.is_some());
            // One that does not run gets its address when it is started.
            let Some(difference) = was.difference(&is).filter(|_| runs) else { return Ok(()) };
            if tokio::time::Instant::now() >= until {
                return Err(Error::environment(format!(
                    "container {} is attached to network {} again, but {difference}",
                    short(id),
                    was.network
                ))
                .hint("see who has it with `docker network inspect`"));
            }
            self.disconnect(id, was).await?;
            drop(turn);
            tokio::time::sleep(ADDRESS_EVERY).await;
        }
    }

    /// Attaches it with what was asked for then; with the addresses it had, where those can be asked for and
    /// it would get others.
    async fn attach_again(&self, id: &str, was: &Endpoint) -> Result<()> {
        self.attach(id, was, &was.asked_ipv4, &was.asked_ipv6).await?;
        let Some(is) = self.attachment(id, &was.network_id).await? else { return Ok(()) };
        let same = (&is.ipv4, &is.ipv6) == (&was.ipv4, &was.ipv6);
        let asked = (&was.asked_ipv4, &was.asked_ipv6) == (&was.ipv4, &was.ipv6);
        if same || asked || is.ipv4.is_empty() && is.ipv6.is_empty() {
            return Ok(());
        }
        self.disconnect(id, was).await?;
        if self.attach(id, was, &was.ipv4, &was.ipv6).await.is_err() {
            // The network's subnet is the daemon's own choice: no address of it can be asked for.
            self.attach(id, was, &was.asked_ipv4, &was.asked_ipv6).await?;
        }
        Ok(())
    }

    async fn attach(&self, id: &str, was: &Endpoint, ipv4: &str, ipv6: &str) -> Result<()> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let asked = !ipv4.is_empty() || !ipv6.is_empty() || !was.link_local.is_empty();
        let endpoint = api::EndpointSettings {
            ipam_config: asked.then(|| api::EndpointIpamConfig {
                ipv4_address: some(ipv4),
                ipv6_address: some(ipv6),
                link_local_ips: (!was.link_local.is_empty()).then(|| was.link_local.clone()),
            }),
            links: (!was.links.is_empty()).then(|| was.links.clone()),
            mac_address: some(&was.mac),
            aliases: (!was.aliases.is_empty()).then(|| was.aliases.clone()),
            driver_opts: (!was.options.is_empty()).then(|| was.options.clone().into_iter().collect()),
            ..Default::default()
        };
        let request = api::NetworkConnectRequest { container: id.into(), endpoint_config: Some(endpoint) };
        let call = self.api.connect_network(&was.network_id, request);
        let what = format!("attach container {} to network {}", short(id), was.network);
        match bounded(what, CALL_LIMIT, call).await {
            Err(failed) if failed.says(&["already exists in network"]) => Ok(()),
            // The container itself may be gone by now, which is no error: there is nothing to attach.
            other => match absent_is_none(other)? {
                Some(()) => Ok(()),
                None if self.state(id).await?.is_none() => Ok(()),
                None => Err(Error::environment(format!("network {} is not there any more", was.network))
                    .hint("make it again, with the same subnet")),
            },
        }
    }
}

fn endpoint_of(network: String, settings: api::EndpointSettings, id: &str) -> Endpoint {
    let sorted = |list: Option<Vec<String>>| {
        let mut list = list.unwrap_or_default();
        list.sort();
        list.dedup();
        list
    };
    let asked = settings.ipam_config.unwrap_or_default();
    let own = id.get(..SHORT_ID_CHARS).unwrap_or(id).to_owned();
    let mut aliases = sorted(settings.aliases);
    aliases.retain(|alias| *alias != own);
    Endpoint {
        network,
        network_id: settings.network_id.unwrap_or_default(),
        ipv4: settings.ip_address.unwrap_or_default(),
        ipv6: settings.global_ipv6_address.unwrap_or_default(),
        mac: settings.mac_address.unwrap_or_default(),
        asked_ipv4: asked.ipv4_address.unwrap_or_default(),
        asked_ipv6: asked.ipv6_address.unwrap_or_default(),
        link_local: sorted(asked.link_local_ips),
        aliases,
        links: sorted(settings.links),
        options: settings.driver_opts.unwrap_or_default().into_iter().collect(),
    }
}
