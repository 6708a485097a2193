//! A page under construction: markup that is ours, and text that is not.
//!
//! Markup can only be a literal of this program; everything else goes through [`Page::text`] or
//! [`Page::attr`], which clean and escape it. So no name, however hostile, can become markup: there is no
//! function that would let it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use super::text::{NAME_MAX_CHARS, PROSE_MAX_CHARS, clean};

/// How pages look.
const STYLE: &str = include_str!("assets/style.css");

/// What the report's page does when it is used.
const SCRIPT: &str = include_str!("assets/script.js");

/// The most characters of a command; longer than any shell history.
const COPIED_MAX_CHARS: usize = 4_000;

/// HTML text, written from top to bottom.
#[derive(Debug, Default)]
pub(crate) struct Page {
    out: String,
}

impl Page {
    /// Everything of a page up to the beginning of its body: title, policy, style. The policy names the one
    /// style and the one script by their hashes: should a name ever become markup, it still could not act.
    pub fn head(&mut self, word: &str, title: &str) -> &mut Self {
        self.raw(concat!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; base-uri 'none'; form-action 'none'; ",
            "img-src data:; style-src 'sha256-"
        ));
        self.hash(STYLE).raw("'; script-src 'sha256-").hash(SCRIPT);
        self.raw(concat!(
            "'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
            "<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n<title>"
        ));
        self.text(word).raw(": ").text(title).raw("</title>\n<style>");
        self.raw(STYLE).raw("</style>\n</head>\n<body>\n")
    }

    /// The script, which belongs at the end of the body.
    pub fn script(&mut self) -> &mut Self {
        self.raw("<script>").raw(SCRIPT).raw("</script>\n")
    }

    /// The hash of an element's content, as policies have it.
    fn hash(&mut self, content: &'static str) -> &mut Self {
        BASE64.encode_string(Sha256::digest(content), &mut self.out);
        self
    }

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

    /// The name of a place on the page, of ours and a number: ` id="check-3"`.
    pub fn attr_id(&mut self, stem: &'static str, number: usize) -> &mut Self {
        self.raw(" id=\"").raw(stem).number(number as f64).raw("\"")
    }

    /// A link to such a place: ` href="#check-3"`, with the `#` in `stem`.
    pub fn attr_link(&mut self, stem: &'static str, number: usize) -> &mut Self {
        self.raw(" href=\"").raw(stem).number(number as f64).raw("\"")
    }

    /// An attribute with a number: ` x="12.5"`; `unit` follows the number.
    pub fn attr_number(&mut self, name: &'static str, value: f64, unit: &'static str) -> &mut Self {
        self.raw(" ").raw(name).raw("=\"").number(value).raw(unit).raw("\"")
    }

    /// An attribute with a place across, as a share: ` x="12.34567%"`. As exact as a zoom to milliseconds of an hour
    /// needs.
    pub fn attr_share(&mut self, name: &'static str, share: f64) -> &mut Self {
        let text = format!("{:.5}", share * 100.0);
        self.raw(" ").raw(name).raw("=\"");
        self.out.push_str(text.trim_end_matches('0').trim_end_matches('.'));
        self.raw("%\"")
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
