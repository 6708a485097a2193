//! A request as bytes: laid out once where it is always the same, else filled in for each occasion.
//!
//! Values filled in can't break out of their place: in a URL they are percent-encoded, in a header control
//! characters become spaces, in JSON they are escaped. Start at [`Wire::new`].

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::cookies::Place;
use super::protocol::h2;
use super::schedule::template_rng;
use super::template::{Escape, Scope, Template, Values};
use super::visit::Visit;
use crate::spec::url::Url;
use crate::spec::{Auth, Headers, Http, Load, Request};

/// A request's bytes.
#[derive(Clone, Debug)]
pub enum Wire {
    /// The same every time.
    Fixed(Arc<[u8]>),
    /// Made anew for each arrival.
    Filled(Box<Filled>),
    /// The same, of a text that is neither head nor body.
    Text(Box<Template>),
}

/// The bytes of one request: kept for good, or made for this arrival in the caller's buffer.
#[derive(Debug)]
pub enum Wired<'a> {
    /// The same every time.
    Fixed(&'a Arc<[u8]>),
    /// Made for this arrival.
    Made(&'a [u8]),
}

/// A request that differs from arrival to arrival.
#[derive(Clone, Debug)]
pub struct Filled {
    /// Request line and headers, up to the cookies and the length of the body.
    head: Template,
    body: Option<Template>,
    /// The URL's host, which cookies are set by and for.
    host: String,
    /// It goes to `https://`.
    tls: bool,
    /// It is a step of a flow, whose cookies go with it.
    in_flow: bool,
    /// Its place in its flow: steps draw from streams of their own.
    step: u64,
}

/// What one request's bytes depend on besides the load's seed.
#[derive(Debug)]
pub struct Occasion<'o> {
    /// The arrival's number in its load, from 1.
    pub number: u64,
    /// The intended instant, in milliseconds since 1970 (UTC).
    pub unix_ms: u64,
    /// What its visitor carries, if there is one.
    pub visit: Option<&'o mut Visit>,
}

impl Wire {
    /// Lays out a request of a load; `step` is its place in its flow, if it is in one. Notes in `scope` which
    /// columns of data it uses.
    pub fn new(
        load: &Load,
        request: &Request,
        (method, url): (&str, &Url),
        step: Option<usize>,
        scope: &mut Scope,
    ) -> Result<Self, String> {
        let mut head = Template::plain(&format!("{method} "))
            .then(Template::compile(&url.path, Escape::Url, scope)?)
            .then(Template::plain(" HTTP/1.1\r\n"));
        let headers = headers(load, request, url)?;
        // Host first, as RFC 9110 7.2 would have it; the rest by name.
        let (host, others): (Vec<_>, Vec<_>) = headers.iter().partition(|(name, _)| *name == "host");
        for (name, value) in host.into_iter().chain(others) {
            head = head
                .then(Template::plain(&format!("{name}: ")))
                .then(Template::compile(value, Escape::Header, scope)?)
                .then(Template::plain("\r\n"));
        }
        let body = match (&request.json, &request.body) {
            (Some(json), _) => Some(Template::compile(&json.value.to_string(), Escape::Json, scope)?),
            (None, Some(text)) => Some(Template::compile(text, Escape::Nothing, scope)?),
            // A method that carries a body says so even where it is empty; a server might wait for one.
            (None, None) if matches!(method, "POST" | "PUT" | "PATCH") => Some(Template::plain("")),
            (None, None) => None,
        };
        if let (None, Some(head), Some(fixed)) =
            (step, head.fixed(), body.as_ref().map_or(Some(""), Template::fixed))
        {
            let length = body.iter().map(|_| format!("content-length: {}\r\n", fixed.len()));
            let length: String = length.collect();
            return Ok(Self::Fixed(format!("{head}{length}\r\n{fixed}").into_bytes().into()));
        }
        let (in_flow, step) = (step.is_some(), step.unwrap_or(0) as u64);
        Ok(Self::Filled(Box::new(Filled { head, body, host: url.host.clone(), tls: url.tls, in_flow, step })))
    }

    /// A text as it is, for what is no HTTP.
    pub fn text(text: &str, scope: &mut Scope) -> Result<Self, String> {
        let template = Template::compile(text, Escape::Nothing, scope)?;
        let fixed = template.fixed().map(|text| Self::Fixed(text.as_bytes().into()));
        Ok(fixed.unwrap_or_else(|| Self::Text(Box::new(template))))
    }

    /// As the version of HTTP sends it: what is the same every time is laid out here once.
    #[must_use]
    pub fn laid(self, http: Http, url: &Url) -> Self {
        match (self, http) {
            (Self::Fixed(text), Http::H2) => {
                let mut laid = Vec::new();
                h2::lay_out(&text, h2::scheme(url.tls), &mut laid);
                Self::Fixed(laid.into())
            }
            (other, _) => other,
        }
    }

    /// The places of the feeds that it needs a row of.
    pub fn feeds(&self) -> Vec<usize> {
        match self {
            Self::Fixed(_) => Vec::new(),
            Self::Text(text) => text.feeds().collect(),
            Self::Filled(filled) => {
                std::iter::once(&filled.head).chain(&filled.body).flat_map(Template::feeds).collect()
            }
        }
    }

    /// The request's bytes on this occasion, made in `scratch` where they are not fixed. A function of its
    /// arguments, so asking again gives the same.
    pub fn bytes<'a>(&'a self, seed: u64, occasion: Occasion<'_>, scratch: &'a mut Vec<u8>) -> Wired<'a> {
        match self {
            Self::Fixed(bytes) => Wired::Fixed(bytes),
            Self::Filled(filled) => {
                filled.render(seed, occasion, scratch);
                Wired::Made(scratch)
            }
            Self::Text(text) => {
                let Occasion { number, unix_ms, visit } = occasion;
                let mut nobody = Visit::default();
                let Visit { rows, extracted, .. } = visit.unwrap_or(&mut nobody);
                scratch.clear();
                let rng = template_rng(seed, number);
                text.render(&mut Values { number, unix_ms, rng, rows, extracted }, scratch);
                Wired::Made(scratch)
            }
        }
    }

    /// Where cookies of an answer come from whose request had this path, at this instant; nothing where there
    /// are none to be kept.
    pub fn place<'p>(&'p self, path: &'p str, now_ms: u64) -> Option<Place<'p>> {
        match self {
            Self::Filled(filled) if filled.in_flow => Some(filled.place(path, now_ms)),
            _ => None,
        }
    }
}

impl Filled {
    fn place<'p>(&'p self, path: &'p str, now_ms: u64) -> Place<'p> {
        Place { host: &self.host, path, secure: self.tls, now_ms }
    }

    fn render(&self, seed: u64, occasion: Occasion<'_>, out: &mut Vec<u8>) {
        use std::io::Write;
        let Occasion { number, unix_ms, visit } = occasion;
        let mut nobody = Visit::default();
        let Visit { rows, extracted, jar, path } = visit.unwrap_or(&mut nobody);
        // No arrival's number comes near 2^40, so no two requests share a stream.
        let rng = template_rng(seed, number.wrapping_add(self.step << 40));
        let mut values = Values { number, unix_ms, rng, rows, extracted };
        out.clear();
        self.head.render(&mut values, out);
        if self.in_flow {
            path.clear();
            path.push_str(target(out));
            jar.write(&self.place(path, unix_ms), out);
        }
        let Some(body) = &self.body else {
            out.extend_from_slice(b"\r\n");
            return;
        };
        // The length comes before the body but is known after it: room for ten digits (leading zeros are
        // allowed, RFC 9110 8.6, but some servers refuse them), then close the gap.
        const ROOM: usize = 10;
        out.extend_from_slice(b"content-length: ");
        let length_at = out.len();
        out.extend_from_slice(&[b' '; ROOM]);
        out.extend_from_slice(b"\r\n\r\n");
        let body_at = out.len();
        body.render(&mut values, out);
        let length = out.len() - body_at;
        // Optional whitespace before a field's value is allowed (RFC 9112, 5): right-align the digits.
        write!(&mut out[length_at..length_at + ROOM], "{length:>ROOM$}").expect("bodies are under 10 GB");
    }
}

/// The target in a request line that was made here: between its two spaces.
pub(super) fn target(head: &[u8]) -> &str {
    let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    std::str::from_utf8(target).unwrap_or("/")
}

/// The headers in the order sent, names in lower case: ours, unless the load or the request says otherwise.
fn headers(load: &Load, request: &Request, url: &Url) -> Result<BTreeMap<String, String>, String> {
    let mut headers = BTreeMap::from([
        ("host".to_owned(), url.authority()),
        ("user-agent".to_owned(), concat!("chaos/", env!("CARGO_PKG_VERSION")).to_owned()),
        ("accept".to_owned(), "*/*".to_owned()),
    ]);
    if load.compression {
        headers.insert("accept-encoding".into(), "gzip, br, zstd, deflate".into());
    }
    if request.json.is_some() {
        headers.insert("content-type".into(), "application/json".into());
    }
    // What the request says counts before what the load says, and of either, a header before `auth`.
    for (auth, given) in [(&load.auth, &load.headers), (&request.auth, &request.headers)] {
        if let Some(auth) = auth {
            headers.insert("authorization".into(), authorization(auth));
        }
        add(given, &mut headers)?;
    }
    Ok(headers)
}

fn add(given: &Headers, headers: &mut BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in given {
        let lower = name.to_ascii_lowercase();
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(format!("`{name}` is not a header's name"));
        }
        if value.contains(['\r', '\n', '\0']) {
            return Err(format!("the value of header `{name}` holds a line break"));
        }
        if lower == "content-length" || lower == "transfer-encoding" {
            return Err(format!("header `{name}` follows from the body; leave it out"));
        }
        headers.insert(lower, value.clone());
    }
    Ok(())
}

fn authorization(auth: &Auth) -> String {
    match auth {
        Auth::Basic(basic) => {
            let pair = format!("{}:{}", basic.user, basic.password.reveal());
            format!("Basic {}", BASE64.encode(pair))
        }
        Auth::Bearer(token) => format!("Bearer {}", token.reveal()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::feed::Row;

    /// What the request of `text`, the only one of a load, looks like; in a flow if `step` says so.
    fn made(load: &str, step: Option<usize>, visit: Option<&mut Visit>) -> String {
        let load: Load = crate::spec::fragment(load).unwrap_or_else(|problems| panic!("{problems}"));
        let request = &load.requests[0];
        let (method, url) = request.method_and_url().expect("it has a method");
        let url: Url = url.parse().expect("it is a URL");
        let mut scope = Scope {
            feeds: load.data.names().map(|name| (name.to_owned(), Vec::new())).collect(),
            extracted: vec!["token".into()],
        };
        let wire = Wire::new(&load, request, (method, &url), step, &mut scope).expect("it compiles");
        let mut scratch = Vec::new();
        let occasion = Occasion { number: 7, unix_ms: 1_700_000_000_000, visit };
        let bytes = match wire.bytes(5, occasion, &mut scratch) {
            Wired::Fixed(bytes) => format!("fixed\n{}", String::from_utf8_lossy(bytes)),
            Wired::Made(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        };
        bytes.replace('\r', "").replace(concat!("chaos/", env!("CARGO_PKG_VERSION")), "chaos")
    }

    #[test]
    fn requests_are_laid_out() {
        let plain = "{ rate: 1/s, requests: [ { get: 'http://a.test:81/x?y' } ] }";
        let expected = "fixed\nGET /x?y HTTP/1.1\nhost: a.test:81\naccept: */*\nuser-agent: chaos\n\n";
        assert_eq!(made(plain, None, None), expected);
        let all = "{ rate: 1/s, compression: true, auth: { bearer: load }, headers: { X-A: load, x-b: load },\
                   requests: [ { post: 'http://a/', auth: { basic: { user: me, password: 'a:b' } },\
                   headers: { x-a: request }, json: { a: [1] } } ] }";
        let expected = "fixed\nPOST / HTTP/1.1\nhost: a\naccept: */*\naccept-encoding: gzip, br, zstd, deflate\n\
                        authorization: Basic bWU6YTpi\ncontent-type: application/json\nuser-agent: chaos\n\
                        x-a: request\nx-b: load\ncontent-length: 9\n\n{\"a\":[1]}";
        assert_eq!(made(all, None, None), expected);
        let empty = "{ rate: 1/s, requests: [ { put: 'http://a/{{ counter }}', auth: { bearer: '{{ counter }}' } } ] }";
        let expected = "PUT /7 HTTP/1.1\nhost: a\naccept: */*\nauthorization: Bearer 7\nuser-agent: chaos\n\
                        content-length:          0\n\n";
        assert_eq!(made(empty, None, None), expected);
    }

    /// Whatever a value is, there is one request with the headers and the length that were meant.
    #[test]
    fn values_can_not_break_out_of_their_place() {
        let hostile = "x\r\nhost: evil\r\n\r\nGET /evil HTTP/1.1 \"}&a=b/../#";
        let load = "{ rate: 1/s, data: { users: { csv: u.csv } }, requests: [ { post: 'http://a/{{ users.a }}?q={{ token }}',\
                    headers: { x-a: '{{ users.a }}' }, json: { a: '{{ token }}' } } ] }";
        let mut visit = Visit {
            rows: vec![Some(Row::new([hostile.to_owned()]))],
            extracted: vec![Some(hostile.as_bytes().to_vec())],
            ..Visit::default()
        };
        let text = made(load, Some(1), Some(&mut visit));
        let url = "x%0D%0Ahost%3A%20evil%0D%0A%0D%0AGET%20%2Fevil%20HTTP%2F1.1%20%22%7D%26a%3Db%2F..%2F%23";
        let (head, body) = text.split_once("\n\n").expect("a head and a body");
        let lines: Vec<&str> = head.lines().collect();
        assert_eq!(lines[0], format!("POST /{url}?q={url} HTTP/1.1"));
        assert_eq!(lines[5], "x-a: x  host: evil    GET /evil HTTP/1.1 \"}&a=b/../#");
        assert_eq!(lines.len(), 7, "{head}");
        let body: serde_json::Value = serde_json::from_str(body).expect("it is still JSON");
        assert_eq!(body, serde_json::json!({ "a": hostile }));
    }

    #[test]
    fn cookies_go_with_steps_they_are_meant_for() {
        let load = "{ rate: 1/s, requests: [ { get: 'http://a.test/shop/{{ counter }}' } ] }";
        let mut visit = Visit::default();
        let from = Place { host: "a.test", path: "/", secure: false, now_ms: 0 };
        visit.jar.set(&from, b"sid=1; path=/shop");
        visit.jar.set(&from, b"other=1; path=/else");
        let text = made(load, Some(0), Some(&mut visit));
        assert!(text.ends_with("user-agent: chaos\ncookie: sid=1\n\n"), "{text}");
        assert_eq!(visit.path, "/shop/7");
        assert!(!made(load, None, Some(&mut visit)).contains("cookie"), "only a flow has cookies");
    }
}
