//! What the user is told when Docker can't be reached, and that each case is told apart.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::docker::CHAOS;

/// Nobody: root may open any socket.
const NOBODY: u32 = 65534;

/// `chaos lab list` with this DOCKER_HOST; its stderr, with `dir` replaced by DIR.
fn told(docker_host: &str, dir: &Path, uid: Option<u32>) -> String {
    // Nobody may not be able to read the build directory.
    let program = dir.join("chaos");
    if !program.exists() {
        std::fs::copy(CHAOS, &program).unwrap();
    }
    let mut command = Command::new(&program);
    command.args(["lab", "list"]).env_clear().env("DOCKER_HOST", docker_host);
    if let Some(uid) = uid {
        command.uid(uid);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap().replace(&dir.display().to_string(), "DIR")
}

fn socket(dir: &Path) -> String {
    format!("unix://{}/docker.sock", dir.display())
}

#[test]
fn no_socket_at_docker_host() {
    let dir = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(told(&socket(dir.path()), dir.path(), None), @r#"
    error: the Docker daemon is not running: no socket at unix://DIR/docker.sock (from DOCKER_HOST)
    hint: `sudo systemctl start docker`, or `unset DOCKER_HOST` to use the system's daemon
    "#);
}

#[test]
fn docker_host_is_no_socket() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("docker.sock"), "").unwrap();
    insta::assert_snapshot!(told(&socket(dir.path()), dir.path(), None), @r#"
    error: unix://DIR/docker.sock (from DOCKER_HOST) is not a socket
    hint: point DOCKER_HOST at the daemon's socket, or `unset DOCKER_HOST`
    "#);
}

#[test]
fn nobody_listens_at_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(dir.path().join("docker.sock")).unwrap());
    insta::assert_snapshot!(told(&socket(dir.path()), dir.path(), None), @r#"
    error: the Docker daemon is not running: nothing listens at unix://DIR/docker.sock (from DOCKER_HOST)
    hint: `sudo systemctl start docker`, or `unset DOCKER_HOST` to use the system's daemon
    "#);
}

#[test]
fn no_permission_on_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = dir.path().join("docker.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    insta::assert_snapshot!(told(&socket(dir.path()), dir.path(), Some(NOBODY)), @r#"
    error: no permission to use Docker at unix://DIR/docker.sock (from DOCKER_HOST)
      because: Permission denied (os error 13)
    hint: `sudo usermod -aG docker "$USER"`, then log in again (or run this with sudo)
    "#);
}

#[test]
fn a_scheme_that_is_not_supported() {
    let dir = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(told("ssh://staging", dir.path(), None), @r#"
    error: ssh://staging (from DOCKER_HOST) can't be reached: `ssh` connections to Docker are not supported
    hint: forward its socket: `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST &`, then `export DOCKER_HOST=unix:///tmp/docker.sock`
    "#);
}

#[test]
fn nobody_listens_at_the_port() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = told(&format!("tcp://127.0.0.1:{port}"), dir.path(), None).replace(&port.to_string(), "PORT");
    insta::assert_snapshot!(text, @r#"
    error: no Docker daemon answers at tcp://127.0.0.1:PORT (from DOCKER_HOST)
      because: Connection refused (os error 111)
    hint: start the daemon there, or `unset DOCKER_HOST` to use the one on this machine
    "#);
}

/// What is told of a server that answers every request so.
fn told_of_server(answer: &'static str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test's process; the program connects at most a few times.
    std::thread::spawn(move || {
        for stream in listener.incoming().take(10) {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            if stream.read(&mut request).unwrap_or(0) > 0 {
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    told(&format!("tcp://127.0.0.1:{port}"), dir.path(), None).replace(&port.to_string(), "PORT")
}

#[test]
fn an_engine_that_is_too_old() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 46\r\nConnection: close\r\n\r\n\
        {\"Version\":\"19.03.15\", \"ApiVersion\": \"1.40\"  }";
    insta::assert_snapshot!(told_of_server(answer), @r#"
    error: Docker at tcp://127.0.0.1:PORT (from DOCKER_HOST) is too old: it speaks API 1.40, Docker 20.10 (API 1.41) or later is needed
    hint: upgrade Docker: https://docs.docker.com/engine/install/
    "#);
}

#[test]
fn something_that_is_no_docker() {
    let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlost";
    insta::assert_snapshot!(told_of_server(answer), @r#"
    error: what listens at tcp://127.0.0.1:PORT (from DOCKER_HOST) is no Docker daemon
      because: Docker responded with status code 404: lost
    hint: point DOCKER_HOST at a Docker daemon, or `unset DOCKER_HOST`
    "#);
}

#[test]
fn the_docker_commands_context_is_honoured() {
    let dir = tempfile::tempdir().unwrap();
    // The docker command names the folder by the SHA-256 of `rootless`.
    let meta =
        dir.path().join("contexts/meta/12b961af5feb3e9d39f93b2cefb9a1a944f18d02cca0cac2f04f5a982240605f");
    std::fs::create_dir_all(&meta).unwrap();
    std::fs::write(
        meta.join("meta.json"),
        r#"{"Endpoints":{"docker":{"Host":"unix:///nowhere/rootless.sock"}}}"#,
    )
    .unwrap();
    std::fs::write(dir.path().join("config.json"), r#"{"currentContext":"rootless"}"#).unwrap();
    let told = |context: Option<&str>| {
        let mut command = Command::new(CHAOS);
        command.args(["lab", "list"]).env_clear().env("DOCKER_CONFIG", dir.path());
        command.envs(context.map(|name| ("DOCKER_CONTEXT", name)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    insta::assert_snapshot!(told(None), @r#"
    error: the Docker daemon is not running: no socket at unix:///nowhere/rootless.sock (from docker context rootless)
    hint: start that daemon, or `docker context use default`
    "#);
    insta::assert_snapshot!(told(Some("missing")), @r#"
    error: docker context `missing` does not exist
    hint: see `docker context ls`, then `docker context use default`, or unset DOCKER_CONTEXT
    "#);
}
