//! The daemon's side, for real: the image, agents and their life line, containers, networks, events.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use chaos::agent::task::{NET_ADMIN, Place};
use chaos::docker::{AgentSpec, ContainerSpec, Docker, Found, LeftoverKind, full_name, label};
use chaos::lab::role::upstream::{Head, Upstream};
use futures_util::StreamExt;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// The program under test.
pub const CHAOS: &str = env!("CARGO_BIN_EXE_chaos");
/// Nothing here takes longer on a machine that works, however busy.
const LIMIT: Duration = Duration::from_secs(60);
/// How often to look whether something has happened that brings no event.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A connection that makes its image from the program, not from this test.
pub async fn connect() -> Docker {
    Docker::connect().await.expect("these tests need Docker").with_program(CHAOS)
}

/// Runs a test's body on a runtime of its own, within [`LIMIT`].
pub fn within_limit<T>(body: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, body).await.expect("took too long") })
}

/// Waits until `look` finds something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    loop {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A run whose things are removed when the test ends, however it ends.
pub struct Run(pub String);

impl Run {
    pub fn new(test: &str) -> Self {
        Self(format!("test-{test}-{}", std::process::id()))
    }

    /// What is left of it on the daemon.
    pub async fn left(&self, docker: &Docker) -> Vec<String> {
        let left = docker.labelled(&[(label::RUN, &self.0)]).await.unwrap();
        left.into_iter().map(|one| one.name).collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let run = self.0.clone();
        // A thread of its own: the test's runtime may be unwinding.
        let removed = std::thread::spawn(move || within_limit(remove_all(&run))).join();
        assert!(removed.is_ok() || std::thread::panicking(), "could not clean up after {}", self.0);
    }
}

async fn remove_all(run: &str) {
    let docker = connect().await;
    for kind in [LeftoverKind::Container, LeftoverKind::Network, LeftoverKind::Volume] {
        for one in docker.labelled(&[(label::RUN, run)]).await.unwrap() {
            match kind {
                kind if kind != one.kind => {}
                LeftoverKind::Container => docker.remove(&one.id).await.unwrap(),
                LeftoverKind::Network => docker.remove_network(&one.id).await.unwrap(),
                LeftoverKind::Volume => docker.remove_volume(&one.id).await.unwrap(),
            }
        }
    }
}

/// A store of the lab in a network of its own: something to do things to.
pub async fn store(docker: &Docker, run: &Run) -> Found {
    docker.create_network(&run.0, "lab", &BTreeMap::new()).await.unwrap();
    let spec = ContainerSpec {
        run: run.0.clone(),
        name: "store-1".into(),
        service: "store".into(),
        command: ["inside", "role", "store"].map(str::to_owned).to_vec(),
        network: full_name(&run.0, "lab"),
        publish: vec![8080],
        volume: true,
        labels: BTreeMap::from([(label::PROTECT.to_owned(), "true".to_owned())]),
    };
    let started = docker.run_container(&spec).await.unwrap();
    let port = started.ports[&8080];
    assert!(port.ip().is_loopback(), "{port} is not on loopback");
    assert_eq!(docker.published(&started.id).await.unwrap(), started.ports);
    // A first process that has not yet asked for SIGTERM would never see one.
    let client = Upstream::new(&port.to_string()).unwrap();
    eventually(async || client.ask(&Head::get("/health"), Bytes::new()).await.ok()).await;
    found(docker, &started.id).await.expect("it runs")
}

async fn found(docker: &Docker, id: &str) -> Option<Found> {
    docker.containers().await.unwrap().into_iter().find(|found| found.id == id)
}

async fn status(docker: &Docker, id: &str) -> String {
    docker.state(id).await.unwrap().map_or_else(|| "none".into(), |state| state.status)
}

#[test]
fn facts_are_filled_in() {
    within_limit(async {
        let facts = connect().await.facts().await.unwrap();
        let api: Vec<u32> = facts.api.split('.').map(|part| part.parse().unwrap()).collect();
        assert!(api[..] >= [1, 41][..], "{facts:?}");
        assert!(facts.cpus > 0 && ["1", "2"].contains(&facts.cgroup.as_str()), "{facts:?}");
        assert!(
            !facts.version.is_empty() && !facts.kernel.is_empty() && !facts.storage_driver.is_empty(),
            "{facts:?}"
        );
    });
}

#[test]
fn containers_are_seen_as_the_lab_names_them() {
    let run = Run::new("seen");
    within_limit(async {
        let docker = connect().await;
        let store = store(&docker, &run).await;
        assert_eq!((store.run.as_deref(), store.role.as_deref()), (Some(run.0.as_str()), Some("lab")));
        let seen = &store.container;
        assert_eq!((seen.name.as_str(), seen.service.as_deref()), ("store-1", Some("store")));
        assert_eq!((&seen.networks[..], seen.restart_policy.as_str()), (&["lab".to_owned()][..], "no"));
        assert_eq!((seen.host_network, seen.protected), (false, true));
        assert_eq!(docker.addresses(&store.id).await.unwrap(), store.addresses);
        assert!(store.addresses.iter().any(std::net::IpAddr::is_ipv4), "{:?}", store.addresses);
    });
}

#[test]
fn what_takes_back_is_no_error_when_there_is_nothing_to_take_back() {
    let run = Run::new("idempotent");
    within_limit(async {
        let docker = connect().await;
        let id = store(&docker, &run).await.id;
        docker.unpause(&id).await.unwrap();
        docker.start(&id).await.unwrap();
        docker.pause(&id).await.unwrap();
        assert_eq!(status(&docker, &id).await, "paused");
        assert!(found(&docker, &id).await.is_some(), "paused containers are listed");
        assert!(docker.pause(&id).await.is_err(), "somebody else paused it");
        docker.unpause(&id).await.unwrap();
        assert_eq!(status(&docker, &id).await, "running");
        let first_pid = docker.state(&id).await.unwrap().unwrap().pid;
        docker.kill(&id, "SIGKILL").await.unwrap();
        let dead =
            eventually(async || docker.state(&id).await.unwrap().filter(|state| state.pid.is_none())).await;
        assert_eq!((dead.status.as_str(), dead.exit_code), ("exited", Some(137)));
        assert!(found(&docker, &id).await.is_none(), "dead containers are not listed");
        docker.unpause(&id).await.unwrap();
        docker.stop(&id).await.unwrap();
        assert!(docker.kill(&id, "SIGKILL").await.is_err(), "nothing to kill");
        docker.start(&id).await.unwrap();
        let again = docker.state(&id).await.unwrap().unwrap();
        assert!(again.pid.is_some() && again.pid != first_pid && again.exit_code.is_none(), "{again:?}");
        tokio::join!(docker.remove(&id), docker.remove(&id)).0.unwrap();
        docker.remove(&id).await.unwrap();
        docker.unpause(&id).await.unwrap();
        assert_eq!(docker.state(&id).await.unwrap(), None);
        assert_eq!(docker.addresses(&id).await.unwrap(), Vec::<std::net::IpAddr>::new());
        docker.remove_network(&full_name(&run.0, "lab")).await.unwrap();
        docker.remove_network(&full_name(&run.0, "lab")).await.unwrap();
        assert_eq!(run.left(&docker).await, Vec::<String>::new());
    });
}

#[test]
fn what_a_daemon_lost_is_ended_and_nothing_beside_it() {
    within_limit(async {
        let (docker, run, other) = (connect().await, Run::new("lost"), Run::new("beside"));
        let (lost, beside) = (store(&docker, &run).await, store(&docker, &other).await);
        docker.evict(&run.0, &lost.id).await.unwrap();
        eventually(|| async { (status(&docker, &lost.id).await == "exited").then_some(()) }).await;
        assert_eq!(status(&docker, &beside.id).await, "running");
        docker.start_whole(&run.0, &lost.id).await.unwrap();
        assert_eq!(status(&docker, &lost.id).await, "running");
        let agents =
            docker.labelled(&[(label::RUN, &run.0), (label::ROLE, label::ROLE_AGENT)]).await.unwrap();
        assert_eq!(agents, []);
    });
}

#[test]
fn roles_end_by_themselves_on_sigterm() {
    let run = Run::new("sigterm");
    within_limit(async {
        let docker = connect().await;
        let id = store(&docker, &run).await.id;
        docker.stop(&id).await.unwrap();
        let state = docker.state(&id).await.unwrap().unwrap();
        assert_eq!(
            (state.status.as_str(), state.exit_code),
            ("exited", Some(0)),
            "{}",
            docker.last_words(&id, 5).await
        );
    });
}

#[test]
fn the_same_image_loaded_four_times_at_once_is_one_image() {
    within_limit(async {
        // A program never seen before, and small: each run of this test leaves its image for an hour.
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        std::fs::write(&program, now.as_nanos().to_string()).unwrap();
        let mut connections = Vec::new();
        for _ in 0..4 {
            connections.push(connect().await.with_program(&program));
        }
        let tags = futures_util::future::join_all(connections.iter().map(Docker::ensure_image)).await;
        let tags: Vec<_> = tags.into_iter().map(Result::unwrap).collect();
        assert!(tags.windows(2).all(|pair| pair[0] == pair[1]), "{tags:?}");
        assert!(tags[0].starts_with("chaos:") && tags[0].len() == "chaos:".len() + 12, "{tags:?}");
    });
}

#[test]
fn events_tell_what_happens_from_the_call_on() {
    let run = Run::new("events");
    within_limit(async {
        let docker = connect().await;
        let id = store(&docker, &run).await.id;
        // Not polled before the deeds: what happens between is told all the same.
        let events = docker.events();
        docker.pause(&id).await.unwrap();
        docker.unpause(&id).await.unwrap();
        docker.kill(&id, "SIGKILL").await.unwrap();
        let mut ours = events.filter(|event| std::future::ready(event.id == id));
        let mut seen = Vec::new();
        while seen.last().is_none_or(|action| action != "die") {
            let event = ours.next().await.unwrap();
            assert_eq!(event.name, "store-1");
            assert!(event.time_ns > 0);
            assert_eq!(
                event.attributes.get("exitCode").map(String::as_str),
                (event.action == "die").then_some("137")
            );
            seen.push(event.action);
        }
        assert_eq!(seen, ["pause", "unpause", "kill", "die"]);
    });
}

fn agent(run: &Run, target: &Found) -> AgentSpec {
    AgentSpec {
        run: run.0.clone(),
        name: format!("agent-{}", target.container.name),
        target_id: target.id.clone(),
        place: Place::Network,
        capabilities: vec![NET_ADMIN],
        labels: BTreeMap::new(),
    }
}

#[test]
fn an_agent_speaks_and_ends_with_its_input() {
    let run = Run::new("agent");
    within_limit(async {
        let docker = connect().await;
        let target = store(&docker, &run).await;
        let mut agent = docker.start_agent(agent(&run, &target)).await.unwrap();
        let hello = agent.output.next_line().await.unwrap().expect("the agent says hello first");
        assert!(!hello.is_empty() && !hello.ends_with('\n'), "{hello:?}");
        assert!(
            docker.containers().await.unwrap().iter().all(|found| found.id != agent.id),
            "agents are not targets"
        );
        let labelled = docker.labelled(&[(label::RUN, &run.0), (label::ROLE, "agent")]).await.unwrap();
        assert_eq!(labelled.iter().map(|one| &one.id).collect::<Vec<_>>(), [&agent.id]);
        assert_eq!((labelled[0].host.as_str(), labelled[0].keep), (chaos::docker::host_id().as_str(), false));
        agent.input.shutdown().await.unwrap();
        while agent.output.next_line().await.unwrap().is_some() {}
        eventually(async || docker.state(&agent.id).await.unwrap().is_none().then_some(())).await;
    });
}

#[test]
fn an_agent_ends_when_its_handle_is_dropped() {
    let run = Run::new("dropped");
    within_limit(async {
        let docker = connect().await;
        let target = store(&docker, &run).await;
        let mut agent = docker.start_agent(agent(&run, &target)).await.unwrap();
        agent.output.next_line().await.unwrap().expect("the agent says hello first");
        let id = agent.id.clone();
        assert_eq!(status(&docker, &id).await, "running");
        drop(agent);
        eventually(async || docker.state(&id).await.unwrap().is_none().then_some(())).await;
    });
}

#[test]
fn an_agent_that_can_not_start_leaves_nothing() {
    let run = Run::new("no-target");
    within_limit(async {
        let docker = connect().await;
        let target = store(&docker, &run).await;
        docker.stop(&target.id).await.unwrap();
        let error = docker.start_agent(agent(&run, &target)).await.err().expect("its target does not run");
        assert_eq!(error.to_string(), "could not start the agent of agent-store-1");
        assert!(docker.labelled(&[(label::RUN, &run.0), (label::ROLE, "agent")]).await.unwrap().is_empty());
    });
}

/// Set for the child of `an_agent_ends_when_its_runner_is_killed`: the run it starts an agent for.
const HOLD: &str = "CHAOS_TEST_HOLD_AGENT_OF";
/// What the child says when its agent has spoken.
const HELD: &str = "holding an agent";

#[test]
fn an_agent_ends_when_its_runner_is_killed() {
    let run = Run::new("killed");
    within_limit(async {
        let docker = connect().await;
        store(&docker, &run).await;
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--ignored", "it::docker::holds_an_agent"])
            .env(HOLD, &run.0)
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut says = BufReader::new(child.stdout.take().unwrap()).lines();
        while !says.next_line().await.unwrap().expect("the child holds its agent").contains(HELD) {}
        let agents = docker.labelled(&[(label::RUN, &run.0), (label::ROLE, "agent")]).await.unwrap();
        let id = &agents[0].id;
        assert_eq!(status(&docker, id).await, "running");
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        let killed = std::time::Instant::now();
        eventually(async || (status(&docker, id).await != "running").then_some(())).await;
        assert!(killed.elapsed() < Duration::from_secs(5), "{:?} after the runner's death", killed.elapsed());
    });
}

#[test]
#[ignore = "the child of the test above"]
fn holds_an_agent() {
    let Ok(name) = std::env::var(HOLD) else { return };
    within_limit(async {
        let docker = connect().await;
        let found = docker.containers().await.unwrap();
        let target = found.into_iter().find(|found| found.run.as_deref() == Some(&name)).unwrap();
        let run = std::mem::ManuallyDrop::new(Run(name));
        let mut agent = docker.start_agent(agent(&run, &target)).await.unwrap();
        agent.output.next_line().await.unwrap().expect("the agent says hello first");
        // Not `println!`: the runner of the tests must not hold it back.
        std::io::Write::write_all(&mut std::io::stdout(), format!("{HELD}\n").as_bytes()).unwrap();
        std::future::pending::<()>().await;
    });
}

/// Where containerd keeps what belongs to a task while it runs, whether it is the daemon's own or the machine's.
fn task_folder(id: &str) -> Option<PathBuf> {
    ["/run/docker/containerd/daemon", "/run/containerd"]
        .map(|root| Path::new(root).join("io.containerd.runtime.v2.task/moby").join(id))
        .into_iter()
        .find(|folder| folder.exists())
}

#[test]
fn a_start_that_containerd_has_not_yet_cleared_away_after_is_tried_again() {
    let run = Run::new("half-started");
    within_limit(async {
        let docker = connect().await;
        let id = store(&docker, &run).await.id;
        let folder = task_folder(&id).expect("the daemon runs here, with a containerd of this kind");
        docker.stop(&id).await.unwrap();
        eventually(async || (!folder.exists()).then_some(())).await;
        std::fs::create_dir(&folder).unwrap();
        let refused = docker.start(&id).await.unwrap_err().chain();
        assert!(refused.contains("file exists"), "{refused}");
        let cleared = async {
            // Its processes are looked for once it was refused.
            eventually(async || {
                run.left(&docker).await.iter().any(|name| name.contains("evict")).then_some(())
            })
            .await;
            std::fs::remove_dir(&folder).unwrap();
        };
        let (started, ()) = tokio::join!(docker.start_whole(&run.0, &id), cleared);
        started.unwrap();
        assert_eq!(status(&docker, &id).await, "running");
    });
}
