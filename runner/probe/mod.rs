//! Probes: questions put to the system beside the load, one file a kind.
//!
//! A probe answers yes, no, or that it could not be asked; the last is *no data*, never a no.

mod http;

use crate::load::Endpoints;
use crate::spec::Probe;
use crate::units::Duration;

/// What a probe came back with.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `Some(true)` as expected, `Some(false)` otherwise, nothing: it could not be asked.
    pub ok: Option<bool>,
    /// What came back, in a few words.
    pub detail: String,
    /// How long it took.
    pub took: std::time::Duration,
}

/// How often a probe is asked.
pub const fn period(probe: &Probe) -> Duration {
    match probe {
        Probe::Http(http) => http.every.value,
    }
}

/// Asks once.
pub async fn ask(probe: &Probe, endpoints: &Endpoints) -> Answer {
    let asked = std::time::Instant::now();
    let (ok, detail) = match probe {
        Probe::Http(http) => http::ask(http, endpoints).await,
    };
    Answer { ok, detail, took: asked.elapsed() }
}
