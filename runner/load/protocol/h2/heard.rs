//! What of the other side's headers we keep (RFC 7541, 2.3.2): a server's answers are mostly the same, and what
//! stands in the table it need not code anew for each, which is most of what an answer costs it.
//!
//! A block is turned into one that means the same without a table, which everything else here reads
//! ([`super::hpack`]). The table must follow every block, also of answers that nobody waits for any more, and a
//! block equal to the last one says the same only while the table is the same ([`Heard::changes`]). Start at
//! [`Heard::read`].

use std::borrow::Cow;
use std::collections::VecDeque;

use super::super::Malformed;
use super::hpack::{self, ENTRY_BYTES, FIRST_PLACE, MAX_BYTES, OUT_OF_TABLE, Text};

/// The other side's headers, newest first.
#[derive(Debug)]
pub struct Heard {
    entries: VecDeque<Entry>,
    /// What they take (RFC 7541, 4.1), at most `limit`.
    bytes: usize,
    /// At most [`MAX_BYTES`], which is where the protocol starts and what we leave it at.
    limit: usize,
    changes: u64,
}

#[derive(Debug)]
struct Entry {
    /// As a literal that no table keeps.
    literal: Box<[u8]>,
    bytes: usize,
}

impl Default for Heard {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, limit: MAX_BYTES, changes: 0 }
    }
}

impl Heard {
    /// How often the table has changed: as long as it has not, the same bytes mean the same.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Reads a block into `plain`, where its headers are fixed entries and literals that no table keeps. Fails where
    /// it refers to what is not there, or would be longer than `most` bytes: an entry of 4 KiB is a byte to send.
    pub fn read(&mut self, block: &[u8], most: usize, plain: &mut Vec<u8>) -> Result<(), Malformed> {
        plain.clear();
        let mut fields = hpack::fields(block);
        while let Some(&first) = fields.rest().first() {
            let before = fields.rest();
            if first & 0x80 != 0 {
                let place = fields.number(7)?;
                if place >= FIRST_PLACE {
                    plain.extend_from_slice(&self.entry(place)?.literal);
                } else {
                    plain.extend_from_slice(&before[..before.len() - fields.rest().len()]);
                }
            } else if first & 0xe0 == 0x20 {
                self.resize(fields.number(5)?)?;
            } else {
                let keeps = first & 0xc0 == 0x40;
                let place = fields.number(if keeps { 6 } else { 4 })?;
                let name = match place {
                    0 => fields.text()?.read()?,
                    _ if place < FIRST_PLACE => Cow::Borrowed(hpack::known(place)?.0.as_bytes()),
                    _ => Cow::Borrowed(self.entry(place)?.name()?),
                };
                let value = fields.text()?;
                if keeps {
                    let entry = Entry::new(&name, &value.read()?);
                    plain.extend_from_slice(&entry.literal);
                    self.keep(entry);
                } else if place < FIRST_PLACE {
                    plain.extend_from_slice(&before[..before.len() - fields.rest().len()]);
                } else {
                    plain.extend_from_slice(&Entry::new(&name, &value.read()?).literal);
                }
            }
            if plain.len() > most {
                return Err(Malformed("the head is longer than 64 KiB once it is read"));
            }
        }
        Ok(())
    }

    fn entry(&self, place: usize) -> Result<&Entry, Malformed> {
        self.entries.get(place - FIRST_PLACE).ok_or(OUT_OF_TABLE)
    }

    fn resize(&mut self, limit: usize) -> Result<(), Malformed> {
        if limit > MAX_BYTES {
            return Err(Malformed("a header table larger than we allow"));
        }
        self.limit = limit;
        self.make_room(0);
        self.changes += 1;
        Ok(())
    }

    /// One that is larger than the table leaves it empty (RFC 7541, 4.4).
    fn keep(&mut self, entry: Entry) {
        self.make_room(entry.bytes);
        if entry.bytes <= self.limit {
            self.bytes += entry.bytes;
            self.entries.push_front(entry);
        }
        self.changes += 1;
    }

    fn make_room(&mut self, bytes: usize) {
        while self.bytes + bytes > self.limit {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.bytes -= oldest.bytes;
        }
    }
}

impl Entry {
    fn new(name: &[u8], value: &[u8]) -> Self {
        let mut literal = Vec::with_capacity(name.len() + value.len() + 7);
        literal.push(0);
        hpack::put_text(name, &mut literal);
        hpack::put_text(value, &mut literal);
        Self { literal: literal.into(), bytes: name.len() + value.len() + ENTRY_BYTES }
    }

    fn name(&self) -> Result<&[u8], Malformed> {
        match hpack::fields(&self.literal[1..]).text()? {
            Text::Plain(name) => Ok(name),
            Text::Known(_) | Text::Coded(_) => unreachable!("it was written as it is"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Header = (String, String);

    fn headers(plain: &[u8]) -> Vec<Header> {
        let text = |text: Text<'_>| String::from_utf8(text.read().unwrap().into_owned()).unwrap();
        hpack::fields(plain)
            .map(|field| field.unwrap())
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    /// RFC 7541, C.6: three answers with Huffman codes and a table of 256 bytes, where entries are evicted.
    #[test]
    fn the_standards_answers_are_read() {
        let mut heard = Heard { limit: 256, ..Heard::default() };
        let mut plain = Vec::new();
        let (first, third) = ("Mon, 21 Oct 2013 20:13:21 GMT", "Mon, 21 Oct 2013 20:13:22 GMT");
        let location = ("location", "https://www.example.com");
        let cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
        for (block, expected, table_bytes) in [
            (
                "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
                vec![(":status", "302"), ("cache-control", "private"), ("date", first), location],
                222,
            ),
            (
                "4883640effc1c0bf",
                vec![(":status", "307"), ("cache-control", "private"), ("date", first), location],
                222,
            ),
            (
                "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                vec![
                    (":status", "200"),
                    ("cache-control", "private"),
                    ("date", third),
                    location,
                    ("content-encoding", "gzip"),
                    ("set-cookie", cookie),
                ],
                215,
            ),
        ] {
            heard.read(&bytes(block), 1 << 16, &mut plain).unwrap();
            let expected: Vec<Header> =
                expected.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            assert_eq!((headers(&plain), heard.bytes), (expected, table_bytes));
        }
    }

    #[test]
    fn what_is_not_there_or_too_much_is_refused() {
        let check = |block: &[u8], expected: Result<(), &'static str>| {
            let read = Heard::default().read(block, 100, &mut Vec::new());
            assert_eq!(read, expected.map_err(Malformed), "{block:02x?}");
        };
        check(b"\x40\x01a\x02bc\xbe", Ok(()));
        check(&[0xbe], Err(OUT_OF_TABLE.0));
        // Emptied before it is referred to.
        check(b"\x40\x01a\x02bc\x20\xbe", Err(OUT_OF_TABLE.0));
        check(&[0x3f, 0xe2, 0x1f], Err("a header table larger than we allow"));
        check(&[0x3f, 0xe1, 0x1f], Ok(()));
        let mut bomb = b"\x40\x01a\x40".to_vec();
        bomb.extend([b'x'; 64]);
        bomb.extend([0xbe; 2]);
        check(&bomb, Err("the head is longer than 64 KiB once it is read"));
    }

    /// The other side, slowly: codes headers with a table of its own, in the manner each asks for.
    fn encode(list: &[(String, String, u8)], table: &mut Vec<Header>, out: &mut Vec<u8>) {
        for (name, value, manner) in list {
            let header = (name.clone(), value.clone());
            let whole = table.iter().position(|one| *one == header).map(|at| at + FIRST_PLACE);
            let named = table.iter().position(|one| one.0 == *name).map(|at| at + FIRST_PLACE);
            if let (Some(place), 0 | 1) = (whole, manner) {
                hpack::put_number(place, 7, 0x80, out);
                continue;
            }
            let keeps = manner % 2 == 0;
            let place = named.filter(|_| *manner < 4).unwrap_or(0);
            let (bits, flags) = if keeps { (6, 0x40) } else { (4, 0) };
            hpack::put_number(place, bits, flags, out);
            if place == 0 {
                hpack::put_text(name.as_bytes(), out);
            }
            hpack::put_text(value.as_bytes(), out);
            if keeps {
                table.insert(0, header);
                let size = |table: &[Header]| -> usize {
                    table.iter().map(|(name, value)| name.len() + value.len() + ENTRY_BYTES).sum()
                };
                while size(table) > MAX_BYTES {
                    table.pop();
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_the_other_side_meant_is_read(
            blocks in prop::collection::vec(
                prop::collection::vec(("[a-c]{1,2}", "[a-c]{0,2}|x{900}|y{5000}", 0u8..6), 0..6), 0..12),
        ) {
            let (mut heard, mut table, mut plain) = (Heard::default(), Vec::new(), Vec::new());
            for list in &blocks {
                let mut block = Vec::new();
                encode(list, &mut table, &mut block);
                let before = heard.changes();
                heard.read(&block, 1 << 20, &mut plain).unwrap();
                let expected: Vec<Header> =
                    list.iter().map(|(name, value, _)| (name.clone(), value.clone())).collect();
                prop_assert_eq!(headers(&plain), expected);
                prop_assert!(heard.bytes <= MAX_BYTES && heard.entries.len() == table.len());
                prop_assert_eq!(heard.changes() != before, block_keeps(list, &block));
            }
        }

        #[test]
        fn any_bytes_end_within_bounds(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..10)) {
            let (mut heard, mut plain) = (Heard::default(), Vec::new());
            for block in &blocks {
                let _ = heard.read(block, 1 << 16, &mut plain);
                prop_assert!(heard.bytes <= heard.limit && plain.len() <= (1 << 16) + MAX_BYTES + 8);
            }
        }
    }

    /// Whether a block asks for anything to be kept, by its own bytes.
    fn block_keeps(list: &[(String, String, u8)], block: &[u8]) -> bool {
        let mut fields = hpack::fields(block);
        list.iter().any(|_| {
            let first = fields.rest()[0];
            if first & 0x80 != 0 {
                fields.number(7).unwrap();
                return false;
            }
            let keeps = first & 0xc0 == 0x40;
            if fields.number(if keeps { 6 } else { 4 }).unwrap() == 0 {
                fields.text().unwrap();
            }
            fields.text().unwrap();
            keeps
        })
    }
}
