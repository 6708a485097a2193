//! A sheet under construction: Markdown that is ours, and text that is not.
//!
//! The Markdown of pull requests is read by programs that act: a mention sends mail, `/close` on a new line closes
//! what it stands under, a picture is fetched. As with [`super::markup::Page`], markup can only be a literal of this
//! program; everything else goes through [`Sheet::text`] and its kin, which clean and escape it. So no name, however
//! hostile, can become more than text, on GitHub, on GitLab, or in an editor.
//!
//! Both cut what is too long without saying so, hence [`Sheet::with_room`]: rows that do not fit are counted, and the
//! count is written below their table.

use super::text::{NAME_MAX_CHARS, PROSE_MAX_CHARS, clean, count};

/// The most characters of a command.
const COPIED_MAX_CHARS: usize = 4_000;

/// Markdown, written from top to bottom.
#[derive(Debug)]
pub(crate) struct Sheet {
    out: String,
    room: usize,
    left_out: u64,
}

/// What stands in a cell of a table.
pub(crate) enum Cell<'t> {
    /// Text of anyone's.
    Text(&'t str),
    /// The same, to be seen first.
    Strong(&'t str),
    /// Text of anyone's as it would be typed: a check, a container's name.
    Code(&'t str),
    /// Markdown of ours.
    Mark(&'static str),
    /// A link to a line of the journal beside the sheet.
    Line(usize),
}

impl Default for Sheet {
    fn default() -> Self {
        Self::with_room(usize::MAX)
    }
}

impl Sheet {
    /// A sheet whose tables end when it has `room` bytes, which the last row may exceed.
    pub fn with_room(room: usize) -> Self {
        Self { out: String::new(), room, left_out: 0 }
    }

    /// Markdown of ours.
    pub fn raw(&mut self, markdown: &'static str) -> &mut Self {
        self.out.push_str(markdown);
        self
    }

    /// Text of anyone's, cut to a name's length.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.plain(text, NAME_MAX_CHARS)
    }

    /// A sentence of anyone's.
    pub fn prose(&mut self, text: &str) -> &mut Self {
        self.plain(text, PROSE_MAX_CHARS)
    }

    /// Text of anyone's as it would be typed.
    pub fn code(&mut self, text: &str) -> &mut Self {
        let text = clean(text, NAME_MAX_CHARS);
        self.out.push_str(&span(&text));
        self
    }

    /// A command of anyone's, in a block of its own.
    pub fn command(&mut self, text: &str) -> &mut Self {
        let text = clean(text, COPIED_MAX_CHARS);
        let fence = "`".repeat(longest_run(&text).max(2) + 1);
        self.out.push_str(&format!("{fence}sh\n{text}\n{fence}\n"));
        self
    }

    /// The head of a table. Columns whose name ends in `:` are of numbers.
    pub fn head(&mut self, columns: &[&'static str]) -> &mut Self {
        let name = |column: &&'static str| column.trim_end_matches(':');
        let names: Vec<&str> = columns.iter().map(name).collect();
        let rules: Vec<&str> =
            columns.iter().map(|column| if column.ends_with(':') { "---:" } else { "---" }).collect();
        // A blank line before it, and one only.
        self.out.truncate(self.out.trim_end_matches('\n').len());
        self.out.push_str(&format!("\n\n| {} |\n| {} |\n", names.join(" | "), rules.join(" | ")));
        self.left_out = 0;
        self
    }

    /// A row of a table, counted instead where there is no room left.
    pub fn row(&mut self, cells: &[Cell<'_>]) -> &mut Self {
        if self.out.len() >= self.room {
            self.left_out += 1;
            return self;
        }
        self.out.push('|');
        for cell in cells {
            let shown = match cell {
                Cell::Text(text) => plain(text, NAME_MAX_CHARS),
                Cell::Strong(text) => format!("**{}**", plain(text, NAME_MAX_CHARS)),
                // A bar ends a cell wherever it stands, in code too.
                Cell::Code(text) => span(&clean(text, NAME_MAX_CHARS)).replace('|', "\\|"),
                Cell::Mark(markdown) => (*markdown).to_owned(),
                Cell::Line(number) => link(*number),
            };
            self.out.push_str(&format!(" {shown} |"));
        }
        self.out.push('\n');
        self
    }

    /// Ends a table, saying what had no room.
    pub fn foot(&mut self) -> &mut Self {
        if self.left_out > 0 {
            self.out.push_str(&format!("\n… and {} more, in report.json\n", count(self.left_out)));
            self.left_out = 0;
        }
        self.raw("\n")
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.out
    }

    fn plain(&mut self, text: &str, most: usize) -> &mut Self {
        self.out.push_str(&plain(text, most));
        self
    }
}

fn link(number: usize) -> String {
    format!("[line {number}](journal.jsonl#L{number})")
}

/// Clean text between backquotes: more of them than it has in a row itself.
fn span(text: &str) -> String {
    let fence = "`".repeat(longest_run(text) + 1);
    // A blank at either end is taken away again by every reader, and needed beside a backquote.
    let apart = if text.starts_with('`') || text.ends_with('`') || text.is_empty() { " " } else { "" };
    format!("{fence}{apart}{text}{apart}{fence}")
}

fn longest_run(text: &str) -> usize {
    text.split(|character| character != '`').map(str::len).max().unwrap_or(0)
}

/// Text of anyone's as text: nothing of it is markup, a link, a mention, a formula, a command of GitLab's, or the end
/// of a cell. What is harmless where it stands is left as it is: drafts are edited by people.
fn plain(text: &str, most: usize) -> String {
    let mut out = String::new();
    let clean = clean(text, most);
    for (at, character) in clean.char_indices() {
        let before = clean[..at].chars().next_back();
        let after = clean[at + character.len_utf8()..].chars().next();
        match character {
            '&' => out.push_str("&amp;"),
            // Nothing else after it begins a tag.
            '<' if after.is_some_and(|next| next.is_alphabetic() || "/!?".contains(next)) => {
                out.push_str("&lt;")
            }
            // A quotation begins with it, at the start of a line.
            '>' if at == 0 => out.push_str("&gt;"),
            // A mention and a formula begin with them; as references they are only shown.
            '@' => out.push_str("&#64;"),
            '$' => out.push_str("&#36;"),
            // A link has one, and so have names of pictures; a time of day and the end of a clause have, too.
            ':' if !ends_clause(after) && !in_time(before, after) => out.push_str("&#58;"),
            // `/close` at the start of a line is obeyed.
            '/' if at == 0 => out.push_str("&#47;"),
            // An address without a scheme is a link all the same.
            '.' if ends_in_www(&clean[..at]) => out.push_str("&#46;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '~' => {
                out.push('\\');
                out.push(character);
            }
            plain => out.push(plain),
        }
    }
    out
}

fn ends_clause(after: Option<char>) -> bool {
    after.is_none_or(char::is_whitespace)
}

fn in_time(before: Option<char>, after: Option<char>) -> bool {
    before.is_some_and(|before| before.is_ascii_digit()) && after.is_some_and(|after| after.is_ascii_digit())
}

fn ends_in_www(text: &str) -> bool {
    text.len() >= 3
        && text.is_char_boundary(text.len() - 3)
        && text[text.len() - 3..].eq_ignore_ascii_case("www")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_sheet_is_only_shown() {
        for (text, shown) in [
            ("api-1", "api-1"),
            ("Failed: p99(latency) < 300ms, 16:31:12", "Failed: p99(latency) < 300ms, 16:31:12"),
            ("</b> <!-- a:b: >", "&lt;/b> &lt;\\!-- a&#58;b: >"),
            ("<img src=x>", "&lt;img src=x>"),
            ("> quote", "&gt; quote"),
            ("@team https://x.org www.x.org", "&#64;team https&#58;//x.org www&#46;x.org"),
            ("/close", "&#47;close"),
            ("a | b #1 !2 ~3 $x$", "a \\| b \\#1 \\!2 \\~3 &#36;x&#36;"),
            ("[a](b) ![c](d)", "\\[a\\](b) \\!\\[c\\](d)"),
            ("one\ntwo\u{1b}[2J", "one two\u{fffd}\\[2J"),
        ] {
            let mut sheet = Sheet::default();
            sheet.text(text);
            assert_eq!(sheet.finish(), shown);
        }
    }

    #[test]
    fn code_holds_what_it_holds() {
        for (text, shown) in [
            ("p99 < 1s", "`p99 < 1s`"),
            ("a`b", "``a`b``"),
            ("``", "``` `` ```"),
            ("", "`  `"),
            ("x\n# y", "`x # y`"),
        ] {
            let mut sheet = Sheet::default();
            sheet.code(text);
            assert_eq!(sheet.finish(), shown);
        }
        let mut sheet = Sheet::default();
        sheet.head(&["check"]).row(&[Cell::Code("a | b")]).foot();
        assert_eq!(sheet.finish(), "\n\n| check |\n| --- |\n| `a \\| b` |\n\n");
    }

    #[test]
    fn rows_without_room_are_counted() {
        let mut sheet = Sheet::with_room(60);
        sheet.head(&["name", "count:"]);
        for _ in 0..9 {
            sheet.row(&[Cell::Text("one"), Cell::Text("1")]);
        }
        sheet.foot();
        let text = sheet.finish();
        assert!(
            text.contains("| --- | ---: |")
                && text.ends_with("| one | 1 |\n\n… and 6 more, in report.json\n\n"),
            "{text}"
        );
    }
}
