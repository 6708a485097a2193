//! The kernel boundary of a generator thread: readiness, one precise timer, a way to be woken, CPU time.
//!
//! An epoll of its own rather than the async runtime's reactor: measured on the same exchange, 0.72 against
//! 0.78 of wrk's CPU per request, and a tenth of the memory per connection. Edge-triggered, one
//! registration for a connection's whole life. The timer is a timerfd on the absolute monotonic clock:
//! epoll's own timeout is in milliseconds, a grain that would be seen in every latency.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use crate::clock::mono_ns;
use crate::units::NS_PER_S;

/// How many events one look returns: at saturation enough to share its cost, few enough to keep the
/// schedule between two looks.
const EVENTS: u16 = 128;

/// How long before an instant a watchful sleeper wakes, at least and at most: what waking up takes on this machine,
/// 5 µs where the core stays awake meanwhile, 40 on a virtual machine whose core went to sleep.
const WATCH_NS: std::ops::RangeInclusive<u64> = 5_000..=40_000;
/// By so much more, where it came too late, and less, where it did not: it settles where 1 in 5 comes too late.
const WATCH_MORE_NS: u64 = 1_000;
const WATCH_LESS_NS: u64 = 250;

/// How often a watchful sleeper sleeps all the same, however near its instants are: others on its core that need a
/// hundredth of it get that, instead of a twentieth of a second each second from the kernel.
const BREATHE_EVERY_NS: u64 = 1_000_000;

/// Reserved tokens, which no connection has.
const TIMER: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;

/// What became ready.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The token given to [`Poll::add`].
    pub token: u64,
    flags: u32,
}

impl Ready {
    /// Something can be read, or the other side is gone, or there is an error to fetch.
    pub const fn readable(self) -> bool {
        self.flags & (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }

    /// Something can be written, or there is an error to fetch.
    pub const fn writable(self) -> bool {
        self.flags & (libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }

    /// The other side sends no more: after what can be read comes the end.
    pub const fn ending(self) -> bool {
        self.flags & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }
}

/// Waits for sockets, an instant, or being woken.
#[derive(Debug)]
pub struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    wake: Arc<OwnedFd>,
    /// What the timer is set to, in CLOCK_MONOTONIC nanoseconds.
    armed_mono_ns: u64,
    /// When a watchful sleeper last slept, in CLOCK_MONOTONIC nanoseconds.
    slept_mono_ns: u64,
    /// How long before its instants it wakes.
    watch_ns: u64,
    events: Vec<libc::epoll_event>,
}

/// Wakes the thread that waits in [`Poll::wait`], from any other.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Makes the current or next wait return.
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the descriptor is owned by `self` and the buffer is 8 valid bytes, as eventfd asks. It
        // can only fail when the counter is full, and then the waiter is woken already.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

/// The owner of a descriptor that a system call has just returned.
fn owned(descriptor: libc::c_int) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor and nobody else has seen it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

impl Poll {
    /// Nothing but the timer and the waker, neither set.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: no pointers are passed.
        let timer = owned(unsafe {
            libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC)
        })?;
        // SAFETY: no pointers are passed.
        let wake = owned(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        let none = libc::epoll_event { events: 0, u64: 0 };
        let poll = Self {
            epoll,
            timer,
            wake: Arc::new(wake),
            armed_mono_ns: u64::MAX,
            slept_mono_ns: 0,
            watch_ns: *WATCH_NS.start(),
            events: vec![none; usize::from(EVENTS)],
        };
        // Edge-triggered, neither needs to be read: setting the timer anew or writing again is a new edge.
        poll.register(poll.timer.as_raw_fd(), TIMER, libc::EPOLLIN)?;
        poll.register(poll.wake.as_raw_fd(), WAKE, libc::EPOLLIN)?;
        Ok(poll)
    }

    /// A handle that wakes this one.
    pub fn waker(&self) -> Waker {
        Waker(self.wake.clone())
    }

    /// Watches a socket for as long as it is open; closing it is all it takes to end that. `token` must be
    /// below `u64::MAX - 1`.
    pub fn add(&self, socket: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.register(socket.as_raw_fd(), token, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP)
    }

    fn register(&self, descriptor: libc::c_int, token: u64, flags: libc::c_int) -> io::Result<()> {
        let mut event = libc::epoll_event { events: (flags | libc::EPOLLET) as u32, u64: token };
        // SAFETY: both descriptors are open and `event` outlives the call.
        let failed = unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, descriptor, &raw mut event)
        };
        if failed != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits until something is ready, the instant `until_mono_ns` (CLOCK_MONOTONIC) has come, or the
    /// waker was used; at most 128 events at once. 0 looks without waiting.
    pub fn wait(&mut self, until_mono_ns: u64, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let timeout_ms = if until_mono_ns == 0 { 0 } else { -1 };
        // One that goes off too early costs a look around; setting it anew each time would cost a system call.
        if until_mono_ns != 0 && until_mono_ns < self.armed_mono_ns {
            self.arm(until_mono_ns)?;
        }
        // SAFETY: the buffer holds EVENTS events and outlives the call.
        let count = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                libc::c_int::from(EVENTS),
                timeout_ms,
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        for event in &self.events[..count.unsigned_abs() as usize] {
            match event.u64 {
                // It is disarmed by going off, and set to the same instant only by mistake.
                TIMER => self.armed_mono_ns = u64::MAX,
                WAKE => {}
                token => ready.push(Ready { token, flags: event.events }),
            }
        }
        Ok(())
    }

    /// Sleeps until `until_mono_ns` (CLOCK_MONOTONIC), whatever happens meanwhile.
    pub fn nap(&self, until_mono_ns: u64) {
        let at = timespec(until_mono_ns);
        // SAFETY: `at` outlives the call, and what is left need not be told. One that ends early, by a signal,
        // costs a look around in vain.
        unsafe {
            libc::clock_nanosleep(
                libc::CLOCK_MONOTONIC,
                libc::TIMER_ABSTIME,
                &raw const at,
                std::ptr::null_mut(),
            )
        };
    }

    /// The same, but awake for the last of it: what waking up takes does not make it late, and costs as much CPU
    /// instead.
    pub fn watch(&mut self, until_mono_ns: u64) {
        let now_ns = mono_ns();
        let sleep_until_ns = until_mono_ns.saturating_sub(self.watch_ns);
        if sleep_until_ns > now_ns {
            self.slept_mono_ns = now_ns;
            self.nap(sleep_until_ns);
            let watch_ns = if mono_ns() > until_mono_ns {
                self.watch_ns + WATCH_MORE_NS
            } else {
                self.watch_ns - WATCH_LESS_NS
            };
            self.watch_ns = watch_ns.clamp(*WATCH_NS.start(), *WATCH_NS.end());
        } else if now_ns > self.slept_mono_ns + BREATHE_EVERY_NS {
            // Of real-time priority nothing else runs here meanwhile, not even who counts what was sent.
            self.slept_mono_ns = now_ns;
            self.nap(until_mono_ns);
        }
        while mono_ns() < until_mono_ns {
            std::hint::spin_loop();
        }
    }

    fn arm(&mut self, mono_ns: u64) -> io::Result<()> {
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = libc::itimerspec { it_interval: never, it_value: timespec(mono_ns) };
        // SAFETY: the descriptor is open, `spec` outlives the call, and a null old value is allowed.
        let failed = unsafe {
            libc::timerfd_settime(
                self.timer.as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &raw const spec,
                std::ptr::null_mut(),
            )
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        self.armed_mono_ns = mono_ns;
        Ok(())
    }
}

fn timespec(mono_ns: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(mono_ns / NS_PER_S).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::try_from(mono_ns % NS_PER_S).unwrap_or(0),
    }
}

/// Asks the kernel not to round this thread's timers up for the sake of power: worth 20 µs of send lag.
pub fn precise_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes one number and touches no memory. Failing costs precision only,
    // which send lag then shows.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

/// Asks the kernel to run this thread before others when both could run: a late send is the generator's
/// fault, and on a machine that also runs the system under test the two compete.
pub fn run_first() {
    /// Well before everyone at 0; kernel threads that must come first are below it.
    const NICENESS: i32 = -15;
    // SAFETY: setpriority takes three numbers and touches no memory; 0 is the calling thread. Without the
    // permission nothing changes, which send lag then shows.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
}

/// Asks the kernel to run this thread the moment it can, before everything but other real-time threads;
/// true if it does. Takes root or `CAP_SYS_NICE`, and from every other process what the thread uses.
pub fn realtime() -> bool {
    // The lowest real-time priority: still before all that is not real-time, and after the kernel's own.
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: `priority` outlives the call; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) == 0 }
}

/// Takes that back: the thread runs as every other does, first among them if it asked to; true if it does.
pub fn ordinary() -> bool {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: `priority` outlives the call; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const priority) == 0 }
}

/// Has the kernel make room for so many open files at once, as far as the limit goes: it doubles the table of a
/// process when it is full, and a process of several threads waits tens of milliseconds for each doubling. Done
/// while a backlog is worked off, each wait makes the backlog that asks for the next.
pub fn reserve_files(count: u64, limit: u64) {
    /// A table of a million takes 8 MB.
    const MOST: u64 = 1 << 20;
    let last = count.min(limit).min(MOST).saturating_sub(1);
    let Ok(at_least) = libc::c_int::try_from(last) else { return };
    let Ok(any) = owned(
        // SAFETY: no pointers are passed.
        unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) },
    ) else {
        return;
    };
    // The table keeps its size when this one is closed again. Failing costs the waits only, which send lag then shows.
    // SAFETY: the descriptor is open, and the command takes a number.
    drop(owned(unsafe { libc::fcntl(any.as_raw_fd(), libc::F_DUPFD_CLOEXEC, at_least) }));
}

/// Raises the limit on open files as far as it may be raised, and returns it: every request under way at
/// once is an open socket.
pub fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the calls to fill and read.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 0;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
            raised.rlim_cur
        } else {
            limit.rlim_cur
        }
    }
}
