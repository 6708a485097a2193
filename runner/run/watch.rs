//! Watching the live stream: guards and the steady state, evaluated several times a second.
//!
//! A live window is of requests that ended in it, whenever they were meant to start; requests that hang
//! count as not good. Before a window has had time to fill, guards keep quiet.

use std::collections::BTreeMap;

use super::recent::Recent;
use crate::event::{Measured, Tick};
use crate::load::Generator;
use crate::plan::Plan;
use crate::slo::{self, Sample};
use crate::spec::expr::{Check, Metric};
use crate::spec::{DEFAULT_WINDOW, Guard, Steady};
use crate::units::Duration;

/// The shortest window that says anything, however recently something was healed.
const SHORTEST_WINDOW: Duration = Duration::from_s(1);

/// The latest answer of each probe: `None` while there is none.
pub(super) type ProbeAnswers = BTreeMap<String, Option<bool>>;

/// The live stream, as guards and the steady state see it.
pub(super) struct Watch<'p> {
    pub plan: &'p Plan,
    pub generator: Option<&'p Generator>,
    /// What is measured beside the load.
    pub recent: &'p Recent,
}

/// What the steady state came to.
pub(super) struct SteadyNow {
    pub holds: Option<bool>,
    pub checks: Vec<Measured>,
}

impl Watch<'_> {
    /// Measures a check over its own window, cut to what happened after `since_ns`; nothing where the
    /// window, so cut, is too short to say anything.
    fn measure(&self, check: &Check, now_ns: u64, since_ns: u64) -> Option<Measured> {
        let since_ns = since_ns.max(self.begin_ns());
        let available = Duration::from_ns(now_ns.saturating_sub(since_ns));
        let over = check.over.unwrap_or(DEFAULT_WINDOW).min(available);
        if over < SHORTEST_WINDOW.min(check.over.unwrap_or(DEFAULT_WINDOW)) {
            return None;
        }
        let slos = &self.plan.slos;
        Some(slo::measure_by(check, slos, |figure| {
            if let Metric::Slo(name) = &figure.metric
                && slos.get(name).is_some_and(|slo| slo.load().is_none())
            {
                return self.recent.share(name, over, now_ns);
            }
            let window = self.generator?.window(figure.load(slos), over);
            let seconds = window.to_ns.saturating_sub(window.from_ns) as f64 / 1e9;
            let sample = Sample { overdue: window.overdue, ..Sample::of(&window.stats, seconds, slos) };
            slo::value_of(&figure.metric, &sample)
        }))
    }

    /// When what is watched began.
    fn begin_ns(&self) -> u64 {
        self.generator.map_or(0, Generator::begin_ns)
    }

    /// Every guard with its present value; guards whose window has not filled since the load began are left out.
    pub fn guards(&self, now_ns: u64) -> Vec<Measured> {
        self.plan
            .abort
            .iter()
            .filter_map(|guard| match guard {
                Guard::Check(check) => Some(check),
                Guard::Probe(_) | Guard::Unhealthy(_) => None,
            })
            .filter(|guard| {
                let over = guard.over.unwrap_or(DEFAULT_WINDOW);
                now_ns.saturating_sub(self.begin_ns()) >= over.as_ns()
            })
            .filter_map(|guard| self.measure(&guard.value, now_ns, 0))
            .collect()
    }

    /// The steady state over windows that reach back no further than `since_ns`.
    pub fn steady(&self, now_ns: u64, since_ns: u64, probes: &ProbeAnswers) -> SteadyNow {
        let checks: Vec<_> = self
            .plan
            .steady_state
            .iter()
            .map(|steady| match steady {
                Steady::Check(check) => {
                    self.measure(&check.value, now_ns, since_ns).unwrap_or_else(|| no_data(&check.value.text))
                }
                Steady::Probe(entry) => {
                    let name = entry.value.probe.to_string();
                    let holds = probes.get(&name).copied().flatten();
                    Measured {
                        value: holds.map(|ok| if ok { "as expected" } else { "not as expected" }.into()),
                        check: name,
                        threshold: "as expected".into(),
                        holds,
                    }
                }
            })
            .collect();
        let holds = if checks.iter().any(|check| check.holds == Some(false)) {
            Some(false)
        } else if checks.iter().all(|check| check.holds == Some(true)) {
            Some(true)
        } else {
            None
        };
        SteadyNow { holds, checks }
    }

    /// The last second in a few figures, with the guards as they were just measured.
    pub fn tick(&self, guards: Vec<Measured>) -> Tick {
        let Some(generator) = self.generator else { return Tick::default() };
        let window = generator.window(None, Duration::from_s(1));
        let known = window.stats.boxes.known() + window.overdue;
        let ms = |quantile| window.stats.latency.quantile_ns(quantile).map(|ns| ns as f64 / 1e6);
        Tick {
            rate_per_s: window.stats.boxes.scheduled() as f64,
            good_ratio: (known > 0).then(|| window.stats.boxes.good as f64 / known as f64),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            in_flight: window.in_flight,
            guards,
        }
    }
}

fn no_data(check: &str) -> Measured {
    Measured { check: check.into(), value: None, threshold: String::new(), holds: None }
}
