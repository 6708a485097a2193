//! The `http` probe: one GET over a connection of its own, so that it sees what a new client would.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::load::Endpoints;
use crate::load::kept::{Kept, MAX_BODY_BYTES};
use crate::load::scrutiny::{Scrutiny, Unexpected};
use crate::spec::HttpProbe;
use crate::spec::url::Url;

/// Asks, and says in a few words what came back. A URL that names no address is no data; a server that
/// refuses, breaks off or does not answer in time is a no.
pub(super) async fn ask(probe: &HttpProbe, endpoints: &Endpoints) -> (Option<bool>, String) {
    match tokio::time::timeout(probe.timeout.to_std(), exchange(probe, endpoints)).await {
        Ok(Ok((status, _))) if !probe.expect.status.contains(status) => {
            (Some(false), format!("status {status}"))
        }
        Ok(Ok((status, Err(unexpected)))) => {
            (Some(false), format!("status {status}, {}: {}", unexpected.class.word(), unexpected.text))
        }
        Ok(Ok((status, Ok(())))) => (Some(true), format!("status {status}")),
        Ok(Err(Failure::NotAsked(why))) => (None, why),
        Ok(Err(Failure::NotAnswered(why))) => (Some(false), why),
        Err(_) => (Some(false), format!("no answer in {}", probe.timeout)),
    }
}

enum Failure {
    NotAsked(String),
    NotAnswered(String),
}

/// The status of an answer, and what is amiss with the rest of it.
type Answered = (u16, Result<(), Unexpected>);

async fn exchange(probe: &HttpProbe, endpoints: &Endpoints) -> Result<Answered, Failure> {
    let not_asked = |error: &dyn std::fmt::Display| Failure::NotAsked(error.to_string());
    let no_answer = |error: &dyn std::fmt::Display| Failure::NotAnswered(error.to_string());
    let scrutiny = Scrutiny::of_expect(&probe.expect).map_err(Failure::NotAsked)?;
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
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| no_answer(&error))?;
        let status = head.status.as_u16();
        let Some(scrutiny) = &scrutiny else { return Ok((status, Ok(()))) };
        let mut kept = Kept::new(scrutiny.keep());
        head.headers.iter().for_each(|(name, value)| kept.header(name.as_str(), value.as_bytes()));
        kept.piece(&body.to_bytes());
        Ok((status, scrutiny.examine(&kept, &mut [])))
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
