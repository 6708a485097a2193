//! The search for the highest rate that holds: what a phase may say of it, and what it must not leave out.
//!
//! The search itself is in `slo/search.rs`. Start at [`FindRate`].

use super::Phase;
use super::check::Checker;
use super::check_arrivals::MAX_RATE_PER_S;
use super::decode::Located;
use super::expr::Check;
use super::shape::Shape;
use crate::error::Span;
use crate::record;
use crate::slo::search::Search;
use crate::units::{Duration, Rate, Ratio};

/// The shortest trial: below it a rate is a handful of requests.
pub const MIN_HOLD_FOR: Duration = Duration::from_ms(500);

/// The narrowest a search may be asked to end: two rates closer than this can't be told apart.
pub const MIN_WITHIN: Ratio = Ratio::new(0.005);

/// How long after a trial its last requests may still end before it is judged; later ones count as not good.
pub const LINGER: Duration = Duration::from_ms(1_150);

record! {
    /// A search for the highest rate of a load at which every check holds. The rate is doubled until a check
    /// breaks, then the gap is halved until it is narrow enough; each trial settles, then is measured and
    /// judged on its own requests. Between trials and after the search the load goes back: to `from`, and to
    /// its own rate.
    pub struct FindRate ("find_rate") {
        /// The load whose rate is searched; one with a `rate` that stays.
        pub load: Located<String>,
        /// The first rate tried. If not even this one holds, the experiment has failed.
        pub from: Located<Rate>,
        /// The highest rate tried. If it holds, it is a lower bound.
        pub to: Located<Rate>,
        /// What must hold in a trial, measured on the load over the whole of it.
        pub holds: Located<Vec<Located<Check>>>,
        /// How long a trial is measured.
        pub hold_for: Located<Duration> = Located { value: Duration::from_s(5), span: crate::error::Span::default() },
        /// How long a new rate may settle before it is measured.
        pub settle: Duration = Duration::from_s(1),
        /// How close the highest rate that held and the lowest that did not must come.
        pub within: Located<Ratio> = Located { value: Ratio::new(0.05), span: crate::error::Span::default() },
    }
}

impl FindRate {
    /// The longest the search takes as long as no trial leaves requests hanging.
    pub fn longest(&self) -> Duration {
        let trials = Search::new(self.from.value, self.to.value, self.within.value).most_trials();
        let trial = self.settle + self.hold_for.value + LINGER;
        Duration::from_ns(trial.as_ns().saturating_mul(u64::from(trials)))
    }
}

impl Checker<'_> {
    /// Notes what is wrong with the search of a phase.
    pub(super) fn find_rate(&mut self, phase: &Phase, search: &Located<FindRate>) {
        let FindRate { load, from, to, holds, hold_for, within, .. } = &search.value;
        let before = self.mistakes.list.len();
        self.known(load, load.span, "load", &self.names.loads);
        if let Some(found) = self.experiment.load.get(load)
            && !matches!(found.rate.as_deref(), Some(Shape::Held(_)))
        {
            let message = format!("the rate of `{}` can't be searched: it has none that stays", load.value);
            self.add(load.span, message, "give the load a rate such as `100/s`, or search another one");
        }
        if from.as_per_s() <= 0.0 {
            let message = format!("`from` must be positive, got `{}`", from.value);
            self.add(from.span, message, "write a rate that surely holds, such as `100/s`");
        }
        if to.as_per_s() <= from.as_per_s() {
            let message = format!("`to` must be above `from` ({}), got `{}`", from.value, to.value);
            self.add(to.span, message, "write a rate that surely does not hold");
        }
        if to.as_per_s() > MAX_RATE_PER_S {
            let message = format!("`to` is beyond what one machine can send, got `{}`", to.value);
            self.add(to.span, message, format!("write at most `{MAX_RATE_PER_S}/s`"));
        }
        if hold_for.value < MIN_HOLD_FOR {
            let message = format!("`hold_for` must be at least {MIN_HOLD_FOR}, got `{}`", hold_for.value);
            self.add(hold_for.span, message, "write a duration such as `5s`");
        }
        if within.value < MIN_WITHIN {
            let message = format!("`within` must be at least {MIN_WITHIN}, got `{}`", within.value);
            self.add(within.span, message, "trials that close together differ by chance alone");
        }
        if holds.is_empty() && !self.mistakes.within(search.span) {
            let span = if holds.span == Span::default() { search.span } else { holds.span };
            let hint = "list a check: `holds: [ p99(latency) < 50ms, rate(good) >= 99.9% ]`";
            self.add(span, "nothing tells whether a rate holds", hint);
        }
        let Some(at_most) = phase.at_most.as_ref().filter(|_| self.mistakes.list.len() == before) else {
            return;
        };
        let longest = search.longest();
        if longest > at_most.value {
            let message =
                format!("the search may take {longest}, and `at_most` ends it after {}", at_most.value);
            let hint = format!("write `at_most: {longest}`, shorter trials, or a narrower range");
            self.add(at_most.span, message, hint);
        }
    }

    /// Notes where a trial's check asks for what a trial does not have.
    pub(super) fn trial_check(&mut self, check: &Located<Check>, load: &str) {
        if check.over.is_some() {
            let message = "a trial is measured as a whole, over `hold_for`";
            self.add(check.span, message, "leave out `over …`");
        }
        if self.slo_of_trial(check) {
            return;
        }
        let slos = &self.experiment.slos;
        let other =
            check.figures().into_iter().filter_map(|figure| figure.load(slos)).find(|name| *name != load);
        if let Some(other) = other.map(str::to_owned) {
            let message = format!("this measures `{other}`, and the search is for a rate of `{load}`");
            self.add(check.span, message, "measure the load that is searched");
        }
    }
}
