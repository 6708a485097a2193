//! One connection: what it speaks is seen by its first bytes, and only HTTP/1 is looked into.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode, client::conn::http1 as client};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::exchange::Exchanger;
use super::proxy::reset_on_close;
use crate::agent::service::Stopping;

/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// How HTTP/2 begins where it does without TLS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What tells the preface from every request of HTTP/1: no method is PRI.
const TELLING_BYTES: usize = 4;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Http1,
    Http2,
    Tls,
    /// Nothing that we know; also where the server speaks first.
    Other,
}

impl Speech {
    /// What begins with `bytes`; nothing if more of them are needed.
    fn of(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        if first == TLS_HANDSHAKE {
            return Some(Self::Tls);
        }
        // A method is a word of letters; empty lines before it are allowed.
        if !first.is_ascii_alphabetic() && !b"\r\n".contains(&first) {
            return Some(Self::Other);
        }
        if !PREFACE.starts_with(&bytes[..bytes.len().min(TELLING_BYTES)]) {
            return Some(Self::Http1);
        }
        (bytes.len() >= TELLING_BYTES).then_some(Self::Http2)
    }

    const fn counted_as(self) -> &'static str {
        match self {
            Self::Http1 => "http_connections",
            Self::Http2 => "http2_connections_passed",
            Self::Tls => "tls_connections_passed",
            Self::Other => "other_connections_passed",
        }
    }
}

/// Carries a connection to its end, or until it may end after the proxy was told to stop.
pub async fn carry(mut from: TcpStream, mut to: TcpStream, exchanger: Arc<Exchanger>, stopping: Stopping) {
    for stream in [&from, &to] {
        // Fails only on a connection that is already broken.
        let _ = stream.set_nodelay(true);
    }
    let mut begun = Vec::new();
    let speech = loop {
        if let Some(speech) = Speech::of(&begun) {
            break speech;
        }
        tokio::select! {
            read = from.read_buf(&mut begun) => match read {
                Ok(1..) => {}
                // Nothing was said.
                _ => break Speech::Other,
            },
            _ = to.readable(), if begun.is_empty() => break Speech::Other,
        }
    };
    exchanger.account.count(speech.counted_as());
    if speech == Speech::Http1 {
        return carry_http(from, to, begun, exchanger, stopping).await;
    }
    if to.write_all(&begun).await.is_ok() && tokio::io::copy_bidirectional(&mut from, &mut to).await.is_ok() {
        return;
    }
    // Broken on one side: the other side is told the same.
    reset_on_close(&from);
    reset_on_close(&to);
}

async fn carry_http(
    from: TcpStream,
    to: TcpStream,
    begun: Vec<u8>,
    exchanger: Arc<Exchanger>,
    mut stopping: Stopping,
) {
    let Ok((sender, server_side)) =
        client::Builder::new().preserve_header_case(true).handshake(TokioIo::new(to)).await
    else {
        return reset_on_close(&from);
    };
    // The connection's halves go to the library; this stays to end it with a reset where the server did.
    let raw = socket2::SockRef::from(&from).try_clone();
    let (reading, writing) = from.into_split();
    let whole = tokio::io::join(std::io::Cursor::new(begun).chain(reading), writing);
    // Requests of one connection come one after the other.
    let sender = Arc::new(Mutex::new(sender));
    let (told, seen) = (stopping.clone(), Arc::new(Seen::default()));
    let (asked, noted) = (Arc::clone(&sender), Arc::clone(&seen));
    let service = service_fn(move |request: Request<Incoming>| {
        let (exchanger, sender, told) = (Arc::clone(&exchanger), Arc::clone(&asked), told.clone());
        let (seen, connects) = (Arc::clone(&noted), *request.method() == Method::CONNECT);
        async move {
            let exchanged = exchanger.exchange(request, &mut *sender.lock().await, told).await;
            match &exchanged {
                Err(_) => seen.broke.store(true, Ordering::Relaxed),
                Ok(answer) if is_upgrade(answer.status(), connects) => {
                    seen.upgraded.store(true, Ordering::Relaxed);
                }
                Ok(_) => {}
            }
            exchanged
        }
    });
    let client_side = server::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .preserve_header_case(true)
        .auto_date_header(false)
        .half_close(true)
        .serve_connection(TokioIo::new(whole), service)
        .with_upgrades();
    let mut client_side = std::pin::pin!(client_side);
    let server_side = tokio::spawn(server_side.with_upgrades());
    let server_gone = async {
        // Its end may come before its last answer was heard.
        let _ = server_side.await;
        drop(sender.lock().await);
    };
    let over = tokio::select! {
        _ = client_side.as_mut() => true,
        // The server closed it, after an answer or while it was idle: so do we, in order.
        () = server_gone => false,
        _ = stopping.wait_for(|stopping| *stopping) => false,
    };
    if !over {
        if !seen.upgraded.load(Ordering::Relaxed) {
            client_side.as_mut().graceful_shutdown();
        }
        // What it breaks by shows on the wire.
        let _ = client_side.as_mut().await;
    }
    if let (true, Ok(raw)) = (seen.broke.load(Ordering::Relaxed), raw) {
        // As the server did. Fails only on a connection that is already gone.
        let _ = raw.set_linger(Some(Duration::ZERO));
    }
}

/// What was seen of the server on one connection.
#[derive(Debug, Default)]
struct Seen {
    /// It broke off without an answer.
    broke: AtomicBool,
    /// It agreed to speak something else.
    upgraded: AtomicBool,
}

/// True if the answer to a request, one to connect or not, ends the talk in HTTP.
pub fn is_upgrade(status: StatusCode, connects: bool) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (connects && status.is_success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_is_told_by_its_first_bytes() {
        let check = |bytes: &[u8], expected| assert_eq!(Speech::of(bytes), expected, "{bytes:?}");
        check(b"", None);
        check(b"G", Some(Speech::Http1));
        check(b"P", None);
        check(b"PO", Some(Speech::Http1));
        check(b"PR", None);
        check(b"PRI ", Some(Speech::Http2));
        check(PREFACE, Some(Speech::Http2));
        check(b"PROPFIND / HTTP/1.1\r\n", Some(Speech::Http1));
        check(b"\r\nGET /", Some(Speech::Http1));
        check(&[0x16, 3, 1], Some(Speech::Tls));
        check(&[0, 1], Some(Speech::Other));
    }
}
