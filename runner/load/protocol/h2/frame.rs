//! Frames of HTTP/2 (RFC 9113, 4 and 6): their heads, and the few kinds that we write.

/// Bytes before a frame's payload.
pub const HEAD_BYTES: usize = 9;

/// The longest payload that both sides take without having agreed on more; we never ask for more.
pub const MAX_PAYLOAD: usize = 16_384;

/// Kinds of frames, by number.
pub mod kind {
    #![expect(missing_docs, reason = "the names are RFC 9113's, section 6")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags; ACK and END_STREAM share a bit.
pub mod flag {
    #![expect(missing_docs, reason = "the names are RFC 9113's, section 6")]
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Settings, by number (RFC 9113, 6.5.2).
pub mod setting {
    #![expect(missing_docs, reason = "the names are RFC 9113's, section 6.5.2")]
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// Why a stream was not looked at: it may be sent again (RFC 9113, 8.7).
pub const REFUSED_STREAM: u32 = 7;

/// Why we end a stream whose answer comes too late.
pub const CANCEL: u32 = 8;

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of payload, below 2^24.
    pub length: usize,
    /// One of [`kind`], or an unknown one, which is to be ignored.
    pub kind: u8,
    /// Some of [`flag`].
    pub flags: u8,
    /// Its stream, below 2^31; 0 for the connection.
    pub stream: u32,
}

impl Head {
    /// Reads the nine bytes.
    pub fn read(bytes: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, id @ ..] = bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes(id) & 0x7fff_ffff,
        }
    }

    /// True if `flag` is set.
    pub const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame's head.
pub fn put_head(length: usize, kind: u8, flags: u8, stream: u32, out: &mut Vec<u8>) {
    debug_assert!(length <= MAX_PAYLOAD, "no frame we write is longer than every peer takes");
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

/// Appends a frame whose payload is one number: RST_STREAM, WINDOW_UPDATE.
pub fn put_number(kind: u8, stream: u32, number: u32, out: &mut Vec<u8>) {
    put_head(4, kind, 0, stream, out);
    out.extend_from_slice(&number.to_be_bytes());
}
