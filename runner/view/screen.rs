//! What to send to a terminal so that it shows a frame: no more than what changed.
//!
//! Over a slow line each byte is waited for, so a frame is held against the one that is shown, piece by piece. Pure:
//! it gives the bytes and remembers what they make of the terminal; `live` sends them.

use console::{measure_text_width, truncate_str};

use crate::report::Ink;
use crate::report::terminal::{Paint, paint};

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Columns, at least 1.
    pub columns: usize,
    /// Rows, at least 1.
    pub rows: usize,
}

/// A piece of a row: text without control characters, and how it is painted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    text: String,
    paint: Option<Paint>,
}

/// A row of a frame, from left to right.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row(Vec<Piece>);

impl Row {
    /// Appends text as it is.
    pub fn plain(mut self, text: impl Into<String>) -> Self {
        self.0.push(Piece { text: text.into(), paint: None });
        self
    }

    /// Appends painted text.
    pub fn painted(mut self, text: impl Into<String>, paint: Paint) -> Self {
        self.0.push(Piece { text: text.into(), paint: Some(paint) });
        self
    }

    /// Appends another row.
    pub fn with(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Its width in columns.
    pub fn width(&self) -> usize {
        self.0.iter().map(|piece| measure_text_width(&piece.text)).sum()
    }

    /// The row cut to `columns`, with `…` where something is missing.
    pub fn cut(self, columns: usize) -> Self {
        if self.width() <= columns {
            return self;
        }
        let mut left = columns;
        let mut pieces = Vec::new();
        for piece in self.0 {
            let width = measure_text_width(&piece.text);
            // The last column tells that there is more.
            let text = if width < left {
                piece.text
            } else {
                truncate_str(&(piece.text + "……"), left, "…").into_owned()
            };
            left = left.saturating_sub(width);
            pieces.push(Piece { text, paint: piece.paint });
            if left == 0 {
                break;
            }
        }
        Self(pieces)
    }

    /// As text, painted if there is ink.
    pub fn text(&self, ink: Ink) -> String {
        self.0.iter().map(|piece| piece.text(ink)).collect()
    }

    /// What to write over `shown`, from the beginning of its row on; nothing if it is the same.
    fn change(&self, shown: &Self, ink: Ink) -> Option<String> {
        if self == shown {
            return None;
        }
        let pairs = || self.0.iter().zip(&shown.0);
        let width = |piece: &Piece| measure_text_width(&piece.text);
        let in_place = self.0.len() == shown.0.len() && pairs().all(|(new, old)| width(new) == width(old));
        let mut column = 0;
        let mut out = String::new();
        for (at, new) in self.0.iter().enumerate() {
            let old = shown.0.get(at);
            match old {
                Some(old) if old == new => {}
                Some(old) if in_place => {
                    let (skip, text) = new.middle(old);
                    let piece = Piece { text, paint: new.paint };
                    out += &format!("\u{1b}[{}G{}", column + skip + 1, piece.text(ink));
                }
                _ => {
                    out += &format!("\u{1b}[{}G", column + 1);
                    self.0[at..].iter().for_each(|piece| out += &piece.text(ink));
                    break;
                }
            }
            column += width(new);
        }
        if self.width() < shown.width() {
            out += &format!("\u{1b}[{}G\u{1b}[K", self.width() + 1);
        }
        Some(out)
    }
}

impl Piece {
    /// What differs from `old`, which is as wide, and after how many columns it begins.
    fn middle(&self, old: &Self) -> (usize, String) {
        if self.paint != old.paint {
            return (0, self.text.clone());
        }
        let (new, old): (Vec<char>, Vec<char>) = (self.text.chars().collect(), old.text.chars().collect());
        let same = |pair: &(&char, &char)| pair.0 == pair.1;
        let before = new.iter().zip(&old).take_while(same).count();
        let most = new.len().min(old.len()) - before;
        let after = new.iter().rev().zip(old.iter().rev()).take_while(same).count().min(most);
        let skip: String = new[..before].iter().collect();
        (measure_text_width(&skip), new[before..new.len() - after].iter().collect())
    }

    fn text(&self, ink: Ink) -> String {
        match self.paint {
            Some(style) if !self.text.is_empty() => paint(&self.text, style, ink),
            _ => self.text.clone(),
        }
    }
}

/// What the terminal shows of us: the last frame, with the cursor at the beginning of the row below it.
#[derive(Debug, Default)]
pub(super) struct Screen {
    shown: Vec<Row>,
    size: Option<Size>,
}

impl Screen {
    /// What makes the terminal show `frame`, with `news` above it to stay. Rows must be narrower than the terminal and
    /// fewer than its rows: see [`Row::cut`].
    pub fn show(&mut self, news: Option<&str>, frame: Vec<Row>, size: Size, ink: Ink) -> String {
        let resized = self.size.is_some_and(|before| before != size);
        let out = if news.is_some() || resized || frame.len() != self.shown.len() {
            let mut out = self.erase(size);
            if let Some(news) = news {
                out += news;
                out += "\n";
            }
            for row in &frame {
                out += &row.text(ink);
                out += "\n";
            }
            out
        } else {
            let mut out = String::new();
            for (at, (row, shown)) in frame.iter().zip(&self.shown).enumerate() {
                if let Some(change) = row.change(shown, ink) {
                    let up = frame.len() - at;
                    out += &format!("\u{1b}[{up}A{change}\r\u{1b}[{up}B");
                }
            }
            out
        };
        self.shown = frame;
        self.size = Some(size);
        out
    }

    /// What takes the frame away.
    pub fn erase(&mut self, size: Size) -> String {
        // A terminal that was made narrower has broken rows in several.
        let broken = |row: &Row| row.width().div_ceil(size.columns.max(1)).max(1);
        let rows: usize = self.shown.iter().map(broken).sum();
        self.shown.clear();
        match rows.min(size.rows.saturating_sub(1)) {
            0 => "\r\u{1b}[J".into(),
            up => format!("\r\u{1b}[{up}A\u{1b}[J"),
        }
    }
}
