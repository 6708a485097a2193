//! What probes answered: how often which way and how fast, and each answer on the time axis of the timeline.
//!
//! A probe that is asked every second answers 3,600 times in an hour, and mostly the same. So answers in a row that say
//! the same are one row of the table where there would be too many: none is lost, and every change is seen.

use super::markup::Page;
use super::samples::{Answer, Samples, samples};
use super::span::Span;
use super::tables::open;
use super::{Case, text};

/// The most rows of one probe, beyond which answers that say the same are joined.
const ROWS_MAX: usize = 120;

/// The most rows of one probe, joined.
const JOINED_MAX: usize = 400;

/// True if any probe was asked.
pub(super) fn any(case: &Case<'_>) -> bool {
    !samples(case).is_empty()
}

/// The section.
pub(super) fn probes(page: &mut Page, case: &Case<'_>, span: &Span) {
    let samples = samples(case);
    if samples.is_empty() {
        return;
    }
    page.raw("<section id=\"probes\" aria-labelledby=\"probes-title\"><h2 id=\"probes-title\">Probes</h2>");
    open(page, "Probes");
    page.raw("<thead><tr><th scope=\"col\">Probe</th>");
    for column in ["Asked", "Yes", "No", "No data", "Median took", "Longest took"] {
        page.element("<th scope=\"col\" class=\"n\">", column, "</th>");
    }
    page.raw("</tr></thead><tbody>");
    for of in &samples {
        page.raw("<tr><th scope=\"row\">").prose(of.probe).raw("</th>");
        let counts = [of.answers.len() as u64, of.count(Some(true)), of.count(Some(false)), of.count(None)];
        let counts = counts.into_iter().map(text::count);
        for figure in counts.chain([0.5, 1.0].map(|share| text::ms(of.took_ms(share)))) {
            page.element("<td class=\"n\">", &figure, "</td>");
        }
        page.raw("</tr>");
    }
    page.raw("</tbody></table></div>");
    samples.iter().for_each(|of| answers(page, of, span));
    page.raw("</section>");
}

/// Answers in a row that say the same.
struct Stretch<'s, 'e> {
    first: &'s Answer<'e>,
    last: &'s Answer<'e>,
    times: u64,
    fastest_ms: f64,
    slowest_ms: f64,
}

fn stretches<'s, 'e>(of: &'s Samples<'e>) -> Vec<Stretch<'s, 'e>> {
    let joined = of.answers.len() > ROWS_MAX;
    let mut found: Vec<Stretch<'s, 'e>> = Vec::new();
    for answer in &of.answers {
        match found.last_mut() {
            Some(open) if joined && open.last.ok == answer.ok && open.last.detail == answer.detail => {
                open.last = answer;
                open.times += 1;
                open.fastest_ms = open.fastest_ms.min(answer.took_ms);
                open.slowest_ms = open.slowest_ms.max(answer.took_ms);
            }
            _ => found.push(Stretch {
                first: answer,
                last: answer,
                times: 1,
                fastest_ms: answer.took_ms,
                slowest_ms: answer.took_ms,
            }),
        }
    }
    found
}

/// Every answer of a probe, folded away.
fn answers(page: &mut Page, of: &Samples<'_>, span: &Span) {
    page.raw("<details class=\"values\"><summary>Answers of ").text(of.probe).raw("</summary>");
    page.raw("<div class=\"scroll tall\" tabindex=\"0\" role=\"region\"");
    page.attr("aria-label", &format!("Answers of {}", of.probe)).raw("><table><thead><tr>");
    for column in ["when", "phase", "answer", "times", "took", "attempts", "what came back"] {
        page.element("<th scope=\"col\">", column, "</th>");
    }
    page.raw("</tr></thead><tbody>");
    let stretches = stretches(of);
    for stretch in stretches.iter().take(JOINED_MAX) {
        row(page, stretch, span);
    }
    page.raw("</tbody></table></div>");
    if stretches.len() > JOINED_MAX {
        page.raw("<p class=\"sub\">and ").text(&text::count((stretches.len() - JOINED_MAX) as u64));
        page.raw(" more, which the journal and the form <code>probes</code> have.</p>");
    }
    page.raw("</details>");
}

fn row(page: &mut Page, stretch: &Stretch<'_, '_>, span: &Span) {
    let Stretch { first, last, times, fastest_ms, slowest_ms } = stretch;
    page.raw("<tr><th scope=\"row\"><a href=\"#timeline\"");
    page.attr_number("data-a", span.x(first.at_s), "").attr_number("data-b", span.x(last.at_s), "").raw(">");
    let until = if *times > 1 { format!(" to {:.3} s", last.at_s) } else { String::new() };
    page.text(&format!("{:.3} s{until}", first.at_s)).raw("</a></th>");
    let asked = first.moment.map_or_else(|| span.phase_at(first.at_s), |moment| moment.word());
    page.element("<td>", asked, "</td><td>");
    page.raw(match first.ok {
        Some(true) => "<span class=\"tag good\">",
        Some(false) => "<span class=\"tag bad\">",
        None => "<span class=\"tag doubt\">",
    });
    page.raw(first.word()).element("</span></td><td class=\"n\">", &text::count(*times), "</td>");
    let took = if text::ms(*fastest_ms) == text::ms(*slowest_ms) {
        text::ms(*slowest_ms)
    } else {
        format!("{} to {}", text::ms(*fastest_ms), text::ms(*slowest_ms))
    };
    page.element("<td class=\"n\">", &took, "</td>");
    page.element("<td class=\"n\">", &first.attempts.to_string(), "</td>");
    page.raw("<td class=\"wide\">").text(first.detail).raw("</td></tr>");
}
