//! Agents: a container beside a target, its program's streams held by this process.
//!
//! The streams are the agent's life line: when this process goes, by whatever death, the daemon closes the
//! agent's stdin and the agent undoes what it did. So nothing here may keep a stream open by accident.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::stream::{Stream, StreamExt};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

use super::cgroup::is_elsewhere;
use super::{ApiError, CALL_LIMIT, Docker, LogOutput, api, bounded, label, query};
use crate::agent::task::{Capability, Place};
use crate::agent::wire::MAX_LINE_BYTES;
use crate::error::{Error, Result};

/// Of an agent: thousands of packet heads, a runtime, the program's own pages.
const MEMORY_BYTES: i64 = 256 << 20;
/// Threads of an agent; it uses a handful.
const PIDS_LIMIT: i64 = 64;
/// Kept of an agent's stderr: its last words are what matters.
const ERRORS_KEPT_BYTES: usize = 16 << 10;
/// Lines read ahead of whoever reads an agent's output.
const LINES_AHEAD: usize = 256;

/// An agent to be started.
#[derive(Clone, Debug)]
pub struct AgentSpec {
    /// The run.
    pub run: String,
    /// Its name; the container is called `chaos-RUN-NAME`.
    pub name: String,
    /// The container beside which it sits.
    pub target_id: String,
    /// What it shares with it.
    pub place: Place,
    /// The only privileges it is given; sorted, no doubles.
    pub capabilities: Vec<Capability>,
    /// Labels beyond run, role and host.
    pub labels: BTreeMap<String, String>,
}

/// A running container and the three streams of its program.
pub struct Attached {
    /// The container.
    pub id: String,
    /// Its stdin. Shut it down to end the input; dropping the whole of `Attached` ends it too.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// Its stdout and stderr.
    pub output: Output,
}

/// The lines a program writes to stdout; its stderr is collected beside them.
pub struct Output {
    lines: mpsc::Receiver<io::Result<String>>,
    errors: Arc<Mutex<Vec<u8>>>,
    reader: tokio::task::JoinHandle<()>,
}

impl Docker {
    /// Starts an agent in the target's namespace and returns when it runs, its streams attached
    /// since before it started. It removes itself when it ends.
    ///
    /// # Errors
    /// The target does not run, the image can't be loaded, or the daemon does not answer. Nothing is left.
    pub async fn start_agent(&self, spec: AgentSpec) -> Result<Attached> {
        let what = format!("start the agent of {}", spec.name);
        let mut labels = spec.labels;
        labels.insert(label::ROLE.into(), label::ROLE_AGENT.into());
        let keep: Vec<String> = spec.capabilities.iter().map(|capability| capability.name.into()).collect();
        let beside = format!("container:{}", spec.target_id);
        let mounts = match spec.place {
            Place::Cgroup | Place::Devices => Some(self.cgroup_mounts(&spec.target_id, spec.place).await?),
            Place::Network | Place::Processes => None,
        };
        let in_cgroup = mounts.is_some();
        let mut body = Box::new(api::ContainerCreateBody {
            cmd: Some(vec!["inside".into(), "agent".into(), format!("--keep={}", or_none(&keep))]),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            // Without it the daemon keeps stdin open when the one attached process goes.
            stdin_once: Some(true),
            tty: Some(false),
            host_config: Some(api::HostConfig {
                network_mode: Some(match spec.place {
                    Place::Network => beside.clone(),
                    Place::Processes | Place::Cgroup | Place::Devices => "none".into(),
                }),
                pid_mode: (spec.place != Place::Network).then_some(beside),
                // Version 2 lets a process into a cgroup only if both are in the namespace it sees.
                cgroupns_mode: mounts.is_some().then_some(api::HostConfigCgroupnsModeEnum::HOST),
                mounts,
                cap_add: Some(keep),
                auto_remove: Some(true),
                memory: Some(MEMORY_BYTES),
                pids_limit: Some(PIDS_LIMIT),
                // Its output is read as it comes; a copy on the daemon's disk helps nobody.
                log_config: Some(api::HostConfigLogConfig { typ: Some("none".into()), config: None }),
                ..Default::default()
            }),
            ..Default::default()
        });
        // A body takes kilobytes, and every caller's future would carry both.
        let mut created = Box::pin(self.create(&spec.run, &spec.name, labels.clone(), (*body).clone())).await;
        if in_cgroup && created.as_ref().is_err_and(is_elsewhere) {
            let told = self.cgroup_mounts_as_told(&spec.target_id, spec.place).await?;
            body.host_config.get_or_insert_default().mounts = Some(told);
            created = Box::pin(self.create(&spec.run, &spec.name, labels, *body)).await;
        }
        let id = created?;
        let attached = self.attach_and_start(&what, &id).await;
        if attached.is_err() {
            // Created but not started: AutoRemove does not apply yet.
            let _ = self.remove(&id).await;
        }
        attached
    }

    async fn attach_and_start(&self, what: &str, id: &str) -> Result<Attached> {
        let options = query::AttachContainerOptions {
            stdin: true,
            stdout: true,
            stderr: true,
            stream: true,
            ..Default::default()
        };
        let streams = bounded(what, CALL_LIMIT, self.api.attach_container(id, Some(options))).await?;
        let output = Output::read(streams.output);
        bounded(what, CALL_LIMIT, self.api.start_container(id, None::<query::StartContainerOptions>)).await?;
        Ok(Attached { id: id.to_owned(), input: streams.input, output })
    }
}

impl Output {
    fn read(frames: impl Stream<Item = Result<LogOutput, ApiError>> + Send + Unpin + 'static) -> Self {
        let (sender, lines) = mpsc::channel(LINES_AHEAD);
        let errors = Arc::default();
        let reader = tokio::spawn(demultiplex(frames, sender, Arc::clone(&errors)));
        Self { lines, errors, reader }
    }

    /// The next line, without its end; nothing when the program has closed its stdout or is gone.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// The connection broke, or a line is longer than [`MAX_LINE_BYTES`].
    pub async fn next_line(&mut self) -> Result<Option<String>> {
        let line = self.lines.recv().await.transpose();
        line.map_err(|error| Error::environment("could not read what the agent says").because(error))
    }

    /// The end of what the program wrote to stderr so far.
    pub fn errors(&self) -> String {
        let kept = self.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        String::from_utf8_lossy(&kept).trim_end().to_owned()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // The task holds one half of the connection; the agent's stdin closes only when both are gone.
        self.reader.abort();
    }
}

async fn demultiplex(
    mut frames: impl Stream<Item = Result<LogOutput, ApiError>> + Unpin,
    lines: mpsc::Sender<io::Result<String>>,
    errors: Arc<Mutex<Vec<u8>>>,
) {
    let mut partial = Vec::new();
    while let Some(frame) = frames.next().await {
        let bytes = match frame {
            Ok(LogOutput::StdErr { message }) => {
                let mut kept = errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                kept.extend_from_slice(&message);
                let surplus = kept.len().saturating_sub(ERRORS_KEPT_BYTES);
                kept.drain(..surplus);
                continue;
            }
            Ok(other) => other.into_bytes(),
            Err(error) => {
                let _ = lines.send(Err(io::Error::other(error))).await;
                return;
            }
        };
        // The daemon cuts its frames where it likes.
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            partial.extend_from_slice(piece);
            if partial.len() > MAX_LINE_BYTES {
                let _ = lines.send(Err(io::Error::other("a line is too long"))).await;
                return;
            }
            if partial.pop_if(|byte| *byte == b'\n').is_some() {
                let line = String::from_utf8_lossy(&partial).into_owned();
                partial.clear();
                if lines.send(Ok(line)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The privileges to keep as the agent is told them.
fn or_none(keep: &[String]) -> String {
    if keep.is_empty() { "none".into() } else { keep.join(",") }
}
