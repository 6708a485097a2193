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
    /// Which of the load's requests.
    pub request: u32,
    /// How it ended.
    pub end: End,
    /// When it was meant to be sent.
    pub intended_ns: u64,
    /// When sending began; of one never sent, when that was decided.
    pub sent_ns: u64,
    /// When the first byte of its answer was read; 0 if none was, or where that is not looked at.
    pub first_byte_ns: u64,
    /// When its last byte was read, or it was given up.
    pub ended_ns: u64,
    /// Bytes of the answer.
    pub bytes: u64,
    /// For which of the load's SLOs it was good: bit n for the n-th.
    pub slos: u64,
    /// True if it was sent twice: the kept connection it went out on first had been closed.
    pub retried: bool,
}

impl Sample {
    /// Counts it for each SLO that it was good for: the n-th of `counts`, which grows as needed, for bit n.
    #[inline]
    pub fn count_slos(&self, counts: &mut Vec<u64>) {
        let mut slos = self.slos;
        while slos != 0 {
            let bit = slos.trailing_zeros() as usize;
            if counts.len() <= bit {
                counts.resize(bit + 1, 0);
            }
            counts[bit] += 1;
            slos &= slos - 1;
        }
    }

    /// Due to ended, in nanoseconds; of one cut off, its age.
    pub const fn latency_ns(&self) -> u64 {
        self.ended_ns.saturating_sub(self.intended_ns)
    }

    /// Sending to ended, in nanoseconds.
    pub const fn service_ns(&self) -> u64 {
        self.ended_ns.saturating_sub(self.sent_ns)
    }

    /// Due to sending, in nanoseconds.
    pub const fn send_lag_ns(&self) -> u64 {
        self.sent_ns.saturating_sub(self.intended_ns)
    }
}

/// A connection that was opened, or that it was tried with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its load, as an index.
    pub load: u32,
    /// When the request was due that it was opened for.
    pub intended_ns: u64,
    /// How long connecting took.
    pub connect_ns: u64,
    /// How long the TLS handshake took after that; 0 without TLS.
    pub tls_ns: u64,
}

/// One case of a class of errors, for people: what an error looked like when it first happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Its load, as an index.
    pub load: u32,
    /// The class that it is an example of.
    pub class: Class,
    /// When the request was due that it happened to.
    pub intended_ns: u64,
    /// What happened, as [`example_text`] leaves it.
    pub text: String,
}

/// The most characters of an example.
pub const EXAMPLE_CHARS: usize = 200;

/// `text` as an example: one line, no control characters, at most [`EXAMPLE_CHARS`] characters. Parts of
/// it come from servers.
pub fn example_text(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(EXAMPLE_CHARS)
        .collect();
    if text.chars().nth(EXAMPLE_CHARS).is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// The six ends of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Answered as expected, with this status.
    Good(u16),
    /// Answered, with this status, not as expected in this respect.
    Bad(u16, Class),
    /// Given up at its timeout.
    TimedOut(Class),
    /// Not answered.
    Failed(Class),
    /// Not sent: the in-flight cap was reached.
    Dropped,
    /// Under way when the load ended.
    CutOff,
}

/// Why there was no answer, or none as expected. The words are part of reports; see [`Class::word`].
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
    /// Connected, but not yet secured in time.
    TlsTimeout,
    /// Sent, and not a byte of an answer in time.
    AnswerTimeout,
    /// The answer began, and did not end in time.
    BodyTimeout,
    /// The host's name has no address.
    Dns,
    /// The TLS handshake failed.
    Tls,
    /// What came is no answer of the protocol.
    Protocol,
    /// Redirected too often, or to where the load does not go.
    Redirects,
    /// This process may open no more files.
    OpenFiles,
    /// This machine has no free port left towards that address.
    Ports,
    /// This machine has no memory for another socket.
    Memory,
    /// No row of data was there in time, or can be read any more.
    Data,
    /// Answered with another status.
    Status,
    /// A header is not there, or not as expected.
    Header,
    /// The body is not as expected, or can't be decoded.
    Body,
    /// The body is not JSON, or not as expected.
    Json,
    /// The body is of another size.
    Size,
    /// A value that later steps use is not in the answer.
    NotExtracted,
    /// None of these.
    Other,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 23] = [
        Self::Refused,
        Self::Reset,
        Self::Truncated,
        Self::Unreachable,
        Self::ConnectTimeout,
        Self::TlsTimeout,
        Self::AnswerTimeout,
        Self::BodyTimeout,
        Self::Dns,
        Self::Tls,
        Self::Protocol,
        Self::Redirects,
        Self::OpenFiles,
        Self::Ports,
        Self::Memory,
        Self::Data,
        Self::Status,
        Self::Header,
        Self::Body,
        Self::Json,
        Self::Size,
        Self::NotExtracted,
        Self::Other,
    ];

    /// How many there are: they number 0 to one less, in the order of [`Class::ALL`].
    pub const COUNT: usize = Self::ALL.len();

    /// The word in records and reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::Unreachable => "unreachable",
            Self::ConnectTimeout => "timeout: connect",
            Self::TlsTimeout => "timeout: tls",
            Self::AnswerTimeout => "timeout: answer",
            Self::BodyTimeout => "timeout: body",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Redirects => "redirects",
            Self::OpenFiles => "local: open files",
            Self::Ports => "local: ports",
            Self::Memory => "local: memory",
            Self::Data => "local: data",
            Self::Status => "unexpected: status",
            Self::Header => "unexpected: header",
            Self::Body => "unexpected: body",
            Self::Json => "unexpected: json",
            Self::Size => "unexpected: size",
            Self::NotExtracted => "unexpected: nothing to extract",
            Self::Other => "other",
        }
    }

    /// True if the generator's own machine is to blame: the figures are then not the system's.
    pub const fn is_local(self) -> bool {
        matches!(self, Self::OpenFiles | Self::Ports | Self::Memory | Self::Data)
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

    /// How an arrival that met this before it was answered ended.
    pub const fn end(self) -> End {
        match self {
            Self::ConnectTimeout | Self::TlsTimeout | Self::AnswerTimeout | Self::BodyTimeout => {
                End::TimedOut(self)
            }
            _ => End::Failed(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_numbered_as_they_are_listed() {
        for (number, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, number, "{}", class.word());
        }
    }

    #[test]
    fn a_sample_fits_a_cache_line() {
        assert!(size_of::<Sample>() <= 64, "{} bytes", size_of::<Sample>());
    }

    #[test]
    fn an_example_is_one_harmless_line() {
        assert_eq!(example_text("reset\r\nby \u{1b}[31mpeer"), "reset  by  [31mpeer");
        let long = example_text(&"é".repeat(1_000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (EXAMPLE_CHARS, true));
        assert_eq!(example_text(&"x".repeat(EXAMPLE_CHARS)).len(), EXAMPLE_CHARS);
    }
}
