//! A walk over an expression's text from left to right, and what is said when it meets what it can't read.
//!
//! By hand rather than by a grammar tool: the language is small, and what matters is that each mistake is answered
//! with its place and what to write instead.

use std::ops::Range;

use super::expr::Op;

/// What is wrong with an expression, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The bytes of the expression that are wrong; empty at its end where something is missing.
    pub at: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead; may be empty.
    pub hint: String,
}

impl Mistake {
    pub(super) fn new(at: Range<usize>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { at, message: message.into(), hint: hint.into() }
    }
}

impl From<Mistake> for String {
    fn from(mistake: Mistake) -> Self {
        if mistake.hint.is_empty() {
            mistake.message
        } else {
            format!("{}; {}", mistake.message, mistake.hint)
        }
    }
}

/// Longer signs first, so that `<=` is not read as `<`.
pub(super) const OPS: [(&str, Op); 6] =
    [("<=", Op::Le), (">=", Op::Ge), ("==", Op::Eq), ("!=", Op::Ne), ("<", Op::Lt), (">", Op::Gt)];

/// A part of an expression, and where it stands.
pub(super) type Part<'t> = (&'t str, Range<usize>);

/// Walks over an expression from left to right.
pub(super) struct Cursor<'t> {
    pub text: &'t str,
    pub at: usize,
}

impl<'t> Cursor<'t> {
    pub const fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    pub fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Where the text ends but for spaces.
    pub fn end(&self) -> usize {
        self.text.trim_end().len()
    }

    pub fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes what comes before the first character that `ends` it; may be empty.
    pub fn take_until(&mut self, ends: impl Fn(char) -> bool) -> Part<'t> {
        let start = self.at;
        let len = self.rest().find(ends).unwrap_or(self.rest().len());
        self.at += len;
        (&self.text[start..self.at], start..self.at)
    }

    /// Takes `sign` if it comes next.
    pub fn take(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    /// Takes a comparison.
    pub fn op(&mut self, example: &str) -> Result<Op, Mistake> {
        self.skip_space();
        if let Some((_, op)) = OPS.iter().find(|(sign, _)| self.take(sign)) {
            return Ok(*op);
        }
        let (found, at) = self.take_until(char::is_whitespace);
        let hint = match found {
            "=" => "write `==`".to_owned(),
            _ => format!("write `<`, `<=`, `>`, `>=`, `==` or `!=`, as in `{example}`"),
        };
        let message = if found.is_empty() {
            "a comparison is missing".to_owned()
        } else {
            format!("`{found}` is not a comparison")
        };
        Err(Mistake::new(at, message, hint))
    }

    /// Takes a comparison's right side: all before the word `word` or the end.
    pub fn value(&mut self, word: &str) -> Part<'t> {
        self.skip_space();
        let start = self.at;
        let rest = self.rest();
        let len = rest
            .match_indices(word)
            .map(|(at, _)| at)
            .find(|at| {
                let around = (rest[..*at].chars().next_back(), rest[at + word.len()..].chars().next());
                matches!(around, (Some(before), after) if before.is_whitespace() && after.is_none_or(char::is_whitespace))
            })
            .unwrap_or(rest.len());
        self.at += len;
        let value = rest[..len].trim_end();
        (value, start..start + value.len())
    }
}
