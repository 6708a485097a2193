//! The packets on hold: which one may go when, and what became of the others. Knows no kernel.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use hdrhistogram::Histogram;

use crate::agent::fate::{Fate, Fates};

/// Bytes of packets held at once in one queue, beyond which they are let through: 1 Gbit/s held 2 s.
pub const MAX_HELD_BYTES: u64 = 256 << 20;
/// When a packet goes on that only the end of holding lets go.
const NEVER_NS: u64 = u64::MAX;
/// The longest delay the histogram tells apart.
const HIST_MAX_NS: u64 = 3_600_000_000_000;

/// What an engine did so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Did {
    /// Packets that came in.
    pub received: u64,
    /// Packets released after their delay, or all at once at the end.
    pub delayed: u64,
    /// Packets let through undelayed because too many bytes were held.
    pub overflowed: u64,
    /// Packets that were gone from the kernel when their time was up.
    pub lost: u64,
    /// Packets that vanished as asked.
    pub dropped: u64,
    /// Packets of which a bit was turned over.
    pub corrupted: u64,
    /// Packets that went at once past others that were held.
    pub reordered: u64,
    /// Delay really given, in milliseconds: `min`, `p50`, `p99`, `max`; empty if none was.
    pub delay_ms: BTreeMap<String, f64>,
}

/// A packet on hold. Ordered by release, then by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hold {
    due_ns: u64,
    order: u64,
    arrived_ns: u64,
    /// The kernel's number of it.
    pub(super) id: u32,
    bytes: u32,
}

/// The packets on hold and what became of the others.
pub(super) struct Held {
    waiting: BinaryHeap<Reverse<Hold>>,
    bytes: u64,
    fates: Fates,
    /// True once nothing more is to happen to packets.
    ended: bool,
    did: Did,
    delay_ns: Histogram<u64>,
    /// The histogram rounds; that none was early must be seen exactly.
    shortest_ns: u64,
    longest_ns: u64,
}

/// What to do with a packet that has just come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    /// It is on hold; there is nothing to do yet.
    Held,
    /// It goes on as it is.
    Pass,
    /// It vanishes.
    Drop,
    /// It goes on twice.
    Duplicate,
    /// It goes on with a bit turned over, to which this number leads.
    Corrupt(u64),
}

impl Held {
    pub(super) fn new(fates: Fates) -> Self {
        let mut delay_ns = Histogram::new(3).expect("3 significant digits are in HdrHistogram's range");
        delay_ns.auto(true);
        Self {
            waiting: BinaryHeap::new(),
            bytes: 0,
            fates,
            ended: false,
            did: Did::default(),
            delay_ns,
            shortest_ns: u64::MAX,
            longest_ns: 0,
        }
    }

    /// Takes in a packet of `bytes` that came at `now_ns`.
    pub(super) fn welcome(&mut self, id: u32, bytes: u32, now_ns: u64) -> Welcome {
        self.did.received += 1;
        let due_ns = match self.fates.deal() {
            // Behind those that are still held, so that the end puts nothing out of order.
            _ if self.ended => NEVER_NS,
            Fate::Hold(delay_ns) => now_ns.saturating_add(delay_ns),
            Fate::Pass => return Welcome::Pass,
            Fate::Overtake => {
                self.did.reordered += u64::from(!self.waiting.is_empty());
                return Welcome::Pass;
            }
            Fate::Drop => {
                self.did.dropped += 1;
                return Welcome::Drop;
            }
            Fate::Duplicate => return Welcome::Duplicate,
            Fate::Corrupt(place) => return Welcome::Corrupt(place),
        };
        if self.bytes + u64::from(bytes) > MAX_HELD_BYTES {
            self.did.overflowed += 1;
            return Welcome::Pass;
        }
        self.bytes += u64::from(bytes);
        self.waiting.push(Reverse(Hold { due_ns, order: self.did.received, arrived_ns: now_ns, id, bytes }));
        Welcome::Held
    }

    /// When the next packet may go; nothing if none is held.
    pub(super) fn next_due_ns(&self) -> Option<u64> {
        self.waiting.peek().map(|next| next.0.due_ns)
    }

    /// Takes the next packet that is due at `now_ns`.
    pub(super) fn take_due(&mut self, now_ns: u64) -> Option<Hold> {
        if self.next_due_ns()? > now_ns {
            return None;
        }
        let Reverse(hold) = self.waiting.pop()?;
        self.bytes -= u64::from(hold.bytes);
        Some(hold)
    }

    /// True if packets go in the order in which they came.
    pub(super) const fn keeps_order(&self) -> bool {
        self.fates.keeps_order()
    }

    /// Lets whatever comes from now on go on as it is.
    pub(super) const fn end(&mut self) {
        self.ended = true;
    }

    /// Notes that a packet went on damaged.
    pub(super) const fn corrupted(&mut self) {
        self.did.corrupted += 1;
    }

    /// Notes that `packets` were gone when their time was up.
    pub(super) const fn lose(&mut self, packets: u64) {
        self.did.lost += packets;
    }

    /// Notes that a packet went at `now_ns`. One that an undo let go before its time says nothing of the delay.
    pub(super) fn released(&mut self, hold: &Hold, now_ns: u64) {
        if now_ns < hold.due_ns {
            return;
        }
        self.did.delayed += 1;
        let held_ns = now_ns.saturating_sub(hold.arrived_ns).clamp(1, HIST_MAX_NS);
        self.shortest_ns = self.shortest_ns.min(held_ns);
        self.longest_ns = self.longest_ns.max(held_ns);
        self.delay_ns.record(held_ns).expect("a resizing histogram takes every value up to its hour");
    }

    /// The account so far.
    pub(super) fn report(&self) -> Did {
        let mut did = self.did.clone();
        did.delayed = did.delayed.saturating_sub(did.lost);
        if !self.delay_ns.is_empty() {
            let (min, max) = (self.shortest_ns, self.longest_ns);
            let at = |quantile| self.delay_ns.value_at_quantile(quantile).clamp(min, max);
            for (name, ns) in [("min", min), ("p50", at(0.5)), ("p99", at(0.99)), ("max", max)] {
                did.delay_ms.insert(name.into(), ns as f64 / 1e6);
            }
        }
        did
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::wire::{Delay, Distribution, Effect};
    use proptest::prelude::*;

    fn held(delay_ns: u64, jitter_ns: u64) -> Held {
        let distribution = Distribution::Uniform;
        let delay = Delay { delay_ns, jitter_ns, distribution, correlation: 0.0, seed: 3 };
        Held::new(Fates::new(&Effect::Delay(delay)).unwrap())
    }

    proptest! {
        #[test]
        fn constant_delays_keep_the_order_and_none_goes_early(gaps in proptest::collection::vec(0u64..50, 1..200)) {
            let mut held = held(100, 0);
            let mut now_ns = 0;
            let mut arrivals = Vec::new();
            for gap in gaps {
                now_ns += gap;
                // Numbers wrap around, as the kernel's do.
                held.welcome((arrivals.len() as u32).wrapping_sub(5), 1, now_ns);
                arrivals.push(now_ns);
            }
            for (index, arrived) in arrivals.iter().enumerate() {
                prop_assert_eq!(held.next_due_ns(), Some(arrived + 100));
                prop_assert!(held.take_due(arrived + 99).is_none());
                let hold = held.take_due(arrived + 100).unwrap();
                prop_assert_eq!(hold.id, (index as u32).wrapping_sub(5));
            }
            prop_assert!(held.next_due_ns().is_none());
        }

        #[test]
        fn jitter_releases_in_order_of_due_times(count in 1usize..200) {
            let mut held = held(1_000, 900);
            for id in 0..count {
                held.welcome(id as u32, 1, id as u64);
            }
            let mut last_ns = 0;
            for _ in 0..count {
                let due_ns = held.next_due_ns().unwrap();
                prop_assert!(due_ns >= last_ns && due_ns >= 100);
                held.take_due(due_ns).unwrap();
                last_ns = due_ns;
            }
        }
    }

    #[test]
    fn more_bytes_than_may_be_held_are_let_through() {
        let mut held = held(100, 0);
        let big = 1 << 20;
        let packets = (MAX_HELD_BYTES / u64::from(big)) as u32;
        for id in 0..packets {
            assert_eq!(held.welcome(id, big, 0), Welcome::Held);
        }
        assert_eq!(held.welcome(packets, 1, 0), Welcome::Pass);
        held.take_due(100).unwrap();
        assert_eq!(held.welcome(packets + 1, 1, 100), Welcome::Held);
        assert_eq!(held.report().overflowed, 1);
    }

    #[test]
    fn the_account_is_exact_at_its_ends() {
        let mut held = held(40_000_001, 0);
        assert!(held.report().delay_ms.is_empty());
        for (id, late_ns) in [(0, 1), (1, 7_000_003)] {
            held.welcome(id, 1, 0);
            let hold = held.take_due(u64::MAX).unwrap();
            held.released(&hold, 40_000_000 + late_ns);
        }
        let did = held.report();
        assert_eq!((did.received, did.delayed), (2, 2));
        assert_eq!((did.delay_ms["min"], did.delay_ms["max"]), (40.000_001, 47.000_003));
    }
}
