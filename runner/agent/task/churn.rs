//! Reading and writing on a file system of the target's, past its cache, at a rate.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Capability, DAC_OVERRIDE, Place, SYS_PTRACE, Task, TaskKind, Work};
use crate::agent::cgroup::Cgroup;
use crate::agent::folder::Folder;
use crate::agent::hand::{self, Chore, Doing, spawn};
use crate::agent::wire::Engine;
use crate::clock::mono_ns;
use crate::spec::amount::ByteRate;

/// The largest file that is written and read over and over: more than a device's own cache, little on a disk.
const MOST_FILE_BYTES: u64 = 64 << 20;
/// Read or written at once.
const PIECE_BYTES: usize = 256 << 10;
/// What reads and writes past the cache must begin at a multiple of, in memory and in files.
const ALIGNMENT: usize = 4_096;
/// What a slow device did not manage in time is made up for later, up to this long.
const MOST_OWED_NS: u64 = 1_000_000_000;
/// How often to look whether something is due.
const SLEEP: Duration = Duration::from_millis(1);

/// Keeps a device busy on the target's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Churn {
    /// A folder on the file system, as the target names it.
    pub path: String,
    /// How fast to read; nothing: don't.
    pub read: Option<ByteRate>,
    /// How fast to write; nothing: don't.
    pub write: Option<ByteRate>,
}

impl Churn {
    /// How large the file is: a second's work, so that it is soon there to be read, in whole pieces.
    fn file_bytes(&self) -> u64 {
        let rates = [self.read, self.write].into_iter().flatten();
        let second = rates.map(ByteRate::bytes_per_s).min().unwrap_or(MOST_FILE_BYTES);
        second.min(MOST_FILE_BYTES).next_multiple_of(PIECE_BYTES as u64)
    }
}

fn name(tag: &str) -> String {
    format!(".chaos-io-{tag}")
}

impl TaskKind for Churn {
    fn place(&self) -> Place {
        Place::Cgroup
    }

    fn capabilities(&self) -> &'static [Capability] {
        // To see the target's files, and to write where its users may.
        &[DAC_OVERRIDE, SYS_PTRACE]
    }

    fn engine(&self) -> Engine {
        Engine::Cgroup
    }

    fn stage(&self, tag: &str) -> Result<Box<dyn Work>, String> {
        let folder = Folder::open(&self.path)?;
        if folder.is_memory() {
            return Err(format!("`{}` is kept in memory: there is no device to keep busy", self.path));
        }
        let free = folder.space()?.free_bytes;
        let takes = self.file_bytes();
        if free < 2 * takes {
            return Err(format!("`{}` has {free} bytes free; reading and writing takes {takes}", self.path));
        }
        hand::stage(tag, &Task::Churn(self.clone()))
    }

    fn restore(&self, tag: &str) -> Result<u32, String> {
        let killed = hand::kill_left(tag)?;
        let removed = Folder::open(&self.path)?.remove(&name(tag))?;
        Ok(killed + u32::from(removed))
    }

    fn summary(&self) -> String {
        let read = self.read.map(|rate| format!("read {rate}"));
        let write = self.write.map(|rate| format!("write {rate}"));
        let both: Vec<String> = read.into_iter().chain(write).collect();
        format!("{} on the file system of {}", both.join(" and "), self.path)
    }

    fn chore(&self) -> Option<&dyn Chore> {
        Some(self)
    }
}

impl Chore for Churn {
    fn hierarchies(&self) -> &'static [&'static str] {
        &["blkio"]
    }

    fn begin(&self, tag: &str, cgroup: Cgroup, _: File) -> Result<Box<dyn Doing>, String> {
        let file = Arc::new(Folder::open(&self.path)?.file(&name(tag))?);
        // Past the cache where the file system can; else each piece is synced.
        // SAFETY: no pointers; the descriptor is the file's.
        let direct = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_DIRECT) } == 0;
        let done = Arc::new(Done::default());
        let before = cgroup.io_bytes();
        let (task, shared) = (self.clone(), Arc::clone(&done));
        spawn("io", move || {
            let len = task.file_bytes();
            // It must be there before it can be read, but no faster than asked for.
            let slowest = task.write.or(task.read).map_or(u64::MAX, ByteRate::bytes_per_s);
            paced(slowest, len, Some(len), |offset| put(&file, offset, direct, &shared));
            if let Some(rate) = task.read {
                let (file, done) = (Arc::clone(&file), Arc::clone(&shared));
                let read =
                    move || paced(rate.bytes_per_s(), len, None, |offset| get(&file, offset, direct, &done));
                // Without it there is less pressure than asked for, which the counters show.
                let _ = spawn("io-read", read);
            }
            match task.write {
                Some(rate) => {
                    paced(rate.bytes_per_s(), len, None, |offset| put(&file, offset, direct, &shared))
                }
                None => loop {
                    std::thread::park();
                },
            }
        })?;
        Ok(Box::new(Churning { cgroup, before, done }))
    }
}

#[derive(Debug, Default)]
struct Done {
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    errors: AtomicU64,
}

/// Has a piece at each offset of a file of `len` bytes dealt with in turn, so that the rate is kept: until so many
/// bytes are done, or forever.
fn paced(bytes_per_s: u64, len: u64, until: Option<u64>, mut piece: impl FnMut(u64)) {
    let ns_per_piece = (PIECE_BYTES as f64 / bytes_per_s as f64 * 1e9) as u64;
    let mut due_ns = mono_ns();
    let mut done = 0;
    while until.is_none_or(|until| done < until) {
        let now_ns = mono_ns();
        if now_ns < due_ns {
            std::thread::sleep(SLEEP.min(Duration::from_nanos(due_ns - now_ns)));
            continue;
        }
        piece(done % len);
        done += PIECE_BYTES as u64;
        due_ns = due_ns.max(now_ns.saturating_sub(MOST_OWED_NS)) + ns_per_piece;
    }
}

fn put(file: &File, offset: u64, direct: bool, done: &Done) {
    let mut buffer = vec![0u8; PIECE_BYTES + ALIGNMENT];
    let piece = aligned(&mut buffer);
    // Never the same, for devices that know.
    piece[..8].copy_from_slice(&mono_ns().to_le_bytes());
    let written =
        file.write_all_at(piece, offset).and_then(|()| if direct { Ok(()) } else { file.sync_data() });
    note(written.is_ok(), &done.written_bytes, done);
}

fn get(file: &File, offset: u64, direct: bool, done: &Done) {
    if !direct {
        // SAFETY: no pointers; the descriptor is the file's. A refusal only means that the cache answers.
        unsafe {
            libc::posix_fadvise(
                file.as_raw_fd(),
                offset.cast_signed(),
                PIECE_BYTES.cast_signed() as i64,
                libc::POSIX_FADV_DONTNEED,
            )
        };
    }
    let mut buffer = vec![0u8; PIECE_BYTES + ALIGNMENT];
    note(file.read_exact_at(aligned(&mut buffer), offset).is_ok(), &done.read_bytes, done);
}

fn aligned(buffer: &mut [u8]) -> &mut [u8] {
    let skip = buffer.as_ptr().align_offset(ALIGNMENT);
    &mut buffer[skip..skip + PIECE_BYTES]
}

fn note(succeeded: bool, bytes: &AtomicU64, done: &Done) {
    if succeeded {
        bytes.fetch_add(PIECE_BYTES as u64, Ordering::Relaxed);
    } else {
        done.errors.fetch_add(1, Ordering::Relaxed);
        // A full or broken disk is not asked a million times a second.
        std::thread::sleep(SLEEP);
    }
}

/// Reading and writing under way.
#[derive(Debug)]
struct Churning {
    cgroup: Cgroup,
    before: Option<u64>,
    done: Arc<Done>,
}

impl Doing for Churning {
    fn counted(&mut self) -> BTreeMap<String, u64> {
        let mut counted = BTreeMap::from([
            ("read_bytes".into(), self.done.read_bytes.load(Ordering::Relaxed)),
            ("written_bytes".into(), self.done.written_bytes.load(Ordering::Relaxed)),
            ("io_errors".into(), self.done.errors.load(Ordering::Relaxed)),
        ]);
        if let (Some(now), Some(before)) = (self.cgroup.io_bytes(), self.before) {
            counted.insert("target_io_bytes".into(), now.saturating_sub(before));
        }
        counted
    }
}
