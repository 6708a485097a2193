//! Looking who reaches whom: agents send each other datagrams and say what arrived.
//!
//! A look ends as soon as everything hoped for was heard and, where silence is part of the answer, has lasted. Many
//! containers are looked at in waves (`waves.rs`).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::waves::{Here, Pair, room, waves};
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
    /// `hoped`, during a fault after a silence of the others; at the latest when patience ends. Dropped, it leaves
    /// the agents' ports open until they are asked to look again.
    pub async fn reach(&self, when: Look, hoped: &Reach) -> Result<Reach> {
        let number = rand::random();
        let opened = self.ask_all(hoped, |_| Ask::Open { number }).await;
        let seen = match self.addresses(hoped, opened) {
            Ok(ends) => self.listen(when, hoped, &ends).await,
            Err(error) => Err(error),
        };
        // Closed whatever came of it; an agent that is gone has closed its own.
        self.ask_all(hoped, |_| Ask::Close).await;
        seen
    }

    /// Where each member listens: its addresses with the port of their family.
    fn addresses(&self, hoped: &Reach, opened: Vec<Result<Heard>>) -> Result<Vec<Vec<SocketAddr>>> {
        let mut ends = Vec::new();
        for (name, heard) in hoped.members.iter().zip(opened) {
            let ports = heard?.ports;
            let book = self.book();
            let bound = book
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
        let addresses: Vec<usize> = ends.iter().map(Vec::len).collect();
        let here = if self.docker.is_local() { Here::ThisMachine } else { Here::Elsewhere };
        let mut seen = BTreeSet::<Pair>::new();
        for (number, wave) in waves(&addresses, room(here)).into_iter().enumerate() {
            if number > 0 {
                self.ask_all(hoped, |_| Ask::Forget).await;
            }
            self.listen_to(when, hoped, ends, &wave, &mut seen).await;
        }
        Ok(Reach::new(hoped.members.clone(), |from, to| seen.contains(&(from, to))))
    }

    /// One wave of a look.
    async fn listen_to(
        &self,
        when: Look,
        hoped: &Reach,
        ends: &[Vec<SocketAddr>],
        wave: &BTreeSet<Pair>,
        seen: &mut BTreeSet<Pair>,
    ) {
        let began = Instant::now();
        let reached = |pair: &&Pair| hoped.reaches(pair.0, pair.1);
        let silence_counts = when == Look::During && wave.iter().any(|pair| !reached(&pair));
        let (mut sent, mut news) = (None, began);
        loop {
            let due = sent.is_none_or(|sent: Instant| sent.elapsed() >= SEND_EVERY);
            let answers = if due {
                sent = Some(Instant::now());
                let ask = |from| Ask::Send { from: from as u32, to: aims(from, ends, wave, seen) };
                self.ask_all(hoped, ask).await
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
            let came = wave.iter().filter(reached).all(|pair| seen.contains(pair));
            let quiet = news.elapsed() >= SILENCE;
            let over = match when {
                // Nobody knows yet who can be heard.
                Look::Before => quiet,
                Look::During | Look::After => began.elapsed() >= PATIENCE,
            };
            if over || (came && (quiet || !silence_counts)) {
                return;
            }
            sleep(LISTEN_EVERY).await;
        }
    }

    /// How many pairs of members share a network and were not heard of each other, though nothing was done to them
    /// yet: nothing can be said of them then.
    pub fn unheard(&self, seen: &Reach) -> u32 {
        let book = self.book();
        let networks: Vec<&[String]> = seen
            .members
            .iter()
            .map(|name| book.bound.get(name).map_or(&[][..], |bound| &bound.networks[..]))
            .collect();
        let near = |(from, to): &Pair| networks[*from].iter().any(|name| networks[*to].contains(name));
        let unheard = seen.pairs().filter(near).filter(|(from, to)| !seen.reaches(*from, *to)).count();
        u32::try_from(unheard).unwrap_or(u32::MAX)
    }

    /// Asks every member's agent at once; one answer each, in the members' order.
    async fn ask_all(&self, hoped: &Reach, ask: impl Fn(usize) -> Ask) -> Vec<Result<Heard>> {
        let asked = hoped.members.iter().enumerate().map(|(number, name)| {
            let ask = ask(number);
            async move {
                let link = self
                    .link(&(name.clone(), Place::Network))
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

/// What member number `from` sends: a datagram to each address of everyone of the wave it has not reached yet.
fn aims(from: usize, ends: &[Vec<SocketAddr>], wave: &BTreeSet<Pair>, seen: &BTreeSet<Pair>) -> Vec<Aim> {
    let others = ends.iter().enumerate().filter(|(to, _)| {
        let pair = (from, *to);
        wave.contains(&pair) && !seen.contains(&pair)
    });
    others
        .flat_map(|(_, end)| (0..).zip(end).map(|(slot, address)| Aim { address: *address, slot }))
        .collect()
}
