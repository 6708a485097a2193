//! The line to one agent: requests out, replies in, over the attached streams of its container.
//!
//! A reader task hands each reply to the call that waits for it and everything unasked to the run as
//! [`News`]. When the stream ends the agent is gone, and every waiting call is told so. Every call has a
//! timeout: an agent that does not answer is treated as gone.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};

use crate::agent::kernel;
use crate::agent::wire::{Command, Hello, Outcome, Reply, Request, Undone};
use crate::clock::{Clock, mono_ns};
use crate::docker::{AgentSpec, Docker, Output};
use crate::error::{Error, Result};

use super::News;
use super::offset::Offset;

/// The longest an agent may take to answer. Its work is netlink messages: milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest an agent's container may take to say hello, on a machine that starts many at once.
const HELLO_TIMEOUT: Duration = Duration::from_secs(20);

/// How often an agent of another kernel is asked for the time.
const CLOCK_READINGS: u32 = 5;
/// Requests that may wait to be written: an agent answers each before the run asks much more.
const REQUESTS_AHEAD: usize = 16;

/// A live agent.
pub(crate) struct Link {
    /// What it said first.
    pub hello: Hello,
    /// Where its clock is against ours.
    offset: Offset,
    /// Requests on their way out, whole lines; nothing once it is closed.
    outbox: Mutex<Option<mpsc::Sender<Vec<u8>>>>,
    waiting: Arc<Mutex<Waiting>>,
    /// What writes requests and what reads replies; nothing once it is closed.
    tasks: Mutex<Option<[tokio::task::JoinHandle<()>; 2]>>,
}

#[derive(Default)]
struct Waiting {
    next_id: u64,
    calls: HashMap<u64, oneshot::Sender<Outcome>>,
    /// Steps that it undid at their deadline.
    expired: BTreeMap<u32, Undone>,
    /// Set once the stream has ended: why.
    gone: Option<String>,
    /// We are ending it ourselves: its end is no news.
    closing: bool,
}

impl Link {
    /// Starts an agent beside `target` and waits for its hello.
    pub async fn start(
        docker: &Docker,
        spec: AgentSpec,
        target: &str,
        news: mpsc::Sender<News>,
    ) -> Result<Self> {
        let place = spec.place;
        let attached = docker.start_agent(spec).await?;
        let mut lines = attached.output;
        let hello = tokio::time::timeout(HELLO_TIMEOUT, lines.next_line())
            .await
            .map_err(|_| "it did not say hello in time".to_owned())
            .and_then(|line| line.map_err(|error| error.to_string()))
            .and_then(|line| line.ok_or_else(|| "it ended before it said hello".to_owned()))
            .and_then(|line| {
                serde_json::from_str::<Hello>(&line).map_err(|error| format!("{error} in `{line}`"))
            });
        let hello = match hello {
            Ok(hello) => hello,
            Err(why) => {
                // What it wrote to stderr says more than that it is gone.
                let said = lines.errors();
                return Err(Error::environment(format!(
                    "the agent for {target} did not start: {why}{}",
                    if said.is_empty() { String::new() } else { format!("; it said: {}", said) }
                )));
            }
        };
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let reader = tokio::spawn(read(lines, Arc::clone(&waiting), (target.to_owned(), place), news));
        let (outbox, requests) = mpsc::channel(REQUESTS_AHEAD);
        let writer = tokio::spawn(write(attached.input, requests));
        let same_clock = kernel::boot_id() == hello.boot_id && !hello.boot_id.is_empty();
        let link = Self {
            hello,
            offset: Offset::NONE,
            outbox: Mutex::new(Some(outbox)),
            waiting,
            tasks: Mutex::new(Some([writer, reader])),
        };
        Ok(if same_clock { link } else { Self { offset: link.measure_offset().await?, ..link } })
    }

    /// Asks and waits for the answer; an `error` outcome is an error here.
    pub async fn call(&self, command: Command) -> Result<Outcome> {
        let gone = |why: String| Error::environment(format!("the agent is gone: {why}"));
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
            if let Some(why) = &waiting.gone {
                return Err(gone(why.clone()));
            }
            waiting.next_id += 1;
            let id = waiting.next_id;
            waiting.calls.insert(id, answer);
            id
        };
        let mut line = serde_json::to_vec(&Request { id, command }).expect("a request is plain data");
        line.push(b'\n');
        let exchange = async {
            let outbox = self.outbox.lock().expect("no holder of this lock panics").clone();
            let outbox = outbox.ok_or_else(|| gone("it was told to end".into()))?;
            // A caller that gives up here has sent all of its line or nothing.
            outbox.send(line).await.map_err(|_| gone("it takes no requests any more".into()))?;
            answered.await.map_err(|_| gone("its container ended".into()))
        };
        let outcome = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.map_err(|_| {
            Error::environment(format!("the agent did not answer in {} s", ANSWER_TIMEOUT.as_secs()))
        })??;
        match outcome {
            Outcome::Error(why) => Err(Error::environment(why)),
            outcome => Ok(outcome),
        }
    }

    /// Asks an agent of another kernel for the time, again and again, and takes the answer that came back soonest.
    async fn measure_offset(&self) -> Result<Offset> {
        let mut best: Option<Offset> = None;
        for _ in 0..CLOCK_READINGS {
            let asked_ns = mono_ns();
            let Outcome::Clock(theirs_ns) = self.call(Command::Clock).await? else {
                return Err(Error::environment("the agent did not say what its clock shows"));
            };
            let offset = Offset::of(asked_ns, theirs_ns, mono_ns());
            best = Some(best.map_or(offset, |best| best.better(offset)));
        }
        Ok(best.unwrap_or(Offset::NONE))
    }

    /// An instant of the agent's clock on the run's.
    pub fn instant(&self, clock: Clock, at_ns: u64) -> u64 {
        clock.at_mono(self.offset.to_ours(at_ns))
    }

    /// An instant of the run's clock on the agent's.
    pub fn their_instant(&self, clock: Clock, t_ns: u64) -> u64 {
        self.offset.to_theirs(clock.to_mono(t_ns))
    }

    /// How a step ended that the agent undid at its deadline. It says so before it answers anything later.
    pub fn expired(&self, step: u32) -> Option<Undone> {
        self.waiting.lock().expect("no holder of this lock panics").expired.get(&step).cloned()
    }

    /// True if the stream has ended.
    pub fn is_gone(&self) -> bool {
        self.waiting.lock().is_ok_and(|waiting| waiting.gone.is_some())
    }

    /// Ends the agent in order: end of input, which it takes to mean "undo and exit". Twice is once. True if it was
    /// there to be told and has ended since.
    pub async fn close(&self) -> bool {
        let gone = {
            let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
            waiting.closing = true;
            waiting.gone.is_some()
        };
        drop(self.outbox.lock().expect("no holder of this lock panics").take());
        let tasks = self.tasks.lock().expect("no holder of this lock panics").take();
        let Some([mut writer, reader]) = tasks else { return false };
        // It needs milliseconds; what does not end by itself is removed with the run's containers.
        let ended = tokio::time::timeout(ANSWER_TIMEOUT, async { tokio::join!(&mut writer, reader) }).await;
        // One that hangs in a write would keep the input open.
        writer.abort();
        ended.is_ok() && !gone
    }
}

/// Writes requests one by one until there will be no more, and ends the agent's input then. In a task of its own:
/// half a line would spoil the next one.
async fn write(mut input: Pin<Box<dyn AsyncWrite + Send>>, mut requests: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = requests.recv().await {
        // One that can't be written to is gone, which the reader is told.
        if input.write_all(&line).await.is_err() || input.flush().await.is_err() {
            break;
        }
    }
    let _ = input.shutdown().await;
}

async fn read(
    mut lines: Output,
    waiting: Arc<Mutex<Waiting>>,
    (container, place): super::Post,
    news: mpsc::Sender<News>,
) {
    let why = loop {
        match lines.next_line().await {
            Ok(Some(line)) => match serde_json::from_str::<Reply>(&line) {
                Ok(Reply { id: Some(id), outcome }) => {
                    let call = waiting.lock().expect("no holder of this lock panics").calls.remove(&id);
                    // A caller that gave up waiting has dropped its end.
                    call.map(|call| call.send(outcome));
                }
                Ok(Reply { id: None, outcome: Outcome::Expired(steps) }) => {
                    let numbers = steps.keys().copied().collect();
                    waiting.lock().expect("no holder of this lock panics").expired.extend(steps);
                    let _ = news.send(News::Expired { steps: numbers }).await;
                }
                Ok(_) => {}
                Err(error) => break format!("it spoke nonsense: {error}"),
            },
            Ok(None) => break "its container ended".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    let closing = {
        let mut waiting = waiting.lock().expect("no holder of this lock panics");
        waiting.gone = Some(why.clone());
        waiting.calls.clear();
        waiting.closing
    };
    if !closing {
        // A run that is over does not listen any more.
        let _ = news.send(News::AgentGone { container, place, why }).await;
    }
}
