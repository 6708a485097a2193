//! One connection that carries one exchange after another, as far as the kernel lets it go at once.
//!
//! Never blocks and never waits: it is told that its socket is ready and says what came of it. Which
//! request it carries, and what its outcome means, is the engine's. Start at [`Connection::advance`].

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use socket2::SockAddr;

use super::kept::{Keep, Kept};
use super::outcome::Class;
use super::poll::Ready;
use super::protocol::{Answer, Progress, Reader};
use super::stamp::Stamps;
use super::transport::{Secure, Transport};
use super::wire::Wired;

/// How much is read at once: more than a socket's usual buffer holds. One such buffer serves all
/// connections of a thread.
pub const READ_BYTES: usize = 64 << 10;

/// How often one connection is read before the others, and the schedule, get their turn: 1 MB, a fraction
/// of a millisecond.
pub(super) const READS_AT_ONCE: u32 = 16;

/// A connection and the exchange on it, if any.
#[derive(Debug)]
pub struct Connection<R> {
    transport: Transport,
    reader: R,
    stage: Stage,
    unsent: Unsent,
    /// An answer was read on it before: a failure may mean only that it was kept too long.
    kept: bool,
    /// A byte of the current answer was read.
    answering: bool,
    /// The current request asks for the connection to be closed.
    closing: bool,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Being connected; nothing can be sent yet.
    Connecting,
    /// Connected, in TLS's handshake; nothing can be sent yet.
    Securing,
    /// Carrying a request.
    Busy,
    /// Ready for a request.
    Idle,
}

/// What of the request the kernel has not taken yet.
#[derive(Debug)]
enum Unsent {
    Nothing,
    Fixed(Arc<[u8]>, usize),
    Made(Vec<u8>),
}

/// What came of a socket's being ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing to tell yet.
    Pending,
    /// Nothing to tell yet, but there is more to read at once.
    Unfinished,
    /// Connected: the request may be sent.
    Connected,
    /// The answer is complete. The connection is idle if the answer says `reusable`, else of no more use.
    Answered(Answer),
    /// No answer will come, and the connection is of no more use.
    Broken(Broken),
    /// Closed while nothing was under way.
    Closed,
}

/// Why there will be no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The class it is counted in.
    pub class: Class,
    /// True if the connection had been kept open from an earlier answer and no byte of this one came: the
    /// server may just have closed it, without having looked at this request.
    pub stale: bool,
    /// True if no byte of the request was taken by the kernel.
    pub unsent: bool,
    /// What was met, for people.
    pub cause: Cause,
}

/// What a connection met that broke it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An error of the socket, by its number.
    Os(i32),
    /// Something that can be said in words.
    Words(&'static str),
}

impl Cause {
    /// The cause behind a socket's error.
    pub fn of(error: &io::Error) -> Self {
        if let Some(number) = error.raw_os_error() {
            return Self::Os(number);
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Words("closed before TLS was through");
        }
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        Self::Words(tls.map_or("the socket failed", tls_words))
    }
}

impl<R: Reader + Default> Connection<R> {
    /// Begins to connect.
    pub fn open(address: &SockAddr, secure: Option<&Secure>) -> io::Result<Self> {
        Ok(Self {
            transport: Transport::open(address, secure)?,
            reader: R::default(),
            stage: Stage::Connecting,
            unsent: Unsent::Nothing,
            kept: false,
            answering: false,
            closing: false,
        })
    }

    /// Reads the next answers so; the connection must be idle.
    pub fn speak(&mut self, reader: R) {
        self.reader = reader;
    }

    /// Where it is.
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// True while an answer has begun and is not complete.
    pub const fn is_answering(&self) -> bool {
        self.answering && matches!(self.stage, Stage::Busy)
    }

    /// Its socket, to be watched.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }

    /// Sends a request; what the kernel does not take now follows when the socket is ready. The connection
    /// must be connected and idle.
    pub fn send(&mut self, wired: &Wired<'_>, head_only: bool, closing: bool) -> Event {
        self.reader.begin(head_only);
        self.stage = Stage::Busy;
        self.answering = false;
        self.closing = closing;
        let bytes: &[u8] = match wired {
            Wired::Fixed(bytes) => bytes,
            Wired::Made(bytes) => bytes,
        };
        match self.transport.write(bytes) {
            Ok(sent) if sent == bytes.len() => Event::Pending,
            Ok(sent) => self.keep(wired, sent),
            Err(error) if would_block(&error) => self.keep(wired, 0),
            Err(error) => {
                let (class, cause) = (Class::of(&error), Cause::of(&error));
                Event::Broken(Broken { class, stale: self.kept, unsent: true, cause })
            }
        }
    }

    /// Has the answer to the request just sent kept; nothing of it was read yet.
    pub fn keep_answer(&mut self, keep: Keep) {
        self.reader.keep(keep);
    }

    /// What was kept of the answer just complete.
    pub fn take_kept(&mut self) -> Option<Box<Kept>> {
        self.reader.take_kept()
    }

    fn keep(&mut self, wired: &Wired<'_>, sent: usize) -> Event {
        self.unsent = match wired {
            Wired::Fixed(bytes) => Unsent::Fixed((*bytes).clone(), sent),
            Wired::Made(bytes) => Unsent::Made(bytes[sent..].to_vec()),
        };
        Event::Pending
    }

    /// Goes as far as the socket allows. After [`Event::Unfinished`] call it again, soon, with the same
    /// `ready`.
    pub fn advance(
        &mut self,
        ready: Ready,
        (buffer, stamps): (&mut [u8], &mut Stamps),
        memory: &mut R::Memory,
    ) -> Event {
        if matches!(self.stage, Stage::Connecting | Stage::Securing) {
            return match connect(&mut self.transport, &mut self.stage, ready) {
                Ok(true) => Event::Connected,
                Ok(false) => Event::Pending,
                Err((class, cause)) => Event::Broken(Broken { class, stale: false, unsent: true, cause }),
            };
        }
        if ready.writable() {
            // A server may answer and close without reading all of a request, so what counts is what can
            // be read; a failed write only ends the writing.
            let _ = self.transport.flush();
            if !matches!(self.unsent, Unsent::Nothing) {
                self.send_rest();
            }
        }
        if ready.readable() { self.receive(ready, (buffer, stamps), memory) } else { Event::Pending }
    }

    fn send_rest(&mut self) {
        loop {
            let (left, sent) = match &mut self.unsent {
                Unsent::Nothing => return,
                Unsent::Fixed(bytes, at) => {
                    let sent = self.transport.write(&bytes[*at..]);
                    *at += sent.as_ref().copied().unwrap_or(0);
                    (bytes.len() - *at, sent)
                }
                Unsent::Made(bytes) => {
                    let sent = self.transport.write(bytes);
                    bytes.drain(..sent.as_ref().copied().unwrap_or(0));
                    (bytes.len(), sent)
                }
            };
            match sent {
                Ok(_) if left > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if would_block(&error) => return,
                Ok(_) | Err(_) => {
                    // Left marked as unsent after an error, the connection is not used again.
                    if left == 0 {
                        self.unsent = Unsent::Nothing;
                    }
                    return;
                }
            }
        }
    }

    fn receive(
        &mut self,
        ready: Ready,
        (buffer, stamps): (&mut [u8], &mut Stamps),
        memory: &mut R::Memory,
    ) -> Event {
        for _ in 0..READS_AT_ONCE {
            let read = match self.transport.read(buffer, stamps) {
                Ok(read) => read,
                Err(error) if would_block(&error) => return Event::Pending,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    if error.kind() == io::ErrorKind::UnexpectedEof {
                        let class = if self.answering { Class::Truncated } else { Class::Reset };
                        return self.broken(class, Cause::Words("closed without TLS's farewell"));
                    }
                    // Of a connection that stands, the kernel's timeout is of the answer.
                    let class = Class::of(&error);
                    let late = class == Class::ConnectTimeout;
                    return self.broken(if late { Class::AnswerTimeout } else { class }, Cause::of(&error));
                }
            };
            if self.stage == Stage::Idle {
                // The end, or bytes that nobody asked for; either way of no more use.
                return Event::Closed;
            }
            if read == 0 {
                return self.ended();
            }
            self.answering = true;
            match self.reader.feed(&buffer[..read], memory) {
                Ok(Progress::Partial) => {}
                Ok(Progress::Complete(answer)) => {
                    let whole = matches!(self.unsent, Unsent::Nothing);
                    let reusable = answer.reusable && whole && !self.closing && !ready.ending();
                    self.stage = Stage::Idle;
                    self.kept = true;
                    return Event::Answered(Answer { reusable, ..answer });
                }
                Err(malformed) => return self.broken(Class::Protocol, Cause::Words(malformed.0)),
            }
            // A short read took all there was; the next bytes are a new edge. But an end that came with
            // the same edge is not announced again.
            if read < buffer.len() && self.transport.drains() && !ready.ending() {
                return Event::Pending;
            }
        }
        Event::Unfinished
    }

    fn ended(&mut self) -> Event {
        match self.reader.end() {
            Some(answer) => {
                self.stage = Stage::Idle;
                Event::Answered(answer)
            }
            None if self.answering => {
                self.broken(Class::Truncated, Cause::Words("the connection was closed inside the answer"))
            }
            None => self.broken(Class::Reset, Cause::Words("the connection was closed without an answer")),
        }
    }

    const fn broken(&self, class: Class, cause: Cause) -> Event {
        if matches!(self.stage, Stage::Idle) {
            return Event::Closed;
        }
        Event::Broken(Broken { class, stale: self.kept && !self.answering, unsent: false, cause })
    }
}

/// What went wrong in TLS, for people.
const fn tls_words(error: &rustls::Error) -> &'static str {
    use rustls::{CertificateError, Error};
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate is of no authority that is trusted"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the certificate is for another name",
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the certificate has expired"
        }
        Error::InvalidCertificate(_) => "the certificate is not valid",
        Error::AlertReceived(_) => "the server refused the TLS handshake",
        Error::NoApplicationProtocol => "the server does not speak this version of HTTP",
        Error::InvalidMessage(_) => "what came is no TLS",
        _ => "the TLS handshake failed",
    }
}

/// Goes on connecting: true once requests can be sent, and the stage is then idle.
pub fn connect(transport: &mut Transport, stage: &mut Stage, ready: Ready) -> Result<bool, (Class, Cause)> {
    if *stage == Stage::Connecting {
        if !ready.writable() {
            return Ok(false);
        }
        transport.connected().map_err(|error| (Class::of(&error), Cause::of(&error)))?;
        *stage = Stage::Securing;
    }
    // Whatever ends a handshake, it was the handshake that failed.
    let secured = transport.secure().map_err(|error| (Class::Tls, Cause::of(&error)))?;
    if secured {
        *stage = Stage::Idle;
    }
    Ok(secured)
}

pub(super) fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
