//! What probes of databases must not leave out or contradict: a URL, a query or command that only reads, and what its
//! value must be.
//!
//! A part of `check_probes.rs`, which calls it.

use super::check::Checker;
use super::credentials::Secret;
use super::database::{DatabaseUrl, Family};
use super::decode::{Located, list_of};
use super::{Match, RedisProbe, SqlProbe, Wanted, check_exchange, check_requests, check_transport};
use crate::error::Span;

/// What a statement of PostgreSQL that reads one value can begin with.
const READING: [&str; 5] = ["select", "with", "values", "table", "show"];

/// Redis's commands that read one value and change nothing (of <https://redis.io/docs/latest/commands/>, those with
/// the flag `readonly` and one reply, and what tells of the server itself). A list of what may be asked, because a
/// list of what may not would miss a module's commands.
const COMMANDS: [&str; 34] = [
    "BITCOUNT",
    "BITPOS",
    "CLUSTER",
    "DBSIZE",
    "EXISTS",
    "EXPIRETIME",
    "GET",
    "GETBIT",
    "GETRANGE",
    "HEXISTS",
    "HGET",
    "HLEN",
    "HSTRLEN",
    "INFO",
    "JSON.GET",
    "LASTSAVE",
    "LINDEX",
    "LLEN",
    "OBJECT",
    "PEXPIRETIME",
    "PING",
    "PTTL",
    "SCARD",
    "SISMEMBER",
    "STRLEN",
    "TTL",
    "TYPE",
    "XLEN",
    "ZCARD",
    "ZCOUNT",
    "ZLEXCOUNT",
    "ZRANK",
    "ZREVRANK",
    "ZSCORE",
];

/// Of commands with subcommands: those that only read.
const SUBCOMMANDS: [(&str, &[&str]); 2] = [
    ("CLUSTER", &["INFO", "COUNTKEYSINSLOT", "KEYSLOT", "MYID"]),
    ("OBJECT", &["ENCODING", "FREQ", "IDLETIME", "REFCOUNT"]),
];

impl Checker<'_> {
    pub(super) fn sql_probe(&mut self, probe: &SqlProbe) {
        let SqlProbe { connect, password, query, value, tls, asking: _ } = probe;
        self.database(connect, password.as_ref(), Family::Postgres);
        if let Some(tls) = tls {
            check_transport::tls(tls, self.mistakes);
        }
        self.question(("query", query.as_ref().map(|query| query.span)), value.as_ref());
        let Some(query) = query else { return };
        let word: String = query.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
        if query.trim().is_empty() {
            self.add(query.span, "the query is empty", "write `select …` for one value, or leave it out");
        } else if !word.is_empty() && !READING.contains(&word.to_ascii_lowercase().as_str()) {
            let message = format!("a probe only reads, and nothing that begins with `{word}` is a query");
            self.add(query.span, message, "write `select …` for one value");
        }
    }

    pub(super) fn redis_probe(&mut self, probe: &RedisProbe) {
        let RedisProbe { connect, password, command, value, tls, asking: _ } = probe;
        self.database(connect, password.as_ref(), Family::Redis);
        self.only_over_tls(connect, "rediss://", tls.as_ref());
        self.question(("command", command.as_ref().map(|command| command.span)), value.as_ref());
        let Some(command) = command else { return };
        if let Err((message, hint)) = reads(command) {
            self.add(command.span, message, hint);
        }
    }

    fn database(&mut self, connect: &Located<String>, password: Option<&Secret>, family: Family) {
        match DatabaseUrl::parse(connect, family) {
            // Never quoted: a password may be in it.
            Err(hint) => self.add(connect.span, format!("this is no URL of {}", family.name()), hint),
            Ok(url) => check_requests::lab_service(self.experiment, connect, &url.place, self.mistakes),
        }
        if let Some(password) = password {
            self.secret(password.reveal(), connect.span);
        }
    }

    /// What is asked and what its value must be go together.
    fn question(&mut self, (field, asked): (&str, Option<Span>), value: Option<&Located<Wanted>>) {
        match (asked, value) {
            (Some(span), None) => {
                let message = format!("`{field}` without `value` decides nothing");
                self.add(span, message, "add what its value must be, as `value: '> 0'`");
            }
            (None, Some(value)) => {
                let message = format!("`value` is what the answer to `{field}` must be");
                self.add(value.span, message, format!("add `{field}`, or leave it out"));
            }
            _ => {}
        }
        if let Some(Located { value: Wanted::Text(Match::Regex(text)), span }) = value {
            check_exchange::regular(text, *span, self.mistakes);
        }
    }
}

/// Whether this command of Redis's only reads; the error is what is wrong, and what to write.
fn reads(command: &[String]) -> Result<(), (String, String)> {
    let words: Vec<String> = command.iter().take(2).map(|word| word.to_ascii_uppercase()).collect();
    let Some(name) = words.first().map(String::as_str).filter(|name| !name.is_empty()) else {
        return Err((
            "`command` names none".into(),
            "write `[COMMAND, ARGUMENT, …]`, as `[GET, stock]`".into(),
        ));
    };
    let refused = |words: &str, known: &[&str]| {
        let message = format!("`{words}` is not known to read one value and change nothing");
        Err((message, format!("such as {} are; anything else can be asked with `exec`", list_of(known))))
    };
    if !COMMANDS.contains(&name) {
        return refused(name, &["GET", "HGET", "LLEN", "TTL", "INFO"]);
    }
    match SUBCOMMANDS.iter().find(|(with, _)| *with == name) {
        Some((_, known)) if words.get(1).is_none_or(|word| !known.contains(&word.as_str())) => {
            refused(&words.join(" "), known)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::reads;

    #[test]
    fn only_commands_that_read_may_be_asked() {
        for (command, expected) in [
            ("get stock", true),
            ("INFO replication", true),
            ("OBJECT encoding stock", true),
            ("OBJECT", false),
            ("CLUSTER FAILOVER", false),
            ("GETDEL stock", false),
            ("SHUTDOWN", false),
            ("EVAL", false),
            ("", false),
        ] {
            let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
            assert_eq!(reads(&words).is_ok(), expected, "{command}");
        }
        assert!(reads(&[]).is_err());
    }
}
