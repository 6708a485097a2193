//! The agent: what runs inside a target's namespaces. A leaf: it knows nothing of Docker or the runner.
//!
//! `chaos inside agent` is the first process of a container that shares a target's network namespace and has
//! one capability, no shell and no tools. It reads requests and writes replies as [`wire`] says. When its
//! input ends, when it is told to stop, when nobody reads its replies, it undoes everything and exits; what
//! it could not undo itself because it was killed vanishes with its sockets, or is purged by the next agent.
//! It never does anything that it was not asked to, and never outside its own namespaces.
//!
//! Start at [`serve`]; then [`steps`].

pub mod account;
mod appointment;
pub mod cgroup;
pub mod chance;
pub mod conntrack;
pub mod delay;
pub mod diversion;
pub mod dns;
pub mod evict;
pub mod fate;
pub mod folder;
pub mod hand;
pub mod http;
pub mod jobs;
pub mod kernel;
mod lines;
pub mod links;
pub mod neighbours;
pub mod netem;
pub mod netlink;
pub mod nfqueue;
pub mod nft;
pub mod owner;
pub mod processes;
pub mod ptrace;
pub mod reach;
pub mod service;
pub mod severing;
pub mod shaper;
pub mod skewed;
pub mod sockets;
pub mod step;
pub mod steps;
pub mod takings;
pub mod task;
pub mod turns;
pub mod vdso;
pub mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::clock::mono_ns;
use appointment::Appointment;
use jobs::Jobs;
use lines::{Line, Lines};
use reach::Looking;
use steps::Steps;
use task::Capability;
use task::Task;
use wire::{Command, Engine, Hello, Impairment, MAX_LINE_BYTES, Outcome, Reply, Request, Undone};

/// Replies that nobody has read yet, in bytes; beyond it the runner counts as gone.
const MAX_UNREAD_BYTES: usize = 8 << 20;
/// A pipe that polls writable takes this much without blocking (PIPE_BUF), so a runner that does not read can't
/// keep a deadline from being met.
const WRITE_BYTES: usize = 4_096;
/// Read from the input at once.
const READ_BYTES: usize = 64 << 10;
/// How long the last replies may take to be read once everything is undone.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Serves requests from standard input until it ends, with no privileges but `keep`. Everything is undone when
/// this returns.
pub fn serve(keep: &[Capability]) -> io::Result<()> {
    let signals = stop_signals()?;
    give_up_privileges(keep);
    let kernel = kernel::probe();
    let hello = Hello {
        version: env!("CARGO_PKG_VERSION").into(),
        boot_id: kernel::boot_id(),
        mono_ns: mono_ns(),
        kernel: kernel.clone(),
    };
    let mut agent = Agent {
        steps: Steps::new(kernel),
        looking: Looking::default(),
        jobs: Jobs::default(),
        appointment: None,
        lines: Lines::default(),
        unread: VecDeque::new(),
        open: true,
    };
    agent.say(&hello);
    while agent.open {
        agent.turn(signals.as_raw_fd());
    }
    agent.jobs.undo_all();
    agent.steps.undo_all();
    agent.last_words();
    Ok(())
}

/// The agent between two turns of its loop.
struct Agent {
    steps: Steps,
    looking: Looking,
    jobs: Jobs,
    /// A firing that waits for its instant.
    appointment: Option<Appointment>,
    lines: Lines,
    /// Replies not written yet.
    unread: VecDeque<u8>,
    /// False once the input has ended or a signal came.
    open: bool,
}

impl Agent {
    /// Waits for whatever comes first and deals with it.
    fn turn(&mut self, signals: RawFd) {
        let writing = if self.unread.is_empty() { 0 } else { libc::POLLOUT };
        let mut watched = [
            libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: signals, events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: libc::STDOUT_FILENO, events: writing, revents: 0 },
        ];
        poll(&mut watched, self.until_next());
        let [input, signal, output] = watched;
        if output.revents & libc::POLLOUT != 0 {
            self.write_some();
        }
        // Nobody reads any more.
        if output.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0 || signal.revents != 0 {
            self.open = false;
            return;
        }
        // Before what was read: nothing may keep others waiting whose instant is the same.
        self.keep_appointment();
        if input.revents != 0 {
            self.read_some();
        }
        self.steps.take_turns();
        let mut expired = self.steps.expire();
        expired.extend(self.jobs.expire());
        if !expired.is_empty() {
            self.reply(None, Outcome::Expired(expired));
        }
    }

    /// How long until something is due; nothing: nothing is.
    fn until_next(&self) -> Option<Duration> {
        let appointed = self.appointment.as_ref().map(|appointment| appointment.at_ns);
        let due = self.steps.next_wake_ns().into_iter().chain(self.jobs.next_expiry_ns()).chain(appointed);
        due.min().map(|at| Duration::from_nanos(at.saturating_sub(mono_ns())))
    }

    fn read_some(&mut self) {
        let mut buffer = vec![0; READ_BYTES];
        // SAFETY: pointer and length describe `buffer`.
        let read = unsafe { libc::read(libc::STDIN_FILENO, buffer.as_mut_ptr().cast(), buffer.len()) };
        match usize::try_from(read) {
            Ok(0) => self.open = false,
            Ok(len) => {
                for line in self.lines.push(&buffer[..len]) {
                    self.take(&line);
                }
            }
            Err(_) => {
                let error = io::Error::last_os_error();
                let later = [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock];
                self.open = later.contains(&error.kind());
            }
        }
    }

    /// Carries out one line.
    fn take(&mut self, line: &Line) {
        let bytes = match line {
            Line::Whole(bytes) if bytes.trim_ascii().is_empty() => return,
            Line::Whole(bytes) => bytes,
            Line::TooLong => {
                let why = format!("a line is longer than {MAX_LINE_BYTES} bytes");
                return self.reply(None, Outcome::Error(why));
            }
        };
        match serde_json::from_slice::<Request>(bytes) {
            Ok(request) => {
                if let Some(outcome) = self.carry_out(request.id, &request.command) {
                    self.reply(Some(request.id), outcome);
                }
            }
            Err(error) => self.reply(None, Outcome::Error(format!("could not read the request: {error}"))),
        }
    }

    /// The answer to request `id`; nothing yet for what waits for its instant.
    fn carry_out(&mut self, id: u64, command: &Command) -> Option<Outcome> {
        let done = match command {
            Command::Arm { tag, impairments, tasks, engine, deadline_ns } => {
                self.arm(tag, impairments, tasks, *engine, *deadline_ns).map(Outcome::Armed)
            }
            Command::Find { steps } => self.jobs.find(steps).map(Outcome::Found),
            Command::Fire { steps, at_ns } => match self.prepare(id, steps, *at_ns) {
                Ok(appointment) if appointment.at_ns > mono_ns() => {
                    self.appointment = Some(appointment);
                    return None;
                }
                Ok(appointment) => self.fire(appointment).map(Outcome::Fired),
                Err(why) => Err(why),
            },
            Command::Clock => Ok(Outcome::Clock(mono_ns())),
            Command::Undo { steps } => {
                self.call_off(steps);
                Ok(Outcome::Undone(self.undo(steps)))
            }
            Command::Read { steps } => {
                let (jobs, packets) = self.split(steps);
                let mut counters = self.steps.read(&packets);
                counters.extend(self.jobs.read(&jobs));
                Ok(Outcome::Counters(counters))
            }
            Command::Purge { tag } => self.steps.purge(tag).map(Outcome::Purged),
            Command::Reach(ask) => self.looking.ask(ask).map(Outcome::Heard),
            Command::Restore { tag, task } => task.kind().restore(tag).map(Outcome::Purged),
        };
        Some(done.unwrap_or_else(Outcome::Error))
    }

    /// Stages packets' and other steps, all or none.
    fn arm(
        &mut self,
        tag: &str,
        impairments: &[Impairment],
        tasks: &BTreeMap<u32, Task>,
        engine: Option<Engine>,
        deadline_ns: u64,
    ) -> Result<BTreeMap<u32, Engine>, String> {
        let mut engines = self.steps.arm(tag, impairments, engine, deadline_ns)?;
        match self.jobs.arm(tag, tasks, deadline_ns) {
            Ok(more) => engines.extend(more),
            Err(why) => {
                self.steps.undo(&engines.into_keys().collect::<Vec<_>>());
                return Err(why);
            }
        }
        Ok(engines)
    }

    /// Makes ready what is to be fired at `at_ns`.
    fn prepare(&self, request: u64, steps: &[u32], at_ns: Option<u64>) -> Result<Appointment, String> {
        let at_ns = appointment::instant(at_ns, mono_ns())?;
        if self.appointment.is_some() {
            return Err("another firing waits for its instant".into());
        }
        let (jobs, packets) = self.split(steps);
        Ok(Appointment { request, at_ns, jobs, packets: self.steps.prepare(&packets)? })
    }

    /// Fires what waited for an instant that has come.
    fn keep_appointment(&mut self) {
        if let Some(appointment) = self.appointment.take_if(|waiting| waiting.at_ns <= mono_ns()) {
            let request = appointment.request;
            let fired = self.fire(appointment);
            self.reply(Some(request), fired.map_or_else(Outcome::Error, Outcome::Fired));
        }
    }

    /// Steps that are taken back are not fired any more, nor are those that were to be fired with them.
    fn call_off(&mut self, steps: &[u32]) {
        if let Some(appointment) = self.appointment.take_if(|waiting| waiting.has_any(steps)) {
            self.reply(
                Some(appointment.request),
                Outcome::Error("it was taken back before its instant".into()),
            );
        }
    }

    /// Packets first: one commit for all of them.
    fn fire(&mut self, appointment: Appointment) -> Result<BTreeMap<u32, u64>, String> {
        let mut fired = self.steps.fire(appointment.packets)?;
        match self.jobs.fire(&appointment.jobs) {
            Ok(more) => fired.extend(more),
            Err(why) => {
                let packets: Vec<u32> = fired.into_keys().collect();
                self.steps.undo(&packets);
                return Err(why);
            }
        }
        Ok(fired)
    }

    fn undo(&mut self, numbers: &[u32]) -> BTreeMap<u32, Undone> {
        let (jobs, packets) = self.split(numbers);
        let mut undone = self.jobs.undo(&jobs);
        undone.extend(self.steps.undo(&packets));
        undone
    }

    /// The numbers of tasks, and all others.
    fn split(&self, numbers: &[u32]) -> (Vec<u32>, Vec<u32>) {
        numbers.iter().partition(|number| self.jobs.has(**number))
    }

    fn reply(&mut self, id: Option<u64>, outcome: Outcome) {
        self.say(&Reply { id, outcome });
    }

    fn say(&mut self, what: &impl serde::Serialize) {
        let mut line = serde_json::to_vec(what).expect("replies have text keys and finite numbers");
        line.push(b'\n');
        if self.unread.len() + line.len() > MAX_UNREAD_BYTES {
            self.open = false;
            return;
        }
        self.unread.extend(line);
    }

    fn write_some(&mut self) {
        let (front, _) = self.unread.as_slices();
        let len = front.len().min(WRITE_BYTES);
        // SAFETY: pointer and length describe the front of `unread`.
        let written = unsafe { libc::write(libc::STDOUT_FILENO, front.as_ptr().cast(), len) };
        match usize::try_from(written) {
            Ok(written) => drop(self.unread.drain(..written)),
            Err(_) => {
                let error = io::Error::last_os_error();
                let later = [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock];
                self.open &= later.contains(&error.kind());
            }
        }
    }

    /// Writes what is left to say, as long as somebody reads it.
    fn last_words(&mut self) {
        self.open = true;
        while self.open && !self.unread.is_empty() {
            let mut output = [libc::pollfd { fd: libc::STDOUT_FILENO, events: libc::POLLOUT, revents: 0 }];
            poll(&mut output, Some(LAST_WORDS));
            if output[0].revents != libc::POLLOUT {
                return;
            }
            self.write_some();
        }
    }
}

/// Waits until something is heard, at most `limit`, to the microsecond; without one as long as it takes.
fn poll(watched: &mut [libc::pollfd], limit: Option<Duration>) {
    let count = watched.len() as libc::nfds_t;
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: pointer and count describe `watched`; `limit` is none or outlives the call. An interrupted wait is a turn
    // in vain.
    let woken = unsafe { libc::ppoll(watched.as_mut_ptr(), count, limit, std::ptr::null()) };
    if woken < 0 {
        watched.iter_mut().for_each(|entry| entry.revents = 0);
    }
}

/// A descriptor that becomes readable when this process is told to stop. As the first process of a container
/// it would otherwise not even notice.
fn stop_signals() -> io::Result<OwnedFd> {
    // SAFETY: sigset_t is plain data, which sigemptyset initializes.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid set throughout; the signals exist; the descriptor is checked before it is owned.
    unsafe {
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// Gives up every privilege but those to keep. Best effort: what is not held can't be given up.
fn give_up_privileges(keep: &[Capability]) {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    // struct __user_cap_data_struct[2]: effective, permitted, inheritable.
    let mut data = [[0u32; 3]; 2];
    // SAFETY: header and data have the layout that version 3 of these calls asks for; nothing else is touched.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) == 0 {
            let wanted = keep.iter().fold(0, |bits, capability| bits | 1u64 << capability.bit);
            let half = |half: usize| {
                let kept = data[half][1] & (wanted >> (32 * half)) as u32;
                [kept, kept, 0]
            };
            let kept = [half(0), half(1)];
            libc::syscall(libc::SYS_capset, header.as_ptr(), kept.as_ptr());
        }
    }
}
