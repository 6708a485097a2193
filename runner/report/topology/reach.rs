//! Who reached whom among a fault's containers: as planned, before, during and after.
//!
//! Few containers make a table that can be read cell by cell; many make a picture, with a list in words beside it.

use crate::event::{Event, Look};
use crate::fault::reach::Reach;
use crate::report::markup::Page;
use crate::report::{Case, text};

/// Members whose matrix is a table.
const TABLE_MAX: usize = 16;

/// Members whose matrix is drawn at all.
const DRAWN_MAX: usize = 120;

/// Pixels of a cell that is drawn.
const CELL: f64 = 9.0;

/// Room for the numbers left of the drawn rows and above the columns.
const EDGE: f64 = 26.0;

/// The four of them.
pub(super) fn reach(page: &mut Page, case: &Case<'_>, fault: &str, planned: &Reach) {
    let look = |wanted: Look| {
        case.entries.iter().rev().find_map(|entry| match &entry.event {
            Event::Reach { fault: of, when, reach, .. } if of == fault && *when == wanted => Some(reach),
            _ => None,
        })
    };
    page.raw("<h3 class=\"reach-title\">Who reaches whom: ").text(fault).raw("</h3><p class=\"sub\">");
    page.raw(if planned.members.len() <= TABLE_MAX {
        "Rows send, columns receive, numbered as the rows are. ● arrives, ✕ does not; marked: not as planned."
    } else {
        "Rows send, columns receive, by number. Filled: does not arrive; with an edge: not as planned."
    });
    page.raw("</p><div class=\"reaches\">");
    for (title, seen) in [
        ("planned", Some(planned)),
        ("before", look(Look::Before)),
        ("during", look(Look::During)),
        ("after", look(Look::After)),
    ] {
        page.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\"");
        page.attr("aria-label", &format!("Who reaches whom, {title}: {fault}")).raw(">");
        match seen {
            Some(seen) => {
                // Before and after, everyone is to reach whom they reached before.
                let wanted = match title {
                    "during" => Some(planned),
                    "after" => look(Look::Before),
                    _ => None,
                };
                let wanted = wanted.filter(|wanted| wanted.members == seen.members);
                match seen.members.len() {
                    few if few <= TABLE_MAX => matrix(page, title, seen, wanted),
                    several if several <= DRAWN_MAX => picture(page, title, seen, wanted),
                    many => {
                        page.raw("<p class=\"sub\">").text(title).raw(": ").number(many as f64);
                        page.raw(" containers, too many to draw; the journal has it.</p>");
                    }
                }
            }
            None => {
                page.raw("<p class=\"sub\">").text(title).raw(": nobody looked</p>");
            }
        }
        page.raw("</div>");
    }
    page.raw("</div>");
    if planned.members.len() > TABLE_MAX {
        in_words(page, fault, planned, look(Look::During));
    }
}

fn matrix(page: &mut Page, title: &str, seen: &Reach, wanted: Option<&Reach>) {
    page.raw("<table class=\"reach\"><caption>")
        .text(title)
        .raw("</caption><thead><tr><th scope=\"col\">from \\ to</th>");
    for number in 1..=seen.members.len() {
        page.raw("<th scope=\"col\">").number(number as f64).raw("</th>");
    }
    page.raw("</tr></thead><tbody>");
    for (from, member) in seen.members.iter().enumerate() {
        page.raw("<tr><th scope=\"row\">")
            .number((from + 1) as f64)
            .raw(" ")
            .text(&text::clean(member, 40))
            .raw("</th>");
        for to in 0..seen.members.len() {
            if from == to {
                page.raw("<td class=\"self\"></td>");
                continue;
            }
            let reaches = seen.reaches(from, to);
            let odd = wanted.is_some_and(|wanted| wanted.reaches(from, to) != reaches);
            page.raw(match (reaches, odd) {
                (true, false) => "<td class=\"yes\">●</td>",
                (false, false) => "<td class=\"no\">✕</td>",
                (true, true) => "<td class=\"yes odd\">●!</td>",
                (false, true) => "<td class=\"no odd\">✕!</td>",
            });
        }
        page.raw("</tr>");
    }
    page.raw("</tbody></table>");
}

/// Many containers: a cell is a little square, filled where packets do not arrive.
fn picture(page: &mut Page, title: &str, seen: &Reach, wanted: Option<&Reach>) {
    let count = seen.members.len();
    let side = EDGE + count as f64 * CELL;
    let lost = (0..count).map(|from| seen.lost_from(from).len()).sum::<usize>();
    let odd = |from, to| wanted.is_some_and(|wanted| wanted.reaches(from, to) != seen.reaches(from, to));
    let odds = seen.pairs().filter(|(from, to)| odd(*from, *to)).count();
    page.raw("<p class=\"reach-name\">").text(title).raw("</p><svg class=\"reach-map\" role=\"img\"");
    // The last column's number is wider than the column.
    page.attr_number("width", side + CELL, "").attr_number("height", side, "").raw(" aria-label=\"");
    let not = if odds > 0 { format!(", {odds} of them not as planned") } else { String::new() };
    page.prose(&format!(
        "{title}: of {} ways between {count} containers {lost} are cut{not}",
        seen.pairs().count()
    ));
    page.raw("\">");
    for number in (1..=count).filter(|number| *number == 1 || number % 10 == 0) {
        let middle = EDGE + (number as f64 - 0.5) * CELL;
        page.raw("<text class=\"y\"").attr_number("x", EDGE - 5.0, "").attr_number("y", middle + 4.0, "");
        page.raw(">").number(number as f64).raw("</text><text class=\"x\"").attr_number("x", middle, "");
        page.attr_number("y", EDGE - 8.0, "").raw(">").number(number as f64).raw("</text>");
    }
    page.raw("<rect class=\"reached\"").attr_number("x", EDGE, "").attr_number("y", EDGE, "");
    page.attr_number("width", side - EDGE, "").attr_number("height", side - EDGE, "").raw("/>");
    // One path for all cells that look the same: thousands of them would cost a megabyte.
    for (class, among) in [
        ("<path class=\"itself\" d=\"", 0),
        ("<path class=\"lost\" d=\"", 1),
        ("<path class=\"odd\" d=\"", 2),
    ] {
        page.raw(class);
        for from in 0..count {
            for to in 0..count {
                let here = match among {
                    0 => from == to,
                    1 => from != to && !seen.reaches(from, to),
                    _ => from != to && odd(from, to),
                };
                if here {
                    page.raw("M").number(EDGE + to as f64 * CELL).raw(" ").number(EDGE + from as f64 * CELL);
                    page.raw("h8v8h-8z");
                }
            }
        }
        page.raw("\"/>");
    }
    page.raw("</svg>");
}

/// What the pictures show, a row a container.
fn in_words(page: &mut Page, fault: &str, planned: &Reach, during: Option<&Reach>) {
    page.raw("<details><summary>Whom each does not reach, by number</summary>");
    super::open(page, &format!("whom each does not reach, {fault}"));
    page.raw("<thead><tr><th scope=\"col\" class=\"n\">No.</th><th scope=\"col\">Container</th><th scope=\"col\">planned</th><th scope=\"col\">during</th></tr></thead><tbody>");
    for (number, member) in planned.members.iter().enumerate() {
        page.raw("<tr><td class=\"n\">").number(number as f64 + 1.0).raw("</td><th scope=\"row\">");
        page.text(member).raw("</th><td>").prose(&ranges(&planned.lost_from(number))).raw("</td><td>");
        let seen = during.filter(|during| during.members == planned.members);
        page.prose(&seen.map_or_else(|| "nobody looked".into(), |seen| ranges(&seen.lost_from(number))));
        page.raw("</td></tr>");
    }
    page.raw("</tbody></table></div></details>");
}

/// Indices as numbers from 1: `1 to 3, 7`; `none`.
fn ranges(indices: &[usize]) -> String {
    let mut out: Vec<String> = Vec::new();
    for run in indices.chunk_by(|one, next| one + 1 == *next) {
        out.push(match run {
            [one] => (one + 1).to_string(),
            [first, .., last] => format!("{} to {}", first + 1, last + 1),
            [] => continue,
        });
    }
    if out.is_empty() { "none".into() } else { out.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_one_range() {
        assert_eq!(ranges(&[]), "none");
        assert_eq!(ranges(&[0, 1, 2, 6, 8, 9]), "1 to 3, 7, 9 to 10");
    }
}
