//! The scribe: every event of a run goes through here, to the journal first and then to whoever watches.
//!
//! Who watches has a thread of its own: a terminal that is stopped, or a pipe that nobody reads, must not keep a run
//! from healing.

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event::{Entry, Event};
use crate::journal::Writer;
use crate::view::View;

/// Writes events down and shows them.
pub(super) struct Scribe {
    journal: Writer,
    /// No bound: what is not shown yet is no more than the journal.
    shown: Sender<Entry>,
    shows: JoinHandle<()>,
    clock: Clock,
}

impl Scribe {
    /// # Errors
    /// The machine has no thread to spare.
    pub fn new(journal: Writer, mut view: View, clock: Clock) -> Result<Self> {
        let (shown, entries) = channel();
        let show = move || {
            for entry in entries {
                view.on(&entry);
            }
            view.finish();
        };
        let shows = std::thread::Builder::new()
            .name("view".into())
            .spawn(show)
            .map_err(|error| Error::environment("could not start a thread").because(error))?;
        Ok(Self { journal, shown, shows, clock })
    }

    /// The run's clock.
    pub fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Notes an event. A journal that can't be written ends the run: nothing may happen unrecorded.
    pub fn note(&mut self, event: Event) -> Result<()> {
        let t_ns = self.journal.append(&event)?;
        self.show(Entry { t_ns, event });
        Ok(())
    }

    /// Notes an event and gives it back as it stands in the journal.
    pub fn enter(&mut self, event: Event) -> Result<Entry> {
        let t_ns = self.journal.append(&event)?;
        let entry = Entry { t_ns, event };
        self.show(entry.clone());
        Ok(entry)
    }

    fn show(&self, entry: Entry) {
        // A view that is gone shows nothing more.
        let _ = self.shown.send(entry);
    }

    /// Ends the live view, once everything is shown.
    pub fn finish(self) {
        drop(self.shown);
        let _ = self.shows.join();
    }
}
