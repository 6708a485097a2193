//! The `prometheus` probe: one value of a PromQL query, over Prometheus's HTTP API.
//!
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>. Prometheus watches the system and is not part of it:
//! whatever it can't say is no data, with the reason. So is what it says with a warning, since then it does not know
//! all of it. Start at [`ask`]; what is read of an answer is [`value_of`].

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde::Deserialize;

use super::connection::Failure;
use super::web::exchange;
use super::{Asker, Reply, number};
use crate::load::Endpoints;
use crate::spec::url::Url;
use crate::spec::{Auth, PrometheusProbe, PrometheusServer};

/// The longest answer that is read: one value is a line, and thousands of series are no answer.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// What Prometheus calls notes that doubt no figure (until version 3 among the warnings).
const INFO: &str = "PromQL info";

/// Asks for one value now.
pub(super) async fn ask(probe: &PrometheusProbe, asker: &Asker) -> Reply {
    let timeout = probe.asking.timeout.value;
    let asked = instant(probe.server(), &probe.query, &asker.endpoints);
    match tokio::time::timeout(timeout.to_std(), asked).await {
        Ok(Ok(value)) => number("value", value, probe.value.value),
        Ok(Err(why)) => Reply::Unknown(why),
        Err(_) => Reply::Unknown(format!("Prometheus did not answer in {timeout}")),
    }
}

/// The value of a query now; the error says why there is none.
async fn instant(server: PrometheusServer<'_>, query: &str, endpoints: &Endpoints) -> Result<f64, String> {
    value_of(&call(server, query, endpoints).await?)
}

async fn call(server: PrometheusServer<'_>, query: &str, endpoints: &Endpoints) -> Result<Bytes, String> {
    let mut url: Url = server.url.parse()?;
    url.path = format!("{}/api/v1/query", url.path.trim_end_matches('/'));
    let mut request = Request::post(&url.path)
        .header("host", url.authority())
        .header("content-type", "application/x-www-form-urlencoded");
    if let Some(auth) = server.auth {
        request = request.header("authorization", authorization(auth));
    }
    let request =
        request.body(Full::from(form(query))).map_err(|_| "the request can't be made".to_owned())?;
    let answered = exchange(&url, request, server.tls, endpoints, MAX_ANSWER_BYTES).await;
    let answered = answered.map_err(|failure| match failure {
        Failure::NotAsked(why) | Failure::NotAnswered(why) => format!("Prometheus was not reached: {why}"),
    })?;
    match answered.status {
        // What is wrong with a query is in the answer.
        200 | 400 | 422 | 503 => Ok(answered.body),
        401 | 403 => Err(format!("Prometheus lets nobody in like this (status {})", answered.status)),
        status => Err(format!("status {status}: no Prometheus answers at {}", server.url)),
    }
}

/// What is asked, as forms are sent: queries can be longer than a URL may be.
fn form(query: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish()
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

#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<Data>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Sample {
    /// Not there where it is a histogram.
    value: Option<(f64, String)>,
}

fn data_of(body: &[u8]) -> Result<Data, String> {
    let envelope: Envelope = serde_json::from_slice(body)
        .map_err(|_| "what answers is no Prometheus: its answer is not JSON of its API".to_owned())?;
    if envelope.status != "success" {
        return Err(format!("Prometheus says: {}", envelope.error.unwrap_or_default()));
    }
    if let Some(warning) = envelope.warnings.iter().find(|warning| !warning.starts_with(INFO)) {
        return Err(format!("Prometheus warns that it may not know all: {warning}"));
    }
    envelope.data.ok_or_else(|| "Prometheus answered without data".to_owned())
}

/// The one value of an answer to an instant query.
fn value_of(body: &[u8]) -> Result<f64, String> {
    let Data { kind, result } = data_of(body)?;
    let unreadable = |_| format!("Prometheus answered with a {kind} that is none");
    let text = match kind.as_str() {
        "scalar" => serde_json::from_value::<(f64, String)>(result).map_err(unreadable)?.1,
        "vector" => {
            let samples: Vec<Sample> = serde_json::from_value(result).map_err(unreadable)?;
            match samples.as_slice() {
                [Sample { value: Some((_, text)) }] => text.clone(),
                [_] => return Err("a histogram is no value: take a quantile of it".into()),
                [] => return Err("no series matches, or none has data that is fresh enough".into()),
                several => {
                    let count = several.len();
                    return Err(format!(
                        "{count} series match, and one is wanted: put them together, as with `sum(…)`"
                    ));
                }
            }
        }
        "matrix" => return Err("a range is no value: take a `rate` or `avg_over_time` of it".into()),
        _ => return Err(format!("a {kind} is no value")),
    };
    match number_of(&text) {
        Some(value) if value.is_nan() => {
            Err("the value is NaN: nothing was there to divide by, or the series is stale".into())
        }
        Some(value) => Ok(value),
        None => Err(format!("the value is \"{text}\"")),
    }
}

fn number_of(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        other => other.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn success(kind: &str, result: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
    }

    #[test]
    fn one_value_is_read_and_everything_else_is_no_data_with_its_reason() {
        let vector = |values: &str| success("vector", values);
        let warned = |kind: &str| {
            format!(
                r#"{{"status":"success","data":{{"resultType":"scalar","result":[1,"2"]}},"warnings":["{kind}"]}}"#
            )
        };
        let cases: [(String, Result<f64, &str>); 14] = [
            (success("scalar", r#"[1700000000.1,"0.25"]"#), Ok(0.25)),
            (vector(r#"[{"metric":{"job":"a"},"value":[1,"12"]}]"#), Ok(12.0)),
            (vector(r#"[{"metric":{},"value":[1,"+Inf"]}]"#), Ok(f64::INFINITY)),
            (vector(r#"[{"metric":{},"value":[1,"-Inf"]}]"#), Ok(f64::NEG_INFINITY)),
            (vector(r#"[{"metric":{},"value":[1,"1e-05"]}]"#), Ok(1e-5)),
            (vector(r#"[{"metric":{},"value":[1,"NaN"]}]"#), Err("NaN")),
            (vector("[]"), Err("no series matches")),
            (
                vector(r#"[{"metric":{"a":"1"},"value":[1,"1"]},{"metric":{"a":"2"},"value":[1,"1"]}]"#),
                Err("2 series match"),
            ),
            (success("matrix", r#"[{"metric":{},"values":[[1,"1"]]}]"#), Err("a range is no value")),
            (success("string", r#"[1,"a"]"#), Err("a string is no value")),
            (warned("no store answered"), Err("may not know all: no store answered")),
            (warned("PromQL info: metric might not be a counter"), Ok(2.0)),
            (
                r#"{"status":"error","errorType":"bad_data","error":"parse error: unexpected end"}"#.into(),
                Err("parse error: unexpected end"),
            ),
            ("<html>".into(), Err("no Prometheus")),
        ];
        for (body, expected) in cases {
            match (value_of(body.as_bytes()), expected) {
                (Ok(value), Ok(expected)) => assert_eq!(value, expected, "{body}"),
                (Err(why), Err(words)) => assert!(why.contains(words), "{body}: {why}"),
                (found, _) => panic!("{body}: {found:?}"),
            }
        }
    }
}
