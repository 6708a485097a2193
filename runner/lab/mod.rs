//! Labs: systems started for a run and taken down after it, so that an experiment needs nothing but Docker.
//!
//! Two kinds: the built-in one, made of this program's own image, and the user's own compose project.
//! Everything a lab makes carries the run's label, and taking it down goes by that label alone: it works
//! for a lab that came up halfway, and from another process. It never removes a thing without the label.
//! Start at [`up`], [`down`] and [`predicted`].

pub mod compose;
mod compose_file;
pub mod replicas;
pub mod role;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use crate::docker::{Docker, Leftover, LeftoverKind, label};
use crate::error::{Error, Result};
use crate::patience::Patience;
use crate::plan::inventory::Container;
use crate::spec::Lab;
use role::upstream::{Head, Upstream};

/// A lab that takes longer than this to answer will not.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How often to ask whether it answers: short against its start of about a second.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// How long one such question may take.
const ASK_LIMIT: Duration = Duration::from_secs(1);
/// How often to look whether a container has died instead.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks at what is left when taking a lab down, before giving up on somebody who keeps starting it.
const DOWN_ROUNDS: u32 = 5;
/// Lines of a dead container's output in the message.
const LAST_WORDS: u32 = 5;

/// A lab that is up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Up {
    /// Published address by `SERVICE` and by `SERVICE:PORT`, as `127.0.0.1:32768`.
    pub endpoints: BTreeMap<String, String>,
    /// Short name and id of each container.
    pub containers: Vec<(String, String)>,
}

/// A container of the built-in lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its short name, as `api-1`.
    pub name: String,
    /// Its service.
    pub service: String,
    /// What its role is told.
    pub arguments: Vec<String>,
    /// True if it has a disk.
    pub disk: bool,
}

impl Member {
    fn new(name: &str, service: &str, arguments: Vec<String>) -> Self {
        Self { name: name.into(), service: service.into(), arguments, disk: false }
    }
}

/// Starts a lab for `run` and returns when it answers. `experiment_dir` is where the experiment's file is.
///
/// # Errors
/// A container that can't be started or does not answer, with its last words; nothing is left then.
pub async fn up(docker: &Docker, run: &str, lab: &Lab, experiment_dir: &Path) -> Result<Up> {
    up_for(docker, run, lab, experiment_dir, Stay::ForTheRun, &Patience::endless()).await
}

/// How long a lab stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// Until its run is over.
    ForTheRun,
    /// Until `chaos lab down`.
    UntilDown,
}

/// As [`up`], for somebody who may lose patience: what is under way on the daemon is finished then, and everything
/// is taken down.
///
/// # Errors
/// As [`up`]; exit 6 if patience ended.
pub async fn up_for(
    docker: &Docker,
    run: &str,
    lab: &Lab,
    experiment_dir: &Path,
    stay: Stay,
    patience: &Patience,
) -> Result<Up> {
    let labels = match stay {
        Stay::ForTheRun => BTreeMap::new(),
        Stay::UntilDown => BTreeMap::from([(label::KEEP.to_owned(), "true".to_owned())]),
    };
    let up = match lab {
        Lab::Replicas(lab) => replicas::up(docker, run, lab, &labels, patience).await,
        Lab::Compose(file) => compose::up(docker, run, &experiment_dir.join(file), &labels, patience).await,
    };
    if up.is_err()
        && let Err(error) = down(docker, run).await
    {
        // The first failure is the one to act on; what is left has the run's label.
        let _ = error;
    }
    up
}

/// Takes down whatever lab `run` has; no error if there is none.
///
/// # Errors
/// Something can't be removed, or the daemon does not answer. The rest is removed all the same.
pub async fn down(docker: &Docker, run: &str) -> Result<()> {
    // Once more than needed: a starter that was cut off may have had something under way on the daemon.
    for _ in 0..DOWN_ROUNDS {
        let left = parts(docker, run).await?;
        if left.is_empty() {
            return Ok(());
        }
        // Networks and volumes can't go before the containers that use them.
        let mut failed = None;
        for kind in [LeftoverKind::Container, LeftoverKind::Network, LeftoverKind::Volume] {
            let removed = left.iter().filter(|one| one.kind == kind).map(|one| remove(docker, one));
            failed = failed.or(join_all(removed).await.into_iter().find_map(Result::err));
        }
        if let Some(failed) = failed {
            return Err(failed);
        }
    }
    Err(Error::environment(format!("the lab of {run} keeps coming back"))
        .hint("is another chaos starting it?"))
}

/// Everything on the daemon that belongs to the lab of `run`; its agents don't.
async fn parts(docker: &Docker, run: &str) -> Result<Vec<Leftover>> {
    let project = compose::project(run);
    let mut parts = docker.labelled(&[(label::RUN, run)]).await?;
    // Compose labels what our override file could not name, such as services of included files.
    parts.extend(docker.labelled(&[(label::COMPOSE_PROJECT, &project)]).await?);
    parts.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
    parts.dedup_by(|a, b| (a.kind, &a.id) == (b.kind, &b.id));
    parts.retain(|one| one.role != label::ROLE_AGENT);
    Ok(parts)
}

async fn remove(docker: &Docker, one: &Leftover) -> Result<()> {
    match one.kind {
        LeftoverKind::Container => docker.remove(&one.id).await,
        LeftoverKind::Network => docker.remove_network(&one.id).await,
        LeftoverKind::Volume => docker.remove_volume(&one.id).await,
    }
}

/// The containers `lab` will have, by their short names and sorted by them; touches nothing.
///
/// # Errors
/// The compose file can't be read, or says something that can't be understood.
pub fn predicted(lab: &Lab, experiment_dir: &Path) -> Result<Vec<Container>> {
    match lab {
        Lab::Replicas(lab) => replicas::predicted(lab),
        Lab::Compose(file) => compose::predicted(&experiment_dir.join(file)),
    }
}

/// The labels that a lab's container has whatever the run.
fn lab_labels(name: &str, service: &str) -> BTreeMap<String, String> {
    [(label::ROLE, label::ROLE_LAB), (label::NAME, name), (label::SERVICE, service)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Waits until the gateway at `address` says that the whole lab answers.
async fn await_ready(docker: &Docker, address: SocketAddr, containers: &[(String, String)]) -> Result<()> {
    let gateway = Upstream::new(&address.to_string()).expect("an address and a port are NAME:PORT");
    let head = Head::get("/ready");
    let answers = async {
        loop {
            let asked = tokio::time::timeout(ASK_LIMIT, gateway.ask(&head, Bytes::new())).await;
            if matches!(asked, Ok(Ok(answer)) if answer.status.is_success()) {
                return Ok(());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    tokio::select! {
        ready = answers => ready,
        dead = await_death(docker, containers) => Err(dead),
        () = tokio::time::sleep(READY_LIMIT) => Err(Error::environment(format!(
            "the lab does not answer at http://{address}/ready after {}s", READY_LIMIT.as_secs()
        ))
        .hint("see `docker ps` and `docker logs`; is the machine very busy, or Docker on another machine?")),
    }
}

/// Waits until one of the containers no longer runs; the error has its last words.
async fn await_death(docker: &Docker, containers: &[(String, String)]) -> Error {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for (name, id) in containers {
            match docker.state(id).await {
                Ok(Some(state)) if !matches!(state.status.as_str(), "exited" | "dead") => {}
                Ok(state) => {
                    let code = state.and_then(|state| state.exit_code).unwrap_or_default();
                    let words = docker.last_words(id, LAST_WORDS).await;
                    return Error::environment(format!(
                        "{name} of the lab ended with exit code {code}: {words}"
                    ));
                }
                Err(error) => return error,
            }
        }
    }
}
