//! What the figures of a check are measured on, and whether the check could ever come out differently.
//!
//! A check that holds whatever happens proves nothing, and one that can't hold breaks every run: both are refused,
//! with the arithmetic. A part of `check_judging.rs`. Start at `figures`.

use super::TimeSlice;
use super::check::Checker;
use super::check_judging::Stand;
use super::decode::Located;
use super::expr::{Check, Expr, Figure, Metric, Outcome, Outturn, Quantity, Series};
use super::expr_scope::{Place, Scope};
use super::url::Url;
use crate::slo::{Value, evaluate, text_of};
use crate::units::Duration;

/// Loads are measured by the second: nothing shorter can be told apart.
const SHORTEST_SLICE: Duration = Duration::from_s(1);

impl Checker<'_> {
    /// Notes which figures of a check name what is not there, or can't be told.
    pub(super) fn figures(&mut self, check: &Located<Check>, stand: Stand<'_>) {
        let figures = check.figures();
        let measured =
            figures.iter().any(|figure| !matches!(figure.metric, Metric::Outturn(_) | Metric::Slo(_)));
        if measured && self.names.loads.is_empty() {
            let message = format!("`{}` measures a load, and there is none", check.text);
            return self.add(check.span, message, "write `load:`");
        }
        let before = self.mistakes.list.len();
        for figure in &figures {
            self.figure(check, figure, stand);
        }
        if self.mistakes.list.len() == before {
            self.slides(check, &figures, stand);
            self.possible(check, stand);
        }
    }

    fn figure(&mut self, check: &Located<Check>, figure: &Figure, stand: Stand<'_>) {
        let span = check.span;
        match &figure.metric {
            Metric::Slo(name) => {
                self.slo_figure(check, name, stand);
                return self.known(name, span, "SLO", &self.names.slos);
            }
            Metric::Outturn(outturn) => return self.outturn(check, *outturn, figure, stand),
            _ => {}
        }
        let scope = self.scope();
        let place = match figure.place(&scope) {
            Ok(place) => place,
            // What could not be read of a load may have the request.
            Err(_) if self.experiment.load.len() < self.names.loads.len() => return,
            Err(lost) => return self.add(span, lost.message, lost.hint),
        };
        if let Some(lost) = figure.names.iter().find_map(|name| scope.ambiguity(name)) {
            return self.add(span, lost.message, lost.hint);
        }
        if !stand.is_afterwards() && (place.phase.is_some() || place.is_part()) {
            let message = format!("`{}` is known only when a phase is over", figure.text);
            return self.add(span, message, "write it under `expect`, or name a load alone");
        }
        if place.is_part() {
            self.part(check, figure, &place);
        }
        if let Metric::Quantile(_, Series::Tls)
        | Metric::Mean(Series::Tls)
        | Metric::Max(Series::Tls)
        | Metric::Min(Series::Tls) = &figure.metric
            && !self.is_secured(place.load)
        {
            let message = format!("`{}` has nothing to measure: no request goes over TLS", figure.text);
            self.add(span, message, "measure `connect` or `latency`, or ask `https://`");
        }
    }

    /// What is kept of requests by name, or of those that ended in one way.
    fn part(&mut self, check: &Located<Check>, figure: &Figure, place: &Place<'_>) {
        if let Some(lost) = figure.only_of_loads() {
            return self.add(check.span, lost.message, lost.hint);
        }
        let counts = figure.metric.unit() != super::expr_unit::Unit::SECONDS;
        let untimed = matches!(place.outcome, Some(Outcome::Scheduled | Outcome::Dropped | Outcome::CutOff));
        if place.outcome.is_some() && (counts || untimed) {
            let message = format!("`{}` can't be told by outcome", figure.text);
            let hint = "an outcome narrows times, and is `good`, `bad`, `timed_out`, `failed` or `errors`";
            self.add(check.span, message, hint);
        }
    }

    /// Time slices of an SLO: what makes one good must be of the slice alone.
    pub(super) fn slices(&mut self, slices: &TimeSlice) {
        if slices.of.value < SHORTEST_SLICE {
            let message = format!("a slice must last {SHORTEST_SLICE} or longer, got `{}`", slices.of.value);
            self.add(slices.of.span, message, "write a duration such as `10s`");
        }
        if let (Some(least), Some(_)) = (&slices.at_least, &slices.when) {
            let message = "`at_least` and `when` both say what makes a slice good";
            self.add(least.span, message, "keep one of them");
        }
        if let Some(least) = slices.at_least.as_ref().filter(|least| least.get() <= 0.0) {
            let message = format!("every slice is good where `{}` of its requests must be", least.value);
            self.add(least.span, message, "write a share such as `99%`");
        }
        let Some(when) = &slices.when else { return };
        let own = |figure: &&Figure| {
            figure.names.is_empty() && !matches!(figure.metric, Metric::Slo(_) | Metric::Outturn(_))
        };
        if when.over.is_some() || !when.figures().iter().all(own) {
            let message = "a slice is judged by figures of its own load, all of it and all of the slice";
            return self.add(when.span, message, "write a check such as `p99(latency) < 300ms`");
        }
        self.possible(when, Stand::Steady);
    }

    fn is_secured(&self, load: Option<&str>) -> bool {
        let loads = self.experiment.load.iter().filter(|(name, _)| load.is_none_or(|load| load == *name));
        let mut urls = loads.flat_map(|(_, load)| load.sent()).filter_map(|request| request.method_and_url());
        // A URL that can't be read has a mistake of its own.
        urls.any(|(_, url)| url.parse::<Url>().is_err() || url.starts_with("https://"))
            || self.experiment.load.len() < self.names.loads.len()
    }

    fn scope(&self) -> Scope {
        let scope = Scope::of(self.experiment.load.iter(), std::iter::empty());
        Scope { loads: self.names.loads.clone(), phases: self.names.phases.clone(), ..scope }
    }

    /// Something must slide where a window is to.
    fn slides(&mut self, check: &Located<Check>, figures: &[&Figure], stand: Stand<'_>) {
        let (Some(_), Stand::Expect(judged)) = (check.over, stand) else { return };
        let scope = self.scope();
        let fixed = |figure: &&&Figure| {
            figure.place(&scope).is_ok_and(|place| place.phase.is_some_and(|phase| phase != judged))
        };
        if figures.iter().filter(fixed).count() == figures.len() {
            let message = "the window slides over what is judged, and every figure here is of another phase";
            self.add(check.span, message, "leave `over …` out, or a phase's name");
        }
    }

    fn outturn(&mut self, check: &Located<Check>, outturn: Outturn, figure: &Figure, stand: Stand<'_>) {
        let name = outturn.word();
        if !stand.is_afterwards() {
            let message = format!("`{name}` is known only when a phase is over");
            return self.add(check.span, message, "write it under `expect`");
        }
        if self.names.fault_count == 0 {
            let message = format!("`{name}` counts from a fault, and there is none");
            return self.add(check.span, message, "add a fault to a phase");
        }
        let slo = figure.names.first().map(|name| name.text.as_str());
        if let Some(slo) = slo {
            return self.slo_outturn(check, outturn, slo);
        }
        let needs = match outturn {
            Outturn::TimeToSteady if !self.names.steady_state => {
                ("a steady state, and there is none", "write `steady_state:` with what must hold")
            }
            Outturn::TimeToDetect if !self.names.steady_state && self.experiment.abort.is_empty() => {
                ("a steady state, and there is none", "write `steady_state:` with what must hold")
            }
            Outturn::TimeToAbort if self.experiment.abort.is_empty() => {
                ("a guard, and there is none", "write `abort:` with what must not happen")
            }
            Outturn::TimeToBreach | Outturn::TimeInViolation if self.names.slos.is_empty() => {
                ("an SLO, and there is none", "write `slos:`")
            }
            Outturn::BudgetByEvents | Outturn::BudgetByTime if self.names.slos.len() != 1 => {
                if self.names.slos.is_empty() {
                    ("an SLO, and there is none", "write `slos:`")
                } else {
                    ("to know of which SLO", "write its name in parentheses: `budget_spent_by_time(NAME)`")
                }
            }
            Outturn::Harmed if self.names.loads.is_empty() => ("a load, and there is none", "write `load:`"),
            Outturn::CapacityLost
                if self.experiment.phases.iter().filter(|(_, phase)| phase.find_rate.is_some()).count()
                    < 2 =>
            {
                (
                    "two searches for a rate, one of them with a fault",
                    "write `find_rate` in a phase without faults, and in one with",
                )
            }
            _ => return,
        };
        self.add(check.span, format!("`{name}` needs {}", needs.0), needs.1);
    }

    /// A check whose figures decide nothing.
    fn possible(&mut self, check: &Located<Check>, stand: Stand<'_>) {
        if check.slo().is_some() {
            return;
        }
        let mut range = |figure: &Figure| Some(range(&figure.metric));
        let (Some(left), Some(right)) = (bounds(&check.left, &mut range), bounds(&check.right, &mut range))
        else {
            return;
        };
        let (always, never) = (left.always(check.op, right), left.never(check.op, right));
        let what = match (stand == Stand::Abort, always, never) {
            (false, true, _) => "this check can never fail",
            (false, _, true) => "this check can never hold",
            (true, true, _) => "this guard would end every run",
            (true, _, true) => "this guard can never fire",
            _ => return,
        };
        let said = |value: Value| said(value, |number| check.unit.quantity(number));
        let side = check.lone().map_or_else(|| "its left side".to_owned(), |lone| format!("`{}`", lone.text));
        let right = match (&check.right, right.least == right.most) {
            (Expr::Amount(_), true) => {
                format!("{} {}", check.op.sign(), text_of(check.unit.quantity(right.least)))
            }
            _ => format!("{} what {}", check.op.sign(), said(right)),
        };
        let outcome = if always { "always" } else { "never" };
        let message = format!("{what}: {side} {}, which is {outcome} {right}", said(left));
        self.add(check.span, message, "compare it with something that it can be above and below");
    }
}

/// What an expression can be at all; unlike a measured value it may be divided by what can be nothing.
fn bounds(expr: &Expr, range: &mut impl FnMut(&Figure) -> Option<Value>) -> Option<Value> {
    match expr {
        Expr::Pair(left, sign, right) => {
            Some(bounds(left, range)?.put_together(*sign, bounds(right, range)?))
        }
        other => evaluate(other, range),
    }
}

/// What a figure can be.
const fn range(metric: &Metric) -> Value {
    match metric {
        Metric::Share(_) | Metric::Slo(_) => Value::within(0.0, 1.0),
        Metric::Outturn(Outturn::CapacityLost) => Value::within(f64::NEG_INFINITY, 1.0),
        Metric::Quantile(..)
        | Metric::Mean(_)
        | Metric::Max(_)
        | Metric::Min(_)
        | Metric::Throughput(_)
        | Metric::Count(_)
        | Metric::Outturn(_) => Value::within(0.0, f64::INFINITY),
    }
}

/// What a value can be, in words.
fn said(value: Value, quantity: impl Fn(f64) -> Quantity) -> String {
    let text = |number: f64| text_of(quantity(number));
    match (value.least.is_finite(), value.most.is_finite()) {
        (true, true) => format!("lies between {} and {}", text(value.least), text(value.most)),
        (true, false) => format!("is {} or more", text(value.least)),
        (false, true) => format!("is {} or less", text(value.most)),
        (false, false) => "is anything".to_owned(),
    }
}
