//! Where a chunked body ends (RFC 9112, 7.1), told a piece at a time. Start at [`step`].

use super::super::Malformed;
use super::MAX_HEAD_BYTES;
use crate::load::kept::Kept;

/// The longest line with a chunk's size and extensions.
const MAX_CHUNK_LINE_BYTES: usize = 4 << 10;
/// Where in a chunked body (RFC 9112, 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
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
    pub(super) const START: Self = Self::Size { digits: 0, value: 0 };
}

pub(super) enum Stepped {
    /// Everything was consumed; the state to go on from.
    More(Chunk),
    /// The body ended after this many bytes.
    End(usize),
}

/// Consumes a piece of a chunked body; its data goes into `kept`, if that is asked for.
pub(super) fn step(
    mut chunk: Chunk,
    bytes: &[u8],
    mut kept: Option<&mut Kept>,
) -> Result<Stepped, Malformed> {
    const BROKEN: Malformed = Malformed("a chunk that does not end in CR LF");
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if let Chunk::Data(missing) = chunk {
            let there = (bytes.len() - at) as u64;
            if let Some(kept) = &mut kept {
                kept.piece(&bytes[at..][..there.min(missing) as usize]);
            }
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
