//! The `redis` probe: one value of a Redis server, by a command that only reads (`spec/check_databases.rs` has which).
//!
//! Start at [`ask`]; what is made of a reply is [`value_of`].

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};

use super::connection::{Bounded, Failure, driven};
use super::database::{self, Reached, Value};
use super::{Asker, Reply};
use crate::spec::RedisProbe;
use crate::spec::database::{DatabaseUrl, Family};

/// What a server answers with that can't answer at present, by the first word of its error: it reads its data in, has
/// lost its master or its cluster, or waits for a script. Anything else says that what is asked, or who asks, is wrong.
const NOT_NOW: [&str; 8] =
    ["BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "TRYAGAIN"];
/// The same, of a server that has as many clients as it takes; its first word is that of any error.
const TOO_MANY: &str = "max number of clients";

/// Asks for one value.
pub(super) async fn ask(probe: &RedisProbe, asker: &Asker) -> Reply {
    let reached = Reached {
        connect: &probe.connect,
        family: Family::Redis,
        tls: probe.tls.as_ref().map(|tls| &tls.value),
        timeout: probe.asking.timeout.value,
    };
    let wanted = probe.value.as_ref().map(|value| &value.value);
    database::ask(&reached, wanted, asker, async |url, stream| talk(probe, &url, stream).await).await
}

async fn talk(probe: &RedisProbe, url: &DatabaseUrl, stream: Bounded) -> Result<Value, Failure> {
    // Nothing is said but what is written here; and the caller has the time limit.
    let quiet = RedisConnectionInfo::default().set_skip_set_lib_name();
    let patient = AsyncConnectionConfig::new().set_response_timeout(None);
    let connected = MultiplexedConnection::new_with_config(&quiet, stream, patient).await;
    let (mut connection, driver) = connected.map_err(|error| failure(&error))?;
    let mut commands: Vec<Vec<&str>> = Vec::new();
    if probe.password.is_some() || url.user.is_some() {
        let password = probe.password.as_ref().map_or("", |password| password.reveal());
        commands.push([Some("AUTH"), url.user.as_deref(), Some(password)].into_iter().flatten().collect());
    }
    commands.extend(url.database.as_deref().map(|number| vec!["SELECT", number]));
    let command = probe.command.as_ref().map(|command| command.iter().map(String::as_str).collect());
    commands.push(command.unwrap_or_else(|| vec!["PING"]));
    let work = async {
        let mut value = Err(Failure::NotAsked("nothing was asked".into()));
        for words in commands {
            let mut command = redis::Cmd::new();
            command.arg(&words);
            let reply = command.query_async(&mut connection).await;
            value = value_of(reply.map_err(|error| failure(&error))?);
        }
        value
    };
    driven(work, driver).await
}

/// The one value of a reply.
fn value_of(reply: redis::Value) -> Result<Value, Failure> {
    let text = match reply {
        redis::Value::Nil => return Ok(Value::Nothing("nothing is there")),
        redis::Value::Int(number) => number.to_string(),
        redis::Value::Double(number) => number.to_string(),
        redis::Value::Boolean(truth) => truth.to_string(),
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        redis::Value::SimpleString(text) | redis::Value::VerbatimString { text, .. } => text,
        redis::Value::Okay => "OK".into(),
        _ => {
            return Err(Failure::NotAsked(
                "the command answers with several values, and one is wanted".into(),
            ));
        }
    };
    Ok(Value::Text(text))
}

/// What an error means: the server's own words where it said something.
fn failure(error: &RedisError) -> Failure {
    let Some(code) = error.code() else { return Failure::no_answer(error) };
    let detail = error.detail().unwrap_or_default();
    let text = format!("Redis says: {code} {detail}");
    if NOT_NOW.contains(&code) || detail.contains(TOO_MANY) {
        Failure::NotAnswered(text)
    } else {
        Failure::NotAsked(text)
    }
}
