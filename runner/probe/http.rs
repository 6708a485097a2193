//! The `http` probe: one GET over a connection of its own, so that it sees what a new client would.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::load::Endpoints;
use crate::spec::HttpProbe;
use crate::spec::url::Url;

/// A health check's body is a few bytes; more is not read.
const MOST_BODY_BYTES: usize = 1 << 20;

/// Asks, and says in a few words what came back. A URL that names no address is no data; a server that
/// refuses, breaks off or does not answer in time is a no.
pub(super) async fn ask(probe: &HttpProbe, endpoints: &Endpoints) -> (Option<bool>, String) {
    match tokio::time::timeout(probe.timeout.to_std(), exchange(probe, endpoints)).await {
        Ok(Ok(status)) => (Some(probe.expect.status.contains(status)), format!("status {status}")),
        Ok(Err(Failure::NotAsked(why))) => (None, why),
        Ok(Err(Failure::NotAnswered(why))) => (Some(false), why),
        Err(_) => (Some(false), format!("no answer in {}", probe.timeout)),
    }
}

enum Failure {
    NotAsked(String),
    NotAnswered(String),
}

async fn exchange(probe: &HttpProbe, endpoints: &Endpoints) -> Result<u16, Failure> {
    let not_asked = |error: &dyn std::fmt::Display| Failure::NotAsked(error.to_string());
    let no_answer = |error: &dyn std::fmt::Display| Failure::NotAnswered(error.to_string());
    let url: Url = probe.get.value.parse().map_err(Failure::NotAsked)?;
    let address = endpoints.resolve(&url).await.map_err(|error| not_asked(&error))?;
    let stream = TcpStream::connect(address).await.map_err(|error| no_answer(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| no_answer(&error))?;
    let mut request = Request::get(&url.path).header("host", url.authority());
    for (name, value) in &probe.headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| not_asked(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| no_answer(&error))?;
        let status = response.status().as_u16();
        Limited::new(response.into_body(), MOST_BODY_BYTES)
            .collect()
            .await
            .map_err(|error| no_answer(&error))?;
        Ok(status)
    };
    // The connection does its work while the answer is awaited, and ends with it.
    tokio::select! {
        answer = answer => answer,
        ended = connection => match ended {
            Ok(()) => Err(Failure::NotAnswered("the connection was closed before the answer".into())),
            Err(error) => Err(no_answer(&error)),
        },
    }
}
