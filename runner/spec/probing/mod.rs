//! Questions put to the system beside the load, as experiments write them: what is asked, when, how patiently, and
//! what silence means.
//!
//! One type stands wherever a probe may: in the steady state, as a guard, and under `probes` with a name. What
//! only makes sense with a name (`when`, `during`, …) is refused elsewhere by `check_probes.rs`. A kind is one file
//! here and one in `probe/`, where it is asked. Start at [`Probe`].

mod asking;
mod docker;
mod exec;
mod http;
mod logs;
mod redis;
mod sql;
mod tcp;
mod wanted;

pub use asking::{Allowed, Asking, Moment, NoData, When};
pub use docker::{ContainerStatus, DockerProbe, HealthStatus};
pub use exec::ExecProbe;
pub use http::HttpProbe;
pub use logs::LogsProbe;
pub use redis::RedisProbe;
pub use sql::SqlProbe;
pub use tcp::TcpProbe;
pub use wanted::{NumberCheck, Wanted};

use std::fmt;

use super::decode::Located;
use super::prometheus::PrometheusProbe;
use crate::error::Span;
use crate::tagged;

tagged! {
    /// A question put to the system beside the load. It is answered yes or no; one that can't be asked or answered
    /// is *no data*, which never counts as a yes.
    pub enum Probe ("probe") {
        /// One HTTP request over a connection of its own.
        Http(Box<HttpProbe>) = "http",
        /// A TCP connection, and what is said on it.
        Tcp(TcpProbe) = "tcp",
        /// A command of your own.
        Exec(ExecProbe) = "exec",
        /// What Docker says of containers.
        Docker(DockerProbe) = "docker",
        /// What containers wrote.
        Logs(LogsProbe) = "logs",
        /// What a Prometheus server says.
        Prometheus(Box<PrometheusProbe>) = "prometheus",
        /// What a PostgreSQL server says.
        Sql(Box<SqlProbe>) = "sql",
        /// What a Redis server says.
        Redis(Box<RedisProbe>) = "redis",
    }
}

/// What every kind of probe says of itself. Its `Display` is what is asked, on one line and without secrets.
pub trait Question: fmt::Display {
    /// When it is asked, how patiently, and what its silence means.
    fn asking(&self) -> &Asking;

    /// Where what it asks stands in the text.
    fn span(&self) -> Span;

    /// The target that it is about, if it is about one.
    fn target(&self) -> Option<&Located<String>> {
        None
    }

    /// What lets somebody in and must never be shown.
    fn secrets(&self) -> Vec<&str> {
        Vec::new()
    }

    /// The files that it names, to be looked for beside the experiment.
    fn files_mut(&mut self) -> Vec<&mut Located<String>> {
        Vec::new()
    }
}

impl Probe {
    fn question(&self) -> &dyn Question {
        match self {
            Self::Http(probe) => &**probe,
            Self::Tcp(probe) => probe,
            Self::Exec(probe) => probe,
            Self::Docker(probe) => probe,
            Self::Logs(probe) => probe,
            Self::Prometheus(probe) => &**probe,
            Self::Sql(probe) => &**probe,
            Self::Redis(probe) => &**probe,
        }
    }

    fn question_mut(&mut self) -> &mut dyn Question {
        match self {
            Self::Http(probe) => &mut **probe,
            Self::Tcp(probe) => probe,
            Self::Exec(probe) => probe,
            Self::Docker(probe) => probe,
            Self::Logs(probe) => probe,
            Self::Prometheus(probe) => &mut **probe,
            Self::Sql(probe) => &mut **probe,
            Self::Redis(probe) => &mut **probe,
        }
    }

    /// When it is asked, how patiently, and what its silence means.
    pub fn asking(&self) -> &Asking {
        self.question().asking()
    }

    /// The target that it is about, if it is about one.
    pub fn target(&self) -> Option<&Located<String>> {
        self.question().target()
    }

    /// Where what it asks stands in the text.
    pub fn span(&self) -> Span {
        self.question().span()
    }

    /// True if it runs a command on this machine.
    pub const fn is_on_host(&self) -> bool {
        matches!(self, Self::Exec(ExecProbe { on: None, .. }))
    }

    /// What lets somebody in and must never be shown.
    pub fn secrets(&self) -> Vec<&str> {
        self.question().secrets()
    }

    /// The files that it names, to be looked for beside the experiment.
    pub fn files_mut(&mut self) -> Vec<&mut Located<String>> {
        self.question_mut().files_mut()
    }
}

/// A query on one line, however it was written.
pub(super) fn one_line(query: &str) -> String {
    query.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is asked, on one line and without secrets.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.question().fmt(f)
    }
}
