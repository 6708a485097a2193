//! The interpreter of steps: arms them, puts them into effect together, looks at them, and takes them back.
//!
//! This is the only place that changes a target on purpose, and it knows no fault by name: it runs
//! [`Op`]s. Network steps go to one agent per container, everything else to Docker. The caller has written
//! what is owed to the ledger before it calls [`Injector::fire`], without exception.

mod arm;
mod docker;
mod effect;
mod link;
mod offset;
mod reach;
mod sent;
mod underway;
mod waves;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::join_all;
use tokio::sync::mpsc;

use crate::agent::task::Place;
use crate::agent::wire::{Engine, Kernel, Outcome};
use crate::clock::Clock;
use crate::docker::Docker;
use crate::error::{Error, Exit, Result};
use crate::event::Evidence;
use crate::fault::step::Step;
use crate::patience::Patience;
use crate::units::Duration;
pub(crate) use link::Link;

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
    /// The names of its networks; empty where it has another container's.
    pub networks: Vec<String>,
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
    /// True if its agent had undone it by then, at its deadline.
    pub expired: bool,
}

/// Runs steps for one run. Shared by the tasks that wait for what it does, so that its caller need not.
pub struct Injector {
    docker: Docker,
    run: String,
    tag: String,
    clock: Clock,
    deadline: Duration,
    news: mpsc::Sender<News>,
    underway: underway::Underway,
    sent: sent::Sent,
    patience: Patience,
    book: Mutex<Book>,
}

/// What is known of the plan's containers and of the agents beside them. Never held while anything is waited for.
#[derive(Default)]
struct Book {
    bound: BTreeMap<String, Bound>,
    links: BTreeMap<Post, Arc<Link>>,
    /// Agents whose containers started anew since they were armed: their namespaces are no longer those.
    stale: BTreeSet<Post>,
    steps: BTreeMap<Post, Vec<Step>>,
    /// What was found of the containers of steps that Docker carries out.
    found: BTreeMap<u32, docker::Found>,
}

/// Steps that wait for each other and for no others: those of one container that one hand carries out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// The container.
    pub container: String,
    /// Where the agent sits; nothing: Docker's API, or this machine.
    pub place: Option<Place>,
}

impl Lane {
    /// The one of `step`.
    pub fn of(step: &Step) -> Self {
        Self { container: step.container.clone(), place: step.apply.place() }
    }
}

/// How much time there is to look before something is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Evidence is read first.
    Looking,
    /// The user asked twice: evidence can be done without, healing can't.
    Hurried,
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
            deadline,
            news,
            underway: underway::Underway::default(),
            sent: sent::Sent::default(),
            patience: Patience::endless(),
            book: Mutex::new(Book { bound, ..Book::default() }),
        }
    }

    /// The same, for a daemon whose wall clock is so far ahead of ours, give or take so much, in nanoseconds.
    #[must_use]
    pub fn with_daemon_clock(self, ahead_ns: i64, unsure_ns: i64) -> Self {
        Self { sent: sent::Sent::by(ahead_ns, unsure_ns), ..self }
    }

    /// The same, for somebody who may lose patience: no more agents are started then.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of this lock panics")
    }

    /// The daemon's id of a container.
    pub fn id(&self, container: &str) -> Result<String> {
        self.book()
            .bound
            .get(container)
            .map(|bound| bound.id.clone())
            .ok_or_else(|| Error::environment(format!("container {container} is not there any more")))
    }

    /// What names this run's things in the kernel.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The plan's name of the container with this id.
    pub fn name_of(&self, id: &str) -> Option<String> {
        self.book().bound.iter().find(|(_, bound)| bound.id == id).map(|(name, _)| name.clone())
    }

    /// True unless a look says that the container does not run.
    pub async fn runs(&self, container: &str) -> bool {
        let Ok(id) = self.id(container) else { return false };
        self.docker.state(&id).await.is_ok_and(|state| state.is_some_and(|state| state.pid.is_some()))
    }

    /// Notes that a container started anew: its agent must be replaced before it is used again.
    pub fn restarted(&self, container: &str) {
        let mut book = self.book();
        let stale: Vec<Post> = book.links.keys().filter(|(name, _)| name == container).cloned().collect();
        book.stale.extend(stale);
    }

    /// Has the next arming start agents for these containers too, though nothing may be done to them.
    pub fn watch(&self, containers: impl IntoIterator<Item = String>) {
        let mut book = self.book();
        for container in containers {
            book.steps.entry((container, Place::Network)).or_default();
        }
    }

    fn link(&self, post: &Post) -> Option<Arc<Link>> {
        self.book().links.get(post).cloned()
    }

    /// Ends every agent; each undoes whatever is left of its own accord. True if all that were armed were there to do
    /// so: one whose daemon died may be killed with what it made ready still in its namespaces.
    pub async fn disarm(&self) -> bool {
        let (links, complete) = {
            let mut book = self.book();
            let links = std::mem::take(&mut book.links);
            let complete = book.steps.keys().all(|post| links.contains_key(post));
            (links, complete)
        };
        let ended = join_all(links.values().map(|link| link.close())).await;
        // The end of a stream looks the same where its daemon died just then.
        complete && ended.into_iter().all(|in_order| in_order) && self.docker.answers().await
    }
}

fn surprise(outcome: &Outcome) -> Error {
    Error::new(Exit::Environment, format!("the agent answered something else than was asked: {outcome:?}"))
}
