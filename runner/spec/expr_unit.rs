//! Units of values: what can be compared with what, and what comes of putting two values together.
//!
//! A unit is a product of powers of seconds and of requests, as dimensional analysis has it. What has neither is a
//! plain number, a share (a percentage), or a quotient of two like values, which can be read as either. So a time
//! over a time can be held against `2` and against `200%`, while `rate(good) >= 0.99`, where 0.99% may be meant, is
//! a mistake. Start at [`Unit`].

use super::expr::{Quantity, Sign};

/// The unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The power of seconds in it.
    seconds: i8,
    /// The power of requests in it.
    events: i8,
    /// What it is where both are zero; [`Bare::Number`] elsewhere.
    bare: Bare,
}

/// A value without a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bare {
    Number,
    Share,
    /// Two like values, one over the other.
    Quotient,
}

impl Unit {
    /// A plain number.
    pub const NUMBER: Self = Self::of(0, 0, Bare::Number);
    /// A share, 0 to 1.
    pub const SHARE: Self = Self::of(0, 0, Bare::Share);
    /// Seconds.
    pub const SECONDS: Self = Self::of(1, 0, Bare::Number);
    /// Requests.
    pub const EVENTS: Self = Self::of(0, 1, Bare::Number);
    /// Requests a second.
    pub const PER_SECOND: Self = Self::of(-1, 1, Bare::Number);

    const fn of(seconds: i8, events: i8, bare: Bare) -> Self {
        Self { seconds, events, bare }
    }

    /// The unit of an amount as written.
    pub const fn of_amount(amount: Quantity) -> Self {
        match amount {
            Quantity::Seconds(_) => Self::SECONDS,
            Quantity::Share(_) | Quantity::Objective => Self::SHARE,
            Quantity::PerSecond(_) => Self::PER_SECOND,
            Quantity::Events(_) => Self::EVENTS,
            Quantity::Number(_) => Self::NUMBER,
        }
    }

    const fn is_bare(self) -> bool {
        self.seconds == 0 && self.events == 0
    }

    /// The unit that both are of, if they can be added and compared. Requests may be counted in plain numbers.
    pub fn common(self, other: Self) -> Option<Self> {
        let counts = (self.seconds, self.events) == (0, 1);
        match (self.bare, other.bare) {
            _ if self == other => Some(self),
            (Bare::Quotient, _) if other.is_bare() => Some(other),
            (_, Bare::Quotient) if self.is_bare() => Some(self),
            _ if counts && other == Self::NUMBER => Some(self),
            _ if self == Self::NUMBER && other == Self::EVENTS => Some(other),
            _ => None,
        }
    }

    /// The unit of two values put together; nothing if they can't be.
    pub fn put_together(self, sign: Sign, other: Self) -> Option<Self> {
        let power = |one: i8, other: i8| match sign {
            Sign::Per => one.checked_sub(other),
            _ => one.checked_add(other),
        };
        match sign {
            Sign::Plus | Sign::Minus => self.common(other),
            Sign::Times | Sign::Per => {
                let (seconds, events) =
                    (power(self.seconds, other.seconds)?, power(self.events, other.events)?);
                let bare = match (self.bare, other.bare) {
                    _ if seconds != 0 || events != 0 => Bare::Number,
                    // A share of a share; a share so many times.
                    _ if !self.is_bare() => Bare::Quotient,
                    (one, other) if sign == Sign::Times => match (one, other) {
                        (Bare::Share, _) | (_, Bare::Share) => Bare::Share,
                        (Bare::Number, Bare::Number) => Bare::Number,
                        _ => Bare::Quotient,
                    },
                    (one, Bare::Number) => one,
                    _ => Bare::Quotient,
                };
                Some(Self { seconds, events, bare })
            }
        }
    }

    /// A value of this unit as a quantity that can be shown; as a plain number where nobody writes such a unit.
    pub const fn quantity(self, value: f64) -> Quantity {
        match (self.seconds, self.events, self.bare) {
            (1, 0, _) => Quantity::Seconds(value),
            (0, 1, _) => Quantity::Events(value),
            (-1, 1, _) => Quantity::PerSecond(value),
            (0, 0, Bare::Share) => Quantity::Share(value),
            _ => Quantity::Number(value),
        }
    }

    /// What it is, in words, as a mistake says it.
    pub fn words(self) -> String {
        let word = match (self.seconds, self.events, self.bare) {
            (1, 0, _) => "a duration",
            (0, 1, _) => "a number of requests",
            (-1, 1, _) => "a rate (so many a second)",
            (0, 0, Bare::Share) => "a percentage",
            (0, 0, Bare::Number) => "a plain number",
            (0, 0, Bare::Quotient) => "a quotient",
            _ => return format!("in {}", self.symbols()),
        };
        word.to_owned()
    }

    /// `s²`, `requests·s`, `1/s`.
    fn symbols(self) -> String {
        let power = |symbol: &str, power: i8| match power.unsigned_abs() {
            0 => None,
            1 => Some(symbol.to_owned()),
            2 => Some(format!("{symbol}²")),
            3 => Some(format!("{symbol}³")),
            more => Some(format!("{symbol}^{more}")),
        };
        let both = [("requests", self.events), ("s", self.seconds)];
        let of = |positive: bool| -> Vec<String> {
            let with = both.iter().filter(|(_, count)| *count != 0 && (*count > 0) == positive);
            with.filter_map(|(symbol, count)| power(symbol, *count)).collect()
        };
        let (above, below) = (of(true).join("·"), of(false).join("·"));
        match (above.is_empty(), below.is_empty()) {
            (_, true) => above,
            (true, false) => format!("1/{below}"),
            (false, false) => format!("{above}/{below}"),
        }
    }

    /// An amount of this unit as people write it; nothing of a unit that nobody writes.
    pub const fn example(self) -> Option<&'static str> {
        match (self.seconds, self.events, self.bare) {
            (1, 0, _) => Some("300ms"),
            (-1, 1, _) => Some("500/s"),
            (0, 0, Bare::Share) => Some("1%"),
            (0, 0 | 1, _) => Some("2"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTIENT: Unit = Unit::of(0, 0, Bare::Quotient);

    #[test]
    fn values_are_put_together_as_dimensions_have_it() {
        use Sign::{Minus, Per, Plus, Times};
        let square = Unit::of(2, 0, Bare::Number);
        for (one, sign, other, expected) in [
            (Unit::SECONDS, Plus, Unit::SECONDS, Some(Unit::SECONDS)),
            (Unit::SECONDS, Minus, Unit::SHARE, None),
            (Unit::SECONDS, Times, Unit::NUMBER, Some(Unit::SECONDS)),
            (Unit::SHARE, Times, Unit::SECONDS, Some(Unit::SECONDS)),
            (Unit::SECONDS, Times, Unit::SECONDS, Some(square)),
            (Unit::SECONDS, Per, Unit::SECONDS, Some(QUOTIENT)),
            (Unit::EVENTS, Per, Unit::SECONDS, Some(Unit::PER_SECOND)),
            (Unit::PER_SECOND, Times, Unit::SECONDS, Some(Unit::EVENTS)),
            (Unit::SHARE, Minus, Unit::SHARE, Some(Unit::SHARE)),
            (Unit::SHARE, Minus, Unit::NUMBER, None),
            (Unit::SHARE, Times, Unit::NUMBER, Some(Unit::SHARE)),
            (Unit::SHARE, Per, Unit::NUMBER, Some(Unit::SHARE)),
            (Unit::SHARE, Per, Unit::SHARE, Some(QUOTIENT)),
            (QUOTIENT, Minus, Unit::NUMBER, Some(Unit::NUMBER)),
            (QUOTIENT, Minus, Unit::SHARE, Some(Unit::SHARE)),
            (Unit::EVENTS, Plus, Unit::NUMBER, Some(Unit::EVENTS)),
            (Unit::NUMBER, Plus, Unit::EVENTS, Some(Unit::EVENTS)),
            (Unit::PER_SECOND, Plus, Unit::NUMBER, None),
        ] {
            assert_eq!(one.put_together(sign, other), expected, "{one:?} {sign:?} {other:?}");
        }
        assert_eq!(square.words(), "in s²");
        assert_eq!(Unit::of(-2, 1, Bare::Number).words(), "in requests/s²");
    }
}
