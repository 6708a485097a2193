//! Where a load's connections go: the addresses behind a URL's host, and how TLS is spoken there.
//!
//! Decided once before anything is sent: a name is looked up here, so that its being wrong is an error at
//! the start, and sending never waits for a resolver. Start at [`Places`].

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use socket2::SockAddr;

use super::request::Endpoints;
use super::tls;
use super::transport::Secure;
use crate::error::{Error, Result};
use crate::plan::LoadPlan;
use crate::spec::url::Url;
use crate::spec::{Load, Tls};

/// What connections to one host have in common.
#[derive(Clone, Debug)]
pub struct Place {
    /// All of the host's addresses, at least one: connections take turns.
    addresses: Vec<SockAddr>,
    /// With TLS: how it is spoken.
    pub secure: Option<Secure>,
    /// The first of the addresses, for people.
    pub shown: String,
}

impl Place {
    /// The address of the `turn`-th connection.
    pub fn address(&self, turn: usize) -> &SockAddr {
        &self.addresses[turn % self.addresses.len()]
    }

    /// True if it is reached over IP.
    pub fn is_ip(&self) -> bool {
        self.addresses.iter().all(|address| address.as_socket().is_some())
    }

    fn is(&self, other: &Self) -> bool {
        let name = |place: &Self| place.secure.as_ref().map(|secure| secure.name.clone());
        self.addresses == other.addresses && name(self) == name(other)
    }
}

/// The places of one load, while its requests are prepared.
pub struct Places<'a> {
    plan: &'a LoadPlan,
    endpoints: &'a Endpoints,
    config: Option<Arc<ClientConfig>>,
    /// Each once.
    pub list: Vec<Place>,
}

impl<'a> Places<'a> {
    /// None yet.
    pub fn new(plan: &'a LoadPlan, endpoints: &'a Endpoints) -> Self {
        Self { plan, endpoints, config: None, list: Vec::new() }
    }

    /// The place that a URL leads to, as an index of the list. Fails with exit 3 where its host does not
    /// resolve, with exit 2 where TLS can't be spoken as the load says.
    pub async fn find(&mut self, url: &Url) -> Result<usize> {
        let addresses = addresses(&self.plan.load, url, self.endpoints).await?;
        let secure = if url.tls { Some(self.secure(url)?) } else { None };
        let first = addresses.first().expect("a host has an address");
        let shown = match (first.as_socket(), first.as_pathname()) {
            (Some(address), _) => address.to_string(),
            (None, path) => path.map_or_else(String::new, |path| path.display().to_string()),
        };
        let place = Place { addresses, secure, shown };
        let known = self.list.iter().position(|other| other.is(&place));
        Ok(known.unwrap_or_else(|| {
            self.list.push(place);
            self.list.len() - 1
        }))
    }

    fn secure(&mut self, url: &Url) -> Result<Secure> {
        let said = self.plan.load.tls.clone().map_or_else(Tls::default, |tls| tls.value);
        let config = match &self.config {
            Some(config) => config.clone(),
            None => self.config.insert(tls::config(&said, &[self.plan.load.http.alpn()])?).clone(),
        };
        let sni = said.sni.as_ref().map(|name| name.value.as_str());
        let name = tls::server_name(sni, &url.host)
            .map_err(|why| Error::mistake(format!("load `{}`: {why}", self.plan.name)))?;
        Ok(Secure { config, name })
    }
}

async fn addresses(load: &Load, url: &Url, endpoints: &Endpoints) -> Result<Vec<SockAddr>> {
    if let Some(path) = &load.unix_socket {
        let address = SockAddr::unix(&path.value).map_err(|error| {
            Error::mistake(format!("`{}` can't be the path of a unix socket", path.value)).because(error)
        })?;
        return Ok(vec![address]);
    }
    let port = url.port_or_default();
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    if let Some(address) = load.resolve.get(&format!("{host}:{port}")) {
        let address: SocketAddr = address.value.parse().map_err(|_| {
            Error::mistake(format!("`{}` is not an address", address.value)).hint("write `ADDRESS:PORT`")
        })?;
        return Ok(vec![address.into()]);
    }
    let found = endpoints.resolve_all(url).await.map_err(|error| {
        Error::environment(format!("could not resolve `{}`", url.host))
            .because(error)
            .hint("check the host's name, or write its address in the URL")
    })?;
    Ok(found.into_iter().map(SockAddr::from).collect())
}
