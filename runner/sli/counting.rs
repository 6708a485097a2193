//! From what Prometheus said at one instant after the other to what was good of how much in between. Pure.
//!
//! Counters only grow, except that a process which starts anew begins at zero; so what a counter grew by is its
//! difference, or all of it if it fell. That is done series by series before anything is added up, or the fall of one
//! would hide what the others grew by. Start at [`Counting::next`].

use crate::prometheus::Series;
use crate::slo::Tally;
use crate::units::Duration;

/// What Prometheus said at one instant.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// How far counters had come.
    Counters {
        /// Those of good events.
        good: Series,
        /// Those of all events.
        total: Series,
    },
    /// Events a second, good ones and all.
    Rates(Tally),
    /// A figure, and whether it is as wanted.
    Figure {
        /// True if it is.
        good: bool,
    },
}

/// Counts what readings at one instant after the other come to.
#[derive(Clone, Debug, Default)]
pub struct Counting {
    good: Series,
    total: Series,
    /// True if the last reading was one.
    knows: bool,
}

impl Counting {
    /// What a stretch came to at whose end this was read; nothing if it was not, or of counters not at its start.
    pub fn next(&mut self, reading: Option<Reading>, lasted: Duration) -> Option<Tally> {
        let known_before = std::mem::replace(&mut self.knows, reading.is_some());
        match reading? {
            Reading::Counters { good, total } => {
                let (good, total) = (grown(&mut self.good, good), grown(&mut self.total, total));
                // Scraped at different times, a part may seem more than the whole.
                known_before.then(|| Tally { good: good.min(total), total })
            }
            Reading::Rates(per_s) => {
                let all = per_s.part(lasted.as_s());
                Some(Tally { good: all.good.clamp(0.0, all.total.max(0.0)), total: all.total.max(0.0) })
            }
            Reading::Figure { good } => {
                let total = lasted.as_s();
                Some(Tally { good: if good { total } else { 0.0 }, total })
            }
        }
    }
}

/// What counters grew by, all together. A series that was not there before began at zero; one that is gone for a while
/// goes on from where it was.
fn grown(before: &mut Series, now: Series) -> f64 {
    let mut sum = 0.0;
    for (labels, value) in now {
        let was = before.insert(labels, value).unwrap_or(0.0);
        sum += if value >= was { value - was } else { value };
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prometheus::Labels;

    fn series(values: &[(&str, f64)]) -> Series {
        let labels = |name: &str| Labels::from([("instance".to_owned(), name.to_owned())]);
        values.iter().map(|(name, value)| (labels(name), *value)).collect()
    }

    const EVERY: Duration = Duration::from_s(5);

    #[test]
    fn counters_are_counted_series_by_series() {
        let read = |good: &[(&str, f64)], total: &[(&str, f64)]| {
            Some(Reading::Counters { good: series(good), total: series(total) })
        };
        let mut counting = Counting::default();
        let mut next = |reading| counting.next(reading, EVERY).map(|tally| (tally.good, tally.total));
        let steps = [
            (
                read(&[("a", 100.0), ("b", 50.0)], &[("a", 110.0), ("b", 50.0)]),
                None,
                "nothing to compare with",
            ),
            (
                read(&[("a", 190.0), ("b", 60.0)], &[("a", 210.0), ("b", 60.0)]),
                Some((100.0, 110.0)),
                "both grew",
            ),
            // b started anew and has counted 4 since: what a grew by does not make up for its fall.
            (
                read(&[("a", 200.0), ("b", 3.0)], &[("a", 220.0), ("b", 4.0)]),
                Some((13.0, 14.0)),
                "b began anew",
            ),
            (read(&[("a", 200.0)], &[("a", 220.0)]), Some((0.0, 0.0)), "b is gone, and a saw nothing"),
            (read(&[("a", 200.0), ("b", 5.0)], &[("a", 220.0), ("b", 9.0)]), Some((2.0, 5.0)), "b goes on"),
            (read(&[("a", 200.0), ("c", 7.0)], &[("a", 220.0), ("c", 8.0)]), Some((7.0, 8.0)), "c is new"),
            (None, None, "no answer"),
            (
                read(&[("a", 300.0)], &[("a", 330.0)]),
                None,
                "which part of it was in this stretch is not known",
            ),
            (read(&[("a", 312.0)], &[("a", 340.0)]), Some((10.0, 10.0)), "a part is no more than the whole"),
        ];
        for (reading, expected, why) in steps {
            assert_eq!(next(reading), expected, "{why}");
        }
    }

    #[test]
    fn rates_and_figures_stand_for_the_stretch_before() {
        let mut counting = Counting::default();
        let mut next = |reading| counting.next(Some(reading), EVERY).unwrap();
        assert_eq!(
            next(Reading::Rates(Tally { good: 98.0, total: 100.0 })),
            Tally { good: 490.0, total: 500.0 }
        );
        assert_eq!(next(Reading::Rates(Tally { good: 2.0, total: 1.0 })), Tally { good: 5.0, total: 5.0 });
        assert_eq!(next(Reading::Figure { good: true }), Tally { good: 5.0, total: 5.0 });
        assert_eq!(next(Reading::Figure { good: false }), Tally { good: 0.0, total: 5.0 });
        assert_eq!(counting.next(None, EVERY), None);
    }
}
