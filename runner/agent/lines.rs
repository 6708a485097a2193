//! Lines out of what was read: put together where they came in pieces, passed over where they are too long.

use super::wire::MAX_LINE_BYTES;

/// Bytes put together into lines, with a bound on what is kept.
#[derive(Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    /// True while the rest of a line that was too long goes by.
    skipping: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// One with its end.
    Whole(Vec<u8>),
    /// One beyond [`MAX_LINE_BYTES`], which is passed over.
    TooLong,
}

impl Lines {
    /// Takes bytes as they come; the lines that end in them, and those that turn out too long.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = piece.ends_with(b"\n");
            if !self.skipping && self.partial.len() + piece.len() > MAX_LINE_BYTES {
                self.partial = Vec::new();
                self.skipping = true;
                lines.push(Line::TooLong);
            }
            if !self.skipping {
                self.partial.extend_from_slice(piece);
            }
            if ends {
                if !self.skipping {
                    lines.push(Line::Whole(std::mem::take(&mut self.partial)));
                }
                self.skipping = false;
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_and_bounded() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"a"), []);
        assert_eq!(
            lines.push(b"b\nc\n\nd"),
            [Line::Whole(b"ab\n".to_vec()), Line::Whole(b"c\n".to_vec()), Line::Whole(b"\n".to_vec())]
        );
        assert_eq!(lines.push(&vec![b'x'; MAX_LINE_BYTES]), [Line::TooLong]);
        assert!(lines.partial.capacity() == 0, "what was too long is kept");
        assert_eq!(lines.push(b"still the long one\ne\n"), [Line::Whole(b"e\n".to_vec())]);
    }
}
