//! Eyes on a run while it runs: a consumer of events and nothing else.
//!
//! On a terminal, a few lines of which only what changed is sent; elsewhere, one plain line a second; or every event as
//! JSON for programs. It reads no clock and asks nobody: what it shows, it was told by an event, so the view
//! can't disturb the run and a replayed journal looks the same. Nothing it fails to print stops a run.
//!
//! Start at [`View::on`]; [`watch`] is the state that all forms read.

mod frame;
mod history;
mod live;
mod plain;
mod screen;
#[cfg(test)]
mod tests;
mod watch;

use std::io::{IsTerminal, Write};

use crate::event::Entry;
use crate::report::Ink;
use watch::Watch;

/// What the user asked to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Live on a terminal, else a plain line a second; on stderr.
    #[default]
    Auto,
    /// A plain line a second, on stderr, even on a terminal.
    Plain,
    /// Nothing. Errors are printed by the command line's edge.
    Quiet,
    /// Each event as a JSON line on stdout, exactly as in the journal.
    JsonEvents,
}

/// A view of a run.
pub struct View {
    watch: Watch,
    form: Form,
}

enum Form {
    Live(live::Live),
    Plain(Ink),
    Quiet,
    Json,
}

/// Colour for a terminal, unless NO_COLOR is set and not empty.
pub fn ink_for(stream: &impl IsTerminal) -> Ink {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if stream.is_terminal() && !refused { Ink::Color } else { Ink::Plain }
}

impl View {
    /// The view for what stderr is and the user asked for.
    pub fn for_terminal(mode: Mode) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let ink = ink_for(&std::io::stderr());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let form = match mode {
            Mode::Auto if terminal && !dumb => Form::Live(live::Live::new(ink)),
            Mode::Auto | Mode::Plain => Form::Plain(ink),
            Mode::Quiet => Form::Quiet,
            Mode::JsonEvents => Form::Json,
        };
        Self { watch: Watch::default(), form }
    }

    /// Shows what an event changes. Never fails and never waits for anything but the terminal.
    pub fn on(&mut self, entry: &Entry) {
        match &mut self.form {
            Form::Quiet => {}
            Form::Json => {
                let mut line = serde_json::to_vec(entry).expect("events have text keys only");
                line.push(b'\n');
                // A reader that went away must not end the run: it still has to heal.
                let _ = std::io::stdout().write_all(&line);
            }
            Form::Plain(ink) => {
                let news = self.watch.on(entry);
                let line = news.map(|news| news.line(*ink)).or_else(|| plain::line(&self.watch, entry));
                if let Some(line) = line {
                    let _ = writeln!(std::io::stderr(), "{}", plain::stamped(entry.t_ns, &line));
                }
            }
            Form::Live(live) => {
                let news = self.watch.on(entry);
                live.show(&self.watch, entry, news.as_ref());
            }
        }
    }

    /// Clears what repaints itself; what was printed stays. The summary comes next.
    pub fn finish(&mut self) {
        if let Form::Live(live) = &mut self.form {
            live.clear();
        }
    }
}
