//! When the kernel received what is read, where that is asked for.
//!
//! A thread that wakes for its next arrival reads, in passing, answers that came while it slept: half as many
//! wake-ups, and its own lateness in no latency, as the kernel noted when each answer came (SO_TIMESTAMPNS).
//! Those are of the wall clock, which may be set while a load runs: the distance to ours is taken anew at each
//! wake-up, and an instant that can't be is not believed.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::clock::read_ns;
use crate::units::NS_PER_S;

/// Room for one control message with a time in it.
const CONTROL_BYTES: usize = 64;

/// Aligned as control messages must be.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// The receive times of one thread's reading.
#[derive(Debug, Default)]
pub struct Stamps {
    /// True while reading behind a nap: only then are times worth their cost.
    asked: bool,
    /// CLOCK_REALTIME less the run's clock, as of the last wake-up.
    distance_ns: i128,
    /// When what was read last came, by CLOCK_REALTIME; nothing if the kernel did not say.
    came_real_ns: Option<u64>,
}

/// Has the kernel note when it receives something on a connection of TCP. Best effort: without it, what is read
/// counts from when it is read.
pub fn stamp(socket: BorrowedFd<'_>) {
    let on: libc::c_int = 1;
    // SAFETY: the option value is an int that outlives the call.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

impl Stamps {
    /// From now on what is read came at the instant that the kernel noted; `now_ns` is of the run's clock.
    pub fn ask(&mut self, now_ns: u64) {
        self.asked = true;
        self.came_real_ns = None;
        self.distance_ns = i128::from(real_ns()) - i128::from(now_ns);
    }

    /// From now on it came when it was read.
    pub const fn rest(&mut self) {
        self.asked = false;
        self.came_real_ns = None;
    }

    /// True between [`Stamps::ask`] and [`Stamps::rest`].
    pub const fn asked(&self) -> bool {
        self.asked
    }

    /// When what was read last came, on the run's clock: between `earliest_ns` and `now_ns`.
    pub fn came_ns(&self, earliest_ns: u64, now_ns: u64) -> u64 {
        let Some(real_ns) = self.came_real_ns else { return now_ns };
        let came_ns = u64::try_from(i128::from(real_ns) - self.distance_ns).unwrap_or(0);
        // The wall clock was set meanwhile: not believed, rather than bent to fit.
        if came_ns < earliest_ns { now_ns } else { came_ns.min(now_ns) }
    }

    /// Reads what a socket has, and notes when it came.
    pub fn read(&mut self, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        let mut control = Control([0; CONTROL_BYTES]);
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: a msghdr of zeros is a valid one without anything.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_BYTES;
        // SAFETY: `message` points to `part` and `control`, which outlive the call and are as long as it says.
        let read = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
        let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
        self.came_real_ns = received_ns(&message).or(self.came_real_ns);
        Ok(read)
    }
}

/// The time in a message's control data, in nanoseconds since 1970.
fn received_ns(message: &libc::msghdr) -> Option<u64> {
    // SAFETY: the kernel has filled the control buffer that `message` points to, up to `msg_controllen`.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref()? };
    if header.cmsg_level != libc::SOL_SOCKET || header.cmsg_type != libc::SCM_TIMESTAMPNS {
        return None;
    }
    // SAFETY: a message of this type holds a timespec, which need not be aligned.
    let at: libc::timespec = unsafe { libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned() };
    Some(at.tv_sec.unsigned_abs() * NS_PER_S + at.tv_nsec.unsigned_abs())
}

/// CLOCK_REALTIME now.
fn real_ns() -> u64 {
    read_ns(libc::CLOCK_REALTIME).expect("every Linux has this clock")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn what_is_read_late_came_when_it_came() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        stamp(far.as_fd());
        let clock = Clock::start();
        let mut buffer = [0; 16];
        let mut stamps = Stamps::default();
        let mut try_once = || {
            let before_ns = clock.now_ns();
            near.write_all(b"hello").unwrap();
            // Over loopback what is written has come by now; peeking waits for it all the same.
            far.peek(&mut buffer).unwrap();
            let came_by_ns = clock.now_ns();
            std::thread::sleep(std::time::Duration::from_millis(5));
            stamps.ask(clock.now_ns());
            assert_eq!(stamps.read(far.as_fd(), &mut buffer).unwrap(), 5);
            let came_ns = stamps.came_ns(0, clock.now_ns());
            assert!(came_ns + 1_000_000 > before_ns, "{came_ns} is before {before_ns}");
            // The kernel's coarser clocks never come into it: both are read to the nanosecond.
            came_ns < came_by_ns + 1_000_000
        };
        // The kernel begins to note times a moment after the first socket of the machine asks for them; until then
        // what is read came when it was read.
        assert!((0..1_000).any(|_| try_once()), "the kernel notes no times");
        let now_ns = clock.now_ns();
        assert_eq!(stamps.came_ns(now_ns, now_ns), now_ns, "what can't be is not believed");
        stamps.rest();
        assert_eq!(stamps.came_ns(0, 7), 7);
    }
}
