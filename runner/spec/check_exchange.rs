//! What flows, templates, data, credentials and expectations of answers must not leave out or contradict.
//!
//! A part of `check_requests.rs`, which calls it. Start at [`load`] and [`entry`].

use super::answer::{Expect, Extract, Match};
use super::credentials::{Auth, Headers};
use super::decode::{Located, Mistakes};
use super::template::{self, Known};
use super::{Data, Load, Request};
use crate::error::Span;

/// The most steps of a flow: a visit, not a crawl.
pub const MAX_STEPS: usize = 100;

/// The most values that one flow extracts: each is kept for every visitor under way.
pub const MAX_EXTRACTED: usize = 100;

/// The most checks of one kind on one answer.
const MAX_CHECKS: usize = 100;

/// The most files of rows of one load: each has a thread that reads it.
pub const MAX_DATA: usize = 20;

/// Notes what is wrong with a load apart from its entries; returns the names that their templates may use.
pub fn load<'l>(name: &Located<String>, load: &'l Load, mistakes: &mut Mistakes) -> Known<'l> {
    let known = Known { data: load.data.names().collect(), extracted: Vec::new() };
    if load.data.len() > MAX_DATA {
        let message = format!("{} files of data; a load has at most {MAX_DATA}", load.data.len());
        mistakes.add(name.span, message, "");
    }
    for (key, data) in &load.data.0 {
        self::name("data", key, mistakes);
        let (Data::Csv(file) | Data::Jsonl(file)) = data;
        if file.trim().is_empty() {
            mistakes.add(file.span, format!("`{}` is empty", data.word()), "write the file's path");
        }
    }
    // A load's own headers go with every request, also where nothing was extracted yet.
    header_templates(&load.headers, name.span, &known, mistakes);
    auth((load.auth.as_ref(), &load.headers), name.span, &known, mistakes);
    known
}

/// Notes what is wrong with an entry of a load's requests: how it is put together, its templates, and what
/// it expects. Methods, URLs and headers are checked elsewhere.
pub fn entry(load: &Located<String>, entry: &Request, known: &Known<'_>, mistakes: &mut Mistakes) {
    match &entry.flow {
        Some(flow) => self::flow(flow, entry, known, mistakes),
        None => {
            let span = span_of(entry).unwrap_or(load.span);
            if !entry.steps.is_empty() {
                mistakes.add(span, "`steps` without `flow`", "name them: `- flow: checkout`");
            }
            if let Some((extracted, _)) = entry.extract.0.first() {
                let hint = "make it a step of a flow: `- flow: NAME` with `steps`";
                mistakes.add(extracted.span, "what is extracted here is never used", hint);
            }
            if !entry.think.is_zero() {
                let hint = "leave it out; arrivals come when `rate` or `users` say";
                mistakes.add(span, "`think` is for the steps of a flow", hint);
            }
            sent(entry, span, known, mistakes);
        }
    }
}

fn flow(flow: &Located<String>, entry: &Request, known: &Known<'_>, mistakes: &mut Mistakes) {
    if flow.trim().is_empty() {
        mistakes.add(flow.span, "a flow needs a name", "write `flow: checkout`");
    }
    let Request { name, headers, auth, body, json, extract, .. } = entry;
    let alone = entry.method_and_url().is_some()
        || name.is_some()
        || !headers.is_empty()
        || auth.is_some()
        || body.is_some()
        || json.is_some()
        || !extract.is_empty()
        || !entry.think.is_zero()
        || entry.expect != Expect::default();
    if alone {
        let message = format!("flow `{}` says what only a request can say", flow.value);
        mistakes.add(flow.span, message, "keep `flow`, `steps` and `weight`; the rest belongs to the steps");
    }
    if entry.steps.is_empty() {
        let message = format!("flow `{}` has no steps", flow.value);
        mistakes.add(flow.span, message, "list its requests: `steps: [ { get: … }, { post: … } ]`");
    }
    if entry.steps.len() > MAX_STEPS {
        let message = format!("{} steps; a flow has at most {MAX_STEPS}", entry.steps.len());
        return mistakes.add(flow.span, message, "");
    }
    let mut known = known.clone();
    for step in &entry.steps {
        let span = span_of(step).unwrap_or(flow.span);
        if step.flow.is_some() || !step.steps.is_empty() {
            mistakes.add(span, "a step can't be a flow itself", "list its steps here");
        }
        if step.weight.span != Span::default() {
            let hint = "give the flow a `weight`: all its steps are sent";
            mistakes.add(step.weight.span, "a step has no weight of its own", hint);
        }
        sent(step, span, &known, mistakes);
        for (name, place) in &step.extract.0 {
            self::name("an extracted value", name, mistakes);
            extract_place(place, mistakes);
            if !known.extracted.contains(&name.value.as_str()) {
                known.extracted.push(&name.value);
            }
        }
    }
    if known.extracted.len() > MAX_EXTRACTED {
        let message =
            format!("{} extracted values; a flow has at most {MAX_EXTRACTED}", known.extracted.len());
        mistakes.add(flow.span, message, "");
    }
}

/// Where a request stands, as far as its parts know.
fn span_of(request: &Request) -> Option<Span> {
    let flow = request.flow.as_ref().map(|flow| flow.span);
    flow.or_else(|| request.method_and_url().map(|(_, url)| url.span))
}

/// Notes what is wrong with the templates of a request and what it expects.
fn sent(request: &Request, span: Span, known: &Known<'_>, mistakes: &mut Mistakes) {
    let Request { get, head, post, put, patch, delete, .. } = request;
    for url in [get, head, post, put, patch, delete].into_iter().flatten() {
        templates(url, url.span, known, mistakes);
    }
    header_templates(&request.headers, span, known, mistakes);
    auth((request.auth.as_ref(), &request.headers), span, known, mistakes);
    for text in [&request.body, &request.send].into_iter().flatten() {
        templates(text, text.span, known, mistakes);
    }
    if let Some(json) = &request.json {
        json_templates(&json.value, json.span, known, mistakes);
    }
    expect(&request.expect, span, mistakes);
    if request.head.is_some() {
        let Expect { body, regex, json, size, .. } = &request.expect;
        if body.is_some() || regex.is_some() || !json.is_empty() || size.is_some() {
            mistakes.add(span, "the answer to HEAD has no body to look into", "check the status or a header");
        }
    }
}

/// Notes what is wrong with what is expected of an answer; `span` is where mistakes are without a better
/// place.
pub fn expect(expect: &Expect, span: Span, mistakes: &mut Mistakes) {
    let Expect { status: _, header, body, regex, json, size: _, bytes: _ } = expect;
    if header.len() > MAX_CHECKS || json.len() > MAX_CHECKS {
        return mistakes.add(span, format!("more than {MAX_CHECKS} checks on one answer"), "");
    }
    for (name, wanted) in &header.0 {
        header_name(&name.value, name.span, mistakes);
        if let Match::Regex(text) = &wanted.value {
            regular(text, wanted.span, mistakes);
        }
    }
    if let Some(body) = body.as_ref().filter(|body| body.is_empty()) {
        mistakes.add(body.span, "every body contains the empty text", "write what it must contain");
    }
    if let Some(text) = regex {
        regular(text, text.span, mistakes);
    }
    for (path, _) in &json.0 {
        json_path(path, mistakes);
    }
}

fn extract_place(place: &Extract, mistakes: &mut Mistakes) {
    match place {
        Extract::Json(path) => json_path(path, mistakes),
        Extract::Regex(text) => regular(text, text.span, mistakes),
        Extract::Header(name) => header_name(name, name.span, mistakes),
        Extract::Cookie(name) => {
            if name.is_empty() || name.contains(|c: char| c.is_control() || "=; ,\"".contains(c)) {
                mistakes.add(name.span, format!("`{}` can't be a cookie's name", name.value), "");
            }
        }
    }
}

fn header_name(name: &str, span: Span, mistakes: &mut Mistakes) {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        mistakes.add(span, format!("`{name}` can't be a header's name"), "use letters, digits and `-`");
    }
}

fn json_path(path: &Located<String>, mistakes: &mut Mistakes) {
    // What its parser says of a mistake names the parser's parts, not the path's.
    if serde_json_path::JsonPath::parse(path).is_err() {
        let message = format!("`{}` is not a JSONPath", path.value);
        mistakes.add(path.span, message, "write `$.FIELD`, `$.LIST[0]`, or `$..FIELD` for any depth");
    }
}

pub(super) fn regular(text: &str, span: Span, mistakes: &mut Mistakes) {
    if let Err(error) = regex::bytes::Regex::new(text) {
        // The first line of a regex error is a headline, the last one says what is wrong.
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let hint = "quote it between single quotes, and escape dots: `'api\\.v[0-9]+'`";
        mistakes.add(span, format!("`{text}` is not a regular expression: {why}"), hint);
    }
}

fn name(noun: &str, name: &Located<String>, mistakes: &mut Mistakes) {
    if !template::is_name(name) {
        let hint = "use letters, digits, `_` and `-`, a letter first";
        mistakes.add(name.span, format!("`{}` can't be the name of {noun}", name.value), hint);
    } else if template::BUILT_IN.contains(&name.value.as_str()) {
        let message = format!("`{{{{ {} }}}}` means something already", name.value);
        mistakes.add(name.span, message, "choose another name");
    }
}

/// Who a load's or a request's requests are from is said once.
fn auth((auth, headers): (Option<&Auth>, &Headers), span: Span, known: &Known<'_>, mistakes: &mut Mistakes) {
    if auth.is_some() && headers.keys().any(|name| name.eq_ignore_ascii_case("authorization")) {
        let message = "both `auth` and the header `authorization` say who requests are from";
        mistakes.add(span, message, "keep one of them");
    }
    let text = match auth {
        None => return,
        Some(Auth::Bearer(token)) => token.reveal(),
        Some(Auth::Basic(basic)) => {
            if basic.user.contains(':') {
                mistakes.add(span, "the user of `basic` holds a colon", "what follows it is the password");
            }
            if basic.user.chars().chain(basic.password.reveal().chars()).any(char::is_control) {
                mistakes.add(span, "`basic` holds a control character", "");
            }
            return;
        }
    };
    if text.is_empty() || text.chars().any(char::is_control) {
        // Never quoted: it is a secret.
        let hint = "is the variable that it comes from set?";
        mistakes.add(span, "the token of `bearer` is empty or holds a control character", hint);
    }
    templates(text, span, known, mistakes);
}

fn header_templates(headers: &Headers, span: Span, known: &Known<'_>, mistakes: &mut Mistakes) {
    headers.values().for_each(|value| templates(value, span, known, mistakes));
}

fn json_templates(json: &serde_json::Value, span: Span, known: &Known<'_>, mistakes: &mut Mistakes) {
    match json {
        serde_json::Value::String(text) => templates(text, span, known, mistakes),
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| json_templates(item, span, known, mistakes));
        }
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                templates(name, span, known, mistakes);
                json_templates(value, span, known, mistakes);
            }
        }
        _ => {}
    }
}

/// Every `{{ … }}` must be a template there is.
fn templates(text: &str, span: Span, known: &Known<'_>, mistakes: &mut Mistakes) {
    for wrong in template::parts(text, known).into_iter().filter_map(Result::err) {
        mistakes.add(span, wrong.message, wrong.hint);
    }
}
