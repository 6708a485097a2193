//! Plain bytes over a connection: what is sent is a text, and the answer is complete once a text came back.
//!
//! For what is no HTTP: caches, queues, line protocols. Start at [`Tcp`].

use std::sync::Arc;

use super::{Answer, Malformed, Progress, Reader};
use crate::load::kept::{Keep, Kept};

/// How many bytes of an answer are looked at for what is expected.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// In place of a status, which such an answer has not.
pub const NO_STATUS: u16 = 0;

/// Reads until the bytes that are expected have come; without any, until the first byte.
#[derive(Debug)]
pub struct Tcp {
    expected: Arc<[u8]>,
    /// The end of what came, in which what is expected may have begun: shorter than that.
    tail: Vec<u8>,
    bytes: u64,
}

impl Tcp {
    /// For answers that must hold `expected`.
    pub const fn new(expected: Arc<[u8]>) -> Self {
        Self { expected, tail: Vec::new(), bytes: 0 }
    }
}

impl Reader for Tcp {
    type Memory = ();

    fn begin(&mut self, _: bool) {
        self.tail.clear();
        self.bytes = 0;
    }

    fn feed(&mut self, bytes: &[u8], (): &mut ()) -> Result<Progress, Malformed> {
        self.bytes += bytes.len() as u64;
        self.tail.extend_from_slice(bytes);
        let wanted = self.expected.len();
        if wanted == 0 || self.tail.windows(wanted).any(|there| *there == *self.expected) {
            return Ok(Progress::Complete(Answer { status: NO_STATUS, bytes: self.bytes, reusable: true }));
        }
        if self.bytes > MAX_ANSWER_BYTES {
            return Err(Malformed("64 KiB without the bytes that are expected"));
        }
        self.tail.drain(..self.tail.len().saturating_sub(wanted - 1));
        Ok(Progress::Partial)
    }

    /// What is expected is looked for as it comes; nothing else can be asked for.
    fn keep(&mut self, _: Keep) {}

    fn take_kept(&mut self) -> Option<Box<Kept>> {
        None
    }

    fn end(&mut self) -> Option<Answer> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After which of the pieces the answer is complete, and its bytes.
    fn check(expected: &str, pieces: &[&str], complete: Result<Option<(usize, u64)>, &str>) {
        let mut reader = Tcp::new(expected.as_bytes().into());
        reader.begin(false);
        let mut ended = Ok(None);
        for (index, piece) in pieces.iter().enumerate() {
            match reader.feed(piece.as_bytes(), &mut ()) {
                Ok(Progress::Partial) => continue,
                Ok(Progress::Complete(answer)) => ended = Ok(Some((index, answer.bytes))),
                Err(malformed) => ended = Err(malformed.0),
            }
            break;
        }
        assert_eq!(ended, complete, "{expected:?} in {pieces:?}");
    }

    #[test]
    fn an_answer_ends_with_what_is_expected() {
        check("+PONG\r\n", &["+PONG\r\n"], Ok(Some((0, 7))));
        check("+PONG\r\n", &["+PO", "N", "G\r", "\n"], Ok(Some((3, 7))));
        check("PONG", &["PPOPONPONG and more"], Ok(Some((0, 19))));
        check("", &["x"], Ok(Some((0, 1))));
        check("+PONG", &["-ERR\r\n"], Ok(None));
        let long = "x".repeat(40_000);
        check("y", &[&long, &long, "y"], Err("64 KiB without the bytes that are expected"));
    }
}
