//! Answering a target's DNS queries falsely, late or not at all.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::proxied::Proxied;
use super::{Capability, NET_ADMIN, Place, TaskKind, Work};
use crate::agent::diversion::{self, DNS_PORT, Diversion, Traffic};
use crate::agent::dns::message::Query;
use crate::agent::dns::proxy::Listeners;
use crate::agent::dns::resolve::Resolver;
use crate::agent::nft::redirect::Origin;
use crate::agent::service::Service;
use crate::agent::wire::Protocol;
use crate::pattern::Pattern;

/// Which queries are answered how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dns {
    /// Only queries for names that match one of these; empty: every name.
    pub names: Vec<Pattern>,
    /// What they are answered.
    pub answer: Answer,
    /// How long an answer, or a query on its way to the truth, is held before; 0 for not at all.
    pub delay_ns: u64,
    /// How many of the queries, from 0 to 1; drawn for each.
    pub share: f64,
    /// Seed of that draw.
    pub seed: u64,
}

/// What a query is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What the resolver says.
    Truth,
    /// There is no such name.
    Nxdomain,
    /// The resolver failed.
    Servfail,
    /// Nothing at all.
    Nothing,
    /// These addresses; only queries for addresses are answered so.
    Addresses(Vec<IpAddr>),
}

impl Dns {
    /// True if `query` is one of those.
    pub fn concerns(&self, query: &Query<'_>) -> bool {
        let asked = !matches!(self.answer, Answer::Addresses(_)) || query.asks_for_addresses();
        asked && (self.names.is_empty() || self.names.iter().any(|name| name.matches(&query.name)))
    }
}

impl TaskKind for Dns {
    fn place(&self) -> Place {
        Place::Network
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[NET_ADMIN]
    }

    fn stage(&self, tag: &str) -> Result<Box<dyn Work>, String> {
        let socket = |error| format!("could not listen on loopback: {error}");
        let listeners = Listeners::bind().map_err(socket)?;
        let traffic =
            Traffic { origin: Origin::Inside, protocols: &[Protocol::Udp, Protocol::Tcp], port: DNS_PORT };
        let diversion = Diversion::stage(tag, traffic, listeners.port)?;
        diversion.check_conntrack()?;
        let resolver = Arc::new(Resolver::new(self, diversion.mark()));
        let account = Arc::clone(&resolver.account);
        let service = Service::start("dns", move |stopping| listeners.serve(resolver, stopping))
            .map_err(|error| format!("could not start the DNS proxy: {error}"))?;
        Ok(Box::new(Proxied { diversion, account, service }))
    }

    fn restore(&self, tag: &str) -> Result<u32, String> {
        diversion::restore(tag)
    }

    fn summary(&self) -> String {
        let names: Vec<String> = self.names.iter().map(ToString::to_string).collect();
        let which = if names.is_empty() { String::new() } else { format!(" for {}", names.join(", ")) };
        let share = if self.share < 1.0 { format!("{}% of ", self.share * 100.0) } else { String::new() };
        let late = match self.delay_ns {
            0 => String::new(),
            ns => format!(" {} late", crate::units::Duration::from_ns(ns)),
        };
        let queries = format!("{share}DNS queries{which}");
        match &self.answer {
            Answer::Truth => format!("answer {queries}{late}"),
            Answer::Nxdomain => format!("answer {queries} with NXDOMAIN{late}"),
            Answer::Servfail => format!("answer {queries} with SERVFAIL{late}"),
            Answer::Nothing => format!("leave {queries} unanswered"),
            Answer::Addresses(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                format!("answer {queries} with {}{late}", addresses.join(", "))
            }
        }
    }
}
