//! The gate: new connections are let through only as long as fewer than so many are there; others are refused.
//!
//! nftables can count connections itself (`ct count`), but only those that began under its eyes, and what it makes of
//! older ones differs between kernels. Here each packet that asks for a connection waits in a queue until the
//! kernel's own list of connections ([`sockets`]) has said how many there are. It is asked only when by our own
//! count there may be no room, so that a gate far from its limit costs one verdict a connection.
//!
//! What is refused gets a mark and passes its rules once more, which answer it with a reset. When this process
//! dies the rule's bypass flag lets everything through.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use super::server::{PACKET, Packet, VERDICT};
use super::{HEAD_BYTES, NEWS_BYTES, SOCKET_BYTES, Wants, bell, bind_free, header, ring};
use crate::agent::netlink::{Message, Socket, messages};
use crate::agent::sockets::{self, Choice, Ends, state};
use crate::clock::mono_ns;

/// At the limit the kernel is asked again only after this long: with thousands of connections each look takes
/// milliseconds.
const LOOK_AGAIN_NS: u64 = 2_000_000;
/// Connections that are held, or about to be.
const HELD: u32 = state::ESTABLISHED | state::SYN_RECEIVED | state::CLOSE_WAIT | state::SYN_SENT;

/// A gate with the thread that keeps it. Dropping it opens the gate for good.
#[derive(Debug)]
pub struct Gate {
    number: u16,
    counts: Arc<Counts>,
    bell: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    admitted: AtomicU64,
    refused: AtomicU64,
    /// Seen at the last look.
    there: AtomicU64,
    closed: AtomicBool,
}

/// What is written on a packet that is refused: these bits of its mark.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// The bits that are ours.
    pub mask: u32,
    /// What they are.
    pub bits: u32,
}

impl Gate {
    /// Binds a free queue of this network namespace for connections of `choice`, of which there may be `most`.
    pub fn bind(choice: Choice, most: u32, refused: Refused) -> io::Result<Self> {
        let socket = Socket::open(libc::NETLINK_NETFILTER)?;
        socket.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, SOCKET_BYTES)?;
        // A full socket must not turn into an error: the kernel lets the packet through (fail-open).
        socket.option(libc::SOL_NETLINK, libc::NETLINK_NO_ENOBUFS, 1)?;
        let number = bind_free(&socket, Wants::Head)?;
        let list = sockets::open()?;
        let bell = bell()?;
        let counts = Arc::<Counts>::default();
        let doorman = Doorman { most: most as usize, inside: BTreeSet::new(), looked_ns: None };
        let mut keeper = Keeper {
            socket,
            number,
            list,
            choice,
            doorman,
            refused,
            bell: bell.try_clone()?,
            counts: Arc::clone(&counts),
        };
        let thread = std::thread::Builder::new().name("chaos-gate".into()).spawn(move || keeper.serve())?;
        Ok(Self { number, counts, bell, thread: Some(thread) })
    }

    /// The queue's number.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// What it did so far, by name.
    pub fn counted(&self) -> impl Iterator<Item = (String, u64)> {
        let counts = &self.counts;
        [
            ("admitted_connections", &counts.admitted),
            ("refused_connections", &counts.refused),
            ("connections_there", &counts.there),
        ]
        .map(|(name, count)| (name.to_owned(), count.load(Ordering::Relaxed)))
        .into_iter()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.counts.closed.store(true, Ordering::Relaxed);
        ring(&self.bell);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked closed its socket, and the rule's bypass does the rest.
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Keeper {
    socket: Socket,
    number: u16,
    list: Socket,
    choice: Choice,
    doorman: Doorman,
    refused: Refused,
    bell: OwnedFd,
    counts: Arc<Counts>,
}

impl Keeper {
    fn serve(&mut self) {
        let mut buffer = vec![0; NEWS_BYTES + HEAD_BYTES];
        while !self.counts.closed.load(Ordering::Relaxed) {
            while let Ok(Some(bytes)) = self.socket.receive(&mut buffer) {
                for message in messages(bytes).filter(|message| message.kind == PACKET) {
                    if let Some(packet) = Packet::read(message.payload.get(4..).unwrap_or_default()) {
                        self.decide(&packet);
                    }
                }
            }
            let mut watched = [self.socket.as_raw_fd(), self.bell.as_raw_fd()].map(|fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            });
            // SAFETY: `watched` has two entries that outlive the call.
            unsafe { libc::poll(watched.as_mut_ptr(), 2, -1) };
        }
    }

    /// One at a time: when a verdict has been handed over, the kernel knows of the connection.
    fn decide(&mut self, packet: &Packet<'_>) {
        let entering = packet.hook == libc::NF_INET_LOCAL_IN;
        let (list, choice, counts) = (&self.list, &self.choice, &self.counts);
        let look = || {
            let found = choice.list(list, HELD).ok()?;
            Some(found.into_iter().map(|found| (found.ends, found.state)).collect())
        };
        // What can't be read is nobody's connection.
        let welcome = sockets::ends(packet.payload, entering)
            .is_none_or(|ends| self.doorman.welcomes(ends, mono_ns(), look));
        counts.there.store(self.doorman.inside.len() as u64, Ordering::Relaxed);
        let counter = if welcome { &counts.admitted } else { &counts.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        let verdict = if welcome { libc::NF_ACCEPT } else { libc::NF_REPEAT };
        let mut body = verdict.to_be_bytes().to_vec();
        body.extend_from_slice(&packet.id.to_be_bytes());
        let mark = packet.mark & !self.refused.mask | self.refused.bits;
        let mut message = Message::new();
        message.push(VERDICT, 0, &header(self.number), |m| {
            m.attr(libc::NFQA_VERDICT_HDR as u16, &body);
            if !welcome {
                m.be32(libc::NFQA_MARK as u16, mark);
            }
        });
        // A verdict that can't be handed over leaves its packet held; closing the queue ends that.
        let _ = self.socket.send(message.bytes());
    }
}

/// Who is let in, without the kernel.
#[derive(Debug)]
struct Doorman {
    most: usize,
    /// Those there may be: what the last look showed, and who was let in since.
    inside: BTreeSet<Ends>,
    /// When it was.
    looked_ns: Option<u64>,
}

impl Doorman {
    /// True if whoever asks is let in. `look` says who is there, and in which state.
    fn welcomes(&mut self, who: Ends, now_ns: u64, look: impl FnOnce() -> Option<Vec<(Ends, u32)>>) -> bool {
        let stale = self.looked_ns.is_none_or(|then| now_ns.saturating_sub(then) >= LOOK_AGAIN_NS);
        let full = |inside: &BTreeSet<Ends>| inside.len() >= self.most && !inside.contains(&who);
        if (full(&self.inside) || self.looked_ns.is_none()) && stale {
            if let Some(there) = look() {
                // Whoever only asks, from here, is there once we let them.
                let held = |(ends, found): &(Ends, u32)| {
                    *found != state::SYN_SENT || (*ends != who && self.inside.contains(ends))
                };
                self.inside = there.into_iter().filter(held).map(|(ends, _)| ends).collect();
            }
            self.looked_ns = Some(now_ns);
        }
        // Asking again, since the answer was lost.
        if self.inside.contains(&who) {
            return true;
        }
        let room = self.inside.len() < self.most;
        if room {
            self.inside.insert(who);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(port: u16) -> Ends {
        (([10, 0, 0, 1], 8080).into(), ([10, 0, 0, 2], port).into())
    }

    #[test]
    fn as_many_are_let_in_as_there_is_room_for() {
        let mut doorman = Doorman { most: 2, inside: BTreeSet::new(), looked_ns: None };
        let there = |ports: &[u16]| {
            let found = ports.iter().map(|port| (ends(*port), state::ESTABLISHED)).collect();
            move || Some(found)
        };
        let nobody_looks = || -> Option<Vec<(Ends, u32)>> { panic!("there is no need to look") };
        // One was there before.
        assert!(doorman.welcomes(ends(1), 0, there(&[9])));
        assert!(doorman.welcomes(ends(1), 1, nobody_looks), "who asks again is let in");
        assert!(!doorman.welcomes(ends(2), 2, nobody_looks), "looked just now");
        assert!(!doorman.welcomes(ends(2), LOOK_AGAIN_NS, there(&[9, 1])));
        assert!(doorman.welcomes(ends(2), 2 * LOOK_AGAIN_NS, there(&[1])), "one has gone");
        assert!(!doorman.welcomes(ends(3), 3 * LOOK_AGAIN_NS, || None), "nobody can tell");
    }

    #[test]
    fn who_only_asks_is_not_there_yet() {
        let mut doorman = Doorman { most: 1, inside: BTreeSet::new(), looked_ns: None };
        let asking = || Some(vec![(ends(1), state::SYN_SENT), (ends(2), state::SYN_SENT)]);
        assert!(doorman.welcomes(ends(1), 0, asking));
        assert!(!doorman.welcomes(ends(2), LOOK_AGAIN_NS, asking), "the first is on its way");
    }
}
