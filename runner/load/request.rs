//! A load's requests made ready to send: URLs resolved, texts compiled, bytes laid out once.
//!
//! Everything that can be decided before the first arrival is decided here, mistakes included, so that
//! sending is copying bytes. Only [`prepare`] touches the network, to resolve names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::place::{Place, Places};
use super::protocol::h2;
use super::schedule::template_rng;
use super::template::{Template, Values};
use crate::error::{Error, Result};
use crate::plan::LoadPlan;
use crate::spec::expr::{Condition, StatusSet, Term};
use crate::spec::url::Url;
use crate::spec::{Http, Request};

/// Where a URL's host is really found: addresses by `HOST` or `HOST:PORT` as URLs write them, as
/// `gateway.lab`. Hosts not in it are addresses themselves or resolved by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints(BTreeMap<String, SocketAddr>);

impl Endpoints {
    /// No host but those that resolve by themselves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends what is meant for `host` (as URLs write it) to `address`.
    pub fn insert(&mut self, host: impl Into<String>, address: SocketAddr) {
        self.0.insert(host.into(), address);
    }

    /// The address behind a URL's host: a known one, the host's own, or the first its name resolves to.
    pub async fn resolve(&self, url: &Url) -> std::io::Result<SocketAddr> {
        Ok(self.resolve_all(url).await?[0])
    }

    /// All addresses behind a URL's host, at least one, each once.
    pub async fn resolve_all(&self, url: &Url) -> std::io::Result<Vec<SocketAddr>> {
        let port = url.port_or_default();
        let with_port = format!("{}:{port}", url.host);
        if let Some(address) = self.get(&url.authority()).or_else(|| self.get(&with_port)) {
            return Ok(vec![address]);
        }
        let mut found = Vec::new();
        for address in tokio::net::lookup_host((url.host.as_str(), port)).await? {
            if !found.contains(&address) {
                found.push(address);
            }
        }
        if found.is_empty() {
            return Err(std::io::Error::other(format!("{} has no address", url.host)));
        }
        Ok(found)
    }

    /// The address of `host` as a URL writes it, if it is known.
    pub fn get(&self, host: &str) -> Option<SocketAddr> {
        self.0.get(host).copied()
    }
}

impl<H: Into<String>> FromIterator<(H, SocketAddr)> for Endpoints {
    fn from_iter<I: IntoIterator<Item = (H, SocketAddr)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(host, address)| (host.into(), address)).collect())
    }
}

/// A load's requests and SLOs, ready to send and to judge.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// In the plan's order.
    pub requests: Vec<PreparedRequest>,
    /// Where they go, each place once.
    pub places: Vec<Place>,
    /// The terms of each SLO's condition, in the plan's order; at most [`MAX_SLOS`].
    slos: Vec<Vec<Term>>,
    seed: u64,
}

/// The most SLOs on one load: a bit each in every sample.
pub const MAX_SLOS: usize = 64;

/// One request of a load.
#[derive(Clone, Debug)]
pub struct PreparedRequest {
    /// Its place, as an index.
    pub address: u32,
    /// It goes to `https://`.
    pub tls: bool,
    /// Over plain TCP: what must come back.
    pub bytes: Option<Arc<[u8]>>,
    /// A HEAD request: no body follows, whatever the answer's head says.
    pub head_only: bool,
    /// May be sent again without asking (RFC 9110, 9.2.2).
    pub idempotent: bool,
    /// It asks for the connection to be closed.
    pub close: bool,
    expect: StatusSet,
    wire: Wire,
}

/// A request's bytes.
#[derive(Clone, Debug)]
enum Wire {
    /// The same every time.
    Fixed(Arc<[u8]>),
    /// Made anew for each arrival.
    Filled(Box<Filled>),
    /// The same, of a text that is neither head nor body.
    Text(Box<Template>),
}

#[derive(Clone, Debug)]
struct Filled {
    /// Request line and headers, up to the length of the body.
    head: Template,
    body: Option<Template>,
}

/// The bytes of one request: kept for good, or made for this arrival in the caller's buffer.
#[derive(Debug)]
pub enum Wired<'a> {
    /// The same every time.
    Fixed(&'a Arc<[u8]>),
    /// Made for this arrival.
    Made(&'a [u8]),
}

impl Prepared {
    /// The bytes of request `request` for arrival `number`, made in `scratch` where they are not fixed. A
    /// function of its arguments and the load's seed, so asking again gives the same.
    pub fn wire<'a>(
        &'a self,
        request: u32,
        number: u64,
        unix_ms: u64,
        scratch: &'a mut Vec<u8>,
    ) -> Wired<'a> {
        match &self.requests[request as usize].wire {
            Wire::Fixed(bytes) => Wired::Fixed(bytes),
            Wire::Filled(filled) => {
                let mut values = Values { number, unix_ms, rng: template_rng(self.seed, number) };
                filled.render(&mut values, scratch);
                Wired::Made(scratch)
            }
            Wire::Text(text) => {
                scratch.clear();
                text.render(&mut Values { number, unix_ms, rng: template_rng(self.seed, number) }, scratch);
                Wired::Made(scratch)
            }
        }
    }

    /// True if `status` is what request `request` expects.
    pub fn expects(&self, request: u32, status: u16) -> bool {
        let request = &self.requests[request as usize];
        request.bytes.is_some() || request.expect.contains(status)
    }

    /// The statuses that request `request` expects.
    pub fn expected(&self, request: u32) -> &StatusSet {
        &self.requests[request as usize].expect
    }

    /// The SLOs for which an answer is good: bit n for the n-th. A request without an answer is good for
    /// none, however soon it failed.
    pub fn good_for(&self, status: u16, latency_ns: u64) -> u64 {
        let holds = |term: &Term| match term {
            Term::Status(op, limit) => op.holds(status, *limit),
            Term::Latency(op, limit_ns) => op.holds(latency_ns, *limit_ns),
        };
        let good = self.slos.iter().enumerate().filter(|(_, terms)| terms.iter().all(holds));
        good.fold(0, |bits, (slo, _)| bits | (1 << slo))
    }
}

impl Wire {
    /// As the protocol sends it: what is the same every time is laid out here once.
    fn laid(self, http: Http, url: &Url) -> Self {
        match (self, http) {
            (Self::Fixed(text), Http::H2) => {
                let mut laid = Vec::new();
                h2::lay_out(&text, h2::scheme(url.tls), &mut laid);
                Self::Fixed(laid.into())
            }
            (other, _) => other,
        }
    }
}

impl Filled {
    fn render(&self, values: &mut Values, out: &mut Vec<u8>) {
        use std::io::Write;
        out.clear();
        self.head.render(values, out);
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
        body.render(values, out);
        let length = out.len() - body_at;
        // Optional whitespace before a field's value is allowed (RFC 9112, 5): right-align the digits.
        write!(&mut out[length_at..length_at + ROOM], "{length:>ROOM$}").expect("bodies are under 10 GB");
    }
}

/// Makes a load ready. Fails with exit 2 where a request is wrong and with exit 3 where a host does not
/// resolve.
pub async fn prepare(load: &LoadPlan, endpoints: &Endpoints) -> Result<Prepared> {
    let wrong = |why: String| Error::mistake(format!("load `{}`: {why}", load.name));
    if load.load.requests.is_empty() {
        return Err(wrong("there are no requests".into()));
    }
    if load.slos.len() > MAX_SLOS {
        return Err(wrong(format!("more than {MAX_SLOS} SLOs")));
    }
    let mut prepared = Prepared {
        requests: Vec::with_capacity(load.load.requests.len()),
        places: Vec::new(),
        slos: load.slos.iter().map(|(_, Condition { terms, .. })| terms.clone()).collect(),
        seed: load.seed,
    };
    let mut places = Places::new(load, endpoints);
    for request in load.load.requests.iter() {
        if request.tcp.is_some() {
            prepared.requests.push(tcp(load, request, &mut places).await?);
            continue;
        }
        let (method, url) = request.method_and_url().ok_or_else(|| {
            wrong("a request needs exactly one of get, head, post, put, patch, delete".into())
        })?;
        let why = |why| wrong(format!("`{}` can't be requested: {why}", url.value));
        let url: Url = url.value.parse().map_err(why)?;
        let place = places.find(&url).await?;
        let headers = headers(load, request, &url).map_err(wrong)?;
        let close =
            headers.iter().any(|(name, value)| name == "connection" && value.eq_ignore_ascii_case("close"));
        prepared.requests.push(PreparedRequest {
            address: u32::try_from(place).map_err(|_| wrong("too many requests".into()))?,
            head_only: method == "HEAD",
            idempotent: !matches!(method, "POST" | "PATCH"),
            close,
            expect: request.expect.status.clone(),
            tls: url.tls,
            bytes: None,
            wire: wire(method, &url, &headers, body(request).as_deref())
                .map_err(wrong)?
                .laid(load.load.http, &url),
        });
    }
    prepared.places = places.list;
    Ok(prepared)
}

/// A request over plain TCP.
async fn tcp(load: &LoadPlan, request: &Request, places: &mut Places<'_>) -> Result<PreparedRequest> {
    let wrong = |why: String| Error::mistake(format!("load `{}`: {why}", load.name));
    let url = request.tcp_url().unwrap_or_else(|| Err("write `HOST:PORT`".into())).map_err(wrong)?;
    let sent = request.send.as_ref().map_or("", |text| &text.value);
    let template = Template::compile(sent).map_err(wrong)?;
    let fixed = template.fixed().map(|text| Wire::Fixed(text.as_bytes().into()));
    let place = places.find(&url).await?;
    let expected = request.expect.bytes.as_ref().map_or("", |text| &text.value);
    Ok(PreparedRequest {
        address: u32::try_from(place).map_err(|_| wrong("too many requests".into()))?,
        head_only: false,
        idempotent: false,
        close: false,
        tls: false,
        bytes: Some(expected.as_bytes().into()),
        expect: request.expect.status.clone(),
        wire: fixed.unwrap_or_else(|| Wire::Text(Box::new(template))),
    })
}

/// The request's body as text, if it has one.
fn body(request: &Request) -> Option<String> {
    match (&request.json, &request.body) {
        (Some(json), _) => Some(json.value.to_string()),
        (None, Some(text)) => Some(text.value.clone()),
        (None, None) => None,
    }
}

/// The headers in the order sent, names in lower case: ours, unless the load or the request says otherwise.
fn headers(load: &LoadPlan, request: &Request, url: &Url) -> Result<BTreeMap<String, String>, String> {
    let mut headers = BTreeMap::from([
        ("host".to_owned(), url.authority()),
        ("user-agent".to_owned(), concat!("chaos/", env!("CARGO_PKG_VERSION")).to_owned()),
        ("accept".to_owned(), "*/*".to_owned()),
    ]);
    if request.json.is_some() {
        headers.insert("content-type".into(), "application/json".into());
    }
    for (name, value) in load.load.headers.iter().chain(&request.headers) {
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
    Ok(headers)
}

fn wire(
    method: &str,
    url: &Url,
    headers: &BTreeMap<String, String>,
    body: Option<&str>,
) -> Result<Wire, String> {
    let mut head = format!("{method} {} HTTP/1.1\r\n", url.path);
    // Host first, as RFC 9110 7.2 would have it; the rest by name.
    let (host, others): (Vec<_>, Vec<_>) = headers.iter().partition(|(name, _)| *name == "host");
    for (name, value) in host.into_iter().chain(others) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let filled = Filled { head: Template::compile(&head)?, body: body.map(Template::compile).transpose()? };
    let fixed_body = filled.body.as_ref().map_or(Some(""), Template::fixed);
    let (Some(head), Some(fixed_body)) = (filled.head.fixed(), fixed_body) else {
        return Ok(Wire::Filled(Box::new(filled)));
    };
    // A method that carries a body says so even where it is empty; a server might wait for one.
    let length = match (body, method) {
        (Some(_), _) | (None, "POST" | "PUT" | "PATCH") => {
            format!("content-length: {}\r\n", fixed_body.len())
        }
        (None, _) => String::new(),
    };
    Ok(Wire::Fixed(format!("{head}{length}\r\n{fixed_body}").into_bytes().into()))
}
