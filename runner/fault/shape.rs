//! The shapes of a partition: groups, and Jepsen's over one list of containers.
//!
//! Each says whose packets a container no longer hears. Who is where is drawn from the fault's seed and the
//! containers' names alone. The shapes are those of Jepsen's `nemesis` namespace: `bisect`, `split-one`,
//! `bridge` and `majorities-ring-perfect`. Pure; start at [`PartitionShape::reach`].

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::reach::Reach;
use crate::choice;

choice! {
    /// How containers are cut apart.
    pub enum PartitionShape ("partition shape") {
        /// Two halves; of an odd number the second is larger.
        Halves = "halves",
        /// One container alone, the others together.
        One = "one",
        /// Two halves, and one container between them that reaches both.
        Bridge = "bridge",
        /// Each hears a majority, and no two the same one.
        MajoritiesRing = "majorities-ring",
    }
}

choice! {
    /// Which way packets are lost across a cut.
    pub enum Ways ("partition direction") {
        /// Both ways.
        Both = "both",
        /// Only on their way from an earlier group to a later one; of shapes, from the first half, or from
        /// the one that is alone. Answers of the others still arrive.
        OneWay = "one-way",
    }
}

impl PartitionShape {
    /// The least containers that it cuts apart.
    pub const fn least(self) -> usize {
        match self {
            Self::Halves | Self::One => 2,
            Self::Bridge | Self::MajoritiesRing => 3,
        }
    }

    /// Who reaches whom among `members` (sorted names) while it is in effect.
    pub fn reach(self, members: &[String], ways: Ways, seed: u64) -> Reach {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let mut place = vec![0; order.len()];
        order.iter().enumerate().for_each(|(at, member)| place[*member] = at);
        let half = order.len() / 2;
        let side = |at: usize, first: usize| u32::from(at >= first);
        let hears = |hearer: usize, sender: usize| match self {
            Self::Halves => flows(side(sender, half), side(hearer, half), ways),
            Self::One => flows(side(sender, 1), side(hearer, 1), ways),
            // The bridge is the first of the second half.
            Self::Bridge => {
                hearer == half || sender == half || flows(side(sender, half), side(hearer, half), ways)
            }
            Self::MajoritiesRing => in_majority(hearer, sender, order.len()),
        };
        Reach::new(members.to_vec(), |from, to| hears(place[to], place[from]))
    }
}

/// Who reaches whom among `groups` cut apart, each a list of containers; none may be in two of them.
pub fn groups_reach(groups: &[Vec<String>], ways: Ways) -> Reach {
    let numbered: Vec<(u32, &String)> =
        (0..).zip(groups).flat_map(|(number, group)| group.iter().map(move |name| (number, name))).collect();
    let members = numbered.iter().map(|(_, name)| (*name).clone()).collect();
    Reach::new(members, |from, to| flows(numbered[from].0, numbered[to].0, ways))
}

/// True if packets get from group number `from` to group number `to`.
fn flows(from: u32, to: u32, ways: Ways) -> bool {
    match ways {
        Ways::Both => from == to,
        Ways::OneWay => from >= to,
    }
}

/// True if, on a ring of `count`, the one at `hearer` hears the one at `sender`: it hears a stretch of the
/// ring that is a majority, with itself in the middle.
const fn in_majority(hearer: usize, sender: usize, count: usize) -> bool {
    let majority = count / 2 + 1;
    // How far behind the start of the stretch the sender is.
    (sender + count + majority / 2 - hearer) % count < majority
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("n{number:02}")).collect()
    }

    /// Whom each member hears, itself included.
    fn heard(reach: &Reach) -> Vec<BTreeSet<usize>> {
        let all = 0..reach.members.len();
        all.clone().map(|to| all.clone().filter(|from| reach.reaches(*from, to)).collect()).collect()
    }

    proptest! {
        #[test]
        fn halves_are_two_cliques(count in 2usize..40, seed: u64) {
            let heard = heard(&PartitionShape::Halves.reach(&names(count), Ways::Both, seed));
            let sides: BTreeSet<_> = heard.iter().cloned().collect();
            prop_assert_eq!(sides.iter().map(BTreeSet::len).collect::<BTreeSet<_>>(),
                BTreeSet::from([count / 2, count.div_ceil(2)]));
            prop_assert!(heard.iter().enumerate().all(|(member, heard)| heard.contains(&member)));
        }

        #[test]
        fn one_is_alone(count in 2usize..40, seed: u64) {
            let heard = heard(&PartitionShape::One.reach(&names(count), Ways::Both, seed));
            let alone = heard.iter().filter(|heard| heard.len() == 1).count();
            prop_assert!(alone == 1 || count == 2);
            prop_assert!(heard.iter().all(|heard| [1, count - 1].contains(&heard.len())));
        }

        #[test]
        fn a_bridge_reaches_both_halves(count in 3usize..40, seed: u64) {
            let reach = PartitionShape::Bridge.reach(&names(count), Ways::Both, seed);
            let heard = heard(&reach);
            let bridges: Vec<_> = (0..count).filter(|member| heard[*member].len() == count).collect();
            prop_assert_eq!(bridges.len(), 1);
            let sizes: BTreeSet<_> = heard.iter().map(BTreeSet::len).collect();
            // Each side hears itself and the bridge, which is of the second half.
            prop_assert_eq!(sizes, BTreeSet::from([count, count / 2 + 1, count.div_ceil(2)]));
        }

        #[test]
        fn each_of_a_ring_hears_another_majority(count in 3usize..60, seed: u64) {
            let heard = heard(&PartitionShape::MajoritiesRing.reach(&names(count), Ways::Both, seed));
            prop_assert!(heard.iter().all(|heard| heard.len() == count / 2 + 1));
            prop_assert!(heard.iter().enumerate().all(|(member, heard)| heard.contains(&member)));
            prop_assert_eq!(heard.iter().collect::<BTreeSet<_>>().len(), count);
        }

        #[test]
        fn one_way_loses_half_of_what_both_ways_lose(count in 3usize..20, seed: u64, which in 0usize..3) {
            let shape = [PartitionShape::Halves, PartitionShape::One, PartitionShape::Bridge][which];
            let both = shape.reach(&names(count), Ways::Both, seed);
            let one = shape.reach(&names(count), Ways::OneWay, seed);
            for (from, to) in both.pairs() {
                prop_assert_eq!(both.reaches(from, to), both.reaches(to, from));
                let lost = [one.reaches(from, to), one.reaches(to, from)].iter().filter(|flows| !**flows).count();
                prop_assert_eq!(lost, usize::from(!both.reaches(from, to)));
            }
        }
    }

    #[test]
    fn the_seed_decides_who_is_where() {
        let isolated = |seed| PartitionShape::One.reach(&names(8), Ways::Both, seed);
        assert_eq!(isolated(3), isolated(3));
        assert!((0..40).any(|seed| isolated(seed) != isolated(3)));
    }

    #[test]
    fn groups_lose_what_goes_to_later_groups_one_way() {
        let groups = [vec!["a".to_owned(), "b".into()], vec!["c".into()], vec!["d".into()]];
        assert_eq!(groups_reach(&groups, Ways::Both).rows, ["=+..", "+=..", "..=.", "...="]);
        assert_eq!(groups_reach(&groups, Ways::OneWay).rows, ["=+..", "+=..", "++=.", "+++="]);
    }
}
