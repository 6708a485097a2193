//! URLs of the language: `http://HOST[:PORT]/PATH` or `https://…`, where `SERVICE.lab` as the host means a lab's service.
//!
//! By hand, because the language takes a small part of what URLs can be and answers the rest with what to
//! write instead. Start at [`Url`].

use std::fmt;
use std::str::FromStr;

/// The ending of hosts that mean a service of the experiment's lab.
const LAB: &str = ".lab";
/// The port of `http://` where none is written.
const DEFAULT_PORT: u16 = 80;
/// The same of `https://`.
const DEFAULT_TLS_PORT: u16 = 443;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// True of `https://`.
    pub tls: bool,
    /// A host name or address; IPv6 without its brackets. `gateway.lab` means the lab's service `gateway`.
    pub host: String,
    /// The port; nothing: 80 or with TLS 443, or the service's only port in a lab.
    pub port: Option<u16>,
    /// Path and query; begins with `/`. May hold templates, `{{ … }}`, whose text is taken as it is.
    pub path: String,
}

impl Url {
    /// The lab's service that the host means, if it means one.
    pub fn lab_service(&self) -> Option<&str> {
        self.host.strip_suffix(LAB)
    }

    /// `HOST` or `HOST:PORT` as written: the Host header.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
    }

    /// The port that a connection goes to.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(if self.tls { DEFAULT_TLS_PORT } else { DEFAULT_PORT })
    }
}

/// The path without its templates: what is sent as it is written.
fn outside_templates(path: &str) -> impl Iterator<Item = &str> {
    path.split("{{").enumerate().flat_map(|(index, part)| match part.split_once("}}") {
        Some((_, after)) if index > 0 => ["", after],
        _ if index > 0 => ["{{", part],
        _ => ["", part],
    })
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl FromStr for Url {
    type Err = String;

    /// Errors say what is wrong and what to write instead.
    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "write `http://HOST:PORT/PATH`";
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(FORM.into()),
        };
        let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        let sent = || std::iter::once(authority).chain(outside_templates(path)).flat_map(str::chars);
        if let Some(bad) = sent().find(|c| !c.is_ascii_graphic() || "{}<>\"\\^`|".contains(*c)) {
            return Err(format!("`{bad}` can't be in a URL; write it percent-encoded"));
        }
        if sent().any(|c| c == '#') {
            return Err("leave out the `#` and what follows: it is never sent".into());
        }
        if authority.contains('@') {
            return Err("leave out what is before the `@`; write an `authorization` header".into());
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|tail| tail.split_once(']')) {
            Some((host, port)) => {
                host.parse::<std::net::Ipv6Addr>().map_err(|_| format!("`{host}` is not an IPv6 address"))?;
                let port = if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(FORM)?) };
                (host, port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() {
            return Err(format!("the host is missing; {FORM}"));
        }
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if !host.contains(':') && !host.chars().all(named) || host == LAB {
            return Err(format!("`{host}` is not a host; {FORM}"));
        }
        let port = match port.map(u16::from_str) {
            None => None,
            Some(Ok(port @ 1..)) => Some(port),
            Some(_) => return Err("the port must be a number from 1 to 65535".into()),
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { tls, host: host.to_owned(), port, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(&str, Option<u16>, &str), &str>) {
        match (text.parse::<Url>(), expected) {
            (Ok(url), Ok((host, port, path))) => {
                assert_eq!((url.host.as_str(), url.port, url.path.as_str()), (host, port, path), "{text}");
                let port = port.unwrap_or(80);
                assert_eq!((url.to_string().parse(), url.port_or_default()), (Ok(url), port), "{text}");
            }
            (Err(error), Err(words)) => assert!(error.contains(words), "{text}: {error}"),
            (got, _) => panic!("{text}: {got:?}"),
        }
    }

    #[test]
    fn urls_are_taken_apart_or_refused_with_a_reason() {
        check("http://127.0.0.1:8080/cart", Ok(("127.0.0.1", Some(8080), "/cart")));
        check("http://gateway.lab/a?b=c", Ok(("gateway.lab", None, "/a?b=c")));
        check("http://localhost", Ok(("localhost", None, "/")));
        check("http://localhost?x", Ok(("localhost", None, "/?x")));
        check("http://[::1]:80/", Ok(("::1", Some(80), "/")));
        check("http://[::1]", Ok(("::1", None, "/")));
        check("https://a:8443/x", Ok(("a", Some(8443), "/x")));
        check("ftp://a/", Err("write `http://"));
        check("localhost:80/", Err("write `http://"));
        check("", Err("write `http://"));
        check("http://", Err("the host is missing"));
        check("http://:80/", Err("the host is missing"));
        check("http://a:0/", Err("the port must be"));
        check("http://a:99999/", Err("the port must be"));
        check("http://a:/", Err("the port must be"));
        check("http://[::1]80/", Err("write `http://"));
        check("http://[::g]/", Err("not an IPv6"));
        check("http://user@a/", Err("authorization"));
        check("http://a/#top", Err("never sent"));
        check("http://a/b c", Err("percent-encoded"));
        check("http://a/{{ uuid }}?{{ int(1, 5) }}", Ok(("a", None, "/{{ uuid }}?{{ int(1, 5) }}")));
        check("http://a/{{ uuid", Err("percent-encoded"));
        check("http://a/{{ uuid }} }}", Err("percent-encoded"));
        check("http://a/b\r\nx: y", Err("percent-encoded"));
        check("http://{{ uuid }}/", Err("percent-encoded"));
        check("http://.lab/", Err("not a host"));
        check("http://a!b/", Err("not a host"));
    }
}
