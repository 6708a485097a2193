//! Reports: a judged run in the forms that people and programs read.
//!
//! Each format is one pure function of a [`Case`]: no file, no clock, no live state, so that the same journal
//! gives the same bytes today and in a year. Formats render the judgement and decide nothing. Names and
//! labels come from experiments, containers and servers, and are never trusted: everything passes
//! [`text::clean`] on its way anywhere, and then one place a format that escapes it: `markup` on a page, `sheet` in
//! Markdown, `Xml`, `Exposition` and their like in the files of the formats that have one.
//!
//! To add a format: a file beside `json.rs`, and a line in [`FORMATS`].

mod board;
mod chaostoolkit;
mod charts;
mod checks;
mod colophon;
mod csv;
mod curves;
pub mod events;
mod evidence;
mod exhibits;
mod figures;
mod finding;
mod gauges;
mod github;
mod gitlab;
mod hlog;
mod html;
pub mod json;
mod junit;
mod lanes;
pub mod load;
mod markdown;
pub(crate) mod markup;
mod openmetrics;
mod outturns;
mod plot;
mod postmortem;
mod probes;
mod samples;
mod sections;
mod series;
pub(crate) mod sheet;
mod span;
mod step_summary;
mod story;
mod tables;
pub mod terminal;
pub mod text;
mod timings;
mod topology;
mod wall;

use crate::event::{Entry, Started};
use crate::verdict::Judgement;

/// All that a report is made of.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The run's start, with its plan.
    pub started: &'a Started,
    /// Every event, in order, the start included.
    pub entries: &'a [Entry],
    /// Lines of the journal that no entry stands for, from 1, in order: only a newer version knows them.
    pub skipped: &'a [usize],
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

impl<'a> Case<'a> {
    /// Every event with its line in the journal, from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &'a Entry)> + use<'a> {
        let mut skipped = self.skipped.iter().peekable();
        let mut number = 0;
        self.entries.iter().map(move |entry| {
            number += 1;
            while skipped.next_if(|line| **line == number).is_some() {
                number += 1;
            }
            (number, entry)
        })
    }
}

/// When a form of report is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// With every run, under this name.
    Always(&'static str),
    /// When it is asked for, under this name.
    Asked(&'static str),
    /// Never: it is only printed.
    Never,
}

/// A form of report.
pub struct Format {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its file in a run's directory, and when it is made.
    pub saved: Saved,
    /// What it is for, in a few words.
    pub about: &'static str,
    /// What says whether a file is one: a schema, or its ecosystem's own tool.
    pub checked_by: &'static str,
    /// Makes it.
    pub render: fn(&Case<'_>, Ink) -> String,
}

impl Format {
    /// Its file in a run's directory; nothing for what is only printed.
    pub const fn file(&self) -> Option<&'static str> {
        match self.saved {
            Saved::Always(file) | Saved::Asked(file) => Some(file),
            Saved::Never => None,
        }
    }

    /// The form of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FORMATS.iter().find(|format| format.name == name)
    }
}

/// Every form of report.
pub const FORMATS: [Format; 16] = [
    Format {
        name: "json",
        saved: Saved::Always("report.json"),
        about: "the judgement for programs",
        checked_by: "chaos schema report",
        render: json::render,
    },
    Format {
        name: "html",
        saved: Saved::Always("report.html"),
        about: "one page with plots and evidence, for people",
        checked_by: "any browser",
        render: html::render,
    },
    Format {
        name: "hlog",
        saved: Saved::Always("run.hlog"),
        about: "latencies as an HdrHistogram log, tagged by phase, request and outcome",
        checked_by: "chaos hist, HdrHistogram's tools",
        render: hlog::render,
    },
    Format {
        name: "terminal",
        saved: Saved::Never,
        about: "a summary that fits one screen",
        checked_by: "-",
        render: terminal::render,
    },
    Format {
        name: "junit",
        saved: Saved::Asked("junit.xml"),
        about: "test results: a suite a phase, a case a check",
        checked_by: "xmllint, Jenkins' junit-10.xsd",
        render: junit::render,
    },
    Format {
        name: "github",
        saved: Saved::Asked("annotations.txt"),
        about: "annotations for GitHub Actions, to be printed by a step",
        checked_by: "workflow commands",
        render: github::render,
    },
    Format {
        name: "step-summary",
        saved: Saved::Asked("step-summary.md"),
        about: "Markdown for $GITHUB_STEP_SUMMARY",
        checked_by: "CommonMark, GFM tables",
        render: step_summary::render,
    },
    Format {
        name: "gitlab",
        saved: Saved::Asked("gl-code-quality-report.json"),
        about: "code quality report for GitLab's merge requests",
        checked_by: "GitLab's documented fields",
        render: gitlab::render,
    },
    Format {
        name: "markdown",
        saved: Saved::Asked("report.md"),
        about: "Markdown for a pull request's comment",
        checked_by: "CommonMark, GFM tables",
        render: markdown::render,
    },
    Format {
        name: "openmetrics",
        saved: Saved::Asked("metrics.txt"),
        about: "figures as OpenMetrics text, also GitLab's metrics report",
        checked_by: "promtool, prometheus_client",
        render: openmetrics::render,
    },
    Format {
        name: "csv",
        saved: Saved::Asked("intervals.csv"),
        about: "every interval of every load, for spreadsheets",
        checked_by: "RFC 4180",
        render: csv::render,
    },
    Format {
        name: "figures",
        saved: Saved::Asked("figures.csv"),
        about: "timings, harm, cost, and every check with its evidence, for spreadsheets",
        checked_by: "RFC 4180",
        render: csv::figures::render,
    },
    Format {
        name: "probes",
        saved: Saved::Asked("probes.csv"),
        about: "every answer of every probe, for spreadsheets",
        checked_by: "RFC 4180",
        render: csv::probes::render,
    },
    Format {
        name: "events",
        saved: Saved::Asked("events.jsonl"),
        about: "what happened as log lines, JSON Lines",
        checked_by: "chaos schema events",
        render: events::render,
    },
    Format {
        name: "chaostoolkit",
        saved: Saved::Asked("chaostoolkit.json"),
        about: "a journal of the Chaos Toolkit",
        checked_by: "chaostoolkit-lib",
        render: chaostoolkit::render,
    },
    Format {
        name: "postmortem",
        saved: Saved::Asked("postmortem.md"),
        about: "a draft of a blameless post-mortem; `chaos postmortem` prints it",
        checked_by: "CommonMark, GFM tables",
        render: postmortem::render,
    },
];
