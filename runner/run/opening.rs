//! How a run's journal begins: where it is, and what it says of the run, the daemon and this machine.

use std::path::Path;

use crate::clock::Clock;
use crate::docker::Facts;
use crate::error::{Error, Result};
use crate::event::{self, Started};
use crate::journal::{self, Writer};
use crate::plan::Plan;

/// Makes the run's directory and an empty journal in it.
///
/// # Errors
/// It holds a run already, or can't be written to.
pub(super) fn create_journal(dir: &Path, clock: Clock) -> Result<Writer> {
    let path = dir.join(journal::FILE);
    if path.exists() {
        return Err(Error::mistake(format!("{} holds a run already", dir.display()))
            .hint("name another directory with --out, or move that run away"));
    }
    std::fs::create_dir_all(dir).map_err(|error| {
        Error::environment(format!("could not make the run's directory {}", dir.display()))
            .hint("name a directory you can write to with --out")
            .because(error)
    })?;
    Writer::create(&path, clock)
}

/// The first event.
pub(super) fn started(run: &str, plan: &Plan, facts: Facts, file: &Path, command: &str) -> Started {
    let environment = [
        ("docker", facts.version),
        ("docker api", facts.api),
        ("kernel", facts.kernel),
        ("cgroup", facts.cgroup),
        ("os", facts.os),
        ("storage driver", facts.storage_driver),
        ("daemon cpus", facts.cpus.to_string()),
    ];
    Started {
        schema: event::SCHEMA.into(),
        run: run.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        wall: jiff::Timestamp::now().to_string(),
        file: file.display().to_string(),
        command: command.into(),
        plan: plan.clone(),
        lines: Default::default(),
        environment: environment
            .into_iter()
            .chain(runner_facts())
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    }
}

/// What the journal says of the machine that the load comes from.
pub(super) fn runner_facts() -> [(&'static str, String); 2] {
    let clock_source =
        std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    [
        ("runner cpus", std::thread::available_parallelism().map_or(1, usize::from).to_string()),
        ("clock source", clock_source.map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())),
    ]
}
