//! The view on a terminal: a frame of a few rows below the news that stays.
//!
//! What it shows is made in `frame`, what has to be sent for it in `screen`, both pure. Here it is sent, in one write,
//! on events alone: it starts no thread and takes nothing from the load's cores.

use std::io::Write;

use super::frame::frame;
use super::plain;
use super::screen::{Screen, Size};
use super::watch::{News, Watch};
use crate::event::{Entry, Event};
use crate::report::Ink;

/// What to plan for when the terminal does not say.
const SIZE: Size = Size { columns: 80, rows: 24 };

/// Paints a run on a terminal.
pub(super) struct Live {
    screen: Screen,
    ink: Ink,
}

impl Live {
    pub fn new(ink: Ink) -> Self {
        Self { screen: Screen::default(), ink }
    }

    /// Prints the news, if any, and shows what changed.
    pub fn show(&mut self, watch: &Watch, entry: &Entry, news: Option<&News>) {
        if news.is_none() && !matches!(entry.event, Event::Tick(_)) {
            return;
        }
        let news = news.map(|news| plain::stamped(entry.t_ns, &news.line(self.ink)));
        let size = size();
        send(&self.screen.show(news.as_deref(), frame(watch, size), size, self.ink));
    }

    /// Takes the frame away; what was printed stays.
    pub fn clear(&mut self) {
        send(&self.screen.erase(size()));
    }
}

fn size() -> Size {
    let told = console::Term::stderr().size_checked();
    told.map_or(SIZE, |(rows, columns)| Size { columns: columns.max(1).into(), rows: rows.max(1).into() })
}

fn send(text: &str) {
    let mut to = std::io::stderr().lock();
    // A terminal that went away is no reason to stop: the run still has to heal.
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
