//! What of our headers the other side keeps (RFC 7541, 2.3.2): a load's requests are mostly the same, and a
//! header that the server's table holds is a byte or two instead of its text, for it to read as for us to
//! write.
//!
//! Nothing is ever evicted: what does not fit is sent as it is, so that an entry's place follows from how
//! many came after it. Credentials are never put in (RFC 7541, 7.1.3). Start at [`Table::encode`].

use super::hpack::{self, ENTRY_BYTES, FIRST_PLACE, MAX_BYTES, Text};

/// Our headers in the other side's table.
#[derive(Debug)]
pub struct Table {
    /// As literals that no table keeps, oldest first.
    entries: Vec<Box<[u8]>>,
    bytes: usize,
    /// What may be kept; nothing until the other side has spoken.
    limit: usize,
    /// What the other side takes for the limit.
    said: usize,
    /// Another limit is to be said before the next block.
    unsaid: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: Vec::new(), bytes: 0, limit: 0, said: MAX_BYTES, unsaid: false }
    }
}

impl Table {
    /// The other side allows a table of so many bytes: from then on there is one.
    pub fn allow(&mut self, bytes: usize) {
        self.limit = bytes.min(MAX_BYTES);
        if self.limit != self.said || self.unsaid {
            self.entries.clear();
            self.bytes = 0;
            self.unsaid = true;
        }
    }

    /// Appends `block`, whose headers are fixed entries or literals that no table keeps, with what the table
    /// saves.
    pub fn encode(&mut self, block: &[u8], out: &mut Vec<u8>) {
        if std::mem::take(&mut self.unsaid) {
            // To nothing and up again: both sides have then forgotten the same.
            hpack::put_number(0, 5, 0x20, out);
            hpack::put_number(self.limit, 5, 0x20, out);
            self.said = self.limit;
        }
        if self.limit == 0 {
            return out.extend_from_slice(block);
        }
        let mut fields = hpack::fields(block);
        let mut rest = block;
        while let Some(Ok((name, value))) = fields.next() {
            let (field, after) = rest.split_at(rest.len() - fields.rest().len());
            rest = after;
            self.put(field, name, value, out);
        }
    }

    fn put(&mut self, field: &[u8], name: Text<'_>, value: Text<'_>, out: &mut Vec<u8>) {
        if field.first().is_none_or(|first| first & 0x80 != 0) {
            return out.extend_from_slice(field);
        }
        if let Some(at) = self.entries.iter().position(|entry| **entry == *field) {
            return hpack::put_number(FIRST_PLACE + self.entries.len() - 1 - at, 7, 0x80, out);
        }
        let bytes = name.len() + value.len() + ENTRY_BYTES;
        if self.bytes + bytes > self.limit || name.is_one_of(&["authorization", "cookie"]) {
            return out.extend_from_slice(field);
        }
        self.entries.push(field.into());
        self.bytes += bytes;
        // The same literal, of the kind that is kept: its name's place has two bits more.
        let (place, texts) = hpack::literal(field);
        hpack::put_number(place, 6, 0x40, out);
        out.extend_from_slice(texts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::protocol::h2::message::lay_out;
    use proptest::prelude::*;

    /// The other side, slowly: every header of a block, its table kept as RFC 7541 says.
    fn decode(mut block: &[u8], table: &mut Vec<(String, String)>) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        while let Some(&first) = block.first() {
            let known = |place: usize, table: &[(String, String)]| {
                if place < FIRST_PLACE {
                    let (name, value) = hpack::known(place).unwrap();
                    (name.to_owned(), value.to_owned())
                } else {
                    table[place - FIRST_PLACE].clone()
                }
            };
            if first & 0x80 != 0 {
                headers.push(known(number(&mut block, 7), table));
                continue;
            }
            if first & 0xe0 == 0x20 {
                if number(&mut block, 5) == 0 {
                    table.clear();
                }
                continue;
            }
            let kept = first & 0x40 != 0;
            let place = number(&mut block, if kept { 6 } else { 4 });
            let name = if place == 0 { text(&mut block) } else { known(place, table).0 };
            let header = (name, text(&mut block));
            if kept {
                table.insert(0, header.clone());
            }
            headers.push(header);
        }
        headers
    }

    fn number(block: &mut &[u8], bits: u32) -> usize {
        let mask = (1usize << bits) - 1;
        let mut value = usize::from(block[0]) & mask;
        *block = &block[1..];
        let mut shift = 0;
        while value >= mask {
            let byte = block[0];
            *block = &block[1..];
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }

    fn text(block: &mut &[u8]) -> String {
        let length = number(block, 7);
        let (text, rest) = block.split_at(length);
        *block = rest;
        String::from_utf8(text.to_vec()).unwrap()
    }

    fn laid(path: &str, cookie: &str) -> Vec<u8> {
        let mut laid = Vec::new();
        let text = format!(
            "GET /{path} HTTP/1.1\r\nhost: a.test\r\nx-long: {}\r\ncookie: {cookie}\r\n\r\n",
            "v".repeat(200)
        );
        lay_out(text.as_bytes(), "http", &mut laid);
        laid[4..].to_vec()
    }

    proptest! {
        #[test]
        fn the_other_side_reads_what_was_meant(
            paths in prop::collection::vec("[a-c]{0,2}", 0..200),
            allowed in prop::collection::vec((0usize..200, prop::sample::select(vec![0, 100, 4_096, 65_536])), 0..4),
        ) {
            let (mut table, mut other) = (Table::default(), Vec::new());
            for (number, path) in paths.iter().enumerate() {
                for (_, bytes) in allowed.iter().filter(|(at, _)| *at == number) {
                    table.allow(*bytes);
                }
                let block = laid(path, path);
                let mut encoded = Vec::new();
                table.encode(&block, &mut encoded);
                let kept: usize = other.iter().map(|(name, value): &(String, String)| name.len() + value.len() + 32).sum();
                prop_assert!(kept <= MAX_BYTES);
                prop_assert_eq!(decode(&encoded, &mut other), decode(&block, &mut Vec::new()));
                prop_assert!(other.iter().all(|(name, _)| name != "cookie"), "secrets are kept nowhere");
            }
        }
    }

    #[test]
    fn a_request_like_the_last_is_a_few_bytes() {
        let mut table = Table::default();
        table.allow(4_096);
        let block = laid("cart", "");
        let lengths: Vec<usize> = (0..2)
            .map(|_| {
                let mut encoded = Vec::new();
                table.encode(&block, &mut encoded);
                encoded.len()
            })
            .collect();
        assert!(lengths[0] > 200 && lengths[1] < 12, "{lengths:?}");
    }
}
