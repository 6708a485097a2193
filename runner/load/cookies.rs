//! The cookies of one flow: what answers set is sent back by the steps that follow (RFC 6265).
//!
//! Name, value, `Domain`, `Path`, `Secure`, `Max-Age` and `Expires` count as the RFC has it. Left out is what
//! only browsers need: `SameSite`, `HttpOnly`, and the list of public suffixes (a `Domain` without a dot is
//! refused instead). Memory is bounded by [`MAX_COOKIES`] and [`MAX_COOKIE_BYTES`]. Start at [`Jar`].

use std::net::IpAddr;

/// The most cookies of one flow, as many as RFC 6265, 6.1 asks of clients for one domain.
pub const MAX_COOKIES: usize = 50;

/// The longest cookie, name, value and attributes together, as RFC 6265, 6.1 has it.
pub const MAX_COOKIE_BYTES: usize = 4_096;

/// Cookies, in the order set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jar(Vec<Cookie>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    /// Sent to `domain` itself only.
    host_only: bool,
    path: String,
    secure: bool,
    /// In milliseconds since 1970; nothing: as long as the flow.
    expires_ms: Option<u64>,
}

/// Where a request goes, as far as cookies are concerned.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    /// The URL's host, without a port or an IPv6 address's brackets.
    pub host: &'p str,
    /// Path and query as sent.
    pub path: &'p str,
    /// Over TLS.
    pub secure: bool,
    /// The instant, in milliseconds since 1970.
    pub now_ms: u64,
}

impl Jar {
    /// True if nothing was set.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in what one `Set-Cookie` header of an answer from `place` says; what can't be is ignored, as
    /// clients do.
    pub fn set(&mut self, place: &Place<'_>, header: &[u8]) {
        let Some(cookie) = Cookie::read(place, header) else { return };
        let same = |other: &Cookie| {
            (&other.name, &other.domain, &other.path) == (&cookie.name, &cookie.domain, &cookie.path)
        };
        let gone = cookie.expires_ms.is_some_and(|expires_ms| expires_ms <= place.now_ms);
        match self.0.iter().position(same) {
            Some(at) if gone => drop(self.0.remove(at)),
            Some(at) => self.0[at] = cookie,
            None if gone => {}
            None => {
                if self.0.len() == MAX_COOKIES {
                    self.0.remove(0);
                }
                self.0.push(cookie);
            }
        }
    }

    /// Appends the `cookie` header line of a request to `place`, if any cookie is meant for it.
    pub fn write(&self, place: &Place<'_>, out: &mut Vec<u8>) {
        let mut meant: Vec<&Cookie> = self.0.iter().filter(|cookie| cookie.is_for(place)).collect();
        // Longer paths first, then in the order set (RFC 6265, 5.4).
        meant.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        for (index, cookie) in meant.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"cookie: " } else { b"; " });
            out.extend_from_slice(cookie.name.as_bytes());
            out.push(b'=');
            out.extend_from_slice(cookie.value.as_bytes());
        }
        if !meant.is_empty() {
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Name and value of a `Set-Cookie` header.
pub fn pair(header: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(header).ok()?;
    if text.len() > MAX_COOKIE_BYTES || text.chars().any(|c| c.is_control() && c != '\t') {
        return None;
    }
    let (name, value) = text.split(';').next()?.split_once('=')?;
    let name = name.trim();
    (!name.is_empty()).then(|| (name, value.trim()))
}

impl Cookie {
    fn read(place: &Place<'_>, header: &[u8]) -> Option<Self> {
        let (name, value) = pair(header)?;
        let text = std::str::from_utf8(header).ok()?;
        let host = place.host.to_ascii_lowercase();
        let mut cookie = Self {
            name: name.into(),
            value: value.into(),
            domain: host.clone(),
            host_only: true,
            path: default_path(place.path).into(),
            secure: false,
            expires_ms: None,
        };
        let mut max_age = None;
        for attribute in text.split(';').skip(1) {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "secure" => cookie.secure = true,
                "path" if value.starts_with('/') => cookie.path = value.into(),
                "path" => cookie.path = default_path(place.path).into(),
                "domain" if !value.is_empty() => {
                    let domain = value.strip_prefix('.').unwrap_or(value).to_ascii_lowercase();
                    if !domain_matches(&host, &domain) || (domain != host && !domain.contains('.')) {
                        return None;
                    }
                    cookie.host_only = host.parse::<IpAddr>().is_ok();
                    cookie.domain = domain;
                }
                "max-age" => max_age = value.parse::<i64>().ok().or(max_age),
                "expires" => cookie.expires_ms = expires_ms(value).or(cookie.expires_ms),
                _ => {}
            }
        }
        // The newer attribute wins over the older one.
        if let Some(seconds) = max_age {
            let ms = u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000);
            cookie.expires_ms = Some(if ms == 0 { 0 } else { place.now_ms.saturating_add(ms) });
        }
        Some(cookie)
    }

    fn is_for(&self, place: &Place<'_>) -> bool {
        let host = place.host.to_ascii_lowercase();
        let at_home = if self.host_only { host == self.domain } else { domain_matches(&host, &self.domain) };
        at_home
            && path_matches(place.path, &self.path)
            && (place.secure || !self.secure)
            && self.expires_ms.is_none_or(|expires_ms| expires_ms > place.now_ms)
    }
}

/// RFC 6265, 5.1.3.
fn domain_matches(host: &str, domain: &str) -> bool {
    host == domain
        || host.strip_suffix(domain).is_some_and(|before| before.ends_with('.'))
            && host.parse::<IpAddr>().is_err()
}

fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

/// RFC 6265, 5.1.4: up to the last slash, without it.
fn default_path(path: &str) -> &str {
    let path = without_query(path);
    match path.rfind('/') {
        Some(at @ 1..) => &path[..at],
        _ => "/",
    }
}

/// RFC 6265, 5.1.4.
fn path_matches(path: &str, cookie: &str) -> bool {
    let path = without_query(path);
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

/// A date as HTTP writes it (RFC 9110, 5.6.7), also with the dashes of older servers; before 1970 is 0.
fn expires_ms(text: &str) -> Option<u64> {
    let text = text.split_once(',').map_or(text, |(_, date)| date).trim().replace('-', " ");
    let date = text.strip_suffix("GMT").or_else(|| text.strip_suffix("UTC"))?.trim();
    let date = jiff::civil::DateTime::strptime("%d %b %Y %H:%M:%S", date).ok()?;
    let instant = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(u64::try_from(instant.as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2023-11-14T22:13:20Z.
    const NOW_MS: u64 = 1_700_000_000_000;

    fn at(url: &str) -> Place<'_> {
        let secure = url.starts_with("https://");
        let rest = url.split_once("://").expect("a URL").1;
        let (host, path) = rest.split_at(rest.find('/').expect("a path"));
        Place { host, path, secure, now_ms: NOW_MS }
    }

    /// What is sent to `to` after `from` answered with these headers.
    fn check(from: &str, headers: &[&str], to: &str, expected: &str) {
        let mut jar = Jar::default();
        headers.iter().for_each(|header| jar.set(&at(from), header.as_bytes()));
        let mut out = Vec::new();
        jar.write(&at(to), &mut out);
        let expected = if expected.is_empty() { String::new() } else { format!("cookie: {expected}\r\n") };
        assert_eq!(String::from_utf8_lossy(&out), expected, "{headers:?} from {from} to {to}");
    }

    #[test]
    fn cookies_go_where_they_are_meant_for() {
        let login = "http://shop.test/account/login?next=/x";
        check(login, &["sid=1; HttpOnly; SameSite=Lax"], "http://shop.test/account", "sid=1");
        check(login, &["sid=1"], "http://shop.test/account/cart?q", "sid=1");
        check(login, &["sid=1"], "http://shop.test/accounting", "");
        check(login, &["sid=1"], "http://shop.test/", "");
        check(login, &["sid=1; Path=/"], "http://shop.test/cart", "sid=1");
        check(login, &["sid=1; path=/a/"], "http://shop.test/a/b", "sid=1");
        check(login, &["sid=1; path=/a/"], "http://shop.test/a", "");
        check(login, &["sid=1; path=relative"], "http://shop.test/account/x", "sid=1");
        check(login, &["a=1; path=/", "b=2", "c=3; path=/"], "http://shop.test/account", "b=2; a=1; c=3");
        check(login, &["a=1; path=/", "a=2; path=/"], "http://shop.test/", "a=2");
        check(login, &["a=x=y; path=/"], "http://shop.test/", "a=x=y");
        check(login, &["a=; path=/"], "http://shop.test/", "a=");
    }

    #[test]
    fn domains_are_those_of_the_answer() {
        check("http://a.shop.test/", &["d=1; Domain=.Shop.test"], "http://b.shop.test/", "d=1");
        check("http://a.shop.test/", &["d=1; Domain=shop.test"], "http://shop.test/", "d=1");
        check("http://a.shop.test/", &["d=1"], "http://b.shop.test/", "");
        check("http://a.shop.test/", &["d=1; Domain=other.test"], "http://other.test/", "");
        check("http://a.shop.test/", &["d=1; Domain=hop.test"], "http://a.shop.test/", "");
        check("http://a.shop.test/", &["d=1; Domain=test"], "http://a.shop.test/", "");
        check("http://127.0.0.1/", &["d=1; Domain=127.0.0.1"], "http://127.0.0.1/", "d=1");
        check("http://127.0.0.1/", &["d=1; Domain=0.0.1"], "http://127.0.0.1/", "");
    }

    #[test]
    fn cookies_end() {
        for (attributes, expected) in [
            ("Max-Age=0", ""),
            ("Max-Age=-5", ""),
            ("Max-Age=60", "a=2"),
            ("Max-Age=soon", "a=2"),
            ("Expires=Wed, 21 Oct 2015 07:28:00 GMT", ""),
            ("Expires=Thu, 01-Jan-1970 00:00:00 GMT", ""),
            ("Expires=Fri, 01 Jan 2100 00:00:00 GMT", "a=2"),
            ("Expires=Wed, 21 Oct 2015 07:28:00 GMT; Max-Age=60", "a=2"),
            ("Expires=whenever", "a=2"),
        ] {
            check("http://a.test/", &["a=1", &format!("a=2; {attributes}")], "http://a.test/", expected);
        }
        let mut jar = Jar::default();
        jar.set(&at("http://a.test/"), b"a=1; max-age=60");
        let mut out = Vec::new();
        jar.write(&Place { now_ms: NOW_MS + 60_000, ..at("http://a.test/") }, &mut out);
        assert!(out.is_empty(), "its minute is over");
    }

    #[test]
    fn secure_cookies_are_for_tls() {
        check("https://a.test/", &["s=1; Secure"], "https://a.test/", "s=1");
        check("https://a.test/", &["s=1; Secure"], "http://a.test/", "");
    }

    #[test]
    fn what_can_not_be_a_cookie_is_ignored() {
        let long = format!("a={}", "x".repeat(MAX_COOKIE_BYTES));
        check(
            "http://a.test/",
            &["", "noequals", "=1", " =1; path=/", "a=\u{1}", &long],
            "http://a.test/",
            "",
        );
        let mut jar = Jar::default();
        jar.set(&at("http://a.test/"), b"a=\xff");
        (0..1_000).for_each(|n| jar.set(&at("http://a.test/"), format!("n{n}=1").as_bytes()));
        assert_eq!(jar.0.len(), MAX_COOKIES);
    }
}
