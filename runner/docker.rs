//! The Docker daemon, as far as experiments need it, and the only file that names its client library.
//!
//! Everything made here is labelled with its run and role, so that any later `chaos` can find and remove
//! it. Every call has a time limit: a daemon that hangs must not hang a heal. Calls that take something
//! back are no errors when there is nothing to take back. Never touches a container it was not told to.
//! Start at [`Docker::connect`].

mod act;
mod attach;
mod cgroup;
pub mod elf;
pub mod endpoint;
mod exec;
pub mod image;
pub mod limits;
mod logs;
mod look;
mod lost;
mod make;
mod mark;
mod network;

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

// The client library goes by these names in the files below this one.
use bollard::container::LogOutput;
use bollard::errors::Error as ApiError;
use bollard::models as api;
use bollard::query_parameters as query;
use bollard::{API_DEFAULT_VERSION, body_try_stream};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use endpoint::{Endpoint, Environment};
use image::{NOBODY, hex};

pub use attach::{AgentSpec, Attached, Output};
pub use image::VOLUME;
pub use look::{ContainerEvent, Found, Leftover, LeftoverKind};
pub use make::{ContainerSpec, Started};

/// Labels that say whose a thing is and what for.
pub mod label {
    /// The run it was made for.
    pub const RUN: &str = "io.chaos.run";
    /// What it is: one of the roles below.
    pub const ROLE: &str = "io.chaos.role";
    /// A container that impairs another.
    pub const ROLE_AGENT: &str = "agent";
    /// A container of a lab.
    pub const ROLE_LAB: &str = "lab";
    /// A lab's network.
    pub const ROLE_NETWORK: &str = "network";
    /// The image of agents and labs.
    pub const ROLE_IMAGE: &str = "image";
    /// A mark that a container is a run's ([`crate::hold`]).
    pub const ROLE_HOLD: &str = "hold";
    /// The mark that runs are halted ([`crate::halt`]).
    pub const ROLE_HALT: &str = "halt";
    /// Of a hold: the container's id.
    pub const HOLDS: &str = "io.chaos.holds";
    /// Of a halt: who.
    pub const BY: &str = "io.chaos.by";
    /// Of a halt: since when.
    pub const SINCE: &str = "io.chaos.since";
    /// The machine whose runner made it ([`super::host_id`]).
    pub const HOST: &str = "io.chaos.host";
    /// A lab container's or network's short name, as experiments use it.
    pub const NAME: &str = "io.chaos.name";
    /// A lab container's service.
    pub const SERVICE: &str = "io.chaos.service";
    /// `true` on a lab that stays until `chaos lab down`.
    pub const KEEP: &str = "io.chaos.keep";
    /// `true` on a container that nothing may touch.
    pub const PROTECT: &str = "chaos.protect";
    /// Compose's project.
    pub const COMPOSE_PROJECT: &str = "com.docker.compose.project";
    /// Compose's service.
    pub const COMPOSE_SERVICE: &str = "com.docker.compose.service";
    /// Compose's number of a container within its service.
    pub const COMPOSE_NUMBER: &str = "com.docker.compose.container-number";
}

/// The oldest API that has what is used here: Docker 20.10.
const OLDEST_API: (usize, usize) = (1, 41);
/// A daemon that takes longer for a plain call is stuck, or its machine is.
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// Loading an image of some 60 MB through a slow disk or a remote connection.
const LOAD_LIMIT: Duration = Duration::from_secs(180);

/// A connection to a daemon. Clones share it.
#[derive(Clone)]
pub struct Docker {
    api: bollard::Docker,
    endpoint: Arc<Endpoint>,
    program: Arc<PathBuf>,
    /// The image, once it is known to be there.
    image: Arc<tokio::sync::Mutex<Option<String>>>,
}

/// What a daemon says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Docker's version.
    pub version: String,
    /// The API version in use, as `1.41`.
    pub api: String,
    /// The kernel's release.
    pub kernel: String,
    /// cgroup version: `1` or `2`.
    pub cgroup: String,
    /// The operating system.
    pub os: String,
    /// Its CPUs.
    pub cpus: u64,
    /// How layers are stored.
    pub storage_driver: String,
    /// True if it is reached through a unix socket: almost always this machine.
    pub local: bool,
}

/// This machine, in 12 digits: leftovers of another machine's runner on a shared daemon are not ours.
pub fn host_id() -> String {
    let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
    let name = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [&b"chaos host"[..], &machine, &name] {
        hash.update(part);
    }
    hex(&hash.finalize())[..12].to_owned()
}

/// The daemon's name for what a run calls `name`.
pub fn full_name(run: &str, name: &str) -> String {
    format!("chaos-{run}-{name}")
}

impl Docker {
    /// Connects to the daemon that the docker command would use.
    ///
    /// # Errors
    /// Exit 3, saying which of it is: Docker missing, stopped, refusing or too old, and what mends it.
    pub async fn connect() -> Result<Self> {
        Self::connect_to(Endpoint::find(&Environment::read())?).await
    }

    /// Connects to a certain daemon.
    ///
    /// # Errors
    /// As [`Docker::connect`].
    pub async fn connect_to(endpoint: Endpoint) -> Result<Self> {
        // The library says only that it could not connect; a connection of our own says why.
        let reached = tokio::time::timeout(CALL_LIMIT, reach(&endpoint)).await;
        reached
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| endpoint.refused(error))?;
        let limit_s = LOAD_LIMIT.as_secs();
        let api = match endpoint.socket() {
            Some(path) => {
                bollard::Docker::connect_with_unix(&path.to_string_lossy(), limit_s, API_DEFAULT_VERSION)
            }
            None => bollard::Docker::connect_with_http(&endpoint.url, limit_s, API_DEFAULT_VERSION),
        };
        let failed = |error: ApiError| {
            Error::environment(format!("what listens at {} is no Docker daemon", endpoint.described()))
                .because(error)
                .hint("point DOCKER_HOST at a Docker daemon, or `unset DOCKER_HOST`")
        };
        let negotiated = tokio::time::timeout(CALL_LIMIT, api.map_err(failed)?.negotiate_version()).await;
        let api = negotiated
            .map_err(|_| {
                Error::environment(format!("Docker at {} does not answer", endpoint.described()))
                    .hint("`sudo systemctl restart docker`")
            })?
            .map_err(failed)?;
        let version = api.client_version();
        if (version.major_version, version.minor_version) < OLDEST_API {
            return Err(Error::environment(format!(
                "Docker at {} is too old: it speaks API {version}, Docker 20.10 (API 1.41) or later is needed",
                endpoint.described()
            ))
            .hint("upgrade Docker: https://docs.docker.com/engine/install/"));
        }
        Ok(Self {
            api,
            endpoint: Arc::new(endpoint),
            program: Arc::new(PathBuf::from("/proc/self/exe")),
            image: Arc::default(),
        })
    }

    /// The same connection, making its image from another program than the running one (tests run from
    /// an executable of their own).
    #[must_use]
    pub fn with_program(self, program: impl Into<PathBuf>) -> Self {
        Self { program: Arc::new(program.into()), image: Arc::default(), ..self }
    }

    /// True if the daemon answers, within a second.
    pub async fn answers(&self) -> bool {
        /// A daemon that is there answers this in milliseconds.
        const LIMIT: Duration = Duration::from_secs(1);
        bounded("ask whether Docker is there", LIMIT, self.api.ping()).await.is_ok()
    }

    /// True if it is reached through a unix socket: almost always this machine.
    pub fn is_local(&self) -> bool {
        self.endpoint.socket().is_some()
    }

    /// The daemon's address.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What the daemon says about itself.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn facts(&self) -> Result<Facts> {
        let info = bounded("ask Docker about itself", CALL_LIMIT, self.api.info()).await?;
        Ok(Facts {
            version: info.server_version.unwrap_or_default(),
            api: self.api.client_version().to_string(),
            kernel: info.kernel_version.unwrap_or_default(),
            // Engines before 20.10 did not say, and knew only version 1.
            cgroup: info.cgroup_version.map_or_else(|| "1".into(), |version| version.to_string()),
            os: info.operating_system.unwrap_or_default(),
            cpus: info.ncpu.and_then(|cpus| cpus.try_into().ok()).unwrap_or_default(),
            storage_driver: info.driver.unwrap_or_default(),
            local: self.is_local(),
        })
    }
}

impl Docker {
    /// How far the daemon's wall clock is ahead of ours, and how far that can be wrong, in nanoseconds. A
    /// daemon on this machine has the same clock.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn clock_ahead(&self) -> Result<(i64, i64)> {
        if self.endpoint.socket().is_some() {
            return Ok((0, 0));
        }
        let wall_ns = || i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        let before_ns = wall_ns();
        let info = bounded("ask Docker for the time", CALL_LIMIT, self.api.info()).await?;
        let after_ns = wall_ns();
        let says = info.system_time.and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let says_ns = says.and_then(|time| i64::try_from(time.as_nanosecond()).ok());
        let unsure_ns = (after_ns - before_ns) / 2;
        Ok((says_ns.map_or(0, |says_ns| says_ns - (before_ns + unsure_ns)), unsure_ns))
    }
}

/// Opens and closes a connection, to learn why it can't be had.
async fn reach(endpoint: &Endpoint) -> io::Result<()> {
    match endpoint.socket() {
        Some(path) => tokio::net::UnixStream::connect(path).await.map(drop),
        None => {
            let address = endpoint.url.split("://").nth(1).unwrap_or_default().trim_end_matches('/');
            tokio::net::TcpStream::connect(address).await.map(drop)
        }
    }
}

/// A call that failed: what was attempted, and the daemon's answer or its silence.
#[derive(Debug)]
struct Failed {
    what: String,
    /// Nothing: it did not answer in time.
    cause: Option<ApiError>,
}

impl Failed {
    /// The daemon's HTTP status, if it answered.
    fn status(&self) -> Option<u16> {
        match self.cause {
            Some(ApiError::DockerResponseServerError { status_code, .. }) => Some(status_code),
            _ => None,
        }
    }

    /// True if the daemon's answer contains one of these words.
    fn says(&self, words: &[&str]) -> bool {
        let answer = self.cause.as_ref().map(ToString::to_string).unwrap_or_default();
        words.iter().any(|word| answer.contains(word))
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed.cause {
            Some(cause) => Self::environment(format!("could not {}", failed.what)).because(cause),
            None => Self::environment(format!("could not {}: Docker did not answer in time", failed.what))
                .hint("see `docker info` and `journalctl -u docker`"),
        }
    }
}

/// A call with a time limit; `what` completes "could not …".
async fn bounded<T>(
    what: impl Display,
    limit: Duration,
    call: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, Failed> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(cause)) => Err(Failed { what: what.to_string(), cause: Some(cause) }),
        Err(_) => Err(Failed { what: what.to_string(), cause: None }),
    }
}

/// Turns "no such thing" into nothing.
fn absent_is_none<T>(result: Result<T, Failed>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(failed) if failed.status() == Some(404) => Ok(None),
        Err(failed) => Err(failed.into()),
    }
}

/// An id as people see it; names stay as they are.
fn short(id: &str) -> &str {
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { &id[..12] } else { id }
}
