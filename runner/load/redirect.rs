//! Where redirects lead, and what is sent there (RFC 9110, 15.4).
//!
//! As browsers do it: a POST that is answered by 301 or 302 goes on as a GET, anything but a HEAD that is
//! answered by 303 does, and then its body stays behind; otherwise the request stays what it was. Of the
//! origins (scheme, host and port) only those are gone to that the load asks anyway, because sending must
//! not wait for a resolver; what says who the request is from does not go to another one than it was
//! written for. A request redirected is no more than a [`Trail`]: its text is made from the first one's.
//! Start at [`Redirects::next`].

use url::Position;

use super::cookies;
use super::kept::Kept;
use super::protocol::Answer;
use super::wire::{Occasion, Wire, Wired, target};
use crate::spec::Load;
use crate::spec::url::Url;

/// True if an answer of this status says where to go instead.
pub const fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// How a load follows redirects.
#[derive(Clone, Debug)]
pub struct Redirects {
    /// The most of one arrival.
    limit: u32,
    /// Where the load's requests go, each origin once.
    origins: Vec<Origin>,
    /// The load's requests, in its order.
    requests: Vec<First>,
}

#[derive(Clone, Debug)]
struct Origin {
    /// Its root; nothing if its host is none that browsers take, such as `a..b`, which only a `resolve` knows.
    root: Option<url::Url>,
    /// As the load writes it; the path is of no importance.
    url: Url,
    /// The place of its connections, as an index.
    place: u32,
}

/// A request before it is redirected.
#[derive(Clone, Debug)]
struct First {
    method: &'static str,
    /// As an index.
    origin: usize,
    /// As HTTP/1.1 sends it, whatever the load speaks.
    wire: Wire,
}

/// Where a request was redirected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    /// As an index.
    origin: usize,
    /// Path and query.
    path: String,
    /// How often, so far.
    hops: u32,
    /// It goes on as a GET without a body.
    get: bool,
    /// It has been to another origin than it was written for.
    strayed: bool,
    /// Bytes of the answers on the way.
    bytes: u64,
}

impl Trail {
    /// True if it goes on as a GET, which may be sent again without asking.
    pub const fn is_get(&self) -> bool {
        self.get
    }

    /// Bytes of the answers on the way.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Redirects {
    /// How `load` follows redirects; nothing if it does not. Its requests are still to be added.
    pub fn of(load: &Load) -> Option<Self> {
        let limit = load.redirects.value;
        (limit > 0).then(|| Self { limit, origins: Vec::new(), requests: Vec::new() })
    }

    /// Adds the next request of the load: its method, its URL, the place that leads to, and how it is laid out
    /// for HTTP/1.1.
    pub fn add(&mut self, method: &'static str, url: &Url, place: u32, wire: Wire) {
        let root = root(url);
        let same = |known: &Origin| match (&known.root, &root) {
            (Some(known), Some(root)) => known.origin() == root.origin(),
            _ => (&known.url.host, known.url.port, known.url.tls) == (&url.host, url.port, url.tls),
        };
        let origin = self.origins.iter().position(same).unwrap_or_else(|| {
            self.origins.push(Origin { root, url: url.clone(), place });
            self.origins.len() - 1
        });
        self.requests.push(First { method, origin, wire });
    }

    /// Where request `request` goes next that was answered by a redirect, and the place that is at; `trail` is
    /// how it came there, if it was redirected before. Cookies that the answer sets at `now_ms`, since 1970,
    /// are kept for a flow. Fails with a text for people where it can't be followed.
    pub fn next(
        &self,
        request: u32,
        trail: Option<Trail>,
        (answer, kept, now_ms): (Answer, Option<&Kept>, u64),
        seed: u64,
        mut occasion: Occasion<'_>,
    ) -> Result<(Trail, u32), String> {
        let first = &self.requests[request as usize];
        let from = trail.unwrap_or_else(|| Trail {
            origin: first.origin,
            path: target(&first.text(seed, &mut occasion)).to_owned(),
            hops: 0,
            get: false,
            strayed: false,
            bytes: 0,
        });
        if let (Some(kept), Some(visit)) = (kept, occasion.visit)
            && let Some(place) = first.wire.place(&from.path, now_ms)
        {
            let place = self.place(&from, place);
            kept.values("set-cookie").for_each(|cookie| visit.jar.set(&place, cookie));
        }
        let location = kept.and_then(|kept| kept.values("location").next());
        let location = location.ok_or_else(|| format!("answered {} without a location", answer.status))?;
        let to = self.resolve(&from, location)?;
        if from.hops == self.limit {
            return Err(format!("redirected more than {} times, at last to {to}", self.limit));
        }
        let there = to.origin();
        let known = |known: &Origin| known.root.as_ref().is_some_and(|root| root.origin() == there);
        let origin = self
            .origins
            .iter()
            .position(known)
            .ok_or_else(|| format!("redirected to {to}, where no request of this load goes"))?;
        let get = match answer.status {
            301 | 302 => first.method == "POST",
            303 => first.method != "HEAD",
            _ => false,
        };
        let trail = Trail {
            origin,
            path: to[Position::BeforePath..Position::AfterQuery].to_owned(),
            hops: from.hops + 1,
            get: from.get || get,
            strayed: from.strayed || origin != first.origin,
            bytes: from.bytes + answer.bytes,
        };
        Ok((trail, self.origins[origin].place))
    }

    /// What a `Location` means in an answer to what is at the end of a trail.
    fn resolve(&self, from: &Trail, location: &[u8]) -> Result<url::Url, String> {
        let unreadable = |why: &dyn std::fmt::Display| {
            format!("redirected to `{}`, which is no URL: {why}", String::from_utf8_lossy(location))
        };
        let text = std::str::from_utf8(location).map_err(|error| unreadable(&error))?;
        let origin = &self.origins[from.origin];
        let mut base = origin
            .root
            .clone()
            .ok_or_else(|| format!("redirected to `{text}` from `{}`, which is no host", origin.url.host))?;
        let (path, query) = from.path.split_once('?').map_or((&*from.path, None), |(p, q)| (p, Some(q)));
        base.set_path(path);
        base.set_query(query);
        let mut to = base.join(text).map_err(|error| unreadable(&error))?;
        // Neither is ever sent, and a password is nobody's business.
        to.set_fragment(None);
        let _ = to.set_username("");
        let _ = to.set_password(None);
        Ok(to)
    }

    /// What HTTP/1.1 sends where `trail` leads. A function of its arguments, cookies included, so asking again
    /// gives the same; notes in the visit which path was asked.
    pub fn text(&self, request: u32, trail: &Trail, seed: u64, mut occasion: Occasion<'_>) -> Vec<u8> {
        let first = &self.requests[request as usize];
        let original = first.text(seed, &mut occasion);
        let unix_ms = occasion.unix_ms;
        let mut text = Vec::with_capacity(original.len());
        let authority = (trail.origin != first.origin).then(|| self.origins[trail.origin].url.authority());
        let body = lead(&original, trail, authority.as_deref(), &mut text);
        if let (Some(visit), Some(place)) = (occasion.visit, first.wire.place(&trail.path, unix_ms)) {
            visit.path.clone_from(&trail.path);
            visit.jar.write(&self.place(trail, place), &mut text);
        }
        text.extend_from_slice(b"\r\n");
        text.extend_from_slice(body);
        text
    }

    /// `place`, at the end of a trail.
    pub fn place<'p>(&'p self, trail: &Trail, place: cookies::Place<'p>) -> cookies::Place<'p> {
        let url = &self.origins[trail.origin].url;
        cookies::Place { host: &url.host, secure: url.tls, ..place }
    }
}

impl First {
    /// Its text, without the cookies that answers set.
    fn text(&self, seed: u64, occasion: &mut Occasion<'_>) -> Vec<u8> {
        let jar = occasion.visit.as_deref_mut().map(|visit| std::mem::take(&mut visit.jar));
        let again = Occasion {
            number: occasion.number,
            unix_ms: occasion.unix_ms,
            visit: occasion.visit.as_deref_mut(),
        };
        let mut scratch = Vec::new();
        let text = match self.wire.bytes(seed, again, &mut scratch) {
            Wired::Fixed(text) => text.to_vec(),
            Wired::Made(_) => scratch,
        };
        if let (Some(visit), Some(jar)) = (occasion.visit.as_deref_mut(), jar) {
            visit.jar = jar;
        }
        text
    }
}

/// The root of a URL's origin, as browsers write it.
fn root(url: &Url) -> Option<url::Url> {
    let scheme = if url.tls { "https" } else { "http" };
    url::Url::parse(&format!("{scheme}://{}/", url.authority())).ok()
}

/// Appends the head of `original` as a trail leads it on, without its empty line; `authority` is the host it
/// leads to if that is another one. Returns the body.
fn lead<'o>(original: &'o [u8], trail: &Trail, authority: Option<&str>, out: &mut Vec<u8>) -> &'o [u8] {
    let end = original.windows(4).position(|four| four == b"\r\n\r\n").expect("a request's head has an end");
    let mut lines = original[..end].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let method = lines.next().and_then(|line| line.split(|byte| *byte == b' ').next()).unwrap_or_default();
    let method = if trail.get { b"GET" } else { method };
    let line = [method, b" ", trail.path.as_bytes(), b" HTTP/1.1\r\n"];
    line.into_iter().for_each(|part| out.extend_from_slice(part));
    for line in lines {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let line = match (name, authority) {
            (b"host", Some(authority)) => format!("host: {authority}").into_bytes().into(),
            (b"authorization" | b"proxy-authorization" | b"cookie", _) if trail.strayed => continue,
            // What speaks of the body goes with it.
            _ if trail.get && name.starts_with(b"content-") => continue,
            _ => std::borrow::Cow::Borrowed(line),
        };
        out.extend_from_slice(&line);
        out.extend_from_slice(b"\r\n");
    }
    if trail.get { b"" } else { &original[end + 4..] }
}

#[cfg(test)]
mod tests;
