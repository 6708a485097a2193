//! `partition`: groups of containers can't reach each other.

use super::step::{Op, Packets, Peer};
use super::{Cast, Change, FaultKind, Proof};
use crate::agent::wire::{Direction, Effect, Engine, Kernel};
use crate::event::Evidence;
use crate::spec::decode::Mistakes;
use crate::spec::{Located, Named};
use crate::{choice, record};

record! {
    /// Cuts every group off from every other, at both ends. Within a group, and to containers in none,
    /// everything still flows.
    pub struct Partition ("partition") {
        /// The groups by name, each a list of targets.
        pub groups: Named<Vec<Located<String>>>,
        /// What becomes of packets between groups.
        pub how: Cut = Cut::Blackhole,
    }
}

choice! {
    /// What becomes of packets across a partition.
    pub enum Cut ("partition mode") {
        /// They vanish: connections hang until they time out.
        Blackhole = "blackhole",
        /// They are refused: connections break at once.
        Reset = "reset",
    }
}

impl FaultKind for Partition {
    fn aims(&self) -> Vec<&Located<String>> {
        self.groups.iter().flat_map(|(_, targets)| targets).collect()
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let groups: Vec<Vec<&String>> = self
            .groups
            .iter()
            .map(|(_, targets)| targets.iter().flat_map(|target| cast.containers(target)).collect())
            .collect();
        let mut changes = Vec::new();
        for (index, group) in groups.iter().enumerate() {
            let others: Vec<Peer> = groups
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .flat_map(|(_, members)| members)
                .map(|container| Peer::Container((*container).clone()))
                .collect();
            for container in group {
                changes.push(Change {
                    container: (*container).clone(),
                    apply: Op::Impair(
                        Packets {
                            direction: Direction::Both,
                            peers: others.clone(),
                            except: Vec::new(),
                            ports: Vec::new(),
                            protocol: None,
                        },
                        match self.how {
                            Cut::Blackhole => Effect::Drop,
                            Cut::Reset => Effect::Reset,
                        },
                    ),
                    undo: Some(Op::Clear),
                });
            }
        }
        changes
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        kernel.nft.then_some(Engine::Nft)
    }

    fn summary(&self) -> String {
        let names: Vec<_> = self.groups.names().collect();
        let how = match self.how {
            Cut::Blackhole => "can't reach each other",
            Cut::Reset => "refuse each other",
        };
        format!("{} {how}", names.join(" and "))
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        evidence
            .iter()
            .any(|seen| matches!(seen, Evidence::Packets(counters) if counters.matched_packets > 0))
    }

    fn proof(&self) -> Proof {
        // Of two groups cut apart, only the containers that talk across the cut see a packet dropped.
        Proof::AnyStep
    }

    fn check(&self, mistakes: &mut Mistakes) {
        if self.groups.len() < 2 {
            let span = self.groups.0.first().map(|(name, _)| name.span).unwrap_or_default();
            mistakes.add(
                span,
                format!("`partition` needs at least two groups, got {}", self.groups.len()),
                "write `groups: { left: [a], right: [b] }`",
            );
        }
        let mut seen = Vec::<&str>::new();
        for (name, members) in &self.groups.0 {
            for member in members {
                if seen.contains(&member.as_str()) {
                    mistakes.add(
                        member.span,
                        format!("`{}` is in two groups", member.value),
                        "a container can't be cut off from itself: leave it in one group",
                    );
                }
                seen.push(member.as_str());
            }
            if members.is_empty() {
                mistakes.add(
                    name.span,
                    format!("group `{}` is empty", name.value),
                    "list at least one target",
                );
            }
        }
    }
}
