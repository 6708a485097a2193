//! What SLOs must not leave out or contradict: what they measure, how often, and what can be told of it.
//!
//! A part of `check.rs`, which calls it. Start at `slos`.

use super::check::Checker;
use super::check_judging::Stand;
use super::decode::Located;
use super::expr::{Check, Figure, Metric, Outturn};
use super::{BurnAlert, Counts, PromQl, PrometheusSli, Sli, SliUnit, Slo, TimeSlice};
use crate::slo::burn::never_fires;
use crate::units::Duration;

/// The shortest time between two samples of an indicator: time in violation is told by the second, and servers that
/// watch a system scrape it no more often.
const MIN_SAMPLE_EVERY: Duration = Duration::from_s(1);

/// The longest: a run of minutes should have some samples in each phase.
const MAX_SAMPLE_EVERY: Duration = Duration::from_s(600);

/// The window of a guard or steady-state check that names none.
pub const DEFAULT_WINDOW: Duration = Duration::from_s(10);

/// Functions of PromQL that make a counter into something that does not grow.
const NOT_COUNTERS: [&str; 6] = ["rate", "irate", "increase", "delta", "idelta", "deriv"];

/// How counters end, by Prometheus's conventions.
const COUNTER_ENDS: [&str; 3] = ["_total", "_count", "_bucket"];

impl Checker<'_> {
    pub(super) fn slos(&mut self) {
        for (_, slo) in self.experiment.slos.iter() {
            self.indicator(slo);
            let objective = slo.objective.get();
            if objective <= 0.0 || objective >= 1.0 {
                let hint = "an objective leaves some errors and forbids some: write `99.9%`";
                let message =
                    format!("`objective` must lie between 0% and 100%, got `{}`", slo.objective.value);
                self.add(slo.objective.span, message, hint);
            }
            if slo.window.is_zero() {
                self.add(slo.window.span, "`window` must be positive, got `0s`", "write `30d`, or `month`");
            }
            for alert in &slo.alerts {
                self.alert(alert, objective);
            }
            if let Some(slices) = &slo.slices {
                self.slices(slices);
                self.slices_beside_load(slo, slices);
            }
            for (name, needed) in &slo.needs.0 {
                let share = needed.get();
                if share <= 0.0 || share > 1.0 {
                    let message =
                        format!("`{}` must be above 0% and at most 100%, got `{}`", name.value, needed.value);
                    self.add(needed.span, message, "write how available it is, such as `99.9%`");
                }
            }
        }
    }

    fn alert(&mut self, alert: &Located<BurnAlert>, objective: f64) {
        self.positive("over", &alert.over, "1h");
        if let Some(short) = &alert.and {
            self.positive("and", short, "5m");
            if short.value > alert.over.value {
                let message = format!(
                    "the short window of {} is longer than the long one ({})",
                    short.value, alert.over.value
                );
                self.add(short.span, message, "write a twelfth of the long one, or leave it out");
            }
        }
        if (0.0..1.0).contains(&objective)
            && let Some(why) = never_fires(alert, objective)
        {
            let hint = "write a lower burn rate, or a stricter objective";
            self.add(alert.burn.span, format!("this alert can never fire: {why}"), hint);
        }
    }

    fn indicator(&mut self, slo: &Slo) {
        match &slo.sli {
            Sli::Load(sli) => self.known(&sli.load, sli.load.span, "load", &self.names.loads),
            Sli::Prometheus(from) => self.prometheus_sli(&from.prometheus.value),
            Sli::Containers(from) => {
                let on = &from.containers.on;
                self.known(on, on.span, "target", &self.names.targets);
            }
        }
        if let Some(every) = slo.sli.every()
            && !(MIN_SAMPLE_EVERY..=MAX_SAMPLE_EVERY).contains(&every.value)
        {
            let message = format!(
                "`every` must be from {MIN_SAMPLE_EVERY} to {MAX_SAMPLE_EVERY}, got `{}`",
                every.value
            );
            self.add(every.span, message, "write a duration such as `5s`");
        }
    }

    fn prometheus_sli(&mut self, sli: &PrometheusSli) {
        self.prometheus(&sli.url, sli.auth.as_ref(), sli.tls.as_ref());
        self.positive("timeout", &sli.timeout, "5s");
        for (_, query) in sli.asks.queries() {
            self.promql(query);
        }
        let PromQl::Ratio(ratio) = &sli.asks else { return };
        if !ratio.good.trim().is_empty() && ratio.good.trim() == ratio.total.trim() {
            let message = "`good` and `total` ask the same: whatever happens, all is good";
            return self.add(ratio.good.span, message, "leave bad events out of `good`: `{code!~\"5..\"}`");
        }
        for (name, query) in sli.asks.queries() {
            self.kind_of_query(name, query, ratio.kind.value);
        }
    }

    /// A counter taken for a rate, or a rate for a counter, gives figures that mean nothing.
    fn kind_of_query(&mut self, name: &str, query: &Located<String>, kind: Counts) {
        match kind {
            Counts::Counters => {
                if let Some(function) = NOT_COUNTERS.into_iter().find(|function| calls(query, function)) {
                    let message = format!(
                        "`{name}` takes the `{function}` of counters, and what counters grew by is counted anyway"
                    );
                    let hint =
                        "write the counters as they are, `http_requests_total{…}`, or add `kind: rates`";
                    self.add(query.span, message, hint);
                }
            }
            Counts::Rates => {
                let metric = query.split(['{', '[']).next().unwrap_or_default().trim();
                if !query.contains('(') && COUNTER_ENDS.iter().any(|end| metric.ends_with(end)) {
                    let message = format!("`{name}` is a counter, and `kind: rates` takes events a second");
                    let hint = format!("write `sum(rate({metric}[30s]))`, or leave out `kind`");
                    self.add(query.span, message, hint);
                }
            }
        }
    }

    fn slices_beside_load(&mut self, slo: &Slo, slices: &TimeSlice) {
        let Some(every) = slo.sli.every() else { return };
        if slo.sli.unit() == SliUnit::Stretches {
            let message = format!("this SLO counts slices of time already: one each {}", every.value);
            return self.add(
                slices.of.span,
                message,
                "leave out `slices`, and say how long they are with `every`",
            );
        }
        if let Some(when) = &slices.when {
            let message = "`when` is a check on a load, and this SLO measures none";
            self.add(when.span, message, "write `at_least` instead");
        }
        if slices.of.value < every.value {
            let message = format!(
                "a slice of {} is shorter than the time between two samples ({})",
                slices.of.value, every.value
            );
            self.add(slices.of.span, message, "lengthen the slice, or shorten `every`");
        }
    }

    /// What a check asks of an SLO must be something that this SLO can tell there.
    pub(super) fn slo_figure(&mut self, check: &Located<Check>, name: &str, stand: Stand<'_>) {
        if stand == Stand::Abort {
            let message =
                format!("a guard fires when what it says holds, and `slo({name})` holds when all is well");
            let hint =
                "write what must not happen, `rate(good) < 80% over 3s`, or `limits: { error_budget: 10% }`";
            return self.add(check.span, message, hint);
        }
        let Some(slo) = self.experiment.slos.get(name) else { return };
        let live = !stand.is_afterwards();
        let sliced = slo.slices.is_some();
        if live && sliced {
            let message =
                format!("`slo({name})` counts time slices, which are known only when a phase is over");
            return self.add(check.span, message, "write it under `expect`");
        }
        let window = check.over.unwrap_or(DEFAULT_WINDOW);
        match slo.sli.every() {
            Some(every) if live && window < every.value => {
                let message = format!(
                    "`slo({name})` is sampled each {}, and a window of {window} may hold no sample",
                    every.value
                );
                self.add(
                    check.span,
                    message,
                    format!("write `over {}` or longer", every.value + every.value),
                );
            }
            every if !live && check.over.is_some() && (sliced || every.is_some()) => {
                let message = format!("no window slides over `slo({name})`: it is of all of what is judged");
                self.add(check.span, message, "leave `over …` out");
            }
            _ => {}
        }
    }

    /// The SLO that an outturn is of must be one that counts such things.
    pub(super) fn slo_outturn(&mut self, check: &Located<Check>, outturn: Outturn, name: &str) {
        self.known(name, check.span, "SLO", &self.names.slos);
        let timed = |slo: &Slo| matches!(slo.sli.unit(), SliUnit::Stretches | SliUnit::ContainerSeconds);
        if outturn == Outturn::Harmed && self.experiment.slos.get(name).is_some_and(timed) {
            let message = format!("SLO `{name}` counts time, and nobody knows how many requests that was");
            self.add(check.span, message, "ask for `time_in_violation` of it");
        }
    }

    /// A trial of a search is judged on its own requests: true if a check on it is on something else.
    pub(super) fn slo_of_trial(&mut self, check: &Located<Check>) -> bool {
        let beside = |figure: &&Figure| match &figure.metric {
            Metric::Slo(name) => self.experiment.slos.get(name).is_some_and(|slo| slo.load().is_none()),
            _ => false,
        };
        let Some(figure) = check.figures().into_iter().find(beside) else { return false };
        let message =
            format!("`{}` is measured beside the load, and a trial is judged on its requests", figure.text);
        self.add(check.span, message, "write a check on the load, such as `rate(good) >= 99%`");
        true
    }
}

/// True if a query calls a function of PromQL.
fn calls(query: &str, function: &str) -> bool {
    query.match_indices(function).any(|(at, _)| {
        let named = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
        let after = query[at + function.len()..].trim_start();
        after.starts_with('(') && !query[..at].ends_with(named)
    })
}

#[cfg(test)]
mod tests {
    use super::calls;

    #[test]
    fn functions_are_told_from_names() {
        for (query, expected) in [
            ("sum(rate(x_total[5m]))", true),
            ("rate (x_total[5m])", true),
            ("job:rate", false),
            ("http_rate_total{a=\"b\"}", false),
            ("my_rate(x)", false),
            ("irate(x[1m])", false),
        ] {
            assert_eq!(calls(query, "rate"), expected, "{query}");
        }
    }
}
