//! A client of Prometheus's HTTP API: what probes and SLOs ask it, over a connection of its own each time.
//!
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>. Prometheus watches the system and is not part of it:
//! whatever it can't say is an error that says why, which whoever asked takes for no data. So is what it says with a
//! warning, since then it does not know all of it. What is read of an answer is in `answer.rs`. Start at [`Client`].

mod answer;

pub(crate) use answer::one_of;

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use jiff::Timestamp;

use crate::load::Endpoints;
use crate::probe::web::{Failure, exchange};
use crate::spec::url::Url;
use crate::spec::{Auth, PrometheusServer};
use crate::units::Duration;

/// The longest answer about one instant that is read: one value is a line, and thousands of series are no answer.
const MAX_INSTANT_BYTES: usize = 1 << 20;
/// The longest answer about a stretch of time that is read.
const MAX_RANGE_BYTES: usize = 32 << 20;
/// The most steps of one range query; Prometheus refuses more than 11,000.
pub const MAX_STEPS: u32 = 5_000;

/// A series' labels.
pub type Labels = BTreeMap<String, String>;

/// The values of several series at one instant.
pub type Series = BTreeMap<Labels, f64>;

/// Instants at equal distances.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// The first.
    pub from: Timestamp,
    /// How far each is from the one before; a millisecond or more.
    pub every: Duration,
    /// How many there are, at most [`MAX_STEPS`].
    pub count: u32,
}

/// Who asks a Prometheus server. Takes as long as it takes: whoever asks has the time limit.
#[derive(Clone, Copy)]
pub struct Client<'c> {
    /// The server and how it lets somebody in.
    pub server: PrometheusServer<'c>,
    /// Where hosts of a lab are found.
    pub endpoints: &'c Endpoints,
}

impl Client<'_> {
    /// The one value of a query at an instant, or now by the server's clock; the error says why there is none.
    pub async fn value(&self, query: &str, at: Option<Timestamp>) -> Result<f64, String> {
        answer::value_of(&self.instant(query, at).await?)
    }

    /// The values of all series of a query at an instant, at least one; the error says why there is none.
    pub async fn series(&self, query: &str, at: Timestamp) -> Result<Series, String> {
        answer::series_of(&self.instant(query, Some(at)).await?)
    }

    /// The values of all series of a query at each of some instants, by the instant's index. Instants of which nothing
    /// is known are left out.
    pub async fn range(&self, query: &str, steps: Steps) -> Result<BTreeMap<u32, Series>, String> {
        let last = steps.at(steps.count.saturating_sub(1));
        let form = [
            ("query", query.to_owned()),
            ("start", unix_s(steps.from)),
            ("end", unix_s(last)),
            ("step", steps.every.as_s().to_string()),
        ];
        answer::steps_of(&self.call("query_range", &form, MAX_RANGE_BYTES).await?, steps)
    }

    async fn instant(&self, query: &str, at: Option<Timestamp>) -> Result<Bytes, String> {
        let mut form = vec![("query", query.to_owned())];
        form.extend(at.map(|at| ("time", unix_s(at))));
        self.call("query", &form, MAX_INSTANT_BYTES).await
    }

    async fn call(&self, what: &str, form: &[(&str, String)], most_bytes: usize) -> Result<Bytes, String> {
        let Self { server, endpoints } = self;
        let mut url: Url = server.url.parse()?;
        url.path = format!("{}/api/v1/{what}", url.path.trim_end_matches('/'));
        // As forms are sent: queries can be longer than a URL may be.
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = Request::post(&url.path)
            .header("host", url.authority())
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(auth) = server.auth {
            request = request.header("authorization", authorization(auth));
        }
        let request = request.body(Full::from(form)).map_err(|_| "the request can't be made".to_owned())?;
        // Boxed: with all that TLS takes it is large, and several are asked at once.
        let answered = Box::pin(exchange(&url, request, server.tls, endpoints, most_bytes)).await;
        let answered = answered.map_err(|failure| match failure {
            Failure::NotAsked(why) | Failure::NotAnswered(why) => {
                format!("Prometheus was not reached: {why}")
            }
        })?;
        match answered.status {
            // What is wrong with a query is in the answer.
            200 | 400 | 422 | 503 => Ok(answered.body),
            401 | 403 => Err(format!("Prometheus lets nobody in like this (status {})", answered.status)),
            status => Err(format!("status {status}: no Prometheus answers at {}", server.url)),
        }
    }
}

impl Steps {
    /// The instant with this index.
    pub fn at(self, index: u32) -> Timestamp {
        let after = jiff::SignedDuration::from_millis((self.every.as_ms() * f64::from(index)).round() as i64);
        self.from.saturating_add(after).unwrap_or(self.from)
    }

    /// The index of an instant in seconds since 1970; nothing if it is none of them.
    fn index(self, unix_s: f64) -> Option<u32> {
        let index = ((unix_s - self.from.as_millisecond() as f64 / 1e3) / self.every.as_s()).round();
        (index >= 0.0 && index < f64::from(self.count)).then_some(index as u32)
    }
}

/// An instant as Prometheus takes it: seconds since 1970, to the millisecond.
fn unix_s(at: Timestamp) -> String {
    let ms = at.as_millisecond();
    format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000))
}

/// The header that says who asks.
fn authorization(auth: &Auth) -> String {
    match auth {
        Auth::Basic(basic) => {
            use base64::Engine as _;
            let pair = format!("{}:{}", basic.user, basic.password.reveal());
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        Auth::Bearer(token) => format!("Bearer {}", token.reveal()),
    }
}
