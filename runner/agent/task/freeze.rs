//! Freezing processes by name: SIGSTOP, and SIGCONT to take it back.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Capability, KILL, Place, TaskKind, Work};
use crate::agent::processes::{self, Process};
use crate::agent::wire::Counters;

/// Looks for processes that were forked while others were being stopped, and for those that were told to stop and
/// have not yet; each finds fewer.
const PASSES: usize = 64;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Stops every process with one of these names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Names as `ps -o comm` or the first word of the command line has them; at least one.
    pub names: Vec<String>,
}

impl TaskKind for Freeze {
    fn place(&self) -> Place {
        Place::Processes
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[KILL]
    }

    fn stage(&self, _: &str) -> Result<Box<dyn Work>, String> {
        let found = processes::named(&self.names)?;
        // One that somebody else stopped would be set going by our undo.
        if let Some(stopped) = found.iter().find(|process| process.is_stopped()) {
            return Err(format!("process {} ({}) is stopped already", stopped.pid, stopped.name));
        }
        if let Some(first) = found.iter().find(|process| process.pid == 1) {
            return Err(format!(
                "{} is the container's first process, which the kernel lets nobody inside stop; leave out \
                 `processes` to freeze the whole container",
                first.name
            ));
        }
        if found.is_empty() {
            return Err(format!("no process is called {}", self.names.join(" or ")));
        }
        Ok(Box::new(Frozen { names: self.names.clone(), stopped: Vec::new() }))
    }

    fn restore(&self, _: &str) -> Result<u32, String> {
        let stopped: Vec<Process> =
            processes::named(&self.names)?.into_iter().filter(Process::is_stopped).collect();
        for process in &stopped {
            process.signal(libc::SIGCONT)?;
        }
        Ok(stopped.len() as u32)
    }

    fn summary(&self) -> String {
        format!("freeze processes {}", self.names.join(", "))
    }
}

/// The work of freezing.
#[derive(Debug)]
struct Frozen {
    names: Vec<String>,
    stopped: Vec<Process>,
}

impl Work for Frozen {
    fn fire(&mut self) -> Result<(), String> {
        for _ in 0..PASSES {
            let moving: Vec<Process> =
                processes::named(&self.names)?.into_iter().filter(|process| !process.is_stopped()).collect();
            if moving.is_empty() {
                break;
            }
            for process in moving {
                let known = |one: &Process| (one.pid, one.started) == (process.pid, process.started);
                if !self.stopped.iter().any(known) {
                    process.signal(libc::SIGSTOP)?;
                    self.stopped.push(process);
                }
            }
            // A process stops when it is next scheduled, and nobody but its parent or tracer is told.
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn undo(&mut self) -> bool {
        // Each is attempted whatever becomes of the others.
        let done: Vec<bool> =
            self.stopped.iter().map(|process| process.signal(libc::SIGCONT).is_ok()).collect();
        done.into_iter().all(|done| done)
    }

    fn counters(&mut self) -> Counters {
        Counters {
            counted: BTreeMap::from([("stopped_processes".into(), self.stopped.len() as u64)]),
            ..Counters::default()
        }
    }
}
