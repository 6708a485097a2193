//! What the probes of databases share: a connection within a time limit, and holding what came back against what is
//! wanted.
//!
//! Start at [`ask`].

use super::connection::{Bounded, Failure, Stream, bounded, encrypt, open};
use super::{Asker, Reply, sql, text};
use crate::spec::database::{DatabaseUrl, Family};
use crate::spec::{Tls, Wanted};
use crate::units::Duration;

/// The most that is read from a database: one value is a line.
const MAX_READ_BYTES: usize = 1 << 20;

/// How a database is reached.
pub struct Reached<'p> {
    /// Its URL as it was written.
    pub connect: &'p str,
    /// Whose URL it is.
    pub family: Family,
    /// How TLS is spoken, if it is.
    pub tls: Option<&'p Tls>,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// One value that a database answered with.
#[derive(Debug, PartialEq)]
pub enum Value {
    /// Its text.
    Text(String),
    /// None: no row, `NULL`, nothing at a key, in the server's own words.
    Nothing(&'static str),
}

/// Connects, lets `talk` ask for one value, and holds it against `wanted`; without that, any answer is a yes.
pub async fn ask(
    reached: &Reached<'_>,
    wanted: Option<&Wanted>,
    asker: &Asker,
    talk: impl AsyncFnOnce(DatabaseUrl, Bounded) -> Result<Value, Failure>,
) -> Reply {
    match tokio::time::timeout(reached.timeout.to_std(), exchange(reached, asker, talk)).await {
        Ok(Ok(value)) => judge(&value, wanted),
        Ok(Err(failure)) => failure.into(),
        Err(_) => Reply::No(format!("no answer in {}", reached.timeout)),
    }
}

async fn exchange(
    reached: &Reached<'_>,
    asker: &Asker,
    talk: impl AsyncFnOnce(DatabaseUrl, Bounded) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    let url = DatabaseUrl::parse(reached.connect, reached.family).map_err(Failure::NotAsked)?;
    let mut stream = open(&url.place, &asker.endpoints).await?;
    let tls = match reached.family {
        Family::Postgres => reached.tls.cloned(),
        Family::Redis => url.place.tls.then(|| reached.tls.cloned().unwrap_or_default()),
    };
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some(tls) => {
            let alpn: &[&str] = match reached.family {
                Family::Postgres => {
                    sql::ask_for_tls(&mut stream).await?;
                    &[sql::ALPN]
                }
                Family::Redis => &[],
            };
            Box::new(encrypt(stream, &url.place.host, &tls, alpn).await?)
        }
    };
    bounded(stream, MAX_READ_BYTES, async |stream| talk(url, stream).await).await
}

fn judge(value: &Value, wanted: Option<&Wanted>) -> Reply {
    match (value, wanted) {
        (_, None) => Reply::Yes("it answers".into()),
        (Value::Text(found), Some(wanted)) => text("value", found, wanted),
        (Value::Nothing(what), Some(wanted)) => Reply::No(format!("{what}, wanted {wanted}")),
    }
}
