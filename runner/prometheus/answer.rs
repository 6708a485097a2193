//! What is read of Prometheus's answers. Nothing here asks anything.
//!
//! An instant query is answered with a scalar or a vector, a range query with a matrix. Start at [`value_of`].

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Labels, Series, Steps};

/// What Prometheus calls notes that doubt no figure (until version 3 among the warnings).
const INFO: &str = "PromQL info";
/// Why a native histogram is not taken for a number.
const NO_VALUE: &str = "a histogram is no value: take a quantile of it";
/// Why there is nothing where something was asked for.
const NO_SERIES: &str = "no series matches, or none has data that is fresh enough";

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
    #[serde(default)]
    metric: Labels,
    /// Not there where it is a histogram.
    value: Option<(f64, String)>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    metric: Labels,
    /// Empty where they are histograms.
    #[serde(default)]
    values: Vec<(f64, String)>,
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
pub(super) fn value_of(body: &[u8]) -> Result<f64, String> {
    one_of(&series_of(body)?)
}

/// The one value of several series at an instant.
pub(crate) fn one_of(series: &Series) -> Result<f64, String> {
    let mut values = series.values();
    match (values.next(), values.len()) {
        (Some(value), 0) => Ok(*value),
        (None, _) => Err(NO_SERIES.into()),
        _ => Err(format!(
            "{} series match, and one is wanted: put them together, as with `sum(…)`",
            series.len()
        )),
    }
}

/// The values of all series of an answer to an instant query, at least one; a scalar is one without labels.
pub(super) fn series_of(body: &[u8]) -> Result<Series, String> {
    let Data { kind, result } = data_of(body)?;
    let unreadable = |_| unreadable(&kind);
    let samples = match kind.as_str() {
        "scalar" => {
            let value = serde_json::from_value(result).map_err(unreadable)?;
            vec![Sample { metric: Labels::new(), value: Some(value) }]
        }
        "vector" => serde_json::from_value(result).map_err(unreadable)?,
        "matrix" => return Err("a range is no value: take a `rate` or `avg_over_time` of it".into()),
        _ => return Err(format!("a {kind} is no value")),
    };
    if samples.is_empty() {
        return Err(NO_SERIES.into());
    }
    let read = samples.into_iter().map(|Sample { metric, value }| {
        let (_, text) = value.ok_or(NO_VALUE)?;
        Ok((metric, number_of(&text)?))
    });
    read.collect()
}

/// The values of all series of an answer to a range query, by the index of their instant. What is NaN there is left
/// out: it is no data at that instant.
pub(super) fn steps_of(body: &[u8], steps: Steps) -> Result<BTreeMap<u32, Series>, String> {
    let Data { kind, result } = data_of(body)?;
    if kind != "matrix" {
        return Err(unreadable(&kind));
    }
    let rows: Vec<Row> = serde_json::from_value(result).map_err(|_| unreadable(&kind))?;
    let mut found = BTreeMap::<u32, Series>::new();
    for Row { metric, values } in rows {
        for (at_s, text) in values {
            if let (Some(index), Ok(value)) = (steps.index(at_s), number_of(&text)) {
                found.entry(index).or_default().insert(metric.clone(), value);
            }
        }
    }
    Ok(found)
}

fn unreadable(kind: &str) -> String {
    format!("Prometheus answered with a {kind} that is none")
}

/// A value as Prometheus writes it; the error says why it is none.
fn number_of(text: &str) -> Result<f64, String> {
    let value = match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        other => other.parse().map_err(|_| format!("the value is \"{text}\""))?,
    };
    if value.is_nan() {
        return Err("the value is NaN: nothing was there to divide by, or the series is stale".into());
    }
    Ok(value)
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

    #[test]
    fn ranges_are_read_instant_by_instant() {
        let steps = Steps {
            from: "2026-01-01T00:00:00.250Z".parse().unwrap(),
            every: crate::units::Duration::from_s(5),
            count: 4,
        };
        // 2026 began 1,767,225,600 s after 1970.
        let matrix = r#"[{"metric":{"a":"1"},"values":[[1767225600.25,"1"],[1767225605.25,"NaN"],[1767225615.25,"3"]]},
                         {"metric":{"a":"2"},"values":[[1767225605.25,"5"],[1767225620.25,"9"]]}]"#;
        let found = steps_of(success("matrix", matrix).as_bytes(), steps).unwrap();
        let of =
            |a: &str, value: f64| Series::from([(Labels::from([("a".to_owned(), a.to_owned())]), value)]);
        // The last is of no instant that was asked about.
        assert_eq!(found, BTreeMap::from([(0, of("1", 1.0)), (1, of("2", 5.0)), (3, of("1", 3.0))]));
        assert_eq!(one_of(&of("1", 7.0)), Ok(7.0));
        assert!(steps_of(success("vector", "[]").as_bytes(), steps).is_err());
    }
}
