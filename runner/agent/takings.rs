//! Memory that is taken from a target, and how to hold it so that it stays taken when the target needs it.
//!
//! Where memory runs short within a limit, the kernel kills the process that has most of it mapped. A process that
//! simply holds what it took is that one, and the shortage would end just as it begins to matter. So it is held in a
//! file in memory that nobody maps: its pages count against the limit of whoever wrote them, and are no process's. The
//! agent has that file open too, outside of the limit, so that they stay even if the writer is killed; with both
//! gone they are the kernel's again. The alternative, a lower `oom_score_adj`, takes a privilege over the whole machine.
//!
//! The kernel of a machine that runs short as a whole can't get such pages back by killing either. So where no limit
//! is below what the machine has, memory is mapped by its holder, which is then the first to go ([`Takings::own`]).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::clock::mono_ns;

/// The kernel's smallest unit where we run; larger pages are multiples of it.
pub const PAGE_BYTES: u64 = 4_096;
/// Below this share of the machine's memory, one in so many, it is short of it.
const SHORT_SHARE: u64 = 50;

/// A file in memory without a name, for [`Takings::kept_in`]. Takes nothing yet.
///
/// # Errors
/// The kernel gives none.
pub fn file() -> io::Result<File> {
    // SAFETY: the name ends with a zero and outlives the call.
    let fd = unsafe { libc::memfd_create(c"chaos".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nothing else owns.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Has the process that `command` starts inherit `file`, by the same number.
pub fn hand_on(file: &File, command: &mut Command) {
    let fd = file.as_raw_fd();
    let inherit = move || {
        // SAFETY: no pointers; in the child alone, whose descriptors are its own by then.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: it makes one system call, which is safe between fork and exec, and allocates nothing.
    unsafe { command.pre_exec(inherit) };
}

/// The file that was handed on to this process by that number.
///
/// # Errors
/// There is none.
pub fn handed_on(fd: i32) -> io::Result<File> {
    // Ours alone, as it was the agent's alone.
    // SAFETY: no pointers.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: open, by the look above, and handed to this process for this alone.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Memory of the machine, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// All of it.
    pub total_bytes: u64,
    /// What could be had without taking it from somebody.
    pub available_bytes: u64,
}

impl Machine {
    /// As the kernel has it just now; nothing where it does not say.
    pub fn now() -> Option<Self> {
        Self::read(&fs::read_to_string("/proc/meminfo").ok()?)
    }

    fn read(text: &str) -> Option<Self> {
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1 << 10)
        };
        Some(Self { total_bytes: of("MemTotal")?, available_bytes: of("MemAvailable")? })
    }

    /// True if it is about to run out, and whoever holds what nobody needs should give it back.
    pub const fn is_short(self) -> bool {
        self.available_bytes < self.total_bytes / SHORT_SHARE
    }
}

/// Memory that was taken, every page of it touched. Dropped, it is given back.
#[derive(Debug)]
pub enum Takings {
    /// In a file that nobody maps, from its start.
    Kept(File, u64),
    /// Mapped by this process.
    Own(Vec<Piece>),
}

impl Takings {
    /// None yet, to be kept in `file`.
    pub const fn kept_in(file: File) -> Self {
        Self::Kept(file, 0)
    }

    /// None yet, to be this process's own.
    pub const fn own() -> Self {
        Self::Own(Vec::new())
    }

    /// Takes so much more; false if the kernel does not give it.
    pub fn take(&mut self, len: usize) -> bool {
        match self {
            Self::Kept(file, held_bytes) => {
                let taken = file.write_all_at(&vec![0; len], *held_bytes).is_ok();
                *held_bytes += if taken { len as u64 } else { 0 };
                taken
            }
            Self::Own(pieces) => {
                let piece = Piece::take(len);
                let taken = piece.is_some();
                pieces.extend(piece);
                taken
            }
        }
    }

    /// True if the kernel can't get it back by ending this process.
    pub const fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(..))
    }
}

impl Drop for Takings {
    fn drop(&mut self) {
        if let Self::Kept(file, _) = self {
            // The agent has it open as well, so that closing it would not do; fails on no file of ours.
            let _ = file.set_len(0);
        }
    }
}

/// Memory of our own.
#[derive(Debug)]
pub struct Piece {
    start: *mut libc::c_void,
    len: usize,
}

// SAFETY: a mapping is the whole process's, and nobody else has its address.
unsafe impl Send for Piece {}

impl Piece {
    fn take(len: usize) -> Option<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh private mapping of memory that nothing else uses.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let piece = Self { start, len };
        for offset in (0..len).step_by(PAGE_BYTES as usize) {
            // SAFETY: within the mapping. Never the same twice, or the kernel might merge the pages.
            unsafe { start.cast::<u8>().add(offset).cast::<u64>().write_volatile(mono_ns()) };
        }
        Some(piece)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: the mapping that `take` made, of which nobody else has the address.
        unsafe { libc::munmap(self.start, self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKEN: usize = 3 << 20;

    /// Pages of the file that are in memory, in bytes.
    fn in_memory(file: &File) -> u64 {
        std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap()) * 512
    }

    #[test]
    fn what_is_kept_is_there_for_whoever_else_has_the_file_until_it_is_dropped() {
        let agents = file().unwrap();
        let mut takings = Takings::kept_in(agents.try_clone().unwrap());
        assert!(takings.is_kept() && in_memory(&agents) == 0);
        assert!(takings.take(TAKEN) && takings.take(TAKEN));
        assert_eq!(in_memory(&agents), 2 * TAKEN as u64);
        drop(takings);
        assert_eq!(in_memory(&agents), 0);
    }

    #[test]
    fn what_is_our_own_is_ours_to_lose() {
        let mut takings = Takings::own();
        assert!(takings.take(TAKEN) && !takings.is_kept());
    }

    #[test]
    fn a_process_that_was_handed_the_file_has_it_by_its_number() {
        let file = file().unwrap();
        file.write_all_at(b"x", 0).unwrap();
        let size = |handed_on: bool| {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("cat <&{}", file.as_raw_fd())]);
            if handed_on {
                hand_on(&file, &mut command);
            }
            command.output().unwrap().stdout
        };
        assert_eq!((size(true), size(false)), (b"x".to_vec(), Vec::new()));
    }

    #[test]
    fn a_machine_is_short_of_memory_before_it_has_none() {
        let meminfo = |available| {
            let text = format!("MemTotal:  1000 kB\nMemFree:  9 kB\nMemAvailable:  {available} kB\n");
            Machine::read(&text).unwrap()
        };
        assert_eq!(meminfo(30), Machine { total_bytes: 1_024_000, available_bytes: 30_720 });
        assert!(!meminfo(20).is_short() && meminfo(19).is_short());
        assert_eq!(Machine::read("MemTotal: 1 kB\n"), None);
        assert!(Machine::now().is_some());
    }
}
