//! HTTP/2 (RFC 9113) as a client: many exchanges on one connection, read and written as bytes.
//!
//! Pure like every protocol here: [`H2`] is fed what arrived, says which requests ended and how, and keeps
//! what is to be written in a buffer. Framing is our own because a load test needs a small part of the
//! protocol, and that part cheap: bodies are counted and dropped, a header block like the last one is read once
//! (see [`heard`]), and a whole turn's requests leave in one write. Whatever a server sends ends in answers
//! or in [`Malformed`], within a bounded amount of memory. Start at [`H2::open`] and [`H2::feed`].

mod answers;
mod control;
pub mod frame;
mod heard;
pub mod hpack;
mod message;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{Answer, Malformed};
use crate::load::kept::{Keep, Kept};
use frame::{CANCEL, HEAD_BYTES, Head, MAX_PAYLOAD, flag, kind, setting};
use heard::Heard;
pub use message::{lay_out, scheme};
use table::Table;

/// What a client says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much a server may send on one stream before we have read it. Bodies are dropped as they come, so
/// this costs no memory; it keeps a large body from waiting for our permission.
const STREAM_WINDOW: u32 = 1 << 20;

/// The same for a whole connection.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// What a connection's window is before anyone says otherwise (RFC 9113, 6.9.2).
const FIRST_WINDOW: u32 = 65_535;

/// The longest header block, frames included: as long as an HTTP/1.1 head may be.
const MAX_BLOCK_BYTES: usize = super::http1::MAX_HEAD_BYTES;

/// How many streams a server is believed to take before it has said so (RFC 9113 advises to allow 100).
const FIRST_STREAMS: u32 = 100;

/// The most bytes of acknowledgements that wait to be written: a server that asks and asks but reads no
/// answer is not owed more.
const MAX_OWED_BYTES: usize = 64 << 10;

/// The last stream number after which a connection is used up, with room for what is under way.
const LAST_STREAM: u32 = 0x7fff_ff00;

/// A client's side of one connection.
#[derive(Debug)]
pub struct H2 {
    /// To be written, in order.
    out: Vec<u8>,
    /// Acknowledgements in `out`, so that their number is bounded.
    owed_bytes: usize,
    /// A frame that is not complete yet; of DATA only its head.
    partial: Vec<u8>,
    /// What of the DATA frame read last is still to come.
    data: Option<Rest>,
    /// A header block whose CONTINUATION frames are still to come.
    block: Option<Block>,
    /// The block read last.
    last: Last,
    /// The other side's headers that we keep.
    heard: Heard,
    /// Our headers that the other side keeps.
    table: Table,
    /// A block as it is sent, while it is made.
    encoded: Vec<u8>,
    /// Answers whose head has come and whose end had not, by tag, until they are asked for.
    begun: Vec<u32>,
    /// Under way, by rising number.
    streams: Vec<Stream>,
    next_id: u32,
    /// What the other side said.
    peer: Peer,
    /// How much may still be sent on the connection.
    send_window: i64,
    /// Bytes read but not yet allowed anew, on the connection.
    taken: u32,
    /// Requests whose body waits for a window.
    blocked: u32,
    /// The first frame, which must be SETTINGS, has come.
    settled: bool,
    /// No stream may be opened any more.
    closing: bool,
}

/// The header block read last, and what it said.
#[derive(Debug)]
struct Last {
    block: Vec<u8>,
    /// The state of the table in which the same bytes say the same; none where reading it changed the table.
    changes: Option<u64>,
    /// The same without a table.
    plain: Vec<u8>,
    head: Result<hpack::Head, Malformed>,
}

#[derive(Debug)]
struct Peer {
    streams: u32,
    window: i64,
}

#[derive(Debug)]
struct Block {
    stream: u32,
    end: bool,
    bytes: Vec<u8>,
    /// With the heads of its frames, so that empty ones count too.
    length: usize,
}

/// What is still to come of a DATA frame.
#[derive(Clone, Copy, Debug)]
struct Rest {
    head: Head,
    /// Bytes, padding included.
    left: usize,
    /// How many of them, at the end, are padding.
    padding: usize,
}

/// One exchange.
#[derive(Debug)]
struct Stream {
    id: u32,
    tag: u32,
    head_only: bool,
    /// The final status; 0 until it came.
    status: u16,
    /// Bytes of the body still to come, where its length was announced.
    missing: Option<u64>,
    /// Bytes of the answer, frames included.
    bytes: u64,
    /// Bytes read but not yet allowed anew.
    taken: u32,
    send_window: i64,
    unsent: Unsent,
    /// What is kept of the answer, where something is.
    kept: Option<Box<Kept>>,
}

/// The part of a request's body that waits for a window.
#[derive(Debug)]
enum Unsent {
    Nothing,
    Fixed(Arc<[u8]>, usize),
    Made(Vec<u8>),
}

impl Unsent {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Fixed(bytes, at) => &bytes[*at..],
            Self::Made(bytes) => bytes,
        }
    }

    fn advance(&mut self, by: usize) {
        match self {
            Self::Nothing => {}
            Self::Fixed(_, at) => *at += by,
            Self::Made(bytes) => drop(bytes.drain(..by)),
        }
    }
}

/// A request as [`lay_out`] laid it out: kept for good, or made for this arrival.
#[derive(Clone, Copy, Debug)]
pub enum Laid<'a> {
    /// The same every time.
    Fixed(&'a Arc<[u8]>),
    /// Made for this arrival.
    Made(&'a [u8]),
}

/// How a request ended; `tag` is the one it was opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The answer is complete. `reusable` says nothing: ask [`H2::room`].
    Answered {
        /// The request's.
        tag: u32,
        /// Status and bytes.
        answer: Answer,
        /// What was to be kept of it.
        kept: Option<Box<Kept>>,
    },
    /// The server ended the stream without an answer.
    Reset {
        /// The request's.
        tag: u32,
        /// True if the server says that it did not look at it: it may be sent again.
        unseen: bool,
        /// True if a byte of the answer had come.
        answering: bool,
    },
}

impl H2 {
    /// The requests whose answers began since this was last asked, by their tags, also if they have ended since.
    pub fn take_begun(&mut self) -> std::vec::Drain<'_, u32> {
        self.begun.drain(..)
    }

    /// A connection on which nothing was said yet; its preface is ready to be written.
    pub fn new() -> Self {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(PREFACE);
        let settings = [
            (setting::ENABLE_PUSH, 0),
            (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW),
            (setting::MAX_HEADER_LIST_SIZE, MAX_BLOCK_BYTES as u32),
        ];
        frame::put_head(settings.len() * 6, kind::SETTINGS, 0, 0, &mut out);
        for (name, value) in settings {
            out.extend_from_slice(&name.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
        frame::put_number(kind::WINDOW_UPDATE, 0, CONNECTION_WINDOW - FIRST_WINDOW, &mut out);
        Self {
            out,
            owed_bytes: 0,
            partial: Vec::new(),
            data: None,
            block: None,
            last: Last {
                block: Vec::new(),
                changes: None,
                plain: Vec::new(),
                head: Ok(hpack::Head::default()),
            },
            heard: Heard::default(),
            table: Table::default(),
            encoded: Vec::new(),
            streams: Vec::new(),
            next_id: 1,
            peer: Peer { streams: FIRST_STREAMS, window: i64::from(FIRST_WINDOW) },
            send_window: i64::from(FIRST_WINDOW),
            taken: 0,
            blocked: 0,
            settled: false,
            begun: Vec::new(),
            closing: false,
        }
    }

    /// How many more requests it can carry now, of the `most` that it may carry at once.
    pub fn room(&self, most: u32) -> u32 {
        if self.closing || self.next_id > LAST_STREAM {
            return 0;
        }
        most.min(self.peer.streams).saturating_sub(self.streams.len() as u32)
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        self.streams.len()
    }

    /// True once no further request can ever be opened on it.
    pub const fn is_closing(&self) -> bool {
        self.closing || self.next_id > LAST_STREAM
    }

    /// What is to be written now; whoever writes removes it from the front, with [`H2::written`].
    pub fn output(&self) -> &[u8] {
        &self.out
    }

    /// So many bytes of [`H2::output`] were written.
    pub fn written(&mut self, bytes: usize) {
        if bytes == self.out.len() {
            self.out.clear();
            self.owed_bytes = 0;
        } else {
            self.out.drain(..bytes);
        }
    }

    /// Sends a request, which is known by `tag` from then on, and of whose answer as much is kept as `keep`
    /// says. There must be [`H2::room`].
    pub fn open(&mut self, tag: u32, laid: Laid<'_>, head_only: bool, keep: Option<Keep>) {
        debug_assert!(self.room(u32::MAX) > 0, "a stream is opened where there is room");
        let id = self.next_id;
        self.next_id += 2;
        let bytes: &[u8] = match laid {
            Laid::Fixed(bytes) => bytes,
            Laid::Made(bytes) => bytes,
        };
        let (block, body_at) = message::block(bytes);
        let has_body = body_at < bytes.len();
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        self.table.encode(block, &mut encoded);
        self.put_block(id, &encoded, !has_body);
        self.encoded = encoded;
        let unsent = match laid {
            _ if !has_body => Unsent::Nothing,
            Laid::Fixed(bytes) => Unsent::Fixed(bytes.clone(), body_at),
            Laid::Made(bytes) => Unsent::Made(bytes[body_at..].to_vec()),
        };
        self.blocked += u32::from(has_body);
        self.streams.push(Stream {
            id,
            tag,
            head_only,
            status: 0,
            missing: None,
            bytes: 0,
            taken: 0,
            send_window: self.peer.window,
            unsent,
            kept: keep.map(|keep| Box::new(Kept::new(keep))),
        });
        if has_body {
            self.send_body(self.streams.len() - 1);
        }
    }

    fn put_block(&mut self, id: u32, block: &[u8], end: bool) {
        let mut kind = kind::HEADERS;
        let mut flags = if end { flag::END_STREAM } else { 0 };
        let mut rest = block;
        loop {
            let (part, after) = rest.split_at(rest.len().min(MAX_PAYLOAD));
            if after.is_empty() {
                flags |= flag::END_HEADERS;
            }
            frame::put_head(part.len(), kind, flags, id, &mut self.out);
            self.out.extend_from_slice(part);
            if after.is_empty() {
                return;
            }
            (kind, flags, rest) = (kind::CONTINUATION, 0, after);
        }
    }

    /// Sends as much of a body as the windows allow.
    fn send_body(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        loop {
            let left = stream.unsent.bytes().len();
            let allowed = self.send_window.min(stream.send_window).max(0) as usize;
            let part = left.min(MAX_PAYLOAD).min(allowed);
            if part == 0 {
                return;
            }
            let end = if part == left { flag::END_STREAM } else { 0 };
            frame::put_head(part, kind::DATA, end, stream.id, &mut self.out);
            self.out.extend_from_slice(&stream.unsent.bytes()[..part]);
            stream.unsent.advance(part);
            let sent = i64::from(part as u32);
            self.send_window -= sent;
            stream.send_window -= sent;
            if part == left {
                stream.unsent = Unsent::Nothing;
                self.blocked -= 1;
                return;
            }
        }
    }

    fn send_bodies(&mut self) {
        let mut index = 0;
        while self.blocked > 0 && self.send_window > 0 && index < self.streams.len() {
            self.send_body(index);
            index += 1;
        }
    }

    /// Gives a request up: the server is told, and whatever still comes for it is ignored.
    pub fn cancel(&mut self, tag: u32) {
        if let Some(index) = self.streams.iter().position(|stream| stream.tag == tag) {
            let stream = self.remove(index);
            frame::put_number(kind::RST_STREAM, stream.id, CANCEL, &mut self.out);
        }
    }

    /// The requests under way, oldest first: when the connection ends, none of them gets an answer. The
    /// second is true if a byte of its answer came.
    pub fn abandoned(&self) -> impl Iterator<Item = (u32, bool)> {
        self.streams.iter().map(|stream| (stream.tag, stream.bytes > 0))
    }

    fn remove(&mut self, index: usize) -> Stream {
        let stream = self.streams.remove(index);
        self.blocked -= u32::from(!matches!(stream.unsent, Unsent::Nothing));
        stream
    }

    fn find(&self, id: u32) -> Option<usize> {
        self.streams.binary_search_by_key(&id, |stream| stream.id).ok()
    }

    /// Takes what arrived, in order, nothing left out, and appends what ended. After an error the
    /// connection is of no more use.
    pub fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Malformed> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Some(data) = self.data {
                let (part, after) = rest.split_at(rest.len().min(data.left));
                rest = after;
                let left = data.left - part.len();
                self.data = (left > 0).then_some(Rest { left, ..data });
                let body = part.len().min(data.left.saturating_sub(data.padding));
                self.body(data.head, part, body, events)?;
                continue;
            }
            // A whole frame that arrived in one piece is read where it is.
            if self.partial.is_empty()
                && let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>()
            {
                let head = self.head(Head::read(*head))?;
                if let Some((payload, after)) = after.split_at_checked(gathered(head)) {
                    rest = after;
                    self.frame(head, payload, events)?;
                    continue;
                }
            }
            rest = self.gather(rest, events)?;
        }
        Ok(())
    }

    /// Adds to a frame that arrives in pieces; returns what is left of `bytes`.
    fn gather<'b>(&mut self, bytes: &'b [u8], events: &mut Vec<Event>) -> Result<&'b [u8], Malformed> {
        let wanted = match self.partial.first_chunk::<HEAD_BYTES>() {
            Some(head) => HEAD_BYTES + gathered(Head::read(*head)),
            None => HEAD_BYTES,
        };
        let (part, rest) = bytes.split_at(bytes.len().min(wanted - self.partial.len()));
        self.partial.extend_from_slice(part);
        if self.partial.len() < wanted {
            return Ok(rest);
        }
        let head = Head::read(*self.partial.first_chunk().expect("nine bytes were waited for"));
        if wanted == HEAD_BYTES {
            self.head(head)?;
            if gathered(head) > 0 {
                return Ok(rest);
            }
        }
        let partial = std::mem::take(&mut self.partial);
        let done = self.frame(head, &partial[HEAD_BYTES..], events);
        self.partial = partial;
        self.partial.clear();
        done.map(|()| rest)
    }

    /// Refuses what no frame may be at this point.
    fn head(&self, head: Head) -> Result<Head, Malformed> {
        if head.length > MAX_PAYLOAD {
            return Err(Malformed("a frame longer than 16 KiB, which nobody agreed to"));
        }
        if !self.settled && head.kind != kind::SETTINGS {
            return Err(Malformed("no HTTP/2 SETTINGS where the connection should begin"));
        }
        match &self.block {
            Some(block) if head.kind != kind::CONTINUATION || head.stream != block.stream => {
                Err(Malformed("a header block with another frame inside"))
            }
            None if head.kind == kind::CONTINUATION => {
                Err(Malformed("a CONTINUATION without a header block"))
            }
            _ => Ok(head),
        }
    }

    fn frame(&mut self, head: Head, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Malformed> {
        match head.kind {
            kind::DATA => self.data(head, payload, events),
            kind::HEADERS => self.headers(head, payload, events),
            kind::CONTINUATION => self.continuation(head, payload, events),
            kind::RST_STREAM => self.reset(head, payload, events),
            kind::SETTINGS => self.settings(head, payload),
            kind::PING => self.ping(head, payload),
            kind::GOAWAY => self.go_away(head, payload, events),
            kind::WINDOW_UPDATE => self.window_update(head, payload),
            kind::PUSH_PROMISE => Err(Malformed("a push that we said we don't take")),
            // PRIORITY is a hint, and unknown kinds are to be ignored (RFC 9113, 5.5).
            _ => Ok(()),
        }
    }
}

impl Default for H2 {
    fn default() -> Self {
        Self::new()
    }
}

/// How much of a frame's payload is needed before it can be looked at: all, but of DATA nothing, or the byte
/// with the length of its padding.
fn gathered(head: Head) -> usize {
    match head.kind {
        kind::DATA => head.length.min(usize::from(head.has(flag::PADDED))),
        _ => head.length,
    }
}

/// A payload that is one number.
fn number(payload: &[u8]) -> Result<u32, Malformed> {
    let bytes = payload.try_into().map_err(|_| Malformed("a frame whose payload should be one number"))?;
    Ok(u32::from_be_bytes(bytes))
}
