//! How one arrival ended, as the engine hands it to the recorder.
//!
//! Fixed-size and plain, because there is one for every request: counting, histograms and names are the
//! recorder's business, off the sending thread.

use std::io;

/// One arrival that has ended, in instants of the run's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its load, as an index.
    pub load: u32,
    /// How it ended.
    pub end: End,
    /// When it was meant to be sent.
    pub intended_ns: u64,
    /// When sending began; of one never sent, when that was decided.
    pub sent_ns: u64,
    /// When its last byte was read, or it was given up.
    pub ended_ns: u64,
    /// Bytes of the answer.
    pub bytes: u64,
    /// For which of the load's SLOs it was good: bit n for the n-th.
    pub slos: u64,
    /// True if it was sent twice: the kept connection it went out on first had been closed.
    pub retried: bool,
}

/// The six ends of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Answered as expected, with this status.
    Good(u16),
    /// Answered, not as expected.
    Bad(u16),
    /// Given up at its timeout.
    TimedOut(Class),
    /// Not answered.
    Failed(Class),
    /// Not sent: the in-flight cap was reached.
    Dropped,
    /// Under way when the load ended.
    CutOff,
}

/// Why there was no answer. The words are part of reports; see [`Class::word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nobody listens there.
    Refused,
    /// The connection was reset, or closed before any byte of the answer.
    Reset,
    /// The connection was closed inside the answer.
    Truncated,
    /// No way to that address.
    Unreachable,
    /// Not connected in time.
    ConnectTimeout,
    /// TLS was not agreed upon: the certificate, the version, or no TLS at all.
    Tls,
    /// TLS was not agreed upon in time.
    TlsTimeout,
    /// Connected, not answered in time.
    AnswerTimeout,
    /// What came is no answer of the protocol.
    Protocol,
    /// This process may open no more files.
    OpenFiles,
    /// This machine has no free port left towards that address.
    Ports,
    /// This machine has no memory for another socket.
    Memory,
    /// None of these.
    Other,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 13] = [
        Self::Refused,
        Self::Reset,
        Self::Truncated,
        Self::Unreachable,
        Self::Tls,
        Self::ConnectTimeout,
        Self::TlsTimeout,
        Self::AnswerTimeout,
        Self::Protocol,
        Self::OpenFiles,
        Self::Ports,
        Self::Memory,
        Self::Other,
    ];

    /// The word in records and reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::Unreachable => "unreachable",
            Self::ConnectTimeout => "timeout: connect",
            Self::Tls => "tls",
            Self::TlsTimeout => "timeout: tls",
            Self::AnswerTimeout => "timeout: answer",
            Self::Protocol => "protocol",
            Self::OpenFiles => "local: open files",
            Self::Ports => "local: ports",
            Self::Memory => "local: memory",
            Self::Other => "other",
        }
    }

    /// True if the generator's own machine is to blame: the figures are then not the system's.
    pub const fn is_local(self) -> bool {
        matches!(self, Self::OpenFiles | Self::Ports | Self::Memory)
    }

    /// The class of a socket's error.
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            // A unix socket whose queue is full says EAGAIN where TCP would drop the SYN.
            Some(libc::ECONNREFUSED | libc::EAGAIN) => Self::Refused,
            Some(libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED) => Self::Reset,
            Some(
                libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN | libc::EACCES,
            ) => Self::Unreachable,
            // The kernel gave up connecting, or keeping alive, before our own timeout did.
            Some(libc::ETIMEDOUT) => Self::ConnectTimeout,
            Some(libc::EMFILE | libc::ENFILE) => Self::OpenFiles,
            Some(libc::EADDRNOTAVAIL | libc::EADDRINUSE) => Self::Ports,
            Some(libc::ENOMEM | libc::ENOBUFS) => Self::Memory,
            _ if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => Self::Tls,
            _ => Self::Other,
        }
    }

    /// How an arrival that met this ended.
    pub const fn end(self) -> End {
        match self {
            Self::ConnectTimeout | Self::TlsTimeout | Self::AnswerTimeout => End::TimedOut(self),
            _ => End::Failed(self),
        }
    }
}
