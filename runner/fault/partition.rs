//! `partition`: containers can't reach each other.
//!
//! Groups and shapes come to the same: a table of who reaches whom ([`super::shape`]). The steps follow from
//! it: a packet that is lost is dropped where it leaves and, should that fail, where it arrives.

use std::collections::BTreeSet;

use super::packets::counted;
use super::reach::Reach;
use super::shape::{PartitionShape, Ways, groups_reach};
use super::step::{Op, Packets, Peer};
use super::{Cast, Change, FaultKind, Misfit, Proof};
use crate::agent::wire::{Direction, Effect, Engine, Kernel};
use crate::event::Evidence;
use crate::spec::decode::{Mistakes, list_of};
use crate::spec::{Located, Named};
use crate::{choice, record};

record! {
    /// Cuts containers off from each other, at both ends: named groups, or a shape over the containers of one
    /// target. What is not cut still flows. Who reached whom is looked at from inside the containers, before,
    /// during and after, and must be what the plan says. Write either `groups`, or `on` and `shape`.
    pub struct Partition ("partition") {
        /// The groups by name, each a list of targets. Every group is cut off from every other; within a
        /// group, and to containers in none, everything still flows.
        pub groups: Named<Vec<Located<String>>>,
        /// The target whose containers `shape` cuts apart.
        pub on: Option<Located<String>>,
        /// How they are cut apart; the experiment's seed decides who is where.
        pub shape: Option<Located<PartitionShape>>,
        /// Which way packets are lost.
        pub direction: Located<Ways> = Located { value: Ways::Both, span: crate::error::Span::default() },
        /// What becomes of packets across the cut.
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

impl Partition {
    /// The containers of each group, in file order.
    fn grouped(&self, cast: &Cast<'_>) -> Vec<Vec<String>> {
        let containers = |targets: &Vec<Located<String>>| {
            targets.iter().flat_map(|target| cast.containers(target)).cloned().collect()
        };
        self.groups.iter().map(|(_, targets)| containers(targets)).collect()
    }

    /// Who reaches whom while it is in effect.
    fn table(&self, cast: &Cast<'_>) -> Reach {
        match (&self.on, &self.shape) {
            (Some(on), Some(shape)) => shape.reach(cast.containers(on), self.direction.value, cast.seed),
            _ => groups_reach(&self.grouped(cast), self.direction.value),
        }
    }
}

impl FaultKind for Partition {
    fn aims(&self) -> Vec<&Located<String>> {
        self.groups.iter().flat_map(|(_, targets)| targets).chain(&self.on).collect()
    }

    fn changes(&self, cast: &Cast<'_>) -> Vec<Change> {
        let reach = self.table(cast);
        let effect = match self.how {
            Cut::Blackhole => Effect::Drop,
            Cut::Reset => Effect::Reset,
        };
        let mut changes = Vec::new();
        for (number, container) in reach.members.iter().enumerate() {
            let mut lose = |direction, peers: &[usize]| {
                if peers.is_empty() {
                    return;
                }
                let peers = peers.iter().map(|peer| Peer::Container(reach.members[*peer].clone()));
                changes.push(Change {
                    container: container.clone(),
                    apply: Op::Impair(
                        Packets {
                            direction,
                            peers: peers.collect(),
                            except: Vec::new(),
                            ports: Vec::new(),
                            protocol: None,
                        },
                        effect.clone(),
                    ),
                    undo: Some(Op::Clear),
                });
            };
            let (to, from) = (reach.lost_from(number), reach.lost_to(number));
            if to == from {
                lose(Direction::Both, &to);
            } else {
                lose(Direction::Egress, &to);
                lose(Direction::Ingress, &from);
            }
        }
        changes
    }

    fn reach(&self, cast: &Cast<'_>) -> Option<Reach> {
        Some(self.table(cast))
    }

    fn misfit(&self, cast: &Cast<'_>) -> Option<Misfit> {
        if let (Some(on), Some(shape)) = (&self.on, &self.shape) {
            let (count, least) = (cast.containers(on).len(), shape.least());
            return (count < least).then(|| Misfit {
                span: on.span,
                message: format!(
                    "`{}` cuts nothing apart in {count} containers; it takes {least}",
                    shape.word()
                ),
                hint: "choose a target with more containers, or another shape".into(),
            });
        }
        let mut seen = BTreeSet::new();
        let twice = self.groups.iter().flat_map(|(_, targets)| targets).find_map(|target| {
            let again = cast.containers(target).iter().find(|name| !seen.insert((*name).clone()));
            again.map(|name| (target, name))
        });
        twice.map(|(target, name)| Misfit {
            span: target.span,
            message: format!("container {name} is in two groups, again by target `{}`", target.value),
            hint: "a container can't be cut off from itself: leave it in one group".into(),
        })
    }

    fn engine(&self, kernel: &Kernel) -> Option<Engine> {
        kernel.nft.then_some(Engine::Nft)
    }

    fn summary(&self) -> String {
        let one_way = self.direction.value == Ways::OneWay;
        if let (Some(on), Some(shape)) = (&self.on, &self.shape) {
            let cut = match shape.value {
                PartitionShape::Halves => "is cut in halves",
                PartitionShape::One => "has one cut off from the others",
                PartitionShape::Bridge => "is cut in halves with a bridge between them",
                PartitionShape::MajoritiesRing => "is cut so that each hears another majority",
            };
            let how = if self.how == Cut::Reset { ", by refusing" } else { "" };
            return format!("{} {cut}{}{how}", on.value, if one_way { ", one way" } else { "" });
        }
        let names: Vec<_> = self.groups.names().collect();
        match (self.how, one_way) {
            (Cut::Blackhole, false) => format!("{} can't reach each other", names.join(" and ")),
            (Cut::Reset, false) => format!("{} refuse each other", names.join(" and ")),
            (Cut::Blackhole, true) => format!("{}: earlier ones can't reach later ones", names.join(", ")),
            (Cut::Reset, true) => format!("{}: earlier ones are refused by later ones", names.join(", ")),
        }
    }

    fn proven(&self, evidence: &[Evidence]) -> bool {
        counted(evidence, |counters| counters.matched_packets > 0)
    }

    fn proof(&self) -> Proof {
        // Of two groups cut apart, only the containers that talk across the cut see a packet dropped; but
        // whether they could is looked at.
        Proof::Reach
    }

    fn check(&self, mistakes: &mut Mistakes) {
        match (&self.on, &self.shape) {
            (None, None) => self.check_groups(mistakes),
            (Some(on), _) if !self.groups.is_empty() => mistakes.add(
                on.span,
                "`partition` takes either `groups`, or `on` and `shape`, not both",
                "name the groups yourself, or leave them out and let the shape choose",
            ),
            (Some(on), None) => mistakes.add(
                on.span,
                "`partition` has `on` without `shape`",
                "add `shape: halves`, `one`, `bridge` or `majorities-ring`",
            ),
            (None, Some(shape)) => mistakes.add(
                shape.span,
                "`partition` has `shape` without `on`",
                "add `on: TARGET`, whose containers are to be cut apart",
            ),
            (Some(_), Some(shape))
                if shape.value == PartitionShape::MajoritiesRing && self.direction.value == Ways::OneWay =>
            {
                mistakes.add(
                    self.direction.span,
                    "`majorities-ring` says itself who hears whom",
                    format!(
                        "leave `direction` out, or take one of {}",
                        list_of(&["halves", "one", "bridge"])
                    ),
                );
            }
            (Some(_), Some(_)) => {}
        }
    }
}

impl Partition {
    fn check_groups(&self, mistakes: &mut Mistakes) {
        if self.groups.len() < 2 {
            let span = self.groups.0.first().map(|(name, _)| name.span).unwrap_or_default();
            mistakes.add(
                span,
                format!("`partition` needs at least two groups, got {}", self.groups.len()),
                "write `groups: { left: [a], right: [b] }`, or `on: TARGET` with a `shape`",
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
