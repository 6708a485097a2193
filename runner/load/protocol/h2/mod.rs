//! HTTP/2 (RFC 9113) as a client: many exchanges on one connection, read and written as bytes.
//!
//! Pure like every protocol here: [`H2`] is fed what arrived, says which requests ended and how, and keeps
//! what is to be written in a buffer. Framing is our own because a load test needs a small part of the
//! protocol, and that part cheap: bodies are counted and dropped, header blocks mean the same every time
//! (see [`hpack`]), and a whole turn's requests leave in one write. Whatever a server sends ends in answers
//! or in [`Malformed`], within a bounded amount of memory. Start at [`H2::open`] and [`H2::feed`].

pub mod frame;
pub mod hpack;
mod message;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{Answer, Malformed};
use crate::load::kept::{Keep, Kept};
use frame::{CANCEL, HEAD_BYTES, Head, MAX_PAYLOAD, REFUSED_STREAM, flag, kind, setting};
pub use message::{lay_out, scheme};

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
    /// The block read last and what it said.
    last: (Vec<u8>, hpack::Head),
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
    /// A connection on which nothing was said yet; its preface is ready to be written.
    pub fn new() -> Self {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(PREFACE);
        let settings = [
            (setting::HEADER_TABLE_SIZE, 0),
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
            last: (Vec::new(), hpack::Head::default()),
            streams: Vec::new(),
            next_id: 1,
            peer: Peer { streams: FIRST_STREAMS, window: i64::from(FIRST_WINDOW) },
            send_window: i64::from(FIRST_WINDOW),
            taken: 0,
            blocked: 0,
            settled: false,
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
        self.put_block(id, block, !has_body);
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

    /// Begins a DATA frame, whose payload is counted as it comes; `padding` is its first byte where that says
    /// how much of its end is none of the body.
    fn data(&mut self, head: Head, padding: &[u8], events: &mut Vec<Event>) -> Result<(), Malformed> {
        self.is_opened(head.stream)?;
        if head.has(flag::PADDED) && head.length == 0 {
            return Err(Malformed("a padded frame without room for its padding"));
        }
        let padded = padding.first().copied().map_or(0, usize::from);
        if padding.len() + padded > head.length {
            return Err(Malformed("padding longer than its frame"));
        }
        // Padding counts against the windows, too (RFC 9113, 6.9.1).
        self.taken += head.length as u32;
        if self.taken > CONNECTION_WINDOW {
            return Err(Malformed("more data than the connection's window allows"));
        }
        if let Some(index) = self.find(head.stream) {
            let stream = &mut self.streams[index];
            if stream.status == 0 {
                return Err(Malformed("data before the head of an answer"));
            }
            stream.bytes += (HEAD_BYTES + padding.len()) as u64;
            stream.taken += head.length as u32;
            if stream.taken > STREAM_WINDOW {
                return Err(Malformed("more data than the stream's window allows"));
            }
            if let Some(missing) = &mut stream.missing {
                // What is no body is added here, as all that comes is taken off.
                *missing = missing.saturating_add(padded as u64);
            }
        }
        let left = head.length - padding.len();
        if left == 0 {
            return self.body(head, &[], 0, events);
        }
        self.data = Some(Rest { head, left, padding: padded });
        Ok(())
    }

    /// Counts a piece of a DATA frame, of which the first `body` bytes are none of the padding.
    fn body(
        &mut self,
        head: Head,
        part: &[u8],
        body: usize,
        events: &mut Vec<Event>,
    ) -> Result<(), Malformed> {
        let whole = self.data.is_none();
        if whole && self.taken >= CONNECTION_WINDOW / 2 {
            frame::put_number(kind::WINDOW_UPDATE, 0, self.taken, &mut self.out);
            self.taken = 0;
        }
        // A stream that was given up may still be sent to for a while.
        let Some(index) = self.find(head.stream) else {
            return Ok(());
        };
        let stream = &mut self.streams[index];
        stream.bytes += part.len() as u64;
        if let Some(kept) = &mut stream.kept {
            kept.piece(&part[..body]);
        }
        if let Some(missing) = &mut stream.missing {
            *missing = missing
                .checked_sub(part.len() as u64)
                .ok_or(Malformed("a body longer than its announced length"))?;
        }
        if !whole {
            return Ok(());
        }
        if head.has(flag::END_STREAM) {
            return self.complete(index, events);
        }
        if stream.taken >= STREAM_WINDOW / 2 {
            frame::put_number(kind::WINDOW_UPDATE, stream.id, stream.taken, &mut self.out);
            stream.taken = 0;
        }
        Ok(())
    }

    fn complete(&mut self, index: usize, events: &mut Vec<Event>) -> Result<(), Malformed> {
        let stream = &self.streams[index];
        if stream.missing.is_some_and(|missing| missing > 0) && !stream.head_only && stream.status != 304 {
            return Err(Malformed("a body shorter than its announced length"));
        }
        let stream = self.remove(index);
        if !matches!(stream.unsent, Unsent::Nothing) {
            // Answered before it has taken all of the request: the rest is not sent (RFC 9113, 8.1).
            frame::put_number(kind::RST_STREAM, stream.id, CANCEL, &mut self.out);
        }
        let answer = Answer { status: stream.status, bytes: stream.bytes, reusable: true };
        events.push(Event::Answered { tag: stream.tag, answer, kept: stream.kept });
        Ok(())
    }

    /// A stream on which something comes must have been opened, by us.
    fn is_opened(&self, stream: u32) -> Result<(), Malformed> {
        if stream % 2 == 1 && stream < self.next_id {
            return Ok(());
        }
        Err(Malformed("a frame of a stream that nobody opened"))
    }

    fn headers(&mut self, head: Head, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Malformed> {
        self.is_opened(head.stream)?;
        let mut block = payload;
        if head.has(flag::PADDED) {
            let (&padding, rest) =
                block.split_first().ok_or(Malformed("a padded frame without room for its padding"))?;
            let length = rest.len().checked_sub(usize::from(padding));
            block = &rest[..length.ok_or(Malformed("padding longer than its frame"))?];
        }
        if head.has(flag::PRIORITY) {
            block = block.get(5..).ok_or(Malformed("a frame too short for its priority"))?;
        }
        let end = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.answer(head.stream, end, block, HEAD_BYTES + payload.len(), events);
        }
        let length = HEAD_BYTES + payload.len();
        self.block = Some(Block { stream: head.stream, end, bytes: block.to_vec(), length });
        Ok(())
    }

    fn continuation(&mut self, head: Head, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Malformed> {
        let mut block = self.block.take().expect("its beginning was looked for with the frame's head");
        block.length += HEAD_BYTES + payload.len();
        if block.length > MAX_BLOCK_BYTES {
            return Err(Malformed("the head is longer than 64 KiB"));
        }
        block.bytes.extend_from_slice(payload);
        if head.has(flag::END_HEADERS) {
            return self.answer(block.stream, block.end, &block.bytes, block.length, events);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole header block: interim or final head, or trailers.
    fn answer(
        &mut self,
        id: u32,
        end: bool,
        block: &[u8],
        length: usize,
        events: &mut Vec<Event>,
    ) -> Result<(), Malformed> {
        // No table: a block for nobody changes nothing, and one like the last says the same.
        let Some(index) = self.find(id) else {
            return Ok(());
        };
        if self.last.0 != block || block.is_empty() {
            let head = hpack::Head::read(block)?;
            self.last.0.clear();
            self.last.0.extend_from_slice(block);
            self.last.1 = head;
        }
        let head = self.last.1;
        let stream = &mut self.streams[index];
        stream.bytes += length as u64;
        match (stream.status, head.status) {
            (0, 0) => return Err(Malformed("an answer without a status")),
            (0, 101) => return Err(Malformed("a switch of protocols, which HTTP/2 has not")),
            (0, 100..200) => {
                if end {
                    return Err(Malformed("an interim answer that ends the stream"));
                }
                // Interim answers without end are a head without end.
                if stream.bytes > MAX_BLOCK_BYTES as u64 {
                    return Err(Malformed("more than 64 KiB of interim answers"));
                }
                return Ok(());
            }
            (0, status) => {
                stream.status = status;
                stream.missing = head.length;
                if let Some(kept) = &mut stream.kept {
                    for field in hpack::fields(block) {
                        let (name, value) = field?;
                        kept.header(&String::from_utf8_lossy(&name.read()?), &value.read()?);
                    }
                }
            }
            (_, 0) if end => {}
            (_, 0) => return Err(Malformed("trailers that are not the end")),
            _ => return Err(Malformed("a second head in one answer")),
        }
        if end { self.complete(index, events) } else { Ok(()) }
    }

    fn reset(&mut self, head: Head, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Malformed> {
        self.is_opened(head.stream)?;
        let code = number(payload)?;
        if let Some(index) = self.find(head.stream) {
            let stream = self.remove(index);
            let answering = stream.bytes > 0;
            events.push(Event::Reset {
                tag: stream.tag,
                unseen: code == REFUSED_STREAM && !answering,
                answering,
            });
        }
        Ok(())
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Malformed> {
        if head.stream != 0 || !payload.len().is_multiple_of(6) {
            return Err(Malformed("SETTINGS that are none"));
        }
        if head.has(flag::ACK) {
            return if self.settled && payload.is_empty() {
                Ok(())
            } else {
                Err(Malformed("an acknowledgement of SETTINGS that are none"))
            };
        }
        self.settled = true;
        for entry in payload.chunks_exact(6) {
            let name = u16::from_be_bytes([entry[0], entry[1]]);
            let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
            match name {
                setting::MAX_CONCURRENT_STREAMS => self.peer.streams = value,
                setting::INITIAL_WINDOW_SIZE => {
                    if value > i32::MAX as u32 {
                        return Err(Malformed("an initial window beyond 2^31"));
                    }
                    // Changes streams under way, too, and may make their windows negative.
                    let change = i64::from(value) - self.peer.window;
                    self.peer.window = i64::from(value);
                    for stream in &mut self.streams {
                        stream.send_window += change;
                        if stream.send_window > i64::from(i32::MAX) {
                            return Err(Malformed("a window beyond 2^31"));
                        }
                    }
                }
                // A larger frame than every peer takes is never sent, and its table is never used.
                _ => {}
            }
        }
        self.owe(|out| frame::put_head(0, kind::SETTINGS, flag::ACK, 0, out))?;
        self.send_bodies();
        Ok(())
    }

    fn ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Malformed> {
        if head.stream != 0 || payload.len() != 8 {
            return Err(Malformed("a PING that is none"));
        }
        if head.has(flag::ACK) {
            return Ok(());
        }
        self.owe(|out| {
            frame::put_head(8, kind::PING, flag::ACK, 0, out);
            out.extend_from_slice(payload);
        })
    }

    /// Writes what the other side asked for, as long as it also reads.
    fn owe(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Malformed> {
        let before = self.out.len();
        write(&mut self.out);
        self.owed_bytes += self.out.len() - before;
        if self.owed_bytes > MAX_OWED_BYTES {
            return Err(Malformed("a flood of questions whose answers are not read"));
        }
        Ok(())
    }

    fn go_away(&mut self, head: Head, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Malformed> {
        let last = payload.first_chunk::<4>().filter(|_| head.stream == 0 && payload.len() >= 8);
        let last = u32::from_be_bytes(*last.ok_or(Malformed("a GOAWAY that is none"))?) & 0x7fff_ffff;
        self.closing = true;
        // What it did not look at may be sent again, elsewhere (RFC 9113, 6.8).
        while self.streams.last().is_some_and(|stream| stream.id > last) {
            let stream = self.remove(self.streams.len() - 1);
            events.push(Event::Reset { tag: stream.tag, unseen: true, answering: false });
        }
        Ok(())
    }

    fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Malformed> {
        const TOO_LARGE: Malformed = Malformed("a window beyond 2^31");
        let more = i64::from(number(payload)? & 0x7fff_ffff);
        if more == 0 {
            return Err(Malformed("a window that grows by nothing"));
        }
        if head.stream == 0 {
            self.send_window += more;
            if self.send_window > i64::from(i32::MAX) {
                return Err(TOO_LARGE);
            }
            self.send_bodies();
            return Ok(());
        }
        self.is_opened(head.stream)?;
        if let Some(index) = self.find(head.stream) {
            let stream = &mut self.streams[index];
            stream.send_window += more;
            if stream.send_window > i64::from(i32::MAX) {
                return Err(TOO_LARGE);
            }
            self.send_body(index);
        }
        Ok(())
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
