//! What the way a load's requests travel must not leave out or contradict: TLS, sockets, connections.
//!
//! A part of `check.rs`, by way of `check_requests.rs`. Whether files are there is looked up where the
//! experiment is read. Start at [`check`].

use std::net::SocketAddr;

use super::decode::{Located, Mistakes};
use super::url::Url;
use super::{Http, Load, Tls};

/// The most requests at once on one connection: far beyond what servers allow.
const MAX_STREAMS: u32 = 10_000;

/// The longest path of a unix socket, as the kernel has it (`sun_path`, without its final zero).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The most redirects of one arrival: as many as browsers follow.
const MAX_REDIRECTS: u32 = 20;

/// Notes what is wrong with how `load` travels.
pub fn check(load: &Load, mistakes: &mut Mistakes) {
    let urls: Vec<Url> = load
        .requests
        .iter()
        .filter_map(|request| match request.method_and_url() {
            Some((_, url)) => url.value.parse().ok(),
            None => request.tcp_url()?.ok(),
        })
        .collect();
    if let Some(given) = &load.tls {
        if !urls.is_empty() && urls.iter().all(|url| !url.tls) {
            let message = "`tls` is for https:// URLs, and this load has none";
            mistakes.add(given.span, message, "write `https://…`, or remove it");
        }
        tls(given, mistakes);
    }
    let over_tcp = load.requests.iter().filter_map(|request| request.tcp.as_ref());
    if let Some(address) = over_tcp.clone().next() {
        if over_tcp.count() < load.requests.len() {
            let message = "a load is of requests over plain TCP or over HTTP, not of both";
            mistakes.add(address.span, message, "make it a load of its own");
        }
        if load.http != Http::H1 || load.tls.is_some() {
            let message = "`http` and `tls` are for HTTP, and this load is plain TCP";
            mistakes.add(address.span, message, "remove them");
        }
    }
    match &load.streams {
        Some(streams) if load.http != Http::H2 => {
            let message = "`streams` is for HTTP/2; HTTP/1.1 has one request at a time on a connection";
            mistakes.add(streams.span, message, "add `http: h2`, or remove it");
        }
        Some(streams) if !(1..=MAX_STREAMS).contains(&streams.value) => {
            let message = format!("`streams` must be from 1 to {MAX_STREAMS}, got `{}`", streams.value);
            mistakes.add(streams.span, message, "");
        }
        _ => {}
    }
    let redirects = &load.redirects;
    if redirects.value > MAX_REDIRECTS {
        let message = format!("`redirects` must be from 0 to {MAX_REDIRECTS}, got `{}`", redirects.value);
        mistakes.add(redirects.span, message, "");
    } else if redirects.value > 0 && load.requests.iter().any(|request| request.tcp.is_some()) {
        let message = "`redirects` is for HTTP, and this load is plain TCP";
        mistakes.add(redirects.span, message, "remove it");
    }
    if let Some(policy) = &load.connections {
        for (field, count) in [("max", &policy.max), ("requests", &policy.requests)] {
            if let Some(count) = count.as_ref().filter(|count| count.value == 0) {
                let message = format!("`{field}` must be positive, got `0`");
                mistakes.add(count.span, message, "remove it for as many as it takes");
            }
        }
    }
    if let Some(path) = &load.unix_socket {
        unix_socket(path, load, mistakes);
    }
    resolve(load, &urls, mistakes);
}

/// What settings of TLS contradict.
pub(super) fn tls(given: &Tls, mistakes: &mut Mistakes) {
    match (&given.cert, &given.key) {
        (Some(cert), None) => mistakes.add(
            cert.span,
            "`cert` without `key`: who shows a certificate must prove that it is theirs",
            "add `key: FILE`",
        ),
        (None, Some(key)) => {
            mistakes.add(key.span, "`key` without `cert`: there is nothing to prove", "add `cert: FILE`");
        }
        _ => {}
    }
    if let (Some(ca), true) = (&given.ca, given.insecure) {
        let message = "`ca` says whom to trust, and `insecure` trusts anyone";
        mistakes.add(ca.span, message, "keep one of the two");
    }
    if let Some(sni) = &given.sni
        && rustls::pki_types::ServerName::try_from(sni.value.as_str()).is_err()
    {
        let message = format!("`{}` can't be the name of a TLS server", sni.value);
        mistakes.add(sni.span, message, "write a host name such as `shop.test`");
    }
}

fn unix_socket(path: &Located<String>, load: &Load, mistakes: &mut Mistakes) {
    if path.value.is_empty() || path.value.len() > MAX_SOCKET_PATH_BYTES || path.value.contains('\0') {
        let message = format!("the path of a unix socket has from 1 to {MAX_SOCKET_PATH_BYTES} bytes");
        mistakes.add(path.span, message, "move the socket to a shorter path, or link to it from one");
    }
    if let Some((host, _)) = load.resolve.0.first() {
        let message = "`resolve` says where hosts are, and with `unix_socket` none is asked";
        mistakes.add(host.span, message, "keep one of the two");
    }
}

fn resolve(load: &Load, urls: &[Url], mistakes: &mut Mistakes) {
    for (host, address) in &load.resolve.0 {
        if address.value.parse::<SocketAddr>().is_err() {
            let message = format!("`{}` is not an address with a port", address.value);
            mistakes.add(address.span, message, "write `127.0.0.1:8443` or `[::1]:8443`");
        }
        let is_asked = |url: &Url| {
            let name = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
            format!("{name}:{}", url.port_or_default()) == host.value
        };
        if !urls.is_empty() && !urls.iter().any(is_asked) {
            let message = format!("no request of this load goes to `{}`", host.value);
            let hint = "write `HOST:PORT` as in the URL, with the port also where that leaves it out";
            mistakes.add(host.span, message, hint);
        }
    }
}
