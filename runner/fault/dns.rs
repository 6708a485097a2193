//! `dns`: names don't resolve, resolve late, or to somewhere else.

use std::net::IpAddr;

use super::{Cast, Change, FaultKind};
use crate::agent::task::Task;
use crate::agent::task::dns::{Answer, Dns as DnsTask};
use crate::agent::wire::{Engine, Kernel};
use crate::event::Evidence;
use crate::pattern::Pattern;
use crate::spec::Located;
use crate::spec::decode::Mistakes;
use crate::units::{Duration, Ratio};
use crate::{choice, record};

record! {
    /// Answers the target's DNS queries falsely, late or not at all, whichever resolver it asks, Docker's own too;
    /// UDP and TCP, IPv4 and IPv6. At least one of `answer`, `addresses` and `delay` is given. Names that the
    /// target already knows (caches, `/etc/hosts`) and connections that it has are not touched, nor is DNS over TLS
    /// or HTTPS.
    pub struct Dns ("dns") {
        /// The target whose queries are answered.
        pub on: Located<String>,
        /// Only queries for names that match one of these, as they are asked for, after search domains: globs
        /// (`*.example.com`, `store-?`) or regular expressions behind `re:` (`re:^api-[0-9]+$`). Case does not
        /// matter. Every name if left out.
        pub names: Vec<Pattern>,
        /// What they are answered; the truth if left out.
        pub answer: Option<Located<FalseAnswer>>,
        /// They are answered with these addresses: IPv4 where that is asked for, IPv6 where that is. Queries for
        /// other records pass.
        pub addresses: Vec<Located<String>>,
        /// How much later they are answered.
        pub delay: Located<Duration> = Located { value: Duration::ZERO, span: crate::error::Span::default() },
        /// How many of these queries, drawn for each. A lookup is often two, one for IPv4 and one for IPv6.
        pub share: Ratio = Ratio::new(1.0),
    }
}

choice! {
    /// What a query is answered instead of the truth.
    pub enum FalseAnswer ("answer") {
        /// There is no such name.
        Nxdomain = "nxdomain",
        /// The resolver failed.
        Servfail = "servfail",
        /// Nothing: who asks waits until it gives up.
        Timeout = "timeout",
    }
}

impl Dns {
    fn addresses(&self) -> Vec<IpAddr> {
        // What is no address was refused.
        self.addresses.iter().filter_map(|address| address.parse().ok()).collect()
    }

    fn task(&self, seed: u64) -> DnsTask {
        let answer = match self.answer.as_ref().map(|answer| answer.value) {
            Some(FalseAnswer::Nxdomain) => Answer::Nxdomain,
            Some(FalseAnswer::Servfail) => Answer::Servfail,
            Some(FalseAnswer::Timeout) => Answer::Nothing,
            None if self.addresses.is_empty() => Answer::Truth,
            None => Answer::Addresses(self.addresses()),
        };
        let (delay_ns, share) = (self.delay.as_ns(), self.share.get());
        DnsTask { names: self.names.clone(), answer, delay_ns, share, seed }
    }
}

impl FaultKind for Dns {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        // Each container draws its own share.
        cast.inside(&self.on, |seed| Task::Dns(self.task(seed)))
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        kernel.dns_engine()
    }

    fn summary(&self) -> String {
        let names: Vec<String> = self.names.iter().map(ToString::to_string).collect();
        let names = if names.is_empty() { "every name".to_owned() } else { names.join(", ") };
        let what = match (self.answer.as_ref().map(|answer| answer.value), self.addresses().as_slice()) {
            (Some(FalseAnswer::Timeout), _) => "unanswered".to_owned(),
            (Some(answer), _) => format!("answered {}", answer.word().to_uppercase()),
            (None, []) => "answered".to_owned(),
            (None, addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                format!("answered {}", addresses.join(", "))
            }
        };
        let late = if self.delay.is_zero() { String::new() } else { format!(" {} late", self.delay.value) };
        let share = if self.share.get() < 1.0 { format!("{} of ", self.share) } else { String::new() };
        format!("{share}queries of {} for {names} are {what}{late}", self.on.value)
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        evidence.iter().any(|seen| {
            matches!(seen, Evidence::Packets(counters)
                if counters.counted.get("altered_queries").is_some_and(|altered| *altered > 0))
        })
    }

    fn check(&self, mistakes: &mut Mistakes) {
        for address in self.addresses.iter().filter(|address| address.parse::<IpAddr>().is_err()) {
            mistakes.add(
                address.span,
                format!("`{}` is not an IP address", address.value),
                "write one such as `192.0.2.1` or `2001:db8::1`",
            );
        }
        let timeout = self.answer.as_ref().filter(|answer| answer.value == FalseAnswer::Timeout);
        match &self.answer {
            Some(answer) if !self.addresses.is_empty() => mistakes.add(
                answer.span,
                "a query has one answer: `answer` or `addresses`",
                "leave out one of the two, or write two faults with `names` of their own",
            ),
            None if self.addresses.is_empty() && self.delay.is_zero() => mistakes.add(
                self.on.span,
                "a `dns` fault without `answer`, `addresses` or `delay` changes nothing",
                "add one, such as `answer: nxdomain`",
            ),
            _ => {}
        }
        if timeout.is_some() && !self.delay.is_zero() {
            mistakes.add(
                self.delay.span,
                "what is not answered can't be late",
                "leave out `delay`, or `answer: timeout`",
            );
        }
        if self.share.get() == 0.0 {
            mistakes.add(self.on.span, "a `share` of 0% changes nothing", "write a share such as `50%`");
        }
    }
}
