//! Reports: a judged run in the forms that people and programs read.
//!
//! Each format is one pure function of a [`Case`]: no file, no clock, no live state, so that the same journal
//! gives the same bytes today and in a year. Formats render the judgement and decide nothing. Names and
//! labels come from experiments, containers and servers, and are never trusted: everything passes
//! [`text::clean`] on its way to a terminal and `markup` on its way to a page.
//!
//! To add a format: a file beside `json.rs`, and a line in [`FORMATS`].

mod charts;
mod figures;
mod hlog;
mod html;
pub mod json;
mod markup;
mod plot;
mod series;
mod span;
mod tables;
pub mod terminal;
pub mod text;

use crate::event::{Entry, Started};
use crate::verdict::Judgement;

/// All that a report is made of.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The run's start, with its plan.
    pub started: &'a Started,
    /// Every event, in order, the start included.
    pub entries: &'a [Entry],
    /// What they came to.
    pub judgement: &'a Judgement,
    /// Why the journal's end is missing, to be said after "the journal was cut short: "; nothing for a whole
    /// one.
    pub cut_short: Option<&'a str>,
    /// The run's directory as a person would type it. For the terminal's last line only: saved reports must
    /// not depend on where they lie.
    pub dir: &'a str,
}

/// Whether the output may have colour. Saved formats look the same either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Text alone.
    Plain,
    /// ANSI colours.
    Color,
}

/// A form of report.
pub struct Format {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its file in a run's directory; nothing for what is only printed.
    pub file: Option<&'static str>,
    /// What it is for, in a few words.
    pub about: &'static str,
    /// Makes it.
    pub render: fn(&Case<'_>, Ink) -> String,
}

/// Every form of report.
pub const FORMATS: [Format; 4] = [
    Format {
        name: "json",
        file: Some("report.json"),
        about: "the judgement for programs; `chaos schema report` describes it",
        render: json::render,
    },
    Format {
        name: "html",
        file: Some("report.html"),
        about: "one page with plots and evidence, for people",
        render: html::render,
    },
    Format {
        name: "hlog",
        file: Some("run.hlog"),
        about: "latencies as an HdrHistogram log, tagged by phase, request and outcome",
        render: hlog::render,
    },
    Format {
        name: "terminal",
        file: None,
        about: "a summary that fits one screen",
        render: terminal::render,
    },
];
