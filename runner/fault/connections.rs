//! `connections`: TCP connections of a container are broken off, or only so many are let in.

use super::step::{Op, Packets};
use super::{Cast, Change, FaultKind, counted};
use crate::agent::wire::{Admit, Direction, Effect, Engine, Kernel, Protocol, Sever};
use crate::event::Evidence;
use crate::record;
use crate::spec::Located;
use crate::spec::decode::Mistakes;
use crate::units::{Duration, Ratio};

record! {
    /// TCP connections of the target, one way or the other. With `reset` established ones are broken off, idle ones
    /// too: the program in the target is told that its connection was aborted, and the other end gets a reset. They
    /// stay broken; programs may connect anew. With `limit` no more than so many may be there: those that are stay,
    /// and whoever asks for one more is refused by a reset. IPv4 and IPv6, but never connections to the target itself.
    pub struct ConnectionsFault ("connections") {
        /// The target.
        pub on: Located<String>,
        /// Break off this share of the established connections, rounded up; which ones is drawn.
        pub reset: Option<Located<Ratio>>,
        /// With `reset`: again whenever this much time has passed, 10ms or more. Left out: once.
        pub every: Option<Located<Duration>>,
        /// The most connections there may be, on each container. 0: no new ones.
        pub limit: Option<Located<u32>>,
        /// Only connections that others opened (`ingress`), that the target opened (`egress`), or both. One is taken
        /// to have come in if the target still listens at its port.
        pub direction: Direction = Direction::Both,
        /// Only connections with these: targets, services (`service:api`), addresses, networks (`10.0.0.0/8`) or host
        /// names.
        pub peers: Vec<Located<String>>,
        /// Never connections with these.
        pub except: Vec<Located<String>>,
        /// Only connections with one of these ports at either end.
        pub ports: Vec<u16>,
    }
}

/// More often than this, and the agent would do nothing but list connections.
const SHORTEST_BEAT: Duration = Duration::from_ms(10);

impl ConnectionsFault {
    fn effect(&self, seed: u64) -> Effect {
        match (&self.reset, &self.limit) {
            (None, Some(limit)) => Effect::Admit(Admit { most: limit.value }),
            (share, _) => Effect::Sever(Sever {
                share: share.as_ref().map_or(0.0, |share| share.get()),
                every_ns: self.every.as_ref().map(|every| every.as_ns()),
                seed,
            }),
        }
    }

    /// `incoming connections`.
    const fn noun(&self) -> &'static str {
        match self.direction {
            Direction::Both => "connections",
            Direction::Ingress => "incoming connections",
            Direction::Egress => "outgoing connections",
        }
    }
}

impl FaultKind for ConnectionsFault {
    fn aims(&self) -> Vec<&Located<String>> {
        vec![&self.on]
    }

    fn peers(&self) -> Vec<&Located<String>> {
        self.peers.iter().chain(&self.except).collect()
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let packets = Packets {
            direction: self.direction,
            peers: cast.peers(&self.peers),
            except: cast.peers(&self.except),
            ports: self.ports.clone(),
            protocol: Some(Protocol::Tcp),
        };
        let change = |(index, container): (usize, &String)| Change {
            container: container.clone(),
            apply: Op::Impair(packets.clone(), self.effect(cast.seed.wrapping_add(index as u64))),
            undo: Some(Op::Clear),
        };
        cast.containers(&self.on).iter().enumerate().map(change).collect()
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        match self.limit {
            Some(_) => kernel.queue_engine().filter(|_| kernel.sock_diag),
            None => kernel.sock_destroy.then_some(Engine::SockDiag),
        }
    }

    fn summary(&self) -> String {
        let (on, noun) = (&self.on.value, self.noun());
        match (&self.reset, &self.limit) {
            (None, Some(limit)) => format!("{on} may have {} {noun} at most", limit.value),
            (share, _) => {
                let share = share.as_ref().map_or(Ratio::new(0.0), |share| share.value);
                let every =
                    self.every.as_ref().map_or(String::new(), |every| format!(" every {}", every.value));
                format!("{share} of the {noun} of {on} are broken off{every}")
            }
        }
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        let proof = if self.limit.is_some() { "refused_connections" } else { "reset_connections" };
        counted(evidence).iter().any(|counted| counted.get(proof).is_some_and(|count| *count > 0))
    }

    fn why_unproven(&self, evidence: &[Evidence]) -> Option<String> {
        let last = counted(evidence).last().copied()?;
        let of = |name: &str| last.get(name).copied().unwrap_or_default();
        Some(match &self.limit {
            Some(limit) => format!(
                "nobody was refused: {} connections were let in, and there were {} of {} at last",
                of("admitted_connections"),
                of("connections_there"),
                limit.value
            ),
            None => format!("it had none when looked at, {} times", of("rounds")),
        })
    }

    fn check(&self, mistakes: &mut Mistakes) {
        if self.reset.is_some() == self.limit.is_some() {
            mistakes.add(
                self.on.span,
                "`connections` takes exactly one of `reset` and `limit`",
                "write `reset: 100%` to break off those that are there, or `limit: 10` to have no more than that",
            );
        }
        if let Some(share) = self.reset.as_ref().filter(|share| share.get() <= 0.0) {
            mistakes.add(share.span, "`reset` must be positive, got `0%`", "write a share such as `50%`");
        }
        let Some(every) = &self.every else { return };
        if every.value < SHORTEST_BEAT {
            mistakes.add(
                every.span,
                format!("`every` must be at least {SHORTEST_BEAT}, got `{}`", every.value),
                "write a duration such as `1s`",
            );
        }
        if self.limit.is_some() {
            mistakes.add(every.span, "`every` is of `reset`: a limit holds all along", "leave it out");
        }
    }
}
