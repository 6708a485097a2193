//! Answering a target's HTTP requests for it, holding them, or changing them and their answers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::proxied::Proxied;
use super::{Capability, NET_ADMIN, Place, TaskKind, Work};
use crate::agent::diversion::{self, Diversion, Traffic};
use crate::agent::http::exchange::Exchanger;
use crate::agent::http::proxy::Listeners;
use crate::agent::nft::redirect::Origin;
use crate::agent::service::Service;
use crate::agent::wire::Protocol;
use crate::pattern::Pattern;

/// Which requests, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Http {
    /// The port of the target's server.
    pub port: u16,
    /// Only these methods; empty: all. The case counts.
    pub methods: Vec<String>,
    /// Only paths that match one of these, without their query; empty: all.
    pub paths: Vec<Pattern>,
    /// Only requests with all of these headers, each with a value that matches.
    pub headers: Vec<(String, Pattern)>,
    /// How many of them, from 0 to 1; drawn for each.
    pub share: f64,
    /// Seed of that draw.
    pub seed: u64,
    /// How long a request is held before it goes on, in nanoseconds; 0 for not at all.
    pub delay_ns: u64,
    /// The answer in the server's place, which then never sees the request.
    pub abort: Option<Abort>,
    /// Changes to requests' headers.
    pub request: Edit,
    /// Changes to answers' headers.
    pub response: Edit,
    /// Answers' body instead of the server's.
    pub body: Option<String>,
    /// Answers' body breaks off, and its connection, after this many bytes.
    pub truncate_bytes: Option<u64>,
    /// Answers' body comes at this many bytes per second.
    pub drip_bytes_per_s: Option<u64>,
}

/// An answer in the server's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// Its status: 200 to 599.
    pub status: u16,
    /// Its body; may be empty.
    pub body: String,
}

/// Changes to headers: removed first, then set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Names and values; one that is there is replaced.
    pub set: Vec<(String, String)>,
    /// Names.
    pub remove: Vec<String>,
}

impl Edit {
    /// True if it changes nothing.
    pub const fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

impl Http {
    /// What becomes of the requests, one phrase for each change.
    fn changes(&self) -> Vec<String> {
        let mut changes = Vec::new();
        if self.delay_ns > 0 {
            changes.push(format!("hold them {}", crate::units::Duration::from_ns(self.delay_ns)));
        }
        if let Some(abort) = &self.abort {
            changes.push(format!("answer them {}", abort.status));
        }
        for (edit, whose) in [(&self.request, "their headers"), (&self.response, "their answers' headers")] {
            if !edit.is_empty() {
                changes.push(format!("change {whose}"));
            }
        }
        if self.body.is_some() {
            changes.push("replace their answers' body".into());
        }
        if let Some(bytes) = self.truncate_bytes {
            changes.push(format!("cut their answers' body after {bytes} bytes"));
        }
        if let Some(rate) = self.drip_bytes_per_s {
            changes.push(format!("slow their answers' body to {rate} bytes/s"));
        }
        changes
    }

    /// The requests in words: `50% of GET requests for /cart on port 8080`.
    pub fn requests(&self) -> String {
        let share = if self.share < 1.0 { format!("{}% of ", self.share * 100.0) } else { String::new() };
        let methods = self.methods.iter().map(|method| format!("{method} ")).collect::<Vec<_>>().join("or ");
        let paths: Vec<String> = self.paths.iter().map(ToString::to_string).collect();
        let paths = if paths.is_empty() { String::new() } else { format!(" for {}", paths.join(", ")) };
        let headers: Vec<String> =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let headers =
            if headers.is_empty() { String::new() } else { format!(" with {}", headers.join(", ")) };
        format!("{share}{methods}requests{paths}{headers} on port {}", self.port)
    }

    /// Everything in words: `hold them 300ms; answer them 503`.
    pub fn effect(&self) -> String {
        self.changes().join(", ")
    }
}

impl TaskKind for Http {
    fn place(&self) -> Place {
        Place::Network
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[NET_ADMIN]
    }

    fn stage(&self, tag: &str) -> Result<Box<dyn Work>, String> {
        let listeners = Listeners::bind().map_err(|error| format!("could not listen: {error}"))?;
        let traffic = Traffic { origin: Origin::Outside, protocols: &[Protocol::Tcp], port: self.port };
        let diversion = Diversion::stage(tag, traffic, listeners.port)?;
        let exchanger = Arc::new(Exchanger::new(self)?);
        let (account, mark) = (Arc::clone(&exchanger.account), diversion.mark());
        let service = Service::start("http", move |stopping| listeners.serve(exchanger, mark, stopping))
            .map_err(|error| format!("could not start the HTTP proxy: {error}"))?;
        Ok(Box::new(Proxied { diversion, account, service }))
    }

    fn restore(&self, tag: &str) -> Result<u32, String> {
        diversion::restore(tag)
    }

    fn summary(&self) -> String {
        format!("take {}: {}", self.requests(), self.effect())
    }
}
