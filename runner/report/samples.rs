//! The samples of probes: what each answered, and when. Start at [`samples`].

use super::Case;
use crate::event::Event;
use crate::spec::Moment;
use crate::units::NS_PER_S;

/// One answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'e> {
    /// When it was asked, in seconds since the run's start.
    pub at_s: f64,
    /// Yes, no, or nothing: no data.
    pub ok: Option<bool>,
    /// Of a probe that is asked once: when.
    pub moment: Option<Moment>,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
    /// How often it was asked until then.
    pub attempts: u32,
    /// What came back; anyone's.
    pub detail: &'e str,
}

impl Answer<'_> {
    /// `yes`, `no` or `no data`.
    pub const fn word(&self) -> &'static str {
        match self.ok {
            Some(true) => "yes",
            Some(false) => "no",
            None => "no data",
        }
    }
}

/// Everything that a probe answered.
#[derive(Clone, Debug)]
pub(super) struct Samples<'e> {
    /// Its name, or itself where it has none; anyone's.
    pub probe: &'e str,
    /// In the order asked; never empty.
    pub answers: Vec<Answer<'e>>,
}

impl Samples<'_> {
    /// How many answers were this one.
    pub fn count(&self, ok: Option<bool>) -> u64 {
        self.answers.iter().filter(|answer| answer.ok == ok).count() as u64
    }

    /// The share `quantile` of its answers took no longer than this, in milliseconds: one of them, the nearest rank.
    pub fn took_ms(&self, quantile: f64) -> f64 {
        let mut took: Vec<f64> = self.answers.iter().map(|answer| answer.took_ms).collect();
        took.sort_by(f64::total_cmp);
        let rank = (quantile * took.len() as f64).ceil() as usize;
        took[rank.clamp(1, took.len()) - 1]
    }
}

/// Every probe's, in the order in which they were first asked.
pub(super) fn samples<'e>(case: &Case<'e>) -> Vec<Samples<'e>> {
    let mut found: Vec<Samples<'e>> = Vec::new();
    for entry in case.entries {
        let Event::Probe { probe, at_ns, moment, ok, detail, took_ms, attempts } = &entry.event else {
            continue;
        };
        let answer = Answer {
            at_s: at_ns.unwrap_or(entry.t_ns) as f64 / NS_PER_S as f64,
            ok: *ok,
            moment: *moment,
            took_ms: *took_ms,
            attempts: *attempts,
            detail,
        };
        match found.iter_mut().find(|samples| samples.probe == probe) {
            Some(samples) => samples.answers.push(answer),
            None => found.push(Samples { probe, answers: vec![answer] }),
        }
    }
    for samples in &mut found {
        samples.answers.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_one_of_the_answers() {
        let answer =
            |took_ms| Answer { at_s: 0.0, ok: Some(true), moment: None, took_ms, attempts: 1, detail: "" };
        let samples = Samples { probe: "p", answers: [4.0, 1.0, 3.0, 2.0].map(answer).to_vec() };
        assert_eq!(
            [0.0, 0.5, 0.75, 0.99, 1.0].map(|share| samples.took_ms(share)),
            [1.0, 2.0, 3.0, 4.0, 4.0]
        );
    }
}
