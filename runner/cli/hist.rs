//! `chaos hist`: merges HdrHistogram logs and prints what is in them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::{note, print};
use crate::error::{Error, Exit, Result};
use crate::hlog::{Choice, Figures, MAX_LINE_BYTES, Merged, Unit, curve, figures, table};
use crate::report::text;

/// The format of `--json`.
const SCHEMA: &str = "chaos.hist/1";

/// The most tags that are listed.
const TAGS_LISTED: usize = 40;

/// Arguments of `chaos hist`.
#[derive(clap::Args)]
#[command(
    after_help = "Logs with tags hold every value twice, tagged and not: without --tag only intervals \
    without a tag are taken, as HdrHistogram's own tools do, or all of a log that has no others."
)]
pub struct Args {
    /// The logs, such as a run's `run.hlog`. Histograms must be in the compressed V2 form.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Take the intervals with this tag, `PHASE/REQUEST/OUTCOME` in a run's log; a final `*` stands for
    /// anything: `--tag 'baseline/*'`.
    #[arg(long)]
    tag: Option<String>,
    /// The unit to show values in; `raw` shows them as they are, for logs of something else than nanoseconds.
    #[arg(long, value_name = "UNIT", default_value = "ms", value_parser = unit)]
    unit: Unit,
    /// Print figures as JSON, values as they are in the log.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Json {
    schema: &'static str,
    /// All null if nothing was chosen.
    values: Option<Figures>,
    tags: Vec<JsonTag>,
}

#[derive(serde::Serialize)]
struct JsonTag {
    /// Null: without one.
    tag: Option<String>,
    intervals: u64,
    values: u64,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit> {
    let choice = args.tag.clone().map_or(Choice::Untagged, Choice::Tag);
    let mut merged = Merged::new(choice);
    for file in &args.files {
        read(file, &mut merged)?;
    }
    let histogram = merged.histogram().filter(|histogram| !histogram.is_empty());
    if args.json {
        let tags = merged.tags().map(|(tag, seen)| JsonTag {
            tag: tag.map(str::to_owned),
            intervals: seen.intervals,
            values: seen.values,
        });
        let json = Json { schema: SCHEMA, values: histogram.and_then(figures), tags: tags.collect() };
        let text = serde_json::to_string_pretty(&json)
            .map_err(|error| Error::environment("could not write JSON").because(error))?;
        print(&format!("{text}\n"))?;
        return Ok(if histogram.is_some() { Exit::Held } else { Exit::Invalid });
    }
    let Some(histogram) = histogram else {
        let what = args.tag.as_deref().map_or_else(String::new, |tag| format!(" tagged `{tag}`"));
        let error = Error::new(Exit::Invalid, format!("there is no value{what} in what was read"));
        return Err(error.hint(tags(&merged)));
    };
    if merged.is_of_all_tags() {
        note("every interval has a tag: all are taken together (choose with --tag)");
    }
    print(&format!("{}\n{}", table(histogram, args.unit), curve(histogram, args.unit)))?;
    if merged.tags().any(|(tag, _)| tag.is_some()) {
        note(&tags(&merged));
    }
    Ok(Exit::Held)
}

/// The tags there are, in a sentence or a list.
fn tags(merged: &Merged) -> String {
    let all: Vec<_> = merged.tags().collect();
    if all.is_empty() {
        return "the logs are empty".into();
    }
    let mut out = "tags, with intervals and values:".to_owned();
    for (tag, seen) in all.iter().take(TAGS_LISTED) {
        let tag = tag.map_or_else(|| "(none)".to_owned(), |tag| text::clean(tag, text::NAME_MAX_CHARS));
        out.push_str(&format!("\n  {tag}  {}  {}", seen.intervals, text::count(seen.values)));
    }
    if all.len() > TAGS_LISTED {
        out.push_str(&format!("\n  … and {} more", all.len() - TAGS_LISTED));
    }
    out
}

/// Adds a log, line by line.
fn read(path: &Path, merged: &mut Merged) -> Result<()> {
    let shown = path.display();
    let file =
        File::open(path).map_err(|error| Error::mistake(format!("could not open {shown}")).because(error))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let failed = |error| Error::environment(format!("could not read {shown}")).because(error);
        if reader.by_ref().take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line).map_err(failed)? == 0
        {
            break;
        }
        let text = match std::str::from_utf8(&line) {
            _ if line.len() > MAX_LINE_BYTES => Err(format!("longer than {} MiB", MAX_LINE_BYTES >> 20)),
            Ok(text) => Ok(text.trim_end_matches('\n')),
            Err(_) => Err("not text".to_owned()),
        };
        text.and_then(|text| merged.take(text)).map_err(|why| {
            Error::mistake(format!("{shown}:{number}: {why}"))
                .hint("`chaos report RUN --format hlog` writes such a log, as do HdrHistogram's log writers")
        })?;
    }
    Ok(())
}

fn unit(sign: &str) -> std::result::Result<Unit, String> {
    Unit::ALL.into_iter().find(|unit| unit.sign == sign).ok_or_else(|| {
        let signs: Vec<_> = Unit::ALL.iter().map(|unit| unit.sign).collect();
        format!("one of {}", signs.join(", "))
    })
}
