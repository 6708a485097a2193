//! What indicators beside the load came to of late: what guards and the steady state go by.

use std::collections::BTreeMap;

use crate::plan::Plan;
use crate::slo::burn::Burn;
use crate::slo::{Tally, Value};
use crate::spec::{DEFAULT_WINDOW, Guard, Steady};
use crate::units::Duration;

/// The samples of as long as the longest window that is looked at.
pub(super) struct Recent {
    slos: BTreeMap<String, Burn>,
    longest: Duration,
}

impl Recent {
    /// Nothing yet, for the windows of a plan.
    pub fn of(plan: &Plan) -> Self {
        let guards = plan.abort.iter().filter_map(|guard| match guard {
            Guard::Check(check) => check.over,
            Guard::Probe(_) | Guard::Unhealthy(_) => None,
        });
        let steady = plan.steady_state.iter().filter_map(|steady| match steady {
            Steady::Check(check) => check.over,
            Steady::Probe(_) => None,
        });
        let longest = guards.chain(steady).max().unwrap_or(DEFAULT_WINDOW).max(DEFAULT_WINDOW);
        Self { slos: BTreeMap::new(), longest }
    }

    /// Takes in what an SLO's indicator came to between two instants.
    pub fn take(&mut self, slo: &str, span: (u64, u64), tally: Tally) {
        let seen = self.slos.entry(slo.to_owned()).or_default();
        seen.take(span, tally);
        seen.forget(self.longest, span.1);
    }

    /// The share that was good of what was counted in a window that ends at `now_ns`; nothing without data.
    pub fn share(&self, slo: &str, over: Duration, now_ns: u64) -> Option<Value> {
        self.slos.get(slo)?.within(over, now_ns).share().map(Value::exact)
    }
}
