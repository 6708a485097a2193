//! The connections that probes ask over: each their own, plain or TLS, so that they see what a new client would.
//!
//! Start at [`open`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Reply;
use crate::load::{Endpoints, tls};
use crate::spec::Tls;
use crate::spec::url::Url;

/// Why there is no answer.
pub enum Failure {
    /// It could not be asked: the host has no address, a file of the TLS settings is not what it should be, the server
    /// does not let this user in, or makes no sense of what is asked.
    NotAsked(String),
    /// The server refused, broke off, or said what no such server says.
    NotAnswered(String),
}

impl Failure {
    /// It could not be asked, and this is why.
    pub fn not_asked(error: &dyn std::fmt::Display) -> Self {
        Self::NotAsked(error.to_string())
    }

    /// There is no answer, and this is why.
    pub fn no_answer(error: &(dyn std::error::Error + 'static)) -> Self {
        // A library's own words leave out what the system said.
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::NotAnswered(text)
    }
}

/// As a probe of the system takes it: one that was asked and did not answer says no.
impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotAsked(why) => Self::Unknown(why),
            Failure::NotAnswered(why) => Self::No(why),
        }
    }
}

/// Connects to where `url` leads, which takes as long as it takes: the caller has the time limit.
pub async fn open(url: &Url, endpoints: &Endpoints) -> Result<TcpStream, Failure> {
    let address = endpoints.resolve(url).await.map_err(|error| Failure::not_asked(&error))?;
    TcpStream::connect(address).await.map_err(|error| Failure::no_answer(&error))
}

/// TLS over `stream` to a server at `host`, with `alpn` as the protocol that is spoken inside, if it has a name.
pub async fn encrypt(
    stream: TcpStream,
    host: &str,
    said: &Tls,
    alpn: &[&str],
) -> Result<TlsStream<TcpStream>, Failure> {
    let config = tls::config(said, alpn).map_err(|error| Failure::NotAsked(error.chain()))?;
    let sni = said.sni.as_ref().map(|name| name.value.as_str());
    let name = tls::server_name(sni, host).map_err(Failure::NotAsked)?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    connected.map_err(|error| Failure::no_answer(&error))
}

/// A connection, plain or not.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What `talk` makes of a connection, of which it reads no more than `most_bytes`: libraries read as much as a server
/// sends.
pub async fn bounded<T>(
    stream: Box<dyn Stream>,
    most_bytes: usize,
    talk: impl AsyncFnOnce(Bounded) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let too_much = Arc::new(AtomicBool::new(false));
    let spoken = talk(Bounded { stream, left: most_bytes, too_much: Arc::clone(&too_much) }).await;
    if spoken.is_err() && too_much.load(Ordering::Relaxed) {
        let why = format!("more than {most_bytes} bytes came back, and one value is wanted");
        return Err(Failure::NotAsked(why));
    }
    spoken
}

/// A connection that fails once too much was read from it.
pub struct Bounded {
    stream: Box<dyn Stream>,
    left: usize,
    /// Set when too much came.
    too_much: Arc<AtomicBool>,
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        let read = into.filled().len() - before;
        let Some(left) = self.left.checked_sub(read) else {
            self.too_much.store(true, Ordering::Relaxed);
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        };
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What comes of `work`, which a connection's own work, `driver`, carries meanwhile. A server may answer and close at
/// once: then the driver ends first, and what it had received is still to be taken.
pub async fn driven<T, D>(work: impl Future<Output = T>, driver: impl Future<Output = D>) -> T {
    let (mut work, driver) = (std::pin::pin!(work), std::pin::pin!(driver));
    tokio::select! {
        biased;
        done = &mut work => done,
        _ = driver => work.await,
    }
}
