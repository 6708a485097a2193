//! One connection that many requests share, as HTTP/2 has it: connecting, reading, writing.
//!
//! The counterpart of [`super::connection`], with the protocol in [`super::protocol::h2`]. It knows requests
//! by their tickets and nothing of what their ends mean. Start at [`Shared::advance`].

use std::io;
use std::os::fd::BorrowedFd;

use socket2::SockAddr;

use super::connection::{Cause, READS_AT_ONCE, Stage, connect, would_block};
use super::flight::Ticket;
use super::kept::Keep;
use super::outcome::Class;
use super::poll::Ready;
use super::protocol::h2::{Event, H2, Laid};
use super::stamp::Stamps;
use super::transport::{Secure, Transport};

/// How much may wait to be written before a connection takes no further request: a server that does not
/// read must not make us grow.
const MAX_OUTPUT_BYTES: usize = 256 << 10;

/// A connection and the requests on it.
#[derive(Debug)]
pub struct Shared {
    transport: Transport,
    stage: Stage,
    h2: H2,
    /// Requests that wait for it to be connected, oldest first.
    waiting: Vec<Ticket>,
    /// The most requests at once.
    streams: u32,
    /// Requests that may still be opened on it.
    left: u32,
    /// When something was read from it last; 0 until then.
    heard_ns: u64,
    /// Why it takes no further request, if that was decided here.
    retired: bool,
    /// An answer was read on it before: a failure may mean only that it was kept too long.
    kept: bool,
}

/// What came of a socket's being ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// What ended is among the events.
    Done,
    /// So it is, but there is more to read at once.
    Unfinished,
    /// It was connected: what waits may be opened.
    Connected,
    /// It is of no more use, and neither are the requests on it, after the events.
    Broken(Class, Cause),
}

impl Shared {
    /// Begins to connect, for at most `streams` requests at once and `requests` in all.
    pub fn open(
        address: &SockAddr,
        secure: Option<&Secure>,
        (streams, requests): (u32, u32),
    ) -> io::Result<Self> {
        Ok(Self {
            transport: Transport::open(address, secure)?,
            stage: Stage::Connecting,
            h2: H2::new(),
            waiting: Vec::new(),
            streams,
            left: requests,
            heard_ns: 0,
            retired: false,
            kept: false,
        })
    }

    /// Where it is; idle means that requests can be sent.
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// Its socket, to be watched.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }

    /// True if it can take another request now, or will once connected.
    pub fn has_room(&self) -> bool {
        let waiting = self.waiting.len() as u32;
        !self.retired
            && self.left > waiting
            && self.h2.room(self.streams) > waiting
            && self.h2.output().len() < MAX_OUTPUT_BYTES
    }

    /// True once it can be closed: it takes no further request and none is under way.
    pub fn is_done(&self) -> bool {
        (self.retired || self.left == 0 || self.h2.is_closing())
            && self.h2.under_way() == 0
            && self.waiting.is_empty()
    }

    /// True if an answer came on it before.
    pub const fn kept(&self) -> bool {
        self.kept
    }

    /// Lets a request wait for the connection.
    pub fn wait(&mut self, ticket: Ticket) {
        self.waiting.push(ticket);
    }

    /// The requests that waited.
    pub fn take_waiting(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.waiting)
    }

    /// The requests whose answers began since this was last asked, also if they have ended since.
    pub fn take_begun(&mut self) -> impl Iterator<Item = Ticket> + '_ {
        self.h2.take_begun().map(Ticket::from_number)
    }

    /// Opens a request; what it takes to send it is written with [`Shared::flush`].
    pub fn send(&mut self, ticket: Ticket, laid: Laid<'_>, head_only: bool, keep: Option<Keep>) {
        self.left -= 1;
        self.h2.open(ticket.number(), laid, head_only, keep);
    }

    /// Gives a request up that was sent at `sent_ns`. A connection on which nothing was heard since is taken
    /// for dead: others would only run into their timeouts on it, too. True if its answer had begun.
    pub fn give_up(&mut self, ticket: Ticket, sent_ns: u64) -> bool {
        let answering = self.h2.abandoned().any(|(tag, answering)| tag == ticket.number() && answering);
        if let Some(at) = self.waiting.iter().position(|other| *other == ticket) {
            self.waiting.remove(at);
        } else {
            self.h2.cancel(ticket.number());
        }
        self.retired |= self.heard_ns <= sent_ns;
        answering
    }

    /// The requests on it, and whether a byte of the answer came: none of them will get any further.
    pub fn abandoned(&mut self) -> Vec<(Ticket, bool)> {
        let under_way = self.h2.abandoned().map(|(tag, answering)| (Ticket::from_number(tag), answering));
        let mut all: Vec<_> = under_way.collect();
        all.extend(self.take_waiting().into_iter().map(|ticket| (ticket, false)));
        all
    }

    /// Goes as far as the socket allows, and appends what ended. After [`Turn::Unfinished`] call it again,
    /// soon, with the same `ready`.
    pub fn advance(&mut self, ready: Ready, now_ns: u64, buffer: &mut [u8], events: &mut Vec<Event>) -> Turn {
        if self.stage != Stage::Idle {
            return match connect(&mut self.transport, &mut self.stage, ready) {
                Ok(false) => Turn::Done,
                // Within TLS a server that speaks HTTP/2 says so.
                Ok(true) if self.transport.drains() || self.transport.agreed() == Some(b"h2") => {
                    Turn::Connected
                }
                Ok(true) => {
                    Turn::Broken(Class::Tls, Cause::Words("the server does not speak HTTP/2 within TLS"))
                }
                Err((class, cause)) => Turn::Broken(class, cause),
            };
        }
        let turn = if ready.readable() { self.receive(ready, buffer, events) } else { Turn::Done };
        if !matches!(turn, Turn::Broken(..)) && ready.readable() {
            self.heard_ns = now_ns;
        }
        self.kept |= events.iter().any(|event| matches!(event, Event::Answered { .. }));
        turn
    }

    fn receive(&mut self, ready: Ready, buffer: &mut [u8], events: &mut Vec<Event>) -> Turn {
        for _ in 0..READS_AT_ONCE {
            let read = match self.transport.read(buffer, &mut Stamps::default()) {
                Ok(0) => return Turn::Broken(Class::Reset, Cause::Words("closed without an answer")),
                Ok(read) => read,
                Err(error) if would_block(&error) => return Turn::Done,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Turn::Broken(Class::Reset, Cause::Words("closed without TLS's farewell"));
                }
                Err(error) => {
                    // Of a connection that stands, the kernel's timeout is of the answer.
                    let class = Class::of(&error);
                    let late = class == Class::ConnectTimeout;
                    let class = if late { Class::AnswerTimeout } else { class };
                    return Turn::Broken(class, Cause::of(&error));
                }
            };
            if let Err(malformed) = self.h2.feed(&buffer[..read], events) {
                return Turn::Broken(Class::Protocol, Cause::Words(malformed.0));
            }
            if read < buffer.len() && self.transport.drains() && !ready.ending() {
                return Turn::Done;
            }
        }
        Turn::Unfinished
    }

    /// Writes what is to be written, as far as the kernel takes it now.
    pub fn flush(&mut self) -> Result<(), Class> {
        if self.stage != Stage::Idle {
            return Ok(());
        }
        let _ = self.transport.flush();
        while !self.h2.output().is_empty() {
            match self.transport.write(self.h2.output()) {
                Ok(written) => self.h2.written(written),
                Err(error) if would_block(&error) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What was answered before may still be read; reading tells the end.
                Err(error) => return Err(Class::of(&error)),
            }
        }
        Ok(())
    }
}
