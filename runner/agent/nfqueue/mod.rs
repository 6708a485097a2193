//! Our own engine: packets wait in the kernel's NFQUEUE until this says what becomes of them.
//!
//! Many kernels lack netem. Here the packets stay in the kernel; a thread reads only which packet came when (and,
//! where it is to damage some, what is in it), and answers with a verdict: at once, or when the packet's time is
//! up, never before, and as soon after as the machine wakes us. Packets are let through as they are (and counted)
//! rather than lost: when too many are held, when the socket overflows, and, by the rule's bypass flag, when this
//! process dies.
//!
//! Start at [`Queue::bind`]; `server` is the thread, [`held`] is the bookkeeping, without the kernel. [`gate`] is
//! another use of the same queues: it lets connections in or not.

pub mod gate;
pub mod held;
pub mod mark;
mod server;
mod wakefulness;

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::fate::Fates;
use super::netlink::{Message, Refusal, Socket};
use crate::clock::mono_ns;
use held::{Did, Held};
use mark::Marks;
use server::{Ask, Server};
use wakefulness::Wakefulness;

/// Packets held at once in one queue, beyond which the kernel lets them through. A small packet takes about
/// 1 KiB of kernel memory, so this many take 128 MiB; 20,000 a second held 5 s fit.
pub const MAX_HELD_PACKETS: u32 = 131_072;
/// Room for what the kernel tells us between two looks: 16,000 packets or more.
const SOCKET_BYTES: i32 = 32 << 20;
/// Room for what comes with a packet: a few hundred bytes are the most.
const NEWS_BYTES: usize = 1_024;
/// A packet and its attribute's header in one attribute.
const WHOLE_PACKET_BYTES: usize = 0xffff;
/// The headers of a packet, IPv6's and TCP's ports with room to spare.
const HEAD_BYTES: usize = 128;
/// Queue numbers tried before giving up: other programs may have some.
const NUMBERS: std::ops::Range<u16> = 0xc5a0..0xc6a0;
/// How long the engine's thread may take to answer; it never waits for anything itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

const SUBSYS: u16 = (libc::NFNL_SUBSYS_QUEUE as u16) << 8;
const CONFIG: u16 = SUBSYS | 2;

/// A bound queue with the thread that serves it. Dropping it closes the queue.
#[derive(Debug)]
pub struct Queue {
    number: u16,
    asks: Option<mpsc::Sender<Ask>>,
    bell: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Queue {
    /// Binds a free queue of this network namespace, and deals out `fates` to what comes in. Packets that are to
    /// be sent twice get the mark that `marks` makes of theirs.
    pub fn bind(fates: Fates, marks: Option<Marks>) -> io::Result<Self> {
        let socket = Socket::open(libc::NETLINK_NETFILTER)?;
        socket.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, SOCKET_BYTES)?;
        // A full socket must not turn into an error: the kernel lets the packet through (fail-open).
        socket.option(libc::SOL_NETLINK, libc::NETLINK_NO_ENOBUFS, 1)?;
        let wants = Wants::of(&fates);
        let number = bind_free(&socket, wants)?;
        let bell = bell()?;
        let (asks, questions) = mpsc::channel();
        let mut server = Server {
            socket,
            number,
            bell: bell.try_clone()?,
            questions,
            held: Held::new(fates),
            marks,
            buffer: vec![0; NEWS_BYTES + if wants == Wants::Whole { WHOLE_PACKET_BYTES } else { 0 }],
            verdicts: Message::new(),
            holding: true,
            wakefulness: Wakefulness::new(mono_ns()),
        };
        let thread = std::thread::Builder::new().name("chaos-queue".into()).spawn(move || server.serve())?;
        Ok(Self { number, asks: Some(asks), bell, thread: Some(thread) })
    }

    /// The queue's number.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// What it did so far; nothing if its thread is gone.
    pub fn report(&self) -> Option<Did> {
        self.ask(Ask::Report)
    }

    /// Releases every held packet at once and holds none from now on. Nothing if its thread is gone, which
    /// released them too.
    pub fn release(&self) -> Option<Did> {
        self.ask(Ask::Release)
    }

    fn ask(&self, ask: impl FnOnce(mpsc::Sender<Did>) -> Ask) -> Option<Did> {
        let (answer, answered) = mpsc::channel();
        self.asks.as_ref()?.send(ask(answer)).ok()?;
        ring(&self.bell);
        answered.recv_timeout(ANSWER_WITHIN).ok()
    }
}

/// A descriptor that becomes readable when it is rung.
fn bell() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the returned descriptor is checked before it is owned.
    let bell = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if bell < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `bell` was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(bell) })
}

fn ring(bell: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: pointer and length describe `one`. A full eventfd rings already.
    unsafe { libc::write(bell.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Without anyone to ask it, the thread ends.
        self.asks = None;
        ring(&self.bell);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked closed its socket, and the rule's bypass does the rest.
            let _ = thread.join();
        }
    }
}

/// What is asked of each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// One byte, and as few packets as possible: several segments on their way to the card stay one.
    Length,
    /// One byte; each packet by itself, as it will be on the wire.
    Each,
    /// The same, and all that is in it.
    Whole,
    /// Its headers.
    Head,
}

impl Wants {
    const fn of(fates: &Fates) -> Self {
        match fates {
            Fates::Delay(_) => Self::Length,
            Fates::Corrupt(..) => Self::Whole,
            Fates::Loss(_) | Fates::Bursts(_) | Fates::Duplicate(_) | Fates::Reorder { .. } => Self::Each,
        }
    }
}

fn bind_free(socket: &Socket, wants: Wants) -> io::Result<u16> {
    let mut refused = None;
    for number in NUMBERS {
        match configure(socket, number, wants) {
            Ok(()) => return Ok(number),
            // Somebody else's.
            Err(refusal) if [libc::EPERM, libc::EBUSY].contains(&refusal.errno) => refused = Some(refusal),
            Err(refusal) => return Err(io::Error::other(refusal)),
        }
    }
    Err(io::Error::other(refused.expect("there are numbers to try, and each was refused")))
}

/// A queue number of this namespace where nobody listens, now or by any chance later.
pub fn nobodys_number(socket: &Socket) -> Option<u16> {
    /// Away from the low numbers that people write by hand, and from ours.
    const NOBODYS: std::ops::RangeInclusive<u16> = 0xd5a0..=0xd5af;
    NOBODYS.rev().find(|number| {
        // Binding is the only question the kernel answers to everyone alike.
        let free = command(socket, *number, BIND).is_ok();
        if free {
            // What was just bound can be unbound; the socket closes soon in any case.
            let _ = command(socket, *number, UNBIND);
        }
        free
    })
}

const BIND: u8 = 1;
const UNBIND: u8 = 2;

fn command(socket: &Socket, number: u16, command: u8) -> Result<(), Refusal> {
    let mut message = Message::new();
    message.push(CONFIG, 0, &header(number), |m| {
        m.attr(libc::NFQA_CFG_CMD as u16, &[command, 0, 0, 0]);
    });
    message.acknowledge_last();
    socket.transact(&message)
}

fn configure(socket: &Socket, number: u16, wants: Wants) -> Result<(), Refusal> {
    const COPY_PACKET: u8 = 2;
    command(socket, number, BIND)?;
    let mut message = Message::new();
    message.push(CONFIG, 0, &header(number), |m| {
        // At least one byte of each packet: with it comes the packet's length, which bounds the memory held.
        let bytes = match wants {
            Wants::Whole => WHOLE_PACKET_BYTES,
            Wants::Head => HEAD_BYTES,
            Wants::Length | Wants::Each => 1,
        };
        let mut params = (bytes as u32).to_be_bytes().to_vec();
        params.push(COPY_PACKET);
        m.attr(libc::NFQA_CFG_PARAMS as u16, &params);
        m.be32(libc::NFQA_CFG_QUEUE_MAXLEN as u16, MAX_HELD_PACKETS);
        // What does not fit is let through. Without the second flag the kernel takes apart what it had put
        // together for the network card, and writes the checksums that it had left to it.
        let both = libc::NFQA_CFG_F_FAIL_OPEN | libc::NFQA_CFG_F_GSO;
        let flags = if wants == Wants::Length { both } else { libc::NFQA_CFG_F_FAIL_OPEN };
        m.be32(libc::NFQA_CFG_FLAGS as u16, flags.cast_unsigned());
        m.be32(libc::NFQA_CFG_MASK as u16, both.cast_unsigned());
    });
    message.acknowledge_last();
    socket.transact(&message)
}

const fn header(number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [0, 0, high, low]
}

/// True if this namespace's kernel has NFQUEUE's end in userspace. Changes nothing that lasts.
pub fn is_there() -> bool {
    Socket::open(libc::NETLINK_NETFILTER).is_ok_and(|socket| bind_free(&socket, Wants::Length).is_ok())
}
