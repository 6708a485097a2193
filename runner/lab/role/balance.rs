//! Which replica is asked next: the gateway's balancing and outlier ejection, without a socket or a clock.
//!
//! An ejected replica comes back through one trial request: only its success lets others follow, so that a
//! replica that stays broken costs one request each time, not a burst. When every replica is ejected,
//! ejection is ignored: asking a broken one is better than asking none.

use std::time::{Duration, Instant};

use crate::spec::Balance;

/// What the balancer goes by.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How the next replica is chosen among those that may be asked.
    pub balance: Balance,
    /// Failures in a row that eject; nothing: never.
    pub eject_after: Option<u32>,
    /// For how long.
    pub eject_for: Duration,
}

/// The replicas' standing. Replicas go by their index.
#[derive(Debug)]
pub struct Balancer {
    rules: Rules,
    replicas: Vec<Standing>,
    /// Where the next round starts. Retries and hedges have a round of their own: else every hedge around
    /// a slow replica would hand the next request to that same replica again.
    next: Rounds,
}

#[derive(Debug, Default)]
struct Rounds {
    first: usize,
    extra: usize,
}

/// One replica's standing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Requests under way.
    pub in_flight: u32,
    /// Failures since the last success.
    pub failures_in_row: u32,
    /// How often it was ejected, failed trials included.
    pub ejections: u64,
    ejected_until: Option<Instant>,
    /// The trial is under way.
    on_trial: bool,
}

impl Standing {
    /// May it be asked at `now`?
    pub fn admits(&self, now: Instant) -> bool {
        self.ejected_until.is_none_or(|until| now >= until && !self.on_trial)
    }
}

impl Balancer {
    /// `count` replicas, all in good standing.
    pub fn new(count: usize, rules: Rules) -> Self {
        Self { rules, replicas: vec![Standing::default(); count], next: Rounds::default() }
    }

    /// Each replica's standing.
    pub fn standings(&self) -> &[Standing] {
        &self.replicas
    }

    /// The replica to ask at `now`, preferably none of `tried`; counts as under way until [`Balancer::ended`].
    /// Nothing only if there are no replicas.
    pub fn pick(&mut self, tried: &[usize], now: Instant) -> Option<usize> {
        let fresh = |index: usize| !tried.contains(&index);
        let good = |standing: &Standing| standing.admits(now);
        let start = *self.round(tried);
        let chosen = self
            .choose(start, |index, standing| fresh(index) && good(standing))
            .or_else(|| self.choose(start, |_, standing| good(standing)))
            .or_else(|| self.choose(start, |index, _| fresh(index)))
            .or_else(|| self.choose(start, |_, _| true))?;
        Some(self.take(chosen, tried, now))
    }

    /// A replica to ask beside `tried`, only if one in good standing is left.
    pub fn pick_other(&mut self, tried: &[usize], now: Instant) -> Option<usize> {
        let start = *self.round(tried);
        let chosen = self.choose(start, |index, standing| !tried.contains(&index) && standing.admits(now))?;
        Some(self.take(chosen, tried, now))
    }

    /// The round that a first try, or a further one, is part of.
    const fn round(&mut self, tried: &[usize]) -> &mut usize {
        if tried.is_empty() { &mut self.next.first } else { &mut self.next.extra }
    }

    fn choose(&self, start: usize, may: impl Fn(usize, &Standing) -> bool) -> Option<usize> {
        let count = self.replicas.len();
        let round = (0..count).map(|step| (start + step) % count);
        let mut able = round.filter(|index| may(*index, &self.replicas[*index]));
        match self.rules.balance {
            Balance::RoundRobin => able.next(),
            // Of equals the first in the round.
            Balance::LeastBusy => able.min_by_key(|index| self.replicas[*index].in_flight),
        }
    }

    fn take(&mut self, index: usize, tried: &[usize], now: Instant) -> usize {
        *self.round(tried) = (index + 1) % self.replicas.len();
        let standing = &mut self.replicas[index];
        standing.in_flight += 1;
        standing.on_trial |= standing.ejected_until.is_some_and(|until| now >= until);
        index
    }

    /// A request to `index` ended at `now`.
    pub fn ended(&mut self, index: usize, well: Ended, now: Instant) {
        let standing = &mut self.replicas[index];
        standing.in_flight -= 1;
        match well {
            Ended::Well => {
                standing.failures_in_row = 0;
                standing.ejected_until = None;
                standing.on_trial = false;
            }
            Ended::Badly => {
                standing.failures_in_row = standing.failures_in_row.saturating_add(1);
                let limit = self.rules.eject_after.is_some_and(|limit| standing.failures_in_row >= limit);
                // Requests sent before the ejection fail after it: they don't prolong it.
                if limit && standing.ejected_until.is_none_or(|until| now >= until) {
                    standing.ejected_until = Some(now + self.rules.eject_for);
                    standing.on_trial = false;
                    standing.ejections += 1;
                }
            }
        }
    }
}

/// How a request to a replica ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer below 500.
    Well,
    /// With no answer, or 500 and above.
    Badly,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balancer(balance: Balance, eject_after: Option<u32>) -> (Balancer, Instant) {
        let rules = Rules { balance, eject_after, eject_for: Duration::from_secs(5) };
        (Balancer::new(3, rules), Instant::now())
    }

    #[test]
    fn round_robin_takes_turns_and_avoids_the_tried() {
        let (mut balancer, now) = balancer(Balance::RoundRobin, None);
        let turns: Vec<_> = (0..4).map(|_| balancer.pick(&[], now).unwrap()).collect();
        assert_eq!(turns, [0, 1, 2, 0]);
        assert_eq!(balancer.pick(&[1, 2], now), Some(0));
        assert_eq!(balancer.pick(&[0, 1, 2], now), Some(1), "all tried: the round goes on");
        assert_eq!(balancer.pick_other(&[0, 1, 2], now), None);
    }

    #[test]
    fn hedges_do_not_hand_the_next_turn_to_the_replica_they_went_around() {
        let (mut balancer, now) = balancer(Balance::RoundRobin, None);
        let turns: Vec<_> = (0..6)
            .map(|_| {
                let first = balancer.pick(&[], now).unwrap();
                let hedge = balancer.pick_other(&[first], now).unwrap();
                assert_ne!(first, hedge);
                first
            })
            .collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn least_busy_avoids_the_replica_that_does_not_answer() {
        let (mut balancer, now) = balancer(Balance::LeastBusy, None);
        let stuck = balancer.pick(&[], now).unwrap();
        for _ in 0..10 {
            let other = balancer.pick(&[], now).unwrap();
            assert_ne!(other, stuck);
            balancer.ended(other, Ended::Well, now);
        }
    }

    #[test]
    fn ejects_after_failures_in_a_row_and_tries_once_when_the_time_is_over() {
        let (mut balancer, now) = balancer(Balance::RoundRobin, Some(2));
        let fail = |balancer: &mut Balancer, at| {
            let picked = balancer.pick(&[1, 2], at).unwrap();
            balancer.ended(picked, Ended::Badly, at);
            picked
        };
        assert_eq!(fail(&mut balancer, now), 0);
        let picked = balancer.pick_checked(0, now);
        balancer.ended(picked, Ended::Well, now);
        assert_eq!(
            (fail(&mut balancer, now), fail(&mut balancer, now)),
            (0, 0),
            "a success starts the count anew"
        );
        assert_ne!(balancer.pick(&[1, 2], now), Some(0), "ejected: rather a tried one in good standing");
        let later = now + Duration::from_secs(5);
        assert_eq!(balancer.pick(&[1, 2], later), Some(0), "the trial");
        assert_ne!(balancer.pick(&[1, 2], later), Some(0), "one at a time");
        balancer.ended(0, Ended::Badly, later);
        assert_eq!(balancer.standings()[0].ejections, 2);
        assert!(!balancer.standings()[0].admits(later + Duration::from_secs(4)));
        let again = later + Duration::from_secs(5);
        assert_eq!(balancer.pick(&[1, 2], again), Some(0));
        balancer.ended(0, Ended::Well, again);
        assert!(balancer.standings()[0].admits(again));
    }

    #[test]
    fn ignores_ejection_when_nothing_else_is_left() {
        let (mut balancer, now) = balancer(Balance::RoundRobin, Some(1));
        for _ in 0..3 {
            let picked = balancer.pick(&[], now).unwrap();
            balancer.ended(picked, Ended::Badly, now);
        }
        assert!(balancer.standings().iter().all(|standing| !standing.admits(now)));
        assert_eq!(balancer.pick(&[0], now), Some(1));
        assert_eq!(balancer.pick_other(&[0], now), None);
    }

    impl Balancer {
        /// Picks and checks who it is.
        fn pick_checked(&mut self, wanted: usize, now: Instant) -> usize {
            let others: Vec<_> = (0..self.replicas.len()).filter(|index| *index != wanted).collect();
            assert_eq!(self.pick(&others, now), Some(wanted));
            wanted
        }
    }
}
