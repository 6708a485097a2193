//! The `logs` probe: how many lines of what containers wrote match a pattern.

use jiff::{SignedDuration, Timestamp};

use super::{Asker, Reply, number};
use crate::spec::LogsProbe;

/// Counts over all of the target's containers. A log that can't be read, or not in time, is no data.
pub(super) async fn ask(probe: &LogsProbe, asker: &Asker, since: Timestamp) -> Reply {
    let (docker, containers) = match asker.containers(&probe.on) {
        Ok(found) => found,
        Err(reply) => return reply,
    };
    let pattern = match regex::bytes::Regex::new(&probe.pattern) {
        Ok(pattern) => pattern,
        Err(error) => return Reply::Unknown(error.to_string()),
    };
    // Lines bear the daemon's time.
    let since = since.saturating_add(SignedDuration::from_nanos(asker.ahead_ns)).unwrap_or(since);
    let timeout = probe.asking.timeout.value;
    let each = containers.iter().map(|one| async {
        let mut matched = 0u64;
        let read = docker.lines_since(&one.id, since, |line| matched += u64::from(pattern.is_match(line)));
        read.await.map(|()| matched)
    });
    match tokio::time::timeout(timeout.to_std(), futures_util::future::try_join_all(each)).await {
        Ok(Ok(counts)) => number("matching lines:", counts.iter().sum::<u64>() as f64, probe.count.value),
        Ok(Err(error)) => Reply::Unknown(error.chain()),
        Err(_) => Reply::Unknown(format!("the log could not be read in {timeout}")),
    }
}
