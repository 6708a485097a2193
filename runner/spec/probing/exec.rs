//! The `exec` probe: a command of the user's, inside containers or on this machine.

use std::fmt;

use super::{Asking, Question, Wanted};
use crate::error::Span;
use crate::record;
use crate::spec::decode::Located;

record! {
    /// A command that must end as expected. It is a list, the program and its arguments, which no shell reads; it is
    /// printed and saved as it is written, so that a secret belongs into the environment that it runs in. One that
    /// does not end in time has failed; one that can't be started is no data.
    pub struct ExecProbe ("exec probe") {
        /// What is run, as `[pg_isready, -q]`.
        pub run: Located<Vec<String>>,
        /// A target: it is run in each of its containers, and all must answer as expected. Left out: on this
        /// machine, which `chaos run` does only with `--allow-host-exec`.
        pub on: Option<Located<String>>,
        /// In a container: the user that it runs as; left out: the container's own.
        pub user: Option<String>,
        /// The exit code.
        pub exit: u32 = 0,
        /// What it writes to stdout and stderr, of which the first 4 KiB are looked at: a text to be equal to,
        /// `/RE/` to match somewhere, or a comparison with a number such as `< 5`.
        pub output: Option<Located<Wanted>>,
        ..pub asking: Asking
    }
}

impl Question for ExecProbe {
    fn asking(&self) -> &Asking {
        &self.asking
    }
    fn span(&self) -> Span {
        self.run.span
    }
    fn target(&self) -> Option<&Located<String>> {
        self.on.as_ref()
    }
}

impl fmt::Display for ExecProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.on.as_ref().map_or("this machine", |on| on.value.as_str());
        write!(f, "exec on {place}: {}", self.run.join(" ").escape_debug())?;
        if self.exit != 0 {
            write!(f, " exits {}", self.exit)?;
        }
        self.output.as_ref().map_or(Ok(()), |output| write!(f, " writes {}", output.value))
    }
}
