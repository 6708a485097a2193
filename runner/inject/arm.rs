//! Arming: agents started and told what to do, changing nothing yet; and again where a container started anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::docker::LOOKS_AT_ONCE;
use super::{ArmedStep, Injector, Link, Post, agent_name, post, surprise};
use crate::agent::task::{Capability, NET_ADMIN};
use crate::agent::wire::{Command, Engine, Impairment, Net, Outcome};
use crate::docker::{AgentSpec, full_name};
use crate::error::{Error, Result};
use crate::fault::step::{Op, Packets, Peer, Step};

/// Agents that are started at once: more only queue up in the daemon.
const STARTED_AT_ONCE: usize = 16;

impl Injector {
    /// Readies every step, changing nothing yet: agents are started and told, targets are looked at.
    pub async fn arm(&self, steps: &[&Step]) -> Result<Vec<ArmedStep>> {
        let (by_agents, by_docker): (Vec<&Step>, Vec<&Step>) =
            steps.iter().copied().partition(|step| post(step).is_some());
        for step in by_agents {
            if let Some(post) = post(step) {
                self.book().steps.entry(post).or_default().push(step.clone());
            }
        }
        let mut armed: Vec<ArmedStep> = stream::iter(by_docker.into_iter().cloned())
            .map(|step| async move { self.arm_by_docker(&step).await })
            .buffered(LOOKS_AT_ONCE)
            .try_collect()
            .await?;
        let posts: Vec<Post> = self.book().steps.keys().cloned().collect();
        armed.extend(self.arm_agents(posts).await?);
        armed.sort_by_key(|armed| armed.step);
        Ok(armed)
    }

    async fn arm_by_docker(&self, step: &Step) -> Result<ArmedStep> {
        self.check_untouched(&step.container).await?;
        self.check_startable(step).await?;
        // Looked at again before it is fired; what can't be done is known before anything is broken.
        self.find(&[step]).await?;
        let engine = if step.apply.is_on_host() { Engine::Host } else { Engine::Docker };
        Ok(ArmedStep { step: step.id, engine, kernel: None })
    }

    async fn arm_agents(&self, posts: Vec<Post>) -> Result<Vec<ArmedStep>> {
        // By value: futures over borrowed items are not `Send` in the compiler's eyes.
        let started: Vec<Result<(Post, Link, Vec<ArmedStep>)>> = stream::iter(posts)
            .map(|post| async move {
                self.patience.check()?;
                let (link, armed) = self.arm_agent(&post).await?;
                Ok((post, link, armed))
            })
            .buffer_unordered(STARTED_AT_ONCE)
            .collect()
            .await;
        let mut armed = Vec::new();
        for result in started {
            let (post, link, steps) = result?;
            self.book().links.insert(post, Arc::new(link));
            armed.extend(steps);
        }
        Ok(armed)
    }

    async fn arm_agent(&self, post: &Post) -> Result<(Link, Vec<ArmedStep>)> {
        let (container, place) = post;
        let steps = self.book().steps.get(post).cloned().unwrap_or_default();
        let mut impairments = Vec::new();
        let mut tasks = BTreeMap::new();
        for step in &steps {
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
            target_id: self.id(container)?,
            place: *place,
            capabilities: capabilities(&steps),
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
                    let book = self.book();
                    let bound = book
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

    /// Readies steps to be fired: their agents are replaced where containers started anew since they were armed, and
    /// what their undo must know is found.
    ///
    /// # Errors
    /// An agent can't be had, or a container can't be changed so. Nothing is changed then.
    pub async fn ready(&self, steps: &[Step]) -> Result<()> {
        self.rearm(steps).await?;
        let steps: Vec<&Step> = steps.iter().collect();
        self.find(&steps).await
    }

    /// Replaces the agents of containers that started anew since they were armed.
    ///
    /// # Errors
    /// An agent can't be had.
    pub async fn rearm(&self, steps: &[Step]) -> Result<()> {
        let wanted: BTreeSet<Post> = {
            let book = self.book();
            let posts = steps.iter().filter_map(post);
            let due = |post: &Post| {
                book.stale.contains(post) || book.links.get(post).is_none_or(|link| link.is_gone())
            };
            posts.filter(due).collect()
        };
        for post in &wanted {
            let link = self.book().links.remove(post);
            if let Some(link) = link {
                link.close().await;
            }
            // The next agent takes its name, which is free only when its container is gone.
            self.remove_agent(post).await?;
            self.book().stale.remove(post);
        }
        if !wanted.is_empty() {
            self.look_up_addresses().await?;
        }
        self.arm_agents(wanted.into_iter().collect()).await.map(drop)
    }

    /// Whatever started anew may have another address, and others filter by it.
    async fn look_up_addresses(&self) -> Result<()> {
        let ids: Vec<(String, String)> =
            self.book().bound.iter().map(|(name, bound)| (name.clone(), bound.id.clone())).collect();
        let found: Vec<(String, Vec<IpAddr>)> = stream::iter(ids)
            .map(|(name, id)| async move { self.docker.addresses(&id).await.map(|found| (name, found)) })
            .buffer_unordered(LOOKS_AT_ONCE)
            .try_collect()
            .await?;
        let mut book = self.book();
        for (name, addresses) in found {
            if let Some(bound) = book.bound.get_mut(&name) {
                bound.addresses = addresses;
            }
        }
        Ok(())
    }

    pub(super) async fn remove_agent(&self, (container, place): &Post) -> Result<()> {
        self.docker.remove(&full_name(&self.run, &agent_name("agent", *place, container))).await
    }
}

/// The privileges that an agent needs for `steps`; sorted, no doubles. One that only looks leaves nothing behind with
/// the one privilege that every agent of a network has: what it made the kernel remember is forgotten.
fn capabilities(steps: &[Step]) -> Vec<Capability> {
    if steps.is_empty() {
        return vec![NET_ADMIN];
    }
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
