//! The `prometheus` probe: one value of a PromQL query. What can't be said is no data, with the reason.

use super::{Asker, Reply, number};
use crate::prometheus::Client;
use crate::spec::PrometheusProbe;

/// Asks for one value now.
pub(super) async fn ask(probe: &PrometheusProbe, asker: &Asker) -> Reply {
    let timeout = probe.asking.timeout.value;
    let client = Client { server: probe.server(), endpoints: &asker.endpoints };
    match tokio::time::timeout(timeout.to_std(), client.value(&probe.query, None)).await {
        Ok(Ok(value)) => number("value", value, probe.value.value),
        Ok(Err(why)) => Reply::Unknown(why),
        Err(_) => Reply::Unknown(format!("Prometheus did not answer in {timeout}")),
    }
}
