//! The names that an experiment gives, read from its tree.
//!
//! From the tree rather than from the typed experiment, because a load with a typo inside still exists:
//! whoever names it is right. Start at [`Names`].

use std::collections::HashMap;

use super::decode::Mistakes;
use super::node::{Node, Value};
use crate::error::Span;

/// The names that an experiment gives, whether or not what they name could be read.
pub struct Names {
    /// Of targets.
    pub targets: Vec<String>,
    /// Of loads.
    pub loads: Vec<String>,
    /// Of SLOs.
    pub slos: Vec<String>,
    /// Of phases.
    pub phases: Vec<String>,
    /// True if there is a steady state.
    pub steady_state: bool,
    /// How many faults there are, all phases together.
    pub fault_count: usize,
    /// True if `phases` is left out or empty.
    pub no_phases: bool,
    /// Where each thing stands, by top-level field and name.
    spans: HashMap<(&'static str, String), Span>,
}

impl Names {
    /// The names in an experiment's tree.
    pub fn of(root: &Node) -> Self {
        let names = |field: &str| match inside(root, field) {
            Some(Value::Map(entries)) => entries.iter().map(|(key, _)| key.text.clone()).collect(),
            _ => Vec::new(),
        };
        let listed = |node: &Node, field: &str| match inside(node, field) {
            Some(Value::List(items)) => items.len(),
            _ => 0,
        };
        let (fault_count, no_phases) = match inside(root, "phases") {
            Some(Value::Map(phases)) => {
                (phases.iter().map(|(_, phase)| listed(phase, "faults")).sum(), phases.is_empty())
            }
            other => (0, matches!(other, None | Some(Value::Null))),
        };
        let mut spans = HashMap::new();
        for section in ["targets", "load", "phases", "expect"] {
            if let Some(Value::Map(entries)) = inside(root, section) {
                spans.extend(entries.iter().map(|(key, node)| ((section, key.text.clone()), node.span)));
            }
        }
        Self {
            spans,
            targets: names("targets"),
            loads: names("load"),
            slos: names("slos"),
            phases: names("phases"),
            steady_state: listed(root, "steady_state") > 0,
            fault_count,
            no_phases,
        }
    }
}

impl Names {
    /// True if something in the thing called `name` is already known to be wrong: what seems to be missing
    /// there may just be misspelt.
    pub fn touched(&self, section: &'static str, name: &str, mistakes: &Mistakes) -> bool {
        self.spans.get(&(section, name.to_owned())).is_some_and(|span| mistakes.within(*span))
    }
}

/// The value of a mapping's field.
fn inside<'n>(node: &'n Node, field: &str) -> Option<&'n Value> {
    match &node.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.text == field).map(|(_, node)| &node.value),
        _ => None,
    }
}
