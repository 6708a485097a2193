//! Holds: what a run aims at is its own while it lasts. Two runs on one container would each take the other's
//! doing for the system's, and the first to heal would heal what the second one still measures.
//!
//! A hold is a mark on the daemon, one a container, so that runs of other machines and of other users see it
//! too. It is put after the run's ledger is open and before anything is armed, and goes last, when everything is
//! healed: whatever heals a dead run releases its holds as well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::docker::{Docker, host_id, label};
use crate::error::{Error, Exit, Result};

/// Marks that are put at once: more only queue up in the daemon.
const AT_ONCE: usize = 16;

/// A container that a run wants for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The container's id.
    pub id: String,
    /// Its name, for whoever is refused.
    pub name: String,
}

/// Holds every claimed container for `run`, or none of them.
///
/// # Errors
/// Another run holds one: exit 3 with the holder's name. The daemon does not answer.
pub async fn take(docker: &Docker, run: &str, claims: &BTreeSet<Claim>) -> Result<()> {
    let taken: Result<Vec<Option<String>>> =
        stream::iter(claims).map(|claim| put(docker, run, claim)).buffered(AT_ONCE).try_collect().await;
    let refused: Vec<String> = match &taken {
        Ok(refused) => refused.iter().flatten().cloned().collect(),
        Err(_) => Vec::new(),
    };
    if taken.is_ok() && refused.is_empty() {
        return Ok(());
    }
    // What could not be released now goes with whatever else carries the run's label.
    let released = release(docker, run).await;
    taken.map(drop).and(released)?;
    Err(Error::new(Exit::Environment, refused.join("; "))
        .hint("wait until that run is over or end it with `chaos stop`; if it is dead, `chaos recover RUN`"))
}

/// Puts one hold; who has it, in words, if it is not ours.
async fn put(docker: &Docker, run: &str, claim: &Claim) -> Result<Option<String>> {
    let labels = [
        (label::RUN, run),
        (label::ROLE, label::ROLE_HOLD),
        (label::HOLDS, &claim.id),
        (label::NAME, &claim.name),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let has = docker.mark(&mark_name(&claim.id), &labels).await?;
    let holder = has.get(label::RUN).map_or("somebody else", String::as_str);
    if holder == run {
        return Ok(None);
    }
    let elsewhere = has.get(label::HOST).is_some_and(|host| *host != host_id());
    let place = if elsewhere { " of another machine" } else { "" };
    Ok(Some(held_by(&claim.name, &format!("{}{place}", holder.escape_debug()))))
}

/// That somebody else has a container, for people.
pub fn held_by(container: &str, run: &str) -> String {
    format!("container {container} is held by run {run}")
}

/// How the names of holds begin; the container's id follows.
const PREFIX: &str = "chaos-hold-";
/// How long a daemon that lives takes at most to label a hold that it makes; it takes less than a millisecond.
const LABELLED_WITHIN: Duration = Duration::from_secs(1);

fn mark_name(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// Removes holds without labels, which are nobody's: a daemon that is killed while it makes one leaves it so. One that is
/// being made just now has its labels when it is looked at again.
///
/// # Errors
/// The daemon does not answer.
pub async fn sweep(docker: &Docker) -> Result<()> {
    let bare = docker.unlabelled_marks(PREFIX).await?;
    if bare.is_empty() {
        return Ok(());
    }
    tokio::time::sleep(LABELLED_WITHIN).await;
    let still = docker.unlabelled_marks(PREFIX).await?;
    for name in bare.intersection(&still) {
        docker.remove_volume(name).await?;
    }
    Ok(())
}

/// Releases everything that `run` holds, and what is nobody's; no error if it holds nothing.
///
/// # Errors
/// The daemon does not answer.
pub async fn release(docker: &Docker, run: &str) -> Result<()> {
    let holds = docker.marks(&[(label::RUN, run), (label::ROLE, label::ROLE_HOLD)]).await?;
    stream::iter(&holds)
        .map(|hold| docker.remove_volume(&hold.id))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    sweep(docker).await
}

/// Which run holds which container, by the container's id.
///
/// # Errors
/// The daemon does not answer.
pub async fn holders(docker: &Docker) -> Result<BTreeMap<String, String>> {
    let holds = docker.marks(&[(label::ROLE, label::ROLE_HOLD)]).await?;
    Ok(holds
        .into_iter()
        .filter_map(|hold| Some((hold.labels.get(label::HOLDS)?.clone(), hold.run)))
        .collect())
}
