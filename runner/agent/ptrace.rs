//! Stopping every thread of a process to look at it and to write into it, by ptrace.
//!
//! Whatever happens here, nobody stays stopped: the kernel lets go of all tracees of a thread that ends, so
//! everything is done in [`stopped`], in a thread of its own. A process notices at most that a few kinds of waiting
//! are interrupted, as they are when a process is stopped and continued (signal(7)).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// Rounds of looking for threads that were made while others were being stopped; each finds fewer.
const ROUNDS: usize = 16;
/// How long a thread may take to stop. One that waits for a disk does not until that answers.
const STOPPING: Duration = Duration::from_millis(1_500);
/// Instructions from anywhere in a function without loops to its end, generously.
const MOST_STEPS: usize = 2_000;
/// How often to look whether they have.
const LOOK_EVERY: Duration = Duration::from_micros(200);
/// Of `waitpid`'s status, above the signal: stopped on request.
const ON_REQUEST: i32 = libc::PTRACE_EVENT_STOP;

/// Where a stopped thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next instruction.
    pub instruction: u64,
    /// The top of its stack.
    pub stack: u64,
}

/// A process all of whose threads are stopped, by this thread.
#[derive(Debug)]
pub struct Stopped {
    /// Its threads, and a signal that one was about to be delivered.
    threads: BTreeMap<i32, i32>,
    pid: i32,
}

/// Stops all threads of process `pid` and has `body` look at it. They go on when this returns.
///
/// # Errors
/// They could not all be stopped, or what `body` says, for people.
pub fn stopped<T: Send>(
    pid: i32,
    body: impl FnOnce(&mut Stopped) -> Result<T, String> + Send,
) -> Result<T, String> {
    let one = || {
        let mut process = Stopped { threads: BTreeMap::new(), pid };
        let done = process.stop_all(pid).and_then(|()| body(&mut process));
        process.let_go();
        done
    };
    std::thread::scope(|scope| scope.spawn(one).join())
        .unwrap_or_else(|_| Err("a look at a process failed".into()))
}

/// Reads memory of a process, stopped or not; less than asked for where it ends. Not by `/proc/PID/mem`, which takes
/// another privilege besides: its owner's.
///
/// # Errors
/// There is none at `at`, or it is not ours to read.
pub fn read(pid: i32, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let ours = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let theirs =
        libc::iovec { iov_base: std::ptr::without_provenance_mut(at as usize), iov_len: buffer.len() };
    // SAFETY: `ours` describes `buffer`; the kernel checks addresses of the other process.
    let read = unsafe { libc::process_vm_readv(pid, &raw const ours, 1, &raw const theirs, 1, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

impl Stopped {
    fn stop_all(&mut self, pid: i32) -> Result<(), String> {
        for _ in 0..ROUNDS {
            let mut fresh = Vec::new();
            for thread in threads(pid)?.into_iter().filter(|thread| !self.threads.contains_key(thread)) {
                // One that has ended meanwhile is no loss.
                match request(libc::PTRACE_SEIZE, thread, 0, 0) {
                    Ok(()) => fresh.push(thread),
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    // Zombie leaders of living threads can't be traced, and need not be.
                    Err(_) if super::processes::look(thread).is_some_and(|look| look.state == 'Z') => {}
                    Err(error) => return Err(format!("could not trace process {pid}: {error}")),
                }
            }
            if fresh.is_empty() {
                break;
            }
            for thread in &fresh {
                // One that has ended is found so below.
                let _ = request(libc::PTRACE_INTERRUPT, *thread, 0, 0);
            }
            for thread in fresh {
                if let Some(signal) = await_stop(thread)? {
                    self.threads.insert(thread, signal);
                }
            }
        }
        if self.threads.is_empty() { Err(format!("process {pid} has ended")) } else { Ok(()) }
    }

    /// Where each thread is.
    ///
    /// # Errors
    /// The kernel does not say, for people.
    pub fn positions(&self) -> Result<Vec<Position>, String> {
        self.threads.keys().map(|thread| position(*thread)).collect()
    }

    /// Has each thread go on, an instruction at a time, until it is no longer `inside`; the others stay stopped.
    /// False if one does not come out.
    ///
    /// # Errors
    /// The kernel does not say where a thread is, for people.
    pub fn step_out(&mut self, inside: impl Fn(u64) -> bool) -> Result<bool, String> {
        for (thread, signal) in &mut self.threads {
            let mut steps = 0;
            while inside(position(*thread)?.instruction) {
                steps += 1;
                if steps > MOST_STEPS || !step(*thread, signal)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Reads memory; less than asked for where it ends.
    ///
    /// # Errors
    /// There is none at `at`, for people.
    pub fn read(&self, at: u64, buffer: &mut [u8]) -> Result<usize, String> {
        read(self.pid, at, buffer)
            .map_err(|error| format!("could not read the memory of process {}: {error}", self.pid))
    }

    /// Writes eight bytes, also where the process itself may not.
    ///
    /// # Errors
    /// The kernel refuses, for people.
    pub fn write(&mut self, at: u64, word: u64) -> Result<(), String> {
        let thread = self.threads.keys().next().copied().unwrap_or_default();
        let (at, word) = (at as usize, word as usize);
        request(libc::PTRACE_POKEDATA, thread, at, word)
            .map_err(|error| format!("could not write to its memory: {error}"))
    }

    fn let_go(&self) {
        for (thread, signal) in &self.threads {
            // One that was killed meanwhile needs no letting go.
            let _ = request(libc::PTRACE_DETACH, *thread, 0, signal.unsigned_abs() as usize);
        }
    }
}

/// One instruction further; false if the thread has ended. A signal that comes meanwhile is kept for later.
fn step(thread: i32, signal: &mut i32) -> Result<bool, String> {
    request(libc::PTRACE_SINGLESTEP, thread, 0, 0)
        .map_err(|error| format!("could not single-step thread {thread}: {error}"))?;
    match await_stop(thread)? {
        None => return Ok(false),
        Some(0 | libc::SIGTRAP) => {}
        Some(another) if *signal == 0 => *signal = another,
        // There is room for one; the other goes back into the queue.
        Some(another) => {
            // SAFETY: no pointers.
            unsafe { libc::syscall(libc::SYS_tkill, thread, another) };
        }
    }
    Ok(true)
}

#[cfg(target_arch = "x86_64")]
fn position(thread: i32) -> Result<Position, String> {
    // SAFETY: user_regs_struct is plain data; the kernel fills it, as large as it is.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    request(libc::PTRACE_GETREGS, thread, 0, (&raw mut registers).expose_provenance())
        .map_err(|error| format!("could not read the registers of thread {thread}: {error}"))?;
    Ok(Position { instruction: registers.rip, stack: registers.rsp })
}

#[cfg(not(target_arch = "x86_64"))]
fn position(_: i32) -> Result<Position, String> {
    Err("registers are known of x86-64 only".into())
}

fn threads(pid: i32) -> Result<Vec<i32>, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))
        .map_err(|error| format!("could not list the threads of process {pid}: {error}"))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Waits until a thread has stopped; the signal it was about to get, or nothing if it has ended.
fn await_stop(thread: i32) -> Result<Option<i32>, String> {
    let until = Instant::now() + STOPPING;
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        match unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL | libc::WNOHANG) } {
            0 if Instant::now() < until => std::thread::sleep(LOOK_EVERY),
            0 => return Err(format!("thread {thread} does not stop")),
            found if found == thread && libc::WIFSTOPPED(status) => {
                let signal = if status >> 16 == ON_REQUEST { 0 } else { libc::WSTOPSIG(status) };
                return Ok(Some(signal));
            }
            // Ended, or was never ours.
            _ => return Ok(None),
        }
    }
}

fn request(what: libc::c_uint, thread: i32, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: the kernel checks addresses of the tracee; where `data` points into this process, the caller made
    // room for what is written there.
    if unsafe { libc::ptrace(what, thread, address, data) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
