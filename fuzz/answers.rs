//! What fuzzers call: a reader of answers, fed bytes in pieces, must neither panic nor hoard, and must say
//! the same however the bytes are cut.
//!
//! Shared by cargo-fuzz's targets and by `scripts/bench fuzz`, hence a file of its own.

use chaos::load::kept::Keep;
use chaos::load::protocol::h2::{self, H2, Laid};
use chaos::load::protocol::http1::{Http1, LastHead};
use chaos::load::protocol::{Malformed, Progress, Reader};

/// The first byte says how the rest is cut: in pieces of 1 to 64 bytes, or not at all.
fn piece_bytes(first: u8, whole: usize) -> usize {
    if first & 0x40 == 0 { usize::from(first & 0x3f) + 1 } else { whole.max(1) }
}

/// Reads `data` as answers to one request after another on one connection of HTTP/1.1.
pub fn http1(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let head_only = first & 0x80 != 0;
    // A head read before must mean the same again.
    let mut last = LastHead::default();
    let whole = read_http1(head_only, std::iter::once(bytes), &mut last);
    let again = read_http1(head_only, std::iter::once(bytes), &mut last);
    assert_eq!(whole, again, "read twice, {bytes:?} are another answer");
    let pieces = read_http1(head_only, bytes.chunks(piece_bytes(first, bytes.len())), &mut last);
    // Surplus is seen only where it comes in the same piece, so sizes may differ; what came may not.
    assert_eq!(whole, pieces, "cut differently, {bytes:?} are another answer");
}

/// The final status, if there is an answer. What is no answer may be refused at once or waited for in vain,
/// depending on the pieces.
fn read_http1<'b>(
    head_only: bool,
    pieces: impl Iterator<Item = &'b [u8]>,
    last: &mut LastHead,
) -> Option<u16> {
    let mut reader = Http1::default();
    reader.begin(head_only);
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        match reader.feed(piece, last) {
            Ok(Progress::Partial) => {}
            Ok(Progress::Complete(answer)) => {
                assert!((200..=999).contains(&answer.status), "a status that is none: {answer:?}");
                return Some(answer.status);
            }
            Err(_) => return None,
        }
    }
    reader.end().map(|answer| answer.status)
}

/// Reads `data` as what an HTTP/2 server sends to a client with three requests under way, one of them with
/// a body. Where the second byte is even, `data` is made into whole frames, which random bytes hardly are.
pub fn h2(data: &[u8]) {
    let [first, second, rest @ ..] = data else { return };
    let mut bytes = Vec::with_capacity(rest.len() + 9);
    if second & 2 == 0 {
        bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    }
    if second & 1 == 0 {
        frames(rest, &mut bytes)
    } else {
        bytes.extend_from_slice(rest)
    }
    let whole = read_h2(std::iter::once(&bytes[..]));
    let pieces = read_h2(bytes.chunks(piece_bytes(*first, bytes.len())));
    assert_eq!(whole, pieces, "cut differently, {bytes:?} are other answers");
}

/// Makes frames of kind, flags, stream and length, each a byte, and a payload.
fn frames(mut rest: &[u8], out: &mut Vec<u8>) {
    while let [kind, flags, stream, length, after @ ..] = rest {
        let (payload, after) = after.split_at(after.len().min(usize::from(*length)));
        out.extend_from_slice(&[0, 0, payload.len() as u8, kind % 12, *flags, 0, 0, 0, stream % 9]);
        out.extend_from_slice(payload);
        rest = after;
    }
}

fn read_h2<'b>(pieces: impl Iterator<Item = &'b [u8]>) -> Result<Vec<h2::Event>, Malformed> {
    let mut laid = Vec::new();
    let mut connection = H2::new();
    for (tag, text) in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
    ]
    .into_iter()
    .enumerate()
    {
        h2::lay_out(text.as_bytes(), "http", &mut laid);
        connection.open(tag as u32, Laid::Made(&laid), tag == 1, (tag % 3 == 0).then_some(Keep::Body));
    }
    let mut events = Vec::new();
    let mut fed = 0;
    for piece in pieces {
        fed += piece.len();
        let fed_well = connection.feed(piece, &mut events);
        assert_eq!(connection.under_way() + events.len(), 3, "each request ends once: {events:?}");
        fed_well?;
        assert!(connection.output().len() <= (64 << 10) + 4_096 + fed, "answers without end");
    }
    Ok(events)
}
