//! What requests must not leave out or contradict: methods, URLs, headers, bodies. Arrivals and probes have
//! their own files, `check_arrivals.rs` and `check_probes.rs`.
//!
//! A part of `check.rs`, which calls it; templates, flows and what is expected of answers have their own
//! file, `check_exchange.rs`. Start at [`loads`].

use std::collections::BTreeMap;

use super::decode::{Located, Mistakes, list_of, nearest};
use super::names::Names;
use super::url::Url;
use super::{Experiment, Lab, Load, Request, check_arrivals, check_exchange};
use crate::error::Span;
use crate::units::Duration;

/// The most kinds of request of a load.
pub const MAX_REQUESTS: usize = 1_000;

/// Services of the built-in lab.
const LAB_SERVICES: [&str; 3] = ["gateway", "api", "store"];

/// Notes what is wrong with the loads of `experiment`.
pub fn loads(experiment: &Experiment, names: &Names, mistakes: &mut Mistakes) {
    for (name, load) in &experiment.load.0 {
        self::load(experiment, names, name, load, mistakes);
    }
}

fn load(
    experiment: &Experiment,
    names: &Names,
    name: &Located<String>,
    load: &Load,
    mistakes: &mut Mistakes,
) {
    let touched = names.touched("load", &name.value, mistakes);
    check_arrivals::arrivals(name, load, touched, mistakes);
    positive("timeout", &load.timeout, "10s", mistakes);
    if load.max_in_flight.value == 0 {
        let hint = "write how many requests may be under way at once, such as `10000`";
        mistakes.add(load.max_in_flight.span, "`max_in_flight` must be positive, got `0`", hint);
    }
    super::check_transport::check(load, mistakes);
    headers(&load.headers, name.span, mistakes);
    if load.requests.is_empty() && !touched {
        let message = format!("load `{}` sends no requests", name.value);
        let span = if load.requests.span == Span::default() { name.span } else { load.requests.span };
        mistakes.add(span, message, "list one: `- get: http://127.0.0.1:8080/`");
    }
    let kinds = load.sent().count();
    if kinds > MAX_REQUESTS {
        let message = format!("{kinds} kinds of request; at most {MAX_REQUESTS} are allowed");
        return mistakes.add(name.span, message, "");
    }
    let known = check_exchange::load(name, load, mistakes);
    for entry in &load.requests.value {
        check_exchange::entry(name, entry, &known, mistakes);
        for request in entry.sent() {
            self::request(experiment, names, name, request, mistakes);
        }
    }
}

fn request(
    experiment: &Experiment,
    names: &Names,
    load: &Located<String>,
    request: &Request,
    mistakes: &mut Mistakes,
) {
    let Request { get, head, post, put, patch, delete, .. } = request;
    let given: Vec<&Located<String>> = [get, head, post, put, patch, delete].into_iter().flatten().collect();
    let span = given.first().map_or(load.span, |url| url.span);
    match given.as_slice() {
        [url] => self::url(experiment, url, mistakes),
        [] if request.flow.is_some() => {}
        [] if request.tcp.is_some() => {}
        [] if names.touched("load", &load.value, mistakes) => {}
        [] => {
            let message = format!("a request of load `{}` has no method", load.value);
            mistakes.add(
                load.span,
                message,
                "give one of `get`, `head`, `post`, `put`, `patch`, `delete`, `tcp`",
            );
        }
        [_, second, ..] => {
            let hint = "make it two entries of the list, each with its weight";
            mistakes.add(second.span, "a request has one method, and this is a second one", hint);
        }
    }
    tcp(experiment, request, mistakes);
    if request.weight.value == 0 {
        mistakes.add(request.weight.span, "`weight` must be positive, got `0`", "remove the request instead");
    }
    if let (Some(_), Some(json)) = (&request.body, &request.json) {
        mistakes.add(json.span, "a request has one body, and this is a second one", "keep `body` or `json`");
    }
    headers(&request.headers, span, mistakes);
}

/// What a request over plain TCP has, an HTTP one has not, and the other way round.
fn tcp(experiment: &Experiment, request: &Request, mistakes: &mut Mistakes) {
    const ONLY: &str = "remove it, or write `tcp: HOST:PORT` instead of the method";
    let Some(address) = &request.tcp else {
        for (field, text) in [("send", &request.send), ("bytes", &request.expect.bytes)] {
            if let Some(text) = text {
                mistakes.add(text.span, format!("`{field}` is for requests over plain TCP"), ONLY);
            }
        }
        return;
    };
    match request.tcp_url() {
        Some(Err(hint)) => {
            mistakes.add(address.span, format!("`{}` is not an address", address.value), hint);
        }
        Some(Ok(parsed)) => lab_service(experiment, address, &parsed, mistakes),
        None => {}
    }
    if let Some((_, url)) = request.method_and_url() {
        mistakes.add(url.span, "a request is over plain TCP or HTTP, not both", "make it two loads");
    }
    let body = request.body.as_ref().map(|body| body.span);
    let http = body
        .or(request.json.as_ref().map(|json| json.span))
        .or_else(|| (!request.headers.is_empty()).then_some(address.span));
    if let Some(span) = http {
        mistakes.add(
            span,
            "headers and bodies are HTTP's, and this is plain TCP",
            "write what is sent as `send`",
        );
    }
}

pub(super) fn url(experiment: &Experiment, url: &Located<String>, mistakes: &mut Mistakes) {
    let authority = url.split(['/', '?']).nth(2).unwrap_or_default();
    if authority.contains("{{") {
        let hint = "write the address itself, or give each address a request of its own";
        return mistakes.add(url.span, "a template can't stand in the address of a URL", hint);
    }
    let parsed: Url = match url.parse() {
        Ok(parsed) => parsed,
        Err(hint) => return mistakes.add(url.span, format!("`{}` can't be requested", url.value), hint),
    };
    lab_service(experiment, url, &parsed, mistakes);
}

pub(super) fn lab_service(
    experiment: &Experiment,
    url: &Located<String>,
    parsed: &Url,
    mistakes: &mut Mistakes,
) {
    let Some(service) = parsed.lab_service() else { return };
    match experiment.lab.as_deref() {
        None => {
            let message = format!("`{}` is a service of a lab, and the experiment has none", parsed.host);
            mistakes.add(url.span, message, "write `lab: replicas`, or the address of what runs");
        }
        Some(Lab::Replicas(_)) if !LAB_SERVICES.contains(&service) => {
            let hint = nearest(service, &LAB_SERVICES).map_or_else(
                || format!("known: {}", list_of(&LAB_SERVICES)),
                |near| format!("did you mean `{near}.lab`?"),
            );
            mistakes.add(url.span, format!("the lab has no service `{service}`"), hint);
        }
        Some(_) => {}
    }
}

fn positive(field: &str, value: &Located<Duration>, example: &str, mistakes: &mut Mistakes) {
    if value.is_zero() {
        let message = format!("`{field}` must be positive, got `{}`", value.value);
        mistakes.add(value.span, message, format!("write a duration such as `{example}`"));
    }
}

/// Headers must be possible ones, and not those that follow from the body and the connection.
pub(super) fn headers(headers: &BTreeMap<String, String>, span: Span, mistakes: &mut Mistakes) {
    const OURS: [&str; 3] = ["content-length", "transfer-encoding", "connection"];
    for (name, value) in headers {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            mistakes.add(span, format!("`{name}` can't be a header's name"), "use letters, digits and `-`");
        } else if OURS.contains(&name.to_lowercase().as_str()) {
            mistakes.add(span, format!("the header `{name}` is set by the load itself"), "leave it out");
        }
        if value.chars().any(|c| c.is_control() && c != '\t') {
            let message = format!("the header `{name}` has a line break or control character in its value");
            mistakes.add(span, message, "write it on one line");
        }
    }
}
