//! What is compared: what a load measured in a phase, cut into pieces of time that can be drawn again.

use std::collections::BTreeMap;

use super::Run;
use crate::event::{Entry, Event};
use crate::load::record::{HIST_MAX_NS, Stats};
use crate::statistics::covered_s;

/// A stretch is cut into so many pieces at most: enough to tell how much they differ, and each long enough that what
/// lasts a few seconds is within one, since pieces are taken for independent.
const PIECES_MOST: usize = 60;

/// What one load measured in one phase, of one run or several.
#[derive(Debug, PartialEq)]
pub(super) struct Stretch<'r> {
    pub phase: &'r str,
    pub load: &'r str,
    /// The pieces by run; no run is empty.
    pub runs: Vec<Vec<Piece>>,
}

/// A piece of a stretch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Piece {
    /// Latencies in nanoseconds with how often each came, ascending. What was cut off stands at the end, as longer
    /// than all that ended.
    pub latencies: Vec<(u64, u64)>,
    /// Requests that ended well.
    pub good: u64,
    /// Requests whose end is known.
    pub known: u64,
    /// Its length in seconds.
    pub seconds: f64,
}

impl Stretch<'_> {
    /// True if it is of the same phase and load.
    pub fn is_of(&self, other: &Stretch<'_>) -> bool {
        (self.phase, self.load) == (other.phase, other.load)
    }

    /// As people read it.
    pub fn name(&self) -> String {
        format!("`{}` in phase `{}`", self.load, self.phase)
    }

    /// Every piece of every run.
    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.runs.iter().flatten()
    }
}

/// Every phase and load of some runs, in the order of phases.
pub(super) fn stretches<'r>(runs: &[Run<'r>]) -> Vec<Stretch<'r>> {
    let mut found: Vec<Stretch<'r>> = Vec::new();
    for run in runs {
        for ((phase, load), pieces) in of_run(run) {
            let place = match found.iter().position(|one| (one.phase, one.load) == (phase, load)) {
                Some(place) => place,
                None => {
                    found.push(Stretch { phase, load, runs: Vec::new() });
                    found.len() - 1
                }
            };
            found[place].runs.push(pieces);
        }
    }
    found
}

/// A phase and a load.
type Place<'r> = (&'r str, &'r str);

fn of_run<'r>(run: &Run<'r>) -> Vec<(Place<'r>, Vec<Piece>)> {
    let mut found = Vec::new();
    for phase in &run.judgement.phases {
        let (from_ns, to_ns) = ((phase.from_s * 1e9) as u64, (phase.to_s * 1e9) as u64);
        let mut loads = BTreeMap::<&str, Vec<(u64, u64, &Stats)>>::new();
        for Entry { event, .. } in run.entries {
            let Event::Load { load, from_ns: from, to_ns: to, stats } = event else { continue };
            // Cut a little late, it belongs where most of it lies, as the verdict has it.
            if (from_ns..to_ns).contains(&from.midpoint(*to)) {
                loads.entry(load).or_default().push((*from, *to, stats));
            }
        }
        for (load, mut intervals) in loads {
            intervals.sort_by_key(|(from_ns, ..)| *from_ns);
            let pieces = pieces(&intervals, from_ns, to_ns);
            if !pieces.is_empty() {
                found.push(((phase.name.as_str(), load), pieces));
            }
        }
    }
    found
}

/// A piece while intervals are added to it.
#[derive(Default)]
struct Sum {
    latencies: BTreeMap<u64, u64>,
    piece: Piece,
    /// From when to when its intervals last.
    spans: Vec<(u64, u64)>,
}

/// Intervals put together into pieces of equal length.
fn pieces(intervals: &[(u64, u64, &Stats)], from_ns: u64, to_ns: u64) -> Vec<Piece> {
    let instants = intervals.chunk_by(|one, other| one.0 == other.0).count();
    // Two intervals a piece where there are few: what lasts from one second into the next is then mostly inside.
    let count = (instants / 2).clamp(1, PIECES_MOST) as u64;
    let length_ns = (to_ns.saturating_sub(from_ns)).div_ceil(count).max(1);
    let mut sums = BTreeMap::<u64, Sum>::new();
    for (from, to, stats) in intervals {
        let number = (from.midpoint(*to).saturating_sub(from_ns)) / length_ns;
        let Sum { latencies, piece, spans } = sums.entry(number.min(count - 1)).or_default();
        for value in stats.latency.open().iter_recorded() {
            *latencies.entry(value.value_iterated_to()).or_default() += value.count_at_value();
        }
        if stats.boxes.cut_off > 0 {
            *latencies.entry(2 * HIST_MAX_NS).or_default() += stats.boxes.cut_off;
        }
        piece.good += stats.boxes.good;
        piece.known += stats.boxes.known();
        if !spans.contains(&(*from, *to)) {
            spans.push((*from, *to));
        }
    }
    sums.into_values()
        .map(|Sum { latencies, piece, spans }| Piece {
            latencies: latencies.into_iter().collect(),
            seconds: covered_s(spans),
            ..piece
        })
        .filter(|piece| piece.known > 0)
        .collect()
}
