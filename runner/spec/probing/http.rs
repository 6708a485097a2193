//! The `http` probe: one request over a connection of its own.

use std::fmt;

use super::{Asking, Question};
use crate::error::Span;
use crate::record;
use crate::spec::answer::Expect;
use crate::spec::credentials::Headers;
use crate::spec::decode::Located;
use crate::spec::transport::Tls;
use crate::units::Duration;

record! {
    /// An HTTP request that must be answered as expected. A server that refuses, breaks off or does not answer in
    /// time is a no; a host whose name does not resolve is no data.
    pub struct HttpProbe ("http probe") {
        /// The URL; `SERVICE.lab` as the host means the published port of a lab's service.
        pub get: Located<String>,
        /// Headers to send.
        pub headers: Headers,
        /// What makes the answer good.
        pub expect: Expect = Expect::default(),
        /// The whole answer, connecting included, must be there within this.
        pub within: Option<Located<Duration>>,
        /// How an `https://` URL is spoken to; the system's authorities are trusted where left out.
        pub tls: Option<Located<Tls>>,
        ..pub asking: Asking
    }
}

impl Question for HttpProbe {
    fn asking(&self) -> &Asking {
        &self.asking
    }
    fn span(&self) -> Span {
        self.get.span
    }
    fn secrets(&self) -> Vec<&str> {
        let secret = self.headers.iter().filter(|(name, _)| Headers::is_secret(name));
        secret.map(|(_, value)| value.as_str()).collect()
    }
    fn files_mut(&mut self) -> Vec<&mut Located<String>> {
        self.tls.iter_mut().flat_map(|tls| tls.value.files_mut()).collect()
    }
}

impl fmt::Display for HttpProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http GET {}", self.get.value)?;
        self.within.as_ref().map_or(Ok(()), |within| write!(f, " within {}", within.value))
    }
}
