//! What one interval of one load counts while it lasts: plain numbers by index, no names, no histograms.
//!
//! One [`Counts`] is changed for every request that ends; [`Counts::stats`] makes of it, once, what is
//! saved.

use std::collections::BTreeMap;

use super::outcome::{Class, End, Opened, Sample};
use super::record::{Boxes, Outcome, Stats};
use super::tally::Tally;
use crate::plan::LoadPlan;
use crate::spec::Request;

/// The names behind a load's indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The load's.
    pub load: String,
    /// Its requests', by [`Sample::request`]. Two may be the same and are then counted together.
    pub requests: Vec<String>,
    /// Its SLOs', by bit of [`Sample::slos`].
    pub slos: Vec<String>,
}

impl Named {
    /// Those of a plan's load. A request without a name is called by its method and path.
    pub fn of(plan: &LoadPlan) -> Self {
        Self {
            load: plan.name.clone(),
            requests: plan.load.sent().map(Request::label).collect(),
            slos: plan.slos.iter().map(|(name, _)| name.clone()).collect(),
        }
    }
}

/// An interval's counts.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    boxes: Boxes,
    /// Latencies, by request times four plus outcome; together they are all latencies.
    parts: Vec<Tally>,
    service: Tally,
    send_lag: Tally,
    first_byte: Tally,
    connect: Tally,
    tls: Tally,
    censored: Tally,
    /// In the order in which they were first seen: mostly there is one.
    statuses: Vec<(u16, u64)>,
    errors: [u64; Class::COUNT],
    examples: BTreeMap<Class, String>,
    /// By bit.
    slo_good: Vec<u64>,
    bytes: u64,
    retried: u64,
}

impl Counts {
    /// Counts one ended arrival.
    #[inline]
    pub fn count(&mut self, sample: &Sample) {
        let outcome = match sample.end {
            End::Good(status) => {
                self.boxes.good += 1;
                self.status(status);
                Outcome::Good
            }
            End::Bad(status, class) => {
                self.boxes.bad += 1;
                self.status(status);
                self.errors[class as usize] += 1;
                Outcome::Bad
            }
            End::TimedOut(class) => {
                self.boxes.timed_out += 1;
                self.errors[class as usize] += 1;
                Outcome::TimedOut
            }
            End::Failed(class) => {
                self.boxes.failed += 1;
                self.errors[class as usize] += 1;
                Outcome::Failed
            }
            End::Dropped => {
                self.boxes.dropped += 1;
                return;
            }
            End::CutOff => {
                self.boxes.cut_off += 1;
                self.send_lag.add(sample.send_lag_ns());
                self.censored.add(sample.latency_ns());
                self.retried += u64::from(sample.retried);
                return;
            }
        };
        self.send_lag.add(sample.send_lag_ns());
        self.service.add(sample.service_ns());
        let part = sample.request as usize * Outcome::ALL.len() + outcome as usize;
        if self.parts.len() <= part {
            self.parts.resize_with(part + 1, Tally::default);
        }
        self.parts[part].add(sample.latency_ns());
        if sample.first_byte_ns > 0 {
            self.first_byte.add(sample.first_byte_ns.saturating_sub(sample.intended_ns));
        }
        sample.count_slos(&mut self.slo_good);
        self.bytes += sample.bytes;
        self.retried += u64::from(sample.retried);
    }

    #[inline]
    fn status(&mut self, status: u16) {
        match self.statuses.iter_mut().find(|(seen, _)| *seen == status) {
            Some((_, count)) => *count += 1,
            None => self.statuses.push((status, 1)),
        }
    }

    /// Counts an opened connection.
    pub fn opened(&mut self, opened: &Opened) {
        self.connect.add(opened.connect_ns);
        if opened.tls_ns > 0 {
            self.tls.add(opened.tls_ns);
        }
    }

    /// Keeps what an error of this class looked like, if it is the first.
    pub fn example(&mut self, class: Class, text: String) {
        self.examples.entry(class).or_insert(text);
    }

    /// What was counted, by name.
    pub fn stats(self, named: &Named) -> Stats {
        let mut parts: BTreeMap<(&str, Outcome), super::record::Hist> = BTreeMap::new();
        for (part, tally) in self.parts.iter().enumerate().filter(|(_, tally)| !tally.is_empty()) {
            let request = named.requests.get(part / Outcome::ALL.len()).map_or("", String::as_str);
            let outcome = Outcome::ALL[part % Outcome::ALL.len()];
            tally.pour(parts.entry((request, outcome)).or_default());
        }
        let mut stats = Stats {
            boxes: self.boxes,
            service: self.service.hist(),
            send_lag: self.send_lag.hist(),
            first_byte: self.first_byte.hist(),
            connect: self.connect.hist(),
            tls: self.tls.hist(),
            censored: self.censored.hist(),
            statuses: self.statuses.into_iter().collect(),
            errors: Class::ALL
                .iter()
                .zip(self.errors)
                .filter(|(_, count)| *count > 0)
                .map(|(class, count)| (class.word().to_owned(), count))
                .collect(),
            examples: self
                .examples
                .into_iter()
                .map(|(class, text)| (class.word().to_owned(), text))
                .collect(),
            slo_good: named
                .slos
                .iter()
                .zip(self.slo_good)
                .filter(|(_, count)| *count > 0)
                .map(|(slo, count)| (slo.clone(), count))
                .collect(),
            bytes: self.bytes,
            retried: self.retried,
            ..Stats::default()
        };
        stats.set_parts(
            parts.into_iter().map(|((request, outcome), hist)| (request.to_owned(), outcome, hist)).collect(),
        );
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// What one arrival comes to, that was due at 1 ms, sent at 3, answered from 11 and ended at 13.
    fn check(end: End, slos: u64, expected: &serde_json::Value) {
        let named = Named {
            load: "a".into(),
            requests: vec!["one".into(), "two".into()],
            slos: vec!["fast".into(), "slo".into()],
        };
        let sample = Sample {
            load: 0,
            request: 1,
            end,
            intended_ns: MS,
            sent_ns: 3 * MS,
            first_byte_ns: if slos == 0 { 0 } else { 11 * MS },
            ended_ns: 13 * MS,
            bytes: 7,
            slos,
            retried: false,
        };
        let mut counts = Counts::default();
        counts.count(&sample);
        let stats = counts.stats(&named);
        let ms = |hist: &super::super::record::Hist| hist.quantile_s(1.0).map(|s| (s * 1e3).round());
        let parts: Vec<_> =
            stats.parts().map(|(request, outcome, hist)| (request.to_owned(), outcome, ms(hist))).collect();
        let found = serde_json::json!([
            stats.boxes.scheduled(),
            ms(&stats.latency),
            ms(&stats.service),
            ms(&stats.send_lag),
            ms(&stats.first_byte),
            ms(&stats.censored),
            parts,
            stats.statuses,
            stats.errors,
            stats.slo_good,
            stats.bytes,
        ]);
        assert_eq!(found, *expected, "{end:?}");
        let boxes = stats.boxes;
        let counted = [boxes.good, boxes.bad, boxes.timed_out, boxes.failed, boxes.dropped, boxes.cut_off];
        let which = match end {
            End::Good(_) => 0,
            End::Bad(..) => 1,
            End::TimedOut(_) => 2,
            End::Failed(_) => 3,
            End::Dropped => 4,
            End::CutOff => 5,
        };
        assert_eq!(counted[which], 1, "{end:?}");
    }

    #[test]
    fn requests_are_called_by_name_or_by_method_and_path() {
        for (text, expected) in [
            ("{ get: 'http://a:1/cart/x?user=5#top' }", "GET /cart/x"),
            ("{ post: 'http://a' }", "POST /"),
            ("{ get: 'http://a?q=1' }", "GET /"),
            ("{ name: front page, get: 'http://a/' }", "front page"),
        ] {
            let request: Request = crate::spec::fragment(text).unwrap();
            assert_eq!(request.label(), expected, "{text}");
        }
    }

    #[test]
    fn each_end_counts_where_it_should() {
        use serde_json::json;
        let timed = |outcome: &str, first_byte, statuses, errors, slo_good| {
            json!([
                1,
                12.0,
                10.0,
                2.0,
                first_byte,
                null,
                [["two", outcome, 12.0]],
                statuses,
                errors,
                slo_good,
                7
            ])
        };
        let none = || json!({});
        check(End::Good(200), 2, &timed("good", json!(10.0), json!({"200": 1}), none(), json!({"slo": 1})));
        check(
            End::Bad(500, Class::Status),
            0,
            &timed("bad", json!(null), json!({"500": 1}), json!({"unexpected: status": 1}), none()),
        );
        check(
            End::TimedOut(Class::AnswerTimeout),
            0,
            &timed("timed_out", json!(null), none(), json!({"timeout: answer": 1}), none()),
        );
        check(
            End::Failed(Class::Refused),
            0,
            &timed("failed", json!(null), none(), json!({"refused": 1}), none()),
        );
        check(End::Dropped, 0, &json!([1, null, null, null, null, null, [], {}, {}, {}, 0]));
        check(End::CutOff, 0, &json!([1, null, null, 2.0, null, 12.0, [], {}, {}, {}, 0]));
    }
}
