//! Indicators that are measured beside the load: what a Prometheus counts, how containers are.
//!
//! A [`Gauge`] is read at equal distances while a run lasts and says what the stretch since the last reading came to;
//! what it could not say then, it is asked for once more at the end, where that is possible. When that is done is
//! decided in `run/sampling.rs`, what it means in `verdict/`. What nobody knows is no data, never good.

mod counting;
mod prometheus;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::probe::{Asker, shown};
use crate::slo::Tally;
use crate::spec::Sli;
use crate::units::Duration;

pub use self::counting::{Counting, Reading};
use self::prometheus::FromPrometheus;

/// The longest that the daemon may take to say how containers are.
const DOCKER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// What a stretch of time came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// What was counted; nothing: no data.
    pub tally: Option<Tally>,
    /// What came back, or why nothing did: one short line without secrets.
    pub detail: String,
}

/// Who knows what an SLO's indicator is.
pub struct Gauge {
    source: Source,
    asker: Arc<Asker>,
    secrets: Vec<String>,
}

enum Source {
    Prometheus(Box<FromPrometheus>),
    Containers { target: String },
}

impl Gauge {
    /// The gauge of an indicator; nothing of a load, which measures itself.
    pub fn of(sli: &Sli, asker: Arc<Asker>) -> Option<Self> {
        let source = match sli {
            Sli::Load(_) => return None,
            Sli::Prometheus(from) => {
                Source::Prometheus(Box::new(FromPrometheus::new((*from.prometheus.value).clone())))
            }
            Sli::Containers(from) => Source::Containers { target: from.containers.value.on.value.clone() },
        };
        let secrets = sli.secrets().into_iter().map(str::to_owned).collect();
        Some(Self { source, asker, secrets })
    }

    /// Reads what later readings are compared with.
    pub async fn begin(&mut self, at: Timestamp) {
        if let Source::Prometheus(source) = &mut self.source {
            source.begin(at, &self.asker).await;
        }
    }

    /// What the stretch that ends at `at`, now, and lasted so long came to.
    pub async fn read(&mut self, at: Timestamp, lasted: Duration) -> Said {
        let said = match &mut self.source {
            Source::Prometheus(source) => source.read(at, lasted, &self.asker).await,
            Source::Containers { target } => well(target, lasted, &self.asker).await,
        };
        self.said(said)
    }

    /// Takes note that a stretch was not read.
    pub fn skip(&mut self) {
        if let Source::Prometheus(source) = &mut self.source {
            source.skip();
        }
    }

    /// What stretches came to that are over, by their index from 1, of so many of equal length since `from`.
    pub async fn look_back(&self, from: Timestamp, every: Duration, count: u32) -> BTreeMap<u32, Said> {
        match &self.source {
            Source::Prometheus(source) => {
                let found = source.look_back(from, every, count, &self.asker).await;
                found.into_iter().map(|(index, said)| (index, self.said(said))).collect()
            }
            // The daemon tells how containers are, not how they were.
            Source::Containers { .. } => BTreeMap::new(),
        }
    }

    fn said(&self, Said { tally, detail }: Said) -> Said {
        let secrets: Vec<&str> = self.secrets.iter().map(String::as_str).collect();
        Said { tally, detail: shown(&detail, &secrets) }
    }
}

impl Said {
    fn unknown(why: impl Into<String>) -> Self {
        Self { tally: None, detail: why.into() }
    }
}

/// How long a target's containers were well, taken together, if they were so all along.
async fn well(target: &str, lasted: Duration, asker: &Asker) -> Said {
    match tokio::time::timeout(DOCKER_TIMEOUT, asker.wellness(target)).await {
        Ok(Ok(looked)) => {
            let ill: Vec<_> =
                looked.iter().filter_map(|(name, is)| Some(format!("{name} is {}", is.as_ref()?))).collect();
            let all = looked.len();
            let each_s = lasted.as_s();
            let tally = Tally { good: (all - ill.len()) as f64 * each_s, total: all as f64 * each_s };
            let detail = if ill.is_empty() { format!("all {all} well") } else { ill.join(", ") };
            Said { tally: Some(tally), detail }
        }
        Ok(Err(why)) => Said::unknown(why),
        Err(_) => Said::unknown("Docker did not answer in time"),
    }
}
