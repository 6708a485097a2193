//! Looking who reaches whom: agents send each other datagrams and say what arrived.
//!
//! A look ends as soon as everything hoped for was heard and, where silence is part of the answer, has lasted.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{Injector, surprise};
use crate::agent::reach::{Aim, Ask, Heard};
use crate::agent::task::Place;
use crate::agent::wire::{Command, Outcome};
use crate::error::{Error, Result};
use crate::event::Look;
use crate::fault::reach::Reach;

/// How often agents are asked what they heard.
const LISTEN_EVERY: Duration = Duration::from_millis(10);
/// How often what was not heard is sent again: a datagram may be lost for any other reason.
const SEND_EVERY: Duration = Duration::from_millis(60);
/// How long silence must last to count: thousands of times what a datagram takes on one machine's bridges.
const SILENCE: Duration = Duration::from_millis(250);
/// How long what must come may take, other faults' delays included.
const PATIENCE: Duration = Duration::from_secs(2);

impl Injector {
    /// Looks who reaches whom among `hoped`'s members. Returns once everyone has reached whom they do in
    /// `hoped`, during a fault after a silence of the others; at the latest when patience ends.
    pub async fn reach(&self, when: Look, hoped: &Reach) -> Result<Reach> {
        let number = rand::random();
        let opened = self.ask_all(hoped, |_| Ask::Open { number }).await;
        let ends = match self.addresses(hoped, opened) {
            Ok(ends) => self.listen(when, hoped, &ends).await,
            Err(error) => Err(error),
        };
        // Closed whatever came of it; an agent that is gone has closed its own.
        self.ask_all(hoped, |_| Ask::Close).await;
        ends
    }

    /// Where each member listens: its addresses with the port of their family.
    fn addresses(&self, hoped: &Reach, opened: Vec<Result<Heard>>) -> Result<Vec<Vec<SocketAddr>>> {
        let mut ends = Vec::new();
        for (name, heard) in hoped.members.iter().zip(opened) {
            let ports = heard?.ports;
            let bound = self
                .bound
                .get(name)
                .ok_or_else(|| Error::environment(format!("container {name} is not there any more")))?;
            let open = |address: &std::net::IpAddr| {
                ports[usize::from(address.is_ipv6())].map(|port| SocketAddr::new(*address, port))
            };
            ends.push(bound.addresses.iter().filter_map(open).collect());
        }
        Ok(ends)
    }

    async fn listen(&self, when: Look, hoped: &Reach, ends: &[Vec<SocketAddr>]) -> Result<Reach> {
        let began = Instant::now();
        let silence_counts = when == Look::During && hoped.pairs().any(|(from, to)| !hoped.reaches(from, to));
        let mut seen = BTreeSet::<(usize, usize)>::new();
        let (mut sent, mut news) = (None, began);
        loop {
            let due = sent.is_none_or(|sent: Instant| sent.elapsed() >= SEND_EVERY);
            let answers = if due {
                sent = Some(Instant::now());
                self.ask_all(hoped, |from| Ask::Send { from: from as u32, to: aims(from, ends, &seen) }).await
            } else {
                self.ask_all(hoped, |_| Ask::Listen).await
            };
            let before = seen.len();
            for (to, heard) in answers.into_iter().enumerate() {
                // An agent that went meanwhile hears nothing; that it went is news of its own.
                let heard = heard.unwrap_or_default();
                seen.extend(heard.from.into_iter().map(|(from, _)| (from as usize, to)));
            }
            if seen.len() > before {
                news = Instant::now();
            }
            let came = hoped.pairs().all(|pair| !hoped.reaches(pair.0, pair.1) || seen.contains(&pair));
            let quiet = news.elapsed() >= SILENCE;
            let over = match when {
                // Nobody knows yet who can be heard.
                Look::Before => quiet,
                Look::During | Look::After => began.elapsed() >= PATIENCE,
            };
            if over || (came && (quiet || !silence_counts)) {
                return Ok(Reach::new(hoped.members.clone(), |from, to| seen.contains(&(from, to))));
            }
            sleep(LISTEN_EVERY).await;
        }
    }

    /// Asks every member's agent at once; one answer each, in the members' order.
    async fn ask_all(&self, hoped: &Reach, ask: impl Fn(usize) -> Ask) -> Vec<Result<Heard>> {
        let asked = hoped.members.iter().enumerate().map(|(number, name)| {
            let ask = ask(number);
            async move {
                let link = self
                    .links
                    .get(&(name.clone(), Place::Network))
                    .ok_or_else(|| Error::environment(format!("the agent of {name} was never armed")))?;
                match link.call(Command::Reach(ask)).await? {
                    Outcome::Heard(heard) => Ok(heard),
                    other => Err(surprise(&other)),
                }
            }
        });
        join_all(asked).await
    }
}

/// What member number `from` sends: a datagram to each address of everyone it has not reached yet.
fn aims(from: usize, ends: &[Vec<SocketAddr>], seen: &BTreeSet<(usize, usize)>) -> Vec<Aim> {
    let others = ends.iter().enumerate().filter(|(to, _)| *to != from && !seen.contains(&(from, *to)));
    others
        .flat_map(|(_, end)| (0..).zip(end).map(|(slot, address)| Aim { address: *address, slot }))
        .collect()
}
