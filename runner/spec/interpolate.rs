//! Puts variables into an experiment: `${NAME}`, `${NAME:-default}`, and `$${` for a `${` of its own.
//!
//! Works on the tree, after parsing: a variable's value can only ever become a scalar's text, whatever it
//! contains, and never a key, a list or another variable. A plain scalar is resolved anew, so that
//! `seed: ${SEED}` is a number; a quoted one stays text, which number fields read too. Where the variables come from is the caller's business. Start at
//! [`interpolate`].

use std::collections::BTreeMap;

use super::decode::{Mistakes, nearest};
use super::node::{Node, Value};
use super::yaml;
use crate::error::Span;

/// Replaces every variable in the scalars of `node`; each missing one is noted. Returns where the scalars
/// stand that have no value now: what else is wrong with them follows from that.
pub fn interpolate(
    node: &mut Node,
    variables: &BTreeMap<String, String>,
    mistakes: &mut Mistakes,
) -> Vec<Span> {
    let mut interpolation = Interpolation { variables, mistakes, bytes: 0, without_value: Vec::new() };
    interpolation.visit(node);
    interpolation.without_value
}

struct Interpolation<'v> {
    variables: &'v BTreeMap<String, String>,
    mistakes: &'v mut Mistakes,
    /// What replaced texts have grown to; a file may name a long variable many times.
    bytes: usize,
    without_value: Vec<Span>,
}

impl Interpolation<'_> {
    fn visit(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::List(items) => items.iter_mut().for_each(|item| self.visit(item)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| self.visit(value)),
            Value::Text(text) if text.contains("${") => {
                let text = std::mem::take(text);
                let replaced = self.replace(&text, node.span, node.verbatim).unwrap_or_else(|| {
                    self.without_value.push(node.span);
                    String::new()
                });
                node.verbatim = None;
                node.value = match &mut node.plain {
                    Some(plain) => {
                        plain.clone_from(&replaced);
                        yaml::resolve(&replaced)
                    }
                    None => {
                        // Between `{` and `}` a variable has to be quoted, also one that is a number.
                        let variable = text.starts_with("${") && text.find('}') == Some(text.len() - 1);
                        node.plain = variable.then(|| replaced.clone());
                        Value::Text(replaced)
                    }
                };
            }
            _ => {}
        }
    }

    fn replace(&mut self, text: &str, span: Span, verbatim: Option<usize>) -> Option<String> {
        let mut out = String::new();
        let mut rest = text;
        let mut missing = false;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                // The first of the two dollars goes; the brace after the second is no variable.
                out.push_str(&rest[..at - 1]);
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let tail = &rest[at..];
            let start = text.len() - tail.len();
            let len = tail.find('}').map_or(tail.len(), |end| end + 1);
            let here =
                verbatim.map_or(span, |begins| Span { start: begins + start, end: begins + start + len });
            rest = &tail[len..];
            match self.value(&tail[..len], here) {
                Some(value) => out.push_str(value),
                None => missing = true,
            }
            if self.bytes + out.len() > yaml::MAX_EXPANDED_BYTES {
                let message = format!("variables grow the text beyond {} bytes", yaml::MAX_EXPANDED_BYTES);
                self.mistakes.add(here, message, "is this the right file?");
                return None;
            }
        }
        out.push_str(rest);
        self.bytes += out.len();
        (!missing).then_some(out)
    }

    /// The value of `${…}`; nothing, with a mistake noted, where it has none.
    fn value<'t>(&'t mut self, written: &'t str, here: Span) -> Option<&'t str> {
        let Some(inside) = written.strip_prefix("${").and_then(|text| text.strip_suffix('}')) else {
            self.mistakes.add(
                here,
                "this `${` is never closed",
                "write `${NAME}`, or `$${` for the text itself",
            );
            return None;
        };
        let (name, default) =
            inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
        let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !named {
            let message = format!("`{name}` can't be a variable's name");
            let hint = "write `${NAME}` or `${NAME:-default}`, or `$${` for the text itself";
            self.mistakes.add(here, message, hint);
            return None;
        }
        if self.mistakes.full() {
            return None;
        }
        // As in a shell, `:-` stands in for an empty value too.
        match (self.variables.get(name), default) {
            (Some(value), None) => Some(value),
            (Some(value), Some(_)) if !value.is_empty() => Some(value),
            (_, Some(default)) => Some(default),
            (None, None) => {
                let known: Vec<&str> = self.variables.keys().map(String::as_str).collect();
                let close = nearest(name, &known).filter(|near| strsim::levenshtein(near, name) <= 2);
                let hint = match close {
                    Some(near) => format!("`{near}` is set; or give a default: `${{{name}:-default}}`"),
                    None => format!("set it in the environment, or give a default: `${{{name}:-default}}`"),
                };
                self.mistakes.add(here, format!("the variable `{name}` is not set"), hint);
                None
            }
        }
    }
}
