//! What happened when, each with the line of the journal that says so.

use super::super::story::{Level, Told, tell};
use super::super::{Case, text, wall};
use super::{first_onset_ns, offset};
use crate::event::Event;
use crate::report::sheet::{Cell, Sheet};

/// The most rows. A post-mortem is read by people, and the journal is one link away.
const ROWS_MAX: usize = 120;

/// Events that say the same, one after the other.
struct Row<'e> {
    told: Told<'e>,
    line: usize,
    times: u64,
}

pub(super) fn write(sheet: &mut Sheet, case: &Case<'_>) {
    let onset_ns = first_onset_ns(case);
    let zero_ns = onset_ns.unwrap_or(0);
    sheet.raw("## Timeline\n\n");
    sheet.raw(if onset_ns.is_some() {
        "`T+0` is the first onset of a fault; what a line says was noted a moment later.\n"
    } else {
        "No fault took effect: `T+0` is the run's start.\n"
    });
    let mut rows = rows(case);
    let left_out = rows.len().saturating_sub(ROWS_MAX);
    if left_out > 0 {
        // What matters most stays, in the order of time.
        let mut by_level: Vec<usize> = (0..rows.len()).collect();
        by_level.sort_by_key(|index| std::cmp::Reverse(rows[*index].told.level));
        let mut kept = vec![false; rows.len()];
        by_level.iter().take(ROWS_MAX).for_each(|index| kept[*index] = true);
        let mut kept = kept.into_iter();
        rows.retain(|_| kept.next().unwrap_or(false));
    }
    sheet.head(&["when:", "UTC", "what", "journal"]);
    for row in &rows {
        let when = offset(row.told.at_ns, zero_ns);
        let time = wall::at_ns(case, row.told.at_ns).unwrap_or_default();
        let time = time.split_once('T').map_or("", |(_, time)| time.trim_end_matches('Z'));
        let again =
            if row.times > 1 { format!(" ({} times)", text::count(row.times)) } else { String::new() };
        let what = format!("{}{again}", row.told.text);
        let what = if row.told.level >= Level::Warning { Cell::Strong(&what) } else { Cell::Text(&what) };
        sheet.row(&[Cell::Text(&when), Cell::Text(time), what, Cell::Line(row.line)]);
    }
    sheet.foot();
    if left_out > 0 {
        let left_out = text::count(left_out as u64);
        sheet.text(&left_out).raw(" events that matter less are left out; all are in journal.jsonl.\n\n");
    }
}

fn rows<'e>(case: &Case<'e>) -> Vec<Row<'e>> {
    let mut rows: Vec<Row<'e>> = Vec::new();
    for (line, entry) in case.lines() {
        // Preparations and figures are in the journal; what they came to is told elsewhere.
        if matches!(
            entry.event,
            Event::Armed { .. }
                | Event::Evidence { .. }
                | Event::Reach { .. }
                | Event::Tick(_)
                | Event::Load { .. }
        ) {
            continue;
        }
        let told = tell(&case.started.plan, entry);
        if told.level == Level::Debug {
            continue;
        }
        match rows.last_mut() {
            Some(last) if last.told.text == told.text => last.times += 1,
            _ => rows.push(Row { told, line, times: 1 }),
        }
    }
    rows.sort_by_key(|row| row.told.at_ns);
    rows
}
