//! Protocols, one file each: how a request becomes bytes and when an answer is complete.
//!
//! The seam is [`Reader`]: pure, fed whatever arrived, never touching a socket or a clock, so that a
//! protocol can be tested and fuzzed by bytes alone. Connections, pacing and counting are the engine's.

pub mod h2;
pub mod http1;
pub mod tcp;

use http1::{Http1, LastHead};
use tcp::Tcp;

/// The protocols whose connections carry one request after the other.
#[derive(Debug)]
pub enum Speech {
    /// HTTP/1.1.
    Http1(Http1),
    /// Bytes of any kind.
    Tcp(Tcp),
}

impl Default for Speech {
    fn default() -> Self {
        Self::Http1(Http1::default())
    }
}

impl Reader for Speech {
    type Memory = LastHead;

    fn begin(&mut self, head_only: bool) {
        match self {
            Self::Http1(http) => http.begin(head_only),
            Self::Tcp(tcp) => tcp.begin(head_only),
        }
    }

    fn feed(&mut self, bytes: &[u8], memory: &mut LastHead) -> Result<Progress, Malformed> {
        match self {
            Self::Http1(http) => http.feed(bytes, memory),
            Self::Tcp(tcp) => tcp.feed(bytes, &mut ()),
        }
    }

    fn keep(&mut self, keep: Keep) {
        match self {
            Self::Http1(http) => http.keep(keep),
            Self::Tcp(tcp) => tcp.keep(keep),
        }
    }

    fn take_kept(&mut self) -> Option<Box<Kept>> {
        match self {
            Self::Http1(http) => http.take_kept(),
            Self::Tcp(tcp) => tcp.take_kept(),
        }
    }

    fn end(&mut self) -> Option<Answer> {
        match self {
            Self::Http1(http) => http.end(),
            Self::Tcp(tcp) => tcp.end(),
        }
    }
}

use super::kept::{Keep, Kept};

/// Reads one answer after another from the bytes of one connection.
pub trait Reader {
    /// What all connections of a thread remember together.
    type Memory: Default;

    /// Prepares for the answer to a request; `head_only` if the method says that no body will follow.
    fn begin(&mut self, head_only: bool);

    /// Has headers, and the body if asked, of the answer that was begun kept. Otherwise nothing is.
    fn keep(&mut self, keep: Keep);

    /// What was kept of a complete answer; nothing where nothing was to be, or where it was taken already.
    fn take_kept(&mut self) -> Option<Box<Kept>>;

    /// Takes what arrived, in order, nothing left out. After an answer or an error nothing more may be fed
    /// before the next [`Reader::begin`].
    fn feed(&mut self, bytes: &[u8], memory: &mut Self::Memory) -> Result<Progress, Malformed>;

    /// The other side ended the stream: the answer if that is what completes it.
    fn end(&mut self) -> Option<Answer>;
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    Partial,
    /// The answer is complete.
    Complete(Answer),
}

/// A complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The final status code, 200 to 999.
    pub status: u16,
    /// Its bytes, interim answers, heads and framing included.
    pub bytes: u64,
    /// True if the connection may carry another request.
    pub reusable: bool,
}

/// Why bytes are no answer of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);
