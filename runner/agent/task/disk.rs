//! Filling a file system that the target writes to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::{Capability, DAC_OVERRIDE, Place, SYS_PTRACE, Task, TaskKind, Work};
use crate::agent::cgroup::Cgroup;
use crate::agent::folder::{Folder, Space};
use crate::agent::hand::{self, Chore, Doing, spawn};
use crate::agent::wire::Engine;
use crate::spec::amount::DiskLevel;

/// A file system's own records of a file take room too, and the target goes on writing: looks and corrections until
/// the level is met.
const CORRECTIONS: usize = 64;
/// How near is near enough: less than a file system gives out at once.
const NEAR_BYTES: u64 = 128 << 10;
/// Written at once where room can't be had without writing.
const PIECE_BYTES: usize = 1 << 20;

/// Takes room on the file system of a folder of the target's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// The folder, as the target names it.
    pub path: String,
    /// How full it is to be.
    pub level: DiskLevel,
}

impl Disk {
    /// What has to be taken now, in bytes; negative: given back.
    fn missing_bytes(&self, space: Space) -> i64 {
        let all = space.used_bytes + space.free_bytes;
        let free = match self.level {
            DiskLevel::Used(share) => all - (share.get() * all as f64) as u64,
            DiskLevel::Leave(bytes) => bytes,
        };
        space.free_bytes.cast_signed() - free.cast_signed()
    }
}

/// What a file is called where it must have a name for an instant.
fn name(tag: &str) -> String {
    format!(".chaos-disk-{tag}")
}

impl TaskKind for Disk {
    fn place(&self) -> Place {
        Place::Cgroup
    }

    fn capabilities(&self) -> &'static [Capability] {
        // To see the target's files, and to write where its users may.
        &[DAC_OVERRIDE, SYS_PTRACE]
    }

    fn engine(&self) -> Engine {
        Engine::Agent
    }

    fn stage(&self, tag: &str) -> Result<Box<dyn Work>, String> {
        let space = Folder::open(&self.path)?.space()?;
        if self.missing_bytes(space) <= 0 {
            return Err(format!(
                "`{}` has {} bytes free and {} in use: it is fuller than that already",
                self.path, space.free_bytes, space.used_bytes
            ));
        }
        hand::stage(tag, &Task::Disk(self.clone()))
    }

    fn restore(&self, tag: &str) -> Result<u32, String> {
        let killed = hand::kill_left(tag)?;
        let removed = Folder::open(&self.path)?.remove(&name(tag))?;
        Ok(killed + u32::from(removed))
    }

    fn summary(&self) -> String {
        match self.level {
            DiskLevel::Used(share) => format!("fill the file system of {} to {share}", self.path),
            DiskLevel::Leave(_) => format!("fill the file system of {}, {}", self.path, self.level),
        }
    }

    fn chore(&self) -> Option<&dyn Chore> {
        Some(self)
    }
}

impl Chore for Disk {
    fn hierarchies(&self) -> &'static [&'static str] {
        &[]
    }

    fn begin(&self, tag: &str, cgroup: Cgroup, _: File) -> Result<Box<dyn Doing>, String> {
        let folder = Folder::open(&self.path)?;
        if folder.is_memory() {
            // What the target writes there is charged to it, and so is this.
            cgroup.enter(&["memory"])?;
        }
        let before = folder.space()?;
        let file = folder.file(&name(tag))?;
        let state = Arc::new(State::default());
        let filling = Filling { folder, state: Arc::clone(&state), before };
        let (task, second) = (self.clone(), Folder::open(&self.path)?);
        spawn("disk", move || {
            let filled = fill(&task, &second, &file, &state);
            state.reached.store(filled.is_ok(), Ordering::Relaxed);
            // Held until this process is killed.
            loop {
                std::thread::park();
            }
        })?;
        Ok(Box::new(filling))
    }
}

#[derive(Debug, Default)]
struct State {
    held_bytes: AtomicU64,
    reached: AtomicBool,
}

/// Makes the file as large as it must be.
fn fill(task: &Disk, folder: &Folder, file: &File, state: &State) -> Result<(), String> {
    let (mut len, mut halvings) = (0u64, 0u32);
    for _ in 0..CORRECTIONS {
        let missing = task.missing_bytes(folder.space()?);
        if missing.unsigned_abs() <= NEAR_BYTES {
            return Ok(());
        }
        let wanted = len.saturating_add_signed(missing >> halvings);
        match resize(file, len, wanted, state) {
            Ok(()) => {
                len = wanted;
                halvings = 0;
                state.held_bytes.store(len, Ordering::Relaxed);
            }
            // Room is had as a whole or not at all, and the target took some of it meanwhile: less first.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                len = file.metadata().map_err(|error| error.to_string())?.len();
                halvings = (halvings + 1).min(62);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("what else is written there changed faster than room could be taken".into())
}

fn resize(file: &File, from: u64, to: u64, state: &State) -> io::Result<()> {
    if to < from {
        return file.set_len(to);
    }
    // SAFETY: no pointers; the descriptor is the file's.
    if unsafe { libc::fallocate(file.as_raw_fd(), 0, from.cast_signed(), (to - from).cast_signed()) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::EOPNOTSUPP) {
        return Err(error);
    }
    // Not all zeroes: file systems that compress would take no room.
    let piece: Vec<u8> = (0..PIECE_BYTES).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut at = from;
    while at < to {
        let len = PIECE_BYTES.min((to - at) as usize);
        file.write_all_at(&piece[..len], at)?;
        at += len as u64;
        state.held_bytes.store(at, Ordering::Relaxed);
    }
    file.sync_data()
}

/// A file that takes room.
#[derive(Debug)]
struct Filling {
    folder: Folder,
    before: Space,
    state: Arc<State>,
}

impl Doing for Filling {
    fn counted(&mut self) -> BTreeMap<String, u64> {
        let mut counted = BTreeMap::from([
            ("held_bytes".into(), self.state.held_bytes.load(Ordering::Relaxed)),
            ("reached".into(), self.state.reached.load(Ordering::Relaxed).into()),
            ("free_bytes_before".into(), self.before.free_bytes),
        ]);
        if let Ok(space) = self.folder.space() {
            counted.insert("free_bytes".into(), space.free_bytes);
            counted.insert("used_bytes".into(), space.used_bytes);
        }
        counted
    }
}
