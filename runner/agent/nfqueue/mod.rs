//! Our own delay engine: packets wait in the kernel's NFQUEUE until this says that they may go on.
//!
//! Many kernels lack netem. Here the packets stay in the kernel; a thread reads only which packet came when,
//! and answers with a verdict when its time is up: never before, and as soon after as the machine wakes us.
//! Packets are let through undelayed (and counted) rather than lost: when too many are held, when the socket
//! overflows, and, by the rule's bypass flag, when this process dies.
//!
//! Start at [`Queue::bind`]; [`held`] is the bookkeeping, without the kernel.

pub mod held;
pub mod mark;

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::fate::{self, Fates};
use super::netlink::{Message, Refusal, Socket, attr, be32_of, messages, refusal};
use crate::clock::mono_ns;
use held::{Did, Held, Welcome};
use mark::Marks;

/// Packets held at once in one queue, beyond which the kernel lets them through. A small packet takes about
/// 1 KiB of kernel memory, so this many take 128 MiB; 20,000 a second held 5 s fit.
pub const MAX_HELD_PACKETS: u32 = 131_072;
/// Room for what the kernel tells us between two looks: 16,000 packets or more.
const SOCKET_BYTES: i32 = 32 << 20;
/// Room for what comes with a packet: a few hundred bytes are the most.
const NEWS_BYTES: usize = 1_024;
/// A packet and its attribute's header in one attribute.
const WHOLE_PACKET_BYTES: usize = 0xffff;
/// Verdicts handed over at once at most, in bytes: damaged packets go back with them, and a socket takes about
/// 200 KiB.
const MAX_VERDICTS_BYTES: usize = 64 << 10;
/// Packets read before due ones are released again.
const READ_AT_ONCE: usize = 64;
/// Queue numbers tried before giving up: other programs may have some.
const NUMBERS: std::ops::Range<u16> = 0xc5a0..0xc6a0;
/// How long the engine's thread may take to answer; it never waits for anything itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A rule is gone from one CPU's view a moment later than from another's; packets that slipped in between
/// are waited for this long.
const STRAGGLERS_MS: i32 = 2;
/// Looks for stragglers; more than a few mean that the rules are still there.
const STRAGGLER_LOOKS: u32 = 20;

const SUBSYS: u16 = (libc::NFNL_SUBSYS_QUEUE as u16) << 8;
const PACKET: u16 = SUBSYS;
const VERDICT: u16 = SUBSYS | 1;
const CONFIG: u16 = SUBSYS | 2;
const VERDICT_BATCH: u16 = SUBSYS | 3;

/// What the engine's thread is asked.
enum Ask {
    /// Say what you did, having read everything that came in so far.
    Report(mpsc::Sender<Did>),
    /// Release everything at once, and stop holding.
    Release(mpsc::Sender<Did>),
}

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
        // SAFETY: no pointers; the returned descriptor is checked before it is owned.
        let bell = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if bell < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `bell` was just opened and belongs to nobody else.
        let bell = unsafe { OwnedFd::from_raw_fd(bell) };
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
        self.ring();
        answered.recv_timeout(ANSWER_WITHIN).ok()
    }

    fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: pointer and length describe `one`. A full eventfd rings already.
        unsafe { libc::write(self.bell.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Without anyone to ask it, the thread ends.
        self.asks = None;
        self.ring();
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
        let bytes = if wants == Wants::Whole { WHOLE_PACKET_BYTES as u32 } else { 1 };
        let mut params = bytes.to_be_bytes().to_vec();
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

/// The thread's side of a queue.
struct Server {
    socket: Socket,
    number: u16,
    bell: OwnedFd,
    questions: mpsc::Receiver<Ask>,
    held: Held,
    marks: Option<Marks>,
    buffer: Vec<u8>,
    verdicts: Message,
    holding: bool,
}

/// What the kernel says of a packet.
pub(super) struct Packet<'b> {
    id: u32,
    /// Its length, from the IP header on.
    pub(super) bytes: u32,
    /// The hook that it waits at.
    pub(super) hook: i32,
    /// Its mark.
    pub(super) mark: u32,
    payload: &'b [u8],
}

impl<'b> Packet<'b> {
    fn read(body: &'b [u8]) -> Option<Self> {
        // struct nfqnl_msg_packet_hdr: its number, hardware's protocol, the hook.
        let header = attr(body, libc::NFQA_PACKET_HDR as u16)?;
        let payload = attr(body, libc::NFQA_PAYLOAD as u16).unwrap_or_default();
        Some(Self {
            id: be32_of(header.get(..4)?)?,
            hook: i32::from(*header.get(6)?),
            // It is said only where less than all of the packet came.
            bytes: attr(body, libc::NFQA_CAP_LEN as u16).and_then(be32_of).unwrap_or(payload.len() as u32),
            mark: attr(body, libc::NFQA_MARK as u16).and_then(be32_of).unwrap_or_default(),
            payload,
        })
    }
}

/// Whether the thread goes on.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    Stop,
}

impl Server {
    fn serve(&mut self) {
        // The default rounds every wait up by 50 µs.
        // SAFETY: no pointers; concerns this thread alone.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) };
        loop {
            self.read(READ_AT_ONCE);
            self.release_due();
            if self.answer() == Next::Stop {
                self.release_all();
                return;
            }
            let wait = self.held.next_due_ns().map(|due| due.saturating_sub(mono_ns()));
            self.wait(wait);
        }
    }

    /// Sleeps until there is news, somebody asks, or `ns` have passed.
    fn wait(&self, ns: Option<u64>) {
        let timeout = ns.map(|ns| libc::timespec {
            tv_sec: (ns / 1_000_000_000).cast_signed(),
            tv_nsec: (ns % 1_000_000_000).cast_signed(),
        });
        let mut watched = [
            libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: self.bell.as_raw_fd(), events: libc::POLLIN, revents: 0 },
        ];
        let until = timeout.as_ref().map_or(std::ptr::null(), |timeout| &raw const *timeout);
        // SAFETY: `watched` has two entries, `until` is null or points to `timeout`, and there is no mask.
        unsafe { libc::ppoll(watched.as_mut_ptr(), 2, until, std::ptr::null()) };
    }

    /// Reads up to `most` packets' news. True if nothing is left.
    fn read(&mut self, most: usize) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut left = true;
        for _ in 0..most {
            // ENOBUFS is switched off; any other error repeats and is not ours to mend.
            let Ok(Some(bytes)) = self.socket.receive(&mut buffer) else {
                left = false;
                break;
            };
            let now_ns = mono_ns();
            for message in messages(bytes) {
                match message.kind {
                    PACKET => {
                        if let Some(packet) = Packet::read(message.payload.get(4..).unwrap_or_default()) {
                            self.decide(&packet, now_ns);
                        }
                    }
                    // A verdict for packets that are gone; its number says how many they were.
                    kind if kind == libc::NLMSG_ERROR as u16 => {
                        self.held.lose(refusal(&message).map_or(0, |refusal| u64::from(refusal.seq)));
                    }
                    _ => {}
                }
            }
        }
        self.buffer = buffer;
        !left
    }

    /// Deals out a packet's fate.
    fn decide(&mut self, packet: &Packet<'_>, now_ns: u64) {
        match self.held.welcome(packet.id, packet.bytes, now_ns) {
            Welcome::Held => {}
            Welcome::Pass => self.verdict(VERDICT, libc::NF_ACCEPT, packet.id, 1, |_| {}),
            Welcome::Drop => self.verdict(VERDICT, libc::NF_DROP, packet.id, 1, |_| {}),
            Welcome::Duplicate => match self.marks.and_then(|marks| marks.request(packet)) {
                Some((verdict, mark)) => {
                    self.verdict(VERDICT, verdict, packet.id, 1, |m| m.be32(libc::NFQA_MARK as u16, mark));
                }
                None => self.verdict(VERDICT, libc::NF_ACCEPT, packet.id, 1, |_| {}),
            },
            Welcome::Corrupt(place) => {
                let mut payload = packet.payload.to_vec();
                // What did not come whole would go on cut short.
                if payload.len() == packet.bytes as usize && fate::corrupt(&mut payload, place) {
                    self.held.corrupted();
                    self.verdict(VERDICT, libc::NF_ACCEPT, packet.id, 1, |m| {
                        m.attr(libc::NFQA_PAYLOAD as u16, &payload);
                    });
                } else {
                    self.verdict(VERDICT, libc::NF_ACCEPT, packet.id, 1, |_| {});
                }
            }
        }
        if self.verdicts.bytes().len() > MAX_VERDICTS_BYTES {
            self.flush();
        }
    }

    /// Adds a verdict on packet `id`, in a batch also on all before it, `packets` in all.
    fn verdict(&mut self, kind: u16, what: i32, id: u32, packets: u32, more: impl FnOnce(&mut Message)) {
        let header = header(self.number);
        let mut body = what.to_be_bytes().to_vec();
        body.extend_from_slice(&id.to_be_bytes());
        self.verdicts.push_numbered(kind, 0, packets, &header, |m| {
            m.attr(libc::NFQA_VERDICT_HDR as u16, &body);
            more(m);
        });
    }

    /// Hands the verdicts to the kernel, which lets the packets go before this returns.
    fn flush(&mut self) {
        if !self.verdicts.is_empty() {
            // A verdict that can't be handed over leaves its packets held; closing the queue ends that.
            let _ = self.socket.send(self.verdicts.bytes());
            self.verdicts.clear();
        }
    }

    fn release_due(&mut self) {
        self.release_until(if self.holding { mono_ns() } else { u64::MAX });
    }

    fn release_all(&mut self) {
        self.release_until(u64::MAX);
    }

    fn release_until(&mut self, until_ns: u64) {
        /// Verdicts handed over at once.
        const AT_ONCE: usize = 512;
        loop {
            let mut due = Vec::new();
            while due.len() < AT_ONCE
                && let Some(hold) = self.held.take_due(until_ns)
            {
                due.push(hold);
            }
            let Some(last) = due.last() else {
                self.flush();
                return;
            };
            if self.held.keeps_order() {
                // None overtakes another, so one verdict up to the last lets all of them go.
                self.verdict(VERDICT_BATCH, libc::NF_ACCEPT, last.id, due.len() as u32, |_| {});
            } else {
                for hold in &due {
                    self.verdict(VERDICT, libc::NF_ACCEPT, hold.id, 1, |_| {});
                }
            }
            self.flush();
            let now_ns = mono_ns();
            for hold in &due {
                self.held.released(hold, now_ns);
            }
        }
    }

    /// Reads all that came in so far.
    fn catch_up(&mut self) {
        /// More than the socket holds: what came in before is read, however fast more comes in.
        const MOST_READS: usize = 65_536 / READ_AT_ONCE;
        for _ in 0..MOST_READS {
            let read_all = self.read(READ_AT_ONCE);
            self.release_due();
            if read_all {
                return;
            }
        }
    }

    fn answer(&mut self) -> Next {
        let mut rings = [0; 8];
        // SAFETY: pointer and length describe `rings`.
        unsafe { libc::read(self.bell.as_raw_fd(), rings.as_mut_ptr().cast(), rings.len()) };
        loop {
            match self.questions.try_recv() {
                Ok(Ask::Report(answer)) => {
                    self.catch_up();
                    // Whoever asked may have given up.
                    let _ = answer.send(self.held.report());
                }
                Ok(Ask::Release(answer)) => {
                    self.holding = false;
                    self.held.end();
                    self.catch_up();
                    let mut straggler =
                        libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                    for _ in 0..STRAGGLER_LOOKS {
                        // SAFETY: one entry, which outlives the call.
                        if unsafe { libc::poll(&raw mut straggler, 1, STRAGGLERS_MS) } <= 0 {
                            break;
                        }
                        self.catch_up();
                    }
                    let _ = answer.send(self.held.report());
                }
                Err(mpsc::TryRecvError::Empty) => return Next::GoOn,
                Err(mpsc::TryRecvError::Disconnected) => return Next::Stop,
            }
        }
    }
}
