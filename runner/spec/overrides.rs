//! Puts `--set` overrides into an experiment: `load.shoppers.rate=100/s`, `phases.slow.faults.0.pause.on=x`.
//!
//! Works on the tree, before variables: what an override says is read, checked and complained about exactly
//! as if it stood in the file, and a value that is overridden needs none of its variables. A path leads through fields, names and list positions (from 0). It may end at
//! a field that the file left out, but may not make up a new load, phase or target on the way. Start at
//! [`apply`].

use super::decode::{Mistakes, list_of, nearest};
use super::node::{Key, Node, Value};
use super::yaml;
use crate::error::{OVERRIDE, Span};

/// Top-level fields that hold things by names of the user's choosing.
const NAMED: [(&str, &str); 5] = [
    ("targets", "target"),
    ("load", "load"),
    ("slos", "SLO"),
    ("phases", "phase"),
    ("expect", "expectation"),
];

/// The experiment's text with the overrides behind it: the text that all spans are places in.
pub fn text_with(text: &str, overrides: &[(String, String)]) -> String {
    let mut all = text.to_owned();
    for (path, value) in overrides {
        all.push(OVERRIDE);
        all.push_str(path);
        all.push('=');
        all.push_str(value);
    }
    all
}

/// Puts `overrides` into `root`, the tree of a text of `text_bytes` bytes; each that can't be is noted.
pub fn apply(root: &mut Node, overrides: &[(String, String)], text_bytes: usize, mistakes: &mut Mistakes) {
    let mut at = text_bytes;
    for (path, value) in overrides {
        at += OVERRIDE.len_utf8();
        let path_at = at;
        at += path.len() + 1;
        let value_at = at;
        at += value.len();
        let Some(value) = read(value, value_at, mistakes) else { continue };
        let mut start = path_at;
        let mut segments = Vec::new();
        for text in path.split('.') {
            segments.push(Segment { text, span: Span { start, end: start + text.len() } });
            start += text.len() + 1;
        }
        if let Some(empty) = segments.iter().find(|segment| segment.text.is_empty()) {
            let message = format!("`{path}` is not a path");
            mistakes.add(
                empty.span,
                message,
                "write names with dots between them: `load.shoppers.rate=100/s`",
            );
            continue;
        }
        put(root, &segments, &[], value, mistakes);
    }
}

/// One name of a path.
struct Segment<'t> {
    text: &'t str,
    span: Span,
}

/// Reads an override's value as YAML.
fn read(text: &str, at: usize, mistakes: &mut Mistakes) -> Option<Node> {
    let span = Span { start: at, end: at + text.len() };
    if text.len() > yaml::MAX_TEXT_BYTES {
        mistakes.add(span, "this value is too long", "put it into the file");
        return None;
    }
    match serde_yaml::from_str::<serde_yaml::Value>(text) {
        Ok(value) => node(value, text, span, mistakes),
        Err(error) => {
            let hint = "quote what has `: `, `#` or a bracket in it";
            mistakes.add(span, format!("`{text}` is not valid YAML: {error}"), hint);
            None
        }
    }
}

fn node(value: serde_yaml::Value, text: &str, span: Span, mistakes: &mut Mistakes) -> Option<Node> {
    let value = match value {
        serde_yaml::Value::Sequence(items) => {
            Value::List(items.into_iter().map(|item| node(item, "", span, mistakes)).collect::<Option<_>>()?)
        }
        serde_yaml::Value::Mapping(entries) => {
            let mut read = Vec::new();
            for (key, value) in entries {
                let key = node(key, "", span, mistakes)?.scalar().unwrap_or_default();
                read.push((Key { span, text: key }, node(value, "", span, mistakes)?));
            }
            Value::Map(read)
        }
        serde_yaml::Value::Tagged(_) => {
            mistakes.add(span, "tags (`!name`) are not part of the language", "leave the tag out");
            return None;
        }
        serde_yaml::Value::String(text) => Value::Text(text),
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(value) => Value::Bool(value),
        serde_yaml::Value::Number(number) => yaml::resolve(&number.to_string()),
    };
    // A scalar by itself keeps its text, as it would in the file: `1.10` is not `1.1`.
    let whole = text.trim();
    let lead = text.len() - text.trim_start().len();
    let scalar = !whole.is_empty() && !matches!(value, Value::List(_) | Value::Map(_));
    let plain = scalar && !whole.starts_with(['"', '\'', '|', '>']);
    let same = matches!(&value, Value::Text(text) if text == whole);
    Some(Node {
        span,
        value,
        plain: plain.then(|| whole.to_owned()),
        verbatim: same.then_some(span.start + lead),
    })
}

/// Puts `value` where `path` leads from `node`; `walked` are the names that led here.
fn put(node: &mut Node, path: &[Segment<'_>], walked: &[&str], value: Node, mistakes: &mut Mistakes) {
    let [first, rest @ ..] = path else {
        *node = value;
        return;
    };
    // A word alone is short for the word with nothing behind it: `lab: replicas` has `lab.replicas.apis`.
    let word = node.scalar();
    if word.as_deref() == Some(first.text) && !rest.is_empty() {
        let key = Key { span: node.span, text: first.text.to_owned() };
        node.value = Value::Map(vec![(key, Node::new(node.span, Value::Null))]);
    }
    if node.value == Value::Null {
        node.value = Value::Map(Vec::new());
    }
    match &mut node.value {
        Value::Map(entries) => put_field(entries, path, walked, value, mistakes),
        Value::List(items) => {
            let len = items.len();
            match first.text.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                Some(item) => put(item, rest, &[walked, &[first.text]].concat(), value, mistakes),
                None => {
                    let message = format!("`{}` has no entry `{}`", walked.join("."), first.text);
                    let hint = match len {
                        0 => "it is empty".to_owned(),
                        1 => "its only entry is 0".to_owned(),
                        _ => format!("its entries are 0 to {}", len - 1),
                    };
                    mistakes.add(first.span, message, hint);
                }
            }
        }
        _ => {
            let message = format!(
                "`{}` is `{}`, which has no field `{}`",
                walked.join("."),
                word.unwrap_or_default(),
                first.text
            );
            mistakes.add(first.span, message, "end the path one name earlier");
        }
    }
}

fn put_field(
    entries: &mut Vec<(Key, Node)>,
    path: &[Segment<'_>],
    walked: &[&str],
    value: Node,
    mistakes: &mut Mistakes,
) {
    // Names may contain dots: the longest name that is there wins.
    for taken in (1..=path.len()).rev() {
        let name = path[..taken].iter().map(|segment| segment.text).collect::<Vec<_>>().join(".");
        if let Some((_, found)) = entries.iter_mut().find(|(key, _)| key.text == name) {
            let walked = [walked, &[name.as_str()]].concat();
            return put(found, &path[taken..], &walked, value, mistakes);
        }
    }
    let [first, rest @ ..] = path else { return };
    if let ([section], false) = (walked, rest.is_empty())
        && let Some((_, noun)) = NAMED.iter().find(|(name, _)| name == section)
    {
        let known: Vec<&str> = entries.iter().map(|(key, _)| key.text.as_str()).collect();
        let hint = match nearest(first.text, &known) {
            Some(near) => format!("did you mean `{section}.{near}`?"),
            None if known.is_empty() => format!("the file has no {noun}"),
            None => format!("known: {}", list_of(&known)),
        };
        mistakes.add(first.span, format!("there is no {noun} `{}`", first.text), hint);
        return;
    }
    let key = Key { span: first.span, text: first.text.to_owned() };
    let mut new = Node::new(first.span, Value::Null);
    put(&mut new, rest, &[walked, &[first.text]].concat(), value, mistakes);
    entries.push((key, new));
}
