//! The experiment language: text to a typed [`Experiment`], or every mistake in it with its place.
//!
//! Pure: no file, no clock, no environment; the caller passes the text, the overrides and the variables.
//! Start at [`parse`].

pub mod alternatives;
pub mod amount;
pub mod answer;
mod check;
mod check_arrivals;
mod check_exchange;
mod check_figures;
pub mod check_judging;
mod check_probes;
mod check_requests;
mod check_slos;
mod check_transport;
pub mod credentials;
pub mod decode;
pub mod define;
pub mod experiment;
pub mod explain;
pub mod expr;
mod expr_check;
mod expr_condition;
mod expr_cursor;
mod expr_decode;
mod expr_figure;
mod expr_parse;
pub mod expr_scope;
pub mod expr_unit;
pub mod find_rate;
pub mod flow;
pub mod indicator;
mod interpolate;
pub mod k6;
mod lines;
pub mod located;
mod names;
pub mod node;
pub mod objective;
mod overrides;
pub mod probing;
pub mod prometheus;
mod reference;
mod schema;
pub mod shape;
pub mod template;
mod transport;
pub mod url;
pub mod words;
pub mod yaml;

pub use answer::*;
pub use check_probes::address_url;
pub use check_slos::DEFAULT_WINDOW;
pub use credentials::{Auth, Basic, Headers, Secret};
pub use experiment::*;
pub use find_rate::FindRate;
pub use flow::{BitRate, QueueRoom, Size};
pub use indicator::{ContainersSli, Counts, LoadSli, PromQl, PromRatio, PrometheusSli, Sli, SliUnit};
pub use lines::lines;
pub use located::{Located, Named};
pub use objective::{BurnAlert, Period, Slo, TimeSlice, Window};
pub use probing::*;
pub use prometheus::{PrometheusProbe, PrometheusServer};
pub use reference::reference;
pub use schema::json_schema;
pub use shape::Shape;
pub use transport::{Connections, Http, Tls};
pub use words::*;

use std::collections::BTreeMap;

use crate::error::{Problem, Problems, Span};
use decode::{Decode, Mistakes};
use node::{Key, Node, Value};

/// What `parse` needs besides the text; all of it comes from the caller.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The file's name for messages.
    pub file: String,
    /// The YAML text.
    pub text: String,
    /// `--set key=value` overrides, in order: dotted path and YAML value, as `load.shoppers.rate=100/s`.
    pub overrides: Vec<(String, String)>,
    /// Variables for `${NAME}` and `${NAME:-default}`.
    pub variables: BTreeMap<String, String>,
    /// Whether something must judge what its faults do.
    pub judging: Judging,
}

/// Whether something must judge what faults do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Judging {
    /// A phase that nothing judges is a mistake: it would pass, whatever happens.
    #[default]
    Needed,
    /// Left to who looks on.
    Left,
}

/// Reads an experiment, or says everything that is wrong with it, sorted by place.
///
/// Spans in the result are places in [`Input::all_text`].
pub fn parse(input: &Input) -> Result<Experiment, Problems> {
    let mut mistakes = Mistakes::default();
    let experiment = yaml::read(&input.text, &mut mistakes).and_then(|mut root| {
        overrides::apply(&mut root, &input.overrides, input.text.len(), &mut mistakes);
        let without_value = interpolate::interpolate(&mut root, &input.variables, &mut mistakes);
        let noted = mistakes.list.len();
        let experiment = Experiment::decode(&root, &mut mistakes);
        // A file with so many mistakes has no use for more, and reading its fields one by one takes long.
        let again = || if mistakes.full() { None } else { what_can_be_read(&root) };
        let readable = experiment.clone().or_else(again);
        if let Some(readable) = readable {
            check::check(&readable, &names::Names::of(&root), input.judging, &mut mistakes);
        }
        let follows = |problem: &Problem| {
            without_value.iter().any(|span| span.start <= problem.span.start && problem.span.end <= span.end)
        };
        let later = mistakes.list.split_off(noted);
        mistakes.list.extend(later.into_iter().filter(|problem| !follows(problem)));
        experiment
    });
    match experiment {
        Some(experiment) if mistakes.list.is_empty() => Ok(experiment),
        _ => Err(input.problems(mistakes.list)),
    }
}

/// Reads a part of the language by itself, such as one [`Load`], with its defaults; what its fields have to
/// do with each other and with an experiment around them is not checked.
pub fn fragment<T: Decode>(text: &str) -> Result<T, Problems> {
    let mut mistakes = Mistakes::default();
    let part = yaml::read(text, &mut mistakes).and_then(|root| T::decode(&root, &mut mistakes));
    part.filter(|_| mistakes.list.is_empty()).ok_or_else(|| {
        Input { file: "-".into(), text: text.into(), ..Input::default() }.problems(mistakes.list)
    })
}

/// The experiment without those of its fields that make it unreadable as a whole, so that the others can
/// be checked against each other. Their mistakes are noted already.
fn what_can_be_read(root: &Node) -> Option<Experiment> {
    let Value::Map(entries) = &root.value else { return None };
    let claim = || {
        let key = Key { span: Span::default(), text: "experiment".into() };
        (key, Node::new(Span::default(), Value::Text(String::new())))
    };
    let decode = |fields: Vec<(Key, Node)>| {
        let fields = std::iter::once(claim()).chain(fields).collect();
        Experiment::decode(&Node::new(root.span, Value::Map(fields)), &mut Mistakes::default())
    };
    let other = |(key, _): &&(Key, Node)| key.text != "experiment";
    let alone = |field: &&(Key, Node)| decode(vec![(*field).clone()]).is_some();
    decode(entries.iter().filter(other).filter(alone).cloned().collect())
}

impl Input {
    /// The text with the overrides behind it: what all spans are places in.
    pub fn all_text(&self) -> String {
        overrides::text_with(&self.text, &self.overrides)
    }

    /// Mistakes found in what this input was parsed to, sorted by place and ready to be printed.
    pub fn problems(&self, mut list: Vec<Problem>) -> Problems {
        list.sort_by_key(|problem| (problem.span.start, problem.span.end));
        Problems { file: self.file.clone(), text: self.all_text(), list }
    }
}

#[cfg(test)]
mod tests;
