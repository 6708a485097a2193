//! The frames that answers are made of: heads, bodies, and their being called off.

use super::frame::{CANCEL, HEAD_BYTES, Head, REFUSED_STREAM, flag};
use super::{
    Block, CONNECTION_WINDOW, Event, H2, MAX_BLOCK_BYTES, Rest, STREAM_WINDOW, Unsent, frame, hpack, kind,
    number,
};
use crate::load::protocol::{Answer, Malformed};

impl H2 {
    /// Begins a DATA frame, whose payload is counted as it comes; `padding` is its first byte where that says
    /// how much of its end is none of the body.
    pub(super) fn data(
        &mut self,
        head: Head,
        padding: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Malformed> {
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
    pub(super) fn body(
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
    pub(super) fn is_opened(&self, stream: u32) -> Result<(), Malformed> {
        if stream % 2 == 1 && stream < self.next_id {
            return Ok(());
        }
        Err(Malformed("a frame of a stream that nobody opened"))
    }

    pub(super) fn headers(
        &mut self,
        head: Head,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Malformed> {
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

    pub(super) fn continuation(
        &mut self,
        head: Head,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Malformed> {
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

    /// Makes a header block the last one; one that says the same is not looked at again.
    fn read(&mut self, block: &[u8]) -> Result<(), Malformed> {
        let changes = self.heard.changes();
        if self.last.changes == Some(changes) && self.last.block == block {
            return Ok(());
        }
        self.last.changes = None;
        self.heard.read(block, MAX_BLOCK_BYTES, &mut self.last.plain)?;
        self.last.head = hpack::Head::read(&self.last.plain);
        self.last.block.clear();
        self.last.block.extend_from_slice(block);
        self.last.changes = Some(changes).filter(|_| changes == self.heard.changes());
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
        // The table follows what is for nobody, too.
        self.read(block)?;
        let Some(index) = self.find(id) else {
            return Ok(());
        };
        let head = self.last.head?;
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
                if !end {
                    self.begun.push(stream.tag);
                }
                if let Some(kept) = &mut stream.kept {
                    for field in hpack::fields(&self.last.plain) {
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

    pub(super) fn reset(
        &mut self,
        head: Head,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Malformed> {
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
}
