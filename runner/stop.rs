//! Stopping a run from another terminal: its runner is found by the run's lock, and told as Ctrl-C tells it.
//!
//! The lock's file names the process that took it and when that process started. A signal goes only to a process
//! that is still that one, through a descriptor that can't come to mean another: process ids are used again.

use std::fs;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Exit, Result};
use crate::heal;
use crate::ledger::{self, Runner};

/// The longest a run may take to heal and take its lab down once it is told to.
const HEAL_LIMIT: Duration = Duration::from_secs(60);
/// How often to look whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Tells the runner of `run` to heal and end, and waits until the run is over.
///
/// # Errors
/// No such run lives here (exit 2), its runner belongs to somebody else (exit 3), or it is not healed in time
/// (exit 7).
pub fn stop(state: &Path, run: &str) -> Result<()> {
    let runner = ledger::runner(state, run)?.ok_or_else(|| {
        Error::mistake(format!("no run {} lives here", run.escape_debug()))
            .hint("`chaos stop` without a name says which do; dead ones are healed by `chaos recover`")
    })?;
    tell(&runner, run)?;
    await_end(state, run)
}

/// Sends SIGTERM to the runner, if it is still the process that took the lock.
fn tell(runner: &Runner, run: &str) -> Result<()> {
    let failed = |error: std::io::Error| {
        let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
        let error = Error::environment(format!("could not tell the runner of {run} to stop")).because(error);
        if denied {
            error.hint("it belongs to another user: run this as that user or as root")
        } else {
            error
        }
    };
    // SAFETY: plain system calls on a process id and a descriptor; the descriptor is checked before it is owned.
    let process = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, runner.pid, 0);
        match i32::try_from(fd) {
            Ok(fd) if fd >= 0 => OwnedFd::from_raw_fd(fd),
            _ => return ended_or(std::io::Error::last_os_error(), failed),
        }
    };
    // Looked at after the descriptor was had: from here on the id can't have passed to another process unnoticed.
    if ledger::started_at(runner.pid) != Some(runner.started) {
        return Ok(());
    }
    // SAFETY: the descriptor is a process's and is owned; no pointer is passed but null.
    let sent = unsafe {
        let none = std::ptr::null::<libc::siginfo_t>();
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), libc::SIGTERM, none, 0)
    };
    if sent == 0 { Ok(()) } else { ended_or(std::io::Error::last_os_error(), failed) }
}

/// A runner that has ended meanwhile is as good as told: its warden heals.
fn ended_or(error: std::io::Error, failed: impl Fn(std::io::Error) -> Error) -> Result<()> {
    if error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(failed(error)) }
}

fn await_end(state: &Path, run: &str) -> Result<()> {
    let folder = ledger::run_dir(state, run);
    let until = Instant::now() + HEAL_LIMIT;
    while fs::exists(&folder).unwrap_or(true) {
        if Instant::now() > until {
            let message = format!(
                "run {run} was told to stop and still owes something after {} s",
                HEAL_LIMIT.as_secs()
            );
            return Err(Error::new(Exit::Unhealed, message)
                .hint(format!("once it is dead: `{}`", heal::command(run))));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
