//! `http`: requests to a server fail, wait, or come with other headers or bodies.

use super::{Cast, Change, FaultKind};
use crate::agent::task::Task;
use crate::agent::task::http::{self as task, Http};
use crate::agent::wire::{Engine, Kernel};
use crate::error::Span;
use crate::event::Evidence;
use crate::pattern::Pattern;
use crate::record;
use crate::spec::decode::Mistakes;
use crate::spec::{Located, Named};
use crate::units::{Duration, Ratio};

/// Headers that say where a message ends: changing them would break it instead of what it says.
const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];

record! {
    /// Changes what the target's HTTP server is asked and what it answers, without a change to it: connections that
    /// come in at `port` from outside the container are led through a proxy beside it. At least one change is
    /// given; several add up, and `abort` leaves the server out. HTTP/1 only: TLS and HTTP/2 pass through
    /// untouched and are counted. Connections that exist keep going straight; those of the proxy end when the fault
    /// does. The server sees them come from the container's own address.
    pub struct HttpFault ("http") {
        /// The target, which is the server.
        pub on: Located<String>,
        /// The port that it listens on, inside the container.
        pub port: Located<u16>,
        /// Only requests with one of these methods, as `GET`; every method if left out.
        pub methods: Vec<Located<String>>,
        /// Only requests for paths that match one of these, the query not counted: globs (`/api/*`) or regular
        /// expressions behind `re:`. Every path if left out.
        pub paths: Vec<Pattern>,
        /// Only requests with all of these headers, each with a value that matches a pattern: `x-user: "gold-*"`.
        pub headers: Named<Pattern>,
        /// How many of these requests, drawn for each.
        pub share: Ratio = Ratio::new(1.0),
        /// How long they are held before the server sees them.
        pub delay: Located<Duration> = Located { value: Duration::ZERO, span: Span::default() },
        /// They are answered with this instead of by the server, which does not see them.
        pub abort: Option<Abort>,
        /// Changes to the headers of requests.
        pub request: Option<HeaderChanges>,
        /// Changes to the headers of answers.
        pub response: Option<HeaderChanges>,
        /// The body of answers is this text instead.
        pub body: Option<String>,
        /// The body of answers breaks off after this many bytes, and the connection with it. Shorter ones stay whole.
        pub truncate: Option<Located<u64>>,
        /// The body of answers comes at this many bytes per second.
        pub drip: Option<Located<u64>>,
    }
}

record! {
    /// An answer in the server's place, as plain text.
    pub struct Abort ("abort") {
        /// Its status: 200 to 599.
        pub status: Located<u16>,
        /// Its body; empty if left out.
        pub body: String = String::new(),
    }
}

record! {
    /// Changes to headers. Those that say where a message ends can't be changed.
    pub struct HeaderChanges ("changes to headers") {
        /// Headers that are set, whether they were there or not.
        pub set: Named<String>,
        /// Headers that are taken away, before others are set.
        pub remove: Vec<Located<String>>,
    }
}

impl HeaderChanges {
    fn task(&self) -> task::Edit {
        task::Edit {
            set: self.set.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect(),
            remove: self.remove.iter().map(|name| name.value.clone()).collect(),
        }
    }

    fn check(&self, mistakes: &mut Mistakes) {
        for (name, value) in &self.set.0 {
            check_name(name, mistakes);
            if value.chars().any(|c| c.is_control() && c != '\t') {
                mistakes.add(
                    name.span,
                    format!("the value of header `{}` has control characters", name.value),
                    "write it on one line",
                );
            }
        }
        self.remove.iter().for_each(|name| check_name(name, mistakes));
    }
}

/// Refuses what is no header's name, and those that must stay.
fn check_name(name: &Located<String>, mistakes: &mut Mistakes) {
    let lower = name.value.to_ascii_lowercase();
    if FRAMING.contains(&lower.as_str()) {
        mistakes.add(
            name.span,
            format!("header `{}` says where a message ends and can't be changed", name.value),
            "`truncate` breaks messages off",
        );
    } else if !is_token(&name.value) {
        mistakes.add(
            name.span,
            format!("`{}` can't be the name of a header", name.value),
            "names are letters, digits and dashes, such as `x-request-id`",
        );
    }
}

/// True for a token of RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c))
}

impl HttpFault {
    fn task(&self, seed: u64) -> Http {
        Http {
            port: self.port.value,
            methods: self.methods.iter().map(|method| method.value.clone()).collect(),
            paths: self.paths.clone(),
            headers: self.headers.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect(),
            share: self.share.get(),
            seed,
            delay_ns: self.delay.as_ns(),
            abort: self
                .abort
                .as_ref()
                .map(|abort| task::Abort { status: abort.status.value, body: abort.body.clone() }),
            request: self.request.as_ref().map(HeaderChanges::task).unwrap_or_default(),
            response: self.response.as_ref().map(HeaderChanges::task).unwrap_or_default(),
            body: self.body.clone(),
            truncate_bytes: self.truncate.as_ref().map(|bytes| bytes.value),
            drip_bytes_per_s: self.drip.as_ref().map(|rate| rate.value),
        }
    }
}

impl FaultKind for HttpFault {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        // Each container draws its own share.
        cast.inside(&self.on, |seed| Task::Http(self.task(seed)))
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        kernel.http_engine()
    }

    fn summary(&self) -> String {
        let task = self.task(0);
        format!("{} of {}: {}", task.requests(), self.on.value, task.effect())
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        evidence.iter().any(|seen| {
            matches!(seen, Evidence::Packets(counters)
                if counters.counted.get("altered_requests").is_some_and(|altered| *altered > 0))
        })
    }

    fn why_unproven(&self, evidence: &[Evidence]) -> Option<String> {
        let most = |what: &str| {
            let counts = evidence.iter().map(|seen| match seen {
                Evidence::Packets(counters) => counters.counted.get(what).copied().unwrap_or(0),
                _ => 0,
            });
            counts.max().unwrap_or(0)
        };
        let passed = [("tls_connections_passed", "TLS"), ("http2_connections_passed", "HTTP/2")];
        let passed = passed.into_iter().map(|(what, speech)| (most(what), speech));
        let (connections, speech) = passed.max().filter(|(connections, _)| *connections > 0)?;
        Some(format!("{connections} connections spoke {speech}, which can't be altered"))
    }

    fn check(&self, mistakes: &mut Mistakes) {
        let changes = self.task(0).effect();
        if changes.is_empty() {
            mistakes.add(
                self.on.span,
                "an `http` fault without a change changes nothing",
                "add one, such as `abort: { status: 503 }` or `delay: 200ms`",
            );
        }
        if self.share.get() == 0.0 {
            mistakes.add(self.on.span, "a `share` of 0% changes nothing", "write a share such as `50%`");
        }
        if self.port.value == 0 {
            mistakes.add(
                self.port.span,
                "no server listens on port 0",
                "write the server's port, from 1 to 65535",
            );
        }
        if let Some(abort) = &self.abort {
            if !(200..=599).contains(&abort.status.value) {
                mistakes.add(
                    abort.status.span,
                    format!("{} is not the status of an answer", abort.status.value),
                    "write one from 200 to 599, such as `503`",
                );
            }
            let after = self.response.is_some()
                || self.body.is_some()
                || self.truncate.is_some()
                || self.drip.is_some();
            if after {
                mistakes.add(
                    abort.status.span,
                    "with `abort` there is no answer of the server's to change",
                    "leave out `abort`, or what changes answers; `abort` has a `body` of its own",
                );
            }
        }
        if let Some(drip) = self.drip.as_ref().filter(|drip| drip.value == 0) {
            mistakes.add(
                drip.span,
                "`drip` must be positive, got `0`",
                "write bytes per second, such as `500`",
            );
        }
        for method in self.methods.iter().filter(|method| !is_token(&method.value)) {
            mistakes.add(
                method.span,
                format!("`{}` can't be a method", method.value),
                "write one in capitals, such as `GET`",
            );
        }
        self.headers.0.iter().for_each(|(name, _)| {
            if !is_token(&name.value) {
                check_name(name, mistakes);
            }
        });
        for changes in self.request.iter().chain(&self.response) {
            changes.check(mistakes);
        }
    }
}
