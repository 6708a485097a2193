//! The part of the language that says how a load's requests travel: protocol, TLS, sockets, connections.

use super::Located;
use crate::{choice, record};

choice! {
    /// The version of HTTP that a load speaks.
    pub enum Http ("http") {
        /// HTTP/1.1: one request at a time on each connection.
        H1 = "h1",
        /// HTTP/2: many requests at once on each connection. To `https://` agreed upon within TLS, to
        /// `http://` spoken at once, without asking (h2c).
        H2 = "h2",
    }
}

record! {
    /// How TLS is spoken.
    pub struct Tls ("tls") {
        /// File with the PEM certificates of the authorities to trust, instead of the system's.
        pub ca: Option<Located<String>>,
        /// File with the PEM certificates that are shown to servers which ask; needs `key`.
        pub cert: Option<Located<String>>,
        /// File with the PEM private key of `cert`.
        pub key: Option<Located<String>>,
        /// The name that is announced, and that the certificate must be for, instead of the URL's host.
        pub sni: Option<Located<String>>,
        /// Take any certificate. For test systems only: whoever answers is believed.
        pub insecure: bool = false,
        /// Resume sessions on further connections, as browsers do. `false` makes every handshake a full one.
        pub resume: bool = true,
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self { ca: None, cert: None, key: None, sni: None, insecure: false, resume: true }
    }
}

record! {
    /// How many connections a load opens, and how long it uses each.
    pub struct Connections ("connections") {
        /// The most connections open at once to one host, all threads together. Arrivals beyond what they
        /// carry wait for one, and that wait is part of their latency.
        pub max: Option<Located<u32>>,
        /// Close a connection after so many requests; 1 opens a fresh one for each.
        pub requests: Option<Located<u32>>,
    }
}

impl Http {
    /// Its name within TLS (RFC 7301).
    pub const fn alpn(self) -> &'static str {
        match self {
            Self::H1 => "http/1.1",
            Self::H2 => "h2",
        }
    }
}

impl Tls {
    /// The files that it names, to be looked for beside the experiment.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut Located<String>> {
        [&mut self.ca, &mut self.cert, &mut self.key].into_iter().flatten()
    }
}

impl super::Load {
    /// The files that the load names, to be looked for beside the experiment.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut Located<String>> {
        self.tls.iter_mut().flat_map(|tls| tls.value.files_mut())
    }
}
