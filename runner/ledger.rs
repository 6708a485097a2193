//! The ledger: what is owed to the system, on disk before anything is done to it.
//!
//! Every run has a folder under the state directory with two files: `lock`, which its runner holds for as
//! long as it lives (the kernel releases it when the process dies, however it dies), and `ledger.jsonl`,
//! where each debt is written and fsynced before the change it undoes, and struck out after the undo was
//! verified. Whoever can take the lock of a run may heal what it still owes. A folder without debts is
//! removed. Never write here what was not about to be done, and never apply before [`Ledger::owe`] returned.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Exit, Result};
use crate::fault::step::Op;

/// The ledger's format, in its first line.
pub const SCHEMA: &str = "chaos.ledger/1";

/// Something that must be taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a run owes a handful of labs at most; the rest are undos")]
pub enum Debt {
    /// A step's undo.
    Undo {
        /// The step's number in its run's plan.
        step: u32,
        /// The container's name.
        container: String,
        /// The container's id on the daemon.
        id: String,
        /// What takes the step back.
        op: Op,
        /// What the run's agents name things in the kernel by.
        tag: String,
    },
    /// Everything labelled with the run: its lab and its agents.
    Lab {
        /// True if the lab is to stay when its run is over (`--keep`); the agents go all the same.
        keep: bool,
    },
}

/// Whether a run may run its user's commands on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostExec {
    /// No: what a ledger says without a word on it.
    #[default]
    Refused,
    /// Yes, by `--allow-host-exec`; then so may whoever heals it.
    Allowed,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one at a time")]
enum Line {
    Opened {
        schema: String,
        run: String,
        docker_host: Option<String>,
        #[serde(default)]
        host_exec: HostExec,
    },
    Owed {
        key: u32,
        debt: Debt,
    },
    Settled {
        key: u32,
    },
}

/// The ledger of a run, held by its lock.
#[derive(Debug)]
pub struct Ledger {
    run: String,
    folder: PathBuf,
    file: File,
    owed: BTreeMap<u32, Debt>,
    next_key: u32,
    docker_host: Option<String>,
    host_exec: HostExec,
    /// Held until dropped; the kernel lets go of it if we die.
    _lock: File,
}

/// Where ledgers are kept: `$CHAOS_STATE_DIR`, else `$XDG_STATE_HOME/chaos`, else `~/.local/state/chaos`,
/// else `/var/lib/chaos`.
pub fn state_dir() -> PathBuf {
    let from =
        |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("CHAOS_STATE_DIR")
        .or_else(|| from("XDG_STATE_HOME").map(|dir| dir.join("chaos")))
        .or_else(|| from("HOME").map(|dir| dir.join(".local/state/chaos")))
        .unwrap_or_else(|| "/var/lib/chaos".into())
}

fn runs_dir(state: &Path) -> PathBuf {
    state.join("runs")
}

/// The folder of `run` under `state`.
pub fn run_dir(state: &Path, run: &str) -> PathBuf {
    runs_dir(state).join(run)
}

impl Ledger {
    /// Opens a new ledger for `run` and takes its lock.
    ///
    /// Fails if the state directory can't be written, or if the run has one already.
    pub fn create(state: &Path, run: &str, docker_host: Option<String>, host_exec: HostExec) -> Result<Self> {
        let folder = run_dir(state, run);
        let failed = |error| {
            Error::environment(format!("could not write the undo ledger in {}", folder.display()))
                .hint("set CHAOS_STATE_DIR to a directory you can write to")
                .because(error)
        };
        fs::create_dir_all(runs_dir(state)).map_err(failed)?;
        fs::create_dir(&folder).map_err(failed)?;
        let mut lock = File::create(folder.join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let pid = std::process::id();
        // Whoever wants to stop the run finds its runner by this.
        writeln!(lock, "{pid} {}", started_at(pid).unwrap_or_default()).map_err(failed)?;
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(folder.join("ledger.jsonl"))
            .map_err(failed)?;
        let mut ledger = Self {
            run: run.into(),
            folder: folder.clone(),
            file,
            owed: BTreeMap::new(),
            next_key: 0,
            docker_host: docker_host.clone(),
            host_exec,
            _lock: lock,
        };
        let opened = Line::Opened { schema: SCHEMA.into(), run: run.into(), docker_host, host_exec };
        ledger.append(&[opened])?;
        // The names must survive a power loss as well as the contents do.
        for dir in [folder.as_path(), &runs_dir(state)] {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        Ok(ledger)
    }

    /// The run it belongs to.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The daemon the run was made on, as `DOCKER_HOST` had it.
    pub fn docker_host(&self) -> Option<&str> {
        self.docker_host.as_deref()
    }

    /// Whether the run may run its user's commands on this machine.
    pub const fn host_exec(&self) -> HostExec {
        self.host_exec
    }

    /// Writes debts down, durably. Their changes may be made once this has returned. Gives one key each.
    pub fn owe(&mut self, debts: impl IntoIterator<Item = Debt>) -> Result<Vec<u32>> {
        let mut keys = Vec::new();
        let mut lines = Vec::new();
        for debt in debts {
            let key = self.next_key;
            self.next_key += 1;
            keys.push(key);
            lines.push(Line::Owed { key, debt });
        }
        self.append(&lines)?;
        // Owed only now: what could not be written down is not done, and must not be undone.
        for line in lines {
            if let Line::Owed { key, debt } = line {
                self.owed.insert(key, debt);
            }
        }
        Ok(keys)
    }

    /// Strikes out debts whose undo was verified; unknown keys are no error.
    pub fn settle(&mut self, keys: &[u32]) -> Result<()> {
        let settled: Vec<_> = keys.iter().copied().filter(|key| self.owed.remove(key).is_some()).collect();
        self.append(&settled.into_iter().map(|key| Line::Settled { key }).collect::<Vec<_>>())
    }

    /// What is owed, latest first: the order in which it is taken back.
    pub fn owed(&self) -> impl Iterator<Item = (u32, &Debt)> {
        self.owed.iter().rev().map(|(key, debt)| (*key, debt))
    }

    /// Removes the ledger if nothing is owed any more; true if it is gone.
    pub fn close(self) -> Result<bool> {
        if !self.owed.is_empty() {
            return Ok(false);
        }
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::environment(format!(
                "could not remove the settled ledger {}",
                self.folder.display()
            ))
            .because(error)),
            _ => Ok(true),
        }
    }

    fn append(&mut self, lines: &[Line]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for line in lines {
            text.push_str(&serde_json::to_string(line).expect("a ledger line is plain data"));
            text.push('\n');
        }
        self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data()).map_err(|error| {
            Error::new(
                Exit::Environment,
                format!("could not write the undo ledger in {}", self.folder.display()),
            )
            .hint("free some disk space; nothing is broken without a durable undo")
            .because(error)
        })
    }
}

/// The process that runs a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Its process id.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot: with the id it is one process and no other.
    pub started: u64,
}

/// When the process started, in the kernel's ticks since boot; nothing if there is none.
pub fn started_at(pid: u32) -> Option<u64> {
    // The 22nd field; the second one, the program's name, may have spaces and parentheses in it.
    const AFTER_NAME: usize = 19;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(AFTER_NAME)?.parse().ok()
}

/// The runner of `run`; nothing if there is no such run under `state`, or it is dead, being healed or not.
pub fn runner(state: &Path, run: &str) -> Result<Option<Runner>> {
    // A name is no way out of the directory.
    let Ok(text) =
        fs::read_to_string(runs_dir(state).join(Path::new(run).file_name().unwrap_or_default()).join("lock"))
    else {
        return Ok(None);
    };
    let mut numbers = text.split_whitespace();
    let (pid, started) = (numbers.next(), numbers.next());
    let (Some(pid), Some(started)) =
        (pid.and_then(|pid| pid.parse().ok()), started.and_then(|started| started.parse().ok()))
    else {
        return Err(Error::environment(format!("the lock of run {run} does not say who holds it"))
            .hint("stop it where it was started, with Ctrl-C"));
    };
    Ok((started_at(pid) == Some(started)).then_some(Runner { pid, started }))
}

/// The runs under `state` whose runners live; sorted.
pub fn live_runs(state: &Path) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(runs_dir(state)) else { return Ok(Vec::new()) };
    let mut names: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names.retain(|run| matches!(runner(state, run), Ok(Some(_))));
    Ok(names)
}

/// Takes the lock of `run`, waiting for its runner to die or finish; nothing if the run is over and gone.
pub fn wait_for(state: &Path, run: &str) -> Result<Option<Ledger>> {
    let folder = run_dir(state, run);
    let Ok(lock) = File::open(folder.join("lock")) else { return Ok(None) };
    lock.lock()
        .map_err(|error| Error::environment(format!("could not wait for run {run}")).because(error))?;
    reopen(&folder, run, lock)
}

/// The ledgers of dead runs, each now held by us; runs still alive are left out. Sorted by run.
pub fn dead_runs(state: &Path) -> Result<Vec<Ledger>> {
    let Ok(entries) = fs::read_dir(runs_dir(state)) else { return Ok(Vec::new()) };
    let mut names: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let (mut dead, mut unreadable) = (Vec::new(), None);
    for run in names {
        let folder = run_dir(state, &run);
        let Ok(lock) = File::open(folder.join("lock")) else {
            // A runner that died between making its folder and its lock had not done anything yet. One that
            // is doing so now is told apart by age: the two calls are microseconds apart.
            const BEING_MADE: std::time::Duration = std::time::Duration::from_secs(60);
            let old = fs::metadata(&folder)
                .and_then(|data| data.modified())
                .is_ok_and(|made| made.elapsed().is_ok_and(|age| age > BEING_MADE));
            if old && !folder.join("ledger.jsonl").exists() {
                let _ = fs::remove_dir(&folder);
            }
            continue;
        };
        match lock.try_lock() {
            // One that can't be read must not keep the others from being healed.
            Ok(()) => match reopen(&folder, &run, lock) {
                Ok(ledger) => dead.extend(ledger),
                Err(error) => unreadable = Some(error),
            },
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(Error::environment(format!("could not try the lock of run {run}")).because(error));
            }
        }
    }
    match unreadable {
        Some(error) if dead.is_empty() => Err(error),
        _ => Ok(dead),
    }
}

/// Reads a ledger whose lock we hold. A torn last line was never acknowledged: its change was not made.
fn reopen(folder: &Path, run: &str, lock: File) -> Result<Option<Ledger>> {
    let path = folder.join("ledger.jsonl");
    let failed = |error| {
        Error::environment(format!("could not read the undo ledger {}", path.display())).because(error)
    };
    let file = match OpenOptions::new().read(true).append(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // The run ended in order and removed its folder, or died before its first debt.
            let _ = fs::remove_dir_all(folder);
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut owed = BTreeMap::new();
    let (mut next_key, mut docker_host, mut host_exec, mut torn) = (0, None, HostExec::Refused, false);
    for line in BufReader::new(&file).lines() {
        let line = line.map_err(failed)?;
        match serde_json::from_str(&line) {
            Ok(Line::Opened { docker_host: host, host_exec: exec, .. }) => {
                (docker_host, host_exec) = (host, exec);
            }
            Ok(Line::Owed { key, debt }) => {
                next_key = next_key.max(key + 1);
                owed.insert(key, debt);
            }
            Ok(Line::Settled { key }) => drop(owed.remove(&key)),
            Err(_) => torn = true,
        }
    }
    let mut ledger = Ledger {
        run: run.into(),
        folder: folder.into(),
        file,
        owed,
        next_key,
        docker_host,
        host_exec,
        _lock: lock,
    };
    if torn {
        // What we append must not grow onto the torn line. A disk too full for that must not stop healing.
        let _ = ledger.file.write_all(b"\n");
    }
    Ok(Some(ledger))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debt(step: u32) -> Debt {
        Debt::Undo { step, container: "api-1".into(), id: "0a".into(), op: Op::Unpause, tag: "t".into() }
    }

    fn steps(ledger: &Ledger) -> Vec<u32> {
        ledger
            .owed()
            .filter_map(|(_, debt)| match debt {
                Debt::Undo { step, .. } => Some(*step),
                Debt::Lab { .. } => None,
            })
            .collect()
    }

    #[test]
    fn a_dead_run_owes_what_was_not_settled_latest_first() {
        let state = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::create(state.path(), "r1", None, HostExec::Refused).unwrap();
        let keys = ledger.owe([debt(0), debt(1), debt(2)]).unwrap();
        ledger.settle(&keys[1..2]).unwrap();
        assert!(dead_runs(state.path()).unwrap().is_empty(), "its runner still lives");
        drop(ledger);
        let dead = dead_runs(state.path()).unwrap();
        assert_eq!(dead.iter().map(steps).collect::<Vec<_>>(), [[2, 0]]);
    }

    #[test]
    fn a_settled_ledger_leaves_no_trace() {
        let state = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::create(state.path(), "r1", None, HostExec::Refused).unwrap();
        let keys = ledger.owe([debt(0)]).unwrap();
        ledger.settle(&keys).unwrap();
        assert!(ledger.close().unwrap());
        assert_eq!(fs::read_dir(runs_dir(state.path())).unwrap().count(), 0);
        assert!(wait_for(state.path(), "r1").unwrap().is_none());
    }

    #[test]
    fn a_torn_last_line_is_passed_over_at_every_length() {
        let state = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::create(state.path(), "r1", None, HostExec::Refused).unwrap();
        ledger.owe([debt(0)]).unwrap();
        let path = run_dir(state.path(), "r1").join("ledger.jsonl");
        let whole = fs::read(&path).unwrap();
        ledger.owe([debt(1)]).unwrap();
        let longer = fs::read(&path).unwrap();
        drop(ledger);
        for length in whole.len()..longer.len() - 1 {
            fs::write(&path, &longer[..length]).unwrap();
            let mut dead = dead_runs(state.path()).unwrap();
            assert_eq!(steps(&dead[0]), [0], "cut at {length}");
            dead[0].owe([debt(7)]).unwrap();
            drop(dead);
            assert_eq!(steps(&dead_runs(state.path()).unwrap()[0]), [7, 0], "appended after {length}");
        }
    }

    #[test]
    fn two_runs_of_one_name_are_refused() {
        let state = tempfile::tempdir().unwrap();
        let _first = Ledger::create(state.path(), "r1", None, HostExec::Refused).unwrap();
        assert!(Ledger::create(state.path(), "r1", None, HostExec::Refused).is_err());
    }
}
