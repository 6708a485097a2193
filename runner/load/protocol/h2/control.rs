//! The frames that speak of the connection itself: settings, windows, pings, farewells.

use super::frame::{Head, flag, kind, setting};
use super::{Event, H2, MAX_OWED_BYTES, frame, number};
use crate::load::protocol::Malformed;

impl H2 {
    pub(super) fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Malformed> {
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
        if !self.settled {
            // What holds where nothing is said (RFC 9113, 6.5.2).
            self.table.allow(4_096);
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
                setting::HEADER_TABLE_SIZE => self.table.allow(value as usize),
                // A larger frame than every peer takes is never sent.
                _ => {}
            }
        }
        self.owe(|out| frame::put_head(0, kind::SETTINGS, flag::ACK, 0, out))?;
        self.send_bodies();
        Ok(())
    }

    pub(super) fn ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Malformed> {
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

    pub(super) fn go_away(
        &mut self,
        head: Head,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Malformed> {
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

    pub(super) fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Malformed> {
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
