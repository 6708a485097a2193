//! Prometheus as experiments name it: a server, how it lets somebody in, and what it is asked.

use std::fmt;

use super::credentials::Auth;
use super::decode::Located;
use super::probing::{Asking, NumberCheck, Question, one_line};
use super::transport::Tls;
use crate::error::Span;
use crate::record;

record! {
    /// A PromQL query whose one value, now, must compare as wanted. Prometheus is not part of the system: whatever it
    /// can't say (no series, several, NaN, a warning, no answer) is no data.
    pub struct PrometheusProbe ("prometheus probe") {
        /// The server: `http://HOST:PORT`, and what comes before `/api/v1` if anything does.
        pub url: Located<String>,
        /// PromQL for one value, as `sum(rate(http_requests_total{code=~"5.."}[30s]))`. A server goes back some minutes
        /// for a series that is not told of any more; `lag and time() - timestamp(lag) < 10` is of the last ten seconds.
        pub query: Located<String>,
        /// What the value must be, as `< 5`.
        pub value: Located<NumberCheck>,
        /// How it is said who asks.
        pub auth: Option<Auth>,
        /// How an `https://` URL is spoken to; the system's authorities are trusted where left out.
        pub tls: Option<Located<Tls>>,
        ..pub asking: Asking
    }
}

/// A Prometheus server and how it is asked.
#[derive(Clone, Copy)]
pub struct PrometheusServer<'s> {
    /// Its URL, up to what comes before `/api/v1`.
    pub url: &'s str,
    /// How it is said who asks.
    pub auth: Option<&'s Auth>,
    /// How `https://` is spoken.
    pub tls: Option<&'s Tls>,
}

impl PrometheusProbe {
    /// The server that it asks.
    pub fn server(&self) -> PrometheusServer<'_> {
        PrometheusServer {
            url: &self.url.value,
            auth: self.auth.as_ref(),
            tls: self.tls.as_ref().map(|tls| &tls.value),
        }
    }
}

impl Question for PrometheusProbe {
    fn asking(&self) -> &Asking {
        &self.asking
    }
    fn span(&self) -> Span {
        self.query.span
    }
    fn secrets(&self) -> Vec<&str> {
        self.auth.iter().map(Auth::secret).collect()
    }
    fn files_mut(&mut self) -> Vec<&mut Located<String>> {
        self.tls.iter_mut().flat_map(|tls| tls.value.files_mut()).collect()
    }
}

impl fmt::Display for PrometheusProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let query = one_line(&self.query);
        write!(f, "prometheus {}: {query} {}", self.url.value, self.value.value)
    }
}

impl Auth {
    /// What lets somebody in.
    pub fn secret(&self) -> &str {
        match self {
            Self::Basic(basic) => basic.password.reveal(),
            Self::Bearer(token) => token.reveal(),
        }
    }
}
