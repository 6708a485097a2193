//! A measured value of which only bounds may be known, and what comes of putting such values together.
//!
//! A request cut off took at least so long; a percentile among such requests has a least and no most. Arithmetic goes
//! on with both ends (interval arithmetic, Moore 1966), so that a comparison of what was put together is as strict as
//! one of a single figure: what may be longer is not below anything. The same bounds, with what a figure can be at
//! all, tell whether a check could ever fail.

use crate::spec::expr::{Op, Sign};

/// A measured value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// The value as it is shown: the most cautious that is finite.
    pub shown: f64,
    /// The least it can be.
    pub least: f64,
    /// The most it can be; infinite where nothing bounds it.
    pub most: f64,
}

impl Value {
    /// A value that is known.
    pub const fn exact(value: f64) -> Self {
        Self { shown: value, least: value, most: value }
    }

    /// A value that can be anything between two.
    pub const fn within(least: f64, most: f64) -> Self {
        Self { shown: least, least, most }
    }

    /// True if it may be larger than anything.
    pub const fn is_open(self) -> bool {
        self.most.is_infinite()
    }

    /// Two values put together. `shown` is not finite where something is divided by nothing.
    pub fn put_together(self, sign: Sign, other: Self) -> Self {
        let shown = apply(sign, self.shown, other.shown);
        let (least, most) = match sign {
            Sign::Plus => (self.least + other.least, self.most + other.most),
            Sign::Minus => (self.least - other.most, self.most - other.least),
            Sign::Times => ends(self, other, Sign::Times),
            Sign::Per if other.least > 0.0 || other.most < 0.0 => ends(self, other, Sign::Per),
            // Nothing below nothing: as large as one likes.
            Sign::Per if self.least >= 0.0 && other.least >= 0.0 => {
                (apply(Sign::Per, self.least, other.most), f64::INFINITY)
            }
            Sign::Per => (f64::NEG_INFINITY, f64::INFINITY),
        };
        let least = if least.is_nan() { f64::NEG_INFINITY } else { least };
        let most = if most.is_nan() { f64::INFINITY } else { most };
        Self { shown, least, most }
    }

    /// Compares as cannot flatter: it holds if it does for all that the values can be.
    pub fn holds(self, op: Op, other: Self) -> bool {
        let known = !self.is_open() && !other.is_open();
        match op {
            Op::Lt | Op::Le => compare(op, self.most, other.least),
            Op::Gt | Op::Ge => compare(op, self.least, other.most),
            Op::Eq => known && compare(op, self.shown, other.shown),
            Op::Ne => !known || compare(op, self.shown, other.shown),
        }
    }

    /// True if it fails for all that the values can be.
    pub fn never(self, op: Op, other: Self) -> bool {
        match op {
            Op::Eq => compare(Op::Lt, self.most, other.least) || compare(Op::Gt, self.least, other.most),
            Op::Ne => self.least == self.most && other.least == other.most && self.least == other.least,
            _ => self.holds(op.negated(), other),
        }
    }

    /// True if it holds for all that the values can be.
    pub fn always(self, op: Op, other: Self) -> bool {
        match op {
            Op::Eq | Op::Ne => self.never(op.negated(), other),
            _ => self.holds(op, other),
        }
    }
}

fn apply(sign: Sign, left: f64, right: f64) -> f64 {
    match sign {
        Sign::Plus => left + right,
        Sign::Minus => left - right,
        Sign::Times if left == 0.0 || right == 0.0 => 0.0,
        Sign::Times => left * right,
        Sign::Per => left / right,
    }
}

/// The least and the most of the four combinations of ends.
fn ends(left: Value, right: Value, sign: Sign) -> (f64, f64) {
    let all = [
        apply(sign, left.least, right.least),
        apply(sign, left.least, right.most),
        apply(sign, left.most, right.least),
        apply(sign, left.most, right.most),
    ];
    (all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// Compares with the slack of one rounding step, so that 999 of 1,000 meets 99.9%.
fn compare(op: Op, value: f64, threshold: f64) -> bool {
    // Of an end that nothing bounds the difference is not small, but not larger than itself either.
    let close = threshold.is_finite() && (value - threshold).abs() <= f64::EPSILON * threshold.abs().max(1.0);
    op.holds(if close { threshold } else { value }, threshold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPS: [Op; 6] = [Op::Lt, Op::Le, Op::Gt, Op::Ge, Op::Eq, Op::Ne];

    #[test]
    fn what_may_be_longer_is_below_nothing() {
        let open = Value { shown: 2.0, least: 2.0, most: f64::INFINITY };
        assert!(!open.holds(Op::Lt, Value::exact(1e9)) && open.holds(Op::Gt, Value::exact(1.0)));
        let twice = Value::exact(2.0).put_together(Sign::Times, open);
        assert_eq!(twice, Value { shown: 4.0, least: 4.0, most: f64::INFINITY });
        let left = Value::exact(1.0).put_together(Sign::Minus, open);
        assert!(left.holds(Op::Lt, Value::exact(0.0)), "it is -1 or less");
        assert!(!left.holds(Op::Gt, Value::exact(-9.0)));
        let any = Value::within(0.0, f64::INFINITY);
        assert!(OPS.iter().all(|op| !any.always(*op, any) && !any.never(*op, any)));
        assert!(!Value::exact(1.0).put_together(Sign::Per, Value::exact(0.0)).shown.is_finite());
    }

    fn value() -> impl Strategy<Value = (Value, f64)> {
        (-50i32..50, 0u32..40, 0f64..=1.0).prop_map(|(least, width, at)| {
            let (least, most) = (f64::from(least), f64::from(least) + f64::from(width));
            (Value { shown: most, least, most }, least + (most - least) * at)
        })
    }

    proptest! {
        /// Whatever the values really are, what comes of them lies between the ends.
        #[test]
        fn the_truth_lies_within((left, one) in value(), (right, other) in value()) {
            for sign in [Sign::Plus, Sign::Minus, Sign::Times, Sign::Per] {
                let truth = apply(sign, one, other);
                let found = left.put_together(sign, right);
                if truth.is_finite() {
                    let slack = 1e-9 * truth.abs().max(1.0);
                    prop_assert!(found.least - slack <= truth && truth <= found.most + slack, "{sign:?}: {found:?}, {truth}");
                }
            }
            for op in OPS {
                if left.always(op, right) {
                    prop_assert!(compare(op, one, other), "{op:?} always");
                }
                if left.never(op, right) {
                    prop_assert!(!compare(op, one, other), "{op:?} never");
                }
            }
        }
    }
}
