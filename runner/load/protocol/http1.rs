//! HTTP/1.1 answers (RFC 9112): heads by httparse, framing by our own state machine.
//!
//! Bodies are counted and dropped, unless somebody asks for them to be kept. Whatever a server sends ends in an answer or in
//! [`Malformed`], within [`MAX_HEAD_BYTES`] of memory; nothing here may loop without consuming input.
//! Where lenient and strict readers differ (two lengths, odd chunk sizes), this one is strict: a load test
//! should notice a server that only some clients understand. Start at [`Http1`].

mod chunk;
mod head;
#[cfg(test)]
mod tests;

use super::{Answer, Malformed, Progress, Reader};
use crate::load::kept::{Keep, Kept};
use chunk::{Chunk, Stepped, step};
pub use head::LastHead;
use head::{Framing, Head, ends_within, malformed_head};

/// The longest head, interim answers and trailers each held to the same. Twice what common servers and
/// clients allow; endless headers end here instead of in memory.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

/// The most header fields in one head: as many as curl's limit on a whole transfer's response headers is
/// generous, and what fits a stack frame.
pub const MAX_HEADERS: usize = 256;

/// Reads HTTP/1.x answers. Holds bytes only of a head that arrived in pieces.
#[derive(Debug, Default)]
pub struct Http1 {
    head_only: bool,
    state: State,
    /// The beginning of a head that is not complete yet.
    head: Vec<u8>,
    /// Bytes of the current answer so far.
    bytes: u64,
    /// Bytes of interim answers so far.
    interim_bytes: usize,
    status: u16,
    persistent: bool,
    /// What is kept of the current answer, where something is.
    kept: Option<Box<Kept>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No answer is expected.
    #[default]
    Idle,
    Head,
    /// This many bytes of the body are missing.
    Length(u64),
    Chunked(Chunk),
    /// The body ends with the connection.
    UntilClose,
}

impl Reader for Http1 {
    type Memory = LastHead;

    fn begin(&mut self, head_only: bool) {
        self.head_only = head_only;
        self.state = State::Head;
        self.head.clear();
        self.bytes = 0;
        self.interim_bytes = 0;
        self.kept = None;
    }

    fn keep(&mut self, keep: Keep) {
        self.kept = Some(Box::new(Kept::new(keep)));
    }

    fn take_kept(&mut self) -> Option<Box<Kept>> {
        self.kept.take()
    }

    fn feed(&mut self, bytes: &[u8], last: &mut LastHead) -> Result<Progress, Malformed> {
        self.bytes += bytes.len() as u64;
        let mut rest = bytes;
        loop {
            match self.state {
                State::Idle => return Err(Malformed("bytes that no request asked for")),
                State::Head => match self.head(rest, last)? {
                    None => return Ok(Progress::Partial),
                    Some(used) => rest = &rest[used..],
                },
                State::UntilClose => {
                    self.keep_piece(rest);
                    return Ok(Progress::Partial);
                }
                State::Length(missing) => {
                    self.keep_piece(&rest[..rest.len().min(usize::try_from(missing).unwrap_or(usize::MAX))]);
                    if (rest.len() as u64) < missing {
                        self.state = State::Length(missing - rest.len() as u64);
                        return Ok(Progress::Partial);
                    }
                    return Ok(self.complete(&rest[missing as usize..]));
                }
                State::Chunked(chunk) => match step(chunk, rest, self.kept.as_deref_mut())? {
                    Stepped::More(next) => {
                        self.state = State::Chunked(next);
                        return Ok(Progress::Partial);
                    }
                    Stepped::End(used) => return Ok(self.complete(&rest[used..])),
                },
            }
        }
    }

    fn end(&mut self) -> Option<Answer> {
        let complete = self.state == State::UntilClose;
        self.state = State::Idle;
        complete.then_some(Answer { status: self.status, bytes: self.bytes, reusable: false })
    }
}

impl Http1 {
    fn keep_piece(&mut self, bytes: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.piece(bytes);
        }
    }

    /// The answer is complete and `surplus` came behind it: bytes that no request asked for, after which
    /// nothing on this connection can be trusted.
    const fn complete(&mut self, surplus: &[u8]) -> Progress {
        self.state = State::Idle;
        Progress::Complete(Answer {
            status: self.status,
            bytes: self.bytes - surplus.len() as u64,
            reusable: self.persistent && surplus.is_empty(),
        })
    }

    /// Reads a head from what is kept and `bytes`: how many of `bytes` it took, nothing if it is not
    /// complete. Sets the state that follows.
    fn head(&mut self, bytes: &[u8], last: &mut LastHead) -> Result<Option<usize>, Malformed> {
        let kept = self.head.len();
        // Of a head that is kept the fields are wanted, too, and only parsing finds them.
        if kept == 0
            && self.kept.is_none()
            && let Some((head, length)) = last.again(bytes)
        {
            self.follow(head, length)?;
            return Ok(Some(length));
        }
        let mut joined = Vec::new();
        let all = if kept == 0 {
            bytes
        } else {
            // Parsing starts over with each piece; looking for the end first keeps a head that drips in
            // byte by byte from costing its length squared in parsing.
            self.head.extend_from_slice(&bytes[..bytes.len().min(MAX_HEAD_BYTES + 1 - kept)]);
            if !ends_within(&self.head, kept) {
                return self.within_limit().map(|()| None);
            }
            std::mem::swap(&mut joined, &mut self.head);
            &joined
        };
        let mut headers = [const { std::mem::MaybeUninit::uninit() }; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut response, all, &mut headers)
            .map_err(malformed_head)?;
        let httparse::Status::Complete(length) = parsed else {
            if kept == 0 {
                self.head.extend_from_slice(&bytes[..bytes.len().min(MAX_HEAD_BYTES + 1)]);
            } else {
                self.head = joined;
            }
            return self.within_limit().map(|()| None);
        };
        if length > MAX_HEAD_BYTES {
            return Err(Malformed("the head is longer than 64 KiB"));
        }
        let head = Head::read(&response)?;
        last.remember(&all[..length], head);
        if let Some(kept) = self.kept.as_mut().filter(|_| head.status >= 200) {
            response.headers.iter().for_each(|header| kept.header(header.name, header.value));
        }
        self.follow(head, length)?;
        Ok(Some(length - kept))
    }

    const fn within_limit(&self) -> Result<(), Malformed> {
        if self.head.len() > MAX_HEAD_BYTES {
            return Err(Malformed("the head is longer than 64 KiB"));
        }
        Ok(())
    }

    /// What follows a head of `length` bytes.
    fn follow(&mut self, head: Head, length: usize) -> Result<(), Malformed> {
        let Head { status, one_one, fields } = head;
        self.status = status;
        if status == 101 {
            return Err(Malformed("a switch of protocols that nobody asked for"));
        }
        if status < 200 {
            // An interim answer: the real one is still to come.
            self.interim_bytes += length;
            if self.interim_bytes > MAX_HEAD_BYTES {
                return Err(Malformed("more than 64 KiB of interim answers"));
            }
            return Ok(());
        }
        self.persistent = if one_one { !fields.close } else { fields.keep_alive && !fields.close };
        let framing = if self.head_only || status == 204 || status == 304 {
            Framing::Nothing
        } else {
            fields.framing()
        };
        // Where two framings contradict each other the connection can't be trusted (RFC 9112, 6.3).
        self.persistent &= !(fields.transfer_encoding.is_some() && (fields.length.is_some() || !one_one));
        self.state = match framing {
            Framing::Nothing => State::Length(0),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunk::START),
            Framing::UntilClose => State::UntilClose,
        };
        Ok(())
    }
}
