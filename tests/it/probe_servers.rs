//! Probes of a real server, Prometheus, started for one test on this machine and gone with it, with TLS and a password
//! in the way.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use chaos::load::Endpoints;
use chaos::probe::{Answer, Asker};
use chaos::spec::Probe;
use jiff::Timestamp;

/// Nobody, who servers run as where the tests run as root.
const NOBODY: u32 = 65_534;

/// A server that is ended with the test, and its folder.
pub struct Server {
    child: Child,
    pub folder: tempfile::TempDir,
    pub port: u16,
}

impl Server {
    /// Waits until it knows a series.
    pub async fn wait_for(&self, query: &str) {
        let fields = prometheus_fields(self);
        let probe = format!(
            "{{ prometheus: {{ {fields}, timeout: 30s, query: 'count({query})', value: '> 0'{PATIENT} }} }}"
        );
        check(&probe, Some(true), "value").await;
    }

    /// Keeps it from doing anything.
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: a plain signal to a child that was not waited for yet.
        unsafe { libc::kill(self.child.id().try_into().unwrap(), signal) };
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // On this signal it ends at once, if it is not paused.
        self.signal(libc::SIGQUIT);
        self.signal(libc::SIGCONT);
        let _ = self.child.wait();
    }
}

fn is_root() -> bool {
    // SAFETY: asks for a number and changes nothing.
    unsafe { libc::geteuid() == 0 }
}

/// Lets nobody have it, where we are somebody else.
fn give_away(path: &Path) {
    if is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

fn unprivileged(program: &str) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A folder with a certificate for 127.0.0.1: `ca.pem`, `cert.pem` and `key.pem`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    for (name, text) in [
        ("ca.pem", made.cert.pem()),
        ("cert.pem", made.cert.pem()),
        ("key.pem", made.signing_key.serialize_pem()),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        give_away(&file);
    }
    give_away(folder.path());
    folder
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn ask(probe: &str) -> Answer {
    let parsed: Probe = chaos::spec::fragment(probe).unwrap_or_else(|problems| panic!("{problems}"));
    Asker::new(Endpoints::new()).ask(&parsed, Timestamp::now()).await
}

/// Asks, and compares what is answered.
async fn check(probe: &str, expected: Option<bool>, words: &str) {
    let answer = ask(probe).await;
    assert_eq!(answer.ok, expected, "{probe}: {}", answer.detail);
    assert!(answer.detail.contains(words), "{probe}: {}", answer.detail);
    assert!(!answer.detail.contains("hunter2"), "a secret was shown: {}", answer.detail);
}

/// Of a probe that waits for a server, which takes its time to start.
const PATIENT: &str = ", retries: 300, retry_after: 200ms";

/// What a program under watch says of itself, over and over until the test ends; its address.
pub fn exporter(metrics: impl Fn() -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // Whoever asks nothing is told nothing.
            if stream.read(&mut [0; 4_096]).unwrap_or(0) == 0 {
                continue;
            }
            let body = metrics();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    address
}

/// A Prometheus that watches `address` every second; it lets in who is `me` with the password `hunter2`, over TLS.
pub fn prometheus(address: &str) -> Server {
    let (folder, port) = (folder(), free_port());
    let write = |name: &str, text: String| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let config = write(
        "prometheus.yml",
        format!(
            "global: {{ scrape_interval: 1s }}\n\
             scrape_configs: [{{ job_name: app, static_configs: [{{ targets: ['{address}'] }}] }}]\n"
        ),
    );
    // bcrypt of the password, by crypt(3).
    let hash = "$2b$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm";
    let web = write(
        "web.yml",
        format!(
            "tls_server_config: {{ cert_file: cert.pem, key_file: key.pem }}\n\
             basic_auth_users: {{ me: '{hash}' }}\n"
        ),
    );
    let child = unprivileged("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--web.config.file={}", web.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--log.level=error")
        .spawn()
        .expect("prometheus is installed: see scripts/setup");
    Server { child, folder, port }
}

/// How a probe or an objective names that server.
pub fn prometheus_fields(server: &Server) -> String {
    format!(
        "url: 'https://127.0.0.1:{}', auth: {{ basic: {{ user: me, password: hunter2 }} }}, tls: {{ ca: '{}' }}",
        server.port,
        server.folder.path().join("ca.pem").display()
    )
}

#[tokio::test]
async fn prometheus_is_asked_and_what_it_can_not_say_is_no_data() {
    // One series is a minute old, as it says itself.
    let address = exporter(|| {
        let old = Timestamp::now().as_millisecond() - 60_000;
        format!("app_jobs 12\napp_parts{{part=\"a\"}} 1\napp_parts{{part=\"b\"}} 2\napp_old 7 {old}\n")
    });
    let server = prometheus(&address);
    let fields = prometheus_fields(&server);
    let probe = |rest: &str| format!("{{ prometheus: {{ {fields}, timeout: 30s, {rest} }} }}");
    let up = format!("query: scalar(app_jobs) + scalar(app_old), value: == 19{PATIENT}");
    check(&probe(&up), Some(true), "value 19").await;
    for (rest, expected, words) in [
        ("query: app_jobs, value: == 12", Some(true), "value 12"),
        ("query: 'sum(app_parts)', value: < 3", Some(false), "value 3, wanted < 3"),
        ("query: app_parts, value: == 1", None, "2 series match"),
        ("query: app_nothing, value: == 0", None, "no series matches"),
        ("query: app_old, value: == 7", Some(true), "value 7"),
        ("query: 'app_old and time() - timestamp(app_old) < 90', value: == 7", Some(true), "value 7"),
        ("query: 'app_old and time() - timestamp(app_old) < 10', value: == 7", None, "no series matches"),
        ("query: 0 / 0, value: == 0", None, "NaN"),
        ("query: 'app_jobs[10s]', value: == 12", None, "a range is no value"),
        ("query: 'sum(', value: == 12", None, "parse error"),
        ("query: 'sum(', value: == 12, no_data: fails", Some(false), "no data, which fails: "),
    ] {
        check(&probe(rest), expected, words).await;
    }
    let wrong = probe("query: app_jobs, value: == 12").replace("user: me", "user: you");
    check(&wrong, None, "lets nobody in").await;
    for (port, words) in [(server.port, "no Prometheus"), (free_port(), "was not reached")] {
        let plain = format!("{{ prometheus: {{ url: 'http://127.0.0.1:{port}', query: up, value: == 1 }} }}");
        check(&plain, None, words).await;
    }
}
