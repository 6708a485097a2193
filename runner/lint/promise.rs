//! Can the promises be kept, and does each add something?

use super::Findings;
use crate::spec::expr::{Condition, Term};
use crate::spec::{Experiment, LoadSli, Slo};
use crate::units::Ratio;

/// What needs several things one after the other is no more available than their product.
pub(super) fn ceilings(experiment: &Experiment, findings: &mut Findings) {
    for (name, slo) in experiment.slos.iter().filter(|(_, slo)| !slo.needs.0.is_empty()) {
        let ceiling: f64 = slo.needs.iter().map(|(_, needed)| needed.get()).product();
        if ceiling < slo.objective.get() {
            let each: Vec<_> = slo.needs.iter().map(|(_, needed)| needed.value.to_string()).collect();
            let message = format!(
                "`{name}` promises {}, and what it needs allows {} at most: {}",
                slo.objective.value,
                Ratio::new((ceiling * 1e6).floor() / 1e6),
                each.join(" × ")
            );
            let hint = "promise less, or make good requests possible without one of them (a cache, a retry, a default)";
            findings.add(slo.objective.span, message, hint);
        }
    }
}

/// Two SLOs of one load that can't both be met, or of which one says nothing new.
pub(super) fn pairs<'e>(experiment: &'e Experiment, findings: &mut Findings) {
    let of_load = |(name, slo): (_, &'e Slo)| slo.sli.load().map(|sli| Promise { name, slo, sli });
    let promises: Vec<Promise<'_>> = experiment.slos.iter().filter_map(of_load).collect();
    for (at, one) in promises.iter().enumerate() {
        for other in promises[at + 1..].iter().filter(|other| one.sli.load.value == other.sli.load.value) {
            pair(one, other, findings);
        }
    }
}

/// An SLO of a load.
struct Promise<'e> {
    name: &'e str,
    slo: &'e Slo,
    sli: &'e LoadSli,
}

fn pair(one: &Promise<'_>, other: &Promise<'_>, findings: &mut Findings) {
    let (one_name, other_name) = (one.name, other.name);
    let (a, b) = (Good::of(&one.sli.good), Good::of(&other.sli.good));
    let (promised, also) = (one.slo.objective.get(), other.slo.objective.get());
    if a.excludes(&b) && promised + also > 1.0 {
        let message = format!(
            "`{one_name}` and `{other_name}` contradict each other: no request is good for both, and together they want {}",
            Ratio::new(promised + also)
        );
        return findings.add(other.sli.good.span, message, "change one of the conditions");
    }
    let implied = |inner: &Good, outer: &Good, much: f64, less: f64| inner.is_within(outer) && much >= less;
    let hint = "leave it out, or make it stricter";
    if implied(&a, &b, promised, also) {
        let message = format!("`{other_name}` says nothing new: it is met whenever `{one_name}` is");
        findings.add(other.sli.good.span, message, hint);
    } else if implied(&b, &a, also, promised) {
        let message = format!("`{one_name}` says nothing new: it is met whenever `{other_name}` is");
        findings.add(one.sli.good.span, message, hint);
    }
}

/// Which requests a condition calls good.
struct Good {
    /// By status code; the first stands for no answer at all.
    statuses: Vec<bool>,
    /// The terms about latency; all of them must hold.
    latencies: Vec<Term>,
}

/// Every status code that there may be.
const STATUSES: std::ops::Range<u16> = 99..600;

impl Good {
    fn of(condition: &Condition) -> Self {
        let status = |status: u16| {
            condition.terms.iter().all(|term| match term {
                // 99 stands for none, which fulfils no condition on the status.
                Term::Status(op, code) => status >= 100 && op.holds(status, *code),
                Term::Latency(..) => true,
            })
        };
        let latencies = condition.terms.iter().filter(|term| matches!(term, Term::Latency(..)));
        Self { statuses: STATUSES.map(status).collect(), latencies: latencies.cloned().collect() }
    }

    fn latency(&self, ns: u64) -> bool {
        self.latencies.iter().all(|term| match term {
            Term::Latency(op, limit_ns) => op.holds(ns, *limit_ns),
            Term::Status(..) => true,
        })
    }

    /// The instants at which the answer may change, of both.
    fn instants(&self, other: &Self) -> Vec<u64> {
        let limits = self.latencies.iter().chain(&other.latencies).filter_map(|term| match term {
            Term::Latency(_, limit_ns) => Some(*limit_ns),
            Term::Status(..) => None,
        });
        let around = limits.flat_map(|ns| [ns.saturating_sub(1), ns, ns.saturating_add(1)]);
        std::iter::once(0).chain(around).chain([u64::MAX]).collect()
    }

    /// True if no request is good for both.
    fn excludes(&self, other: &Self) -> bool {
        let status = self.statuses.iter().zip(&other.statuses).any(|(one, other)| *one && *other);
        let latency = self.instants(other).into_iter().any(|ns| self.latency(ns) && other.latency(ns));
        !(status && latency)
    }

    /// True if whatever is good for this is good for the other.
    fn is_within(&self, other: &Self) -> bool {
        let status = self.statuses.iter().zip(&other.statuses).all(|(one, other)| !*one || *other);
        let latency = self.instants(other).into_iter().all(|ns| !self.latency(ns) || other.latency(ns));
        status && latency
    }
}
