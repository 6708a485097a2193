//! What Docker is asked to do to a container, in words; the rest of a plan's text is in `render.rs`.

use std::fmt;

use crate::fault::step::{BelowUse, Exec, Limit, Where};
use crate::spec::amount::{CpuAmount, MemoryAmount};

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(CpuAmount::Cores(cores)) => write!(f, "limit its CPU to {cores} cores"),
            Self::Cpu(CpuAmount::Share(share)) => write!(f, "limit its CPU to {share} of what it has"),
            Self::Memory(memory, below) => {
                match memory {
                    MemoryAmount::Bytes(_) => write!(f, "limit its memory to {memory}")?,
                    MemoryAmount::Share(share) => write!(f, "limit its memory to {share} of what it has")?,
                }
                match below {
                    BelowUse::Refuse => Ok(()),
                    BelowUse::Allow => f.write_str(", even below what it uses"),
                }
            }
            Self::Processes(most) => write!(f, "limit it to {most} processes and threads"),
        }
    }
}

impl fmt::Display for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            Where::Container => "inside",
            Where::Host => "on this machine",
        };
        // As data, so that spaces and control characters in an argument can be told.
        let words: Vec<_> = self.command.iter().map(|word| format!("{word:?}")).collect();
        write!(f, "run {place}: {}", words.join(" "))?;
        self.user.as_ref().map_or(Ok(()), |user| write!(f, " as {user:?}"))
    }
}
