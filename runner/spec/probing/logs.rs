//! The `logs` probe: what containers wrote.

use std::fmt;

use super::{Asking, NumberCheck, Question};
use crate::error::Span;
use crate::record;
use crate::spec::decode::Located;
use crate::spec::expr::Op;

record! {
    /// What the containers of a target wrote to their logs, all of them together: as a named probe since the run
    /// began, or with `during` since that phase did; in the steady state and as a guard since the present phase
    /// began. A log that can't be read, or is longer than 32 MiB since then, is no data.
    pub struct LogsProbe ("logs probe") {
        /// The target.
        pub on: Located<String>,
        /// A regular expression, for one line at a time.
        pub pattern: Located<String>,
        /// How many lines it must match, as `== 0`.
        pub count: Located<NumberCheck> = Located { value: NumberCheck { op: Op::Ge, number: 1.0 }, span: Span::default() },
        ..pub asking: Asking
    }
}

impl Question for LogsProbe {
    fn asking(&self) -> &Asking {
        &self.asking
    }
    fn span(&self) -> Span {
        self.on.span
    }
    fn target(&self) -> Option<&Located<String>> {
        Some(&self.on)
    }
}

impl fmt::Display for LogsProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "logs: {} wrote /{}/ {}", self.on.value, self.pattern.value, self.count.value)
    }
}
