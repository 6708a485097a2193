//! Brings expressions to the language: their readers from the tree and from saved text, and their schemas.
//!
//! A mistake is shown inside the expression where the file holds its text letter by letter, and at the
//! whole scalar elsewhere. Start at [`expression`].

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::decode::{Decode, Mistakes};
use super::expr::{Check, Condition, StatusSet};
use super::expr_condition::{condition, statuses};
use super::expr_cursor::Mistake;
use super::expr_parse::check;
use super::k6;
use super::node::{Node, Value};
use crate::error::Span;

/// Reads an expression from a scalar; a mistake points inside it where the file has its text letter by letter.
fn expression<T>(
    node: &Node,
    what: &str,
    read: fn(&str) -> Result<T, Mistake>,
    mistakes: &mut Mistakes,
) -> Option<T> {
    let Some(text) = node.scalar() else {
        mistakes.wrong_kind(node, what, "write it on one line");
        return None;
    };
    match read(&text) {
        Ok(value) => Some(value),
        Err(mistake) => {
            let span = node.verbatim.map_or(node.span, |begins| Span {
                start: begins + mistake.at.start,
                end: begins + mistake.at.end,
            });
            mistakes.add(span, mistake.message, mistake.hint);
            None
        }
    }
}

impl Decode for Check {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        expression(node, "a check such as `p99(latency) < 300ms`", check, mistakes)
    }
}

impl Decode for k6::Expression {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        expression(node, "a threshold such as `p(95)<200`", k6::expression, mistakes)
    }
}

impl Decode for Condition {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        expression(node, "a condition such as `status < 500`", condition, mistakes)
    }
}

impl Decode for StatusSet {
    /// Reads one set, or a list of sets that count together.
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        let what = "a status code such as `200`, or `2xx`, or `< 500`, or a list of these";
        let Value::List(items) = &node.value else {
            return expression(node, what, statuses, mistakes);
        };
        if items.is_empty() {
            mistakes.add(
                node.span,
                "no status code is in this list",
                "leave the field out to take all below 400",
            );
            return None;
        }
        let read: Vec<_> = items.iter().map(|item| expression(item, what, statuses, mistakes)).collect();
        let sets: Vec<Self> = read.into_iter().collect::<Option<_>>()?;
        Some(Self { ranges: sets.into_iter().flat_map(|set| set.ranges).collect() })
    }
}

/// Gives a type its reader from text alone: what a saved plan is read back by.
macro_rules! from_text {
    ($($type:ty, $read:path;)*) => {$(
        impl FromStr for $type {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                $read(text).map_err(String::from)
            }
        }

        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
    )*};
}

from_text! {
    Check, check;
    Condition, condition;
    k6::Expression, k6::expression;
    StatusSet, statuses;
}

impl JsonSchema for Check {
    fn schema_name() -> Cow<'static, str> {
        "Check".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*slo\s*\(|[<>=!]",
            "description": "A comparison over the load: `p99(latency) < 300ms over 10s`, `rate(good) >= 99.9%`, `p99(latency, slow) < 2 * p99(latency, baseline)`.",
        })
    }
}

impl JsonSchema for k6::Expression {
    fn schema_name() -> Cow<'static, str> {
        "Expression".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*(p\s*\(|avg|med|min|max|count|rate)",
            "description": "How a metric is summed up, and what with that is compared: `p(95)<200`, `rate<0.01`.",
        })
    }
}

impl JsonSchema for Condition {
    fn schema_name() -> Cow<'static, str> {
        "Condition".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*(status|latency)\s*[<>=!]",
            "description": "When a request counts as good: `status < 500 and latency < 300ms`.",
        })
    }
}

impl JsonSchema for StatusSet {
    fn schema_name() -> Cow<'static, str> {
        "StatusSet".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = serde_json::json!({ "type": ["string", "integer"] });
        json_schema!({
            "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }],
            "description": "Status codes: `200`, `2xx`, `200-204`, `< 500`, or a list of these.",
        })
    }
}
