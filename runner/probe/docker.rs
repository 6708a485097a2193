//! The `docker` probe: what Docker says of a target's containers.

use super::{Asked, Asker, Reply, all, number};
use crate::docker::Docker;
use crate::event::ContainerState;
use crate::spec::{ContainerStatus, DockerProbe, HealthStatus};

/// Looks at every container. A daemon that does not answer is no data; a container that is gone does not run.
pub(super) async fn ask(probe: &DockerProbe, asker: &Asker) -> Reply {
    let (docker, containers) = match asker.containers(&probe.on) {
        Ok(found) => found,
        Err(reply) => return reply,
    };
    let timeout = probe.asking.timeout.value;
    let each = containers.iter().map(|one| look(probe, asker, docker, one));
    match tokio::time::timeout(timeout.to_std(), futures_util::future::join_all(each)).await {
        Ok(replies) => all(replies),
        Err(_) => Reply::Unknown(format!("Docker did not answer in {timeout}")),
    }
}

async fn look(probe: &DockerProbe, asker: &Asker, docker: &Docker, one: &Asked) -> Reply {
    let looked = match docker.state(&one.id).await {
        Ok(state) if probe.health.is_some() => docker.health(&one.id).await.map(|health| (state, health)),
        Ok(state) => Ok((state, None)),
        Err(error) => Err(error),
    };
    match looked {
        Ok((Some(state), health)) => {
            let before = asker.restarts.get(&one.id).copied().unwrap_or_default();
            judge(probe, &one.name, &state, health.as_deref(), before)
        }
        Ok((None, _)) => Reply::No(format!("{} is gone", one.name)),
        Err(error) => Reply::Unknown(error.chain()),
    }
}

/// How a target's containers are: nothing of one that runs and is healthy by its health check if it has one, else what
/// it is.
pub(super) async fn wellness(target: &str, asker: &Asker) -> Result<Vec<(String, Option<String>)>, String> {
    let (docker, containers) = asker.containers(target).map_err(|reply| match reply {
        Reply::Yes(why) | Reply::No(why) | Reply::Unknown(why) => why,
    })?;
    let each = containers.iter().map(async |one| {
        let (state, health) =
            futures_util::future::try_join(docker.state(&one.id), docker.health(&one.id)).await?;
        let status = state.map_or_else(|| "gone".to_owned(), |state| state.status);
        Ok((one.name.clone(), ailment(&status, health.as_deref())))
    });
    let looked: Result<_, crate::error::Error> = futures_util::future::try_join_all(each).await;
    looked.map_err(|error| error.chain())
}

/// What keeps a container from being well; nothing if it is.
fn ailment(status: &str, health: Option<&str>) -> Option<String> {
    if status != ContainerStatus::Running.word() {
        return Some(status.to_owned());
    }
    health.filter(|health| *health != HealthStatus::Healthy.word()).map(str::to_owned)
}

/// Everything that is asked of one container; `before`: how often it had been restarted when the run began.
fn judge(
    probe: &DockerProbe,
    name: &str,
    state: &ContainerState,
    health: Option<&str>,
    before: u64,
) -> Reply {
    let mut replies = Vec::new();
    let word = |what: &str, wanted: &str| {
        let text = format!("{name} is {what}");
        if what == wanted { Reply::Yes(text) } else { Reply::No(format!("{text}, wanted {wanted}")) }
    };
    if let Some(status) = probe.status() {
        replies.push(word(&state.status, status.word()));
    }
    if let Some(wanted) = &probe.health {
        replies.push(match health {
            Some(health) => word(health, wanted.word()),
            None => Reply::Unknown(format!("{name} has no health check")),
        });
    }
    if let Some(wanted) = &probe.restarts {
        // Docker counts anew once somebody starts the container by hand.
        let since = if state.restarts >= before { state.restarts - before } else { state.restarts };
        replies.push(number(&format!("{name}: restarts"), since as f64, wanted.value));
    }
    if let Some(wanted) = probe.oom {
        let did = if state.oom_killed { "ran out of memory" } else { "never ran out of memory" };
        let text = format!("{name} {did}");
        replies.push(if state.oom_killed == wanted { Reply::Yes(text) } else { Reply::No(text) });
    }
    all(replies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Probe;

    fn check(asked: &str, state: &ContainerState, health: Option<&str>, expected: &Reply) {
        let probe: Probe = crate::spec::fragment(&format!("{{ docker: {{ on: api, {asked} }} }}")).unwrap();
        let Probe::Docker(probe) = probe else { panic!("a docker probe") };
        assert_eq!(&judge(&probe, "api-1", state, health, 2), expected, "{asked}");
    }

    #[test]
    fn only_what_runs_and_is_healthy_is_well() {
        for (status, health, expected) in [
            ("running", None, None),
            ("running", Some("healthy"), None),
            ("running", Some("starting"), Some("starting")),
            ("running", Some("unhealthy"), Some("unhealthy")),
            ("paused", Some("healthy"), Some("paused")),
            ("exited", None, Some("exited")),
            ("gone", None, Some("gone")),
        ] {
            assert_eq!(ailment(status, health).as_deref(), expected, "{status} {health:?}");
        }
    }

    #[test]
    fn each_thing_that_is_asked_is_answered() {
        let running = ContainerState { status: "running".into(), restarts: 3, ..Default::default() };
        let yes = |text: &str| Reply::Yes(text.into());
        let no = |text: &str| Reply::No(text.into());
        check("every: 1s", &running, None, &yes("api-1 is running"));
        check("state: paused", &running, None, &no("api-1 is running, wanted paused"));
        check("health: healthy", &running, Some("healthy"), &yes("api-1 is healthy"));
        check("health: healthy", &running, Some("starting"), &no("api-1 is starting, wanted healthy"));
        check("health: healthy", &running, None, &Reply::Unknown("api-1 has no health check".into()));
        check("restarts: == 0", &running, None, &no("api-1: restarts 1, wanted == 0"));
        check("restarts: <= 1", &running, None, &yes("api-1: restarts 1"));
        let anew = ContainerState { restarts: 0, ..running.clone() };
        check("restarts: == 0", &anew, None, &yes("api-1: restarts 0"));
        check("oom: false", &running, None, &yes("api-1 never ran out of memory"));
        let killed = ContainerState { oom_killed: true, ..running };
        check("oom: false", &killed, None, &no("api-1 ran out of memory"));
        check("state: running, oom: false", &killed, None, &no("api-1 ran out of memory"));
    }
}
