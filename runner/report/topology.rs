//! What was hit, in its surroundings: which load asked where, which services there are and how much of each was hit,
//! and who reached whom before, during and after.
//!
//! Only what plan and journal know is drawn. A load leads to a service where the lab's published address is the one
//! that it asks; else to the address itself.

use std::collections::BTreeMap;

use super::markup::Page;
use super::{Case, text};
use crate::event::{Event, Look};
use crate::fault::reach::Reach;
use crate::plan::Plan;
use crate::spec::Request;

/// Containers of a service that are drawn one by one.
const BOXES_MAX: u32 = 24;

/// Members of a reachability matrix that fit a page.
const MEMBERS_MAX: usize = 24;

/// Addresses named for a load.
const PLACES_MAX: usize = 4;

/// The section; nothing where nothing is known.
pub(super) fn topology(page: &mut Page, case: &Case<'_>) {
    let plan = &case.started.plan;
    if plan.faults.is_empty() {
        return;
    }
    page.raw("<section id=\"topology\" aria-labelledby=\"topology-title\"><h2 id=\"topology-title\">What was hit</h2><div class=\"topology\">");
    page.raw("<div class=\"tier\"><h3>Load</h3>");
    let names = published(case);
    for load in &plan.loads {
        page.element("<div class=\"card\"><strong>", &load.name, "</strong>");
        let places = places(&load.load.requests.value);
        for place in places.iter().take(PLACES_MAX) {
            page.raw("<p class=\"sub\">→ ");
            if let Some(name) = names.get(place) {
                page.element("<strong>", name, "</strong>, ");
            }
            page.text(place).raw("</p>");
        }
        if places.len() > PLACES_MAX {
            page.raw("<p class=\"sub\">and ").number((places.len() - PLACES_MAX) as f64).raw(" more</p>");
        }
        page.raw("</div>");
    }
    page.raw("</div>");
    services(page, plan);
    hit(page, plan);
    page.raw("</div>");
    for fault in &plan.faults {
        if let Some(planned) = &fault.reach {
            reach(page, case, &fault.name, planned);
        }
    }
    page.raw("</section>");
}

/// The lab's published addresses: what is behind each.
fn published<'c>(case: &Case<'c>) -> BTreeMap<&'c str, &'c str> {
    let lab = |event: &'c Event| match event {
        Event::Lab { up: true, endpoints } => Some(endpoints),
        _ => None,
    };
    let endpoints = case.entries.iter().filter_map(|entry| lab(&entry.event)).flatten();
    endpoints.map(|(name, at)| (at.as_str(), name.as_str())).collect()
}

/// Hosts and ports that requests go to, each once.
fn places(requests: &[Request]) -> Vec<&str> {
    fn collect<'r>(requests: &'r [Request], places: &mut Vec<&'r str>) {
        for request in requests {
            let urls =
                [&request.get, &request.head, &request.post, &request.put, &request.patch, &request.delete];
            let urls = urls.into_iter().chain([&request.tcp]).flatten();
            for url in urls {
                let rest = url.value.split_once("://").map_or(url.value.as_str(), |(_, rest)| rest);
                let place = rest.split(['/', '?', '#']).next().unwrap_or(rest);
                if !places.contains(&place) {
                    places.push(place);
                }
            }
            collect(&request.steps, places);
        }
    }
    let mut found = Vec::new();
    collect(requests, &mut found);
    found
}

/// Services and how much of each was hit: a box a container.
fn services(page: &mut Page, plan: &Plan) {
    if plan.shares.is_empty() {
        return;
    }
    page.raw("<div class=\"tier\"><h3>Services</h3>");
    for share in &plan.shares {
        let said = format!("{} of {} hit", share.hit, share.of);
        page.element("<div class=\"card\"><strong>", &share.service, "</strong><p class=\"sub\">");
        page.text(&said).raw("</p>");
        if share.of <= BOXES_MAX {
            page.raw("<p class=\"boxes\" aria-hidden=\"true\">");
            for at in 0..share.of {
                page.raw(if at < share.hit { "<b>✕</b>" } else { "<i></i>" });
            }
            page.raw("</p>");
        }
        page.raw("</div>");
    }
    page.raw("</div>");
}

/// Containers that were hit, each with what hit it.
fn hit(page: &mut Page, plan: &Plan) {
    let mut faults: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for fault in &plan.faults {
        for step in &fault.steps {
            let of = faults.entry(&step.container).or_default();
            if !of.contains(&fault.name.as_str()) {
                of.push(&fault.name);
            }
        }
    }
    page.raw("<div class=\"tier\"><h3>Containers hit</h3>");
    for (container, faults) in faults.iter().take(MEMBERS_MAX) {
        page.element("<div class=\"card struck\"><strong>", container, "</strong>");
        for fault in faults {
            page.element("<p class=\"sub\">", fault, "</p>");
        }
        page.raw("</div>");
    }
    if faults.len() > MEMBERS_MAX {
        page.raw("<p class=\"sub\">and ").number((faults.len() - MEMBERS_MAX) as f64).raw(" more</p>");
    }
    page.raw("</div>");
}

/// Who reached whom among a fault's containers: as planned, before, during and after.
fn reach(page: &mut Page, case: &Case<'_>, fault: &str, planned: &Reach) {
    let look = |wanted: Look| {
        case.entries.iter().rev().find_map(|entry| match &entry.event {
            Event::Reach { fault: of, when, reach, .. } if of == fault && *when == wanted => Some(reach),
            _ => None,
        })
    };
    page.raw("<h3 class=\"reach-title\">Who reaches whom: ").text(fault).raw("</h3><p class=\"sub\">Rows send, columns receive, numbered as the rows are. ● arrives, ✕ does not; marked: not as planned.</p><div class=\"reaches\">");
    for (title, seen) in [
        ("planned", Some(planned)),
        ("before", look(Look::Before)),
        ("during", look(Look::During)),
        ("after", look(Look::After)),
    ] {
        page.element(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"",
            title,
            " matrix\">",
        );
        match seen {
            Some(seen) if seen.members.len() <= MEMBERS_MAX => {
                // Before and after, everyone is to reach whom they reached before.
                let wanted = match title {
                    "during" => Some(planned),
                    "after" => look(Look::Before),
                    _ => None,
                };
                matrix(page, title, seen, wanted);
            }
            Some(seen) => {
                page.raw("<p class=\"sub\">").text(title).raw(": ");
                page.number(seen.members.len() as f64)
                    .raw(" containers, too many for a table; the journal has it.</p>");
            }
            None => {
                page.raw("<p class=\"sub\">").text(title).raw(": nobody looked</p>");
            }
        }
        page.raw("</div>");
    }
    page.raw("</div>");
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
            let odd = wanted
                .is_some_and(|wanted| wanted.members == seen.members && wanted.reaches(from, to) != reaches);
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
