//! One HTTP request over a connection of its own, plain or TLS: what probes that speak HTTP share.
//!
//! A connection of its own, so that it sees what a new client would. Start at [`exchange`].

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HeaderMap;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::load::{Endpoints, tls};
use crate::spec::url::Url;
use crate::spec::{Http, Tls};

/// An answer as it came, with no more of its body than was asked for.
pub struct Answered {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, its content codings not undone.
    pub body: Bytes,
}

/// Why there is no answer.
pub enum Failure {
    /// It could not be asked: the host has no address, a file of the TLS settings is not what it should be.
    NotAsked(String),
    /// The server refused, broke off, or said what no HTTP server says.
    NotAnswered(String),
}

impl Failure {
    fn not_asked(error: &dyn std::fmt::Display) -> Self {
        Self::NotAsked(error.to_string())
    }

    fn no_answer(error: &(dyn std::error::Error + 'static)) -> Self {
        // hyper's own words leave out what the system said.
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::NotAnswered(text)
    }
}

/// Sends `request` to where `url` leads and reads the answer, at most `most_bytes` of body. Takes as long as it
/// takes: the caller has the time limit.
pub async fn exchange(
    url: &Url,
    request: Request<Full<Bytes>>,
    said: Option<&Tls>,
    endpoints: &Endpoints,
    most_bytes: usize,
) -> Result<Answered, Failure> {
    let address = endpoints.resolve(url).await.map_err(|error| Failure::not_asked(&error))?;
    let connector = if url.tls { Some(connector(said)?) } else { None };
    let stream = TcpStream::connect(address).await.map_err(|error| Failure::no_answer(&error))?;
    let Some(connector) = connector else { return over(stream, request, most_bytes).await };
    let sni = said.and_then(|tls| tls.sni.as_ref()).map(|name| name.value.as_str());
    let name = tls::server_name(sni, &url.host).map_err(Failure::NotAsked)?;
    let stream = connector.connect(name, stream).await.map_err(|error| Failure::no_answer(&error))?;
    over(stream, request, most_bytes).await
}

fn connector(said: Option<&Tls>) -> Result<TlsConnector, Failure> {
    let said = said.cloned().unwrap_or_default();
    let config = tls::config(&said, Http::H1).map_err(|error| Failure::NotAsked(error.chain()))?;
    Ok(TlsConnector::from(Arc::clone(&config)))
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    most_bytes: usize,
) -> Result<Answered, Failure> {
    let no_answer = |error: hyper::Error| Failure::no_answer(&error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(no_answer)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(no_answer)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, most_bytes).collect().await;
        let body = body.map_err(|error| Failure::NotAnswered(error.to_string()))?.to_bytes();
        Ok(Answered { status: head.status.as_u16(), headers: head.headers, body })
    };
    driven(answer, connection).await
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
