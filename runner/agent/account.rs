//! What a proxy has done so far: read by the agent while the proxy works on.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::agent::wire::Counters;

/// What was done so far.
#[derive(Debug, Default)]
pub struct Account(Mutex<Figures>);

#[derive(Clone, Debug, Default)]
struct Figures {
    /// By what happened.
    counted: BTreeMap<&'static str, u64>,
    /// Delays really given, in nanoseconds.
    delays: Option<hdrhistogram::Histogram<u64>>,
}

impl Account {
    /// Notes that something happened once more.
    pub fn count(&self, what: &'static str) {
        self.with(|figures| *figures.counted.entry(what).or_default() += 1);
    }

    /// Notes a delay that was really given, of one of `what`.
    pub fn count_delay(&self, what: &'static str, given: Duration) {
        self.with(|figures| {
            *figures.counted.entry(what).or_default() += 1;
            let delays = figures.delays.get_or_insert_with(|| {
                hdrhistogram::Histogram::new(3).expect("three significant digits are allowed")
            });
            // It grows to what it is given; no delay is too long for it.
            let _ = delays.record(u64::try_from(given.as_nanos()).unwrap_or(u64::MAX));
        });
    }

    /// As the agent reports it.
    pub fn counters(&self) -> Counters {
        let figures = self.with(|figures| figures.clone());
        let ms = |ns: u64| ns as f64 / 1e6;
        let delay_ms = figures.delays.map(|delays| {
            BTreeMap::from([
                ("min".to_owned(), ms(delays.min())),
                ("p50".to_owned(), ms(delays.value_at_quantile(0.5))),
                ("p99".to_owned(), ms(delays.value_at_quantile(0.99))),
                ("max".to_owned(), ms(delays.max())),
            ])
        });
        let counted = figures.counted.into_iter().map(|(what, count)| (what.to_owned(), count)).collect();
        Counters { delay_ms, counted, ..Counters::default() }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Figures) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
