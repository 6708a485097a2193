//! Running a command of the user's inside a container.

use std::time::{Duration, Instant};

use bollard::exec::{StartExecOptions, StartExecResults};
use futures_util::StreamExt as _;

use super::{CALL_LIMIT, Docker, api, bounded, short};
use crate::error::{Error, Result};
use crate::event::Ran;
use crate::exec::Kept;
use crate::fault::step::Exec;

impl Docker {
    /// Runs a command in a container and waits for its end, at most as long as it says. One that takes longer
    /// goes on: Docker has no way to end it. That it failed is no error.
    ///
    /// # Errors
    /// It can't be started (no such program), the container does not run, or the daemon does not answer.
    pub async fn exec(&self, id: &str, exec: &Exec) -> Result<Ran> {
        let what =
            format!("run {:?} in container {}", exec.command.first().map_or("", String::as_str), short(id));
        let config = api::ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(exec.command.clone()),
            user: exec.user.clone(),
            ..Default::default()
        };
        let made = bounded(&what, CALL_LIMIT, self.api.create_exec(id, config)).await?;
        let began = Instant::now();
        let mut kept = Kept::default();
        let run = async {
            let options = StartExecOptions::default();
            let started = self.api.start_exec(&made.id, Some(options)).await?;
            let StartExecResults::Attached { mut output, .. } = started else { return Ok(()) };
            while let Some(piece) = output.next().await {
                kept.take(&piece?.into_bytes());
            }
            Ok(())
        };
        let ended = match tokio::time::timeout(exec.timeout.to_std(), run).await {
            Ok(ended) => {
                bounded(&what, CALL_LIMIT, async { ended }).await?;
                true
            }
            Err(_) => false,
        };
        let exit_code = if ended { self.exec_exit_code(&what, &made.id).await? } else { None };
        let (output, left_out_bytes) = kept.text();
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Ran { command: exec.command.clone(), exit_code, took_ms, output, left_out_bytes })
    }

    /// Its streams end a moment before it does.
    async fn exec_exit_code(&self, what: &str, exec: &str) -> Result<Option<i64>> {
        const ENDS_WITHIN: Duration = Duration::from_secs(2);
        const LOOK_EVERY: Duration = Duration::from_millis(10);
        let until = Instant::now() + ENDS_WITHIN;
        loop {
            let seen = bounded(what, CALL_LIMIT, self.api.inspect_exec(exec)).await?;
            if !seen.running.unwrap_or_default() {
                // What could not be started at all is told by these codes, and by nothing else.
                return match seen.exit_code {
                    Some(code @ (126 | 127)) if seen.pid.unwrap_or_default() == 0 => Err(Error::environment(
                        format!("could not {what}: it can't be started (code {code})"),
                    )
                    .hint("name a program that is in the container, by its path or on its PATH")),
                    code => Ok(code),
                };
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
