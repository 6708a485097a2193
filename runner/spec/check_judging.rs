//! What is judged, and how: that every check measures something there is, in a window that fits, and that
//! nothing is broken without being judged.
//!
//! A part of `check.rs`, which calls it. Start at `checks`.

use super::check::Checker;
use super::decode::Located;
use super::expr::{Check, Metric};
use super::{Guard, Steady, check_requests};
use crate::units::Duration;

/// Where a check stands, which decides what it may ask.
#[derive(Clone, Copy, PartialEq)]
enum Stand<'e> {
    Steady,
    Abort,
    Expect(&'e str),
    /// A trial of a search for a rate of this load.
    Trial(&'e str),
}

impl Checker<'_> {
    pub(super) fn checks(&mut self) {
        let experiment = self.experiment;
        for steady in &experiment.steady_state {
            match steady {
                Steady::Check(check) => self.check(check, Stand::Steady),
                Steady::Probe(entry) => check_requests::probe(experiment, &entry.probe, self.mistakes),
            }
        }
        for guard in &experiment.abort {
            self.guard(guard);
        }
        for (_, phase) in experiment.phases.iter() {
            let Some(search) = &phase.find_rate else { continue };
            for check in search.holds.iter() {
                self.check(check, Stand::Trial(&search.load));
            }
        }
        for (phase, checks) in &experiment.expect.0 {
            self.known(phase, phase.span, "phase", &self.names.phases);
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

    fn guard(&mut self, guard: &Guard) {
        match guard {
            Guard::Check(check) => self.check(check, Stand::Abort),
            Guard::Probe(guard) => {
                check_requests::probe(self.experiment, &guard.probe, self.mistakes);
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
        let span = check.span;
        match &check.metric {
            Metric::Slo(name) => self.known(name, span, "SLO", &self.names.slos),
            Metric::TimeToSteady | Metric::TimeToDetect => return self.time(check, stand),
            _ if self.names.loads.is_empty() => {
                self.add(
                    span,
                    format!("`{}` measures a load, and there is none", check.text),
                    "write `load:`",
                );
            }
            _ => {}
        }
        if let Some(load) = &check.load {
            self.known(load, span, "load", &self.names.loads);
        }
        if let Stand::Trial(load) = stand {
            return self.trial_check(check, load);
        }
        if let Some(window) = check.over {
            self.window(check, window, stand);
        }
    }

    fn time(&mut self, check: &Located<Check>, stand: Stand<'_>) {
        let name = if check.metric == Metric::TimeToSteady { "time_to_steady" } else { "time_to_detect" };
        if !matches!(stand, Stand::Expect(_)) {
            let message = format!("`{name}` is known only when a phase is over");
            return self.add(check.span, message, "write it under `expect`");
        }
        let guarded = check.metric == Metric::TimeToDetect && !self.experiment.abort.is_empty();
        if !self.names.steady_state && !guarded {
            let message = format!("`{name}` needs a steady state, and there is none");
            return self.add(check.span, message, "write `steady_state:` with what must hold");
        }
        if self.names.fault_count == 0 {
            self.add(
                check.span,
                format!("`{name}` counts from a fault, and there is none"),
                "add a fault to a phase",
            );
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
                || phase.find_rate.is_some();
            if !judged {
                let message =
                    format!("nothing judges phase `{}`: whatever its faults do, it would pass", name.value);
                self.add(name.span, message, "write a `steady_state`, an SLO, or an entry under `expect`");
            }
        }
    }
}
