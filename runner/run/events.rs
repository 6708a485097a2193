//! Following what Docker says of the plan's containers, across restarts of the daemon.
//!
//! The stream of events ends with the daemon that sends it. It is opened again as soon as there is one, and
//! what was missed meanwhile is found by looking: a container that ended or was started anew is told of as if
//! the event had been seen. Start at [`follow`].

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::happening::Happening;
use super::lapse::ContainerNews;
use crate::docker::{ContainerEvent, Docker};
use crate::event::ContainerState;

/// How long to wait before an ended stream is opened again.
const REOPEN_AFTER: Duration = Duration::from_millis(100);

/// Containers by id, as they were last known.
type Known = BTreeMap<String, ContainerState>;

/// Tells of what happens to containers until nobody listens any more.
pub(super) async fn follow(docker: Docker, ids: Vec<String>, happenings: mpsc::Sender<Happening>) {
    let mut known = Known::new();
    for id in &ids {
        if let Ok(Some(state)) = docker.state(id).await {
            known.insert(id.clone(), state);
        }
    }
    loop {
        // Opened before the look, so that nothing falls between the two.
        let mut events = docker.events();
        let mut news = missed(&docker, &ids, &mut known).await;
        loop {
            for one in news.drain(..) {
                if happenings.send(one.into()).await.is_err() {
                    return;
                }
            }
            match events.next().await {
                Some(event) if ids.contains(&event.id) => news.extend(seen(&docker, event, &mut known).await),
                Some(_) => {}
                None => break,
            }
        }
        tokio::time::sleep(REOPEN_AFTER).await;
        if happenings.is_closed() {
            return;
        }
    }
}

/// What became of containers since they were last known, found by looking. Those that can't be looked at
/// now will be when the stream is opened once more.
async fn missed(docker: &Docker, ids: &[String], known: &mut Known) -> Vec<ContainerNews> {
    let mut news = Vec::new();
    for id in ids {
        let Ok(state) = docker.state(id).await else { continue };
        let now = state.unwrap_or_default();
        let before = known.insert(id.clone(), now.clone()).unwrap_or_else(|| now.clone());
        let (ran, runs) = (before.pid.is_some(), now.pid.is_some());
        let anew = runs && (!ran || before.started_at != now.started_at);
        let tell =
            |action: &str| ContainerNews { id: id.clone(), action: action.into(), signal: None, at_ns: 0 };
        if ran && (!runs || anew) {
            if now.oom_killed && !before.oom_killed {
                news.push(tell("oom"));
            }
            news.push(tell("die"));
        }
        if anew {
            news.push(tell("start"));
        }
    }
    news
}

/// An event as news; nothing if looking has told of it already.
async fn seen(docker: &Docker, event: ContainerEvent, known: &mut Known) -> Option<ContainerNews> {
    let ContainerEvent { id, action, attributes, time_ns, .. } = event;
    let state = known.entry(id.clone()).or_default();
    match action.as_str() {
        "die" if state.pid.is_none() => return None,
        "die" => state.pid = None,
        "start" => {
            let now = docker.state(&id).await.ok().flatten().unwrap_or_default();
            let told = state.pid.is_some() && state.started_at == now.started_at;
            // A container that has ended again already did start: its end is still to be told.
            *state = ContainerState { pid: now.pid.or(Some(0)), ..now };
            if told {
                return None;
            }
        }
        _ => {}
    }
    let signal = attributes.get("signal").cloned();
    Some(ContainerNews { id, action, signal, at_ns: time_ns })
}
