//! The safety lever: one mark on the daemon that ends every run and refuses new ones until it is released.
//!
//! It is kept on the daemon, not in a directory, because that is what all runs that could hurt the same containers
//! share: runs of other machines and other users see it, and it is still there when the daemon starts again. Runs
//! look for it before they arm and are told by the daemon's events the moment it is put.

use std::collections::BTreeMap;

use crate::docker::{Docker, label};
use crate::error::{Error, Result};

/// The mark's name.
pub const MARK: &str = "chaos-halt";

/// Who pulled the lever, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// `user@machine`; whatever the label says, made harmless for a terminal.
    pub by: String,
    /// RFC 3339, by the clock of that machine.
    pub since: String,
}

/// Pulls the lever; it stays as it is if somebody did before. Who did, then.
///
/// # Errors
/// The daemon does not answer.
pub async fn pull(docker: &Docker) -> Result<Halt> {
    let labels = BTreeMap::from([
        (label::ROLE.to_owned(), label::ROLE_HALT.to_owned()),
        (label::BY.to_owned(), whoami()),
        (label::SINCE.to_owned(), jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
    ]);
    docker.mark(MARK, &labels).await.map(|labels| halt_of(&labels))
}

/// Releases the lever; false if nobody had pulled it.
///
/// # Errors
/// The daemon does not answer.
pub async fn release(docker: &Docker) -> Result<bool> {
    let there = look(docker).await?.is_some();
    docker.remove_volume(MARK).await?;
    Ok(there)
}

/// Who pulled the lever; nothing while runs are allowed.
///
/// # Errors
/// The daemon does not answer.
pub async fn look(docker: &Docker) -> Result<Option<Halt>> {
    let marks = docker.marks(&[(label::ROLE, label::ROLE_HALT)]).await?;
    Ok(marks.into_iter().find(|mark| mark.name == MARK).map(|mark| halt_of(&mark.labels)))
}

/// Fails while the lever is pulled.
///
/// # Errors
/// Exit 3 with who pulled it, or the daemon does not answer.
pub async fn refuse(docker: &Docker) -> Result<()> {
    match look(docker).await? {
        None => Ok(()),
        Some(halt) => Err(Error::environment(format!(
            "runs are halted on this daemon by {} since {}",
            halt.by, halt.since
        ))
        .hint("once it is safe again: `chaos halt --release`")),
    }
}

fn halt_of(labels: &BTreeMap<String, String>) -> Halt {
    let said = |key| labels.get(key).map_or("unknown".to_owned(), |text| text.escape_debug().to_string());
    Halt { by: said(label::BY), since: said(label::SINCE) }
}

fn whoami() -> String {
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| {
        // SAFETY: geteuid always succeeds and touches nothing.
        format!("uid {}", unsafe { libc::geteuid() })
    });
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", machine.trim())
}
