//! report.html: one page that says what happened, for people.
//!
//! It needs nothing but itself: style and script are inside, the policy in its head forbids loading anything,
//! and without the script only the hovering is missing. What a manager reads comes first, what an engineer
//! checks comes after. Plots are in `charts`, tables in `tables`.

use super::figures::figures;
use super::markup::Page;
use super::span::Span;
use super::terminal::verdict_word;
use super::{Case, Ink, charts, series, tables, text};
use crate::verdict::Verdict;

/// The page as HTML.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let span = Span::of(case);
    let phases = series::by_phase(case.entries, &case.judgement.phases);
    let mut page = Page::default();
    head(&mut page, case);
    opening(&mut page, case);
    tables::reasons(&mut page, case);
    charts::latency(&mut page, &span, &phases);
    charts::throughput(&mut page, &span, &phases);
    charts::percentiles(&mut page, &span, &phases);
    tables::capacities(&mut page, case);
    tables::checks(&mut page, case);
    tables::faults(&mut page, case);
    tables::slos(&mut page, case);
    tables::phases(&mut page, case);
    tables::self_watch(&mut page, case);
    tables::environment(&mut page, case);
    footer(&mut page, case);
    page.finish()
}

fn head(page: &mut Page, case: &Case<'_>) {
    page.raw(concat!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; ",
        "script-src 'unsafe-inline'; img-src data:\">\n",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
        "<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n<title>"
    ));
    let word = verdict_word(case.judgement.verdict);
    page.text(word).raw(": ").text(&case.judgement.experiment).raw("</title>\n<style>\n");
    page.raw(include_str!("assets/style.css")).raw("</style>\n</head>\n<body>\n<main>\n");
}

/// The verdict, the sentence and the three figures.
fn opening(page: &mut Page, case: &Case<'_>) {
    let judgement = case.judgement;
    page.raw("<header><p class=\"badge ").raw(verdict_class(judgement.verdict)).raw("\">");
    page.text(verdict_word(judgement.verdict)).raw("</p>");
    page.element("<h1>", &judgement.experiment, "</h1><p class=\"lead\">")
        .prose(&judgement.sentence)
        .raw("</p>");
    if let Some(why) = &judgement.why {
        page.raw("<p class=\"why\">").prose(why).raw("</p>");
    }
    page.raw("<p class=\"meta\"><span>run ").text(&judgement.run).raw("</span><span><time");
    page.attr("datetime", &judgement.started)
        .raw(">")
        .text(&wall(&judgement.started))
        .raw("</time></span><span>took ");
    page.text(&text::s(judgement.duration_s)).raw("</span><span>exit ").number(judgement.exit_code.into());
    page.raw("</span></p>");
    if let Some(why) = case.cut_short {
        page.raw("<p class=\"cut\"><strong>The journal was cut short:</strong> ").prose(why).raw("</p>");
    }
    page.raw("</header><section class=\"figures\" aria-label=\"Key figures\">");
    for figure in figures(case) {
        page.element("<div><h2>", &figure.label, "</h2><p class=\"big\">").text(&figure.value);
        page.raw("</p><p class=\"sub\">").text(&figure.context).raw("</p></div>");
    }
    page.raw("</section>");
}

/// The wall-clock time for people, in UTC as it was written: `2026-03-01 10:00:00 UTC`.
fn wall(rfc3339: &str) -> String {
    match rfc3339.strip_suffix('Z').and_then(|local| local.split_once('T')) {
        Some((date, time)) => format!("{date} {} UTC", time.split('.').next().unwrap_or(time)),
        None => rfc3339.to_owned(),
    }
}

const fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "good",
        Verdict::Failed | Verdict::Unhealed => "bad",
        Verdict::Invalid | Verdict::BaselineUnmet | Verdict::Aborted => "doubt",
    }
}

fn footer(page: &mut Page, case: &Case<'_>) {
    page.raw("<footer><p>Made by chaos ").text(&case.started.version);
    page.raw(concat!(
        " from the run's journal alone. A request belongs to the phase in which it was due, whenever it ended; ",
        "latency is counted from that instant, so a stalled server is seen as its users see it. Times are ",
        "kept to three significant digits, shares are rounded towards the worse.</p></footer>\n</main>\n<script>\n"
    ));
    page.raw(include_str!("assets/script.js")).raw("</script>\n</body>\n</html>\n");
}
