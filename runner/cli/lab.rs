//! `chaos lab`: labs to look at and try things on, apart from any run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use super::waiting::Waiting;
use super::{print, runtime};
use crate::docker::{Docker, Leftover, LeftoverKind, host_id, label};
use crate::error::{Error, Exit, Result};
use crate::lab::{self, Stay};
use crate::patience::{Limit, Patience};
use crate::spec::{Input, Lab, parse};

/// Arguments of `chaos lab`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Start a lab that stays until it is taken down; prints where its services are.
    Up {
        /// `replicas` for the built-in lab, an experiment with a `lab:`, or a compose file.
        #[arg(default_value = "replicas")]
        lab: String,
    },
    /// Take a lab down: containers, networks and the volumes it made.
    Down {
        /// The lab's run, as `chaos lab list` has it; may be left out where there is only one lab.
        run: Option<String>,
        /// Every lab that `chaos lab up` of this machine started.
        #[arg(long, conflicts_with = "run")]
        all: bool,
    },
    /// List labs, also those of runs under way.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the verb.
pub fn run(args: Args) -> Result<Exit> {
    runtime()?.block_on(async {
        match args.what {
            What::Up { lab } => up(&lab).await,
            What::Down { run, all } => down(run, all).await,
            What::List { json } => list(json).await,
        }
    })
}

async fn up(what: &str) -> Result<Exit> {
    let (lab, directory) = find(what)?;
    let docker = Docker::connect().await?;
    let run = format!("lab-{}", crate::run::new_id());
    let (limit, patience) = Patience::limited();
    let waiting = Waiting::during("starting the lab");
    let mut starting =
        std::pin::pin!(lab::up_for(&docker, &run, &lab, &directory, Stay::UntilDown, &patience));
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| Error::environment("could not listen for signals").because(error))?;
    let up = tokio::select! {
        up = &mut starting => Some(up?),
        _ = tokio::signal::ctrl_c() => None,
        _ = terminate.recv() => None,
    };
    drop(waiting);
    let Some(up) = up else { return called_off(&docker, &run, limit, starting).await };
    let mut text = format!("{run}\n");
    for (service, address) in &up.endpoints {
        text.push_str(&format!("  {service:<20} http://{address}\n"));
    }
    print(&text)?;
    super::note(&format!("take it down with: chaos lab down {run}"));
    Ok(Exit::Held)
}

/// Ends a lab that comes up.
async fn called_off(
    docker: &Docker,
    run: &str,
    limit: Limit,
    starting: impl Future<Output = Result<lab::Up>>,
) -> Result<Exit> {
    super::note("interrupted: finishing what has begun, then taking it down");
    limit.reached();
    // Left in the middle, the daemon would go on creating what nobody is there to remove.
    let _ = tokio::select! {
        up = starting => up.map(drop),
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    lab::down(docker, run).await?;
    Ok(Exit::Aborted)
}

/// The lab that `what` names, and the directory that its paths are relative to.
fn find(what: &str) -> Result<(Lab, PathBuf)> {
    let path = Path::new(what);
    if !path.is_file() && what == "replicas" {
        return Ok((built_in()?, PathBuf::new()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::mistake(format!("could not read {what}"))
            .because(error)
            .hint("write `replicas`, an experiment with a `lab:`, or a compose file")
    })?;
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    if is_compose(&text) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok((Lab::Compose(name), directory));
    }
    let variables = std::env::vars().collect();
    let experiment = parse(&Input { file: what.into(), text, variables, ..Input::default() })?;
    let lab = experiment.lab.ok_or_else(|| {
        Error::mistake(format!("{what} has no `lab:`"))
            .hint("add `lab: replicas`, or start your system yourself")
    })?;
    Ok((lab.value, directory))
}

/// The built-in lab with every default.
fn built_in() -> Result<Lab> {
    use crate::spec::decode::{Decode, Mistakes};
    use crate::spec::node::{Node, Value};
    let nothing = Node::new(crate::error::Span::default(), Value::Null);
    let replicas = crate::spec::Replicas::decode(&nothing, &mut Mistakes::default());
    Ok(Lab::Replicas(replicas.expect("every field of `replicas` has a default")))
}

/// True of YAML with top-level `services`, which no experiment has.
fn is_compose(text: &str) -> bool {
    serde_yaml::from_str::<serde_yaml::Value>(text).is_ok_and(|root| root.get("services").is_some())
}

/// The labs on the daemon by run.
async fn labs(docker: &Docker) -> Result<BTreeMap<String, Vec<Leftover>>> {
    let mut labs: BTreeMap<String, Vec<Leftover>> = BTreeMap::new();
    // Networks too: a lab that lost its containers is still one to take down.
    for role in [label::ROLE_LAB, label::ROLE_NETWORK] {
        for one in docker.labelled(&[(label::ROLE, role)]).await? {
            labs.entry(one.run.clone()).or_default().push(one);
        }
    }
    Ok(labs)
}

async fn down(run: Option<String>, all: bool) -> Result<Exit> {
    let docker = Docker::connect().await?;
    let labs = labs(&docker).await?;
    let names = || labs.keys().map(|run| format!("`{run}`")).collect::<Vec<_>>().join(", ");
    let runs: Vec<&String> = match &run {
        _ if all => {
            let ours = |parts: &Vec<Leftover>| parts.iter().any(|part| part.keep && part.host == host_id());
            labs.iter().filter(|(_, parts)| ours(parts)).map(|(run, _)| run).collect()
        }
        Some(run) if labs.contains_key(run) => vec![run],
        Some(run) => {
            let known = if labs.is_empty() { "no lab is up".to_owned() } else { format!("up: {}", names()) };
            return Err(Error::environment(format!("there is no lab `{run}`")).hint(known));
        }
        None if labs.len() > 1 => {
            return Err(Error::mistake("there are several labs")
                .hint(format!("name one of {}, or say --all", names())));
        }
        None => labs.keys().collect(),
    };
    if runs.is_empty() {
        super::note("no lab is up");
    }
    for run in runs {
        let waiting = Waiting::during("taking the lab down");
        lab::down(&docker, run).await?;
        drop(waiting);
        super::note(&format!("{run} is down"));
    }
    Ok(Exit::Held)
}

async fn list(json: bool) -> Result<Exit> {
    let docker = Docker::connect().await?;
    let mut rows = Vec::new();
    for (run, parts) in labs(&docker).await? {
        let containers: Vec<_> = parts.iter().filter(|part| part.kind == LeftoverKind::Container).collect();
        let mut endpoints = BTreeMap::new();
        for container in &containers {
            let service =
                container.labels.get(label::SERVICE).cloned().unwrap_or_else(|| container.name.clone());
            for (port, address) in docker.published(&container.id).await? {
                endpoints.insert(format!("{service}:{port}"), address.to_string());
            }
        }
        rows.push(serde_json::json!({
            "run": run,
            "kept": parts.iter().any(|part| part.keep),
            "containers": containers.len(),
            "endpoints": endpoints,
        }));
    }
    if json {
        print(&format!("{:#}\n", serde_json::Value::from(rows)))?;
    } else if rows.is_empty() {
        super::note("no lab is up");
    } else {
        print(&rows.iter().map(row).collect::<String>())?;
    }
    Ok(Exit::Held)
}

/// A lab in a line.
fn row(lab: &serde_json::Value) -> String {
    let text = |key: &str| lab[key].as_str().unwrap_or_default().to_owned();
    let endpoints = lab["endpoints"].as_object().into_iter().flatten();
    let endpoints: Vec<_> =
        endpoints.map(|(name, at)| format!("{name} at http://{}", at.as_str().unwrap_or_default())).collect();
    let whose = if lab["kept"] == true { "kept" } else { "of a run" };
    format!("{}  {whose}  {} containers  {}\n", text("run"), lab["containers"], endpoints.join(", "))
}
