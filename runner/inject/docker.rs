//! Steps that Docker carries out, and commands on this machine: looked at, put into effect, taken back.
//!
//! What an undo must know and only a look can tell is found here before the step's debt is written
//! ([`Injector::find`]); the plan's undo with its gap filled is [`Injector::undo_of`].

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::underway::Course;
use super::{Applied, Haste, Injector, TakenBack};
use crate::agent::task::Task;
use crate::agent::wire::{Command, Outcome};
use crate::docker::limits::Change;
use crate::error::{Error, Result};
use crate::event::{ContainerState, Evidence};
use crate::fault::found::{Endpoint, Process};
use crate::fault::step::{Exec, Op, Step, Where};
use crate::heal;
use crate::ledger::Debt;

/// Containers that are looked at at once: more only queue up in the daemon.
pub(super) const LOOKS_AT_ONCE: usize = 16;

/// What a look at a step's container found, for the step and its undo.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// The process that is about to be told to end.
    Process(Process),
    /// How the container is attached to the network.
    Endpoint(Box<Endpoint>),
    /// What the limits become and what they were.
    Limits(Change),
    /// What an agent is to restore.
    Task(Task),
}

impl Injector {
    /// Looks at what steps are about to change, so that their undo can put it back. Changes nothing.
    ///
    /// # Errors
    /// A container can't be changed so: it is not attached, has less than the limit already, or is gone.
    pub async fn find(&self, steps: &[&Step]) -> Result<()> {
        // By value: futures over borrowed items are not `Send` in the compiler's eyes.
        let steps: Vec<Step> = steps.iter().map(|step| (*step).clone()).collect();
        let found: Vec<(u32, Option<Found>)> = stream::iter(steps)
            .map(|step| async move { self.found_of(&step).await.map(|found| (step.id, found)) })
            .buffered(LOOKS_AT_ONCE)
            .try_collect()
            .await?;
        let found = found.into_iter().filter_map(|(step, found)| Some((step, found?)));
        self.book().found.extend(found);
        Ok(())
    }

    async fn found_of(&self, step: &Step) -> Result<Option<Found>> {
        let container = &step.container;
        let named =
            |error: Error| Error::environment(format!("{container} can't be changed so")).because(error);
        Ok(Some(match (&step.apply, &step.undo) {
            (Op::Limit(limit), _) => {
                let lowering = self.docker.lowering(&self.id(container)?, limit).await;
                // The remedy is in the cause, which is where the figures are.
                Found::Limits(lowering.map_err(|error| match &error {
                    Error::Failure { hint: Some(hint), .. } => {
                        let hint = hint.clone();
                        named(error).hint(hint)
                    }
                    _ => named(error),
                })?)
            }
            (Op::Disconnect(network), _) => {
                let found = self.docker.attachment(&self.id(container)?, network).await?;
                Found::Endpoint(found.map(Box::new).ok_or_else(|| {
                    Error::environment(format!("{container} is not attached to network {network}"))
                })?)
            }
            (_, Some(Op::Renew(_))) => {
                let state = self.check_untouched(container).await?;
                Found::Process(Process { started_at: state.started_at })
            }
            (Op::Inside(task), Some(_)) if task.kind().has_gap() => return self.found_by_agent(step).await,
            _ => return Ok(None),
        }))
    }

    /// What the agent of a step finds there. Nothing before it is armed: it looks by itself then.
    async fn found_by_agent(&self, step: &Step) -> Result<Option<Found>> {
        let Some(link) = super::post(step).and_then(|post| self.link(&post)) else { return Ok(None) };
        match link.call(Command::Find { steps: vec![step.id] }).await? {
            Outcome::Found(mut found) => Ok(found.remove(&step.id).map(Found::Task)),
            other => Err(super::surprise(&other)),
        }
    }

    /// What takes a step back, with what was found; nothing where it is irreversible.
    pub fn undo_of(&self, step: &Step) -> Option<Op> {
        let undo = step.undo.clone()?;
        Some(match (undo, self.book().found.get(&step.id)) {
            (Op::Renew(_), Some(Found::Process(process))) => Op::Renew(Some(process.clone())),
            (Op::Reconnect(network, _), Some(Found::Endpoint(endpoint))) => {
                Op::Reconnect(network, Some(endpoint.clone()))
            }
            (Op::Restore(_), Some(Found::Task(task))) => Op::Restore(task.clone()),
            (Op::Unlimit(_), Some(Found::Limits(change))) => Op::Unlimit(Some(change.from.clone())),
            (undo, _) => undo,
        })
    }

    /// What a step owes: its undo, for whoever heals if we can't; nothing where it is irreversible.
    pub fn debt_of(&self, step: &Step) -> Result<Option<Debt>> {
        let Some(op) = self.undo_of(step) else { return Ok(None) };
        let (container, tag) = (step.container.clone(), self.tag.clone());
        Ok(Some(Debt::Undo { step: step.id, id: self.id(&container)?, container, op, tag }))
    }

    fn found(&self, step: &Step) -> Option<Found> {
        self.book().found.get(&step.id).cloned()
    }

    /// The container's state. One that someone else paused or stopped must be left as it was, so it can't be
    /// a target.
    pub(super) async fn check_untouched(&self, container: &str) -> Result<ContainerState> {
        let state = self.docker.state(&self.id(container)?).await?;
        match state {
            Some(state) if state.status == "running" => Ok(state),
            Some(state) => Err(Error::environment(format!(
                "container {container} is {} before anything was done to it",
                state.status
            ))
            .hint("bring it to `running` first, or choose another target")),
            None => Err(Error::environment(format!("container {container} is not there any more"))),
        }
    }

    /// What is started again must outlive its end.
    pub(super) async fn check_startable(&self, step: &Step) -> Result<()> {
        let starts = matches!(step.undo, Some(Op::Start | Op::Renew(_)));
        if starts && self.docker.goes_when_it_stops(&self.id(&step.container)?).await? {
            return Err(Error::environment(format!(
                "container {} can't be started again: Docker removes it as soon as it stops (`--rm`)",
                step.container
            ))
            .hint("run it without `--rm`, or leave out `restart: true`"));
        }
        Ok(())
    }

    /// Puts the steps of one container into effect, in order: one may depend on the container's state after
    /// another. Not before `at_ns`.
    pub(super) async fn fire_docker(&self, container: &str, steps: Vec<&Step>, at_ns: u64) -> Vec<Applied> {
        let before = match self.check_untouched(container).await {
            Ok(before) => before,
            Err(error) => {
                let why = error.chain();
                return steps
                    .into_iter()
                    .map(|step| Applied {
                        step: step.id,
                        at: Err(Error::environment(why.clone())),
                        seen: None,
                        touched: false,
                    })
                    .collect();
            }
        };
        tokio::time::sleep(Duration::from_nanos(at_ns.saturating_sub(self.clock.now_ns()))).await;
        let mut applied = Vec::new();
        for step in steps {
            applied.push(self.fire_one(step, &before).await);
        }
        applied
    }

    async fn fire_one(&self, step: &Step, before: &ContainerState) -> Applied {
        let id = match self.id(&step.container) {
            Ok(id) => id,
            Err(error) => return Applied { step: step.id, at: Err(error), seen: None, touched: false },
        };
        let course =
            Course { docker: self.docker.clone(), sent: self.sent.clone(), step: step.id, id: id.clone() };
        let mut seen = Some(Evidence::State(before.clone()));
        let (id, found) = (id.as_str(), self.found(step));
        let attempt = async {
            match (&step.apply, &found) {
                (Op::Pause, _) => self.docker.pause(id).await?,
                (Op::Kill(signal), _) => course.kill(signal).await?,
                (Op::Beat(beat), _) => {
                    course.kill(&beat.signal).await?;
                    let beat = beat.clone();
                    self.underway.begin(step.id, self.news.clone(), |mut called_off| async move {
                        course.beat(&beat, &mut called_off).await
                    });
                }
                (Op::Stop(grace), _) => {
                    let grace = grace.to_std();
                    course.kill(&self.first_signal(id, grace).await?).await?;
                    self.underway.begin(step.id, self.news.clone(), |mut called_off| async move {
                        course.stop(grace, &mut called_off).await
                    });
                }
                (Op::Restart(grace), _) => {
                    let grace = grace.to_std();
                    course.kill(&self.first_signal(id, grace).await?).await?;
                    self.underway.begin(step.id, self.news.clone(), |mut called_off| async move {
                        course.restart(grace, &mut called_off).await
                    });
                }
                (Op::Remove, _) => self.docker.remove(id).await?,
                (Op::Disconnect(_), Some(Found::Endpoint(endpoint))) => {
                    seen = Some(attached(endpoint));
                    self.docker.disconnect(id, endpoint).await?;
                }
                (Op::Limit(_), Some(Found::Limits(change))) => {
                    seen = self.docker.cgroup(id).await?.map(Evidence::Cgroup);
                    self.docker.set_limits(id, &change.to).await?;
                }
                (Op::Exec(command), _) => {
                    let ran = self.exec(command, &step.container, id).await?;
                    let failure = crate::exec::failure(&ran, command.timeout);
                    seen = Some(Evidence::Ran(ran));
                    if let Some(failure) = failure {
                        return Err(Error::environment(failure));
                    }
                }
                (op, _) => {
                    heal::undo(&self.docker, &self.run, &self.tag, &step.container, id, op).await.map(drop)?
                }
            }
            Ok(self.clock.now_ns())
        };
        let at = attempt.await;
        if at.is_err() && !matches!(seen, Some(Evidence::Ran(_))) {
            seen = None;
        }
        Applied { step: step.id, at, seen, touched: true }
    }

    /// What a stop begins with: without a grace nothing is asked first.
    async fn first_signal(&self, id: &str, grace: std::time::Duration) -> Result<String> {
        if grace.is_zero() { Ok("SIGKILL".into()) } else { self.docker.stop_signal(id).await }
    }

    async fn exec(&self, command: &Exec, container: &str, id: &str) -> Result<crate::event::Ran> {
        match command.place {
            Where::Container => self.docker.exec(id, command).await,
            Where::Host => crate::exec::on_host(command, container, id).await,
        }
    }

    /// What can be seen of a step that Docker carried out, now.
    pub(super) async fn look_by_docker(&self, step: &Step) -> Option<Evidence> {
        let id = &self.id(&step.container).ok()?;
        match (&step.apply, &self.found(step)) {
            (Op::Exec(_), _) => None,
            (Op::Limit(_), _) => self.docker.cgroup(id).await.ok()?.map(Evidence::Cgroup),
            (Op::Disconnect(_), Some(Found::Endpoint(was))) => {
                let now = self.docker.attachment(id, &was.network_id).await.ok()?;
                Some(now.as_ref().map_or_else(
                    || Evidence::Network {
                        network: was.network.clone(),
                        attached: false,
                        addresses: Vec::new(),
                    },
                    attached,
                ))
            }
            (Op::Remove, _) => {
                let state = self.docker.state(id).await.ok()?;
                let removed = || ContainerState { status: "removed".into(), ..ContainerState::default() };
                Some(Evidence::State(state.unwrap_or_else(removed)))
            }
            _ => self.docker.state(id).await.ok()?.map(Evidence::State),
        }
    }

    pub(super) async fn take_back_by_docker(&self, step: &Step, haste: Haste) -> TakenBack {
        let mut evidence = match haste {
            Haste::Looking => self.look_by_docker(step).await,
            Haste::Hurried => None,
        };
        self.underway.end(step.id).await;
        let result = match (self.undo_of(step), self.id(&step.container)) {
            (Some(Op::Exec(command)), Ok(id)) => {
                let ran = heal::exec(&self.docker, &step.container, &id, &command).await;
                ran.map(|ran| {
                    evidence = ran.map(Evidence::Ran);
                    (self.clock.now_ns(), true)
                })
            }
            (Some(undo), Ok(id)) => {
                heal::undo(&self.docker, &self.run, &self.tag, &step.container, &id, &undo)
                    .await
                    .map(|verified| (self.clock.now_ns(), verified))
            }
            (None, _) => Ok((self.clock.now_ns(), true)),
            (_, Err(error)) => Err(error),
        };
        TakenBack { step: step.id, result, evidence, expired: false }
    }

    /// The step whose signal a daemon's `kill` event tells of; nothing if somebody else sent it.
    pub fn signalled(&self, id: &str, signal: &str, at_ns: i64) -> Option<u32> {
        self.sent.step_of(id, signal, at_ns)
    }
}

fn attached(endpoint: &Endpoint) -> Evidence {
    let addresses = [&endpoint.ipv4, &endpoint.ipv6];
    Evidence::Network {
        network: endpoint.network.clone(),
        attached: true,
        addresses: addresses.into_iter().filter(|address| !address.is_empty()).cloned().collect(),
    }
}
