//! The `sql` probe: a PostgreSQL server, and one value that it knows.

use std::fmt;

use super::{Asking, Question, Wanted, one_line};
use crate::error::Span;
use crate::record;
use crate::spec::credentials::Secret;
use crate::spec::decode::Located;
use crate::spec::transport::Tls;

record! {
    /// A PostgreSQL server that must let the probe in and answer, and a query whose one value must be as wanted. It is
    /// asked over a connection of its own, in a transaction that can only read. A server that refuses, breaks off, gives
    /// up or does not answer in time is a no, and so is an answer without a row; a name that does not resolve, a user or
    /// a database that it does not take, and a query that is wrong or answers with several rows or columns are no data.
    pub struct SqlProbe ("sql probe") {
        /// The server, who asks and which database: `postgres://USER@HOST:PORT/DATABASE`; port 5432, and the database
        /// that is named like the user, where left out. `SERVICE.lab` as the host means the published port of a lab's
        /// service.
        pub connect: Located<String>,
        /// The user's password; `${NAME}` takes it from the environment.
        pub password: Option<Secret>,
        /// One statement that reads one value, as `select count(*) from orders`. Left out: it is enough that the
        /// server lets the user in and answers.
        pub query: Option<Located<String>>,
        /// With `query`: what its value must be: a text to be equal to, `/RE/` to match somewhere, or a comparison
        /// with a number such as `< 5`. It is compared as PostgreSQL prints it, so that true is `t`.
        pub value: Option<Located<Wanted>>,
        /// The connection is encrypted, and how; `tls: {}` trusts the system's authorities. Plain where left out.
        pub tls: Option<Located<Tls>>,
        ..pub asking: Asking
    }
}

impl Question for SqlProbe {
    fn asking(&self) -> &Asking {
        &self.asking
    }
    fn span(&self) -> Span {
        self.query.as_ref().map_or(self.connect.span, |query| query.span)
    }
    fn secrets(&self) -> Vec<&str> {
        self.password.iter().map(Secret::reveal).collect()
    }
    fn files_mut(&mut self) -> Vec<&mut Located<String>> {
        self.tls.iter_mut().flat_map(|tls| tls.value.files_mut()).collect()
    }
}

impl fmt::Display for SqlProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sql {}", self.connect.value)?;
        match (&self.query, &self.value) {
            (Some(query), Some(value)) => write!(f, ": {} {}", one_line(query), value.value),
            _ => f.write_str(" answers"),
        }
    }
}
