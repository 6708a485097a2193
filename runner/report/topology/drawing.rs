//! The map as a picture: loads on the left, services with their containers in the middle, edges between them.
//!
//! Few containers have their names in boxes; many are small squares, and the table below names those that were hit.
//! Text keeps its size: where the page is narrower than the picture, it scrolls.

use super::map::{End, Group, Map, Member};
use crate::report::markup::Page;
use crate::report::text;

/// Sizes in pixels.
const LOAD_WIDTH: f64 = 190.0;
const GAP: f64 = 110.0;
const GROUP_WIDTH: f64 = 560.0;
/// Room right of the groups, for edges between them.
const ARCS: f64 = 150.0;
const TITLE: f64 = 30.0;
const PAD: f64 = 12.0;
const BETWEEN: f64 = 16.0;
const BOX: (f64, f64) = (172.0, 40.0);
const SQUARE: f64 = 22.0;
const SPACE: f64 = 6.0;

/// Containers of a group that have their names in boxes.
const NAMED_MAX: usize = 12;

/// Loads, groups and containers of a group that are drawn.
const LOADS_MAX: usize = 12;
const GROUPS_MAX: usize = 24;
const SQUARES_MAX: usize = 300;

/// Pixels of a letter, about.
const LETTER: f64 = 7.2;

/// The picture; `spoken` says what it shows.
pub(super) fn draw(page: &mut Page, map: &Map, spoken: &str) {
    let groups = &map.groups[..map.groups.len().min(GROUPS_MAX)];
    let loads = map.loads.len().min(LOADS_MAX);
    let mut tops = Vec::new();
    let mut bottom = 0.0;
    for group in groups {
        tops.push(bottom);
        bottom += height(group) + BETWEEN;
    }
    let load_height = TITLE + PAD;
    let loads_height = loads as f64 * (load_height + BETWEEN) - BETWEEN;
    let whole = (bottom - BETWEEN).max(loads_height).max(load_height);
    // At the top, beside the services that they enter by.
    let load_y = |at: usize| at as f64 * (load_height + BETWEEN);
    let group_x = LOAD_WIDTH + GAP;
    let middle = |at: usize| tops[at] + height(&groups[at]).min(2.0 * TITLE) / 2.0;

    page.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Map\"><svg class=\"map\" role=\"img\"");
    page.attr_number("width", group_x + GROUP_WIDTH + ARCS, "").attr_number("height", whole + 2.0, "");
    page.raw(" aria-label=\"").prose(spoken).raw("\">");
    for (number, edge) in map.edges.iter().filter(|edge| edge.to < groups.len()).enumerate() {
        let to_y = middle(edge.to);
        match edge.from {
            End::Load(load) if load < loads => {
                let from = (LOAD_WIDTH, load_y(load) + TITLE / 2.0 + 3.0);
                arrow(page, "way", from, (group_x, to_y), (LOAD_WIDTH + GAP / 2.0, group_x - GAP / 2.0));
            }
            End::Group(group) if group < groups.len() => {
                // Each further arc bows further out, so that none hides another.
                let right = group_x + GROUP_WIDTH;
                let out = right + 40.0 + 14.0 * (number % 4) as f64;
                let from = (right, middle(group) + 4.0 * (number % 3) as f64);
                arrow(page, "way cut", from, (right, to_y), (out, out));
                let label = text::clean(&edge.faults.join(", "), 60);
                let x = right + (out - right) * 0.78 + 4.0;
                page.raw("<text class=\"on\"").attr_number("x", x, "");
                page.attr_number("y", f64::midpoint(from.1, to_y) + 4.0, "").raw(">");
                page.text(&fit(&label, ARCS - (x - right))).raw("</text>");
            }
            _ => {}
        }
    }
    for (at, load) in map.loads.iter().take(loads).enumerate() {
        frame(page, "node", (1.0, load_y(at) + 1.0), (LOAD_WIDTH - 2.0, load_height));
        label(page, "load", (PAD, load_y(at) + 18.0));
        page.raw("<text class=\"name\"").attr_number("x", PAD, "").attr_number("y", load_y(at) + 35.0, "");
        page.raw(">").text(&fit(load, LOAD_WIDTH - 2.0 * PAD)).raw("</text>");
    }
    for (group, top) in groups.iter().zip(&tops) {
        self::group(page, group, (group_x, *top + 1.0));
    }
    page.raw("</svg></div>");
    let left_out = map.loads.len() - loads + map.groups.len() - groups.len();
    if left_out > 0 {
        page.raw("<p class=\"sub\">").number(left_out as f64).raw(" more are not drawn.</p>");
    }
}

/// Boxes or squares beside each other, their size, and how many rows they make.
fn grid(group: &Group) -> (usize, (f64, f64), usize) {
    let size = if named(group) { BOX } else { (SQUARE, SQUARE) };
    let across = ((GROUP_WIDTH - 2.0 * PAD + SPACE) / (size.0 + SPACE)).floor() as usize;
    (across, size, group.members.len().min(SQUARES_MAX).div_ceil(across))
}

fn named(group: &Group) -> bool {
    group.members.len() <= NAMED_MAX
}

fn height(group: &Group) -> f64 {
    let (_, (_, high), rows) = grid(group);
    let inside = if rows == 0 { 0.0 } else { rows as f64 * (high + SPACE) - SPACE + PAD };
    TITLE + PAD / 2.0 + inside
}

fn group(page: &mut Page, group: &Group, (x, y): (f64, f64)) {
    frame(page, "node", (x, y), (GROUP_WIDTH, height(group) - 1.0));
    page.raw("<text class=\"name\"").attr_number("x", x + PAD, "").attr_number("y", y + 21.0, "").raw(">");
    page.text(&fit(&group.name, GROUP_WIDTH * 0.6)).raw("</text>");
    let said = match (group.hit(), group.members.len()) {
        (_, 0) => "not hit".to_owned(),
        (hit, of) => format!("{hit} of {of} hit"),
    };
    page.raw("<text class=\"y\"").attr_number("x", x + GROUP_WIDTH - PAD, "").attr_number("y", y + 21.0, "");
    page.raw(">").text(&said).raw("</text>");
    let (across, (wide, high), _) = grid(group);
    for (at, member) in group.members.iter().take(SQUARES_MAX).enumerate() {
        let (column, row) = (at % across, at / across);
        let corner =
            (x + PAD + column as f64 * (wide + SPACE), y + TITLE + PAD / 2.0 + row as f64 * (high + SPACE));
        container(page, member, corner, (wide, high));
    }
}

/// One container: in a box with its name, or as a square; a cross and its own colour if it was hit.
fn container(page: &mut Page, member: &Member, (x, y): (f64, f64), (wide, high): (f64, f64)) {
    let hit = !member.faults.is_empty();
    let side = member.side.map_or_else(String::new, side_name);
    let faults = member.faults.join(", ");
    page.raw(if hit { "<g class=\"struck\">" } else { "<g class=\"spared\">" }).raw("<title>");
    page.text(if member.name.is_empty() { "a container" } else { &member.name });
    page.raw(": ").text(if hit { &faults } else { "not hit" });
    if !side.is_empty() {
        page.raw(", side ").text(&side);
    }
    page.raw("</title>");
    frame(page, "container", (x, y), (wide, high));
    if wide > 2.0 * SQUARE {
        let room = wide - 2.0 * SPACE - if side.is_empty() { 0.0 } else { 16.0 };
        page.raw("<text class=\"name\"")
            .attr_number("x", x + SPACE, "")
            .attr_number("y", y + 16.0, "")
            .raw(">");
        let name = if member.name.is_empty() { "not hit" } else { member.name.as_str() };
        page.text(&fit(name, room)).raw("</text>");
        let below = if hit { format!("✕ {faults}") } else { String::new() };
        page.raw("<text").attr_number("x", x + SPACE, "").attr_number("y", y + 32.0, "").raw(">");
        page.text(&fit(&below, wide - 2.0 * SPACE)).raw("</text>");
        page.raw("<text class=\"y side\"").attr_number("x", x + wide - SPACE, "");
        page.attr_number("y", y + 16.0, "").raw(">").text(&side).raw("</text>");
    } else {
        let mark = match (hit, side.as_str()) {
            (true, "") => "✕",
            (_, side) => side,
        };
        page.raw("<text class=\"x\"").attr_number("x", x + wide / 2.0, "");
        page.attr_number("y", y + high / 2.0 + 4.0, "").raw(">").text(mark).raw("</text>");
    }
    page.raw("</g>");
}

/// The letter of a side: A to Z, then numbers.
pub(super) fn side_name(side: usize) -> String {
    u8::try_from(side)
        .ok()
        .filter(|side| *side < 26)
        .map_or_else(|| (side + 1).to_string(), |side| char::from(b'A' + side).to_string())
}

fn frame(page: &mut Page, class: &'static str, (x, y): (f64, f64), (wide, high): (f64, f64)) {
    page.raw("<rect class=\"").raw(class).raw("\" rx=\"6\"").attr_number("x", x, "").attr_number("y", y, "");
    page.attr_number("width", wide, "").attr_number("height", high, "").raw("/>");
}

fn label(page: &mut Page, text: &'static str, (x, y): (f64, f64)) {
    page.raw("<text").attr_number("x", x, "").attr_number("y", y, "").raw(">").raw(text).raw("</text>");
}

/// An arrow that leaves and arrives level, by way of two bends.
fn arrow(page: &mut Page, class: &'static str, from: (f64, f64), to: (f64, f64), bends: (f64, f64)) {
    page.raw("<path class=\"").raw(class).raw("\" d=\"M").number(from.0).raw(" ").number(from.1);
    page.raw("C").number(bends.0).raw(" ").number(from.1).raw(" ").number(bends.1).raw(" ").number(to.1);
    page.raw(" ").number(to.0).raw(" ").number(to.1).raw("\"/>");
    // Its head, on the side that it comes from.
    let back = if bends.1 < to.0 { -7.0 } else { 7.0 };
    page.raw("<path class=\"head\" d=\"M").number(to.0).raw(" ").number(to.1).raw("l").number(back);
    page.raw(" -4v8z\"/>");
}

/// `name` in so many pixels.
fn fit(name: &str, pixels: f64) -> String {
    text::clean(name, ((pixels / LETTER) as usize).max(2))
}
