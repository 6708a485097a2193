//! The work of a task that leads flows to a proxy of ours: such tasks differ in what the proxy does, and only there.

use std::sync::Arc;

use super::Work;
use crate::agent::account::Account;
use crate::agent::diversion::Diversion;
use crate::agent::service::Service;
use crate::agent::wire::Counters;

/// Flows led to a proxy, which runs since the task was staged.
#[derive(Debug)]
pub struct Proxied {
    /// What leads them there.
    pub diversion: Diversion,
    /// What the proxy has done.
    pub account: Arc<Account>,
    /// The proxy.
    pub service: Service,
}

impl Work for Proxied {
    fn fire(&mut self) -> Result<(), String> {
        self.diversion.begin()
    }

    fn undo(&mut self) -> bool {
        // What is under way ends through the rules that brought it here.
        self.diversion.stop();
        self.service.stop();
        self.diversion.end()
    }

    fn counters(&mut self) -> Counters {
        self.account.counters()
    }
}
