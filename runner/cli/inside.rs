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
        /// Privileges to keep, with commas between them, all others being given up; may be empty.
        #[arg(long, default_value = "NET_ADMIN", value_parser = kept)]
        keep: Kept,
    },
    /// Use up what a container has, inside its limits, until told to end.
    Hand {
        /// Names the run, for whoever ends what is left.
        #[arg(long)]
        tag: String,
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

/// Privileges to keep.
#[derive(Clone)]
struct Kept(Vec<Capability>);

fn kept(names: &str) -> std::result::Result<Kept, String> {
    let names = names.split(',').filter(|name| !name.is_empty());
    let known = names.map(|name| task::capability(name).ok_or("no agent may have this one"));
    Ok(Kept(known.collect::<std::result::Result<_, _>>()?))
}

/// Runs the verb.
pub fn run(args: Args) -> Result<Exit> {
    match args.part {
        Part::Agent { keep } => {
            agent::serve(&keep.0)
                .map_err(|error| Error::environment("the agent could not start").because(error))?;
            Ok(Exit::Held)
        }
        Part::Hand { tag } => agent::hand::serve(&tag).map(|()| Exit::Held).map_err(Error::environment),
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
