//! A server that a role asks: its address, its connections, one request at a time on each.
//!
//! A container that was killed and started again may have another address, and while it is down its name
//! does not resolve at all. So names are looked up again before connecting, never longer ago than
//! [`FRESH`], and a name that does not resolve fails its requests at once instead of after the resolver's
//! patience. No retries and no time limit on answers here: those are the gateway's to decide.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long an address is good for new connections.
const FRESH: Duration = Duration::from_millis(500);
/// The same once a connection broke: its container may be gone, and connecting to an address that nobody has
/// takes seconds to fail. Not zero, so that a storm of broken connections is no storm of lookups.
const FRESH_IN_DOUBT: Duration = Duration::from_millis(20);
/// Docker's DNS answers in under a millisecond for a name it knows; for one it doesn't it may ask around.
const LOOKUP_LIMIT: Duration = Duration::from_millis(250);
/// Idle connections kept; more come and go with bursts.
const MAX_IDLE: usize = 256;

/// The parts of a request's head that matter here.
#[derive(Clone, Debug)]
pub struct Head {
    /// GET, POST, ….
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// The body's content type.
    pub content_type: Option<HeaderValue>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// The body's content type.
    pub content_type: Option<HeaderValue>,
    /// Its body.
    pub body: Bytes,
}

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The name does not resolve.
    Unknown,
    /// No connection could be made.
    Unreachable,
    /// The connection broke before the answer was whole.
    Broken,
    /// It took too long.
    TimedOut,
}

/// A server, by `NAME:PORT`.
#[derive(Debug)]
pub struct Upstream {
    /// `NAME:PORT`.
    pub authority: String,
    host: HeaderValue,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    /// Held during a lookup, so that there is one at a time.
    looked: tokio::sync::Mutex<Option<Looked>>,
    /// A connection broke since the last lookup.
    in_doubt: AtomicBool,
}

/// What a name resolved to, and when.
#[derive(Clone, Copy, Debug)]
struct Looked {
    at: Instant,
    address: Option<SocketAddr>,
}

impl Head {
    /// The head of a request without a body.
    pub fn get(path: &'static str) -> Self {
        Self { method: Method::GET, uri: Uri::from_static(path), content_type: None }
    }

    /// What matters of a received head.
    pub fn of(head: hyper::http::request::Parts) -> Self {
        let content_type = head.headers.get(CONTENT_TYPE).cloned();
        Self { method: head.method, uri: head.uri, content_type }
    }
}

impl Upstream {
    /// The server at `authority`; nothing is connected yet.
    ///
    /// # Errors
    /// It is not `NAME:PORT`.
    pub fn new(authority: &str) -> Result<Self, String> {
        let name_and_port =
            authority.rsplit_once(':').filter(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
        let host = HeaderValue::from_str(authority).ok().filter(|_| name_and_port.is_some());
        Ok(Self {
            authority: authority.to_owned(),
            host: host.ok_or_else(|| format!("`{authority}` is not NAME:PORT"))?,
            idle: Mutex::default(),
            looked: tokio::sync::Mutex::default(),
            in_doubt: AtomicBool::new(false),
        })
    }

    /// The name without the port.
    pub fn name(&self) -> &str {
        self.authority.rsplit_once(':').map_or(&self.authority, |(name, _)| name)
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn ask(&self, head: &Head, body: Bytes) -> Result<Answer, Failure> {
        let outcome = self.try_asking(head, body).await;
        if outcome.is_err() {
            self.in_doubt.store(true, Ordering::Relaxed);
        }
        outcome
    }

    async fn try_asking(&self, head: &Head, body: Bytes) -> Result<Answer, Failure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() =
            head.uri.path_and_query().map_or_else(Uri::default, |path| Uri::from(path.clone()));
        request.headers_mut().insert(HOST, self.host.clone());
        if let Some(content_type) = &head.content_type {
            request.headers_mut().insert(CONTENT_TYPE, content_type.clone());
        }
        loop {
            let (mut connection, reused) = match self.idle_connection().await {
                Some(connection) => (connection, true),
                None => (self.connect().await?, false),
            };
            let response = match connection.try_send_request(request).await {
                Ok(response) => response,
                Err(mut failed) => match failed.take_message() {
                    // Closed while idle; the request was never sent.
                    Some(unsent) if reused => {
                        request = unsent;
                        continue;
                    }
                    _ => return Err(Failure::Broken),
                },
            };
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|_| Failure::Broken)?.to_bytes();
            self.keep(connection);
            return Ok(Answer {
                status: head.status,
                content_type: head.headers.get(CONTENT_TYPE).cloned(),
                body,
            });
        }
    }

    async fn idle_connection(&self) -> Option<SendRequest<Full<Bytes>>> {
        loop {
            let mut connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if connection.ready().await.is_ok() {
                return Some(connection);
            }
            self.in_doubt.store(true, Ordering::Relaxed);
        }
    }

    fn keep(&self, connection: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.is_closed() && idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let address = self.address().await.ok_or(Failure::Unknown)?;
        let stream = TcpStream::connect(address).await.map_err(|_| Failure::Unreachable)?;
        // Fails only on a connection that is already broken.
        let _ = stream.set_nodelay(true);
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|_| Failure::Broken)?;
        // Ends with the connection; whoever waits for an answer learns of errors.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn address(&self) -> Option<SocketAddr> {
        let mut looked = self.looked.lock().await;
        let fresh = if self.in_doubt.load(Ordering::Relaxed) { FRESH_IN_DOUBT } else { FRESH };
        if let Some(known) = looked.filter(|known| known.at.elapsed() < fresh) {
            return known.address;
        }
        self.in_doubt.store(false, Ordering::Relaxed);
        let lookup = tokio::time::timeout(LOOKUP_LIMIT, tokio::net::lookup_host(&self.authority)).await;
        let address = lookup.ok().and_then(Result::ok).and_then(|mut addresses| addresses.next());
        *looked = Some(Looked { at: Instant::now(), address });
        address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    /// Answers one request on each of `connections` connections, then closes it.
    async fn closing_server(connections: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for _ in 0..connections {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                stream.write_all(ANSWER).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn connects_again_after_the_server_closed_an_idle_connection() {
        let upstream = Upstream::new(&closing_server(3).await.to_string()).unwrap();
        for _ in 0..3 {
            let answer = upstream.ask(&Head::get("/"), Bytes::new()).await.unwrap();
            assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"ok"[..]));
        }
    }

    #[tokio::test]
    async fn says_how_it_failed() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent_address = silent.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = silent.accept().await {
                drop(stream)
            }
        });
        for (authority, failure) in [
            (closed.to_string(), Failure::Unreachable),
            (silent_address.to_string(), Failure::Broken),
            ("no.such.name.invalid:80".to_owned(), Failure::Unknown),
        ] {
            let upstream = Upstream::new(&authority).unwrap();
            assert_eq!(
                upstream.ask(&Head::get("/"), Bytes::new()).await.unwrap_err(),
                failure,
                "{authority}"
            );
        }
        assert!(Upstream::new("api-1").is_err());
    }
}
