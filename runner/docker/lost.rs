//! Containers that the daemon has lost: it was killed while it started one, takes it for stopped, and refuses to start
//! it because what it started still runs, or because containerd has not yet cleared away what it had begun. The daemon
//! does not mend the former when it starts again either.
//!
//! So whoever heals ends the lost processes itself ([`crate::agent::evict`]) and has the container started then.

use std::time::Duration;

use super::{CALL_LIMIT, Docker, Failed, api, bounded, label, query, short};
use crate::error::{Error, Result};

/// How long the daemon may take to hear that what it lost has ended.
const HEARD_WITHIN: Duration = Duration::from_secs(5);
/// How often it is asked again meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(100);

impl Docker {
    /// Starts a container to heal it for `run`, also one that the daemon has lost. No error if it runs.
    ///
    /// # Errors
    /// As [`Docker::start`]; or its lost processes can't be ended.
    pub async fn start_whole(&self, run: &str, id: &str) -> Result<()> {
        let start = || {
            let call = self.api.start_container(id, None::<query::StartContainerOptions>);
            bounded(format!("start container {}", short(id)), CALL_LIMIT, call)
        };
        let mut started = start().await;
        if started.as_ref().is_err_and(|failed| is_lost(failed, id)) {
            self.evict(run, id).await?;
            let until = tokio::time::Instant::now() + HEARD_WITHIN;
            started = start().await;
            while started.as_ref().is_err_and(|failed| is_lost(failed, id))
                && tokio::time::Instant::now() < until
            {
                tokio::time::sleep(ASK_EVERY).await;
                started = start().await;
            }
        }
        started.map_err(Into::into)
    }

    /// Ends the processes of a container that the daemon takes for stopped.
    ///
    /// # Errors
    /// They don't end, or the daemon does not answer.
    pub async fn evict(&self, run: &str, id: &str) -> Result<()> {
        let body = api::ContainerCreateBody {
            cmd: Some(vec!["inside".into(), "evict".into(), id.into()]),
            host_config: Some(api::HostConfig {
                network_mode: Some("none".into()),
                pid_mode: Some("host".into()),
                cap_add: Some(vec!["KILL".into()]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let labels = [(label::ROLE.to_owned(), label::ROLE_AGENT.to_owned())].into();
        let name = format!("evict-{}-{}", std::process::id(), short(id));
        let helper = self.create(run, &name, labels, body).await?;
        let ended = self.await_evicted(&helper).await;
        let removed = self.remove(&helper).await;
        let code = ended?;
        removed?;
        if code == Some(0) {
            return Ok(());
        }
        Err(Error::environment(format!("could not end what is left of container {}", short(id))).hint(
            "its daemon lost it while it was started: `ctr --namespace moby tasks kill --signal SIGKILL ID`",
        ))
    }

    async fn await_evicted(&self, helper: &str) -> Result<Option<i64>> {
        self.start(helper).await?;
        tokio::time::timeout(CALL_LIMIT, self.ended(helper))
            .await
            .map_err(|_| Error::environment("what ends a lost container's processes does not end"))??;
        Ok(self.state(helper).await?.and_then(|state| state.exit_code))
    }
}

/// True if the daemon refuses to start a container that it takes for stopped because of what is left of an earlier
/// start: a task of containerd, or the folder of one.
fn is_lost(failed: &Failed, id: &str) -> bool {
    failed.says(&["id already in use", &format!("task {id}: already exists"), &format!("{id}: file exists")])
}
