//! What can happen besides time passing, and who tells the loop of it: signals, agents, Docker, probes.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::lapse::ContainerNews;
use super::probing::Sample;
use super::sampling::Sampled;
use crate::error::{Error, Result};
use crate::inject::News;

/// Happenings that may wait to be noticed; a tick takes them ten times a second.
pub(super) const HAPPENINGS: usize = 4_096;

/// What can happen besides time passing.
#[derive(Debug)]
pub(super) enum Happening {
    /// The user asked to stop, by this signal.
    Interrupt(&'static str),
    /// An agent has news.
    Agent(News),
    /// Docker says something about a container of the plan.
    Container(ContainerNews),
    /// A probe was answered.
    Probe(Sample),
    /// An indicator beside the load was sampled.
    Sampled(Sampled),
}

/// Tells of the signals by which users ask to stop.
///
/// # Errors
/// Signals can't be listened for.
pub(super) fn forward_signals(happenings: mpsc::Sender<Happening>) -> Result<tokio::task::JoinHandle<()>> {
    let failed = |error| Error::environment("could not listen for signals").because(error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    Ok(tokio::spawn(async move {
        loop {
            let by = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                _ = hangup.recv() => "SIGHUP",
            };
            if happenings.send(Happening::Interrupt(by)).await.is_err() {
                return;
            }
        }
    }))
}

/// A way for agents to tell the loop of what comes over them.
pub(super) fn forward_news(happenings: mpsc::Sender<Happening>) -> mpsc::Sender<News> {
    let (sender, mut news) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Some(news) = news.recv().await {
            if happenings.send(Happening::Agent(news)).await.is_err() {
                return;
            }
        }
    });
    sender
}
