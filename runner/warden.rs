//! The warden: a detached process of this program that heals when its run dies.
//!
//! It waits for the run's lock, which the kernel releases when the runner's process ends in whatever way.
//! A run that ended in order has removed its folder by then, and the warden has nothing to do. It must not
//! share anything with the runner that could take both down: not the process group, not the terminal, not
//! the runtime.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::docker::Docker;
use crate::error::{Error, Result};
use crate::{ledger, recover};

/// What the warden writes once it stands by.
const STANDS_BY: u8 = b'w';
/// How often the warden tries to heal while the daemon does not answer, and how long it waits between.
const TRIES: u32 = 30;
const BETWEEN_TRIES: std::time::Duration = std::time::Duration::from_secs(2);

/// The warden of a run, seen from its runner.
pub struct Warden {
    child: Child,
}

impl Warden {
    /// Starts the warden of `run` and waits until it stands by.
    pub fn start(run: &str) -> Result<Self> {
        let failed = |error| Error::environment("could not start the warden").because(error);
        let log = std::fs::File::create(ledger::run_dir(&ledger::state_dir(), run).join("warden.log"))
            .map_err(failed)?;
        let mut command = Command::new("/proc/self/exe");
        command.args(["inside", "warden", run]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        // SAFETY: setsid is async-signal-safe and touches nothing of ours; in a fresh child, which leads no
        // process group, it can't fail.
        unsafe {
            command.pre_exec(|| match libc::setsid() {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let mut child = command.spawn().map_err(failed)?;
        let mut word = [0];
        let out = child.stdout.as_mut().expect("its stdout was piped");
        out.read_exact(&mut word).map_err(failed)?;
        if word != [STANDS_BY] {
            return Err(Error::environment("the warden did not stand by"));
        }
        Ok(Self { child })
    }

    /// Waits for the warden to notice that the run ended in order. Call after the ledger is closed.
    pub fn dismiss(mut self) {
        // It has been woken by the lock and only has to exit; if it does not, it will when we have.
        let _ = self.child.wait();
    }
}

/// The warden's own work: wait for `run` to die, heal what it left, exit.
pub fn stand_by(state: &Path, run: &str) -> Result<()> {
    use std::io::Write as _;
    // The runner waits for this; if it has died meanwhile, the lock tells.
    let _ = std::io::stdout().write_all(&[STANDS_BY]).and_then(|()| std::io::stdout().flush());
    let Some(ledger) = ledger::wait_for(state, run)? else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::environment("the warden could not start its runtime").because(error))?;
    runtime.block_on(async {
        let mut ledger = Some(ledger);
        for attempt in 1.. {
            let healed = match (Docker::connect().await, ledger.take()) {
                (Ok(docker), Some(held)) => recover::one(&docker, held).await.map(drop),
                (Ok(docker), None) => recover::dead_runs(&docker, state, Some(run)).await.map(drop),
                (Err(error), held) => {
                    ledger = held;
                    Err(error)
                }
            };
            match healed {
                Err(error) if attempt == TRIES => return Err(error),
                // The daemon may be restarting: what it runs can be healed when it is back.
                Err(_) => tokio::time::sleep(BETWEEN_TRIES).await,
                Ok(()) => break,
            }
        }
        Ok(())
    })
}
