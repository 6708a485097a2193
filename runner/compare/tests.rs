//! Simulated systems: alike ones are not told apart, slower ones are.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::effect::effects;
use super::stretch::{Piece, Stretch};
use super::*;

/// A minute at 500/s in pieces of two seconds, latencies spread like a logarithm's normal around 20 ms; seconds are
/// alike as those of a real system are. `slower` stretches the slowest twentieth.
fn minute(seed: u64, slower: f64, bad: f64) -> Vec<Piece> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let normal = |rng: &mut ChaCha8Rng| {
        let (one, other) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
        (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos()
    };
    let mut drift = 0.0;
    let pieces = (0..30).map(|_| {
        drift = 0.5 * drift + 0.01 * normal(&mut rng);
        let mut piece = Piece { seconds: 2.0, ..Piece::default() };
        let mut latencies = BTreeMap::<u64, u64>::new();
        for _ in 0..1_000 {
            let spread = normal(&mut rng);
            let factor = if spread > 1.645 { slower } else { 1.0 };
            let ns = 20e6 * (0.5 * spread + drift).exp() * factor;
            // Three digits, as histograms keep.
            let step = 10f64.powf(ns.log10().floor() - 2.0);
            *latencies.entry(((ns / step).round() * step) as u64).or_default() += 1;
            piece.known += 1;
            piece.good += u64::from(rng.random::<f64>() >= bad);
        }
        piece.latencies = latencies.into_iter().collect();
        piece
    });
    pieces.collect()
}

fn stretch(runs: Vec<Vec<Piece>>) -> Stretch<'static> {
    Stretch { phase: "steady", load: "users", runs }
}

/// Which figures changed for the worse or better, of minutes made so.
fn told(base: Vec<Vec<Piece>>, new: Vec<Vec<Piece>>) -> Vec<(Metric, Change)> {
    let (base, new) = (stretch(base), stretch(new));
    let found = effects(&base, &new, 1.0 - DOUBT / Metric::ALL.len() as f64).unwrap();
    let tolerance = Ratio::new(0.05);
    let told = found.iter().map(|(metric, effect)| (*metric, verdict(*metric, effect, tolerance)));
    told.filter(|(_, change)| matches!(change, Change::Worse | Change::Better)).collect()
}

#[test]
fn alike_minutes_are_not_told_apart() {
    let flagged = (0..20).filter(|seed| {
        let pair = |at: u64| vec![minute(1_000 + 2 * seed + at, 1.0, 0.002)];
        !told(pair(0), pair(1)).is_empty()
    });
    // One of twenty is what the confidence allows; by tolerance and ranks it is far less.
    assert!(flagged.count() <= 1);
}

#[test]
fn a_slower_tail_is_found_and_nothing_else() {
    for seed in 0..6 {
        let found = told(vec![minute(seed, 1.0, 0.002)], vec![minute(100 + seed, 1.15, 0.002)]);
        assert_eq!(found, [(Metric::P99, Change::Worse)], "seed {seed}");
        let back = told(vec![minute(seed, 1.15, 0.002)], vec![minute(100 + seed, 1.0, 0.002)]);
        assert_eq!(back, [(Metric::P99, Change::Better)], "seed {seed}");
    }
}

#[test]
fn more_errors_are_found() {
    let found = told(vec![minute(1, 1.0, 0.001)], vec![minute(2, 1.0, 0.01)]);
    assert_eq!(found, [(Metric::NotGood, Change::Worse)]);
}

#[test]
fn runs_that_differ_among_themselves_leave_a_doubt() {
    // Each run of the base is another 20% off: one of them alone would have been told apart.
    let slower = |factor: f64| {
        let mut run = minute(7, 1.0, 0.0);
        for piece in &mut run {
            piece.latencies.iter_mut().for_each(|(ns, _)| *ns = (*ns as f64 * factor) as u64);
        }
        run
    };
    let base = || vec![slower(1.0), slower(1.2), slower(0.8)];
    let new = vec![slower(1.15), slower(0.95), slower(1.3)];
    assert_eq!(told(base(), new), []);
    assert!(told(vec![slower(1.0)], vec![slower(1.3)]).contains(&(Metric::P99, Change::Worse)));
}

#[test]
fn too_little_is_said_to_be_too_little() {
    let short = || stretch(vec![minute(1, 1.0, 0.0)[..4].to_vec()]);
    assert!(effects(&short(), &short(), 0.95).unwrap_err().starts_with("it is too short"));
}
