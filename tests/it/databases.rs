//! Probes of real databases, PostgreSQL and Redis, started for one test on this machine and gone with it, over TLS and
//! with a password in the way.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::probe_servers::{NOBODY, check, folder, free_port, is_root};
use super::probes::everything;
use super::run::{Place, text};
use super::shell::Shell;

/// A database that is ended with the test, and its folder. Its password is `hunter2`.
struct Database {
    folder: tempfile::TempDir,
    port: u16,
}

impl Database {
    /// Writes what starts and ends the server, either of which does nothing where that is done already.
    fn scripts(&self, start: &str, stop: &str) {
        for (name, command) in [("start", start), ("stop", stop)] {
            let quiet = format!("cd {} && {{ {command}; }} >>script.log 2>&1 </dev/null\n", self.path(""));
            std::fs::write(self.folder.path().join(name), quiet).unwrap();
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The command that runs one of the scripts: neither server runs as root.
    fn command(&self, script: &str) -> Vec<String> {
        let user = format!("--reuid={NOBODY}");
        let group = format!("--regid={NOBODY}");
        let unprivileged = ["setpriv", &user, &group, "--clear-groups"];
        let words = unprivileged.into_iter().filter(|_| is_root()).chain(["sh", "-eu"]);
        words.map(str::to_owned).chain([self.path(script)]).collect()
    }

    fn run(&self, script: &str) {
        let words = self.command(script);
        let ended = Command::new(&words[0]).args(&words[1..]).status().unwrap();
        let said = std::fs::read_to_string(self.path("script.log")).unwrap_or_default();
        assert!(ended.success(), "{script}: {said}");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let words = self.command("stop");
        let _ = Command::new(&words[0]).args(&words[1..]).stderr(Stdio::null()).status();
    }
}

/// Where Debian keeps what PostgreSQL's servers are made of, which is on nobody's path.
fn postgres_programs() -> PathBuf {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: see scripts/setup");
    versions.map(|version| version.unwrap().path().join("bin")).max().unwrap()
}

/// A PostgreSQL with three orders.
fn postgres() -> Database {
    let database = Database { folder: folder(), port: free_port() };
    let (programs, port) = (postgres_programs(), database.port);
    let programs = programs.display();
    let options = format!(
        "-p {port} -k {} -c listen_addresses=127.0.0.1 -c fsync=off -c ssl=on -c ssl_cert_file={} -c ssl_key_file={}",
        database.path(""),
        database.path("cert.pem"),
        database.path("key.pem"),
    );
    database.scripts(
        &format!(
            "{programs}/pg_ctl -D data status || {programs}/pg_ctl -D data -w -l log -o '{options}' start"
        ),
        // As if it had crashed.
        &format!("! {programs}/pg_ctl -D data status || {programs}/pg_ctl -D data -w -m immediate stop"),
    );
    let orders = "create table orders as select id, 'paid' as state from generate_series(1, 3) id;";
    let make = format!(
        "cd {}\necho hunter2 >password\n\
         {programs}/initdb -D data -U me --auth=scram-sha-256 --pwfile=password --no-locale --no-sync\n\
         echo \"{orders}\" | {programs}/postgres --single -D data postgres\n",
        database.path("")
    );
    std::fs::write(database.folder.path().join("make"), format!("{{ {make} }} >/dev/null 2>&1\n")).unwrap();
    database.run("make");
    database.run("start");
    database
}

/// How a probe names that server, over TLS.
fn sql_fields(database: &Database) -> String {
    let (port, ca) = (database.port, database.path("ca.pem"));
    format!("connect: 'postgres://me@127.0.0.1:{port}/postgres', password: hunter2, tls: {{ ca: '{ca}' }}")
}

/// A Redis with three in stock; it speaks TLS alone.
fn redis() -> Database {
    let database = Database { folder: folder(), port: free_port() };
    let port = database.port;
    let client = format!("redis-cli -p {port} --tls --cacert ca.pem -a hunter2 --no-auth-warning");
    database.scripts(
        &format!(
            "{client} ping || redis-server --port 0 --tls-port {port} --bind 127.0.0.1 --tls-cert-file cert.pem \
             --tls-key-file key.pem --tls-ca-cert-file ca.pem --tls-auth-clients no --requirepass hunter2 --save '' \
             --daemonize yes --logfile {log}; until {client} ping; do sleep 0.02; done; {client} set stock 3",
            log = database.path("log"),
        ),
        &format!("{client} shutdown nosave || true"),
    );
    database.run("start");
    database
}

/// How a probe names that server.
fn redis_fields(database: &Database) -> String {
    let (port, ca) = (database.port, database.path("ca.pem"));
    format!("connect: 'rediss://127.0.0.1:{port}', password: hunter2, tls: {{ ca: '{ca}' }}")
}

#[tokio::test]
async fn postgresql_is_asked_and_what_can_not_be_asked_is_no_data() {
    let database = postgres();
    let fields = sql_fields(&database);
    let probe = |rest: &str| format!("{{ sql: {{ {fields}, timeout: 30s, {rest} }} }}");
    for (rest, expected, words) in [
        ("", Some(true), "it answers"),
        ("query: select count(*) from orders, value: == 3", Some(true), "value 3"),
        ("query: select count(*) from orders;, value: > 3", Some(false), "value 3, wanted > 3"),
        ("query: select state from orders where id = 2, value: paid", Some(true), "value \"paid\""),
        ("query: 'select version()', value: /^PostgreSQL/", Some(true), "PostgreSQL"),
        ("query: select state from orders where id = 9, value: paid", Some(false), "no row, wanted paid"),
        ("query: 'select null::int', value: < 1", Some(false), "NULL, wanted < 1"),
        ("query: select state from orders, value: paid", None, "3 rows"),
        ("query: 'select id, state from orders', value: paid", None, "2 columns"),
        ("query: select 1 from nothing, value: == 1", None, "does not exist"),
        ("query: select 1/0, value: == 1", None, "division by zero"),
        ("query: select 1; drop table orders, value: == 1", None, "multiple commands"),
        (
            "query: with gone as (delete from orders returning 1) select 1, value: == 1",
            None,
            "read-only transaction",
        ),
        ("query: commit, value: == 1", None, "0 columns"),
        ("query: select 1/0, value: == 1, no_data: fails", Some(false), "no data, which fails: "),
    ] {
        check(&probe(rest), expected, words).await;
    }
    let log = std::fs::read_to_string(database.path("log")).unwrap();
    assert!(!log.contains("unexpected EOF"), "it was left without a goodbye: {log}");
    let sleepy = probe("query: 'select pg_sleep(60)', value: == 1").replace("30s", "300ms");
    check(&sleepy, Some(false), "").await;
    let long = probe("query: 'select repeat($$x$$, 2000000)', value: /x/");
    check(&long, None, "more than 1048576 bytes").await;
    check(&probe("query: select count(*) from orders, value: == 3"), Some(true), "value 3").await;
    for (from, to, expected, words) in [
        ("password: hunter2, ", "", None, "SQLSTATE 28P01"),
        ("password: hunter2", "password: hunter3", None, "SQLSTATE 28P01"),
        ("/postgres'", "/shop'", None, "database \"shop\" does not exist"),
        ("127.0.0.1", "no-such-host.invalid", None, ""),
        // Plain is taken, too; a server that nobody vouches for is not.
        (&format!(", tls: {{ ca: '{}' }}", database.path("ca.pem")), "", Some(true), "it answers"),
        (&format!("ca: '{}'", database.path("ca.pem")), "", Some(false), "certificate"),
    ] {
        check(&probe("").replace(from, to), expected, words).await;
    }
    database.run("stop");
    check(&probe(""), Some(false), "refused").await;
    database.run("start");
    check(&probe("query: select count(*) from orders, value: == 3"), Some(true), "value 3").await;
}

#[tokio::test]
async fn redis_is_asked_and_what_can_not_be_asked_is_no_data() {
    let database = redis();
    let fields = redis_fields(&database);
    let probe = |rest: &str| format!("{{ redis: {{ {fields}, timeout: 30s, {rest} }} }}");
    for (rest, expected, words) in [
        ("", Some(true), "it answers"),
        ("command: [GET, stock], value: == 3", Some(true), "value 3"),
        ("command: [get, stock], value: > 3", Some(false), "value 3, wanted > 3"),
        ("command: [TYPE, stock], value: string", Some(true), "value \"string\""),
        ("command: [INFO, server], value: /redis_version:/", Some(true), "redis_version"),
        ("command: [LLEN, jobs], value: == 0", Some(true), "value 0"),
        ("command: [GET, nothing], value: == 3", Some(false), "nothing is there, wanted == 3"),
        ("command: [LLEN, stock], value: == 0", None, "WRONGTYPE"),
        ("command: [GET], value: == 0", None, "wrong number of arguments"),
        ("command: [KEYS, '*'], value: stock", None, "several values"),
    ] {
        check(&probe(rest), expected, words).await;
    }
    for (from, to, expected, words) in [
        ("password: hunter2, ", "", None, "NOAUTH"),
        ("password: hunter2", "password: hunter3", None, "WRONGPASS"),
        ("rediss://", "rediss://you@", None, "WRONGPASS"),
        (&format!(":{}'", database.port), &format!(":{}/99'", database.port), None, "out of range"),
        // Plain, to what speaks TLS alone.
        ("rediss://", "redis://", Some(false), ""),
    ] {
        check(&probe("").replace(from, to), expected, words).await;
    }
    database.run("stop");
    check(&probe(""), Some(false), "refused").await;
}

/// Of a probe that waits for a server to be back.
const PATIENT: &str = ", timeout: 10s, retries: 40, retry_after: 200ms";

#[tokio::test]
async fn a_database_that_is_gone_is_a_no_and_one_that_is_back_a_yes() {
    let shell = Shell::start("databases", &[]);
    let (place, postgres, redis) = (Place::new(), postgres(), redis());
    let fault = |database: &Database| {
        let [run, undo] = ["stop", "start"].map(|script| format!("{:?}", database.command(script)));
        format!("exec: {{ on: box, place: host, run: {run}, undo: {undo}, timeout: 60s }}")
    };
    let hidden = |fields: String| fields.replace("hunter2", "'${CHAOS_TEST_PASSWORD}'");
    let orders =
        format!("{}, query: select count(*) from orders, value: == 3", hidden(sql_fields(&postgres)));
    let stock = format!("{}, command: [GET, stock], value: == 3", hidden(redis_fields(&redis)));
    let file = place.experiment(&format!(
        "experiment: databases come back
targets: {{ box: {{ name: {name} }} }}
probes:
  orders:      {{ sql: {{ {orders}, when: edge{PATIENT} }} }}
  orders-gone: {{ sql: {{ {orders}, during: gone, every: 100ms, timeout: 10s }} }}
  stock:       {{ redis: {{ {stock}, when: edge{PATIENT} }} }}
  stock-gone:  {{ redis: {{ {stock}, during: gone, every: 100ms, timeout: 10s }} }}
phases:
  gone: {{ for: 1s, faults: [{{ {} }}, {{ {} }}] }}
  back: {{ for: 1s }}
",
        fault(&postgres),
        fault(&redis),
        name = shell.name,
    ));
    let mut command = place.run_command(&file, &["--allow-host-exec"]);
    let output = command.env("CHAOS_TEST_PASSWORD", "hunter2").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let report = place.report();
    let reasons: Vec<_> = report["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| reason["check"].as_str().unwrap())
        .collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    for name in ["probe orders-gone: sql postgres://me@", "probe stock-gone: redis rediss://"] {
        assert!(reasons.iter().any(|reason| reason.starts_with(name)), "{name}: {reasons:?}");
    }
    assert!(!everything(&place).contains("hunter2"), "a secret was saved");
}
