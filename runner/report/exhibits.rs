//! Evidence in words: what a figure rests on, so that a reader can find the same in the journal.

use super::text;
use crate::verdict::Exhibit;

/// The whole of it in a sentence: `p99(latency) is 512ms (498ms to 530ms with 95% confidence), from the latency
/// histogram of load shoppers: 80,000 requests, 20.0 s to 60.1 s, 41 entries of the journal`.
pub(super) fn sentence(exhibit: &Exhibit) -> String {
    let value = exhibit.value.as_deref().unwrap_or("without data");
    let sure = confidence(exhibit).map_or_else(String::new, |sure| format!(" ({sure})"));
    format!("{} is {value}{sure}, from {}", exhibit.figure, origin(exhibit))
}

/// Where it was read: `the latency histogram of load shoppers: 80,000 requests, 20.0 s to 60.1 s, 41 entries of the
/// journal`.
pub(super) fn origin(exhibit: &Exhibit) -> String {
    let rest: Vec<String> = [count(exhibit), span(exhibit), entries(exhibit)].into_iter().flatten().collect();
    let colon = if rest.is_empty() { "" } else { ": " };
    format!("{}{colon}{}", exhibit.source, rest.join(", "))
}

/// How sure it is, of how much and when, in the width of a screen; where it was read if that is all there is to say.
pub(super) fn brief(exhibit: &Exhibit) -> String {
    let known: Vec<String> =
        [confidence(exhibit), count(exhibit), span(exhibit)].into_iter().flatten().collect();
    if known.is_empty() { format!("from {}", exhibit.source) } else { known.join(", ") }
}

/// Between which values it lies: `498ms to 530ms with 95% confidence`. Nothing where that is not known.
pub(super) fn confidence(exhibit: &Exhibit) -> Option<String> {
    match (&exhibit.low, &exhibit.high) {
        (Some(low), Some(high)) => Some(format!("{low} to {high} with 95% confidence")),
        (Some(low), None) => Some(format!("at least {low} with 95% confidence")),
        (None, Some(high)) => Some(format!("at most {high} with 95% confidence")),
        (None, None) => None,
    }
}

/// Of how many requests or slices.
pub(super) fn count(exhibit: &Exhibit) -> Option<String> {
    let what = if exhibit.source.starts_with("time slices") { "slices" } else { "requests" };
    exhibit.n.map(|n| format!("{} {what}", text::count(n)))
}

/// From and until when.
pub(super) fn span(exhibit: &Exhibit) -> Option<String> {
    match (exhibit.from_s, exhibit.to_s) {
        (Some(from_s), Some(to_s)) => Some(format!("{} to {}", text::s(from_s), text::s(to_s))),
        (None, Some(at_s)) => Some(format!("at {}", text::s(at_s))),
        (Some(from_s), None) => Some(format!("from {}", text::s(from_s))),
        (None, None) => None,
    }
}

/// How many entries of the journal were added up.
pub(super) fn entries(exhibit: &Exhibit) -> Option<String> {
    exhibit.entries.map(|entries| match entries {
        1 => "1 entry of the journal".to_owned(),
        several => format!("{} entries of the journal", text::count(several)),
    })
}
