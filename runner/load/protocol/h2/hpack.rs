//! Header blocks of HTTP/2 (RFC 7541), without the dynamic table: a block means the same whenever it comes.
//!
//! The tables are kept apart from that: what comes is read into such a block ([`super::heard`]), and what is sent is
//! laid out as one first ([`super::table`]). Huffman codes are a library's. Start at [`fields`].

use std::borrow::Cow;

use super::super::Malformed;

/// The fixed entries (RFC 7541, appendix A), from index 1.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The most that a dynamic table keeps, ours or theirs: what the protocol starts with.
pub(super) const MAX_BYTES: usize = 4_096;

/// What an entry of a dynamic table takes besides its texts (RFC 7541, 4.1).
pub(super) const ENTRY_BYTES: usize = 32;

/// The first place behind the fixed entries.
pub(super) const FIRST_PLACE: usize = 62;

pub(super) const OUT_OF_TABLE: Malformed = Malformed("a header that refers to an entry no table has");
const CUT_SHORT: Malformed = Malformed("a header block that ends inside a header");

/// A header's name or value as it stands in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// Of the fixed table.
    Known(&'static str),
    /// As is.
    Plain(&'a [u8]),
    /// Huffman-coded.
    Coded(&'a [u8]),
}

impl<'a> Text<'a> {
    /// The text itself.
    pub fn read(self) -> Result<Cow<'a, [u8]>, Malformed> {
        Ok(match self {
            Self::Known(text) => Cow::Borrowed(text.as_bytes()),
            Self::Plain(text) => Cow::Borrowed(text),
            Self::Coded(codes) => {
                // The shortest code has 5 bits.
                let mut text = Vec::with_capacity(codes.len() * 8 / 5 + 1);
                httlib_huffman::decode(codes, &mut text, httlib_huffman::DecoderSpeed::FourBits)
                    .map_err(|_| Malformed("a header text with a Huffman code that there is not"))?;
                Cow::Owned(text)
            }
        })
    }

    /// Its length once read. Of a coded one the codes': only others' texts are coded.
    pub(super) const fn len(self) -> usize {
        match self {
            Self::Known(text) => text.len(),
            Self::Plain(text) | Self::Coded(text) => text.len(),
        }
    }

    /// True if it is one of these.
    pub(super) fn is_one_of(self, wanted: &[&str]) -> bool {
        wanted.iter().any(|wanted| self.is(wanted) == Ok(true))
    }

    /// True if the text is `wanted`.
    fn is(self, wanted: &str) -> Result<bool, Malformed> {
        // The longest code has 30 bits: nothing longer than that can be the name looked for.
        if let Self::Coded(codes) = self
            && codes.len() > wanted.len() * 4
        {
            return Ok(false);
        }
        Ok(*self.read()? == *wanted.as_bytes())
    }
}

/// The headers of a block, in its order; the first mistake ends it.
pub const fn fields(block: &[u8]) -> Fields<'_> {
    Fields { block }
}

/// Iterates over a block; see [`fields`].
#[derive(Debug)]
pub struct Fields<'a> {
    block: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(Text<'a>, Text<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.field().transpose();
        if !matches!(field, Some(Ok(_))) {
            self.block = &[];
        }
        field
    }
}

/// The place of the name (0: it is a text) of a literal that no table keeps, and what stands behind that.
pub(super) fn literal(field: &[u8]) -> (usize, &[u8]) {
    let mut fields = Fields { block: field };
    let place = fields.number(4).expect("it was written here");
    (place, fields.block)
}

impl<'a> Fields<'a> {
    /// What of the block was not read yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.block
    }

    fn field(&mut self) -> Result<Option<(Text<'a>, Text<'a>)>, Malformed> {
        while let Some(&first) = self.block.first() {
            if first & 0x80 != 0 {
                let (name, value) = known(self.number(7)?)?;
                return Ok(Some((Text::Known(name), Text::Known(value))));
            }
            if first & 0xe0 == 0x20 {
                // A new size of the table: without one, none but nothing.
                if self.number(5)? != 0 {
                    return Err(OUT_OF_TABLE);
                }
                continue;
            }
            // A literal. With incremental indexing its entry would be larger than the table, and is dropped.
            let index = self.number(if first & 0xc0 == 0x40 { 6 } else { 4 })?;
            let name = if index == 0 { self.text()? } else { Text::Known(known(index)?.0) };
            return Ok(Some((name, self.text()?)));
        }
        Ok(None)
    }

    /// An integer with a prefix of so many bits (RFC 7541, 5.1).
    pub(super) fn number(&mut self, bits: u32) -> Result<usize, Malformed> {
        let mask = (1u8 << bits) - 1;
        let (first, mut rest) = self.block.split_first().ok_or(CUT_SHORT)?;
        let mut value = usize::from(first & mask);
        if first & mask == mask {
            // Three further bytes are more than any block allowed; more is a mistake, or meant to overflow.
            for shift in [0, 7, 14, 21] {
                let (byte, after) = rest.split_first().ok_or(CUT_SHORT)?;
                rest = after;
                value += usize::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
                if shift == 21 {
                    return Err(Malformed("a number in a header block that is too large"));
                }
            }
        }
        self.block = rest;
        Ok(value)
    }

    pub(super) fn text(&mut self) -> Result<Text<'a>, Malformed> {
        let coded = self.block.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.number(7)?;
        let (text, rest) = self.block.split_at_checked(length).ok_or(CUT_SHORT)?;
        self.block = rest;
        Ok(if coded { Text::Coded(text) } else { Text::Plain(text) })
    }
}

pub(super) fn known(index: usize) -> Result<(&'static str, &'static str), Malformed> {
    index.checked_sub(1).and_then(|index| STATIC.get(index)).copied().ok_or(OUT_OF_TABLE)
}

/// What of an answer's head says how it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// 100 to 999; 0 where the block has none, as trailers.
    pub status: u16,
    /// The length of the body, where it is announced.
    pub length: Option<u64>,
}

impl Head {
    /// Reads a whole block, refusing what no answer may hold (RFC 9113, 8.2 and 8.3).
    pub fn read(block: &[u8]) -> Result<Self, Malformed> {
        let mut head = Self::default();
        for field in fields(block) {
            let (name, value) = field?;
            if name.is(":status")? {
                let value = value.read()?;
                let digits = value.iter().all(u8::is_ascii_digit) && value.len() == 3;
                let status =
                    digits.then(|| value.iter().fold(0, |all, digit| all * 10 + u16::from(digit - b'0')));
                if head.status != 0 {
                    return Err(Malformed("two status codes in one answer"));
                }
                head.status =
                    status.filter(|status| *status >= 100).ok_or(Malformed("a status code that is none"))?;
            } else if name.is("content-length")? {
                let value = value.read()?;
                let length =
                    std::str::from_utf8(&value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                let length = length.and_then(|text| text.parse().ok());
                let length = length.ok_or(Malformed("a content length that is no number"))?;
                if head.length.is_some_and(|other| other != length) {
                    return Err(Malformed("two different content lengths"));
                }
                head.length = Some(length);
            }
        }
        Ok(head)
    }
}

/// Appends a header, by the fixed table where it has it.
pub fn put(name: &str, value: &[u8], out: &mut Vec<u8>) {
    let mut named = None;
    for (index, (other, text)) in (1u8..).zip(STATIC) {
        if other == name {
            if text.as_bytes() == value && !value.is_empty() {
                out.push(0x80 | index);
                return;
            }
            named = named.or(Some(index));
        } else if named.is_some() {
            break;
        }
    }
    // A literal that no table is to keep.
    match named {
        Some(index) => put_number(usize::from(index), 4, 0, out),
        None => {
            out.push(0);
            put_text(name.as_bytes(), out);
        }
    }
    put_text(value, out);
}

pub(super) fn put_text(text: &[u8], out: &mut Vec<u8>) {
    put_number(text.len(), 7, 0, out);
    out.extend_from_slice(text);
}

/// Appends a number with a prefix of so many bits (RFC 7541, 5.1).
pub(super) fn put_number(mut value: usize, bits: u32, flags: u8, out: &mut Vec<u8>) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | mask as u8);
    value -= mask;
    while value >= 0x80 {
        out.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(block: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
        let text = |text: Text<'_>| text.read().map(|text| String::from_utf8_lossy(&text).into_owned());
        fields(block).map(|field| field.and_then(|(name, value)| Ok((text(name)?, text(value)?)))).collect()
    }

    fn check(block: &[u8], expected: Result<&[(&str, &str)], &str>) {
        let expected = expected
            .map(|list| list.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
            .map_err(|why| why.to_owned());
        assert_eq!(texts(block).map_err(|why| why.to_string()), expected, "{block:02x?}");
    }

    #[test]
    fn blocks_are_read_or_refused() {
        check(&[], Ok(&[]));
        check(&[0x88, 0x20, 0x8d], Ok(&[(":status", "200"), (":status", "404")]));
        // Literals: without indexing, never indexed, with incremental indexing.
        check(b"\x00\x01a\x02bc", Ok(&[("a", "bc")]));
        check(b"\x10\x01a\x02bc", Ok(&[("a", "bc")]));
        check(b"\x40\x01a\x02bc", Ok(&[("a", "bc")]));
        check(b"\x08\x03200", Ok(&[(":status", "200")]));
        check(b"\x0f\x0d\x0242", Ok(&[("content-length", "42")]));
        check(b"\x5c\x0242", Ok(&[("content-length", "42")]));
        // From RFC 7541, C.6.1: Huffman-coded.
        check(
            b"\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b",
            Ok(&[(":status", "302"), ("cache-control", "private")]),
        );
        check(&[0xbe], Err(OUT_OF_TABLE.0));
        check(&[0x80], Err(OUT_OF_TABLE.0));
        check(&[0x3f, 0xe1, 0x1f], Err(OUT_OF_TABLE.0));
        check(b"\x00\x01a\x02b", Err(CUT_SHORT.0));
        check(&[0x00], Err(CUT_SHORT.0));
        check(&[0xff], Err(CUT_SHORT.0));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Err("a number in a header block that is too large"));
        check(b"\x00\x01a\x84\xff\xff\xff\xff", Err("a header text with a Huffman code that there is not"));
    }

    #[test]
    fn heads_are_read_or_refused() {
        for (block, expected) in [
            (&b"\x88\x5c\x0242"[..], Ok(Head { status: 200, length: Some(42) })),
            (b"\x00\x07:status\x03503", Ok(Head { status: 503, length: None })),
            (b"\x00\x01a\x01b", Ok(Head::default())),
            (b"\x88\x88", Err("two status codes in one answer")),
            (b"\x08\x0220", Err("a status code that is none")),
            (b"\x08\x03099", Err("a status code that is none")),
            (b"\x08\x04+200", Err("a status code that is none")),
            (b"\x88\x5c\x02+2", Err("a content length that is no number")),
            (b"\x88\x5c\x00", Err("a content length that is no number")),
            (b"\x88\x5c\x011\x5c\x012", Err("two different content lengths")),
            (b"\x88\x5c\x011\x5c\x011", Ok(Head { status: 200, length: Some(1) })),
        ] {
            assert_eq!(Head::read(block), expected.map_err(Malformed), "{block:02x?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_read(list in prop::collection::vec(("[a-z-]{1,20}|:path|:status|accept", "[ -~]{0,300}"), 0..8)) {
            let mut block = Vec::new();
            for (name, value) in &list {
                put(name, value.as_bytes(), &mut block);
            }
            prop_assert_eq!(texts(&block), Ok(list));
        }

        #[test]
        fn any_bytes_end_without_panic(block in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = texts(&block);
            let _ = Head::read(&block);
        }
    }
}
