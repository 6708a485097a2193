//! Tasks on a container of the lab's, by an agent beside it, as seen from inside the container.

use std::collections::BTreeMap;
use std::time::Duration;

use chaos::agent::task::burn::Burn;
use chaos::agent::task::crowd::Crowd;
use chaos::agent::task::disk::Disk;
use chaos::agent::task::files::{Files, Room};
use chaos::agent::task::fill::Fill;
use chaos::agent::task::signal::Signal;
use chaos::agent::task::skew::Skew;
use chaos::agent::task::{Capability, Task};
use chaos::agent::wire::{Command, Hello, Outcome, Reply, Request};
use chaos::docker::{AgentSpec, Attached, Docker, Found};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::docker::{Run, connect, eventually, store, within_limit};

/// What every run of these tests names its things by.
const TAG: &str = "inside";

/// An agent beside a target, spoken to as the runner does.
struct Agent {
    attached: Attached,
    next_id: u64,
}

impl Agent {
    async fn beside(docker: &Docker, run: &Run, target: &Found, task: &Task, name: &str) -> Self {
        let capabilities: Vec<Capability> = task.kind().capabilities().to_vec();
        let spec = AgentSpec {
            run: run.0.clone(),
            name: name.into(),
            target_id: target.id.clone(),
            place: task.kind().place(),
            capabilities,
            labels: BTreeMap::new(),
        };
        let mut attached = docker.start_agent(spec).await.unwrap();
        let hello = attached.output.next_line().await.unwrap().expect("an agent says hello");
        serde_json::from_str::<Hello>(&hello).unwrap();
        Self { attached, next_id: 0 }
    }

    async fn ask(&mut self, command: Command) -> Outcome {
        self.next_id += 1;
        let mut line = serde_json::to_vec(&Request { id: self.next_id, command }).unwrap();
        line.push(b'\n');
        self.attached.input.write_all(&line).await.unwrap();
        self.attached.input.flush().await.unwrap();
        let reply = self.attached.output.next_line().await.unwrap().expect("the agent answers");
        serde_json::from_str::<Reply>(&reply).unwrap().outcome
    }

    async fn arm(&mut self, task: &Task) -> Outcome {
        let tasks = BTreeMap::from([(0, task.clone())]);
        let deadline_ns = 600_000_000_000;
        self.ask(Command::Arm { tag: TAG.into(), impairments: Vec::new(), tasks, engine: None, deadline_ns })
            .await
    }

    async fn fire(&mut self, task: &Task) {
        let armed = self.arm(task).await;
        assert!(matches!(armed, Outcome::Armed(_)), "{armed:?}");
        let fired = self.ask(Command::Fire { steps: vec![0], at_ns: None }).await;
        assert!(matches!(fired, Outcome::Fired(_)), "{fired:?}");
    }

    /// What restoring the task must know.
    async fn found(&mut self) -> Task {
        match self.ask(Command::Find { steps: vec![0] }).await {
            Outcome::Found(found) => found[&0].clone(),
            other => panic!("{other:?}"),
        }
    }

    async fn counted(&mut self) -> BTreeMap<String, u64> {
        match self.ask(Command::Read { steps: vec![0] }).await {
            Outcome::Counters(counters) => counters[&0].counted.clone(),
            other => panic!("{other:?}"),
        }
    }

    async fn undo(&mut self) {
        match self.ask(Command::Undo { steps: vec![0] }).await {
            Outcome::Undone(undone) => assert!(undone[&0].verified, "{undone:?}"),
            other => panic!("{other:?}"),
        }
    }
}

/// The memory, in bytes, and the threads that Docker's own look at the container's cgroup shows.
async fn seen(docker: &Docker, target: &Found) -> (u64, u64) {
    let cgroup = docker.cgroup(&target.id).await.unwrap().expect("it runs");
    (cgroup.memory_used_bytes, cgroup.pids)
}

/// How far the target's clock is ahead, in whole seconds, by the date that it puts into an answer.
async fn ahead_s(docker: &Docker, target: &Found) -> i64 {
    let port = docker.published(&target.id).await.unwrap()[&8080];
    let mut stream = tokio::net::TcpStream::connect(port).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: store\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let date =
        answer.lines().find_map(|line| line.strip_prefix("date: ")).unwrap_or_else(|| panic!("{answer}"));
    let theirs = jiff::fmt::rfc2822::parse(date).unwrap().timestamp();
    theirs.as_second() - jiff::Timestamp::now().as_second()
}

#[test]
fn cpu_is_burnt_on_the_target_s_account() {
    let run = Run::new("burn");
    within_limit(async {
        let docker = connect().await;
        let target = store(&docker, &run).await;
        let task = Task::Burn(Burn { amount: "0.2".parse().unwrap() });
        let mut agent = Agent::beside(&docker, &run, &target, &task, "agent").await;
        agent.fire(&task).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let counted = agent.counted().await;
        let (burnt, on_account) = (counted["burnt_cpu_ms"], counted["target_cpu_ms"]);
        // A busy machine may give less; nothing gives more.
        assert!((100..=500).contains(&burnt) && on_account >= burnt, "{counted:?}");
        agent.undo().await;
        assert_eq!(seen(&docker, &target).await.1, threads(&docker, &target).await);
    });
}

/// The threads that the target has by itself.
async fn threads(docker: &Docker, target: &Found) -> u64 {
    eventually(async || {
        let (_, now) = seen(docker, target).await;
        (now < 20).then_some(now)
    })
    .await
}

#[test]
fn memory_is_filled_to_the_level_and_given_back() {
    let run = Run::new("fill");
    within_limit(async {
        let docker = connect().await;
        let target = store(&docker, &run).await;
        let (before, _) = seen(&docker, &target).await;
        let level = 200u64 << 20;
        let task = Task::Fill(Fill { level: "200MiB".parse().unwrap(), rate_bytes_per_s: None, hold: None });
        let mut agent = Agent::beside(&docker, &run, &target, &task, "agent").await;
        assert!(matches!(agent.arm(&task).await, Outcome::Armed(_)));
        assert!(seen(&docker, &target).await.0 < before + (8 << 20), "arming changes nothing");
        assert!(matches!(agent.ask(Command::Fire { steps: vec![0], at_ns: None }).await, Outcome::Fired(_)));
        let full = loop {
            let counted = agent.counted().await;
            if counted["reached"] == 1 {
                break counted;
            }
        };
        assert!(full["target_memory_bytes"].abs_diff(level) < level / 50, "{full:?}");
        let (filled, _) = seen(&docker, &target).await;
        assert!(filled.abs_diff(level) < level / 50, "Docker sees {filled}");
        agent.undo().await;
        let (after, _) = seen(&docker, &target).await;
        assert!(after < before + (8 << 20), "{before} before, {after} after");
    });
}

#[test]
fn threads_are_used_up_and_given_back() {
    let run = Run::new("crowd");
    within_limit(async {
        let docker = connect().await;
        let target = store(&docker, &run).await;
        let (_, before) = seen(&docker, &target).await;
        let task = Task::Crowd(Crowd { count: None });
        let mut agent = Agent::beside(&docker, &run, &target, &task, "agent").await;
        agent.fire(&task).await;
        eventually(async || (seen(&docker, &target).await.1 >= 128).then_some(())).await;
        agent.undo().await;
        let (_, after) = seen(&docker, &target).await;
        assert!(after <= before + 4, "{before} before, {after} after");
    });
}

#[test]
fn a_file_system_is_filled_and_emptied_however_the_agent_ends() {
    let run = Run::new("disk");
    within_limit(async {
        let docker = connect().await;
        let target = store(&docker, &run).await;
        let task = Task::Disk(Disk {
            path: "/dev/shm".into(),
            level: chaos::spec::amount::DiskLevel::Leave(10_000_000),
        });
        let mut agent = Agent::beside(&docker, &run, &target, &task, "agent").await;
        agent.fire(&task).await;
        let full = loop {
            let counted = agent.counted().await;
            if counted["reached"] == 1 {
                break counted;
            }
        };
        assert!(full["free_bytes"].abs_diff(10_000_000) < 1_000_000, "{full:?}");
        let (id, before) = (agent.attached.id.clone(), full["free_bytes_before"]);
        docker.kill(&id, "SIGKILL").await.unwrap();
        eventually(async || docker.state(&id).await.unwrap().is_none().then_some(())).await;
        let mut another = Agent::beside(&docker, &run, &target, &task, "another").await;
        let restored = another.ask(Command::Restore { tag: TAG.into(), task: task.clone() }).await;
        assert!(matches!(restored, Outcome::Purged(_)), "{restored:?}");
        another.fire(&task).await;
        assert_eq!(another.counted().await["free_bytes_before"], before, "it was not emptied");
        another.undo().await;
        let read_only =
            Task::Disk(Disk { path: "/".into(), level: chaos::spec::amount::DiskLevel::Leave(10_000_000) });
        let refused = another.arm(&read_only).await;
        assert!(matches!(&refused, Outcome::Error(why) if why.contains("read-only")), "{refused:?}");
    });
}

#[test]
fn clocks_are_skewed_and_set_right_however_the_agent_ends() {
    let run = Run::new("skew");
    within_limit(async {
        let docker = connect().await;
        let target = store(&docker, &run).await;
        let skew = |offset: &str| {
            Task::Skew(Skew {
                offset: offset.parse().unwrap(),
                every: None,
                drift: chaos::spec::amount::Drift::ZERO,
                monotonic: false,
            })
        };
        assert!(ahead_s(&docker, &target).await.abs() <= 2);
        let task = skew("1h");
        let mut agent = Agent::beside(&docker, &run, &target, &task, "agent").await;
        agent.fire(&task).await;
        assert_eq!(agent.counted().await["skewed_processes"], 1);
        eventually(async || ((ahead_s(&docker, &target).await - 3_600).abs() <= 2).then_some(())).await;
        agent.undo().await;

        // The lab's server writes no date older than its last, so that only a later one shows. To be armed again
        // the vDSO must be as the kernel made it.
        let task = skew("2h");
        agent.fire(&task).await;
        let id = agent.attached.id.clone();
        docker.kill(&id, "SIGKILL").await.unwrap();
        eventually(async || docker.state(&id).await.unwrap().is_none().then_some(())).await;
        eventually(async || ((ahead_s(&docker, &target).await - 7_200).abs() <= 2).then_some(())).await;
        let mut another = Agent::beside(&docker, &run, &target, &task, "another").await;
        let refused = another.arm(&task).await;
        assert!(matches!(&refused, Outcome::Error(why) if why.contains("is skewed already")), "{refused:?}");
        let restore = |tag: &str| Command::Restore { tag: tag.into(), task: task.clone() };
        assert_eq!(another.ask(restore("somebody")).await, Outcome::Purged(0), "another's is left alone");
        assert_eq!(another.ask(restore(TAG)).await, Outcome::Purged(1));
        assert_eq!(another.ask(restore(TAG)).await, Outcome::Purged(0));
        let armed = another.arm(&task).await;
        assert!(matches!(armed, Outcome::Armed(_)), "{armed:?}");
    });
}

#[test]
fn no_file_can_be_opened_and_limits_are_given_back_however_the_agent_ends() {
    let run = Run::new("files");
    within_limit(async {
        let docker = connect().await;
        let target = store(&docker, &run).await;
        let pid = docker.state(&target.id).await.unwrap().unwrap().pid.expect("it runs");
        let limit = || {
            let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
            limits.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned()
        };
        let before = limit();
        let port = docker.published(&target.id).await.unwrap()[&8080];
        let mut open = tokio::net::TcpStream::connect(port).await.unwrap();
        assert!(answers(&mut open).await);

        let task = Task::Files(Files { room: Room::Leave(0), former: Vec::new() });
        let mut agent = Agent::beside(&docker, &run, &target, &task, "agent").await;
        assert!(matches!(agent.arm(&task).await, Outcome::Armed(_)));
        agent.found().await;
        assert_eq!(limit(), before, "looking changes nothing");
        assert!(matches!(agent.ask(Command::Fire { steps: vec![0], at_ns: None }).await, Outcome::Fired(_)));
        let counted = agent.counted().await;
        assert_eq!((counted["limited_processes"], counted["full_processes"]), (1, 1), "{counted:?}");
        assert!(answers(&mut open).await, "what is open stays open");
        let mut waiting = tokio::net::TcpStream::connect(port).await.unwrap();
        let answered = tokio::time::timeout(Duration::from_millis(300), answers(&mut waiting)).await;
        assert!(answered.is_err(), "nobody can accept it");
        agent.undo().await;
        assert_eq!(limit(), before);
        assert!(answers(&mut tokio::net::TcpStream::connect(port).await.unwrap()).await);

        assert!(matches!(agent.arm(&task).await, Outcome::Armed(_)));
        let found = agent.found().await;
        assert!(matches!(agent.ask(Command::Fire { steps: vec![0], at_ns: None }).await, Outcome::Fired(_)));
        assert_ne!(limit(), before);
        let id = agent.attached.id.clone();
        docker.kill(&id, "SIGKILL").await.unwrap();
        eventually(async || docker.state(&id).await.unwrap().is_none().then_some(())).await;
        let mut another = Agent::beside(&docker, &run, &target, &task, "another").await;
        let restore = || Command::Restore { tag: TAG.into(), task: found.clone() };
        assert_eq!(another.ask(restore()).await, Outcome::Purged(1));
        assert_eq!(limit(), before);
        assert_eq!(another.ask(restore()).await, Outcome::Purged(0), "restoring twice is no error");
    });
}

/// True once the store answers a request on this connection.
async fn answers(stream: &mut tokio::net::TcpStream) -> bool {
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: store\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    let len = stream.read(&mut answer).await.unwrap();
    answer[..len].starts_with(b"HTTP/1.1 200")
}

#[test]
fn the_first_process_gets_only_signals_that_it_handles() {
    let run = Run::new("signal");
    within_limit(async {
        let docker = connect().await;
        let target = store(&docker, &run).await;
        let signal = |signal| Task::Signal(Signal { names: vec!["chaos".into()], signal, every: None });
        let mut agent = Agent::beside(&docker, &run, &target, &signal(9), "agent").await;
        let refused = agent.arm(&signal(9)).await;
        assert!(
            matches!(&refused, Outcome::Error(why) if why.contains("is the container's first process")),
            "{refused:?}"
        );
        agent.fire(&signal(15)).await;
        eventually(async || docker.state(&target.id).await.unwrap().filter(|state| state.pid.is_none()))
            .await;
    });
}
