//! Whom to look at together: pairs of containers in waves that a kernel can take.
//!
//! A kernel keeps one table of neighbours for all containers together, and remembers an entry in it for each of two
//! containers that talk. Fifty containers that all talk at once need 2,450, more than most kernels allow: then some
//! are not heard because of the look itself, and what others need may go with it. So a look takes a part of the
//! table, and gives it back before it goes on. Pure but for [`room`].

use std::collections::BTreeSet;

/// What kernels allow unless told otherwise: `gc_thresh3`.
const USUAL_ROOM: usize = 1_024;
/// The part of the table that a look may fill: others need theirs.
const SHARE: usize = 2;

/// Two members by their numbers: who sends, who listens.
pub(super) type Pair = (usize, usize);

/// Entries that a look may have made at once. `here`: this machine's table is the containers' as well.
pub(super) fn room(here: Here) -> usize {
    let table = |family: &str| {
        let path = format!("/proc/sys/net/{family}/neigh/default/gc_thresh3");
        std::fs::read_to_string(path).ok()?.trim().parse::<usize>().ok()
    };
    let least = match here {
        Here::ThisMachine => ["ipv4", "ipv6"].into_iter().filter_map(table).min(),
        Here::Elsewhere => None,
    };
    (least.unwrap_or(USUAL_ROOM) / SHARE).max(2)
}

/// Whose kernel it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Here {
    /// The containers run on this machine.
    ThisMachine,
    /// They run somewhere else, where nothing can be read.
    Elsewhere,
}

/// All pairs of `ends.len()` members, in waves of at most `room` entries, both ways of a pair in the same wave; `ends`
/// has the number of addresses of each. A wave has one pair at least, whatever that takes.
pub(super) fn waves(ends: &[usize], room: usize) -> Vec<BTreeSet<Pair>> {
    let count = ends.len();
    let mut waves = vec![BTreeSet::new()];
    let mut taken = 0;
    // By distance, so that every member has about as much to do in each wave as every other.
    let by_distance = (1..count).flat_map(|distance| (0..count - distance).map(move |a| (a, a + distance)));
    for (a, b) in by_distance {
        // Whoever is asked remembers who asked, also when nothing comes back.
        let takes = 2 * (ends[a] * ends[b]).max(1);
        if taken + takes > room && taken > 0 {
            waves.push(BTreeSet::new());
            taken = 0;
        }
        taken += takes;
        waves.last_mut().expect("there is one from the start").extend([(a, b), (b, a)]);
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_in_one_wave_and_no_wave_is_too_large() {
        for (count, room, expected) in
            [(2, 2, 1), (3, 512, 1), (50, 512, 5), (50, 2_450, 1), (4, 2, 6), (4, 1, 6)]
        {
            let waves = waves(&vec![1; count], room);
            assert_eq!(waves.len(), expected, "{count} members, room for {room}");
            let all: BTreeSet<Pair> = waves.iter().flatten().copied().collect();
            assert_eq!(all.len(), count * (count - 1));
            assert_eq!(waves.iter().map(BTreeSet::len).sum::<usize>(), all.len(), "a pair is in two waves");
            assert!(waves.iter().all(|wave| wave.len() <= room.max(2)));
            assert!(waves.iter().flatten().all(|(a, b)| waves.iter().any(|wave| wave.contains(&(*b, *a)))));
        }
    }

    #[test]
    fn members_with_several_addresses_take_more_room() {
        assert_eq!(waves(&[2, 2, 2], 8).len(), 3);
        assert_eq!(waves(&[2, 2, 2], 24).len(), 1);
        assert_eq!(waves(&[0, 1], 2), [BTreeSet::from([(0, 1), (1, 0)])]);
        assert_eq!(waves(&[1], 2), [BTreeSet::new()]);
    }

    #[test]
    fn there_is_always_some_room() {
        assert!(room(Here::ThisMachine) >= 2);
        assert_eq!(room(Here::Elsewhere), 512);
    }
}
