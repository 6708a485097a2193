//! One HTTP request over a connection of its own, plain or TLS: what probes that speak HTTP share.
//!
//! Start at [`exchange`].

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HeaderMap;
use hyper_util::rt::TokioIo;

use super::connection::{Failure, Stream, driven, encrypt, open};
use crate::load::Endpoints;
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

/// Sends `request` to where `url` leads and reads the answer, at most `most_bytes` of body. Takes as long as it
/// takes: the caller has the time limit.
pub async fn exchange(
    url: &Url,
    request: Request<Full<Bytes>>,
    said: Option<&Tls>,
    endpoints: &Endpoints,
    most_bytes: usize,
) -> Result<Answered, Failure> {
    let stream = open(url, endpoints).await?;
    if !url.tls {
        return over(stream, request, most_bytes).await;
    }
    let said = said.cloned().unwrap_or_default();
    let stream = encrypt(stream, &url.host, &said, &[Http::H1.alpn()]).await?;
    over(stream, request, most_bytes).await
}

async fn over(
    stream: impl Stream + 'static,
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
