//! What errors look like: of each class that a load meets, the first case on this thread, in words.
//!
//! A text takes a microsecond to make, and a failing system fails for every request: so it is made once.

use std::io;

use super::connection::Cause;
use super::outcome::{Class, Example, example_text};
use crate::units::Duration;

/// The classes met by each load, and the examples not handed over yet.
#[derive(Debug)]
pub struct Examples {
    met: Vec<[bool; Class::COUNT]>,
    fresh: Vec<Example>,
}

impl Examples {
    /// None met yet by so many loads.
    pub fn new(loads: usize) -> Self {
        Self { met: vec![[false; Class::COUNT]; loads], fresh: Vec::new() }
    }

    /// Notes an error of `class` of a request due at `intended_ns`; `tell` says what it was, if it is the first.
    #[inline]
    pub fn meet(&mut self, load: u32, class: Class, intended_ns: u64, tell: impl FnOnce() -> String) {
        let met = &mut self.met[load as usize][class as usize];
        if !*met {
            *met = true;
            self.fresh.push(Example { load, class, intended_ns, text: example_text(&tell()) });
        }
    }

    /// Those since the last call.
    pub fn take(&mut self) -> Vec<Example> {
        std::mem::take(&mut self.fresh)
    }
}

/// What happened to a request of this name, to that address.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Its request's name.
    pub request: &'a str,
    /// Where it went.
    pub to: &'a str,
    /// Its load's timeout.
    pub timeout: Duration,
}

impl Case<'_> {
    /// Broken by `cause`, while connecting or later.
    pub fn broken(&self, connecting: bool, cause: Cause) -> String {
        let cause = match cause {
            Cause::Os(number) => io::Error::from_raw_os_error(number).to_string(),
            Cause::Words(words) => words.to_owned(),
        };
        if connecting {
            format!("connect to {}: {cause}", self.to)
        } else {
            format!("{} to {}: {cause}", self.request, self.to)
        }
    }

    /// Given up at its timeout, in the stage that `class` names.
    pub fn timed_out(&self, class: Class) -> String {
        let what = match class {
            Class::ConnectTimeout => "not connected",
            Class::TlsTimeout => "no TLS handshake",
            Class::BodyTimeout => "the answer was not complete",
            _ => "no byte of an answer",
        };
        format!("{} to {}: {what} {} after it was due", self.request, self.to, self.timeout)
    }

    /// Answered with something else than expected; `what` says with what.
    pub fn unexpected(&self, what: &str) -> String {
        format!("{}: {what}", self.request)
    }

    /// Answered with a status other than `expected`.
    pub fn status(&self, status: u16, expected: &impl std::fmt::Display) -> String {
        format!("{} answered {status} where {expected} was expected", self.request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_say_what_where_and_why() {
        let case = Case { request: "GET /cart", to: "127.0.0.1:80", timeout: Duration::from_s(2) };
        let told = [
            case.broken(true, Cause::Os(libc::ECONNREFUSED)),
            case.broken(false, Cause::Os(libc::ECONNRESET)),
            case.broken(false, Cause::Words("the head is longer than 64 KiB")),
            case.timed_out(Class::ConnectTimeout),
            case.timed_out(Class::AnswerTimeout),
            case.timed_out(Class::BodyTimeout),
            case.status(503, &"200"),
            case.unexpected("expected $.ok = true, got false"),
        ];
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn only_the_first_of_a_class_and_load_is_told() {
        let mut examples = Examples::new(2);
        for (load, class) in
            [(0, Class::Reset), (0, Class::Reset), (1, Class::Reset), (0, Class::Refused), (1, Class::Reset)]
        {
            examples.meet(load, class, 5, || format!("{load} {}", class.word()));
        }
        let told: Vec<_> = examples.take().into_iter().map(|example| example.text).collect();
        assert_eq!(told, ["0 reset", "1 reset", "0 refused"]);
        examples.meet(0, Class::Reset, 9, || unreachable!("it was told"));
        assert_eq!(examples.take(), []);
    }
}
