//! What an SLO measures: requests of a load, what a Prometheus says, or the health of containers.
//!
//! Whatever it is, it comes to stretches of time with so much good of so much (`verdict/indicators.rs`), and all
//! arithmetic of SLOs goes on from there. Those beside the load are sampled in `sli/`. Start at [`Sli`].

use std::fmt;

use super::credentials::Auth;
use super::decode::Located;
use super::expr::Condition;
use super::probing::{NoData, NumberCheck};
use super::prometheus::PrometheusServer;
use super::transport::Tls;
use crate::error::Span;
use crate::units::Duration;
use crate::{choice, either, record};

either! {
    /// What an SLO measures.
    pub enum Sli {
        /// Requests of a load.
        Load(LoadSli),
        /// What a Prometheus server says.
        Prometheus(FromPrometheus),
        /// The health of containers.
        Containers(FromContainers),
    }
}

record! {
    /// Requests of a load.
    pub struct LoadSli ("slo") {
        /// The load it is measured on.
        pub load: Located<String>,
        /// When a request counts as good: `status < 500`, `latency < 300ms`, joined by `and`.
        pub good: Located<Condition>,
    }
}

record! {
    /// What a Prometheus server says.
    pub struct FromPrometheus ("slo") {
        /// Instead of a load: what a Prometheus server says.
        pub prometheus: Located<Box<PrometheusSli>>,
    }
}

record! {
    /// The health of containers.
    pub struct FromContainers ("slo") {
        /// Instead of a load: whether the containers of a target run and are healthy.
        pub containers: Located<ContainersSli>,
    }
}

record! {
    /// An indicator out of Prometheus. It is asked again and again while the run lasts; what could not be asked then is
    /// asked for at the run's end, over all of it. What Prometheus knows is as old as its last scrape, so that a phase
    /// should last several of them; its clock and this machine's must agree. Whatever it can't say (no series, NaN, a
    /// warning, no answer) is no data, and never good.
    pub struct PrometheusSli ("prometheus indicator") {
        /// The server: `http://HOST:PORT`, and what comes before `/api/v1` if anything does.
        pub url: Located<String>,
        /// How it is said who asks.
        pub auth: Option<Auth>,
        /// How an `https://` URL is spoken to; the system's authorities are trusted where left out.
        pub tls: Option<Located<Tls>>,
        /// How often it is asked: the length of the stretches that are counted.
        pub every: Located<Duration> = Located { value: Duration::from_s(5), span: Span::default() },
        /// How long one answer may take.
        pub timeout: Located<Duration> = Located { value: Duration::from_s(5), span: Span::default() },
        /// What time without data means.
        pub no_data: Located<NoData> = Located { value: NoData::Invalid, span: Span::default() },
        ..pub asks: PromQl
    }
}

either! {
    /// What Prometheus is asked.
    pub enum PromQl {
        /// Good events of all events.
        Ratio(PromRatio),
        /// A figure that must compare as wanted.
        Figure(PromFigure),
    }
}

record! {
    /// Good events of all events.
    pub struct PromRatio ("prometheus indicator") {
        /// PromQL for the good events: `http_requests_total{code!~"5.."}`, or of a histogram those that were fast enough,
        /// `http_request_duration_seconds_bucket{le="0.3"}`.
        pub good: Located<String>,
        /// PromQL for all events, the good ones among them: `http_requests_total`,
        /// `http_request_duration_seconds_count`.
        pub total: Located<String>,
        /// What the two queries give.
        pub kind: Located<Counts> = Located { value: Counts::Counters, span: Span::default() },
    }
}

record! {
    /// A figure that must compare as wanted.
    pub struct PromFigure ("prometheus indicator") {
        /// Instead of `good` and `total`: PromQL for one value, as `max(queue_length)`. Time is counted: each stretch is
        /// good if the value at its end is as wanted.
        pub query: Located<String>,
        /// With `query`: what the value must be, as `< 100`.
        pub value: Located<NumberCheck>,
    }
}

choice! {
    /// What queries for events give.
    pub enum Counts ("kind of query") {
        /// Counters as they are scraped, of any number of series. What they grew by is counted, series by series, and one
        /// that fell began anew: every event counts once, as near to its time as the scrapes are.
        Counters = "counters",
        /// One value, events a second, as `sum(rate(http_requests_total[30s]))`, which stands for the stretch before it.
        Rates = "rates",
    }
}

record! {
    /// Whether containers run and are healthy. Each counts for the time that it is good: it runs, is neither paused nor
    /// restarting, and is healthy by its health check if it has one. A container that is gone is not good; what a
    /// daemon that does not answer would have said is no data.
    pub struct ContainersSli ("containers indicator") {
        /// The target.
        pub on: Located<String>,
        /// How often each container is looked at.
        pub every: Located<Duration> = Located { value: Duration::from_s(1), span: Span::default() },
        /// What time without data means.
        pub no_data: Located<NoData> = Located { value: NoData::Invalid, span: Span::default() },
    }
}

/// What an indicator counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliUnit {
    /// Requests of a load.
    Requests,
    /// Events that Prometheus counted.
    Events,
    /// Stretches of time, each good or not.
    Stretches,
    /// Seconds of containers.
    ContainerSeconds,
}

impl Sli {
    /// What it measures of a load; nothing where it is none.
    pub const fn load(&self) -> Option<&LoadSli> {
        match self {
            Self::Load(load) => Some(load),
            Self::Prometheus(_) | Self::Containers(_) => None,
        }
    }

    /// The target whose containers it is about.
    pub const fn target(&self) -> Option<&Located<String>> {
        match self {
            Self::Containers(from) => Some(&from.containers.value.on),
            Self::Load(_) | Self::Prometheus(_) => None,
        }
    }

    /// How often it is sampled; nothing of a load, which is measured all along.
    pub fn every(&self) -> Option<&Located<Duration>> {
        match self {
            Self::Load(_) => None,
            Self::Prometheus(from) => Some(&from.prometheus.every),
            Self::Containers(from) => Some(&from.containers.value.every),
        }
    }

    /// What time without data means.
    pub fn no_data(&self) -> NoData {
        match self {
            Self::Load(_) => NoData::Invalid,
            Self::Prometheus(from) => from.prometheus.no_data.value,
            Self::Containers(from) => from.containers.no_data.value,
        }
    }

    /// What it counts.
    pub fn unit(&self) -> SliUnit {
        match self {
            Self::Load(_) => SliUnit::Requests,
            Self::Prometheus(from) => match &from.prometheus.asks {
                PromQl::Ratio(_) => SliUnit::Events,
                PromQl::Figure(_) => SliUnit::Stretches,
            },
            Self::Containers(_) => SliUnit::ContainerSeconds,
        }
    }

    /// What lets somebody in and must never be shown.
    pub fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Prometheus(from) => from.prometheus.auth.iter().map(Auth::secret).collect(),
            Self::Load(_) | Self::Containers(_) => Vec::new(),
        }
    }

    /// The files that it names, to be looked for beside the experiment.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut Located<String>> {
        let tls = match self {
            Self::Prometheus(from) => from.prometheus.value.tls.as_mut(),
            Self::Load(_) | Self::Containers(_) => None,
        };
        tls.into_iter().flat_map(|tls| tls.value.files_mut())
    }
}

impl PrometheusSli {
    /// The server that it asks.
    pub fn server(&self) -> PrometheusServer<'_> {
        PrometheusServer {
            url: &self.url.value,
            auth: self.auth.as_ref(),
            tls: self.tls.as_ref().map(|tls| &tls.value),
        }
    }
}

impl PromQl {
    /// Its queries, by the names of their fields.
    pub fn queries(&self) -> Vec<(&'static str, &Located<String>)> {
        match self {
            Self::Ratio(ratio) => vec![("good", &ratio.good), ("total", &ratio.total)],
            Self::Figure(figure) => vec![("query", &figure.query)],
        }
    }
}

/// What is measured, on one line and without secrets.
impl fmt::Display for Sli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |query: &str| query.split_whitespace().collect::<Vec<_>>().join(" ");
        match self {
            Self::Load(load) => write!(f, "{} of {}", load.good.value, load.load.value),
            Self::Prometheus(from) => {
                write!(f, "prometheus {}: ", from.prometheus.url.value)?;
                match &from.prometheus.asks {
                    PromQl::Ratio(ratio) => write!(f, "{} of {}", line(&ratio.good), line(&ratio.total)),
                    PromQl::Figure(figure) => write!(f, "{} {}", line(&figure.query), figure.value.value),
                }
            }
            Self::Containers(from) => write!(f, "containers of {} that are well", from.containers.on.value),
        }
    }
}
