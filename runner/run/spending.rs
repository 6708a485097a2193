//! What a run has spent of its `limits`: requests, and the error budgets of its SLOs.
//!
//! Counted from the load's finished intervals and the samples of what is measured beside it, so some seconds behind. What is spent is compared with the
//! limit at every look; beyond it, the run is stopped like by a guard.

use std::collections::BTreeMap;

use crate::event::Measured;
use crate::load::Interval;
use crate::plan::Plan;
use crate::slo::{self, Tally};
use crate::units::{Duration, Ratio};

/// The counts so far.
pub(super) struct Spending<'p> {
    plan: &'p Plan,
    requests: u64,
    /// What was counted, by SLO.
    slos: BTreeMap<&'p str, Tally>,
    from_ns: u64,
}

impl<'p> Spending<'p> {
    pub fn new(plan: &'p Plan) -> Self {
        Self { plan, requests: 0, slos: BTreeMap::new(), from_ns: u64::MAX }
    }

    /// Counts an interval.
    pub fn take(&mut self, interval: &Interval) {
        let stats = &interval.stats;
        self.requests += stats.boxes.scheduled();
        self.from_ns = self.from_ns.min(interval.from_ns);
        for (name, _) in self.plan.slos.iter().filter(|(_, slo)| slo.load() == Some(&interval.load)) {
            let good = stats.slo_good.get(name).copied().unwrap_or_default();
            *self.slos.entry(name).or_default() += Tally::of(good, stats.boxes.known());
        }
    }

    /// Counts what an SLO beside the load came to between two instants.
    pub fn take_one(&mut self, slo: &str, (from_ns, _): (u64, u64), tally: Tally) {
        self.from_ns = self.from_ns.min(from_ns);
        if let Some((name, _)) = self.plan.slos.iter().find(|(name, _)| *name == slo) {
            *self.slos.entry(name).or_default() += tally;
        }
    }

    /// Every limit that is exceeded, as the guard it is.
    pub fn exceeded(&self, now_ns: u64) -> Vec<Measured> {
        let limits = &self.plan.limits;
        let requests =
            limits.requests.as_ref().filter(|limit| self.requests > limit.value).map(|limit| Measured {
                check: "limits.requests".into(),
                value: Some(self.requests.to_string()),
                threshold: limit.value.to_string(),
                holds: Some(true),
            });
        let budgets = limits.error_budget.iter().flat_map(|limit| {
            self.plan.slos.iter().filter_map(move |(name, slo)| {
                let spent = self.budget_spent(name, slo.objective.value, slo.window.value.least(), now_ns)?;
                (spent > limit.value.get()).then(|| Measured {
                    check: format!("limits.error_budget of {name}"),
                    value: Some(format!("{:.3}%", spent * 100.0)),
                    threshold: limit.value.to_string(),
                    holds: Some(true),
                })
            })
        });
        requests.into_iter().chain(budgets).collect()
    }

    /// The share of an SLO's error budget that went, by events: against what a window at this run's rate allows.
    fn budget_spent(&self, slo: &str, objective: Ratio, window: Duration, now_ns: u64) -> Option<f64> {
        let bad_ratio = 1.0 - self.slos.get(slo)?.share()?;
        let time = Duration::from_ns(now_ns.saturating_sub(self.from_ns));
        Some(slo::budget_spent(slo::burn_rate(bad_ratio, objective.get()), time, window))
    }
}
