//! HTTP/1.1 answers (RFC 9112): heads by httparse, framing by our own state machine.
//!
//! Bodies are counted and dropped, never kept. Whatever a server sends ends in an answer or in
//! [`Malformed`], within [`MAX_HEAD_BYTES`] of memory; nothing here may loop without consuming input.
//! Where lenient and strict readers differ (two lengths, odd chunk sizes), this one is strict: a load test
//! should notice a server that only some clients understand. Start at [`Http1`].

use super::{Answer, Malformed, Progress, Reader};

/// The longest head, interim answers and trailers each held to the same. Twice what common servers and
/// clients allow; endless headers end here instead of in memory.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

/// The most header fields in one head: as many as curl's limit on a whole transfer's response headers is
/// generous, and what fits a stack frame.
pub const MAX_HEADERS: usize = 256;

/// The longest line with a chunk's size and extensions.
const MAX_CHUNK_LINE_BYTES: usize = 4 << 10;

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

/// Where in a chunked body (RFC 9112, 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    /// In the digits of a size; how many were seen, and their value.
    Size {
        digits: u32,
        value: u64,
    },
    /// In what follows the digits; with how long the line may still get.
    Extension {
        value: u64,
        left: usize,
    },
    /// After the CR of a size line.
    SizeLf {
        value: u64,
    },
    /// In the data; this many bytes are missing.
    Data(u64),
    DataCr,
    DataLf,
    /// In the trailers: bytes of the current line, and how many trailer bytes may still come.
    Trailer {
        line: usize,
        left: usize,
    },
    /// After a CR in the trailers.
    TrailerLf {
        line: usize,
        left: usize,
    },
}

impl Chunk {
    const START: Self = Self::Size { digits: 0, value: 0 };
}

/// How the end of an answer is known.
enum Framing {
    Nothing,
    Length(u64),
    Chunked,
    UntilClose,
}

/// The head read last: a server's heads are mostly the same to the byte, and comparing one is a tenth of
/// the work of parsing it.
#[derive(Debug, Default)]
pub struct LastHead {
    bytes: Vec<u8>,
    head: Head,
}

/// Heads longer than this are not remembered: comparing and keeping them would cost what it saves.
const REMEMBERED_BYTES: usize = 1 << 10;

impl LastHead {
    /// What stands at the beginning of `bytes`, if it is the head read last, and its length.
    fn again(&self, bytes: &[u8]) -> Option<(Head, usize)> {
        (!self.bytes.is_empty() && bytes.starts_with(&self.bytes)).then_some((self.head, self.bytes.len()))
    }

    fn remember(&mut self, bytes: &[u8], head: Head) {
        if bytes.len() <= REMEMBERED_BYTES {
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            self.head = head;
        }
    }
}

/// What a head says of the answer.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    status: u16,
    /// HTTP/1.1, not 1.0.
    one_one: bool,
    fields: Fields,
}

impl Head {
    fn read(response: &httparse::Response<'_, '_>) -> Result<Self, Malformed> {
        let status = response.code.unwrap_or(0);
        if !(100..=999).contains(&status) {
            return Err(Malformed("a status code below 100"));
        }
        // Of an interim answer the fields say nothing about the real one.
        let fields = if status < 200 { Fields::default() } else { Fields::read(response.headers)? };
        Ok(Self { status, one_one: response.version == Some(1), fields })
    }
}

impl Reader for Http1 {
    type Memory = LastHead;

    fn begin(&mut self, head_only: bool) {
        self.head_only = head_only;
        self.state = State::Head;
        self.head.clear();
        self.bytes = 0;
        self.interim_bytes = 0;
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
                State::UntilClose => return Ok(Progress::Partial),
                State::Length(missing) => {
                    if (rest.len() as u64) < missing {
                        self.state = State::Length(missing - rest.len() as u64);
                        return Ok(Progress::Partial);
                    }
                    return Ok(self.complete(&rest[missing as usize..]));
                }
                State::Chunked(chunk) => match step(chunk, rest)? {
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
        if kept == 0
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

const fn malformed_head(error: httparse::Error) -> Malformed {
    Malformed(match error {
        httparse::Error::HeaderName => "a header name that is none",
        httparse::Error::HeaderValue => "a header value that is none",
        httparse::Error::NewLine => "a line that ends in CR without LF",
        httparse::Error::Status => "a reason phrase or status code that is none",
        httparse::Error::TooManyHeaders => "more than 256 header fields",
        httparse::Error::Version => "no HTTP/1 version where the answer should begin",
        httparse::Error::Token => "no HTTP/1 status line where the answer should begin",
    })
}

/// True if an empty line may end in `head` at or after byte `from`.
fn ends_within(head: &[u8], from: usize) -> bool {
    let from = from.saturating_sub(2);
    head[from..].windows(2).any(|two| two == b"\n\n")
        || head[from..].windows(3).any(|three| three == b"\n\r\n")
        // What does not begin like an answer is found by parsing, too, without waiting for its end.
        || (from < 16 && !head.iter().take(5).eq(b"HTTP/".iter().take(head.len())))
}

/// The fields of a head that say where the answer ends.
#[derive(Clone, Copy, Debug, Default)]
struct Fields {
    length: Option<u64>,
    /// If there is one: is `chunked` its last coding?
    transfer_encoding: Option<bool>,
    close: bool,
    keep_alive: bool,
}

impl Fields {
    fn read(headers: &[httparse::Header<'_>]) -> Result<Self, Malformed> {
        let mut fields = Self::default();
        for header in headers {
            // By length first: nearly every field of every answer is none of the three.
            match header.name.len() {
                10 if header.name.eq_ignore_ascii_case("connection") => {
                    for option in list(header.value) {
                        fields.close |= option.eq_ignore_ascii_case(b"close");
                        fields.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                14 if header.name.eq_ignore_ascii_case("content-length") => {
                    // `5, 5` and the same field twice are one length said twice (RFC 9112, 6.3).
                    for number in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                        let length =
                            decimal(number).ok_or(Malformed("a content length that is no number"))?;
                        if fields.length.is_some_and(|other| other != length) {
                            return Err(Malformed("two different content lengths"));
                        }
                        fields.length = Some(length);
                    }
                }
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                    for coding in list(header.value) {
                        if fields.transfer_encoding == Some(true) {
                            return Err(Malformed("a transfer coding after `chunked`"));
                        }
                        fields.transfer_encoding = Some(coding.eq_ignore_ascii_case(b"chunked"));
                    }
                }
                _ => {}
            }
        }
        Ok(fields)
    }

    const fn framing(&self) -> Framing {
        match (self.transfer_encoding, self.length) {
            (Some(true), _) => Framing::Chunked,
            (None, Some(length)) => Framing::Length(length),
            (Some(false), _) | (None, None) => Framing::UntilClose,
        }
    }
}

/// The elements of a comma-separated list.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// A number of ASCII digits and nothing else.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

enum Stepped {
    /// Everything was consumed; the state to go on from.
    More(Chunk),
    /// The body ended after this many bytes.
    End(usize),
}

/// Consumes a piece of a chunked body.
fn step(mut chunk: Chunk, bytes: &[u8]) -> Result<Stepped, Malformed> {
    const BROKEN: Malformed = Malformed("a chunk that does not end in CR LF");
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if let Chunk::Data(missing) = chunk {
            let there = (bytes.len() - at) as u64;
            if there < missing {
                return Ok(Stepped::More(Chunk::Data(missing - there)));
            }
            at += missing as usize;
            chunk = Chunk::DataCr;
            continue;
        }
        at += 1;
        chunk = match (chunk, byte) {
            (Chunk::Size { digits, value }, _) if byte.is_ascii_hexdigit() => {
                // 15 digits are 2^60 bytes; more is a mistake, or meant to overflow.
                if digits == 15 {
                    return Err(Malformed("a chunk size that is too large"));
                }
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                Chunk::Size { digits: digits + 1, value: value * 16 + digit }
            }
            (Chunk::Size { digits: 0, .. }, _) => return Err(Malformed("a chunk size that is no number")),
            (Chunk::Size { value, .. } | Chunk::Extension { value, .. }, b'\r') => Chunk::SizeLf { value },
            (Chunk::Size { value, .. }, b';' | b' ' | b'\t') => {
                Chunk::Extension { value, left: MAX_CHUNK_LINE_BYTES }
            }
            (Chunk::Size { .. }, _) => return Err(Malformed("a chunk size that is no number")),
            (Chunk::Extension { .. }, b'\n') => return Err(BROKEN),
            (Chunk::Extension { left: 0, .. }, _) => return Err(Malformed("a chunk extension over 4 KiB")),
            (Chunk::Extension { value, left }, _) => Chunk::Extension { value, left: left - 1 },
            (Chunk::SizeLf { value: 0 }, b'\n') => Chunk::Trailer { line: 0, left: MAX_HEAD_BYTES },
            (Chunk::SizeLf { value }, b'\n') => Chunk::Data(value),
            (Chunk::DataCr, b'\r') => Chunk::DataLf,
            (Chunk::DataLf, b'\n') => Chunk::START,
            (Chunk::Trailer { left: 0, .. }, _) => return Err(Malformed("more than 64 KiB of trailers")),
            (Chunk::Trailer { line, left }, b'\r') => Chunk::TrailerLf { line, left: left - 1 },
            (Chunk::Trailer { .. }, b'\n') => return Err(BROKEN),
            (Chunk::Trailer { line, left }, _) => Chunk::Trailer { line: line + 1, left: left - 1 },
            (Chunk::TrailerLf { line: 0, .. }, b'\n') => return Ok(Stepped::End(at)),
            (Chunk::TrailerLf { left, .. }, b'\n') => {
                Chunk::Trailer { line: 0, left: left.saturating_sub(1) }
            }
            (Chunk::SizeLf { .. } | Chunk::DataCr | Chunk::DataLf | Chunk::TrailerLf { .. }, _) => {
                return Err(BROKEN);
            }
            (Chunk::Data(_), _) => unreachable!("data is consumed above"),
        };
    }
    Ok(Stepped::More(chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads one answer given in pieces, the stream ending after them.
    fn read<'b>(
        head_only: bool,
        pieces: impl IntoIterator<Item = &'b [u8]>,
        last: &mut LastHead,
    ) -> Result<Option<Answer>, Malformed> {
        let mut reader = Http1::default();
        reader.begin(head_only);
        for piece in pieces {
            if let Progress::Complete(answer) = reader.feed(piece, last)? {
                return Ok(Some(answer));
            }
        }
        Ok(reader.end())
    }

    /// The status, how many bytes from the end are surplus, and whether the connection can go on; nothing:
    /// not an answer yet.
    type Expected = Result<Option<(u16, usize, bool)>, &'static str>;

    fn check(text: &str, expected: Expected) {
        let mut last = LastHead::default();
        let whole = read(false, [text.as_bytes()], &mut last);
        let again = read(false, [text.as_bytes()], &mut last);
        assert_eq!(whole, again, "a head read before means the same");
        let expected = match expected {
            Ok(found) => Ok(found.map(|(status, surplus, reusable)| Answer {
                status,
                bytes: (text.len() - surplus) as u64,
                reusable,
            })),
            Err(why) => Err(Malformed(why)),
        };
        let shown: String = text.chars().take(200).collect();
        assert_eq!(whole, expected, "{shown:?}");
        // Byte by byte a surplus is not seen, nor held against the connection yet.
        let dripped = read(false, text.as_bytes().chunks(1), &mut last);
        let dripped = dripped.map(|found| found.map(|answer| (answer.status, answer.bytes)));
        let expected = expected.map(|found| found.map(|answer| (answer.status, answer.bytes)));
        assert_eq!(dripped, expected, "{shown:?}");
    }

    #[test]
    fn answers_end_where_rfc_9112_says() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Ok(Some((200, 0, true)))),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok!", Ok(Some((200, 1, false)))),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", Ok(Some((200, 0, true)))),
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", Ok(None)),
            ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", Ok(Some((200, 0, true)))),
            (
                "\r\nHTTP/1.1 404 \r\ncontent-length: 0\r\nconnection: x, Close\r\n\r\n",
                Ok(Some((404, 0, false))),
            ),
            ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", Ok(Some((200, 0, false)))),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n",
                Ok(Some((200, 0, true))),
            ),
            ("HTTP/1.1 204 No\r\ncontent-length: 9\r\n\r\n", Ok(Some((204, 0, true)))),
            ("HTTP/1.1 304 No\r\ntransfer-encoding: chunked\r\n\r\n", Ok(Some((304, 0, true)))),
            ("HTTP/1.1 200 OK\r\n\r\nto the end", Ok(Some((200, 0, false)))),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nto the end", Ok(Some((200, 0, false)))),
            (
                "HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 103 Hints\r\na: b\r\n\r\nHTTP/1.1 500 No\r\ncontent-length: 1\r\n\r\n!",
                Ok(Some((500, 0, true))),
            ),
            ("HTTP/1.1 100 Go on\r\n\r\n", Ok(None)),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                Ok(Some((200, 0, true))),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=\"y\"\r\na\r\n0A \r\n0123456789\r\n0\r\nt: u\r\n\r\n",
                Ok(Some((200, 0, true))),
            ),
            // Two framings: the chunks count, the connection does not go on.
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
                Ok(Some((200, 0, false))),
            ),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", Ok(None)),
            ("HTTP/1.1 200 OK\r\ncontent-le", Ok(None)),
            ("", Ok(None)),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        let chunked = |body: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        let length = |value: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {value}\r\n\r\n");
        for (text, why) in [
            ("SSH-2.0-OpenSSH\r\n".to_owned(), "no HTTP/1 version where the answer should begin"),
            ("HTTP/2 200 OK\r\n\r\n".to_owned(), "no HTTP/1 version where the answer should begin"),
            ("HTTP/1.1 2x0 OK\r\n\r\n".to_owned(), "a reason phrase or status code that is none"),
            ("HTTP/1.1 101 Switching\r\n\r\n".to_owned(), "a switch of protocols that nobody asked for"),
            ("HTTP/1.1 200 OK\r\na b: c\r\n\r\n".to_owned(), "a header name that is none"),
            (format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(300)), "more than 256 header fields"),
            (length("5, 6"), "two different content lengths"),
            (length("-5"), "a content length that is no number"),
            (length("+5"), "a content length that is no number"),
            (length(""), "a content length that is no number"),
            (length("99999999999999999999"), "a content length that is no number"),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n".to_owned(),
                "a transfer coding after `chunked`",
            ),
            (chunked("x\r\n"), "a chunk size that is no number"),
            (chunked("\r\n"), "a chunk size that is no number"),
            (chunked("5\nhello"), "a chunk size that is no number"),
            (chunked("5\r\nhello!"), "a chunk that does not end in CR LF"),
            (chunked("fffffffffffffffff\r\n"), "a chunk size that is too large"),
            (chunked(&format!("1;{}", "x".repeat(5_000))), "a chunk extension over 4 KiB"),
            (chunked(&format!("0\r\n{}", "t: u\r\n".repeat(11_000))), "more than 64 KiB of trailers"),
            ("HTTP/1.1 100 Go on\r\n\r\n".repeat(3_000), "more than 64 KiB of interim answers"),
        ] {
            check(&text, Err(why));
        }
        // Heads without end: in lines, or in one.
        for line in ["a: b\r\n".to_owned(), "x".repeat(999)] {
            let endless = std::iter::once("HTTP/1.1 200 OK\r\n".as_bytes())
                .chain(std::iter::repeat_n(line.as_bytes(), 20_000));
            assert_eq!(
                read(false, endless, &mut LastHead::default()),
                Err(Malformed("the head is longer than 64 KiB"))
            );
        }
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        for text in ["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
            let answer = read(true, [text.as_bytes()], &mut LastHead::default());
            let expected = Answer { status: 200, bytes: text.len() as u64, reusable: true };
            assert_eq!(answer, Ok(Some(expected)), "{text:?}");
        }
    }

    #[test]
    fn bytes_between_answers_are_malformed() {
        assert!(Http1::default().feed(b"HTTP/1.1 200 OK\r\n\r\n", &mut LastHead::default()).is_err());
    }

    #[derive(Clone, Debug)]
    enum Body {
        Length(Vec<u8>),
        Chunked(Vec<Vec<u8>>),
        UntilClose(Vec<u8>),
    }

    prop_compose! {
        /// A valid answer, and what a slow and obvious reader makes of it: its status and whether the
        /// connection can go on. Its length is the text's.
        fn valid()(
            interim in 0usize..3,
            status in prop_oneof![Just(200u16), 201..=203u16, 400..=599u16],
            fields in prop::collection::vec(("x-[a-z]{1,12}", "[ -~]{0,40}"), 0..20),
            close: bool,
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300).prop_map(Body::Length),
                prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 0..6).prop_map(Body::Chunked),
                prop::collection::vec(any::<u8>(), 0..300).prop_map(Body::UntilClose),
            ],
        ) -> (Vec<u8>, u16, bool) {
            let mut text = "HTTP/1.1 103 Early\r\nlink: <x>\r\n\r\n".repeat(interim);
            text.push_str(&format!("HTTP/1.1 {status} Reason\r\n"));
            for (name, value) in fields {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            if close {
                text.push_str("Connection: close\r\n");
            }
            let mut bytes = text.into_bytes();
            let until_close = matches!(body, Body::UntilClose(_));
            match body {
                Body::Length(body) => {
                    bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
                    bytes.extend(body);
                }
                Body::Chunked(chunks) => {
                    bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                    for chunk in chunks {
                        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                        bytes.extend(chunk);
                        bytes.extend(b"\r\n");
                    }
                    bytes.extend(b"0\r\n\r\n");
                }
                Body::UntilClose(body) => {
                    bytes.extend(b"\r\n");
                    bytes.extend(body);
                }
            }
            (bytes, status, !close && !until_close)
        }
    }

    proptest! {
        #[test]
        fn answers_read_the_same_however_they_arrive(
            (bytes, status, reusable) in valid(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces = at.windows(2).map(|two| &bytes[two[0]..two[1]]).filter(|piece| !piece.is_empty());
            let expected = Answer { status, bytes: bytes.len() as u64, reusable };
            prop_assert_eq!(read(false, pieces, &mut LastHead::default()), Ok(Some(expected)));
            // One byte short, it is not there yet; or it was already, where closing is what ends it.
            let short = read(false, [&bytes[..bytes.len() - 1]], &mut LastHead::default());
            prop_assert!(short.is_err() || !matches!(short, Ok(Some(answer)) if answer.reusable));
        }

        /// Whatever comes: no panic, no memory beyond the limit, and the same end however it is cut.
        #[test]
        fn garbage_ends_somewhere(
            start in prop::sample::select(vec!["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
            rest in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\r\n:;0123456789abcf ".to_vec())], 0..400),
        ) {
            let bytes = [start.as_bytes(), &rest].concat();
            let whole = read(false, [bytes.as_slice()], &mut LastHead::default());
            let dripped = read(false, bytes.chunks(1), &mut LastHead::default());
            match (whole, dripped) {
                (Ok(Some(whole)), Ok(Some(dripped))) => prop_assert_eq!(whole.status, dripped.status),
                // A mistake in a head that arrives in pieces is found at its end, which may never come.
                (whole, dripped) => prop_assert!(!matches!((whole, dripped), (Ok(Some(_)), _) | (_, Ok(Some(_))))),
            }
        }
    }
}
