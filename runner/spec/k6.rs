//! k6's thresholds, as they are written there, made into checks of this language.
//!
//! Teams that come from k6 bring `http_req_duration: ['p(95)<200']` along, and it should say here what it says there.
//! Times are `latency`, counted from the instant a request was due, where k6 counts from sending: never shorter. All of
//! them are judged over the whole run. What k6 measures and this program does not is a mistake, not a pass. The
//! grammar is that of k6's documentation ("Thresholds", version 1). Start at [`compile`].

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::check_judging::WHOLE_RUN;
use super::decode::{Decode, Located, Mistakes, list_of, nearest};
use super::expr::{Check, Op};
use super::expr_cursor::{Cursor, Mistake};
use super::expr_scope::Lost;
use super::node::{Node, Value};
use super::{Experiment, Guard, Named};
use crate::record;
use crate::units::{Duration, Ratio};

/// How long a guard looks back where k6 says no delay.
const GUARD_WINDOW: Duration = Duration::from_s(10);

/// One threshold of a metric: an expression, or one that ends the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Threshold {
    /// `'p(95)<200'`
    Alone(Located<Expression>),
    /// `{ threshold: 'p(95)<200', abortOnFail: true }`
    Aborting(Box<Aborting>),
}

record! {
    /// A threshold of k6's that may end the run.
    pub struct Aborting ("threshold") {
        /// The expression: `p(95)<200`.
        pub threshold: Located<Expression>,
        /// End the run when it fails: a guard over the last ten seconds, or `delayAbortEval` where that is longer.
        pub abort_on_fail ("abortOnFail"): bool = false,
        /// How long the run must have lasted before it is looked at.
        pub delay_abort_eval ("delayAbortEval"): Duration = Duration::ZERO,
    }
}

/// `p(95)<200`: how a metric is summed up, and what with that is compared. Saved and printed as its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression {
    /// As written, trimmed.
    text: String,
    sum: Sum,
    op: Op,
    /// Milliseconds, a share from 0 to 1, or a number, as the metric has it.
    value: f64,
}

/// How a metric is summed up.
#[derive(Clone, Debug, PartialEq)]
enum Sum {
    /// `p(95)`, as it is written between the parentheses.
    Percentile(String),
    Average,
    Median,
    Least,
    Most,
    Count,
    Rate,
}

const SUMS: [(&str, Sum); 6] = [
    ("avg", Sum::Average),
    ("med", Sum::Median),
    ("min", Sum::Least),
    ("max", Sum::Most),
    ("count", Sum::Count),
    ("rate", Sum::Rate),
];

/// What a metric of k6's is here.
#[derive(Clone, Copy)]
enum Measure {
    /// A series of times.
    Time(&'static str),
    /// The share of requests that ended so.
    Share(&'static str),
    /// Requests that were sent.
    Sent,
    /// Arrivals that were not.
    Dropped,
}

const METRICS: [(&str, Measure); 9] = [
    ("http_req_duration", Measure::Time("latency")),
    ("http_req_waiting", Measure::Time("first_byte")),
    ("http_req_connecting", Measure::Time("connect")),
    ("http_req_tls_handshaking", Measure::Time("tls")),
    ("http_req_failed", Measure::Share("errors")),
    ("checks", Measure::Share("good")),
    ("http_reqs", Measure::Sent),
    ("iterations", Measure::Sent),
    ("dropped_iterations", Measure::Dropped),
];

/// A threshold as this language has it.
pub struct Compiled {
    /// What must hold over the whole run.
    pub check: Check,
    /// What ends it when it comes true.
    pub guard: Option<Check>,
}

/// The check, and the guard if it has one, of a threshold of `metric`, which may have tags behind it.
pub fn compile(metric: &str, threshold: &Threshold) -> Result<Compiled, Lost> {
    let (expression, window) = match threshold {
        Threshold::Alone(expression) => (expression, None),
        Threshold::Aborting(one) => {
            (&one.threshold, one.abort_on_fail.then_some(one.delay_abort_eval.max(GUARD_WINDOW)))
        }
    };
    let (name, tags) = metric.split_once('{').map_or((metric, None), |(name, tags)| (name, Some(tags)));
    let Some((_, measure)) = METRICS.iter().find(|(known, _)| *known == name.trim()) else {
        let known: Vec<&str> = METRICS.iter().map(|(known, _)| *known).collect();
        let hint = nearest(name.trim(), &known)
            .map_or_else(|| format!("known: {}", list_of(&known)), |near| format!("did you mean `{near}`?"));
        return Err(Lost { message: format!("k6's metric `{}` has no counterpart here", name.trim()), hint });
    };
    let names = tags.map_or_else(|| Ok(String::new()), |tags| names(metric, tags))?;
    let (left, right) = sides(name.trim(), *measure, expression, &names)?;
    let read = |op: Op, over: &str| {
        let text = format!("{left} {} {right}{over}", op.sign());
        text.parse::<Check>().map_err(|why| Lost {
            message: format!("`{}` of `{metric}` is `{text}` here, and {why}", expression.text),
            hint: "write it under `expect: run:` as it should be".to_owned(),
        })
    };
    Ok(Compiled {
        check: read(expression.op, "")?,
        guard: window.map(|window| read(expression.op.negated(), &format!(" over {window}"))).transpose()?,
    })
}

/// What tags narrow a metric to, as names behind a comma: `, request="login"`.
fn names(metric: &str, tags: &str) -> Result<String, Lost> {
    let lost = |message: String, hint: &str| Lost { message, hint: hint.to_owned() };
    let Some(tags) = tags.trim_end().strip_suffix('}') else {
        return Err(lost(
            format!("the tags of `{metric}` are never closed"),
            "write `http_req_duration{name:login}`",
        ));
    };
    let mut names = String::new();
    for tag in tags.split(',') {
        let (key, value) = tag.split_once(':').unwrap_or((tag, ""));
        let (key, value) = (key.trim(), value.trim());
        names += &match (key, value) {
            (_, "") => return Err(lost(format!("the tag `{tag}` has no value"), "write `name:login`")),
            (_, value) if value.contains('"') => {
                return Err(lost(format!("`{value}` can't be a name"), "leave out the quotes"));
            }
            ("name", name) => format!(", request=\"{name}\""),
            ("scenario", name) => format!(", load=\"{name}\""),
            ("expected_response", "true") => ", outcome=good".to_owned(),
            ("expected_response", "false") => ", outcome=bad".to_owned(),
            _ => {
                let hint = "known: `name` (a request), `scenario` (a load), `expected_response`";
                return Err(lost(format!("the tag `{key}` has no counterpart here"), hint));
            }
        };
    }
    Ok(names)
}

/// Both sides of the check that a metric and its expression are.
fn sides(
    metric: &str,
    measure: Measure,
    expression: &Expression,
    names: &str,
) -> Result<(String, String), Lost> {
    let value = expression.value;
    let number = format!("{value}");
    let per_second = || format!("{value}/s");
    let sent = |function: &str| {
        if names.is_empty() {
            format!("{function}(scheduled) - {function}(dropped)")
        } else {
            format!("{function}(good{names}) + {function}(errors{names})")
        }
    };
    let found = match (measure, &expression.sum) {
        (Measure::Time(series), sum) => {
            let function = match sum {
                Sum::Percentile(digits) => format!("p{digits}"),
                Sum::Average => "mean".to_owned(),
                Sum::Median => "p50".to_owned(),
                Sum::Least => "min".to_owned(),
                Sum::Most => "max".to_owned(),
                Sum::Count | Sum::Rate => return Err(unfit(metric, measure, expression)),
            };
            let limit = Duration::from_ns((value * 1e6).round() as u64);
            (format!("{function}({series}{names})"), limit.to_string())
        }
        (Measure::Share(outcome), Sum::Rate) => {
            (format!("share({outcome}{names})"), Ratio::new(value).to_string())
        }
        (Measure::Sent, Sum::Count) => (sent("count"), number),
        (Measure::Sent, Sum::Rate) => (sent("throughput"), per_second()),
        (Measure::Dropped, Sum::Count) => (format!("count(dropped{names})"), number),
        (Measure::Dropped, Sum::Rate) => (format!("throughput(dropped{names})"), per_second()),
        _ => return Err(unfit(metric, measure, expression)),
    };
    Ok(found)
}

fn unfit(metric: &str, measure: Measure, expression: &Expression) -> Lost {
    let example = match measure {
        Measure::Time(_) => "`p(95)`, `avg`, `med`, `min` or `max`",
        Measure::Share(_) => "`rate`",
        Measure::Sent | Measure::Dropped => "`count` or `rate`",
    };
    Lost {
        message: format!("`{metric}` can't be summed up as in `{}`", expression.text),
        hint: format!("write {example}"),
    }
}

/// Every threshold of an experiment, compiled; those with mistakes are left out.
pub fn compiled(experiment: &Experiment) -> impl Iterator<Item = (Located<Check>, Option<Guard>)> {
    experiment.thresholds.0.iter().flat_map(|(metric, list)| {
        list.iter().filter_map(|threshold| {
            let found = compile(metric, threshold).ok()?;
            let span = threshold.span();
            let guard = found.guard.map(|guard| Guard::Check(Located { value: guard, span }));
            Some((Located { value: found.check, span }, guard))
        })
    })
}

/// What is expected of each phase, and of the run by `thresholds`.
pub fn expectations(experiment: &Experiment) -> Named<Vec<Located<Check>>> {
    let given = experiment.expect.0.iter().filter(|(_, checks)| !checks.is_empty());
    let mut all: Vec<_> = given.cloned().collect();
    let more: Vec<_> = compiled(experiment).map(|(check, _)| check).collect();
    if !more.is_empty() {
        match all.iter_mut().find(|(name, _)| name.value == WHOLE_RUN) {
            Some((_, checks)) => checks.extend(more),
            None => {
                let name = Located { value: WHOLE_RUN.to_owned(), span: crate::error::Span::default() };
                all.push((name, more));
            }
        }
    }
    Named(all)
}

impl Threshold {
    /// Where it stands.
    pub fn span(&self) -> crate::error::Span {
        match self {
            Self::Alone(expression) => expression.span,
            Self::Aborting(one) => one.threshold.span,
        }
    }
}

/// Reads `p(95)<200`.
pub(super) fn expression(text: &str) -> Result<Expression, Mistake> {
    const EXAMPLE: &str = "p(95)<200";
    let mut cursor = Cursor::new(text);
    cursor.skip_space();
    let (word, at) = cursor.take_until(|c| c.is_whitespace() || "(<>=!".contains(c));
    let sum = if word == "p" && cursor.take("(") {
        let (digits, at) = cursor.take_until(|c| c == ')');
        let number = digits.trim().parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number));
        if number.is_none() || !cursor.take(")") {
            let message = format!("`p({digits}` is no percentile");
            return Err(Mistake::new(at, message, "write `p(95)`, from 0 to 100"));
        }
        Sum::Percentile(digits.trim().to_owned())
    } else {
        let found = SUMS.iter().find(|(known, _)| *known == word);
        let known: Vec<&str> = SUMS.iter().map(|(known, _)| *known).collect();
        let hint = || format!("write `p(95)`, {}", list_of(&known));
        found.map(|(_, sum)| sum.clone()).ok_or_else(|| {
            let message = format!("`{word}` is not how k6 sums up a metric");
            Mistake::new(at, message, hint())
        })?
    };
    cursor.skip_space();
    // `===` is k6's second way to say it.
    let op = if cursor.take("===") { Op::Eq } else { cursor.op(EXAMPLE)? };
    let (value, at) = cursor.value("over");
    let number = value.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    let Some(number) = number else {
        let message = format!("k6 compares with a plain number, found `{value}`");
        return Err(Mistake::new(
            at,
            message,
            "write milliseconds, a share from 0 to 1, or a count, without a unit",
        ));
    };
    if cursor.at < cursor.end() {
        let at = cursor.at..cursor.end();
        return Err(Mistake::new(
            at,
            "a threshold has no window",
            "leave it out, or write a check under `expect`",
        ));
    }
    Ok(Expression { text: text.trim().to_owned(), sum, op, value: number })
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> Self {
        expression.text
    }
}

impl Decode for Threshold {
    fn decode(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        if matches!(node.value, Value::Map(_)) {
            Aborting::decode(node, mistakes).map(|one| Self::Aborting(Box::new(one)))
        } else {
            Located::<Expression>::decode(node, mistakes).map(Self::Alone)
        }
    }
}

impl schemars::JsonSchema for Threshold {
    fn schema_name() -> Cow<'static, str> {
        "Threshold".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let alone = generator.subschema_for::<Expression>();
        let aborting = generator.subschema_for::<Aborting>();
        schemars::json_schema!({
            "anyOf": [alone, aborting],
            "description": "One threshold of a metric of k6's: an expression, or one that ends the run.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(metric: &str, threshold: &str) -> Result<(String, Option<String>), String> {
        let threshold: Threshold =
            crate::spec::fragment(threshold).map_err(|problems| problems.to_string())?;
        let found = compile(metric, &threshold).map_err(|lost| format!("{}; {}", lost.message, lost.hint))?;
        Ok((found.check.text, found.guard.map(|guard| guard.text)))
    }

    #[test]
    fn thresholds_say_here_what_they_say_in_k6() {
        for (metric, threshold, check, guard) in [
            ("http_req_duration", "p(95)<200", "p95(latency) < 200ms", None),
            ("http_req_duration", "p(99.9) < 2000", "p99.9(latency) < 2s", None),
            ("http_req_duration", "avg<0.5", "mean(latency) < 500us", None),
            ("http_req_duration", "med<=100", "p50(latency) <= 100ms", None),
            ("http_req_duration{name:login}", "max<1000", "max(latency, request=\"login\") < 1s", None),
            (
                "http_req_duration{scenario:shoppers, name:GET /a}",
                "min>=1",
                "min(latency, load=\"shoppers\", request=\"GET /a\") >= 1ms",
                None,
            ),
            (
                "http_req_duration{expected_response:true}",
                "p(90)<50",
                "p90(latency, outcome=good) < 50ms",
                None,
            ),
            ("http_req_waiting", "p(95)<200", "p95(first_byte) < 200ms", None),
            ("http_req_failed", "rate<0.01", "share(errors) < 1%", None),
            ("checks", "rate>0.95", "share(good) > 95%", None),
            ("http_reqs", "count>100", "count(scheduled) - count(dropped) > 100", None),
            ("http_reqs", "rate>=10", "throughput(scheduled) - throughput(dropped) >= 10/s", None),
            (
                "http_reqs{name:login}",
                "count===3",
                "count(good, request=\"login\") + count(errors, request=\"login\") == 3",
                None,
            ),
            ("dropped_iterations", "count==0", "count(dropped) == 0", None),
            (
                "http_req_failed",
                "{ threshold: rate<0.1, abortOnFail: true, delayAbortEval: 30s }",
                "share(errors) < 10%",
                Some("share(errors) >= 10% over 30s"),
            ),
            (
                "http_req_duration",
                "{ threshold: 'p(95)<200', abortOnFail: true }",
                "p95(latency) < 200ms",
                Some("p95(latency) >= 200ms over 10s"),
            ),
            ("http_req_duration", "{ threshold: 'p(95)<200' }", "p95(latency) < 200ms", None),
        ] {
            let found =
                compiled(metric, threshold).unwrap_or_else(|why| panic!("{metric}: {threshold}: {why}"));
            assert_eq!(found, (check.to_owned(), guard.map(str::to_owned)), "{metric}: {threshold}");
        }
    }

    #[test]
    fn what_has_no_counterpart_is_a_mistake() {
        let all = [
            ("http_req_duratoin", "p(95)<200"),
            ("vus", "value<200"),
            ("vus", "count<200"),
            ("http_req_duration", "rate<0.1"),
            ("http_req_failed", "p(95)<200"),
            ("http_req_duration{status:200}", "p(95)<200"),
            ("http_req_duration{name}", "p(95)<200"),
            ("http_req_duration{name:a", "p(95)<200"),
            ("http_req_duration", "p(101)<200"),
            ("http_req_duration", "p95<200"),
            ("http_req_duration", "p(95)<200ms"),
            ("http_req_duration", "p(95)200"),
            ("http_req_duration", "p(95)<200 over 10s"),
            ("http_req_duration", "{ threshold: 'p(95)<200', abortonfail: true }"),
        ];
        let said: Vec<_> = all
            .iter()
            .map(|(metric, threshold)| {
                format!("{metric}: {threshold}\n{}\n", compiled(metric, threshold).unwrap_err())
            })
            .collect();
        insta::assert_snapshot!(said.join("\n"));
    }
}
