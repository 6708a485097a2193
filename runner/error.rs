//! What can go wrong, told to the person who must act, and the exit code that says so to scripts.
//!
//! Two kinds: [`Problems`], mistakes in a file with their place in it (all of them at once), and
//! everything else, which carries what was attempted and a remedy. The chain of causes is printed once,
//! in `main`; `Display` never repeats a source.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a command ended. Scripts rely on the numbers; of several the highest applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Exit {
    /// Steady state and every expectation held.
    Held = 0,
    /// An SLO or an expectation was broken.
    Failed = 1,
    /// The experiment or the command line is wrong.
    Mistake = 2,
    /// The environment can't do it: no Docker, no permission, no such container, no such kernel feature.
    Environment = 3,
    /// Steady state did not hold before anything was broken; nothing was injected.
    BaselineUnmet = 4,
    /// The run says nothing: a fault was not proven, the generator was saturated, or data is missing.
    Invalid = 5,
    /// Stopped by a guard or by the user; everything is healed.
    Aborted = 6,
    /// Something could not be healed.
    Unhealed = 7,
}

impl Exit {
    /// The process exit code.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The way of ending that has this code.
    pub fn from_code(code: u8) -> Option<Self> {
        [
            Self::Held,
            Self::Failed,
            Self::Mistake,
            Self::Environment,
            Self::BaselineUnmet,
            Self::Invalid,
            Self::Aborted,
            Self::Unhealed,
        ]
        .into_iter()
        .find(|exit| exit.code() == code)
    }
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Mistakes in a file, each with its place.
    #[error("{0}")]
    Problems(Problems),
    /// A well-formed file that can't be carried out here, each reason with its place.
    #[error("{problems}")]
    Refused {
        /// The exit code this calls for.
        exit: Exit,
        /// The reasons.
        problems: Problems,
    },
    /// Anything else: what was attempted, why it failed, what mends it.
    #[error("{message}")]
    Failure {
        /// The exit code this calls for.
        exit: Exit,
        /// What was attempted and what went wrong, without the cause's own words.
        message: String,
        /// What the user can do about it; a command where there is one.
        hint: Option<String>,
        /// The cause, printed below the message.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl Error {
    /// The command line or the experiment is wrong (exit 2).
    pub fn mistake(message: impl Into<String>) -> Self {
        Self::new(Exit::Mistake, message)
    }

    /// The environment can't do it (exit 3).
    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(Exit::Environment, message)
    }

    /// A failure that ends in `exit`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Failure { exit, message: message.into(), hint: None, source: None }
    }

    /// The same failure with a remedy.
    #[must_use]
    pub fn hint(mut self, remedy: impl Into<String>) -> Self {
        if let Self::Failure { hint, .. } = &mut self {
            *hint = Some(remedy.into());
        }
        self
    }

    /// The same failure with its cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        if let Self::Failure { source, .. } = &mut self {
            *source = Some(cause.into());
        }
        self
    }

    /// It and its causes in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
    }

    /// The exit code this calls for.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Problems(_) => Exit::Mistake,
            Self::Failure { exit, .. } | Self::Refused { exit, .. } => *exit,
        }
    }
}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

/// A stretch of a source text, in bytes. `0..0` for what no text was written for (a default).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// One mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub span: Span,
    /// What is wrong, quoting the offending text in backquotes.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Stands before each `--set` override where they follow an experiment's text: what lies behind one of
/// these was not written in the file. YAML text can't contain it (ASCII's record separator).
pub const OVERRIDE: char = '\u{1e}';

/// All mistakes of one file, sorted by place. Never empty where it is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file's name as the user gave it.
    pub file: String,
    /// Its text, for the snippets; then the overrides, each after an [`OVERRIDE`].
    pub text: String,
    /// The mistakes, sorted by place.
    pub list: Vec<Problem>,
}

/// Line and column of byte `at` of `text`, both from 1; columns count characters.
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at.min(text.len()))];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
    (line, column)
}

/// Where a span is shown: one line of one source, or the part of a very long line around the span.
struct Place<'t> {
    file: &'t str,
    shown: &'t str,
    /// The line's number, from 1.
    line: usize,
    /// The column, from 1, where the line does not begin with what is shown.
    column: Option<usize>,
    /// The span within what is shown; cut where it goes on in the next line.
    span: std::ops::Range<usize>,
}

impl Problems {
    /// The mistakes as rustc-style messages, coloured if `color`.
    pub fn render(&self, renderer: &annotate_snippets::Renderer) -> String {
        self.rendered(renderer, &annotate_snippets::Level::ERROR)
    }

    /// The same as warnings: what is not wrong, but likely not meant.
    pub fn render_warnings(&self, renderer: &annotate_snippets::Renderer) -> String {
        self.rendered(renderer, &annotate_snippets::Level::WARNING)
    }

    fn rendered(
        &self,
        renderer: &annotate_snippets::Renderer,
        level: &annotate_snippets::Level<'_>,
    ) -> String {
        use annotate_snippets::{AnnotationKind, Level, Origin, Snippet};
        let mut out = String::new();
        for problem in &self.list {
            let place = self.place(problem.span);
            let snippet = Snippet::source(place.shown)
                .line_start(place.line)
                .annotation(AnnotationKind::Primary.span(place.span).label("here"));
            let title = level.clone().primary_title(problem.message.as_str());
            let mut group = match place.column {
                None => title.element(snippet.path(place.file)),
                Some(column) => {
                    let origin = Origin::path(place.file).line(place.line).char_column(column);
                    title.element(origin).element(snippet)
                }
            };
            if let Some(hint) = &problem.hint {
                group = group.element(Level::HELP.with_name("hint").message(hint.as_str()));
            }
            out.push_str(&renderer.render(&[group]));
            out.push_str("\n\n");
        }
        out.truncate(out.trim_end().len());
        out
    }

    fn place(&self, span: Span) -> Place<'_> {
        /// What is shown of a line on either side of the span: laying out takes time for each character.
        const SHOWN_BYTES: usize = 400;
        /// What is underlined of a longer span, so that it fits on a line.
        const UNDERLINED_BYTES: usize = 120;
        let text = self.text.as_str();
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let (before, after) = text.split_at(start);
        let source = before.rfind(OVERRIDE).map_or(0, |at| at + OVERRIDE.len_utf8());
        let line_start = before.rfind('\n').map_or(source, |at| source.max(at + 1));
        let near = &after[..after.floor_char_boundary(2 * SHOWN_BYTES)];
        let line_end = start + near.find(['\n', '\r', OVERRIDE]).unwrap_or(near.len());
        let longest = line_end.min(start + UNDERLINED_BYTES);
        let end = text.ceil_char_boundary(span.end.clamp(start, longest));
        let shown_start = text.floor_char_boundary(line_start.max(start.saturating_sub(SHOWN_BYTES)));
        let shown_end = text.floor_char_boundary((end + SHOWN_BYTES).min(line_end));
        Place {
            file: if source > 0 { "--set" } else { &self.file },
            shown: &text[shown_start..shown_end],
            line: text[source..line_start].matches('\n').count() + 1,
            column: (shown_start > line_start).then(|| text[line_start..start].chars().count() + 1),
            span: start - shown_start..end - shown_start,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&annotate_snippets::Renderer::plain()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Renders one mistake at the first occurrence of `at` in `text` and compares where it is shown.
    fn check(text: &str, at: &str, expected: &[&str]) {
        let start = text.find(at).expect("the text holds the place");
        let problem =
            Problem { span: Span { start, end: start + at.len() }, message: "no".into(), hint: None };
        let shown = Problems { file: "a.yaml".into(), text: text.into(), list: vec![problem] }.to_string();
        for words in expected {
            assert!(shown.contains(words), "{words}:\n{shown}");
        }
        assert!(shown.lines().all(|line| line.chars().count() < 200), "{shown}");
    }

    #[test]
    fn a_mistake_is_shown_in_its_line_and_source() {
        check("a: 1\r\nb: 2\r\n", "2", &["a.yaml:2:4", "2 | b: 2\n"]);
        check("é: 𝄞x\n", "x", &["a.yaml:1:5"]);
        check("a: [\n  1,\n]\n", "[\n  1", &["a.yaml:1:4", "^ here"]);
        check("a: 1\u{1e}seed=x\u{1e}why=y", "x", &["--set:1:6", "seed=x\n"]);
        check("a: 1\u{1e}seed=x\u{1e}why=y", "y=y", &["--set:1:3", "1 | why=y"]);
        check("a: 1", "1", &["a.yaml:1:4"]);
        let long = format!("a: 1\nb: {}here{}\n", "é".repeat(5_000), "é".repeat(5_000));
        check(&long, "here", &["a.yaml:2:5004", "here"]);
        check(&long, &"é".repeat(5_000), &["a.yaml:2:4"]);
    }

    #[test]
    fn a_place_beyond_the_text_is_its_end() {
        let problem = Problem { span: Span { start: 90, end: 99 }, message: "no".into(), hint: None };
        let shown = Problems { file: "a.yaml".into(), text: "a: é".into(), list: vec![problem] }.to_string();
        assert!(shown.contains("a.yaml:1:5"), "{shown}");
    }
}
