//! A page under construction: markup that is ours, and text that is not.
//!
//! Markup can only be a literal of this program; everything else goes through [`Page::text`] or
//! [`Page::attr`], which clean and escape it. So no name, however hostile, can become markup: there is no
//! function that would let it.

use super::text::{NAME_MAX_CHARS, PROSE_MAX_CHARS, clean};

/// The most characters of a command; longer than any shell history.
const COPIED_MAX_CHARS: usize = 4_000;

/// HTML text, written from top to bottom.
#[derive(Debug, Default)]
pub(super) struct Page {
    out: String,
}

impl Page {
    /// Markup of ours.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.out.push_str(markup);
        self
    }

    /// Text of anyone's, cut to a name's length.
    pub fn text(&mut self, text: &str) -> &mut Self {
        escape(&clean(text, NAME_MAX_CHARS), &mut self.out);
        self
    }

    /// A sentence of anyone's.
    pub fn prose(&mut self, text: &str) -> &mut Self {
        escape(&clean(text, PROSE_MAX_CHARS), &mut self.out);
        self
    }

    /// Text of anyone's that is for copying, cut only where it is absurd.
    pub fn copied(&mut self, text: &str) -> &mut Self {
        escape(&clean(text, COPIED_MAX_CHARS), &mut self.out);
        self
    }

    /// An attribute with a value of anyone's: ` title="…"`. To be followed by more or by `>`.
    pub fn attr(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.raw(" ").raw(name).raw("=\"").text(value).raw("\"")
    }

    /// An attribute with a number: ` x="12.5"`; `unit` follows the number.
    pub fn attr_number(&mut self, name: &'static str, value: f64, unit: &'static str) -> &mut Self {
        self.raw(" ").raw(name).raw("=\"").number(value).raw(unit).raw("\"")
    }

    /// A number with at most two decimals, as coordinates need.
    pub fn number(&mut self, value: f64) -> &mut Self {
        let text = format!("{value:.2}");
        self.out.push_str(text.trim_end_matches('0').trim_end_matches('.'));
        self
    }

    /// An element with text: `<td>…</td>` of `("<td>", "…", "</td>")`.
    pub fn element(&mut self, open: &'static str, text: &str, close: &'static str) -> &mut Self {
        self.raw(open).text(text).raw(close)
    }

    /// The finished text.
    pub fn finish(self) -> String {
        self.out
    }
}

/// Appends `text` with every character that means something in HTML, inside or outside of quotes, written
/// as a reference.
fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '`' => out.push_str("&#96;"),
            plain => out.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let mut page = Page::default();
        page.raw("<p").attr("title", "\"><b>").raw(">").text("<i>&'`</i>").raw("</p>");
        assert_eq!(page.finish(), "<p title=\"&quot;&gt;&lt;b&gt;\">&lt;i&gt;&amp;&#39;&#96;&lt;/i&gt;</p>");
    }

    #[test]
    fn numbers_are_short() {
        let mut page = Page::default();
        page.number(1.0).raw(" ").number(0.125).raw(" ").number(-3.999);
        assert_eq!(page.finish(), "1 0.12 -4");
    }
}
