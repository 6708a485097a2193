//! Reads checks (`p99(latency, slow) < 2 * p99(latency, baseline)`) from text, and says where inside it a mistake is.
//!
//! `*` and `/` bind before `+` and `-`, parentheses before both. What is read is a tree whose parts know their places;
//! `expr_check.rs` makes it a check, with units that fit. Figures have their own file, `expr_figure.rs`; conditions and
//! status codes have `expr_condition.rs`; `expr_decode.rs` brings all of them to the tree. Start at [`check`].

use std::ops::Range;
use std::str::FromStr;

use super::expr::{Check, Metric, Quantity, Sign};
use super::expr_check::{Sides, alone, finish, needs};
use super::expr_cursor::{Cursor, Mistake, OPS};
use super::expr_figure::{Measures, Raw, figure, is_outturn};
use crate::units::{Duration, Rate};

/// The most amounts and figures in a check: nobody reads more, and every one is a branch of a tree.
const MAX_TERMS: usize = 40;

/// How deep parentheses may go.
const MAX_DEPTH: usize = 10;

/// A part of a check and where it stands.
pub(super) struct Spot {
    pub at: Range<usize>,
    pub tree: Tree,
}

/// What a part of a check is.
pub(super) enum Tree {
    Amount(Quantity),
    Figure(Raw),
    Pair(Box<Spot>, Sign, Box<Spot>),
}

/// What ends a word.
pub(super) fn ends_word(c: char) -> bool {
    c.is_whitespace() || "()<>=!,+-*/".contains(c)
}

/// Reads a check.
pub fn check(text: &str) -> Result<Check, Mistake> {
    let mut reader = Reader { cursor: Cursor::new(text), terms: 0 };
    let left = reader.sum(0)?;
    let lone_slo = match &left.tree {
        Tree::Figure(raw) => matches!(raw.measures, Measures::Fixed(Metric::Slo(_))),
        _ => false,
    };
    if lone_slo {
        reader.cursor.skip_space();
        if OPS.iter().any(|(sign, _)| reader.cursor.rest().starts_with(sign)) {
            let at = reader.cursor.at..reader.cursor.end();
            let hint = "leave the comparison out: its objective is what it is compared with";
            return Err(Mistake::new(at, "`slo` stands alone", hint));
        }
        let over = reader.over(&[&left])?;
        return Ok(alone(text, left, over));
    }
    let op = reader.cursor.op("p99(latency) < 300ms")?;
    let right = reader.right(&left)?;
    let over = reader.over(&[&left, &right])?;
    finish(text, Sides { left, op, right }, over)
}

/// Reads a part of a check at a time.
struct Reader<'t> {
    cursor: Cursor<'t>,
    terms: usize,
}

impl Reader<'_> {
    fn sum(&mut self, depth: usize) -> Result<Spot, Mistake> {
        let mut left = self.product(depth)?;
        loop {
            self.cursor.skip_space();
            let sign = match self.cursor.rest().as_bytes().first() {
                Some(b'+') => Sign::Plus,
                Some(b'-') => Sign::Minus,
                _ => return Ok(left),
            };
            self.cursor.at += 1;
            left = pair(left, sign, self.product(depth)?);
        }
    }

    fn product(&mut self, depth: usize) -> Result<Spot, Mistake> {
        let mut left = self.primary(depth)?;
        loop {
            self.cursor.skip_space();
            let sign = match self.cursor.rest().as_bytes().first() {
                Some(b'*') => Sign::Times,
                Some(b'/') => Sign::Per,
                _ => return Ok(left),
            };
            self.cursor.at += 1;
            let right = self.primary(depth)?;
            if sign == Sign::Per && is_zero(&right) {
                return Err(Mistake::new(right.at, "nothing can be divided by zero", "write another number"));
            }
            left = pair(left, sign, right);
        }
    }

    fn primary(&mut self, depth: usize) -> Result<Spot, Mistake> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        self.terms += 1;
        if self.terms > MAX_TERMS || depth > MAX_DEPTH {
            let at = start..self.cursor.end().max(start);
            return Err(Mistake::new(at, "this check is too long to be read", "split it into several"));
        }
        match self.cursor.rest().chars().next() {
            Some('(') => self.parenthesis(depth),
            Some('-') => {
                self.cursor.at += 1;
                let Spot { at, tree } = self.primary(depth + 1)?;
                let at = start..at.end;
                Ok(match tree {
                    Tree::Amount(amount) => Spot { at, tree: Tree::Amount(negative(amount)) },
                    tree => {
                        let minus = Tree::Amount(Quantity::Number(-1.0));
                        let minus = Spot { at: start..start + 1, tree: minus };
                        let right = Spot { at: at.clone(), tree };
                        Spot { at, tree: Tree::Pair(Box::new(minus), Sign::Times, Box::new(right)) }
                    }
                })
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.amount(),
            _ => {
                let raw = figure(&mut self.cursor, depth)?;
                Ok(Spot { at: start..self.cursor.at, tree: Tree::Figure(raw) })
            }
        }
    }

    fn parenthesis(&mut self, depth: usize) -> Result<Spot, Mistake> {
        let start = self.cursor.at;
        self.cursor.at += 1;
        let inner = self.sum(depth + 1)?;
        self.cursor.skip_space();
        if !self.cursor.take(")") {
            let hint = "write `)` behind what belongs together";
            return Err(Mistake::new(start..start + 1, "this parenthesis is never closed", hint));
        }
        Ok(Spot { at: start..self.cursor.at, tree: inner.tree })
    }

    /// `300ms`, `99.9%`, `500/s`, `3`.
    fn amount(&mut self) -> Result<Spot, Mistake> {
        let (word, mut at) = self.cursor.take_until(ends_word);
        if let Some(len) = per_unit(self.cursor.rest()) {
            self.cursor.at += len;
            at.end = self.cursor.at;
        }
        let text = &self.cursor.text[at.clone()];
        let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '_');
        let number = |text: &str| text.replace('_', "").parse::<f64>().ok().filter(|_| digits(text));
        let amount = if text.len() > word.len() {
            Rate::from_str(text).ok().map(|rate| Quantity::PerSecond(rate.as_per_s()))
        } else if let Some(percent) = word.strip_suffix('%') {
            // The point is moved in the text, because 99.9 / 100 is 0.9990000000000001.
            let share = format!("{}e-2", percent.replace('_', "")).parse().ok();
            share.filter(|_| digits(percent)).map(Quantity::Share)
        } else if let Some(number) = number(word) {
            Some(Quantity::Number(number))
        } else {
            Duration::from_str(word).ok().map(|time| Quantity::Seconds(time.as_s()))
        };
        let Some(amount) = amount else {
            let hint = "write a number with its unit, such as `300ms`, `99.9%`, `500/s` or `3`";
            return Err(Mistake::new(at.clone(), format!("`{text}` is no quantity"), hint));
        };
        Ok(Spot { at, tree: Tree::Amount(amount) })
    }

    /// The right side; a word that is no value is answered with what the left side needs.
    fn right(&mut self, left: &Spot) -> Result<Spot, Mistake> {
        self.cursor.skip_space();
        let begins = |c: char| c.is_ascii_digit() || "(-.".contains(c);
        let rest = self.cursor.rest();
        let (word, _) = Cursor { text: rest, at: 0 }.take_until(ends_word);
        let called = rest[word.len()..].trim_start().starts_with('(');
        if rest.starts_with(begins) || (called && !word.is_empty()) || is_outturn(word) {
            return self.sum(0);
        }
        let (found, at) = self.cursor.value("over");
        let found = if word == "over" { "" } else { found };
        Err(needs(left, self.cursor.text, found, at.start..at.start + found.len()))
    }

    /// Reads the sliding window, if there is one, and makes sure that nothing follows.
    fn over(&mut self, sides: &[&Spot]) -> Result<Option<Duration>, Mistake> {
        const EXAMPLE: &str = "write a window such as `over 10s` there, or nothing";
        let cursor = &mut self.cursor;
        cursor.skip_space();
        let (start, end) = (cursor.at, cursor.end());
        if start >= end {
            return Ok(None);
        }
        if cursor.rest().starts_with(')') {
            let hint = "between `[` and `]`, quote a check that has a comma";
            return Err(Mistake::new(start..start + 1, "this parenthesis was never opened", hint));
        }
        if !cursor.take("over") {
            let found = &cursor.text[start..end];
            return Err(Mistake::new(start..end, format!("`{found}` can't follow here"), EXAMPLE));
        }
        if sides
            .iter()
            .any(|side| any(side, &|raw| matches!(raw.measures, Measures::Fixed(Metric::Outturn(_)))))
        {
            return Err(Mistake::new(
                start..end,
                "a figure of the whole run has no window",
                "leave the `over` out",
            ));
        }
        cursor.skip_space();
        let at = cursor.at.min(end)..end;
        match Duration::from_str(&cursor.text[at.clone()]) {
            Ok(window) if !window.is_zero() => Ok(Some(window)),
            Ok(_) => Err(Mistake::new(at, "a window can't be empty", EXAMPLE)),
            Err(_) => Err(Mistake::new(at, "`over` needs a duration such as 10s", EXAMPLE)),
        }
    }
}

/// How long `/s`, `/m` or `/h` is, if that comes next.
fn per_unit(rest: &str) -> Option<usize> {
    let unit = rest.trim_start().strip_prefix('/')?.trim_start();
    let mut letters = unit.chars();
    let known = matches!(letters.next(), Some('s' | 'm' | 'h'));
    let ends = letters.next().is_none_or(|c| !c.is_alphanumeric() && !"_.(".contains(c));
    (known && ends).then(|| rest.len() - unit.len() + 1)
}

fn pair(left: Spot, sign: Sign, right: Spot) -> Spot {
    let at = left.at.start..right.at.end;
    Spot { at, tree: Tree::Pair(Box::new(left), sign, Box::new(right)) }
}

pub(super) fn is_zero(spot: &Spot) -> bool {
    matches!(
        spot.tree,
        Tree::Amount(
            Quantity::Number(0.0) | Quantity::Seconds(0.0) | Quantity::Share(0.0) | Quantity::PerSecond(0.0)
        )
    )
}

const fn negative(amount: Quantity) -> Quantity {
    match amount {
        Quantity::Seconds(value) => Quantity::Seconds(-value),
        Quantity::Share(value) => Quantity::Share(-value),
        Quantity::PerSecond(value) => Quantity::PerSecond(-value),
        Quantity::Events(value) => Quantity::Events(-value),
        Quantity::Number(value) => Quantity::Number(-value),
        Quantity::Objective => Quantity::Objective,
    }
}

/// True if a figure of this part is such a one.
pub(super) fn any(spot: &Spot, is: &dyn Fn(&Raw) -> bool) -> bool {
    match &spot.tree {
        Tree::Amount(_) => false,
        Tree::Figure(raw) => is(raw),
        Tree::Pair(left, _, right) => any(left, is) || any(right, is),
    }
}
