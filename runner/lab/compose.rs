//! The user's own compose project as a lab: brought up by compose itself, taken down by labels.
//!
//! Compose starts it, since nobody else understands every compose file; but compose can't be told labels on
//! its command line, so they come in an override file. Taking it down needs neither compose nor the file.
//! What compose did not make (external networks, volumes that were there) is never labelled, so never removed.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;

use super::compose_file::{ComposeFile, Resource};
use super::{LAST_WORDS, Up};
use crate::docker::{Docker, LeftoverKind, host_id, label};
use crate::error::{Error, Result};
use crate::patience::Patience;
use crate::plan::inventory::Container;

/// Compose may have to build or pull.
const UP_LIMIT: Duration = Duration::from_secs(600);
/// How long compose may take to end once it is told that nobody waits any more.
const CALLED_OFF_LIMIT: Duration = Duration::from_secs(10);
/// How long health checks may take to pass after everything was started.
const HEALTHY_LIMIT: Duration = Duration::from_secs(120);
/// How often to look whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Lines of compose's output in a message: its last ones say why.
const OUTPUT_LINES: usize = 12;

/// The compose project of a run.
pub fn project(run: &str) -> String {
    // Compose allows lower-case letters, digits, `-` and `_`.
    let allowed =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter);
    format!("chaos-{}", run.to_lowercase().replace(|letter| !allowed(letter), "-"))
}

/// The containers the project will have.
///
/// # Errors
/// The file can't be read or is no compose file.
pub fn predicted(file: &Path) -> Result<Vec<Container>> {
    Ok(ComposeFile::read(file)?.containers())
}

/// The compose program on this machine, with its first arguments; nothing if there is none.
pub async fn program() -> Option<&'static [&'static str]> {
    const PROGRAMS: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    for program in PROGRAMS {
        let version = Command::new(program[0])
            .args(&program[1..])
            .arg("version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await;
        if version.is_ok_and(|status| status.success()) {
            return Some(program);
        }
    }
    None
}

/// Brings the project up and returns when its health checks pass.
pub async fn up(
    docker: &Docker,
    run: &str,
    file: &Path,
    labels: &BTreeMap<String, String>,
    patience: &Patience,
) -> Result<Up> {
    let parsed = ComposeFile::read(file)?;
    let program = program().await.ok_or_else(|| {
        Error::environment("neither `docker compose` nor `docker-compose` is installed")
            .hint("install compose: https://docs.docker.com/compose/install/linux/")
    })?;
    let overrides = Overrides::write(run, &parsed, labels)?;
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let mut command = Command::new(program[0]);
    command
        .args(&program[1..])
        .arg("-p")
        .arg(project(run))
        .arg("-f")
        .arg(&file)
        .arg("-f")
        .arg(&overrides.0)
        .args(["up", "-d"])
        // The same daemon, whichever way this process found it.
        .env("DOCKER_HOST", &docker.endpoint().url)
        .env_remove("DOCKER_CONTEXT")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if let Some(directory) = file.parent() {
        command.current_dir(directory);
    }
    let named = format!("`{} up` of {}", program.join(" "), file.display());
    let failed = |error: std::io::Error| Error::environment(format!("could not run {named}")).because(error);
    let child = command.spawn().map_err(failed)?;
    let pid = child.id();
    let mut ended = std::pin::pin!(tokio::time::timeout(UP_LIMIT, child.wait_with_output()));
    let output = tokio::select! {
        output = &mut ended => output,
        () = patience.end() => {
            if let Some(pid) = pid.and_then(|pid| libc::pid_t::try_from(pid).ok()) {
                // SAFETY: a plain signal to our own child, which was not waited for yet.
                unsafe { libc::kill(pid, libc::SIGINT) };
            }
            // It finishes what it has under way; what it does not is taken down all the same.
            let _ = tokio::time::timeout(CALLED_OFF_LIMIT, &mut ended).await;
            patience.check()?;
            unreachable!("patience that has ended does not come back");
        }
    };
    let output = output
        .map_err(|_| Error::environment(format!("{named} did not end within {}s", UP_LIMIT.as_secs())))?
        .map_err(failed)?;
    if !output.status.success() {
        return Err(Error::environment(format!("{named} failed")).because(last_lines(&output)));
    }
    let left = docker.labelled(&[(label::COMPOSE_PROJECT, &project(run))]).await?;
    let mut up = Up::default();
    for one in left.iter().filter(|one| one.kind == LeftoverKind::Container) {
        let text = |key: &str| one.labels.get(key).cloned().unwrap_or_default();
        let service = text(label::COMPOSE_SERVICE);
        for (port, address) in docker.published(&one.id).await? {
            // The lowest port of a service is the one meant by its name alone.
            up.endpoints.entry(service.clone()).or_insert_with(|| address.to_string());
            up.endpoints.entry(format!("{service}:{port}")).or_insert_with(|| address.to_string());
        }
        up.containers.push((format!("{service}-{}", text(label::COMPOSE_NUMBER)), one.id.clone()));
    }
    patience.wait(await_healthy(docker, &up.containers)).await?;
    Ok(up)
}

fn last_lines(output: &Output) -> String {
    let text =
        String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n  ")
}

/// Waits until every container runs and, where it has a health check, is healthy. One that ended well (a
/// migration, say) is done.
async fn await_healthy(docker: &Docker, containers: &[(String, String)]) -> Result<()> {
    let healthy = async {
        for (name, id) in containers {
            loop {
                let state = docker.state(id).await?.unwrap_or_default();
                let ended = matches!(state.status.as_str(), "exited" | "dead" | "");
                if ended && state.exit_code != Some(0) {
                    let code = state.exit_code.unwrap_or_default();
                    let words = docker.last_words(id, LAST_WORDS).await;
                    return Err(Error::environment(format!("{name} ended with exit code {code}: {words}")));
                }
                let well = docker.health(id).await?.is_none_or(|health| health == "healthy");
                if ended || (state.status == "running" && well) {
                    break;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    };
    tokio::time::timeout(HEALTHY_LIMIT, healthy).await.unwrap_or_else(|_| {
        Err(Error::environment(format!(
            "the compose project was not healthy within {}s",
            HEALTHY_LIMIT.as_secs()
        ))
        .hint("see `docker ps` for the container whose health check does not pass"))
    })
}

/// The override file; removed when dropped.
struct Overrides(PathBuf);

impl Overrides {
    fn write(run: &str, file: &ComposeFile, labels: &BTreeMap<String, String>) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("{}.override.yaml", project(run)));
        let failed = |error| Error::environment(format!("could not write {}", path.display())).because(error);
        // Not through a link or over a file that somebody else put there.
        let mut out = std::fs::File::create_new(&path).map_err(failed)?;
        let written = Self(path.clone());
        // JSON is YAML.
        out.write_all(overrides(run, file, labels).to_string().as_bytes()).map_err(failed)?;
        Ok(written)
    }
}

impl Drop for Overrides {
    fn drop(&mut self) {
        // A leftover names labels only, and the next run's has another name.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The labels of everything that compose will make.
fn overrides(run: &str, file: &ComposeFile, extra: &BTreeMap<String, String>) -> serde_json::Value {
    let labelled = |role: &str, service: Option<&str>| {
        let mut labels = extra.clone();
        labels.extend([
            (label::RUN.into(), run.into()),
            (label::ROLE.into(), role.into()),
            (label::HOST.into(), host_id()),
        ]);
        labels.extend(service.map(|service| (label::SERVICE.into(), service.into())));
        json!({ "labels": labels })
    };
    let services: serde_json::Map<_, _> = file
        .services
        .iter()
        .map(|service| (service.name.clone(), labelled(label::ROLE_LAB, Some(&service.name))))
        .collect();
    let made = |resources: &[Resource], role: &str| -> serde_json::Map<_, _> {
        let made = resources.iter().filter(|resource| resource.is_the_projects_own());
        made.map(|resource| (resource.key.clone(), labelled(role, None))).collect()
    };
    let mut overrides = json!({
        "services": services,
        "networks": made(&file.networks, label::ROLE_NETWORK),
        "volumes": made(&file.volumes, label::ROLE_LAB),
    });
    if let Some(version) = &file.version {
        // The old docker-compose refuses files of different versions.
        overrides["version"] = version.as_str().into();
    }
    overrides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_what_the_project_makes_and_nothing_else() {
        let text = "version: '3.8'\nservices: {web: {image: web}}\n\
            networks: {default: {}, shared: {external: true}, fixed: {name: fixed}}\n\
            volumes: {data: , precious: {name: precious}}";
        let file = ComposeFile::parse("c.yaml", text, &|_| None).unwrap();
        let made = overrides("r1", &file, &BTreeMap::new());
        assert_eq!(made["version"], "3.8");
        assert_eq!(made["services"]["web"]["labels"][label::RUN], "r1");
        assert_eq!(made["networks"].as_object().unwrap().keys().collect::<Vec<_>>(), ["default"]);
        assert_eq!(made["volumes"].as_object().unwrap().keys().collect::<Vec<_>>(), ["data"]);
    }

    #[test]
    fn projects_have_names_that_compose_allows() {
        assert_eq!(project("20260801T10:11-Ab"), "chaos-20260801t10-11-ab");
    }
}
