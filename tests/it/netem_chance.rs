//! What netem leaves to chance, in a kernel that has it: the same shares as our own engine, by the same words.
//!
//! The tests of `netem.rs` boot that kernel and run these.

use std::collections::BTreeSet;
use std::time::Duration;

use chaos::agent::wire::{
    Bursts, Chance, Counters, Direction, Effect, Engine, Impairment, Loss, Outcome, Reorder, Turns,
};

use super::agent_lab::{Pair, delay, step};
use super::impair::{WAYS, chance, datagrams, ends, loss, numbers, overtakers};
use super::netem::pair;

/// Datagrams of one trial: this kernel is slow.
const COUNT: u32 = 1_000;

/// True if `found` of `count` is what `share` comes to, but for one time in a million: netem seeds itself, so that
/// every run is another draw.
fn is_likely(found: u64, count: u64, share: f64) -> bool {
    let (found, count) = (found as f64, count as f64);
    (found - share * count).abs() <= 5.0 * (share * (1.0 - share) * count).sqrt()
}

fn trial(
    pair: &Pair,
    direction: Direction,
    family: usize,
    effect: Effect,
    pause: Duration,
) -> (Vec<u32>, Counters) {
    let before = pair.near.state();
    let (from, to) = ends(pair, direction, family);
    let mut agent = pair.agent();
    let port = from.local_addr().unwrap().port();
    let impairment = Impairment { ports: vec![port], ..step(1, direction, effect) };
    assert_eq!(agent.arm(&[impairment]), Outcome::Armed([(1, Engine::Netem)].into()));
    agent.ask(chaos::agent::wire::Command::Fire { steps: vec![1], at_ns: None });
    let came = datagrams(&from, &to, COUNT, pause);
    let undone = &agent.undo(&[1])[&1];
    assert!(undone.verified, "{undone:?}");
    assert_eq!(pair.near.state(), before);
    (numbers(&came), undone.counters.clone())
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_netem_loses_the_share_asked() {
    let pair = pair();
    for ((direction, family), share) in WAYS.into_iter().zip([0.1, 0.5, 0.01, 1.0]) {
        let (came, counters) = trial(&pair, direction, family, loss(share, 3), Duration::ZERO);
        let lost = u64::from(COUNT) - came.len() as u64;
        assert_eq!(counters.dropped_packets, Some(lost), "{direction:?} {family} {counters:?}");
        assert_eq!(counters.matched_packets, u64::from(COUNT));
        assert!(is_likely(lost, u64::from(COUNT), share), "{lost} of {COUNT} lost, asked {share}");
    }
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_netem_keeps_the_share_of_correlated_losses() {
    let pair = pair();
    let lost = |(direction, family)| {
        let effect = Effect::Loss(Loss::Random(Chance { share: 0.05, correlation: 0.5, seed: 3 }));
        let (came, _) = trial(&pair, direction, family, effect, Duration::ZERO);
        u64::from(COUNT) - came.len() as u64
    };
    let lost: u64 = WAYS.into_iter().map(lost).sum();
    // 200 are expected, with a deviation of 24; the share itself as netem's threshold would lose 20.
    assert!((80..=320).contains(&lost), "{lost} of 4 times {COUNT} lost");
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_netem_loses_in_bursts_as_the_chain_says() {
    let pair = pair();
    let chain = Bursts { good_to_bad: 0.05, bad_to_good: 0.25, bad_loss: 1.0, good_loss: 0.0, seed: 5 };
    let effect = Effect::Loss(Loss::Bursts(Box::new(chain)));
    let (came, _) = trial(&pair, Direction::Ingress, 0, effect, Duration::ZERO);
    let bursts: Vec<u32> = came.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|gap| *gap > 0).collect();
    let (count, mean) = (bursts.len() as f64, f64::from(bursts.iter().sum::<u32>()) / bursts.len() as f64);
    assert!((mean - 4.0).abs() < 5.0 * 3.46 / count.sqrt(), "{count} bursts of {mean} on average");
    assert!((12.0..75.0).contains(&count), "{count} bursts, 42 expected");
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_netem_sends_the_share_asked_twice() {
    let pair = pair();
    for (direction, family) in WAYS {
        let effect = Effect::Duplicate(chance(0.2, 9));
        let (came, _) = trial(&pair, direction, family, effect, Duration::ZERO);
        let different: BTreeSet<_> = came.iter().collect();
        assert_eq!(different.len(), COUNT as usize, "some never came: {direction:?} {family}");
        let twice = (came.len() - different.len()) as u64;
        assert!(is_likely(twice, u64::from(COUNT), 0.2), "{twice} of {COUNT} came twice");
    }
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_netem_damages_the_share_asked() {
    let pair = pair();
    for direction in [Direction::Egress, Direction::Ingress] {
        let effect = Effect::Corrupt(chance(0.5, 2));
        let (came, _) = trial(&pair, direction, 0, effect, Duration::ZERO);
        let damaged = u64::from(COUNT) - came.len() as u64;
        // netem takes any bit of a frame of 106 bytes, and nobody minds those of its first 14.
        let likely = [0.5, 0.5 * 92.0 / 106.0].map(|share| is_likely(damaged, u64::from(COUNT), share));
        let between = (433..=500).contains(&damaged);
        assert!(likely.contains(&true) || between, "{damaged} of {COUNT} damaged, {direction:?}");
    }
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_netem_lets_the_share_asked_overtake() {
    let pair = pair();
    let Effect::Delay(held) = delay(200) else { unreachable!("it was made as a delay") };
    for (direction, family) in [(Direction::Egress, 0), (Direction::Ingress, 1)] {
        let effect =
            Effect::Reorder(Box::new(Reorder { chance: chance(0.25, 4), gap: 1, delay: held.clone() }));
        let (came, counters) = trial(&pair, direction, family, effect, Duration::from_millis(1));
        assert_eq!((came.len(), counters.lost_packets), (COUNT as usize, Some(0)));
        let overtook = overtakers(&came);
        assert!(is_likely(overtook, u64::from(COUNT), 0.25), "{overtook} of {COUNT} overtook");
    }
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn inner_netem_is_on_and_off_in_turns() {
    let pair = pair();
    let turns = Turns { on_ns: 150_000_000, off_ns: 350_000_000, jitter_ns: 0, seed: 1 };
    let effect = Effect::Flaky(Box::new(turns), Box::new(loss(1.0, 1)));
    let (came, counters) = trial(&pair, Direction::Egress, 0, effect, Duration::from_millis(1));
    // Out for 150 of every 500 ms, beginning at once: 300 of 1,000 in two turns.
    assert!((620..=750).contains(&came.len()), "{} of {COUNT} came through", came.len());
    assert!((2..=4).contains(&counters.switched_on.unwrap()), "{counters:?}");
}
