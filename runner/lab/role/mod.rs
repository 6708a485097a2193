//! What runs inside the built-in lab's containers: a gateway, an API and a store, each a small HTTP server.
//!
//! They are real programs with real weaknesses, so that faults on them mean something. As first process of
//! their container they must end on SIGTERM by themselves. They know nothing of Docker or of runs; all
//! they are told is on their command line. Start at [`run`].

pub mod api;
pub mod ask;
pub mod balance;
pub mod gateway;
pub mod store;
pub mod upstream;

use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Error, Exit, Result};

/// Every role listens here inside its container.
pub const PORT: u16 = 8080;
/// Requests and values of the lab are small; more is refused with 413.
const MAX_BODY_BYTES: usize = 64 << 10;
/// How long requests under way may take to end after SIGTERM. Docker kills after ten seconds.
const DRAIN: Duration = Duration::from_secs(1);
/// Connections waiting to be accepted: bursts after a pause must not be refused.
const BACKLOG: u32 = 4096;
/// How long after a connection could not be accepted the next one is tried.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

/// The roles and what they are told.
#[derive(clap::Subcommand)]
pub enum Role {
    /// A reverse proxy over replicas, with defences that can be switched.
    Gateway(gateway::Args),
    /// Answers carts and checkouts out of the store.
    Api(api::Args),
    /// Keeps small values in memory.
    Store(store::Args),
    /// Sends one request to a role, and ends.
    Ask(ask::Args),
}

/// Runs a role until SIGTERM or SIGINT.
///
/// # Errors
/// The port can't be listened on.
pub fn run(role: Role) -> Result<Exit> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::environment("could not start the async runtime").because(error))?;
    runtime.block_on(async {
        match role {
            Role::Gateway(args) => gateway::run(args).await,
            Role::Api(args) => api::run(args).await,
            Role::Store(args) => store::run(args).await,
            Role::Ask(args) => ask::run(args).await,
        }
    })?;
    // Name lookups that never end must not hold up the exit.
    runtime.shutdown_background();
    Ok(Exit::Held)
}

/// A whole request, read within limits.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its head.
    pub head: upstream::Head,
    /// Its body; may be empty.
    pub body: Bytes,
}

/// Serves requests with `answer` until SIGTERM or SIGINT, then lets those under way end.
///
/// # Errors
/// The port can't be listened on.
pub async fn serve<A, F>(port: u16, answer: A) -> Result<()>
where
    A: Fn(Ask) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let failed = |error| Error::environment(format!("could not listen on port {port}")).because(error);
    let listener = listen(port).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (stop, stopping) = watch::channel(());
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                match accepted {
                    Ok((stream, _)) => {
                        tokio::spawn(connection(stream, answer.clone(), stopping.clone()));
                    }
                    // Out of descriptors, say: a later one may succeed.
                    Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    drop((listener, stopping));
    // Nobody listens if every connection has ended already.
    let _ = stop.send(());
    let _ = tokio::time::timeout(DRAIN, stop.closed()).await;
    Ok(())
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    // Over IPv6 and IPv4 by one socket, as most servers do; by IPv4 alone on a kernel without IPv6.
    let both = TcpSocket::new_v6().and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv6Addr::UNSPECIFIED, port).into())?;
        Ok(socket)
    });
    let socket = both.or_else(|_| {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::UNSPECIFIED, port).into())?;
        Ok::<_, std::io::Error>(socket)
    })?;
    socket.listen(BACKLOG)
}

async fn connection<A, F>(stream: TcpStream, answer: A, mut stopping: watch::Receiver<()>)
where
    A: Fn(Ask) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    // Fails only on a connection that is already broken.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            Ok::<_, std::convert::Infallible>(match read(request).await {
                Some(ask) => answer(ask).await,
                None => text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n"),
            })
        }
    });
    // No limit on idle connections: load generators keep theirs.
    let connection =
        http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A client that went away is its own business.
        _ = connection.as_mut() => return,
        _ = stopping.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// The whole request; nothing if it is too large or broke off.
async fn read(request: Request<Incoming>) -> Option<Ask> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await.ok()?.to_bytes();
    Some(Ask { head: upstream::Head::of(head), body })
}

/// An answer in plain text.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    answer(status, HeaderValue::from_static("text/plain; charset=utf-8"), text.into())
}

/// An answer in JSON.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Response<Full<Bytes>> {
    answer(status, HeaderValue::from_static("application/json"), value.to_string().into())
}

/// An answer with a content type.
pub fn answer(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Raises the soft limit of open files to the hard one: thousands of connections when everything is slow.
fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for the call to fill.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid rlimit; raising the soft limit to the hard one is always allowed.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

/// Reads a duration such as `200ms` from the command line.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<crate::units::Duration>().map(crate::units::Duration::to_std)
}
