//! `chaos inside`: what the program does in containers and beside runs. Not for people.

use clap::Subcommand;

use crate::agent::task::{self, Capability};
use crate::error::{Error, Exit, Result};
use crate::lab::role::{self, Role};
use crate::{agent, ledger, warden};

/// Arguments of `chaos inside`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Do as told on standard input in the namespaces it was started in.
    Agent {
        /// Privileges to keep, all others being given up; `none` keeps none.
        #[arg(long, value_delimiter = ',', default_value = "NET_ADMIN", value_parser = kept)]
        keep: Vec<Kept>,
    },
    /// Use up what a container has, inside its limits, until told to end.
    Hand {
        /// Names the run, for whoever ends what is left.
        #[arg(long)]
        tag: String,
        /// The number of the file that it may keep memory in.
        #[arg(long)]
        kept: i32,
    },
    /// End the processes of a container that its daemon has lost, in the machine's own pid namespace.
    Evict {
        /// The container's id.
        container: String,
    },
    /// Print what this kernel can do, tried in a fresh network namespace.
    Probe,
    /// Wait for a run to die, and heal what it left.
    Warden {
        /// The run.
        run: String,
    },
    /// A part of the built-in lab.
    #[command(subcommand)]
    Role(Role),
}

/// A privilege to keep; nothing for `none`.
#[derive(Clone, Copy, Debug)]
struct Kept(Option<Capability>);

fn kept(name: &str) -> std::result::Result<Kept, String> {
    match task::capability(name) {
        None if name != "none" => Err("no agent may have this one".into()),
        known => Ok(Kept(known)),
    }
}

/// Runs the verb.
pub fn run(args: Args) -> Result<Exit> {
    match args.part {
        Part::Agent { keep } => {
            let keep: Vec<_> = keep.into_iter().filter_map(|kept| kept.0).collect();
            agent::serve(&keep)
                .map_err(|error| Error::environment("the agent could not start").because(error))?;
            Ok(Exit::Held)
        }
        Part::Hand { tag, kept } => {
            agent::hand::serve(&tag, kept).map(|()| Exit::Held).map_err(Error::environment)
        }
        Part::Evict { container } => {
            agent::evict::evict(&container).map(|_| Exit::Held).map_err(Error::environment)
        }
        Part::Probe => {
            let kernel = agent::kernel::probe_in_fresh_namespace().ok_or_else(|| {
                Error::environment("could not make a network namespace to try the kernel in")
                    .hint("run as root, or allow unprivileged user namespaces")
            })?;
            let json = serde_json::to_string(&kernel).expect("a kernel's abilities have text keys");
            super::print(&format!("{json}\n"))?;
            Ok(Exit::Held)
        }
        Part::Warden { run } => warden::stand_by(&ledger::state_dir(), &run).map(|()| Exit::Held),
        Part::Role(role) => role::run(role),
    }
}
