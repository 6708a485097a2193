//! The safety lever as a run sees it: asked before anything is armed, and watched from then on.

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::happening::Happening;
use crate::docker::Docker;
use crate::error::Result;
use crate::halt;

/// How long a daemon that closed the connection is left alone.
const AGAIN_AFTER: std::time::Duration = std::time::Duration::from_millis(200);
/// What the journal says the run was interrupted by.
const BY: &str = "chaos halt";

/// Tells the loop when runs are halted, also by a daemon that was away meanwhile.
///
/// # Errors
/// Runs are halted already, or the daemon does not answer.
pub(super) async fn watch(docker: &Docker, happenings: mpsc::Sender<Happening>) -> Result<JoinHandle<()>> {
    // Listened to before the look, so that no halt falls between.
    let mut put = docker.puts(halt::MARK);
    halt::refuse(docker).await?;
    let docker = docker.clone();
    Ok(tokio::spawn(async move {
        loop {
            while put.next().await.is_some() {
                if happenings.send(Happening::Interrupt(BY)).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(AGAIN_AFTER).await;
            put = docker.puts(halt::MARK);
            if let Ok(Some(_)) = halt::look(&docker).await
                && happenings.send(Happening::Interrupt(BY)).await.is_err()
            {
                return;
            }
        }
    }))
}
