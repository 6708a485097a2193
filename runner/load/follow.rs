//! Steps of flows that are still to be sent: each due a while after the answer before it.
//!
//! They are released with the arrivals, in order of their instants, so that requests under way stay in order,
//! too. A flow counts as under way while it waits here, which bounds the list by `max_in_flight`. Start at
//! [`Follow`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::visit::VisitId;

/// A step to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// Its intended instant, on the run's clock: what it is ordered by.
    pub at_ns: u64,
    /// Its arrival's number.
    pub number: u64,
    /// What its visitor carries.
    pub visit: VisitId,
    /// Which of the load's requests.
    pub request: u32,
}

/// The steps of one load that are still to be sent.
#[derive(Debug, Default)]
pub struct Follow(BinaryHeap<Reverse<Step>>);

impl Follow {
    /// Adds a step.
    pub fn add(&mut self, step: Step) {
        self.0.push(Reverse(step));
    }

    /// When the next one is due.
    pub fn next_ns(&self) -> Option<u64> {
        self.0.peek().map(|Reverse(step)| step.at_ns)
    }

    /// Takes the next one.
    pub fn take(&mut self) -> Option<Step> {
        self.0.pop().map(|Reverse(step)| step)
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_whenever_it_was_added() {
        let mut follow = Follow::default();
        for (number, at_ns) in [(1, 30), (2, 10), (3, 20), (4, 10)] {
            follow.add(Step { at_ns, number, visit: 0, request: 0 });
        }
        assert_eq!((follow.count(), follow.next_ns()), (4, Some(10)));
        let order: Vec<u64> = std::iter::from_fn(|| follow.take()).map(|step| step.number).collect();
        assert_eq!(order, [2, 4, 3, 1]);
        assert_eq!(follow.next_ns(), None);
    }
}
