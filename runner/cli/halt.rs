//! `chaos halt`: the safety lever.

use std::time::{Duration, Instant};

use crate::docker::{Docker, label};
use crate::error::{Error, Exit, Result};
use crate::halt;

/// The longest that runs may take to heal and end once the lever is pulled.
const END_LIMIT: Duration = Duration::from_secs(60);
/// How often to look whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Arguments of `chaos halt`.
#[derive(clap::Args)]
pub struct Args {
    /// Stop every run on the daemon, of whichever machine or user, and refuse new ones until released.
    #[arg(long, conflicts_with = "release")]
    all: bool,
    /// Allow runs again.
    #[arg(long)]
    release: bool,
}

/// Runs the verb. Without an option it says how the lever stands.
pub fn run(args: &Args) -> Result<Exit> {
    super::runtime()?.block_on(async {
        let docker = Docker::connect().await?;
        if args.all {
            return halt_all(&docker).await;
        }
        let text = match (args.release, halt::look(&docker).await?) {
            (_, None) => "runs are allowed\n".into(),
            (false, Some(halt)) => format!("halted by {} since {}\n", halt.by, halt.since),
            (true, Some(_)) => {
                halt::release(&docker).await?;
                "released: runs are allowed again\n".into()
            }
        };
        super::print(&text)?;
        Ok(Exit::Held)
    })
}

async fn halt_all(docker: &Docker) -> Result<Exit> {
    let stopping = holding(docker).await?;
    let halt = halt::pull(docker).await?;
    super::print(&format!("halted by {} since {}; new runs are refused\n", halt.by, halt.since))?;
    let until = Instant::now() + END_LIMIT;
    loop {
        let left = holding(docker).await?;
        if left.is_empty() {
            break;
        }
        if Instant::now() > until {
            return Err(Error::new(Exit::Unhealed, format!("still not over: {}", left.join(", ")))
                .hint("they are dead, or can't reach the daemon: `chaos recover` on their machine"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    for run in stopping {
        super::print(&format!("{run}: stopped, everything is healed\n"))?;
    }
    super::note("allow runs again with: chaos halt --release");
    Ok(Exit::Held)
}

/// Runs that hold a container, as every run does that could break one; sorted, harmless for a terminal.
async fn holding(docker: &Docker) -> Result<Vec<String>> {
    let holds = docker.marks(&[(label::ROLE, label::ROLE_HOLD)]).await?;
    let mut runs: Vec<String> = holds.into_iter().map(|hold| hold.run.escape_debug().to_string()).collect();
    runs.sort();
    runs.dedup();
    Ok(runs)
}
