//! The `docker` probe: what Docker says of containers.

use std::fmt;

use super::{Asking, NumberCheck, Question};
use crate::error::Span;
use crate::spec::decode::Located;
use crate::{choice, record};

record! {
    /// What Docker says of every container of a target. A container that is gone is none that runs.
    pub struct DockerProbe ("docker probe") {
        /// The target.
        pub on: Located<String>,
        /// Its state; `running` where nothing else is asked.
        pub state: Option<Located<ContainerStatus>>,
        /// What its health check says. A container without one is no data.
        pub health: Option<Located<HealthStatus>>,
        /// How often Docker restarted it since the run began, by its restart policy, as `== 0`.
        pub restarts: Option<Located<NumberCheck>>,
        /// `false`: the kernel has killed nothing of it for lack of memory since it was started.
        pub oom: Option<bool>,
        ..pub asking: Asking
    }
}

choice! {
    /// A container's state, by Docker's word.
    pub enum ContainerStatus ("state of a container") {
        /// Its processes run.
        Running = "running",
        /// They are frozen.
        Paused = "paused",
        /// Docker is starting it again.
        Restarting = "restarting",
        /// They have ended.
        Exited = "exited",
        /// It was never started.
        Created = "created",
        /// Docker could not remove all of it.
        Dead = "dead",
    }
}

choice! {
    /// What a container's health check says.
    pub enum HealthStatus ("health of a container") {
        /// It succeeds.
        Healthy = "healthy",
        /// It failed several times in a row.
        Unhealthy = "unhealthy",
        /// It has not succeeded yet.
        Starting = "starting",
    }
}

impl DockerProbe {
    /// The state that is asked for: `running` where nothing else is.
    pub fn status(&self) -> Option<ContainerStatus> {
        let nothing = self.health.is_none() && self.restarts.is_none() && self.oom.is_none();
        self.state.as_ref().map(|state| state.value).or(nothing.then_some(ContainerStatus::Running))
    }
}

impl Question for DockerProbe {
    fn asking(&self) -> &Asking {
        &self.asking
    }
    fn span(&self) -> Span {
        self.on.span
    }
    fn target(&self) -> Option<&Located<String>> {
        Some(&self.on)
    }
}

impl fmt::Display for DockerProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker: {}", self.on.value)?;
        let mut wanted = Vec::new();
        wanted.extend(self.status().map(|state| format!("is {}", state.word())));
        wanted.extend(self.health.as_ref().map(|health| format!("is {}", health.word())));
        wanted.extend(self.restarts.as_ref().map(|check| format!("restarts {}", check.value)));
        let memory = |oom| if oom { "ran out of memory" } else { "never ran out of memory" }.to_owned();
        wanted.extend(self.oom.map(memory));
        write!(f, " {}", wanted.join(", "))
    }
}
