//! The `sql` probe: one value of a PostgreSQL server, read in a transaction that can't write.
//!
//! The server itself sees to it that nothing is written: the transaction is read-only, and only one statement with a
//! result is run in it, so that none can end it. It also ends a statement that takes longer than the probe waits,
//! which would go on without anybody who asks. Start at [`ask`].

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use super::connection::{Bounded, Failure};
use super::database::{self, Reached, Value};
use super::{Asker, Reply};
use crate::spec::SqlProbe;
use crate::spec::database::{DatabaseUrl, Family};
use crate::units::Duration;

/// PostgreSQL's name within TLS.
pub const ALPN: &str = "postgresql";
/// Asks for TLS: a length and a code that no version has
/// (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// What tells whether the server answers.
const PING: &str = "select 1";
/// Classes of SQLSTATE that say that what is asked, or who asks, is wrong; with any other the server could not answer
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>): feature not supported, data, transaction state,
/// authorization, no such database, no such schema, syntax and access rules.
const ASKED_WRONGLY: [&str; 7] = ["0A", "22", "25", "28", "3D", "3F", "42"];

/// Asks for one value.
pub(super) async fn ask(probe: &SqlProbe, asker: &Asker) -> Reply {
    let reached = Reached {
        connect: &probe.connect,
        family: Family::Postgres,
        tls: probe.tls.as_ref().map(|tls| &tls.value),
        timeout: probe.asking.timeout.value,
    };
    let wanted = probe.value.as_ref().map(|value| &value.value);
    database::ask(&reached, wanted, asker, async |url, stream| talk(probe, &url, stream).await).await
}

/// Agrees with the server to speak TLS from here on.
pub async fn ask_for_tls(stream: &mut TcpStream) -> Result<(), Failure> {
    let asked = async {
        stream.write_all(&SSL_REQUEST).await?;
        stream.read_u8().await
    };
    match asked.await {
        Ok(b'S') => Ok(()),
        Ok(b'N') => Err(Failure::NotAsked("the server speaks no TLS".into())),
        Ok(_) => Err(Failure::NotAnswered("what answers is no PostgreSQL".into())),
        Err(error) => Err(Failure::no_answer(&error)),
    }
}

async fn talk(probe: &SqlProbe, url: &DatabaseUrl, stream: Bounded) -> Result<Value, Failure> {
    let mut config = Config::new();
    // An empty password where there is none, which lets the server say that it wants one.
    config
        .application_name("chaos")
        .password(probe.password.as_ref().map_or("", |password| password.reveal()));
    // What has to be encrypted is already.
    config.ssl_mode(SslMode::Disable);
    if let Some(user) = &url.user {
        config.user(user);
    }
    if let Some(database) = &url.database {
        config.dbname(database);
    }
    let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(|error| failure(&error))?;
    let query = probe.query.as_ref().map_or(PING, |query| query.value.as_str());
    let timeout = probe.asking.timeout.value;
    let work = async move { value(&client, query, timeout).await };
    // Both to their ends: the connection says goodbye once the client is dropped, and a server notes it in its log if
    // one does not.
    let (value, _) = tokio::join!(work, connection);
    value
}

async fn value(client: &Client, query: &str, timeout: Duration) -> Result<Value, Failure> {
    let failed = |error| failure(&error);
    let timeout_ms = timeout.as_ms().ceil();
    let begin = format!("begin read only; set local statement_timeout = {timeout_ms}");
    client.batch_execute(&begin).await.map_err(failed)?;
    // What can be prepared is one statement, and what has a column does not end the transaction.
    let statement = client.prepare(query).await.map_err(failed)?;
    let columns = statement.columns().len();
    if columns != 1 {
        return Err(Failure::NotAsked(format!(
            "the query answers with {columns} columns, and one is wanted"
        )));
    }
    let messages = client.simple_query(query).await.map_err(failed)?;
    client.batch_execute("rollback").await.map_err(failed)?;
    let mut rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0)),
        _ => None,
    });
    match (rows.next(), rows.count()) {
        (None, _) => Ok(Value::Nothing("no row")),
        (Some(None), 0) => Ok(Value::Nothing("NULL")),
        (Some(Some(text)), 0) => Ok(Value::Text(text.to_owned())),
        (_, more) => {
            Err(Failure::NotAsked(format!("the query answers with {} rows, and one is wanted", more + 1)))
        }
    }
}

/// What an error means: the server's own words where it said something.
fn failure(error: &Error) -> Failure {
    let Some(said) = error.as_db_error() else { return Failure::no_answer(error) };
    let (code, message) = (said.code().code(), said.message());
    let text = format!("PostgreSQL says: {message} (SQLSTATE {code})");
    if ASKED_WRONGLY.iter().any(|class| code.starts_with(class)) {
        Failure::NotAsked(text)
    } else {
        Failure::NotAnswered(text)
    }
}
