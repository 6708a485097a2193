//! The search for the highest rate that holds: a trial's answer in, the next rate or the outcome out. Pure.
//!
//! Doubles until a rate breaks, then halves the gap (in ratio, since capacities differ by factors) until it
//! is narrow enough. Rates are rounded to what people can say; how many trials that takes is known before
//! the first. Start at [`Search::answer`].

use serde::{Deserialize, Serialize};

use crate::units::{Rate, Ratio};

/// How much each trial's rate is above the last one's, as long as all of them hold.
const GROWTH: f64 = 2.0;

/// How often trials that say nothing are repeated, all together.
const REPEATS: u32 = 3;

/// What a trial came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Every check held.
    Held,
    /// A check did not hold, or there was nothing to measure.
    Broke,
    /// The generator could not keep the rate, so the trial says nothing of the system. It is repeated, since
    /// a hiccup of this machine is no limit of it.
    Unfit,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Try this rate.
    Try(Rate),
    /// The search is over.
    Over(End),
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The highest rate that held and the lowest that did not are close enough.
    Found,
    /// Even the highest rate held: it is a lower bound.
    Top,
    /// Not even the lowest rate held.
    Nothing,
    /// This machine could not send more: what held is a lower bound.
    Generator,
    /// The phase ended before the search did.
    Time,
}

/// A search under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    from: f64,
    to: f64,
    within: f64,
    held: Option<f64>,
    broke: Option<f64>,
    trying: f64,
    repeats: u32,
}

impl Search {
    /// A search between two rates, until held and broken ones are no further apart than `within`.
    pub const fn new(from: Rate, to: Rate, within: Ratio) -> Self {
        let (from, to) = (from.as_per_s(), to.as_per_s());
        Self { from, to, within: within.get(), held: None, broke: None, trying: from, repeats: 0 }
    }

    /// The rate to try now.
    pub const fn trying(&self) -> Rate {
        Rate::per_s(self.trying)
    }

    /// The highest rate that held so far.
    pub fn held(&self) -> Option<Rate> {
        self.held.map(Rate::per_s)
    }

    /// The lowest rate that did not hold so far.
    pub fn broke(&self) -> Option<Rate> {
        self.broke.map(Rate::per_s)
    }

    /// Takes in what the present rate came to, and says what comes next.
    pub fn answer(&mut self, answer: Answer) -> Next {
        match answer {
            Answer::Held => self.held = Some(self.trying),
            Answer::Broke => self.broke = Some(self.trying),
            Answer::Unfit if self.repeats == REPEATS => return Next::Over(End::Generator),
            Answer::Unfit => {
                self.repeats += 1;
                return Next::Try(self.trying());
            }
        }
        self.trying = match (self.held, self.broke) {
            (None, _) => return Next::Over(End::Nothing),
            (Some(held), None) if held >= self.to => return Next::Over(End::Top),
            (Some(held), None) => sayable(held * GROWTH, held, f64::INFINITY).min(self.to),
            (Some(held), Some(broke)) if broke <= held * (1.0 + self.within) => {
                return Next::Over(End::Found);
            }
            (Some(held), Some(broke)) => sayable((held * broke).sqrt(), held, broke),
        };
        Next::Try(self.trying())
    }

    /// The most trials that it can take.
    pub fn most_trials(&self) -> u32 {
        /// Rounding to three digits moves a rate by at most this share, so that a gap is not quite halved.
        const ROUNDING: f64 = 0.005;
        /// Of a search whose numbers make no sense, which is refused anyway.
        const MOST: f64 = 1_000.0;
        let up = ((self.to / self.from).ln() / (GROWTH * (1.0 - ROUNDING)).ln()).ceil().max(0.0) + 1.0;
        // Each trial leaves half of the gap's logarithm, and up to the rounding more.
        let mut gap = (GROWTH * (1.0 + ROUNDING)).ln();
        let mut down = 0.0;
        while gap > self.within.ln_1p() && down < MOST {
            gap = (gap / 2.0 + ROUNDING).min(gap * 0.9);
            down += 1.0;
        }
        (up + down).min(MOST) as u32 + REPEATS
    }
}

/// `rate` with three digits, if that lies between the two others; else `rate` itself.
fn sayable(rate: f64, above: f64, below: f64) -> f64 {
    let unit = 10f64.powf(rate.log10().floor() - 2.0);
    // Multiplying with a power of ten below 1 leaves digits behind the third.
    let rounded =
        if unit < 1.0 { (rate / unit).round() / unit.recip().round() } else { (rate / unit).round() * unit };
    if rounded > above && rounded < below && rounded.is_finite() { rounded } else { rate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Searches a system that holds every rate up to `capacity`; the generator manages `able`.
    fn search(from: f64, to: f64, within: f64, capacity: f64, able: f64) -> (Vec<f64>, End, Search) {
        let mut search = Search::new(Rate::per_s(from), Rate::per_s(to), Ratio::new(within));
        let mut tried = Vec::new();
        loop {
            let rate = search.trying().as_per_s();
            tried.push(rate);
            let answer = match rate {
                rate if rate > able => Answer::Unfit,
                rate if rate > capacity => Answer::Broke,
                _ => Answer::Held,
            };
            match search.answer(answer) {
                Next::Try(next) => assert_eq!(next.as_per_s(), search.trying().as_per_s()),
                Next::Over(end) => return (tried, end, search),
            }
        }
    }

    #[test]
    fn tries_rates_that_people_can_say() {
        let (tried, end, search) = search(100.0, 5_000.0, 0.05, 1_250.0, f64::INFINITY);
        assert_eq!(tried, [100.0, 200.0, 400.0, 800.0, 1_600.0, 1_130.0, 1_340.0, 1_230.0, 1_280.0]);
        assert_eq!(
            (end, search.held(), search.broke()),
            (End::Found, Some(Rate::per_s(1_230.0)), Some(Rate::per_s(1_280.0)))
        );
    }

    #[test]
    fn a_trial_that_says_nothing_is_repeated() {
        let mut search = Search::new(Rate::per_s(100.0), Rate::per_s(200.0), Ratio::new(0.5));
        let again = |rate| Next::Try(Rate::per_s(rate));
        assert_eq!(search.answer(Answer::Unfit), again(100.0));
        assert_eq!(search.answer(Answer::Held), again(200.0));
        assert_eq!(search.answer(Answer::Unfit), again(200.0));
        assert_eq!(search.answer(Answer::Unfit), again(200.0));
        assert_eq!(search.answer(Answer::Unfit), Next::Over(End::Generator));
        assert_eq!((search.held(), search.broke()), (Some(Rate::per_s(100.0)), None));
    }

    proptest! {
        #[test]
        fn the_capacity_lies_in_what_was_found(
            from in 1f64..1e4, span in 1.01f64..1e3, within in 0.005f64..=1.0, at in 0f64..1.3, able in 0.1f64..3.0
        ) {
            let to = (from * span).min(1e6);
            let capacity = from * (to / from).powf(at) * 0.99;
            let able = capacity * able;
            let (tried, end, search) = search(from, to, within, capacity, able);
            let (held, broke) = (search.held().map(Rate::as_per_s), search.broke().map(Rate::as_per_s));
            prop_assert!(tried.len() <= search.most_trials() as usize, "{} > {}", tried.len(), search.most_trials());
            prop_assert!(tried.iter().all(|rate| (from..=to).contains(rate)), "{tried:?}");
            prop_assert!(held.is_none_or(|held| held <= capacity && held <= able));
            prop_assert!(broke.is_none_or(|broke| broke > capacity));
            match end {
                End::Found => prop_assert!(broke.unwrap() <= held.unwrap() * (1.0 + within)),
                End::Top => prop_assert!(held == Some(to) && capacity >= to),
                End::Nothing => prop_assert!(held.is_none() && capacity < from),
                End::Generator => prop_assert!(*tried.last().unwrap() > able),
                End::Time => prop_assert!(false, "no clock here"),
            }
        }
    }
}
