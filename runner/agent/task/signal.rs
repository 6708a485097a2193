//! Signals to processes by name, once or again and again.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use super::{Capability, KILL, Place, TaskKind, Work};
use crate::agent::processes::{self, Process};
use crate::agent::wire::Counters;
use crate::units::Duration;

/// Sends a signal to every process with one of these names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Names as `ps -o comm` or the first word of the command line has them; at least one.
    pub names: Vec<String>,
    /// The signal's number.
    pub signal: u8,
    /// Again whenever this much time has passed; nothing: once.
    pub every: Option<Duration>,
}

impl Signal {
    /// Those to be sent the signal now.
    fn found(&self) -> Result<Vec<Process>, String> {
        processes::named(&self.names)
    }

    fn is_stop(&self) -> bool {
        i32::from(self.signal) == libc::SIGSTOP
    }
}

impl TaskKind for Signal {
    fn place(&self) -> Place {
        Place::Processes
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[KILL]
    }

    fn stage(&self, _: &str) -> Result<Box<dyn Work>, String> {
        let found = self.found()?;
        if let Some(first) = found.iter().find(|process| process.pid == 1)
            && !processes::handles(1, self.signal)
        {
            return Err(format!(
                "{} is the container's first process, to which the kernel lets nobody inside send signal {}; \
                 leave out `processes` to signal it from outside",
                first.name, self.signal
            ));
        }
        if self.is_stop()
            && let Some(stopped) = found.iter().find(|process| process.is_stopped())
        {
            return Err(format!("process {} ({}) is stopped already", stopped.pid, stopped.name));
        }
        if found.is_empty() {
            return Err(format!("no process is called {}", self.names.join(" or ")));
        }
        Ok(Box::new(Signalling { task: self.clone(), sent: Arc::default(), beat: None }))
    }

    fn restore(&self, _: &str) -> Result<u32, String> {
        if !self.is_stop() {
            // What it ended stays ended, and nobody goes on sending it.
            return Ok(0);
        }
        let stopped: Vec<Process> = self.found()?.into_iter().filter(Process::is_stopped).collect();
        for process in &stopped {
            process.signal(libc::SIGCONT)?;
        }
        Ok(stopped.len() as u32)
    }

    fn summary(&self) -> String {
        let every = self.every.map_or(String::new(), |every| format!(" every {every}"));
        format!("send signal {} to processes {}{every}", self.signal, self.names.join(", "))
    }
}

/// Whom it was sent to so far.
#[derive(Debug, Default)]
struct Sent {
    processes: Vec<Process>,
    times: u64,
    failed: u64,
}

impl Sent {
    /// Sends it to whoever bears the name now.
    fn send(&mut self, task: &Signal) -> Result<(), String> {
        for process in task.found()? {
            process.signal(task.signal.into())?;
            self.times += 1;
            if !self.processes.contains(&process) {
                self.processes.push(process);
            }
        }
        Ok(())
    }
}

/// The work of sending.
#[derive(Debug)]
struct Signalling {
    task: Signal,
    sent: Arc<Mutex<Sent>>,
    /// Sends it again; ends when the sender is dropped.
    beat: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Work for Signalling {
    fn fire(&mut self) -> Result<(), String> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).send(&self.task)?;
        if let Some(every) = self.task.every {
            let (stop, stopped) = channel();
            let (task, sent) = (self.task.clone(), Arc::clone(&self.sent));
            let beat = move || {
                while stopped.recv_timeout(every.to_std()) == Err(RecvTimeoutError::Timeout) {
                    let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
                    sent.failed += u64::from(sent.send(&task).is_err());
                }
            };
            self.beat = Some((stop, std::thread::spawn(beat)));
        }
        Ok(())
    }

    fn undo(&mut self) -> bool {
        if let Some((stop, beat)) = self.beat.take() {
            drop(stop);
            if beat.join().is_err() {
                return false;
            }
        }
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        // Each is attempted whatever becomes of the others.
        let stopped = sent.processes.iter().filter(|_| self.task.is_stop());
        let done: Vec<bool> = stopped.map(|process| process.signal(libc::SIGCONT).is_ok()).collect();
        done.into_iter().all(|done| done)
    }

    fn counters(&mut self) -> Counters {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_gone = |process: &&Process| {
            processes::look(process.pid).is_none_or(|now| now.started != process.started || now.state == 'Z')
        };
        let mut counted = BTreeMap::from([
            ("signals_sent".into(), sent.times),
            ("signalled_processes".into(), sent.processes.len() as u64),
            ("ended_processes".into(), sent.processes.iter().filter(is_gone).count() as u64),
        ]);
        if sent.failed > 0 {
            counted.insert("failed_sends".into(), sent.failed);
        }
        Counters { counted, ..Counters::default() }
    }
}
