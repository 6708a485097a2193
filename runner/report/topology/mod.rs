//! What was hit, in its surroundings: which load asked where, which services there are and how much of each was hit,
//! whom faults came between, and who reached whom before, during and after.
//!
//! Only what plan and journal know is drawn. A load leads to a service where the lab's published address is the one
//! that it asks; else to the address itself. What is drawn stands below in a table, too. Start at [`topology`];
//! `map` finds out what there is, `drawing` draws it, `reach` makes the matrices.

mod drawing;
mod map;
mod reach;

use super::markup::Page;
use super::tables::open;
use super::{Case, text};
use map::{End, Group, Map};

/// Containers in the table, beyond which it is folded away; and the most it has.
const FOLDED_FROM: usize = 8;
const ROWS_MAX: usize = 300;

/// The section; nothing where nothing was to be hit.
pub(super) fn topology(page: &mut Page, case: &Case<'_>) {
    let plan = &case.started.plan;
    if plan.faults.is_empty() {
        return;
    }
    let map = Map::of(case);
    page.raw("<section id=\"topology\" aria-labelledby=\"topology-title\"><h2 id=\"topology-title\">What was hit</h2>");
    legend(page, &map);
    drawing::draw(page, &map, &spoken(&map));
    table(page, &map);
    for fault in &plan.faults {
        if let Some(planned) = &fault.reach {
            reach::reach(page, case, &fault.name, planned);
        }
    }
    page.raw("</section>");
}

fn legend(page: &mut Page, map: &Map) {
    page.raw("<p class=\"sub\">Solid lines: requests");
    if map.edges.iter().any(|edge| !edge.faults.is_empty()) {
        page.raw("; dashed: a fault on what one sends the other");
    }
    page.raw(". ✕ was hit");
    if map.sides > 0 {
        page.raw("; a letter is the side of a partition: ");
        let sides: Vec<String> = (0..map.sides)
            .map(|side| {
                let members = map.groups.iter().flat_map(|group| &group.members);
                let count = members.filter(|member| member.side == Some(side)).count();
                format!("{} has {count}", drawing::side_name(side))
            })
            .collect();
        page.prose(&sides.join(", "));
    }
    page.raw(".</p>");
}

/// The picture in words.
fn spoken(map: &Map) -> String {
    let name = |name: &str| text::clean(name, 40);
    let mut said: Vec<String> = Vec::new();
    for edge in &map.edges {
        let to = name(&map.groups[edge.to].name);
        said.push(match edge.from {
            End::Load(load) => format!("load {} sends to {to}", name(&map.loads[load])),
            End::Group(group) => {
                format!("{} from {} to {to}", edge.faults.join(", "), name(&map.groups[group].name))
            }
        });
    }
    for group in map.groups.iter().filter(|group| group.hit() > 0) {
        said.push(format!("of {} {} of {} hit", name(&group.name), group.hit(), group.members.len()));
    }
    format!("Map: {}. The containers are in the table below.", said.join("; "))
}

/// Every container with what hit it.
fn table(page: &mut Page, map: &Map) {
    let members = map.groups.iter().flat_map(|group| group.members.iter().map(move |member| (group, member)));
    let hit: Vec<_> = members.filter(|(_, member)| !member.faults.is_empty()).collect();
    let folded = hit.len() > FOLDED_FROM;
    if folded {
        page.raw("<details><summary>").number(hit.len() as f64).raw(" containers hit, by name</summary>");
    }
    open(page, "Containers hit");
    page.raw("<thead><tr><th scope=\"col\">Container</th><th scope=\"col\">Service</th><th scope=\"col\">Faults</th>");
    page.raw(if map.sides > 0 { "<th scope=\"col\">Side</th>" } else { "" }).raw("</tr></thead><tbody>");
    for (group, member) in hit.iter().take(ROWS_MAX) {
        let group: &Group = group;
        page.element("<tr><th scope=\"row\">", &member.name, "</th>").element("<td>", &group.name, "</td>");
        page.element("<td>", &member.faults.join(", "), "</td>");
        if map.sides > 0 {
            page.element("<td>", &member.side.map_or_else(String::new, drawing::side_name), "</td>");
        }
        page.raw("</tr>");
    }
    page.raw("</tbody></table></div>");
    if hit.len() > ROWS_MAX {
        page.raw("<p class=\"sub\">and ").number((hit.len() - ROWS_MAX) as f64).raw(" more</p>");
    }
    page.raw(if folded { "</details>" } else { "" });
}
