//! The `http` probe: one GET over a connection of its own, so that it sees what a new client would.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;

use super::connection::Failure;
use super::web::{Answered, exchange};
use super::{Asker, Reply};
use crate::load::kept::{Kept, MAX_BODY_BYTES};
use crate::load::scrutiny::Scrutiny;
use crate::spec::HttpProbe;
use crate::spec::url::Url;
use crate::units::Duration;

/// Asks, and says in a few words what came back. A URL that names no address is no data; a server that
/// refuses, breaks off or does not answer in time is a no.
pub(super) async fn ask(probe: &HttpProbe, asker: &Asker) -> Reply {
    let began = std::time::Instant::now();
    let timeout = probe.asking.timeout.value;
    match tokio::time::timeout(timeout.to_std(), answer(probe, asker)).await {
        Ok(Ok(answered)) => judge(probe, &answered, began.elapsed()),
        Ok(Err(failure)) => failure.into(),
        Err(_) => Reply::No(format!("no answer in {timeout}")),
    }
}

async fn answer(probe: &HttpProbe, asker: &Asker) -> Result<Answered, Failure> {
    let url: Url = probe.get.value.parse().map_err(Failure::NotAsked)?;
    let mut request = Request::get(&url.path).header("host", url.authority());
    for (name, value) in &probe.headers {
        request = request.header(name, value);
    }
    let request =
        request.body(Full::<Bytes>::default()).map_err(|error| Failure::NotAsked(error.to_string()))?;
    let tls = probe.tls.as_ref().map(|tls| &tls.value);
    exchange(&url, request, tls, &asker.endpoints, MAX_BODY_BYTES).await
}

fn judge(probe: &HttpProbe, answered: &Answered, took: std::time::Duration) -> Reply {
    let status = answered.status;
    if !probe.expect.status.contains(status) {
        return Reply::No(format!("status {status}"));
    }
    let scrutiny = match Scrutiny::of_expect(&probe.expect) {
        Ok(scrutiny) => scrutiny,
        Err(why) => return Reply::Unknown(why),
    };
    if let Some(scrutiny) = scrutiny {
        let mut kept = Kept::new(scrutiny.keep());
        answered.headers.iter().for_each(|(name, value)| kept.header(name.as_str(), value.as_bytes()));
        kept.piece(&answered.body);
        if let Err(unexpected) = scrutiny.examine(&kept, &mut []) {
            let class = unexpected.class.word();
            return Reply::No(format!("status {status}, {class}: {}", unexpected.text));
        }
    }
    match &probe.within {
        Some(within) if took > within.to_std() => {
            let took = Duration::from_ms(u64::try_from(took.as_millis()).unwrap_or(u64::MAX / 1_000_000));
            Reply::No(format!("status {status} after {took}, wanted within {}", within.value))
        }
        _ => Reply::Yes(format!("status {status}")),
    }
}
