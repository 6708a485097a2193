//! The scribe: every event of a run goes through here, to the journal first and then to whoever watches.

use crate::clock::Clock;
use crate::error::Result;
use crate::event::{Entry, Event};
use crate::journal::Writer;
use crate::view::View;

/// Writes events down and shows them.
pub(super) struct Scribe {
    journal: Writer,
    view: View,
    clock: Clock,
}

impl Scribe {
    pub fn new(journal: Writer, view: View, clock: Clock) -> Self {
        Self { journal, view, clock }
    }

    /// The run's clock.
    pub fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Notes an event. A journal that can't be written ends the run: nothing may happen unrecorded.
    pub fn note(&mut self, event: Event) -> Result<()> {
        self.enter(event).map(drop)
    }

    /// Notes an event and gives it back as it stands in the journal.
    pub fn enter(&mut self, event: Event) -> Result<Entry> {
        let t_ns = self.journal.append(&event)?;
        let entry = Entry { t_ns, event };
        self.view.on(&entry);
        Ok(entry)
    }

    /// Ends the live view.
    pub fn finish(mut self) {
        self.view.finish();
    }
}
