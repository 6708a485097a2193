//! report.html: one page that says what happened, for people.
//!
//! It needs nothing but itself: style and script are inside, the policy in its head forbids everything else, and
//! without the script only zooming and hovering are missing. What a manager reads comes first, what an engineer
//! checks comes after. Each section is one file: start at [`render`].

use super::figures::figures;
use super::markup::Page;
use super::series::Sum;
use super::span::Span;
use super::terminal::verdict_word;
use super::{
    Case, Ink, board, checks, colophon, curves, evidence, gauges, probes, series, tables, text, timings,
    topology, wall,
};
use crate::verdict::Verdict;

/// The page as HTML.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let span = Span::of(case);
    let phases = series::by_phase(case.entries, &case.judgement.phases);
    let mut page = Page::default();
    page.head(verdict_word(case.judgement.verdict), &case.judgement.experiment);
    opening(&mut page, case);
    contents(&mut page, case, &phases);
    page.raw("<main id=\"main\">");
    key_figures(&mut page, case);
    checks::reasons(&mut page, case);
    board::board(&mut page, case, &span, &phases);
    timings::timings(&mut page, case);
    curves::percentiles(&mut page, &span, &phases);
    gauges::slos(&mut page, case);
    topology::topology(&mut page, case);
    evidence::faults(&mut page, case);
    checks::checks(&mut page, case, &span);
    probes::probes(&mut page, case, &span);
    tables::capacities(&mut page, case);
    tables::phases(&mut page, case);
    colophon::self_watch(&mut page, case);
    colophon::environment(&mut page, case);
    page.raw("</main>\n");
    footer(&mut page, case);
    page.finish()
}

/// Links to the sections that there are.
fn contents(page: &mut Page, case: &Case<'_>, phases: &[Sum]) {
    let judgement = case.judgement;
    page.raw("<nav aria-label=\"Sections\"><ul>");
    for (there, link) in [
        (!judgement.reasons.is_empty(), "<li><a href=\"#why\">Why</a></li>"),
        (true, "<li><a href=\"#timeline\">Timeline</a></li>"),
        (timings::any(case), "<li><a href=\"#timings\">Timings</a></li>"),
        (
            phases.iter().any(|sum| sum.latency.count() > 0),
            "<li><a href=\"#percentiles\">Percentiles</a></li>",
        ),
        (!judgement.slos.is_empty(), "<li><a href=\"#objectives\">Objectives</a></li>"),
        (!case.started.plan.faults.is_empty(), "<li><a href=\"#topology\">What was hit</a></li>"),
        (!judgement.faults.is_empty(), "<li><a href=\"#faults\">Faults</a></li>"),
        (true, "<li><a href=\"#checks\">Checks</a></li>"),
        (probes::any(case), "<li><a href=\"#probes\">Probes</a></li>"),
        (!judgement.capacities.is_empty(), "<li><a href=\"#capacity\">Capacity</a></li>"),
        (!judgement.phases.is_empty(), "<li><a href=\"#phases\">Phases</a></li>"),
        (true, "<li><a href=\"#again\">Do it again</a></li>"),
    ] {
        page.raw(if there { link } else { "" });
    }
    page.raw("</ul></nav>");
}

/// The verdict, the sentence and the three figures.
fn opening(page: &mut Page, case: &Case<'_>) {
    let judgement = case.judgement;
    page.raw("<a class=\"skip\" href=\"#main\">Skip to the figures</a><header><button type=\"button\" id=\"theme\" hidden>Theme: as the system</button><p class=\"badge ").raw(verdict_class(judgement.verdict)).raw("\">");
    page.text(verdict_word(judgement.verdict)).raw("</p>");
    page.element("<h1>", &judgement.experiment, "</h1><p class=\"lead\">")
        .prose(&judgement.sentence)
        .raw("</p>");
    if let Some(why) = &judgement.why {
        page.raw("<p class=\"why\">").prose(why).raw("</p>");
    }
    page.raw("<p class=\"meta\">");
    if !judgement.run.is_empty() {
        page.element("<span>run ", &judgement.run, "</span>");
    }
    page.raw("<span><time");
    page.attr("datetime", &judgement.started)
        .raw(">")
        .text(&wall::start(&judgement.started))
        .raw("</time></span><span>took ");
    page.text(&text::s(judgement.duration_s)).raw("</span><span>exit ").number(judgement.exit_code.into());
    page.raw("</span></p>");
    if let Some(why) = case.cut_short {
        page.raw("<p class=\"cut\"><strong>The journal was cut short:</strong> ").prose(why).raw("</p>");
    }
    page.raw("</header>");
}

fn key_figures(page: &mut Page, case: &Case<'_>) {
    page.raw("<section class=\"figures\" aria-label=\"Key figures\">");
    for figure in figures(case) {
        page.element("<div class=\"card\"><h2>", &figure.label, "</h2><p class=\"big\">").text(&figure.value);
        page.raw("</p><p class=\"sub\">").text(&figure.context).raw("</p></div>");
    }
    page.raw("</section>");
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
        " from what was noted as it happened, and nothing else. A request belongs to the phase in which it was due, whenever it ended; ",
        "latency is counted from that instant, so a stalled server is seen as its users see it. Times are ",
        "kept to three significant digits, shares are rounded towards the worse.</p></footer>\n"
    ));
    page.script().raw("</body>\n</html>\n");
}
