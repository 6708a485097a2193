//! What is kept of an answer that somebody looks into: headers, and as much of the body as is asked for.
//!
//! Answers that nobody looks into are counted and dropped as they come; only a request with checks or
//! extractions makes one of these. Bodies are kept as they came and decoded when looked at, both up to
//! [`MAX_BODY_BYTES`], whatever a server sends. Start at [`Kept`].

use std::borrow::Cow;
use std::io::{self, Read};

/// The longest body that is looked into, as it comes and decoded. Answers to what load tests ask are far
/// smaller, and a few kilobytes can decode to gigabytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// The most codings on one body; every one multiplies what decoding may cost.
const MAX_CODINGS: usize = 3;

/// How much of an answer is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The headers, and the body's size.
    Head,
    /// The body too.
    Body,
}

/// What was kept of one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    keep: Keep,
    /// Names in lower case, values as they came; in order.
    headers: Vec<(Box<str>, Box<[u8]>)>,
    body: Vec<u8>,
    body_bytes: u64,
}

/// Why a body can't be looked into.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Longer than [`MAX_BODY_BYTES`] as it came.
    #[error("the body of {0} bytes is longer than the {MAX_BODY_BYTES} that are looked into")]
    TooLong(u64),
    /// Longer than [`MAX_BODY_BYTES`] once decoded.
    #[error("decoded, the body is longer than the {MAX_BODY_BYTES} bytes that are looked into")]
    DecodedTooLong,
    /// A coding that is not known, or too many of them.
    #[error("content coding `{0}` can't be decoded")]
    Coding(String),
    /// Not what its coding says.
    #[error("the body is not {0}: {1}")]
    Broken(String, String),
}

impl Kept {
    /// Nothing kept yet.
    pub const fn new(keep: Keep) -> Self {
        Self { keep, headers: Vec::new(), body: Vec::new(), body_bytes: 0 }
    }

    /// Takes a header in.
    pub fn header(&mut self, name: &str, value: &[u8]) {
        self.headers.push((name.to_ascii_lowercase().into(), value.into()));
    }

    /// Takes a piece of the body in.
    pub fn piece(&mut self, bytes: &[u8]) {
        self.body_bytes += bytes.len() as u64;
        if self.keep == Keep::Body {
            let room = MAX_BODY_BYTES - self.body.len();
            self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// The values of header `name` (in lower case), in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |(other, _)| **other == *name).map(|(_, value)| &**value)
    }

    /// Bytes of the body as it came.
    pub const fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// The body with its content codings undone.
    pub fn body(&self) -> Result<Cow<'_, [u8]>, Unreadable> {
        if self.body_bytes > self.body.len() as u64 {
            return Err(Unreadable::TooLong(self.body_bytes));
        }
        let mut codings: Vec<String> = Vec::new();
        for value in self.values("content-encoding") {
            let text = String::from_utf8_lossy(value);
            let words = text.split(',').map(|word| word.trim().to_ascii_lowercase());
            codings.extend(words.filter(|word| !word.is_empty() && word != "identity"));
        }
        if codings.len() > MAX_CODINGS {
            return Err(Unreadable::Coding(codings.join(", ")));
        }
        let mut body = Cow::Borrowed(self.body.as_slice());
        // An answer without a body may still name the coding that it would have had.
        if body.is_empty() {
            return Ok(body);
        }
        // They are listed in the order applied (RFC 9110, 8.4).
        for coding in codings.iter().rev() {
            body = Cow::Owned(decode(coding, &body)?);
        }
        Ok(body)
    }
}

fn decode(coding: &str, body: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let broken = |error: &dyn std::fmt::Display| Unreadable::Broken(coding.into(), error.to_string());
    let read = match coding {
        "gzip" | "x-gzip" => bounded(flate2::read::MultiGzDecoder::new(body)),
        // Meant to be zlib's format (RFC 9110, 8.4.1.2), but some servers leave its two first bytes out.
        "deflate" if zlib(body) => bounded(flate2::read::ZlibDecoder::new(body)),
        "deflate" => bounded(flate2::read::DeflateDecoder::new(body)),
        "br" => bounded(brotli_decompressor::Decompressor::new(body, 4 << 10)),
        "zstd" => match ruzstd::decoding::StreamingDecoder::new(body) {
            Ok(decoder) => bounded(decoder),
            Err(error) => return Err(broken(&error)),
        },
        _ => return Err(Unreadable::Coding(coding.into())),
    };
    match read {
        Ok(decoded) if decoded.len() > MAX_BODY_BYTES => Err(Unreadable::DecodedTooLong),
        Ok(decoded) => Ok(decoded),
        Err(error) => Err(broken(&error)),
    }
}

/// Begins as RFC 1950 has it: a method of 8, and a check that makes both bytes a multiple of 31.
fn zlib(body: &[u8]) -> bool {
    let [first, second, ..] = body else { return false };
    first & 0x0f == 8 && (u32::from(*first) << 8 | u32::from(*second)).is_multiple_of(31)
}

/// Reads at most one byte more than is allowed.
fn bounded(decoder: impl Read) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    decoder.take(MAX_BODY_BYTES as u64 + 1).read_to_end(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const TEXT: &[u8] =
        b"{\"ok\": true, \"text\": \"the quick brown fox jumps over the lazy dog, the lazy dog\"}";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    /// One uncompressed metablock (RFC 7932, 9.2): there is no encoder at hand, and none is needed.
    fn brotli(bytes: &[u8]) -> Vec<u8> {
        // WBITS 16 (one 0 bit), then ISLAST 0, MNIBBLES 4 (00), MLEN-1 in 16 bits, ISUNCOMPRESSED 1.
        let header = (bytes.len() as u32 - 1) << 4 | 1 << 20;
        let mut out = header.to_le_bytes()[..3].to_vec();
        out.extend_from_slice(bytes);
        // ISLAST 1, ISLASTEMPTY 1.
        out.push(3);
        out
    }

    fn kept(codings: &[&str], body: &[u8]) -> Kept {
        let mut kept = Kept::new(Keep::Body);
        for coding in codings {
            kept.header("Content-Encoding", coding.as_bytes());
        }
        body.chunks(7).for_each(|piece| kept.piece(piece));
        kept
    }

    #[test]
    fn bodies_are_decoded() {
        for (codings, body) in [
            (&[][..], TEXT.to_vec()),
            (&["identity"], TEXT.to_vec()),
            (&["gzip"], gzip(TEXT)),
            (&["X-GZip"], gzip(TEXT)),
            (&["deflate"], zlib(TEXT)),
            (&["deflate"], raw(TEXT)),
            (&["br"], brotli(TEXT)),
            (&["zstd"], zstd(TEXT)),
            (&["gzip, zstd"], zstd(&gzip(TEXT))),
            (&["gzip", "br"], brotli(&gzip(TEXT))),
        ] {
            let kept = kept(codings, &body);
            assert_eq!(kept.body().as_deref(), Ok(TEXT), "{codings:?}");
            assert_eq!(kept.body_bytes(), body.len() as u64, "{codings:?}");
        }
        assert_eq!(kept(&["gzip"], b"").body().as_deref(), Ok(&b""[..]), "an answer without a body");
    }

    #[test]
    fn what_can_not_be_decoded_says_why() {
        for (codings, body, expected) in [
            (&["rot13"][..], TEXT.to_vec(), "content coding `rot13` can't be decoded"),
            (&["gzip, gzip", "gzip, gzip"], TEXT.to_vec(), "content coding `gzip, gzip, gzip, gzip`"),
            (&["gzip"], TEXT.to_vec(), "the body is not gzip: "),
            (&["gzip"], gzip(TEXT)[..30].to_vec(), "the body is not gzip: "),
            (&["deflate"], b"\xff\xff".to_vec(), "the body is not deflate: "),
            (&["br"], b"\xff\xff".to_vec(), "the body is not br: "),
            (&["zstd"], TEXT.to_vec(), "the body is not zstd: "),
            (&["zstd"], zstd(TEXT)[..20].to_vec(), "the body is not zstd: "),
        ] {
            let error = kept(codings, &body).body().expect_err(expected).to_string();
            assert!(error.starts_with(expected), "{error}\ninstead of {expected}");
        }
    }

    #[test]
    fn large_bodies_and_bombs_are_bounded() {
        let zeros = vec![0u8; 64 << 20];
        for (coding, bomb) in [("gzip", gzip(&zeros)), ("deflate", zlib(&zeros)), ("zstd", zstd(&zeros))] {
            assert!(bomb.len() < MAX_BODY_BYTES, "{coding} packs zeros well");
            assert_eq!(kept(&[coding], &bomb).body(), Err(Unreadable::DecodedTooLong), "{coding}");
        }
        let mut long = Kept::new(Keep::Body);
        (0..64).for_each(|_| long.piece(&zeros[..1 << 20]));
        assert!(long.body.len() == MAX_BODY_BYTES);
        assert_eq!(long.body(), Err(Unreadable::TooLong(64 << 20)));
        let mut exact = Kept::new(Keep::Body);
        exact.piece(&zeros[..MAX_BODY_BYTES]);
        assert_eq!(exact.body().map(|body| body.len()), Ok(MAX_BODY_BYTES));
    }

    #[test]
    fn headers_are_found_whatever_their_case() {
        let mut kept = Kept::new(Keep::Head);
        kept.header("Set-Cookie", b"a=1");
        kept.header("set-cookie", b"b=2");
        kept.piece(b"counted and dropped");
        assert!(kept.values("set-cookie").eq([b"a=1", b"b=2"]));
        assert_eq!(kept.values("cookie").count(), 0);
        assert_eq!((kept.body_bytes(), kept.body.len()), (19, 0));
    }
}
