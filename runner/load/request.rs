//! A load's requests made ready to send: URLs resolved, texts compiled, bytes laid out once.
//!
//! How a request becomes bytes is in `wire.rs`. Everything that can be decided before the first arrival is decided here, mistakes included, so that
//! sending is copying bytes. Only [`prepare`] touches the network, to resolve names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::feed::{Feed, Row};
use super::kept::{Keep, Kept};
use super::place::{Place, Places};
use super::protocol::Answer;
use super::redirect::{Redirects, Trail};
use super::rows::Rows;
use super::scrutiny::{Scrutiny, Unexpected};
use super::template::Scope;
use super::visit::Visit;
use super::wire::{Occasion, Wire, Wired};
use crate::error::{Error, Result};
use crate::plan::LoadPlan;
use crate::spec::Request;
use crate::spec::expr::{Condition, StatusSet, Term};
use crate::spec::url::Url;

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

/// A load's requests and SLOs, ready to send and to judge. Cloned for each sending thread; the clones share
/// the rows of data.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What arrivals are: the entries of the load's list, in its order.
    pub entries: Vec<Entry>,
    /// Every kind of request, in the order of [`Load::sent`](crate::spec::Load::sent).
    pub requests: Vec<PreparedRequest>,
    /// Where they go, each place once.
    pub places: Vec<Place>,
    /// The load's data, in its order; nothing where no text uses any of it.
    feeds: Vec<Option<Feed>>,
    /// The terms of each SLO's condition, in the plan's order; at most [`MAX_SLOS`].
    slos: Vec<Vec<Term>>,
    seed: u64,
    /// How redirects are followed, if they are.
    pub redirects: Option<Box<Redirects>>,
}

/// The most SLOs on one load: a bit each in every sample.
pub const MAX_SLOS: usize = 64;

/// An entry of a load's list: a request, or a flow of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its first request, as an index into [`Prepared::requests`]; a flow's other steps follow it.
    pub first: u32,
    /// What its visitors carry; nothing for a request that needs no visitor.
    pub carried: Option<Carried>,
}

/// What a visitor carries from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// The feeds it needs a row of: bit n for the n-th.
    feeds: u64,
    /// How many extracted values there can be.
    slots: usize,
}

/// One request of a load.
#[derive(Clone, Debug)]
pub struct PreparedRequest {
    /// Its place, as an index.
    pub address: u32,
    /// Over plain TCP: what must come back.
    pub bytes: Option<Arc<[u8]>>,
    /// A HEAD request: no body follows, whatever the answer's head says.
    pub head_only: bool,
    /// May be sent again without asking (RFC 9110, 9.2.2).
    pub idempotent: bool,
    /// It asks for the connection to be closed.
    pub close: bool,
    /// What is looked at in its answers besides the status.
    pub scrutiny: Option<Box<Scrutiny>>,
    /// It is a step of a flow with another step behind it: how long after its answer that one is due.
    pub next_after_ns: Option<u64>,
    expect: StatusSet,
    wire: Wire,
}

impl Prepared {
    /// The bytes of request `request` on this occasion, made in `scratch` where they are not fixed. A
    /// function of its arguments and the load's seed, so asking again gives the same.
    pub fn wire<'a>(&'a self, request: u32, occasion: Occasion<'_>, scratch: &'a mut Vec<u8>) -> Wired<'a> {
        self.requests[request as usize].wire.bytes(self.seed, occasion, scratch)
    }

    /// The text of request `request` where `trail` leads it; a function of its arguments, as
    /// [`Prepared::wire`] is.
    pub fn hop(&self, request: u32, trail: &Trail, occasion: Occasion<'_>) -> Vec<u8> {
        let redirects = self.redirects.as_ref().expect("only what follows redirects has a trail");
        redirects.text(request, trail, self.seed, occasion)
    }

    /// Where request `request` goes next, which was answered by a redirect, and the place that is at; else why
    /// it can't, for people. See [`Redirects::next`].
    pub fn redirected(
        &self,
        request: u32,
        trail: Option<Trail>,
        answered: (Answer, Option<&Kept>, u64),
        occasion: Occasion<'_>,
    ) -> Result<(Trail, u32), String> {
        let redirects = self.redirects.as_ref().expect("redirects are followed");
        redirects.next(request, trail, answered, self.seed, occasion)
    }

    /// How much of the answers to request `request` is kept; nothing where nobody looks into them.
    pub fn keep(&self, request: u32) -> Option<Keep> {
        let scrutiny = self.requests[request as usize].scrutiny.as_ref().map(|scrutiny| scrutiny.keep());
        scrutiny.or(self.redirects.as_ref().map(|_| Keep::Head))
    }

    /// What a visitor carries when it arrives: a row of each feed that it needs. Nothing if a row is not
    /// there in time.
    pub fn visit(&mut self, carried: Carried) -> Option<Visit> {
        let deal = |(place, feed): (usize, &mut Option<Feed>)| match feed {
            Some(feed) if carried.feeds & (1 << place) != 0 => feed.deal().map(Some),
            _ => Some(None),
        };
        let rows = self.feeds.iter_mut().enumerate().map(deal).collect::<Option<Vec<Option<Row>>>>()?;
        Some(Visit { rows, extracted: vec![None; carried.slots], ..Visit::default() })
    }

    /// Why there are no rows any more, if that is so: the file and line, and what is wrong there.
    pub fn data_fault(&self) -> Option<String> {
        self.feeds.iter().flatten().find_map(Feed::fault)
    }

    /// True if `status` is what request `request` expects.
    pub fn expects(&self, request: u32, status: u16) -> bool {
        let request = &self.requests[request as usize];
        request.bytes.is_some() || request.expect.contains(status)
    }

    /// Holds what was kept of an answer to request `request` against what is expected of it besides the
    /// status; what later steps go on with is put into `visit`. With a `trail` it is the answer at its end.
    pub fn examine(
        &self,
        request: u32,
        kept: &Kept,
        (visit, trail): (Option<&mut Visit>, Option<&Trail>),
        unix_ms: u64,
    ) -> Result<(), Unexpected> {
        let redirects = self.redirects.as_ref();
        let request = &self.requests[request as usize];
        let Some(scrutiny) = &request.scrutiny else { return Ok(()) };
        let Some(visit) = visit else { return scrutiny.examine(kept, &mut []) };
        if let Some(place) = request.wire.place(&visit.path, unix_ms) {
            let place = match (redirects, trail) {
                (Some(redirects), Some(trail)) => redirects.place(trail, place),
                _ => place,
            };
            kept.values("set-cookie").for_each(|cookie| visit.jar.set(&place, cookie));
        }
        scrutiny.examine(kept, &mut visit.extracted)
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

/// Makes a load ready. Fails with exit 2 where a request is wrong or its data can't be read, and with exit 3
/// where a host does not resolve.
pub async fn prepare(load: &LoadPlan, endpoints: &Endpoints) -> Result<Prepared> {
    let wrong = |why: String| Error::mistake(format!("load `{}`: {why}", load.name));
    if load.load.requests.is_empty() {
        return Err(wrong("there are no requests".into()));
    }
    if load.slos.len() > MAX_SLOS {
        return Err(wrong(format!("more than {MAX_SLOS} SLOs")));
    }
    let mut prepared = Prepared {
        entries: Vec::with_capacity(load.load.requests.len()),
        requests: Vec::new(),
        places: Vec::new(),
        feeds: Vec::new(),
        slos: load.slos.iter().map(|(_, Condition { terms, .. })| terms.clone()).collect(),
        seed: load.seed,
        redirects: Redirects::of(&load.load).map(Box::new),
    };
    let mut scope = Scope {
        feeds: load.load.data.names().map(|name| (name.to_owned(), Vec::new())).collect(),
        extracted: Vec::new(),
    };
    let mut places = Places::new(load, endpoints);
    for entry in load.load.requests.iter() {
        let first = u32::try_from(prepared.requests.len()).expect("a load has at most a thousand requests");
        let steps = entry.sent();
        if steps.is_empty() {
            return Err(wrong("a flow has no steps".into()));
        }
        scope.extracted.clear();
        let mut carried = Carried::default();
        for (step, request) in steps.iter().enumerate() {
            let place = entry.flow.is_some().then_some(step);
            let (method, url) = target(request).map_err(wrong)?;
            let mut ready = request_of(load, request, (method, &url), place, &mut scope).map_err(wrong)?;
            ready.address =
                u32::try_from(places.find(&url).await?).expect("a load has at most a thousand places");
            ready.next_after_ns = steps.get(step + 1).map(|next| next.think.as_ns());
            if let Some(redirects) = &mut prepared.redirects {
                redirects.add(method, &url, ready.address, ready.wire.clone());
            }
            if request.tcp.is_none() {
                ready.wire = ready.wire.laid(load.load.http, &url);
            }
            carried.feeds |= ready.wire.feeds().into_iter().fold(0, |bits, feed| bits | (1 << feed));
            prepared.requests.push(ready);
        }
        carried.slots = scope.extracted.len();
        let visited = entry.flow.is_some() || carried.feeds != 0;
        prepared.entries.push(Entry { first, carried: visited.then_some(carried) });
    }
    for ((_, data), (_, columns)) in load.load.data.iter().zip(&scope.feeds) {
        let start = || Rows::open(data, columns).and_then(Feed::start).map_err(wrong);
        prepared.feeds.push(if columns.is_empty() { None } else { Some(start()?) });
    }
    prepared.places = places.list;
    Ok(prepared)
}

fn target(request: &Request) -> Result<(&'static str, Url), String> {
    if let Some(url) = request.tcp_url() {
        return Ok(("", url?));
    }
    let found = request.method_and_url();
    let (method, url) = found.ok_or("a request needs exactly one of get, head, post, put, patch, delete")?;
    let read = url.value.parse().map_err(|why| format!("`{}` can't be requested: {why}", url.value))?;
    Ok((method, read))
}

fn request_of(
    load: &LoadPlan,
    request: &Request,
    (method, url): (&str, &Url),
    step: Option<usize>,
    scope: &mut Scope,
) -> Result<PreparedRequest, String> {
    let wire = match &request.tcp {
        Some(_) => Wire::text(request.send.as_ref().map_or("", |text| &text.value), scope)?,
        None => Wire::new(&load.load, request, (method, url), step, scope)?,
    };
    let bytes = request.tcp.as_ref().map(|_| request.expect.bytes.as_ref().map_or("", |text| &text.value));
    // What a step extracts is known to later steps, not to itself.
    let scrutiny = match step {
        Some(_) => Some(Scrutiny::of_step(request, &mut scope.extracted)?),
        None => Scrutiny::of_expect(&request.expect)?,
    };
    let mut headers = load.load.headers.iter().chain(request.headers.iter());
    let close = |(name, value): (&String, &String)| {
        name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close")
    };
    Ok(PreparedRequest {
        address: 0,
        head_only: method == "HEAD",
        idempotent: request.tcp.is_none() && !matches!(method, "POST" | "PATCH"),
        bytes: bytes.map(|text| text.as_bytes().into()),
        close: headers.any(close),
        scrutiny: scrutiny.map(Box::new),
        next_after_ns: None,
        expect: request.expect.status.clone(),
        wire,
    })
}
