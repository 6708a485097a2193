//! Reads YAML text into a [`Node`] tree in which everything knows its place, within fixed limits.
//!
//! Built on saphyr-parser's events rather than on a loader, because limits must hold *while* reading: a
//! file of nested aliases is refused when its expansion would cross a limit, before anything is copied.
//! Nothing here knows the experiment language. Tags, merge keys, further documents and repeated keys are
//! refused: each has a plainer way to say the same. Start at [`read`].

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::decode::Mistakes;
use super::node::{Key, Node, Value};
use crate::error::Span;

/// The largest text read, in bytes. A long experiment is 20 kB; what is larger is another file by mistake.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// The deepest nesting. The language itself needs eight levels; the rest is for JSON bodies.
pub const MAX_DEPTH: usize = 64;

/// The most values, aliases expanded. A hundred times a long experiment; about 10 MB of memory.
pub const MAX_NODES: usize = 50_000;

/// The most text in values, aliases and variables expanded, in bytes: four times the largest file.
pub const MAX_EXPANDED_BYTES: usize = 4 * MAX_TEXT_BYTES;

/// Reads one document. Repeated keys are noted and reading goes on; syntax errors and limits end it.
pub fn read(text: &str, mistakes: &mut Mistakes) -> Option<Node> {
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("the text has {} bytes; at most {MAX_TEXT_BYTES} are read", text.len());
        mistakes.add(Span::default(), message, "is this an experiment?");
        return None;
    }
    if let Some((at, control)) =
        text.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
    {
        let message = format!("the control character U+{:04X} can't be part of YAML", u32::from(control));
        mistakes.add(Span { start: at, end: at + control.len_utf8() }, message, "is this a text file?");
        return None;
    }
    Reader {
        text,
        places: Places::of(text),
        mistakes,
        open: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        spent: Cost::default(),
    }
    .run()
}

/// Resolves a plain scalar by YAML 1.2's core schema. Infinities and NaN stay text: no field takes them
/// and JSON has neither.
pub fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if let Some(number) = whole_number(text) {
        return Value::Int(number);
    }
    // Rust's reader of numbers takes words such as `inf` too, which begin with a letter.
    let begins_as_number =
        text.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
    match text.parse::<f64>() {
        Ok(number) if begins_as_number && number.is_finite() => Value::Float(number),
        _ => Value::Text(text.to_owned()),
    }
}

/// Reads `42`, `-7`, `0x1f` or `0o17`.
fn whole_number(text: &str) -> Option<i128> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i128::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i128::from_str_radix(digits, 8).ok();
    }
    text.parse().ok()
}

/// Byte offsets of characters: the parser counts characters, spans count bytes.
enum Places {
    /// Both are the same.
    Ascii(usize),
    /// The byte at which each character starts, and the length at the end.
    Bytes(Vec<u32>),
}

impl Places {
    fn of(text: &str) -> Self {
        if text.is_ascii() {
            return Self::Ascii(text.len());
        }
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        Self::Bytes(starts.map(|at| u32::try_from(at).expect("texts are limited to 1 MiB")).collect())
    }

    /// The byte at which character `index` starts.
    fn byte(&self, index: usize) -> usize {
        match self {
            Self::Ascii(len) => index.min(*len),
            Self::Bytes(starts) => starts.get(index).or(starts.last()).map_or(0, |at| *at as usize),
        }
    }

    fn span(&self, span: &saphyr_parser::Span) -> Span {
        Span { start: self.byte(span.start.index()), end: self.byte(span.end.index()) }
    }
}

/// A list or mapping that is not closed yet.
struct Open {
    start: usize,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map(Entries),
}

#[derive(Default)]
struct Entries {
    read: Vec<(Key, Node)>,
    /// Where each key stands first.
    keys: HashMap<String, Span>,
    /// The key whose value comes next.
    key: Option<Key>,
    /// True if that key was there before, so that its value is dropped.
    repeated: bool,
}

/// What a value costs against the limits.
#[derive(Clone, Copy, Default)]
struct Cost {
    nodes: usize,
    bytes: usize,
}

impl Cost {
    fn of(node: &Node) -> Self {
        let own = Self { nodes: 1, bytes: node.scalar().map_or(0, |text| text.len()) };
        match &node.value {
            Value::List(items) => items.iter().fold(own, |sum, item| sum.plus(Self::of(item))),
            Value::Map(entries) => entries.iter().fold(own, |sum, (key, value)| {
                sum.plus(Self { nodes: 1, bytes: key.text.len() }).plus(Self::of(value))
            }),
            _ => own,
        }
    }

    const fn plus(self, other: Self) -> Self {
        Self { nodes: self.nodes + other.nodes, bytes: self.bytes + other.bytes }
    }
}

/// Builds the tree from events.
struct Reader<'t> {
    text: &'t str,
    places: Places,
    mistakes: &'t mut Mistakes,
    /// Lists and mappings around the current place, outermost first.
    open: Vec<Open>,
    root: Option<Node>,
    /// Finished anchored values by the parser's number for the anchor.
    anchors: HashMap<usize, (Node, Cost)>,
    spent: Cost,
}

impl Reader<'_> {
    fn run(mut self) -> Option<Node> {
        let mut parser = Parser::new_from_str(self.text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, place) = match event {
                Ok(event) => event,
                Err(error) => return self.syntax(&error),
            };
            let span = self.places.span(&place);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return self.refuse(
                            span,
                            "a second document begins here",
                            "write one experiment a file",
                        );
                    }
                }
                Event::Alias(anchor) => self.alias(anchor, span)?,
                Event::Scalar(text, style, anchor, tag) => {
                    self.untagged(tag.is_some(), span)?;
                    self.scalar(text.into_owned(), style, anchor, span)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.untagged(tag.is_some(), span)?;
                    self.begin(anchor, span, Items::List(Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.untagged(tag.is_some(), span)?;
                    self.begin(anchor, span, Items::Map(Entries::default()))?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(span)?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        if self.root.is_none() {
            return self.refuse(
                Span::default(),
                "the file is empty",
                "begin with `experiment: WHAT IS CLAIMED`",
            );
        }
        self.root
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, anchor: usize, span: Span) -> Option<()> {
        self.spend(Cost { nodes: 1, bytes: text.len() }, span)?;
        // Of block scalars too the source may begin with the text, but only by chance of its indentation.
        let begins = match style {
            ScalarStyle::Plain => Some(span.start),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Some(span.start + 1),
            ScalarStyle::Literal | ScalarStyle::Folded => None,
        };
        let verbatim = begins.filter(|at| self.text.get(*at..).is_some_and(|tail| tail.starts_with(&text)));
        let node = if style == ScalarStyle::Plain {
            Node { span, value: resolve(&text), plain: Some(text), verbatim }
        } else {
            Node { span, value: Value::Text(text), plain: None, verbatim }
        };
        self.put(node, anchor)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Option<()> {
        let Some((_, cost)) = self.anchors.get(&anchor) else {
            return self.refuse(span, "this alias stands inside the value that it names", "");
        };
        self.spend(*cost, span)?;
        let (node, _) = &self.anchors[&anchor];
        let node = Node { span, verbatim: None, ..node.clone() };
        self.put(node, 0)
    }

    fn begin(&mut self, anchor: usize, span: Span, items: Items) -> Option<()> {
        self.spend(Cost { nodes: 1, bytes: 0 }, span)?;
        if self.open.len() == MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return self.refuse(span, &message, "no experiment needs that; is this the right file?");
        }
        self.open.push(Open { start: span.start, anchor, items });
        Some(())
    }

    fn end(&mut self, span: Span) -> Option<()> {
        let Open { start, anchor, items } = self.open.pop().expect("the parser ends only what it began");
        let value = match items {
            Items::List(items) => Value::List(items),
            Items::Map(entries) => Value::Map(entries.read),
        };
        // A block ends where the next token begins; what people see of it ends earlier.
        let end = start + self.text.get(start..span.end).map_or(0, |text| text.trim_end().len());
        self.put(Node::new(Span { start, end }, value), anchor)
    }

    /// Places a finished value where the innermost open list or mapping wants it.
    fn put(&mut self, node: Node, anchor: usize) -> Option<()> {
        if anchor > 0 {
            let cost = Cost::of(&node);
            self.spend(cost, node.span)?;
            self.anchors.insert(anchor, (node.clone(), cost));
        }
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Map(entries)) => match entries.key.take() {
                Some(key) if !entries.repeated => entries.read.push((key, node)),
                Some(_) => {}
                None => return self.key(&node),
            },
        }
        Some(())
    }

    /// Takes a value that stands where a key is due.
    fn key(&mut self, node: &Node) -> Option<()> {
        let Some(text) = node.scalar() else {
            let message = format!("{} can't be a key", node.noun());
            return self.refuse(node.span, &message, "write a name before the `:`");
        };
        if text == "<<" && node.plain.is_some() {
            return self.refuse(
                node.span,
                "merge keys (`<<`) are not part of the language",
                "repeat the fields, or let an alias stand for the whole value: `expect: *expect`",
            );
        }
        let Some(Items::Map(entries)) = self.open.last_mut().map(|open| &mut open.items) else {
            unreachable!("keys are read inside mappings only");
        };
        entries.repeated = entries.keys.contains_key(&text);
        if entries.repeated {
            let (line, _) = crate::error::line_and_column(self.text, entries.keys[&text].start);
            let message = format!("`{text}` is given a second time; the first is in line {line}");
            self.mistakes.add(node.span, message, "keep one of them");
            if self.mistakes.full() {
                return None;
            }
        } else {
            entries.keys.insert(text.clone(), node.span);
        }
        entries.key = Some(Key { span: node.span, text });
        Some(())
    }

    fn untagged(&mut self, tagged: bool, span: Span) -> Option<()> {
        if !tagged {
            return Some(());
        }
        let hint = "leave the tag out; quote the value if it is text that begins with `!`";
        self.refuse(span, "tags (`!name`) are not part of the language", hint)
    }

    fn spend(&mut self, cost: Cost, span: Span) -> Option<()> {
        self.spent = self.spent.plus(cost);
        if self.spent.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values, counting what aliases stand for");
            return self.refuse(span, &message, "no experiment needs that; is this the right file?");
        }
        if self.spent.bytes > MAX_EXPANDED_BYTES {
            let message =
                format!("more than {MAX_EXPANDED_BYTES} bytes of text, counting what aliases stand for");
            return self.refuse(span, &message, "no experiment needs that; is this the right file?");
        }
        Some(())
    }

    /// Notes what ends the reading.
    fn refuse<T>(&mut self, span: Span, message: &str, hint: &str) -> Option<T> {
        self.mistakes.add(span, message, hint);
        None
    }

    /// Notes a syntax error, with what usually causes it.
    fn syntax<T>(&mut self, error: &ScanError) -> Option<T> {
        let start = self.places.byte(error.marker().index());
        let span = Span { start, end: self.places.byte(error.marker().index() + 1) };
        if self.text[..start].ends_with('$') {
            let hint = "quote the variable: between `{` and `}`, write `'${NAME}'`";
            return self.refuse(span, "this is not valid YAML: a brace in the middle of text", hint);
        }
        let hint =
            SYNTAX_HINTS.iter().find(|(words, _)| error.info().contains(words)).map_or("", |(_, hint)| hint);
        self.refuse(span, &format!("this is not valid YAML: {}", error.info()), hint)
    }
}

/// What people usually did when the parser says this.
const SYNTAX_HINTS: [(&str, &str); 10] = [
    ("mapping values are not allowed", "quote text that contains `: `, or check the indentation"),
    ("tab", "indent with spaces"),
    ("unknown anchor", "define it above with `&name`, or quote text that begins with `*`"),
    ("block scalar", "quote text that begins with `>` or `|`"),
    ("unexpected character: `%", "quote text that begins with `%`"),
    ("unexpected character: `@", "quote text that begins with `@`"),
    ("unexpected character: `", "quote text that begins with a backquote"),
    ("quoted scalar", "close the quote, and write `\\\\` for a backslash between double quotes"),
    ("flow", "close every `[` with `]` and every `{` with `}`, with commas between entries"),
    (
        "did not find expected",
        "check the indentation here and above, and quote text that begins with a bracket",
    ),
];
