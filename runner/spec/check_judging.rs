//! What is judged, and how: that every check measures something there is, in a window that fits, and that
//! nothing is broken without being judged.
//!
//! A part of `check.rs`, which calls it. Start at `checks`.

use super::check::Checker;
use super::check_probes::Place;
use super::decode::Located;
use super::expr::Check;
use super::k6::compile;
use super::{Guard, Steady};
use crate::units::Duration;

/// What stands for all phases together under `expect`, unless a phase is called so.
pub const WHOLE_RUN: &str = "run";

/// Where a check stands, which decides what it may ask.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Stand<'e> {
    Steady,
    Abort,
    Expect(&'e str),
    /// A trial of a search for a rate of this load.
    Trial(&'e str),
}

impl Stand<'_> {
    /// True if it is judged when all of its phase is known.
    pub(super) const fn is_afterwards(self) -> bool {
        matches!(self, Self::Expect(_))
    }
}

impl Checker<'_> {
    pub(super) fn checks(&mut self) {
        let experiment = self.experiment;
        for steady in &experiment.steady_state {
            match steady {
                Steady::Check(check) => self.check(check, Stand::Steady),
                Steady::Probe(entry) => self.probe(&entry.probe, Place::SteadyState),
            }
        }
        for guard in &experiment.abort {
            self.guard(guard);
        }
        self.probes();
        for (_, phase) in experiment.phases.iter() {
            let Some(search) = &phase.find_rate else { continue };
            for check in search.holds.iter() {
                self.check(check, Stand::Trial(&search.load));
            }
        }
        self.thresholds();
        for (phase, checks) in &experiment.expect.0 {
            if phase.value != WHOLE_RUN {
                self.known(phase, phase.span, "phase", &self.names.phases);
            }
            if checks.is_empty() && !self.names.touched("expect", phase, self.mistakes) {
                let message = format!("nothing is expected of phase `{}`", phase.value);
                self.add(
                    phase.span,
                    message,
                    "list a check, or leave the phase out to judge it by the steady state",
                );
            }
            for check in checks {
                self.check(check, Stand::Expect(&phase.value));
            }
        }
    }

    fn thresholds(&mut self) {
        for (metric, list) in &self.experiment.thresholds.0 {
            if self.names.phases.iter().any(|name| name == WHOLE_RUN) {
                let message =
                    format!("thresholds are judged over the whole run, and a phase is called `{WHOLE_RUN}`");
                return self.add(metric.span, message, "give the phase another name");
            }
            for threshold in list {
                let span = threshold.span();
                match compile(metric, threshold) {
                    Ok(compiled) => {
                        self.check(&Located { value: compiled.check, span }, Stand::Expect(WHOLE_RUN));
                        if let Some(guard) = compiled.guard {
                            self.check(&Located { value: guard, span }, Stand::Abort);
                        }
                    }
                    Err(lost) => self.add(span, lost.message, lost.hint),
                }
            }
        }
    }

    fn guard(&mut self, guard: &Guard) {
        match guard {
            Guard::Check(check) => self.check(check, Stand::Abort),
            Guard::Probe(guard) => {
                self.probe(&guard.probe, Place::Guard);
                if guard.failures.value == 0 {
                    let why = "a guard that fires after no failure would end every run";
                    self.add(guard.failures.span, why, "write `1` or more");
                }
            }
            Guard::Unhealthy(guard) => {
                self.known(&guard.unhealthy, guard.unhealthy.span, "target", &self.names.targets);
            }
        }
    }

    fn check(&mut self, check: &Located<Check>, stand: Stand<'_>) {
        let before = self.mistakes.list.len();
        self.figures(check, stand);
        if self.mistakes.list.len() > before {
            return;
        }
        if let Stand::Trial(load) = stand {
            return self.trial_check(check, load);
        }
        if let Some(window) = check.over {
            self.window(check, window, stand);
        }
    }

    /// A window must fit into what it is judged on.
    fn window(&mut self, check: &Located<Check>, window: Duration, stand: Stand<'_>) {
        let experiment = self.experiment;
        let all = experiment.phases.iter().fold(Duration::ZERO, |sum, (_, phase)| sum + phase.longest());
        if stand == Stand::Abort && window > all && !all.is_zero() {
            let message = format!("the window of {window} is longer than the whole run ({all})");
            return self.add(check.span, message, "shorten the window");
        }
        let short = experiment.phases.0.iter().find(|(name, phase)| {
            let judged = match stand {
                // The baseline, phases that wait for it, and those that it judges for lack of anything else.
                Stand::Steady => {
                    let faulty = !phase.faults.is_empty() && phase.find_rate.is_none();
                    let own = faulty && experiment.expect.get(name).is_none();
                    self.names.phases.first() == Some(&name.value) || own || phase.until.is_some()
                }
                Stand::Expect(wanted) => name.value == wanted,
                Stand::Abort | Stand::Trial(_) => false,
            };
            judged && !phase.longest().is_zero() && window > phase.longest()
        });
        if let Some((name, phase)) = short {
            let message =
                format!("the window of {window} is longer than phase `{}` ({})", name.value, phase.longest());
            self.add(check.span, message, "shorten the window, or lengthen the phase");
        }
    }

    /// What is broken must be judged, and what is judged must have held before.
    pub(super) fn judged(&mut self) {
        let experiment = self.experiment;
        for (name, phase) in &experiment.phases.0 {
            let Some(fault) = phase.faults.first() else { continue };
            if self.names.steady_state && self.names.phases.first() == Some(&name.value) {
                let hint = "put a phase without faults before it: `baseline: { for: 20s }`";
                self.add(
                    fault.span,
                    "the first phase has faults, so the steady state is never seen unbroken",
                    hint,
                );
            }
            let judged = self.names.steady_state
                || !self.names.slos.is_empty()
                || experiment.expect.get(name).is_some()
                || experiment.expect.get(WHOLE_RUN).is_some()
                || !experiment.thresholds.is_empty()
                || phase.find_rate.is_some()
                || self.probed(&name.value);
            if !judged {
                let message =
                    format!("nothing judges phase `{}`: whatever its faults do, it would pass", name.value);
                self.add(
                    name.span,
                    message,
                    "write a `steady_state`, an SLO, a probe, or an entry under `expect`",
                );
            }
        }
    }
}
