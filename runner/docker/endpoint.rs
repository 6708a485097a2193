//! Which daemon to talk to, and what is wrong with it when it does not answer.
//!
//! `DOCKER_HOST` first, then `DOCKER_CONTEXT` or the current context of the docker command (rootless Docker
//! and Docker Desktop live there), then the system's socket. A client library only knows that a connection
//! failed; people need to know whether Docker is missing, stopped or refusing them, and the command that
//! mends it. Start at [`Endpoint::find`].

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::image::hex;
use crate::error::{Error, Result};

/// The system's socket.
const SYSTEM_SOCKET: &str = "unix:///var/run/docker.sock";
/// Context and config files are small; anything larger is not one.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// A daemon's address and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `unix:///path` or `tcp://host:port`.
    pub url: String,
    /// What named it, for messages: `DOCKER_HOST`, `docker context NAME`; nothing for the system's socket.
    pub said_by: Option<String>,
}

/// What in the environment names a daemon.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `DOCKER_HOST`.
    pub host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub context: Option<String>,
    /// `DOCKER_TLS_VERIFY` is set.
    pub tls: bool,
    /// The docker command's directory: `DOCKER_CONFIG` or `~/.docker`.
    pub config: Option<PathBuf>,
}

impl Environment {
    /// Reads this process's environment.
    pub fn read() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            host: set("DOCKER_HOST"),
            context: set("DOCKER_CONTEXT"),
            tls: set("DOCKER_TLS_VERIFY").is_some(),
            config: set("DOCKER_CONFIG")
                .map(PathBuf::from)
                .or_else(|| set("HOME").map(|home| Path::new(&home).join(".docker"))),
        }
    }
}

impl Endpoint {
    /// The daemon that the docker command would talk to.
    ///
    /// # Errors
    /// An address that is neither a unix socket nor plain TCP, or a context that does not exist.
    pub fn find(environment: &Environment) -> Result<Self> {
        let endpoint = Self::named(environment)?;
        let scheme = endpoint.url.split("://").next().unwrap_or_default();
        let secured = environment.tls && scheme == "tcp";
        if !matches!(scheme, "unix" | "tcp" | "http") || secured {
            let what = if secured { "TLS" } else { scheme };
            return Err(Error::environment(format!(
                "{} can't be reached: `{what}` connections to Docker are not supported",
                endpoint.described()
            ))
            .hint("forward its socket: `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST &`, then `export DOCKER_HOST=unix:///tmp/docker.sock`"));
        }
        Ok(endpoint)
    }

    fn named(environment: &Environment) -> Result<Self> {
        if let Some(host) = &environment.host {
            return Ok(Self { url: host.clone(), said_by: Some("DOCKER_HOST".into()) });
        }
        let current = environment.context.clone().or_else(|| {
            let config = read_json(&environment.config.as_ref()?.join("config.json"))?;
            Some(config.get("currentContext")?.as_str()?.to_owned())
        });
        let Some(context) = current.filter(|name| !name.is_empty() && name != "default") else {
            return Ok(Self { url: SYSTEM_SOCKET.into(), said_by: None });
        };
        // The docker command keeps a context under the hash of its name.
        let url = environment.config.as_ref().and_then(|config| {
            let directory = hex(&Sha256::digest(context.as_bytes()));
            let meta = read_json(&config.join("contexts/meta").join(directory).join("meta.json"))?;
            Some(meta.pointer("/Endpoints/docker/Host")?.as_str()?.to_owned())
        });
        let said_by = Some(format!("docker context {context}"));
        url.map(|url| Self { url, said_by }).ok_or_else(|| {
            Error::environment(format!("docker context `{context}` does not exist"))
                .hint("see `docker context ls`, then `docker context use default`, or unset DOCKER_CONTEXT")
        })
    }

    /// The socket's path; nothing for TCP.
    pub fn socket(&self) -> Option<&Path> {
        self.url.strip_prefix("unix://").map(Path::new)
    }

    /// The address and what named it.
    pub fn described(&self) -> String {
        match &self.said_by {
            Some(said_by) => format!("{} (from {said_by})", self.url),
            None => self.url.clone(),
        }
    }

    /// Why connecting failed with `error`, for the person who can mend it.
    pub fn refused(&self, error: io::Error) -> Error {
        let Some(socket) = self.socket() else {
            return Error::environment(format!("no Docker daemon answers at {}", self.described()))
                .because(error)
                .hint("start the daemon there, or `unset DOCKER_HOST` to use the one on this machine");
        };
        let is_socket = std::fs::metadata(socket).map(|meta| meta.file_type().is_socket());
        match (error.kind(), is_socket) {
            (_, Ok(false)) => Error::environment(format!("{} is not a socket", self.described()))
                .hint("point DOCKER_HOST at the daemon's socket, or `unset DOCKER_HOST`"),
            (io::ErrorKind::NotFound, _) if self.said_by.is_none() && !installed() => {
                Error::environment("Docker is not installed: neither its socket nor its programs exist")
                    .hint("install Docker 20.10 or later: https://docs.docker.com/engine/install/")
            }
            (io::ErrorKind::NotFound, _) => Error::environment(format!(
                "the Docker daemon is not running: no socket at {}",
                self.described()
            ))
            .hint(self.start_hint()),
            (io::ErrorKind::PermissionDenied, _) => {
                Error::environment(format!("no permission to use Docker at {}", self.described()))
                    .because(error)
                    .hint("`sudo usermod -aG docker \"$USER\"`, then log in again (or run this with sudo)")
            }
            (io::ErrorKind::ConnectionRefused, _) => Error::environment(format!(
                "the Docker daemon is not running: nothing listens at {}",
                self.described()
            ))
            .hint(self.start_hint()),
            _ => Error::environment(format!("could not connect to Docker at {}", self.described()))
                .because(error)
                .hint(self.start_hint()),
        }
    }

    fn start_hint(&self) -> String {
        let start = "`sudo systemctl start docker`";
        match self.said_by.as_deref() {
            None => start.into(),
            Some("DOCKER_HOST") => format!("{start}, or `unset DOCKER_HOST` to use the system's daemon"),
            Some(_) => "start that daemon, or `docker context use default`".into(),
        }
    }
}

/// True if a docker or dockerd program is where programs are.
fn installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/bin"), PathBuf::from("/usr/sbin")])
        .any(|directory| ["dockerd", "docker"].iter().any(|name| directory.join(name).is_file()))
}

/// A small JSON file; nothing if it can't be read.
fn read_json(path: &Path) -> Option<serde_json::Value> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(MAX_CONFIG_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
