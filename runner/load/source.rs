//! Where a load's arrivals come from, on one of the sending threads: a schedule, or users who wait.
//!
//! An open model's arrivals are a pure function of its schedule; each thread walks the whole schedule and
//! takes every n-th, so that who sends what does not depend on how threads fare. A closed model's users
//! come back when they have been answered, so its instants are the system's doing; it is here, and not in
//! `schedule.rs`, because it is none. Start at [`Source`].

use std::collections::VecDeque;
use std::num::NonZeroU64;

use super::schedule::{Arrival, Draw, Schedule};
use crate::plan::LoadPlan;

/// One thread's part of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which thread, from 0.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

impl Share {
    /// The part of `count` things that falls to this thread; all parts together are `count`.
    pub const fn part(self, count: u32) -> u32 {
        count / self.of + if self.index < count % self.of { 1 } else { 0 }
    }

    /// True for the arrivals that this thread sends.
    const fn takes(self, number: u64) -> bool {
        number % self.of as u64 == self.index as u64
    }
}

/// A load's arrivals that fall to one thread, in order of their instants.
#[derive(Debug)]
pub enum Source {
    /// Arrivals that do not wait for answers.
    Open(Open),
    /// Users who do.
    Closed(Users),
}

/// An open model's arrivals.
#[derive(Debug)]
pub struct Open {
    schedule: Schedule,
    share: Share,
    next: Option<Arrival>,
    /// Instants of what was taken from the schedule and is not sent yet: other threads' arrivals, then the
    /// next of ours.
    ahead_ns: Vec<u64>,
}

/// A closed model's users.
#[derive(Debug)]
pub struct Users {
    /// When each user that is not waiting for an answer comes next: ascending, because all think for the
    /// same time and are answered one after the other.
    ready_ns: VecDeque<u64>,
    think_ns: u64,
    draw: Draw,
    number: u64,
    /// The number of the load's last arrival.
    last: u64,
    share: Share,
}

impl Source {
    /// The part of a planned load that falls to a thread, its arrivals those of `schedule`. Users come no more after `answers` arrivals of
    /// all threads together.
    pub fn new(plan: &LoadPlan, schedule: Schedule, share: Share, answers: Option<NonZeroU64>) -> Self {
        let Some(users) = &plan.load.users else {
            let mut open = Open { schedule, share, next: None, ahead_ns: Vec::new() };
            open.step();
            return Self::Open(open);
        };
        Self::Closed(Users {
            ready_ns: std::iter::repeat_n(0, share.part(users.value) as usize).collect(),
            think_ns: plan.load.think.as_ns(),
            draw: Draw::of(plan),
            number: u64::from(share.index) + 1,
            last: answers.map_or(u64::MAX, NonZeroU64::get),
            share,
        })
    }

    /// When the next arrival is meant to be sent, in nanoseconds from the load's start; nothing if none
    /// will come, or none before somebody is answered.
    pub fn next_ns(&self) -> Option<u64> {
        match self {
            Self::Open(open) => open.next.map(|arrival| arrival.at_ns),
            Self::Closed(users) => users.ready_ns.front().copied().filter(|_| users.number <= users.last),
        }
    }

    /// Takes the next arrival.
    pub fn take(&mut self) -> Option<Arrival> {
        match self {
            Self::Open(open) => {
                let taken = open.next;
                open.step();
                taken
            }
            Self::Closed(users) => {
                let at_ns = users.ready_ns.pop_front().filter(|_| users.number <= users.last)?;
                let number = users.number;
                users.number += u64::from(users.share.of);
                Some(Arrival { number, at_ns, request: users.draw.next() })
            }
        }
    }

    /// From `at_ns` after the load's start on, arrivals are those of another schedule.
    pub fn switch(&mut self, at_ns: u64, schedule: Schedule) {
        if let Self::Open(open) = self {
            open.schedule.switch(at_ns, schedule, &open.ahead_ns);
            if open.next.is_none_or(|next| next.at_ns >= at_ns) {
                open.step();
            }
        }
    }

    /// Notes that an arrival ended, `at_ns` from the load's start: its user will come again.
    pub fn ended(&mut self, at_ns: u64) {
        if let Self::Closed(users) = self {
            users.ready_ns.push_back(at_ns.saturating_add(users.think_ns));
        }
    }
}

impl Open {
    fn step(&mut self) {
        self.ahead_ns.clear();
        self.next = self.schedule.find(|arrival| {
            self.ahead_ns.push(arrival.at_ns);
            self.share.takes(arrival.number)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Rate;
    use proptest::prelude::*;

    fn plan(load: &str) -> LoadPlan {
        let load = crate::spec::fragment(load).expect("it is well-formed");
        LoadPlan { name: "l".into(), load, seed: 7, slos: Vec::new(), expected_requests: None }
    }

    proptest! {
        /// However many threads share a load, together they send the schedule, each arrival once.
        #[test]
        fn threads_share_a_schedule_without_rest(of in 1u32..9, count in 1usize..400) {
            let plan = plan("{ rate: 1000/s, requests: [ { get: 'http://a' }, { get: 'http://b' } ] }");
            let whole: Vec<Arrival> = Schedule::of(&plan).take(count).collect();
            let until_ns = whole[count - 1].at_ns;
            let mut shared = Vec::new();
            for index in 0..of {
                let mut source = Source::new(&plan, Schedule::of(&plan), Share { index, of }, None);
                while source.next_ns().is_some_and(|at_ns| at_ns <= until_ns) {
                    shared.extend(source.take());
                }
            }
            shared.sort_by_key(|arrival| arrival.number);
            prop_assert_eq!(shared, whole);
        }

        /// Nor does a switch lose or double one, however far each thread has looked ahead.
        #[test]
        fn threads_switch_without_rest(of in 1u32..9, sent_ms in 0u64..60, later_us in 0u64..9_000) {
            let plan = plan("{ rate: 1000/s, requests: [ { get: 'http://a' }, { get: 'http://b' } ] }");
            let other = || Schedule::at_rate(&plan, Rate::per_s(3_000.0), 1);
            let at_ns = sent_ms * 1_000_000 + later_us * 1_000;
            let mut whole = Schedule::of(&plan);
            whole.switch(at_ns, other(), &[]);
            let whole: Vec<Arrival> = whole.take_while(|arrival| arrival.at_ns < 120_000_000).collect();
            let mut shared = Vec::new();
            for index in 0..of {
                let mut source = Source::new(&plan, Schedule::of(&plan), Share { index, of }, None);
                let due = |source: &Source, until_ns| source.next_ns().is_some_and(|at_ns| at_ns < until_ns);
                while due(&source, sent_ms * 1_000_000) {
                    shared.extend(source.take());
                }
                source.switch(at_ns, other());
                while due(&source, 120_000_000) {
                    shared.extend(source.take());
                }
            }
            shared.sort_by_key(|arrival| arrival.number);
            prop_assert_eq!(shared, whole);
        }

        #[test]
        fn parts_add_up(count: u32, of in 1u32..200) {
            let parts = (0..of).map(|index| u64::from(Share { index, of }.part(count)));
            prop_assert_eq!(parts.sum::<u64>(), u64::from(count));
        }
    }

    #[test]
    fn a_user_comes_again_once_answered_and_having_thought() {
        let plan = plan("{ users: 3, think: 2s, requests: [ get: 'http://a' ] }");
        let mut users =
            Source::new(&plan, Schedule::of(&plan), Share { index: 1, of: 2 }, NonZeroU64::new(5));
        let first = users.take().expect("the user is there from the start");
        assert_eq!((first.number, first.at_ns), (2, 0));
        assert_eq!(users.take(), None, "a thread of two has one of three users, who waits");
        users.ended(500);
        assert_eq!(users.next_ns(), Some(2_000_000_500));
        assert_eq!(users.take().map(|arrival| arrival.number), Some(4));
        users.ended(2_000_000_900);
        assert_eq!((users.next_ns(), users.take()), (None, None), "the fifth and last is another thread's");
    }
}
