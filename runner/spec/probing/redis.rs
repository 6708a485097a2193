//! The `redis` probe: a Redis server, and one value that it knows.

use std::fmt;

use super::{Asking, Question, Wanted};
use crate::error::Span;
use crate::record;
use crate::spec::credentials::Secret;
use crate::spec::decode::Located;
use crate::spec::transport::Tls;

record! {
    /// A Redis server that must answer, and a command that reads one value, which must be as wanted. It is asked over a
    /// connection of its own. A server that refuses, breaks off, can't answer at present (`LOADING`, `MASTERDOWN`,
    /// `CLUSTERDOWN`) or does not answer in time is a no, and so is nothing at that key; a name that does not resolve, a
    /// user that it does not take, and a command that is wrong or answers with several values are no data.
    pub struct RedisProbe ("redis probe") {
        /// The server, who asks if it must know, and which of its databases: `redis://HOST:PORT`,
        /// `rediss://USER@HOST:PORT/NUMBER`, with `rediss://` over TLS; port 6379 and database 0 where left out.
        /// `SERVICE.lab` as the host means the published port of a lab's service.
        pub connect: Located<String>,
        /// The password; `${NAME}` takes it from the environment.
        pub password: Option<Secret>,
        /// A command that only reads, as `[GET, stock]`, `[LLEN, jobs]` or `[INFO, replication]`. Left out: `PING`,
        /// which must be answered.
        pub command: Option<Located<Vec<String>>>,
        /// With `command`: what its value must be: a text to be equal to, `/RE/` to match somewhere, or a comparison
        /// with a number such as `< 5`.
        pub value: Option<Located<Wanted>>,
        /// How a `rediss://` URL is spoken to; the system's authorities are trusted where left out.
        pub tls: Option<Located<Tls>>,
        ..pub asking: Asking
    }
}

impl Question for RedisProbe {
    fn asking(&self) -> &Asking {
        &self.asking
    }
    fn span(&self) -> Span {
        self.command.as_ref().map_or(self.connect.span, |command| command.span)
    }
    fn secrets(&self) -> Vec<&str> {
        self.password.iter().map(Secret::reveal).collect()
    }
    fn files_mut(&mut self) -> Vec<&mut Located<String>> {
        self.tls.iter_mut().flat_map(|tls| tls.value.files_mut()).collect()
    }
}

impl fmt::Display for RedisProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis {}", self.connect.value)?;
        match (&self.command, &self.value) {
            (Some(command), Some(value)) => {
                write!(f, ": {} {}", command.join(" ").escape_debug(), value.value)
            }
            _ => f.write_str(" answers"),
        }
    }
}
