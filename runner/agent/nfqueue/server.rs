//! The thread's side of a queue: it reads which packets came, and answers with verdicts.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc;

use super::held::{Did, Held, Welcome};
use super::mark::Marks;
use super::wakefulness::{Rest, Wakefulness};
use super::{SUBSYS, header};
use crate::agent::fate;
use crate::agent::netlink::{Message, Socket, attr, be32_of, messages, refusal};
use crate::clock::mono_ns;

/// Verdicts handed over at once at most, in bytes: damaged packets go back with them, and a socket takes about
/// 200 KiB.
const MAX_VERDICTS_BYTES: usize = 64 << 10;
/// Packets read before due ones are released again.
const READ_AT_ONCE: usize = 64;
/// A rule is gone from one CPU's view a moment later than from another's; packets that slipped in between
/// are waited for this long.
const STRAGGLERS_MS: i32 = 2;
/// Looks for stragglers; more than a few mean that the rules are still there.
const STRAGGLER_LOOKS: u32 = 20;

pub(super) const PACKET: u16 = SUBSYS;
pub(super) const VERDICT: u16 = SUBSYS | 1;
const VERDICT_BATCH: u16 = SUBSYS | 3;

/// What the engine's thread is asked.
pub(super) enum Ask {
    /// Say what you did, having read everything that came in so far.
    Report(mpsc::Sender<Did>),
    /// Release everything at once, and stop holding.
    Release(mpsc::Sender<Did>),
}

/// The thread's side of a queue.
pub(super) struct Server {
    pub(super) socket: Socket,
    pub(super) number: u16,
    pub(super) bell: OwnedFd,
    pub(super) questions: mpsc::Receiver<Ask>,
    pub(super) held: Held,
    pub(super) marks: Option<Marks>,
    pub(super) buffer: Vec<u8>,
    pub(super) verdicts: Message,
    pub(super) holding: bool,
    pub(super) wakefulness: Wakefulness,
}

/// What the kernel says of a packet.
pub(super) struct Packet<'b> {
    pub(super) id: u32,
    /// Its length, from the IP header on.
    pub(super) bytes: u32,
    /// The hook that it waits at.
    pub(super) hook: i32,
    /// Its mark.
    pub(super) mark: u32,
    pub(super) payload: &'b [u8],
}

impl<'b> Packet<'b> {
    pub(super) fn read(body: &'b [u8]) -> Option<Self> {
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
    /// Serves the queue until nobody asks any more.
    pub(super) fn serve(&mut self) {
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
            self.rest();
        }
    }

    /// Waits for the next packet's time, for news or for a question; returns a little before that time, to be awake
    /// when it comes, and then at once.
    fn rest(&mut self) {
        let Some(due_ns) = self.held.next_due_ns() else {
            self.wait(None);
            return;
        };
        let now_ns = mono_ns();
        if let Rest::Asleep(ns) = self.wakefulness.until(due_ns, now_ns)
            && self.wait(Some(ns)) == 0
        {
            self.wakefulness.overslept(mono_ns().saturating_sub(now_ns + ns));
        }
    }

    /// Sleeps until there is news, somebody asks, or `ns` have passed: then 0.
    fn wait(&self, ns: Option<u64>) -> i32 {
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
        unsafe { libc::ppoll(watched.as_mut_ptr(), 2, until, std::ptr::null()) }
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
