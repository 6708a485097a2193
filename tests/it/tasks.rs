//! Tasks of agents, each on processes of the test's own: fired, undone, and left by an agent that was killed.

use std::path::PathBuf;
use std::process::{Child, Command};

use chaos::agent::processes;
use chaos::agent::task::Task;
use chaos::agent::task::freeze::Freeze;
use chaos::agent::wire::{self, Outcome};

use super::agent_lab::{Agent, Namespace, delay, may_make_namespaces, step};

/// A program under a name that nothing else has, running until it is dropped.
struct Victim {
    child: Child,
    name: String,
    _folder: tempfile::TempDir,
}

impl Victim {
    fn start(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("{name}-{}", std::process::id());
        let program: PathBuf = folder.path().join(&name);
        std::fs::copy("/bin/sleep", &program).unwrap();
        let child = Command::new(&program).arg("600").spawn().unwrap();
        Self { child, name, _folder: folder }
    }

    fn is_stopped(&self) -> bool {
        processes::look(self.child.id().cast_signed()).expect("it runs").is_stopped()
    }

    fn freeze(&self) -> Task {
        Task::Freeze(Freeze { names: vec![self.name.clone()] })
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn frozen_processes_go_on_when_undone_and_when_the_input_ends() {
    if !may_make_namespaces("frozen_processes_go_on_when_undone_and_when_the_input_ends") {
        return;
    }
    let victim = Victim::start("frozen");
    let namespace = Namespace::new();
    let mut agent = Agent::keeping(&namespace, &["KILL"]);
    let armed = agent.arm_task(&victim.freeze());
    assert!(matches!(&armed, Outcome::Armed(engines) if engines[&0] == wire::Engine::Agent), "{armed:?}");
    assert!(!victim.is_stopped(), "arming changes nothing");
    agent.fire(&[0]);
    assert!(victim.is_stopped());
    let undone = agent.undo(&[0]);
    assert!(undone[&0].verified && undone[&0].counters.counted["stopped_processes"] == 1, "{undone:?}");
    assert!(!victim.is_stopped());

    agent.arm_task(&victim.freeze());
    agent.fire(&[0]);
    assert!(victim.is_stopped());
    assert!(agent.close().success());
    assert!(!victim.is_stopped());
}

#[test]
fn what_a_killed_agent_froze_another_one_sets_going() {
    if !may_make_namespaces("what_a_killed_agent_froze_another_one_sets_going") {
        return;
    }
    let victim = Victim::start("left-frozen");
    let namespace = Namespace::new();
    let mut agent = Agent::keeping(&namespace, &["KILL"]);
    agent.arm_task(&victim.freeze());
    agent.fire(&[0]);
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    assert!(victim.is_stopped(), "a stopped process does not go on by itself");
    let mut another = Agent::keeping(&namespace, &["KILL"]);
    let refused = another.arm_task(&victim.freeze());
    assert!(matches!(&refused, Outcome::Error(why) if why.contains("is stopped already")), "{refused:?}");
    let restore = wire::Command::Restore { tag: "test".into(), task: victim.freeze() };
    assert_eq!(another.ask(restore.clone()), Outcome::Purged(1));
    assert!(!victim.is_stopped());
    assert_eq!(another.ask(restore), Outcome::Purged(0), "restoring twice is no error");
}

#[test]
fn a_kernel_without_nfnetlink_keeps_nothing_from_what_needs_none() {
    if !may_make_namespaces("a_kernel_without_nfnetlink_keeps_nothing_from_what_needs_none") {
        return;
    }
    let victim = Victim::start("bare-kernel");
    let namespace = Namespace::new();
    let mut agent = Agent::without_nfnetlink(&namespace, &["KILL", "NET_ADMIN"]);
    let kernel = &agent.hello.kernel;
    assert!(!kernel.nft && !kernel.nfqueue && !kernel.nft_redirect && !kernel.conntrack, "{kernel:?}");
    agent.arm_task(&victim.freeze());
    agent.fire(&[0]);
    assert!(victim.is_stopped());
    assert!(agent.undo(&[0])[&0].verified);
    assert!(!victim.is_stopped());
    for effect in [wire::Effect::Drop, delay(20)] {
        let refused = agent.arm(&[step(1, wire::Direction::Egress, effect)]);
        assert!(
            matches!(&refused, Outcome::Error(why) if why.contains("this kernel has no nftables")),
            "{refused:?}"
        );
    }
    assert_eq!(agent.ask(wire::Command::Purge { tag: "test".into() }), Outcome::Purged(0));
    assert!(agent.close().success());
}

#[test]
fn what_can_t_be_frozen_is_refused_with_the_reason() {
    if !may_make_namespaces("what_can_t_be_frozen_is_refused_with_the_reason") {
        return;
    }
    let mut agent = Agent::keeping(&Namespace::new(), &["KILL"]);
    let nobody = Task::Freeze(Freeze { names: vec!["no-such-process".into()] });
    let refused = agent.arm_task(&nobody);
    assert!(
        matches!(&refused, Outcome::Error(why) if why.contains("no process is called no-such-process")),
        "{refused:?}"
    );
}
