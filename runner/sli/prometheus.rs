//! An indicator out of Prometheus: instant queries while the run lasts, range queries over all of it afterwards.
//!
//! Both ask for the same instants, so that what was missed is what it would have been. Start at
//! [`FromPrometheus::read`] and [`FromPrometheus::look_back`].

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Counting, Reading, Said};
use crate::probe::Asker;
use crate::prometheus::{Client, MAX_STEPS, Series, Steps, one_of};
use crate::slo::Tally;
use crate::spec::{Counts, NumberCheck, PromQl, PrometheusSli};
use crate::units::Duration;

/// An indicator out of Prometheus, and how far it was read.
pub(super) struct FromPrometheus {
    sli: PrometheusSli,
    counting: Counting,
}

impl FromPrometheus {
    pub fn new(sli: PrometheusSli) -> Self {
        Self { sli, counting: Counting::default() }
    }

    pub async fn begin(&mut self, at: Timestamp, asker: &Asker) {
        let reading = self.ask(at, asker).await.ok();
        self.counting.next(reading.map(|(reading, _)| reading), Duration::ZERO);
    }

    pub async fn read(&mut self, at: Timestamp, lasted: Duration, asker: &Asker) -> Said {
        match self.ask(at, asker).await {
            Ok((reading, detail)) => said(self.counting.next(Some(reading), lasted), detail),
            Err(why) => {
                self.skip();
                Said::unknown(why)
            }
        }
    }

    pub fn skip(&mut self) {
        self.counting.next(None, Duration::ZERO);
    }

    /// Only what is known is given: why the rest is not was said when it was asked for first.
    pub async fn look_back(
        &self,
        from: Timestamp,
        every: Duration,
        count: u32,
        asker: &Asker,
    ) -> BTreeMap<u32, Said> {
        let all = Steps { from, every, count: count.saturating_add(1) };
        let mut counting = Counting::default();
        let mut found = BTreeMap::new();
        let mut first = 0;
        while first < all.count {
            let steps = Steps { from: all.at(first), every, count: (all.count - first).min(MAX_STEPS) };
            let mut read = self.within(self.ask_range(steps, asker)).await.unwrap_or_default();
            for index in 0..steps.count {
                let (reading, detail) = match read.remove(&index) {
                    Some((reading, detail)) => (Some(reading), detail),
                    None => (None, None),
                };
                let tally = counting.next(reading, every);
                if tally.is_some() && first + index > 0 {
                    found.insert(first + index, said(tally, detail));
                }
            }
            first += steps.count;
        }
        found
    }

    /// What is said at an instant, with its value if it is one.
    async fn ask(&self, at: Timestamp, asker: &Asker) -> Result<(Reading, Option<String>), String> {
        let client = self.client(asker);
        let asked = async {
            match &self.sli.asks {
                PromQl::Ratio(ratio) => {
                    // In this order: a scrape that ends in between makes all events seem more, never the good ones.
                    let good = named("good", client.series(&ratio.good, at)).await?;
                    let total = named("total", client.series(&ratio.total, at)).await?;
                    Ok((events(ratio.kind.value, good, total)?, None))
                }
                PromQl::Figure(figure) => {
                    Ok(of_figure(client.value(&figure.query, Some(at)).await?, figure.value.value))
                }
            }
        };
        self.within(asked).await
    }

    /// The same at each of some instants of which something is known, by its index.
    async fn ask_range(
        &self,
        steps: Steps,
        asker: &Asker,
    ) -> Result<BTreeMap<u32, (Reading, Option<String>)>, String> {
        let client = self.client(asker);
        match &self.sli.asks {
            PromQl::Ratio(ratio) => {
                let (good, mut total) = futures_util::future::try_join(
                    client.range(&ratio.good, steps),
                    client.range(&ratio.total, steps),
                )
                .await?;
                let both = good.into_iter().filter_map(|(index, good)| {
                    let reading = events(ratio.kind.value, good, total.remove(&index)?).ok()?;
                    Some((index, (reading, None)))
                });
                Ok(both.collect())
            }
            PromQl::Figure(figure) => {
                let values = client.range(&figure.query, steps).await?;
                let one = |(index, series): (u32, Series)| {
                    Some((index, of_figure(one_of(&series).ok()?, figure.value.value)))
                };
                Ok(values.into_iter().filter_map(one).collect())
            }
        }
    }

    fn client<'c>(&'c self, asker: &'c Asker) -> Client<'c> {
        Client { server: self.sli.server(), endpoints: asker.endpoints() }
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let timeout = self.sli.timeout.value;
        let answered = tokio::time::timeout(timeout.to_std(), asked).await;
        answered.unwrap_or_else(|_| Err(format!("Prometheus did not answer in {timeout}")))
    }
}

/// Says which of two queries something is wrong with.
async fn named<T>(name: &str, asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    asked.await.map_err(|why| format!("`{name}`: {why}"))
}

fn events(kind: Counts, good: Series, total: Series) -> Result<Reading, String> {
    match kind {
        Counts::Counters => Ok(Reading::Counters { good, total }),
        Counts::Rates => {
            let one = |name: &str, series| one_of(series).map_err(|why| format!("`{name}`: {why}"));
            Ok(Reading::Rates(Tally { good: one("good", &good)?, total: one("total", &total)? }))
        }
    }
}

fn of_figure(value: f64, wanted: NumberCheck) -> (Reading, Option<String>) {
    let good = wanted.holds(value);
    let detail = if good { format!("value {value}") } else { format!("value {value}, wanted {wanted}") };
    (Reading::Figure { good }, Some(detail))
}

/// What a stretch came to, in words where there are none yet.
fn said(tally: Option<Tally>, detail: Option<String>) -> Said {
    let Some(counted) = tally else {
        return Said::unknown("the counters were not known when it began");
    };
    let number = |value: f64| (value * 1e3).round() / 1e3;
    let counts = || format!("{} of {} events were good", number(counted.good), number(counted.total));
    Said { tally, detail: detail.unwrap_or_else(counts) }
}
