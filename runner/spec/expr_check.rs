//! From what was read of a check to the check: units that fit, figures on the left, and a reading for `rate`.
//!
//! `rate(good)` is a share beside a percentage and so many a second beside a rate; both readings are tried, and where
//! both would do it must be said which is meant. Start at [`finish`].

use std::ops::Range;

use super::expr::{Check, Expr, Figure, Metric, Op, Quantity, Sign};
use super::expr_cursor::Mistake;
use super::expr_figure::{Measures, Raw, SERIES};
use super::expr_parse::{Spot, Tree, any, is_zero};
use super::expr_unit::Unit;
use crate::units::Duration;

/// Both sides of a comparison as they were read.
pub(super) struct Sides {
    pub left: Spot,
    pub op: Op,
    pub right: Spot,
}

/// What `rate(…)` is taken for.
#[derive(Clone, Copy, PartialEq)]
enum Reading {
    Share,
    PerSecond,
}

/// `slo(name)`, whose objective is what it is compared with.
pub(super) fn alone(text: &str, slo: Spot, over: Option<Duration>) -> Check {
    Check {
        text: text.trim().to_owned(),
        left: expr(slo.tree, Reading::Share),
        op: Op::Ge,
        right: Expr::Amount(Quantity::Objective),
        over,
        unit: Unit::SHARE,
    }
}

/// The check, if its sides can be compared.
pub(super) fn finish(text: &str, sides: Sides, over: Option<Duration>) -> Result<Check, Mistake> {
    let Sides { left, right, .. } = &sides;
    let whole = left.at.start..right.at.end;
    if !any(left, &|_| true) && !any(right, &|_| true) {
        let hint = "write a function such as `p99(latency)` or `rate(good)`";
        return Err(Mistake::new(whole, "the check measures nothing", hint));
    }
    if any(left, &is_slo) || any(right, &is_slo) {
        let hint = "write `slo(NAME)` by itself, or `rate(good)` with what it is compared with";
        return Err(Mistake::new(whole, "`slo` stands alone", hint));
    }
    let is_rate = |raw: &Raw| matches!(raw.measures, Measures::Rate(_));
    let (reading, unit) = if any(left, &is_rate) || any(right, &is_rate) {
        let share = common(text, &sides, Reading::Share);
        let per_second = common(text, &sides, Reading::PerSecond);
        match (share, per_second) {
            (Ok(_), Ok(_)) if !is_zero(left) && !is_zero(right) => {
                let hint = "write `share(…)` for a percentage, or `throughput(…)` for how many a second";
                let message = "`rate` can be a share or so many a second, and nothing here says which";
                return Err(Mistake::new(whole, message, hint));
            }
            (Ok(unit), _) => (Reading::Share, unit),
            (Err(_), Ok(unit)) => (Reading::PerSecond, unit),
            (Err(mistake), Err(_)) => return Err(mistake),
        }
    } else {
        (Reading::Share, common(text, &sides, Reading::Share)?)
    };
    let Sides { left, op, right } = sides;
    let turned = !any(&left, &|_| true);
    let (left, right) = (expr(left.tree, reading), expr(right.tree, reading));
    let text = text.trim().to_owned();
    Ok(if turned {
        Check { text, left: right, op: op.mirrored(), right: left, over, unit }
    } else {
        Check { text, left, op, right, over, unit }
    })
}

fn is_slo(raw: &Raw) -> bool {
    matches!(raw.measures, Measures::Fixed(Metric::Slo(_)))
}

/// The unit of both sides.
fn common(text: &str, sides: &Sides, reading: Reading) -> Result<Unit, Mistake> {
    let Sides { left, right, .. } = sides;
    let (one, other) = (unit(text, left, reading)?, unit(text, right, reading)?);
    if is_zero(right) {
        return Ok(one);
    }
    if is_zero(left) {
        return Ok(other);
    }
    let fits = one.common(other).filter(|_| !counts_in_parts(left, right));
    fits.ok_or_else(|| match (&left.tree, &right.tree) {
        (Tree::Figure(_), Tree::Amount(_)) => needs(left, text, &text[right.at.clone()], right.at.clone()),
        _ => Mistake::new(
            right.at.clone(),
            format!("{}: they can't be compared", are(text, (left, one), (right, other))),
            match one.example() {
                Some(example) => format!("compare it with {}, such as `{example}`", one.words()),
                None => "multiply and divide until both are of one unit".to_owned(),
            },
        ),
    })
}

/// True of a number of requests compared with a number that none can be.
fn counts_in_parts(left: &Spot, right: &Spot) -> bool {
    let counts = match &left.tree {
        Tree::Figure(raw) => matches!(raw.measures, Measures::Fixed(Metric::Count(_))),
        _ => false,
    };
    counts && matches!(right.tree, Tree::Amount(Quantity::Number(number)) if number.fract() != 0.0)
}

/// The unit of a part, if what is in it can be put together.
fn unit(text: &str, spot: &Spot, reading: Reading) -> Result<Unit, Mistake> {
    match &spot.tree {
        Tree::Amount(amount) => Ok(Unit::of_amount(*amount)),
        Tree::Figure(raw) => Ok(match (&raw.measures, reading) {
            (Measures::Fixed(metric), _) => metric.unit(),
            (Measures::Rate(_), Reading::Share) => Unit::SHARE,
            (Measures::Rate(_), Reading::PerSecond) => Unit::PER_SECOND,
        }),
        Tree::Pair(left, sign, right) => {
            let (one, other) = (unit(text, left, reading)?, unit(text, right, reading)?);
            let same = matches!(sign, Sign::Plus | Sign::Minus) && (is_zero(left) || is_zero(right));
            if same {
                return Ok(if is_zero(left) { other } else { one });
            }
            one.put_together(*sign, other).ok_or_else(|| {
                let verb = match sign {
                    Sign::Plus => "added",
                    Sign::Minus => "subtracted",
                    Sign::Times | Sign::Per => "put together",
                };
                let are = are(text, (left, one), (right, other));
                let hint = "add and subtract what is of one unit; a plain number or a percentage only multiplies and divides";
                Mistake::new(spot.at.clone(), format!("{are}: they can't be {verb}"), hint)
            })
        }
    }
}

/// What two parts are, in words.
fn are(text: &str, (left, one): (&Spot, Unit), (right, other): (&Spot, Unit)) -> String {
    let said = |at: &Range<usize>| text[at.clone()].trim().to_owned();
    format!("`{}` is {}, and `{}` is {}", said(&left.at), one.words(), said(&right.at), other.words())
}

/// What is said where the right side is nothing that the left one can be compared with.
pub(super) fn needs(left: &Spot, text: &str, found: &str, at: Range<usize>) -> Mistake {
    let (wanted, hint) = match &left.tree {
        Tree::Figure(raw) => wanted(raw),
        _ => {
            let what = text[left.at.clone()].trim();
            (
                format!("`{what}` is compared with nothing"),
                "write an amount such as `300ms`, or another figure",
            )
        }
    };
    let message = if found.is_empty() { wanted } else { format!("{wanted}, found `{found}`") };
    Mistake::new(at, message, hint)
}

/// What a figure by itself is compared with, and how to write that.
fn wanted(raw: &Raw) -> (String, &'static str) {
    let name = raw.text.split('(').next().unwrap_or_default().trim();
    let metric = match &raw.measures {
        Measures::Rate(_) => {
            let hint = "write `99.9%` for a share, or `500/s` for a rate";
            return (format!("`{name}` compares with a percentage or a rate"), hint);
        }
        Measures::Fixed(metric) => metric,
    };
    let unit = metric.unit();
    if unit == Unit::SECONDS {
        let of = match metric {
            Metric::Quantile(_, series)
            | Metric::Mean(series)
            | Metric::Max(series)
            | Metric::Min(series) => {
                SERIES.iter().find(|(_, known)| known == series).map_or(name, |(word, _)| word)
            }
            _ => name,
        };
        let hint = "write a number with its unit: us, ms, s, m";
        return (format!("`{of}` needs a duration such as 300ms"), hint);
    }
    if unit == Unit::SHARE {
        return (format!("`{name}` compares with a percentage"), "write a share such as `99.9%`");
    }
    if unit == Unit::PER_SECOND {
        return (format!("`{name}` compares with a rate"), "write so many a second, such as `500/s`");
    }
    (format!("`{name}` compares with a whole number"), "write a number of requests such as `0`")
}

impl Metric {
    /// The unit of what it measures.
    pub const fn unit(&self) -> Unit {
        use super::expr::Outturn;
        match self {
            Self::Quantile(..) | Self::Mean(_) | Self::Max(_) | Self::Min(_) => Unit::SECONDS,
            Self::Share(_) | Self::Slo(_) => Unit::SHARE,
            Self::Throughput(_) => Unit::PER_SECOND,
            Self::Count(_) | Self::Outturn(Outturn::Harmed) => Unit::EVENTS,
            Self::Outturn(Outturn::BudgetByEvents | Outturn::BudgetByTime | Outturn::CapacityLost) => {
                Unit::SHARE
            }
            Self::Outturn(
                Outturn::TimeToBreach
                | Outturn::TimeToDetect
                | Outturn::TimeToAbort
                | Outturn::TimeToHeal
                | Outturn::TimeToSteady
                | Outturn::TimeInViolation,
            ) => Unit::SECONDS,
        }
    }
}

fn expr(tree: Tree, reading: Reading) -> Expr {
    match tree {
        Tree::Amount(amount) => Expr::Amount(amount),
        Tree::Figure(Raw { text, measures, names }) => {
            let metric = match (measures, reading) {
                (Measures::Fixed(metric), _) => metric,
                (Measures::Rate(outcome), Reading::Share) => Metric::Share(outcome),
                (Measures::Rate(outcome), Reading::PerSecond) => Metric::Throughput(outcome),
            };
            Expr::Figure(Figure { text, metric, names })
        }
        Tree::Pair(left, sign, right) => {
            Expr::Pair(Box::new(expr(left.tree, reading)), sign, Box::new(expr(right.tree, reading)))
        }
    }
}
