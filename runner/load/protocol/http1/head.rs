//! What a head says of the answer: its status, where the body ends, whether the connection goes on. A head
//! like the last one is compared, not parsed. Start at [`Head::read`].

use super::super::Malformed;

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
    pub(super) fn again(&self, bytes: &[u8]) -> Option<(Head, usize)> {
        (!self.bytes.is_empty() && bytes.starts_with(&self.bytes)).then_some((self.head, self.bytes.len()))
    }

    pub(super) fn remember(&mut self, bytes: &[u8], head: Head) {
        if bytes.len() <= REMEMBERED_BYTES {
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            self.head = head;
        }
    }
}

/// What a head says of the answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    pub(super) status: u16,
    /// HTTP/1.1, not 1.0.
    pub(super) one_one: bool,
    pub(super) fields: Fields,
}

impl Head {
    pub(super) fn read(response: &httparse::Response<'_, '_>) -> Result<Self, Malformed> {
        let status = response.code.unwrap_or(0);
        if !(100..=999).contains(&status) {
            return Err(Malformed("a status code below 100"));
        }
        // Of an interim answer the fields say nothing about the real one.
        let fields = if status < 200 { Fields::default() } else { Fields::read(response.headers)? };
        Ok(Self { status, one_one: response.version == Some(1), fields })
    }
}

/// How the end of an answer is known.
pub(super) enum Framing {
    Nothing,
    Length(u64),
    Chunked,
    UntilClose,
}

pub(super) const fn malformed_head(error: httparse::Error) -> Malformed {
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
pub(super) fn ends_within(head: &[u8], from: usize) -> bool {
    let from = from.saturating_sub(2);
    head[from..].windows(2).any(|two| two == b"\n\n")
        || head[from..].windows(3).any(|three| three == b"\n\r\n")
        // What does not begin like an answer is found by parsing, too, without waiting for its end.
        || (from < 16 && !head.iter().take(5).eq(b"HTTP/".iter().take(head.len())))
}

/// The fields of a head that say where the answer ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields {
    pub(super) length: Option<u64>,
    /// If there is one: is `chunked` its last coding?
    pub(super) transfer_encoding: Option<bool>,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
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

    pub(super) const fn framing(&self) -> Framing {
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
