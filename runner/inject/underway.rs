//! Steps that go on after they were fired: a stop that waits for its grace, a signal sent again and again.
//!
//! Each is a task of its own, so that nobody waits for it. It is told to end and waited for before its step is
//! taken back: what it had begun it finishes, so that nothing of it happens after the undo.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::News;
use super::sent::Sent;
use crate::docker::Docker;
use crate::error::{Error, Result};
use crate::fault::step::{AfterBeat, Beat};

/// How long a killed container may take to be gone, by the daemon's account.
const DEATH_LIMIT: Duration = Duration::from_secs(15);

/// A container's end, or its step's.
enum Ended {
    /// The container does not run.
    Gone,
    /// It runs, and the time is over.
    Still,
    /// The step is to be taken back.
    Called,
}

/// The steps that go on.
#[derive(Debug, Default)]
pub(super) struct Underway {
    tasks: Mutex<BTreeMap<u32, Task>>,
}

#[derive(Debug)]
struct Task {
    call_off: watch::Sender<bool>,
    handle: JoinHandle<()>,
}

/// What a step that goes on works with.
#[derive(Clone)]
pub(super) struct Course {
    pub docker: Docker,
    pub sent: Sent,
    pub step: u32,
    /// The container's id.
    pub id: String,
}

impl Underway {
    /// Lets `go_on` run beside everything else until it is called off. What goes wrong in it is news.
    pub fn begin<F>(
        &self,
        step: u32,
        news: mpsc::Sender<News>,
        go_on: impl FnOnce(watch::Receiver<bool>) -> F,
    ) where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (call_off, called_off) = watch::channel(false);
        let course = go_on(called_off);
        let handle = tokio::spawn(async move {
            if let Err(error) = course.await {
                // A run that is over does not listen any more.
                let _ = news.send(News::Failed { step, why: error.chain() }).await;
            }
        });
        let mut tasks = self.tasks.lock().expect("no holder of this lock panics");
        tasks.insert(step, Task { call_off, handle });
    }

    /// Calls a step's task off and returns when it has ended; no error if it has none.
    pub async fn end(&self, step: u32) {
        let task = self.tasks.lock().expect("no holder of this lock panics").remove(&step);
        if let Some(Task { call_off, handle }) = task {
            // Its calls to the daemon are bounded; it listens between them.
            let _ = call_off.send(true);
            let _ = handle.await;
        }
    }
}

impl Course {
    /// Sends a signal, which the daemon's event of it can be told by.
    pub async fn kill(&self, signal: &str) -> Result<()> {
        self.sent.through(self.step, &self.id, signal, self.docker.kill(&self.id, signal)).await
    }

    /// Waits until the container ends, until `until`, or until called off.
    async fn wait(&self, until: Instant, called_off: &mut watch::Receiver<bool>) -> Result<Ended> {
        tokio::select! {
            _ = called_off.wait_for(|called| *called) => Ok(Ended::Called),
            ended = self.docker.ended(&self.id) => ended.map(|()| Ended::Gone),
            () = sleep_until(until) => Ok(Ended::Still),
        }
    }

    /// After the stop signal: kills what still runs when the grace is over.
    pub async fn stop(&self, grace: Duration, called_off: &mut watch::Receiver<bool>) -> Result<()> {
        if let Ended::Still = self.wait(Instant::now() + grace, called_off).await? {
            self.put_down().await?;
        }
        Ok(())
    }

    /// The same, and starts it again.
    pub async fn restart(&self, grace: Duration, called_off: &mut watch::Receiver<bool>) -> Result<()> {
        match self.wait(Instant::now() + grace, called_off).await? {
            Ended::Gone => {}
            Ended::Still => self.put_down().await?,
            Ended::Called => return Ok(()),
        }
        self.docker.start(&self.id).await
    }

    /// Sends the signal again and again; the first was sent just now.
    pub async fn beat(&self, beat: &Beat, called_off: &mut watch::Receiver<bool>) -> Result<()> {
        let mut due = Instant::now();
        loop {
            // Beats that were missed, for a busy daemon, are not made up for.
            due = (due + beat.every.to_std()).max(Instant::now());
            if beat.then == AfterBeat::Start {
                match self.wait(due, called_off).await? {
                    Ended::Gone => self.docker.start(&self.id).await?,
                    Ended::Still => {}
                    Ended::Called => return Ok(()),
                }
            }
            tokio::select! {
                _ = called_off.wait_for(|called| *called) => return Ok(()),
                () = sleep_until(due) => {}
            }
            match self.docker.state(&self.id).await? {
                Some(state) if state.pid.is_some() => {}
                Some(_) => continue,
                None => return Err(Error::environment("the container is not there any more")),
            }
            if let Err(error) = self.kill(&beat.signal).await {
                // It may have ended between the look and the signal.
                match self.docker.state(&self.id).await? {
                    Some(state) if state.pid.is_some() => return Err(error),
                    _ => {}
                }
            }
        }
    }

    async fn put_down(&self) -> Result<()> {
        match self.docker.state(&self.id).await? {
            Some(state) if state.pid.is_some() => {}
            _ => return Ok(()),
        }
        self.kill("SIGKILL").await?;
        timeout(DEATH_LIMIT, self.docker.ended(&self.id))
            .await
            .map_err(|_| Error::environment("the container was killed and still runs"))?
    }
}
