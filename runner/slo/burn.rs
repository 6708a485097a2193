//! Burn rates over sliding windows, and the alerts on them: the same while a run lasts and when it is judged.
//!
//! Multi-window alerts as in the Google SRE Workbook, chapter 5: the long window says that enough was lost to matter,
//! the short one that it still is. A run is shorter than the windows of a month's alerts. What came before it counts as
//! good and as busy as the run itself, so that an alert fires in a run when it would in production after good days.

use std::collections::VecDeque;

use super::{Tally, burn_rate, largest_burn};
use crate::spec::{BurnAlert, Named, Slo};
use crate::units::Duration;

/// What was counted in one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Counted {
    from_ns: u64,
    to_ns: u64,
    tally: Tally,
}

/// What an SLO's indicator counted, as far back as its longest window.
#[derive(Clone, Debug, Default)]
pub struct Burn {
    /// In the order in which they were told; mostly that of time.
    counted: VecDeque<Counted>,
    begin_ns: Option<u64>,
}

impl Burn {
    /// Takes in what was counted between two instants.
    pub fn take(&mut self, (from_ns, to_ns): (u64, u64), tally: Tally) {
        self.begin_ns = Some(self.begin_ns.map_or(from_ns, |begin_ns| begin_ns.min(from_ns)));
        self.counted.push_back(Counted { from_ns, to_ns, tally });
    }

    /// Forgets what lies more than `over` before `at_ns`.
    pub fn forget(&mut self, over: Duration, at_ns: u64) {
        let oldest_ns = at_ns.saturating_sub(over.as_ns());
        while self.counted.front().is_some_and(|first| first.to_ns <= oldest_ns) {
            self.counted.pop_front();
        }
    }

    /// What was counted in the window that ends at `at_ns`. A stretch that the window begins inside of counts by its
    /// share.
    pub fn within(&self, over: Duration, at_ns: u64) -> Tally {
        let from_ns = at_ns.saturating_sub(over.as_ns());
        let mut sum = Tally::default();
        for one in self.counted.iter().filter(|one| one.to_ns > from_ns && one.from_ns < at_ns) {
            let length_ns = one.to_ns.saturating_sub(one.from_ns).max(1) as f64;
            let inside_ns = one.to_ns.min(at_ns).saturating_sub(one.from_ns.max(from_ns)).max(1) as f64;
            sum += one.tally.part((inside_ns / length_ns).min(1.0));
        }
        sum
    }

    /// The burn rate over the window that ends at `at_ns`; nothing if nothing was counted in it.
    pub fn rate(&self, over: Duration, at_ns: u64, objective: f64) -> Option<f64> {
        let window_ns = over.as_ns() as f64;
        let from_ns = at_ns.saturating_sub(over.as_ns());
        let seen = self.within(over, at_ns);
        if seen.total <= 0.0 {
            return None;
        }
        let seen_ns = at_ns.saturating_sub(from_ns.max(self.begin_ns?)).max(1) as f64;
        let all = seen.total * (window_ns / seen_ns).max(1.0);
        Some(burn_rate(seen.bad() / all, objective))
    }
}

/// An alert that began or ceased to fire.
#[derive(Clone, Debug, PartialEq)]
pub struct Turned {
    /// The SLO's name.
    pub slo: String,
    /// The alert in words.
    pub alert: String,
    /// True if it began to.
    pub firing: bool,
    /// When: the end of the stretch that turned it.
    pub at_ns: u64,
    /// The burn rate over the long window.
    pub burn: f64,
    /// The burn rate over the short one.
    pub short: f64,
}

/// The alerts of every SLO.
#[derive(Clone, Debug)]
pub struct Alerts {
    slos: Vec<Watched>,
}

#[derive(Clone, Debug)]
struct Watched {
    name: String,
    /// Nothing where it is measured on something else.
    load: Option<String>,
    objective: f64,
    alerts: Vec<(BurnAlert, bool)>,
    burn: Burn,
    /// The last instant looked at.
    looked_ns: u64,
}

impl Alerts {
    /// None of these SLOs' alerts fires yet.
    pub fn of(slos: &Named<Slo>) -> Self {
        let watched = slos.iter().filter(|(_, slo)| !slo.alerts.is_empty()).map(|(name, slo)| Watched {
            name: name.to_owned(),
            load: slo.load().map(str::to_owned),
            objective: slo.objective.value.get(),
            alerts: slo.alerts.iter().map(|alert| (alert.value.clone(), false)).collect(),
            burn: Burn::default(),
            looked_ns: 0,
        });
        Self { slos: watched.collect() }
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.slos.is_empty()
    }

    /// Takes in a stretch of a load, where `good` says how many were good by an SLO's name; gives the alerts that it
    /// turned.
    pub fn take(
        &mut self,
        load: &str,
        (from_ns, to_ns): (u64, u64),
        known: u64,
        good: impl Fn(&str) -> u64,
    ) -> Vec<Turned> {
        let of_load = self.slos.iter_mut().filter(|slo| slo.load.as_deref() == Some(load));
        of_load.flat_map(|slo| slo.take((from_ns, to_ns), Tally::of(good(&slo.name), known))).collect()
    }

    /// Takes in what was counted for one SLO beside the load; gives the alerts that it turned.
    pub fn take_one(&mut self, slo: &str, span: (u64, u64), tally: Tally) -> Vec<Turned> {
        let watched = self.slos.iter_mut().filter(|watched| watched.name == slo);
        watched.flat_map(|watched| watched.take(span, tally)).collect()
    }
}

impl Watched {
    fn take(&mut self, span: (u64, u64), tally: Tally) -> Vec<Turned> {
        self.burn.take(span, tally);
        // What is told late is of what was looked at before; it counts from now on.
        self.looked_ns = self.looked_ns.max(span.1);
        self.look()
    }

    fn look(&mut self) -> Vec<Turned> {
        let mut turned = Vec::new();
        let at_ns = self.looked_ns;
        for (alert, firing) in &mut self.alerts {
            let over = |window| self.burn.rate(window, at_ns, self.objective);
            // Without anything that ended there is nothing to say, and an alert stays as it was.
            let (Some(burn), Some(short)) = (over(alert.over.value), over(alert.short())) else { continue };
            // A hair less, so that a burn that is reached exactly is reached.
            let threshold = alert.burn.get() * (1.0 - 1e-9);
            let fires = burn >= threshold && short >= threshold;
            if fires != *firing {
                *firing = fires;
                let (slo, alert) = (self.name.clone(), alert.to_string());
                turned.push(Turned { slo, alert, firing: fires, at_ns, burn, short });
            }
        }
        let longest = self.alerts.iter().map(|(alert, _)| alert.over.value.max(alert.short())).max();
        self.burn.forget(longest.unwrap_or(Duration::ZERO), at_ns);
        turned
    }
}

/// Why an alert can never fire, with the arithmetic; nothing if it can.
pub fn never_fires(alert: &BurnAlert, objective: f64) -> Option<String> {
    let most = largest_burn(objective);
    (alert.burn.get() > most * (1.0 + 1e-9)).then(|| {
        format!(
            "a burn rate of {} can't be reached: if everything is bad, {} burns at 1 / (1 - {}) = {}",
            alert.burn.value,
            crate::units::Ratio::new(objective),
            (objective * 1e6).round() / 1e6,
            (most * 1e4).round() / 1e4,
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::NS_PER_S;

    fn slos(alert: &str) -> Named<Slo> {
        let text = format!("{{ a: {{ load: l, good: status < 500, objective: 99.9%, alerts: [{alert}] }} }}");
        crate::spec::fragment(&text).unwrap()
    }

    /// Seconds at which the alert turned, of seconds at 100/s with so many bad.
    fn turns(alert: &str, bad: &[u64]) -> Vec<(u64, bool)> {
        let mut alerts = Alerts::of(&slos(alert));
        let mut found = Vec::new();
        for (second, bad) in (0u64..).zip(bad) {
            let span = (second * NS_PER_S, (second + 1) * NS_PER_S);
            found.extend(alerts.take("l", span, 100, |_| 100 - bad));
        }
        found.iter().map(|turned| (turned.at_ns / NS_PER_S, turned.firing)).collect()
    }

    #[test]
    fn a_total_outage_is_told_after_52_seconds_as_the_arithmetic_has_it() {
        // Burn 14.4 over 1h at 99.9% is reached after 51.84 s, whatever the run was before.
        let alert = "{ burn: 14.4, over: 1h, and: 5m }";
        assert_eq!(turns(alert, &[100; 80]), [(52, true)]);
        let later: Vec<u64> = (0..120).map(|second| if second < 30 { 0 } else { 100 }).collect();
        assert_eq!(turns(alert, &later), [(82, true)]);
    }

    #[test]
    fn the_short_window_ends_an_alert_soon_after_the_loss() {
        // Lost for 5 s of a window of 60 s: burn 83 over the long window at the worst, which the short one outlives.
        let bad: Vec<u64> = (0..90).map(|second| if (20..25).contains(&second) { 100 } else { 0 }).collect();
        assert_eq!(turns("{ burn: 50, over: 1m, and: 5s }", &bad), [(23, true), (30, false)]);
        // Without a short one of its own, a twelfth of the long one: the same 5 s.
        assert_eq!(turns("{ burn: 50, over: 1m }", &bad), [(23, true), (30, false)]);
    }

    #[test]
    fn what_can_never_fire_is_told_with_the_arithmetic() {
        let alert: BurnAlert = crate::spec::fragment("{ burn: 36, over: 1h }").unwrap();
        assert_eq!(
            never_fires(&alert, 0.95).unwrap(),
            "a burn rate of 36 can't be reached: if everything is bad, 95% burns at 1 / (1 - 0.95) = 20"
        );
        assert_eq!(never_fires(&alert, 0.999), None);
        let exact: BurnAlert = crate::spec::fragment("{ burn: 20, over: 1h }").unwrap();
        assert_eq!(never_fires(&exact, 0.95), None);
    }

    proptest! {
        /// Against counting every millisecond.
        #[test]
        fn rates_match_counting_one_by_one(
            stretches in prop::collection::vec((1u64..50, 0u64..20, 0u64..20), 1..40),
            over_ms in 1u64..400,
        ) {
            let mut burn = Burn::default();
            let (mut at, mut slow) = (0u64, Vec::new());
            for (length, good, bad) in stretches {
                burn.take((at * 1_000_000, (at + length) * 1_000_000), Tally::of(good, good + bad));
                let each = 1.0 / length as f64;
                slow.extend((0..length).map(|_| (bad as f64 * each, (good + bad) as f64 * each)));
                at += length;
            }
            let first = slow.len().saturating_sub(over_ms as usize);
            let seen = (slow.len() - first) as f64;
            let (bad, known) = slow[first..].iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            let expected = (known > 0.0).then(|| bad / (known * (over_ms as f64 / seen).max(1.0)) / (1.0 - 0.99));
            let found = burn.rate(Duration::from_ns(over_ms * 1_000_000), at * 1_000_000, 0.99);
            match (found, expected) {
                (Some(found), Some(expected)) => prop_assert!((found - expected).abs() < 1e-6 * expected.max(1.0)),
                (found, expected) => prop_assert_eq!(found, expected),
            }
        }
    }
}
