//! How large a change is, and between which bounds it lies.
//!
//! Times and rates are compared by their ratio, shares by their difference. How much a figure would vary if the
//! same were measured again is found by drawing the stretch's pieces anew (Efron and Tibshirani, An Introduction to
//! the Bootstrap, chapter 6; pieces of several seconds because successive seconds are alike, Künsch 1989), of three
//! runs or more a side from how much the runs themselves differ. The interval is Student's, on the logarithm where a
//! ratio is compared: tails of a bootstrap itself would take a hundred times as many draws.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::Metric;
use super::stretch::{Piece, Stretch};
use crate::statistics::{WHITNEY_LEAST, Whitney, whitney};

/// Draws: the standard error is then off by some 5%.
const DRAWS: usize = 200;

/// The same runs give the same answer.
const SEED: u64 = 1;

/// So many runs on each side, and they themselves say how much runs differ.
const RUNS_ENOUGH: usize = 3;

/// A change, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Effect {
    pub base: f64,
    pub new: f64,
    /// new/base − 1, or the difference of shares.
    pub change: f64,
    pub low: f64,
    pub high: f64,
    pub rank: Whitney,
}

/// Every figure that both stretches have, compared with this confidence, 0 to 1.
///
/// # Errors
/// Why they can't be compared, for people.
pub(super) fn effects(
    base: &Stretch<'_>,
    new: &Stretch<'_>,
    confidence: f64,
) -> Result<Vec<(Metric, Effect)>, &'static str> {
    if base.pieces().count().min(new.pieces().count()) < WHITNEY_LEAST {
        return Err("it is too short to tell: ten seconds on each side is the least");
    }
    let (old, fresh) = (Side::of(base), Side::of(new));
    Ok(Metric::ALL
        .into_iter()
        .filter_map(|metric| Some((metric, effect(metric, &old, &fresh, confidence)?)))
        .collect())
}

/// A figure of one side, and how much it would vary.
struct Side<'s> {
    stretch: &'s Stretch<'s>,
    /// All of it.
    whole: Figures,
    /// Of each run.
    runs: Vec<Figures>,
    /// Of each draw.
    draws: Vec<Figures>,
}

/// The figures in the order of [`Metric::ALL`]; NaN where there is none.
type Figures = [f64; Metric::ALL.len()];

impl<'s> Side<'s> {
    fn of(stretch: &'s Stretch<'s>) -> Self {
        let mut values: Vec<u64> =
            stretch.pieces().flat_map(|piece| piece.latencies.iter().map(|(value, _)| *value)).collect();
        values.sort_unstable();
        values.dedup();
        let pieces: Vec<Indexed<'_>> = stretch.pieces().map(|piece| Indexed::of(piece, &values)).collect();
        let mut counts = vec![0; values.len()];
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let draws = (0..DRAWS).map(|_| {
            let drawn = (0..pieces.len()).map(|_| &pieces[rng.random_range(0..pieces.len())]);
            figures(drawn, &values, &mut counts)
        });
        let draws: Vec<Figures> = draws.collect();
        let mut left = pieces.as_slice();
        let mut runs = Vec::new();
        for run in &stretch.runs {
            let (of_run, others) = left.split_at(run.len());
            runs.push(figures(of_run.iter(), &values, &mut counts));
            left = others;
        }
        Self { stretch, whole: figures(pieces.iter(), &values, &mut counts), runs, draws }
    }

    /// The variance of a figure, and the degrees of freedom it was found with. `scale` is what is compared of it.
    fn variance(&self, metric: Metric, scale: impl Fn(f64) -> f64) -> (f64, f64) {
        let at = metric as usize;
        let of = |figures: &[Figures]| variance(figures.iter().map(|figures| scale(figures[at])));
        if self.runs.len() >= RUNS_ENOUGH {
            return (of(&self.runs) / self.runs.len() as f64, self.runs.len() as f64 - 1.0);
        }
        let mut found = of(&self.draws);
        if metric == Metric::NotGood {
            // Where nothing went wrong, drawing it again never finds anything wrong: Agresti and Coull's addition of
            // two of each keeps that from passing for certainty.
            let known = self.stretch.pieces().map(|piece| piece.known).sum::<u64>() as f64;
            let share = (self.whole[at] * known + 2.0) / (known + 4.0);
            found = found.max(share * (1.0 - share) / (known + 4.0));
        }
        (found, self.stretch.pieces().count() as f64 - 1.0)
    }
}

fn effect(metric: Metric, base: &Side<'_>, new: &Side<'_>, confidence: f64) -> Option<Effect> {
    let at = metric as usize;
    let (old, fresh) = (base.whole[at], new.whole[at]);
    let ratio = metric != Metric::NotGood;
    let scale = |value: f64| if ratio { value.ln() } else { value };
    let ((one, one_freedom), (other, other_freedom)) =
        (base.variance(metric, scale), new.variance(metric, scale));
    let difference = scale(fresh) - scale(old);
    let error = (one + other).sqrt();
    // Welch and Satterthwaite's degrees of freedom.
    let freedom = if one + other > 0.0 {
        (one + other).powi(2) / (one.powi(2) / one_freedom + other.powi(2) / other_freedom)
    } else {
        one_freedom + other_freedom
    };
    let student = StudentsT::new(0.0, 1.0, freedom).ok()?;
    let reach = student.inverse_cdf(1.0 - (1.0 - confidence) / 2.0) * error;
    let shown = |value: f64| if ratio { value.exp_m1() } else { value };
    let change = shown(difference);
    if !change.is_finite() || !reach.is_finite() {
        return None;
    }
    let samples = |side: &Side<'_>| {
        let values = side.stretch.pieces().map(|piece| of_piece(metric, piece));
        values.filter(|value| value.is_finite()).collect::<Vec<f64>>()
    };
    let rank = whitney(&samples(base), &samples(new))?;
    Some(Effect {
        base: old,
        new: fresh,
        change,
        low: shown(difference - reach),
        high: shown(difference + reach),
        rank,
    })
}

/// A piece whose latencies are by their place among all values, so that adding them up needs no search.
struct Indexed<'p> {
    piece: &'p Piece,
    latencies: Vec<(u32, u64)>,
}

impl<'p> Indexed<'p> {
    fn of(piece: &'p Piece, values: &[u64]) -> Self {
        let place = |value: &u64| values.binary_search(value).expect("every value was listed") as u32;
        let latencies = piece.latencies.iter().map(|(value, count)| (place(value), *count)).collect();
        Self { piece, latencies }
    }
}

/// The figures of some pieces together. `counts` has room for a count of each of `values`.
fn figures<'p>(pieces: impl Iterator<Item = &'p Indexed<'p>>, values: &[u64], counts: &mut [u64]) -> Figures {
    counts.fill(0);
    let (mut good, mut known, mut seconds) = (0, 0, 0.0);
    for Indexed { piece, latencies } in pieces {
        latencies.iter().for_each(|(place, count)| counts[*place as usize] += count);
        good += piece.good;
        known += piece.known;
        seconds += piece.seconds;
    }
    let counted = values.iter().copied().zip(counts.iter().copied());
    Metric::ALL.map(|metric| figure(metric, counted.clone(), good, known, seconds))
}

fn of_piece(metric: Metric, piece: &Piece) -> f64 {
    figure(metric, piece.latencies.iter().copied(), piece.good, piece.known, piece.seconds)
}

fn figure(
    metric: Metric,
    latencies: impl Iterator<Item = (u64, u64)> + Clone,
    good: u64,
    known: u64,
    seconds: f64,
) -> f64 {
    match metric {
        Metric::NotGood => (known - good) as f64 / known as f64,
        Metric::Goodput => good as f64 / seconds,
        Metric::P50 | Metric::P90 | Metric::P99 => {
            let quantile = metric.quantile().expect("these three are quantiles");
            let total: u64 = latencies.clone().map(|(_, count)| count).sum();
            let rank = ((total as f64 * quantile).ceil() as u64).max(1);
            let mut below = 0;
            let mut reached = latencies.skip_while(|(_, count)| {
                below += count;
                below < rank
            });
            reached.next().map_or(f64::NAN, |(value, _)| value as f64 / 1e9)
        }
    }
}

/// The variance of some values as they would be drawn again; those that are not finite don't count.
fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0)
}
