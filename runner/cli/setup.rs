//! Flags that say how the load generator works on this machine, shared by the verbs that send load. What
//! is sent is the experiment's; how precisely this machine can send it is not.

use std::num::NonZeroU32;

use crate::load::Setup;
use crate::load::worker::{Manner, Pacing};

/// How the load generator works on this machine.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// Sending threads [default: one for every 30,000 arrivals a second or 1,000 users, at most one a core].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroU32>,
    /// Send with real-time priority where that is permitted (root or CAP_SYS_NICE): 1 in 100 requests is
    /// then late by tens of microseconds instead of hundreds. Said in the report.
    #[arg(long)]
    realtime: bool,
    /// Release arrivals together every millisecond instead of each at its own instant: about half the CPU
    /// time, and half a millisecond of send lag.
    #[arg(long)]
    batched: bool,
}

impl Args {
    /// The same as the generator takes it.
    pub fn setup(&self) -> Setup {
        let pacing = if self.batched { Pacing::Batched } else { Pacing::Precise };
        Setup {
            threads: self.threads,
            manner: Manner { pacing, realtime: self.realtime },
            ..Setup::default()
        }
    }
}
