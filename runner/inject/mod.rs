//! The interpreter of steps: arms them, puts them into effect together, looks at them, and takes them back.
//!
//! This is the only place that changes a target on purpose, and it knows no fault by name: it runs
//! [`Op`]s. Network steps go to one agent per container, everything else to Docker. The caller has written
//! what is owed to the ledger before it calls [`Injector::fire`], without exception.

mod docker;
mod link;
mod reach;
mod sent;
mod underway;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;

use crate::agent::task::{Capability, NET_ADMIN, Place};
use crate::agent::wire::{Command, Engine, Impairment, Kernel, Net, Outcome};
use crate::clock::Clock;
use crate::docker::{AgentSpec, Docker, full_name};
use crate::error::{Error, Exit, Result};
use crate::event::Evidence;
use crate::fault::step::{Op, Packets, Peer, Step};
use crate::heal;
use crate::units::Duration;
pub(crate) use link::Link;

/// Agents that are started at once: more only queue up in the daemon.
const STARTED_AT_ONCE: usize = 16;

/// What an injector tells the run of its own accord.
#[derive(Debug)]
pub enum News {
    /// An agent ended.
    AgentGone {
        /// The container it worked on.
        container: String,
        /// Where it sat.
        place: Place,
        /// Why, as far as is known.
        why: String,
    },
    /// An agent's deadline passed and it undid these steps.
    Expired {
        /// Step numbers.
        steps: Vec<u32>,
    },
    /// A step that goes on after it was fired could not.
    Failed {
        /// The step's number.
        step: u32,
        /// Why.
        why: String,
    },
}

/// A container of the plan, found on the daemon.
#[derive(Clone, Debug)]
pub struct Bound {
    /// Its id.
    pub id: String,
    /// Its addresses on all networks.
    pub addresses: Vec<IpAddr>,
}

/// A step that is ready to be fired.
#[derive(Debug)]
pub struct ArmedStep {
    /// The step's number.
    pub step: u32,
    /// What will carry it out.
    pub engine: Engine,
    /// The kernel it will happen in, where an agent looked.
    pub kernel: Option<Kernel>,
}

/// What came of putting a step into effect.
#[derive(Debug)]
pub struct Applied {
    /// The step's number.
    pub step: u32,
    /// Since when it is in effect, on the run's clock; or why it is not.
    pub at: Result<u64>,
    /// What was seen of the container just before, or of the user's command.
    pub seen: Option<Evidence>,
    /// False if the container was left alone: it was not as we found it when arming.
    pub touched: bool,
}

/// What came of taking a step back.
#[derive(Debug)]
pub struct TakenBack {
    /// The step's number.
    pub step: u32,
    /// When it was gone and whether a look found nothing left; or why it may still be there.
    pub result: Result<(u64, bool)>,
    /// What was seen just before.
    pub evidence: Option<Evidence>,
}

/// Runs steps for one run.
pub struct Injector {
    docker: Docker,
    run: String,
    tag: String,
    clock: Clock,
    bound: BTreeMap<String, Bound>,
    links: BTreeMap<Post, Link>,
    /// Agents whose containers started anew since they were armed: their namespaces are no longer those.
    stale: BTreeSet<Post>,
    steps: BTreeMap<Post, Vec<Step>>,
    deadline: Duration,
    news: mpsc::Sender<News>,
    /// What was found of the containers of steps that Docker carries out.
    found: BTreeMap<u32, docker::Found>,
    underway: underway::Underway,
    sent: sent::Sent,
}

/// Which container an agent sits beside, and what it shares with it.
type Post = (String, Place);

/// The agent that carries out a step; nothing where Docker's API does.
fn post(step: &Step) -> Option<Post> {
    step.apply.place().map(|place| (step.container.clone(), place))
}

/// The name of an agent among its run's containers, for one that was made for `what`.
pub(crate) fn agent_name(what: &str, place: Place, container: &str) -> String {
    match place {
        Place::Network => format!("{what}-{container}"),
        place => format!("{what}-{}-{container}", place.word()),
    }
}

/// What the agents of a run name things in the kernel by: at most 12 letters and digits.
pub fn tag_of(run: &str) -> String {
    let letters: Vec<char> = run.chars().filter(char::is_ascii_alphanumeric).collect();
    letters[letters.len().saturating_sub(12)..].iter().collect()
}

impl Injector {
    /// An injector for `run`, over the containers in `bound` by their names in the plan. Each network step
    /// is undone by its agent `deadline` after it was fired, whatever happens to us.
    pub fn new(
        docker: Docker,
        run: &str,
        clock: Clock,
        bound: BTreeMap<String, Bound>,
        deadline: Duration,
        news: mpsc::Sender<News>,
    ) -> Self {
        Self {
            docker,
            run: run.into(),
            tag: tag_of(run),
            clock,
            bound,
            links: BTreeMap::new(),
            stale: BTreeSet::new(),
            steps: BTreeMap::new(),
            deadline,
            news,
            found: BTreeMap::new(),
            underway: underway::Underway::default(),
            sent: sent::Sent::default(),
        }
    }

    /// The same, for a daemon whose wall clock is so far ahead of ours, give or take so much, in nanoseconds.
    #[must_use]
    pub fn with_daemon_clock(self, ahead_ns: i64, unsure_ns: i64) -> Self {
        Self { sent: sent::Sent::by(ahead_ns, unsure_ns), ..self }
    }

    /// The daemon's id of a container.
    pub fn id(&self, container: &str) -> Result<&str> {
        self.bound
            .get(container)
            .map(|bound| bound.id.as_str())
            .ok_or_else(|| Error::environment(format!("container {container} is not there any more")))
    }

    /// What names this run's things in the kernel.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The plan's name of the container with this id.
    pub fn name_of(&self, id: &str) -> Option<&str> {
        self.bound.iter().find(|(_, bound)| bound.id == id).map(|(name, _)| name.as_str())
    }

    /// True unless a look says that the container does not run.
    pub async fn runs(&self, container: &str) -> bool {
        let Ok(id) = self.id(container) else { return false };
        self.docker.state(id).await.is_ok_and(|state| state.is_some_and(|state| state.pid.is_some()))
    }

    /// Notes that a container started anew: its agent must be replaced before it is used again.
    pub fn restarted(&mut self, container: &str) {
        self.stale.extend(self.links.keys().filter(|(name, _)| name == container).cloned());
    }

    /// Has the next arming start agents for these containers too, though nothing may be done to them.
    pub fn watch(&mut self, containers: impl IntoIterator<Item = String>) {
        for container in containers {
            self.steps.entry((container, Place::Network)).or_default();
        }
    }

    /// Readies every step, changing nothing yet: agents are started and told, targets are looked at.
    pub async fn arm(&mut self, steps: &[&Step]) -> Result<Vec<ArmedStep>> {
        let mut armed = Vec::new();
        for step in steps {
            if let Some(post) = post(step) {
                self.steps.entry(post).or_default().push((*step).clone());
            } else {
                self.check_untouched(&step.container).await?;
                self.check_startable(step).await?;
                // Looked at again before it is fired; what can't be done is known before anything is broken.
                self.find(&[*step]).await?;
                let engine = if step.apply.is_on_host() { Engine::Host } else { Engine::Docker };
                armed.push(ArmedStep { step: step.id, engine, kernel: None });
            }
        }
        let posts: Vec<Post> = self.steps.keys().cloned().collect();
        armed.extend(self.arm_agents(&posts).await?);
        armed.sort_by_key(|armed| armed.step);
        Ok(armed)
    }

    async fn arm_agents(&mut self, posts: &[Post]) -> Result<Vec<ArmedStep>> {
        let this = &*self;
        let started: Vec<Result<(Post, Link, Vec<ArmedStep>)>> = stream::iter(posts)
            .map(|post| async move {
                let (link, armed) = this.arm_agent(post).await?;
                Ok((post.clone(), link, armed))
            })
            .buffer_unordered(STARTED_AT_ONCE)
            .collect()
            .await;
        let mut armed = Vec::new();
        for result in started {
            let (post, link, steps) = result?;
            self.links.insert(post, link);
            armed.extend(steps);
        }
        Ok(armed)
    }

    async fn arm_agent(&self, post: &Post) -> Result<(Link, Vec<ArmedStep>)> {
        let (container, place) = post;
        let steps = self.steps.get(post).map_or(&[][..], Vec::as_slice);
        let mut impairments = Vec::new();
        let mut tasks = BTreeMap::new();
        for step in steps {
            if let Op::Inside(task) = &step.apply {
                tasks.insert(step.id, task.clone());
            }
            if let Op::Impair(packets, effect) = &step.apply {
                impairments.push(Impairment {
                    step: step.id,
                    direction: packets.direction,
                    peers: self.nets(&packets.peers).await?,
                    except: self.nets(&packets.except).await?,
                    ports: packets.ports.clone(),
                    protocol: packets.protocol,
                    effect: effect.clone(),
                });
                refuse_empty_filter(packets, impairments.last())?;
            }
        }
        let spec = AgentSpec {
            run: self.run.clone(),
            name: agent_name("agent", *place, container),
            target_id: self.id(container)?.to_owned(),
            place: *place,
            capabilities: capabilities(steps),
            labels: BTreeMap::new(),
        };
        let link = Link::start(&self.docker, spec, container, self.news.clone()).await?;
        let command = Command::Arm {
            tag: self.tag.clone(),
            impairments,
            tasks,
            engine: None,
            deadline_ns: self.deadline.as_ns(),
        };
        let engines = match link.call(command).await {
            Ok(Outcome::Armed(engines)) => engines,
            Ok(other) => return Err(surprise(&other)),
            Err(error) => return Err(Error::environment(format!("could not arm {container}")).because(error)),
        };
        let armed = engines
            .into_iter()
            .map(|(step, engine)| ArmedStep { step, engine, kernel: Some(link.hello.kernel.clone()) })
            .collect();
        Ok((link, armed))
    }

    /// The networks a peer list stands for.
    async fn nets(&self, peers: &[Peer]) -> Result<Vec<Net>> {
        let whole = |addr: IpAddr| Net { addr, prefix: if addr.is_ipv4() { 32 } else { 128 } };
        let mut nets = Vec::new();
        for peer in peers {
            match peer {
                Peer::Container(name) => {
                    let bound = self
                        .bound
                        .get(name)
                        .ok_or_else(|| Error::environment(format!("peer {name} is not there any more")))?;
                    nets.extend(bound.addresses.iter().copied().map(whole));
                }
                Peer::Net(text) => nets.push(parse_net(text)?),
                Peer::Host(name) => {
                    let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(|error| {
                        Error::environment(format!("could not look up peer `{name}`")).because(error)
                    })?;
                    nets.extend(found.map(|address| whole(address.ip())));
                }
            }
        }
        nets.sort_by_key(|net| (net.addr, net.prefix));
        nets.dedup();
        Ok(nets)
    }

    /// Replaces the agents of containers that started anew since they were armed.
    pub async fn rearm(&mut self, steps: &[&Step]) -> Result<()> {
        let wanted: Vec<Post> = steps
            .iter()
            .filter_map(|step| post(step))
            .filter(|post| self.stale.contains(post) || self.links.get(post).is_none_or(Link::is_gone))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        for post in &wanted {
            if let Some(link) = self.links.remove(post) {
                link.close().await;
            }
            // The next agent takes its name, which is free only when its container is gone.
            self.remove_agent(post).await?;
            self.stale.remove(post);
        }
        if !wanted.is_empty() {
            // Whatever started anew may have another address, and others filter by it.
            for bound in self.bound.values_mut() {
                bound.addresses = self.docker.addresses(&bound.id).await?;
            }
        }
        self.arm_agents(&wanted).await.map(drop)
    }

    async fn remove_agent(&self, (container, place): &Post) -> Result<()> {
        self.docker.remove(&full_name(&self.run, &agent_name("agent", *place, container))).await
    }

    /// Puts armed steps into effect, all at once; one answer each, in the order given. What they owe must
    /// be in the ledger.
    pub async fn fire(&self, steps: &[&Step]) -> Vec<Applied> {
        let mut by_post = BTreeMap::<Post, Vec<u32>>::new();
        for step in steps {
            if let Some(post) = post(step) {
                by_post.entry(post).or_default().push(step.id);
            }
        }
        let agents = join_all(by_post.into_iter().map(|(post, ids)| self.fire_agent(post, ids)));
        let mut by_docker = BTreeMap::<&str, Vec<&Step>>::new();
        for step in steps.iter().filter(|step| post(step).is_none()) {
            by_docker.entry(&step.container).or_default().push(step);
        }
        let docker =
            join_all(by_docker.into_iter().map(|(container, steps)| self.fire_docker(container, steps)));
        let (agents, docker) = tokio::join!(agents, docker);
        let mut applied: Vec<_> = agents.into_iter().chain(docker).flatten().collect();
        applied.sort_by_key(|applied| steps.iter().position(|step| step.id == applied.step));
        applied
    }

    async fn fire_agent(&self, post: Post, steps: Vec<u32>) -> Vec<Applied> {
        let fired = match self.links.get(&post) {
            Some(link) => link
                .call(Command::Fire { steps: steps.clone() })
                .await
                .map(|outcome| (link, outcome))
                .map_err(|error| error.to_string()),
            None => Err("its agent was never armed".into()),
        };
        steps
            .into_iter()
            .map(|step| {
                let at = match &fired {
                    Ok((link, Outcome::Fired(instants))) => instants
                        .get(&step)
                        .map(|at_ns| link.instant(self.clock, *at_ns))
                        .ok_or_else(|| Error::environment("the agent did not fire it")),
                    Ok((_, other)) => Err(surprise(other)),
                    Err(why) => Err(Error::environment(why.clone())),
                };
                Applied { step, at, seen: None, touched: true }
            })
            .collect()
    }

    /// What can be seen of steps in effect, one answer each where there is one.
    pub async fn look(&self, steps: &[&Step]) -> Vec<(u32, Evidence)> {
        let looks = steps.iter().map(|step| async {
            let evidence = if let Some(post) = post(step) {
                match self.links.get(&post)?.call(Command::Read { steps: vec![step.id] }).await {
                    Ok(Outcome::Counters(counters)) => Evidence::Packets(counters.get(&step.id)?.clone()),
                    _ => return None,
                }
            } else {
                self.look_by_docker(step).await?
            };
            Some((step.id, evidence))
        });
        join_all(looks).await.into_iter().flatten().collect()
    }

    /// Takes steps back, in reverse order on each container and on all containers at once; one answer each.
    /// Where an agent is gone, another one looks.
    pub async fn take_back(&self, steps: &[&Step]) -> Vec<TakenBack> {
        let mut by_container = BTreeMap::<&str, Vec<&Step>>::new();
        for step in steps.iter().rev() {
            by_container.entry(&step.container).or_default().push(step);
        }
        let all = by_container.into_values().map(|steps| async move {
            let mut by_agent = BTreeMap::<Post, Vec<&Step>>::new();
            let mut back = Vec::new();
            for step in steps {
                match post(step) {
                    Some(post) => by_agent.entry(post).or_default().push(step),
                    None => back.push(self.take_back_by_docker(step).await),
                }
            }
            for (post, steps) in by_agent {
                back.extend(self.take_back_by_agent(&post, &steps).await);
            }
            back
        });
        join_all(all).await.into_iter().flatten().collect()
    }

    async fn take_back_by_agent(&self, post: &Post, steps: &[&Step]) -> Vec<TakenBack> {
        let ids: Vec<u32> = steps.iter().map(|step| step.id).collect();
        if !self.stale.contains(post)
            && let Some(link) = self.links.get(post)
            && let Ok(Outcome::Undone(undone)) = link.call(Command::Undo { steps: ids.clone() }).await
        {
            return ids
                .into_iter()
                .map(|step| match undone.get(&step) {
                    Some(undone) => TakenBack {
                        step,
                        result: Ok((link.instant(self.clock, undone.at_ns), undone.verified)),
                        evidence: Some(Evidence::Packets(undone.counters.clone())),
                    },
                    // It was not in effect.
                    None => TakenBack { step, result: Ok((self.clock.now_ns(), true)), evidence: None },
                })
                .collect();
        }
        // The agent is gone, hangs, or is of an older namespace. It goes for good, and with it what it owns;
        // another one removes whatever is left.
        let healed = self.heal_steps(post, steps).await;
        let at_ns = self.clock.now_ns();
        let result = healed.map_err(|error| error.to_string());
        ids.into_iter()
            .map(|step| TakenBack {
                step,
                result: result.clone().map(|verified| (at_ns, verified)).map_err(Error::environment),
                evidence: None,
            })
            .collect()
    }

    /// Undoes steps without the agent that did them; true if a look found nothing of them left.
    async fn heal_steps(&self, post: &Post, steps: &[&Step]) -> Result<bool> {
        let container = &post.0;
        self.remove_agent(post).await?;
        let id = self.id(container)?;
        let mut undos: Vec<&Op> = Vec::new();
        for undo in steps.iter().filter_map(|step| step.undo.as_ref()) {
            // One clearing is for all steps.
            if !undos.contains(&undo) {
                undos.push(undo);
            }
        }
        let mut whole = true;
        for undo in undos {
            whole &= heal::undo(&self.docker, &self.run, &self.tag, container, id, undo).await?;
        }
        Ok(whole)
    }

    /// Ends every agent; each undoes whatever is left of its own accord.
    pub async fn disarm(&mut self) {
        let links = std::mem::take(&mut self.links);
        join_all(links.into_values().map(Link::close)).await;
    }
}

/// The privileges that an agent needs for `steps`; sorted, no doubles.
fn capabilities(steps: &[Step]) -> Vec<Capability> {
    let of = |step: &Step| match &step.apply {
        Op::Inside(task) => task.kind().capabilities().to_vec(),
        Op::Impair(..) => vec![NET_ADMIN],
        _ => Vec::new(),
    };
    let needed: BTreeSet<Capability> = steps.iter().flat_map(of).collect();
    needed.into_iter().collect()
}

/// A peer filter that came to nothing would match everyone: refuse it.
fn refuse_empty_filter(packets: &Packets, impairment: Option<&Impairment>) -> Result<()> {
    match impairment {
        Some(impairment) if !packets.peers.is_empty() && impairment.peers.is_empty() => {
            let names: Vec<_> = packets.peers.iter().map(Peer::name).collect();
            Err(Error::environment(format!("the peers {} have no address", names.join(", ")))
                .hint("attach them to a network, or name another peer"))
        }
        _ => Ok(()),
    }
}

fn surprise(outcome: &Outcome) -> Error {
    Error::new(Exit::Environment, format!("the agent answered something else than was asked: {outcome:?}"))
}

/// Reads `10.0.0.0/8` or an address.
fn parse_net(text: &str) -> Result<Net> {
    let wrong = || Error::mistake(format!("`{text}` is not an address or a network such as `10.0.0.0/8`"));
    let (addr, prefix) = text.split_once('/').map_or((text, None), |(addr, prefix)| (addr, Some(prefix)));
    let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
    let most = if addr.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= most).ok_or_else(wrong)?,
        None => most,
    };
    Ok(Net { addr, prefix })
}
