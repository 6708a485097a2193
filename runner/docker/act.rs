//! Doing things to containers. What takes something back is no error when there is nothing to take back.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::{ApiError, CALL_LIMIT, Docker, Failed, absent_is_none, bounded, query, short};
use crate::error::Result;

/// How long a container may take to stop by itself before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long Docker itself lets a container take that says nothing about it.
const USUAL_GRACE: Duration = Duration::from_secs(10);
/// How long to wait for what is already being removed.
const REMOVAL_LIMIT: Duration = Duration::from_secs(10);
/// How often to look whether it is gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Docker {
    /// Freezes every process of a container.
    ///
    /// # Errors
    /// It does not run, is paused already, or the daemon does not answer.
    pub async fn pause(&self, id: &str) -> Result<()> {
        bounded(format!("pause container {}", short(id)), CALL_LIMIT, self.api.pause_container(id))
            .await
            .map_err(Into::into)
    }

    /// Lets a container's processes go on. No error if they do, or if the container is gone or stopped.
    ///
    /// # Errors
    /// The container is still paused, or the daemon does not answer.
    pub async fn unpause(&self, id: &str) -> Result<()> {
        let done =
            bounded(format!("unpause container {}", short(id)), CALL_LIMIT, self.api.unpause_container(id))
                .await;
        let Err(failed) = done else { return Ok(()) };
        // Docker answers 409, before 20.10.9 also 500, for one that is not paused; the state is what counts.
        match self.state(id).await? {
            Some(state) if state.status == "paused" => Err(failed.into()),
            _ => Ok(()),
        }
    }

    /// Sends a signal, as `SIGKILL` or `9`, to a container's first process.
    ///
    /// # Errors
    /// It does not run, the signal is unknown, or the daemon does not answer.
    pub async fn kill(&self, id: &str, signal: &str) -> Result<()> {
        let options = query::KillContainerOptions { signal: signal.into() };
        let call = self.api.kill_container(id, Some(options));
        bounded(format!("send {signal} to container {}", short(id)), CALL_LIMIT, call)
            .await
            .map_err(Into::into)
    }

    /// Starts a container. No error if it runs.
    ///
    /// # Errors
    /// It does not exist or can't be started, or the daemon does not answer.
    pub async fn start(&self, id: &str) -> Result<()> {
        let call = self.api.start_container(id, None::<query::StartContainerOptions>);
        bounded(format!("start container {}", short(id)), CALL_LIMIT, call).await.map_err(Into::into)
    }

    /// Stops a container, after some seconds by force. No error if it does not run.
    ///
    /// # Errors
    /// It does not exist, or the daemon does not answer.
    pub async fn stop(&self, id: &str) -> Result<()> {
        let grace_s = i32::try_from(STOP_GRACE.as_secs()).expect("the grace period is a few seconds");
        let call =
            self.api.stop_container(id, Some(query::StopContainerOptions { t: Some(grace_s), signal: None }));
        bounded(format!("stop container {}", short(id)), STOP_GRACE + CALL_LIMIT, call)
            .await
            .map_err(Into::into)
    }

    /// Stops a container, after its own grace by force, and starts it again.
    ///
    /// # Errors
    /// It does not exist or can't be started, or the daemon does not answer.
    pub async fn restart(&self, id: &str) -> Result<()> {
        let grace = self.stop_grace(id).await?;
        let call = self.api.restart_container(id, None::<query::RestartContainerOptions>);
        bounded(format!("restart container {}", short(id)), grace + CALL_LIMIT, call)
            .await
            .map_err(Into::into)
    }

    /// How long a container may take to stop by itself, by its own settings.
    async fn stop_grace(&self, id: &str) -> Result<Duration> {
        let config = self.inspect(id).await?.and_then(|container| container.config);
        let grace_s =
            config.and_then(|config| config.stop_timeout).and_then(|grace_s| grace_s.try_into().ok());
        Ok(grace_s.map_or(USUAL_GRACE, Duration::from_secs))
    }

    /// The signal by which a container is stopped, by its own settings.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn stop_signal(&self, id: &str) -> Result<String> {
        let config = self.inspect(id).await?.and_then(|container| container.config);
        let signal = config.and_then(|config| config.stop_signal).filter(|signal| !signal.is_empty());
        Ok(signal.unwrap_or_else(|| "SIGTERM".into()))
    }

    /// Returns when a container does not run, at once if that is so already or if there is none. Waits as long
    /// as it takes: bound it.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn ended(&self, id: &str) -> Result<()> {
        let options = query::WaitContainerOptions { condition: "not-running".into() };
        let mut waiting = std::pin::pin!(self.api.wait_container(id, Some(options)));
        match waiting.next().await {
            // An exit code other than 0 is an error to the client library.
            None | Some(Ok(_) | Err(ApiError::DockerContainerWaitError { .. })) => Ok(()),
            Some(Err(cause)) => {
                let what = format!("wait for the end of container {}", short(id));
                absent_is_none(Err::<(), _>(Failed { what, cause: Some(cause) })).map(drop)
            }
        }
    }

    /// Removes a container by force, with its anonymous volumes, and returns when it is gone. No error if
    /// there is none, or if it is already being removed.
    ///
    /// # Errors
    /// It could not be removed, or the daemon does not answer.
    pub async fn remove(&self, id: &str) -> Result<()> {
        let options = query::RemoveContainerOptions { v: true, force: true, link: false };
        let call = self.api.remove_container(id, Some(options));
        match bounded(format!("remove container {}", short(id)), CALL_LIMIT, call).await {
            Err(failed) if failed.status() == Some(409) => self.await_removal(id, failed).await,
            other => absent_is_none(other).map(|_| ()),
        }
    }

    /// Waits until a container that is being removed by somebody else is gone.
    async fn await_removal(&self, id: &str, failed: Failed) -> Result<()> {
        let gone = async {
            while self.inspect(id).await?.is_some() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(())
        };
        tokio::time::timeout(REMOVAL_LIMIT, gone).await.unwrap_or_else(|_| Err(failed.into()))
    }
}
