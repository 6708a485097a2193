//! What plan and journal know of the system: who sends where, which containers there are of what was hit, and whom
//! faults come between. Pure data; `drawing` puts it on the page. Start at [`Map::of`].

use std::collections::BTreeMap;

use crate::event::Event;
use crate::fault::reach::Reach;
use crate::fault::step::{Op, Peer};
use crate::plan::{FaultPlan, Plan};
use crate::report::Case;
use crate::spec::Request;

/// A container of a group.
pub(super) struct Member {
    /// Its name; empty where only their number is known.
    pub name: String,
    /// Kinds of the faults that hit it; empty: none did.
    pub faults: Vec<String>,
    /// The side of a partition that it is on, from 0; nothing: none, or each has its own.
    pub side: Option<usize>,
}

/// A service, or an address that is known by nothing else.
pub(super) struct Group {
    /// Its name, or the address.
    pub name: String,
    /// Its containers, as far as known.
    pub members: Vec<Member>,
}

impl Group {
    /// How many of them are hit.
    pub fn hit(&self) -> usize {
        self.members.iter().filter(|member| !member.faults.is_empty()).count()
    }
}

/// The end of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// A load, by its index in the plan.
    Load(usize),
    /// A group, by its index.
    Group(usize),
}

/// Two that have to do with each other.
pub(super) struct Edge {
    pub from: End,
    pub to: usize,
    /// The kinds of the faults that are on it; empty: requests go there.
    pub faults: Vec<String>,
}

/// All of it.
pub(super) struct Map {
    /// Names of loads.
    pub loads: Vec<String>,
    /// Entries of loads first, then what was hit, then whom faults come between.
    pub groups: Vec<Group>,
    pub edges: Vec<Edge>,
    /// How many sides partitions have, in all.
    pub sides: usize,
}

impl Map {
    /// What is known of the run's system.
    pub fn of(case: &Case<'_>) -> Self {
        let plan = &case.started.plan;
        let mut map = Self { loads: Vec::new(), groups: Vec::new(), edges: Vec::new(), sides: 0 };
        map.entries(case);
        map.services(plan);
        map.sides(plan);
        for fault in &plan.faults {
            map.between(fault);
        }
        map
    }

    /// The group of this name, made where there is none.
    fn group(&mut self, name: &str) -> usize {
        let found = self.groups.iter().position(|group| group.name == name);
        found.unwrap_or_else(|| {
            self.groups.push(Group { name: name.to_owned(), members: Vec::new() });
            self.groups.len() - 1
        })
    }

    /// The group that holds this container, else one of its own.
    fn group_of(&mut self, container: &str) -> usize {
        let holds = |group: &Group| group.members.iter().any(|member| member.name == container);
        match self.groups.iter().position(holds) {
            Some(found) => found,
            None => self.group(container),
        }
    }

    fn connect(&mut self, from: End, to: usize, fault: Option<&str>) {
        let edge = match self.edges.iter().position(|edge| (edge.from, edge.to) == (from, to)) {
            Some(found) => &mut self.edges[found],
            None => {
                self.edges.push(Edge { from, to, faults: Vec::new() });
                self.edges.last_mut().expect("it was just pushed")
            }
        };
        if let Some(fault) = fault.filter(|fault| !edge.faults.iter().any(|known| known == fault)) {
            edge.faults.push(fault.to_owned());
        }
    }

    /// Where loads send: the service behind a published address, else the address itself.
    fn entries(&mut self, case: &Case<'_>) {
        let published = published(case);
        for (at, load) in case.started.plan.loads.iter().enumerate() {
            self.loads.push(load.name.clone());
            for place in places(&load.load.requests.value) {
                let host = place.split(':').next().unwrap_or(place);
                let service = published.get(place).map(|name| name.split(':').next().unwrap_or(name));
                // A lab's services go by this name in URLs.
                let service = service.or_else(|| host.strip_suffix(".lab"));
                let group = self.group(service.unwrap_or(place));
                self.connect(End::Load(at), group, None);
            }
        }
    }

    /// Services of which something is hit, with all their containers.
    fn services(&mut self, plan: &Plan) {
        let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for fault in &plan.faults {
            for step in &fault.steps {
                let of = kinds.entry(&step.container).or_default();
                if !of.contains(&fault.kind) {
                    of.push(fault.kind.clone());
                }
            }
        }
        let member = |name: &str, faults: Vec<String>| Member { name: name.to_owned(), faults, side: None };
        for share in &plan.shares {
            let mut members: Vec<Member> = share
                .containers
                .iter()
                .map(|name| member(name, kinds.remove(name.as_str()).unwrap_or_default()))
                .collect();
            if members.is_empty() {
                // Older plans have their number only; those hit are told by their names.
                let hit: Vec<&str> =
                    kinds.keys().copied().filter(|name| name.contains(share.service.as_str())).collect();
                members =
                    hit.iter().map(|name| member(name, kinds.remove(name).unwrap_or_default())).collect();
                members.resize_with((share.of as usize).max(members.len()), || member("", Vec::new()));
            }
            let group = self.group(&share.service);
            self.groups[group].members = members;
        }
        // What no service is known of.
        for (name, faults) in kinds {
            let group = self.group(name);
            self.groups[group].members.push(member(name, faults));
        }
    }

    /// Who is cut apart from whom: containers that reach the same ones are on one side.
    fn sides(&mut self, plan: &Plan) {
        for reach in plan.faults.iter().filter_map(|fault| fault.reach.as_ref()) {
            let sides = sides_of(reach);
            let several = sides.iter().max().map_or(0, |last| last + 1);
            // Where each has its own, as in a ring, the matrix says more.
            if several < 2 || several == reach.members.len() && several > 2 {
                continue;
            }
            for (name, side) in reach.members.iter().zip(sides) {
                let members = self.groups.iter_mut().flat_map(|group| &mut group.members);
                for member in members.filter(|member| member.name == *name) {
                    member.side.get_or_insert(self.sides + side);
                }
            }
            self.sides += several;
        }
    }

    /// Whom a fault comes between.
    fn between(&mut self, fault: &FaultPlan) {
        for step in &fault.steps {
            let Op::Impair(packets, _) = &step.apply else { continue };
            let from = self.group_of(&step.container);
            for peer in &packets.peers {
                let to = match peer {
                    Peer::Container(name) => self.group_of(name),
                    Peer::Net(name) | Peer::Host(name) => self.group(name),
                };
                // Within a service the sides and the matrix tell.
                if to != from {
                    self.connect(End::Group(from), to, Some(&fault.kind));
                }
            }
        }
    }
}

/// A number for each member; those with the same are reached by the same and reach the same.
fn sides_of(reach: &Reach) -> Vec<usize> {
    let alike = |one: usize, other: usize| {
        (0..reach.members.len()).all(|third| {
            [one, other].contains(&third)
                || reach.reaches(one, third) == reach.reaches(other, third)
                    && reach.reaches(third, one) == reach.reaches(third, other)
        }) && reach.reaches(one, other)
            && reach.reaches(other, one)
    };
    let mut sides: Vec<usize> = Vec::new();
    let mut several = 0;
    for member in 0..reach.members.len() {
        let side = (0..member).find(|other| alike(*other, member)).map(|other| sides[other]);
        sides.push(side.unwrap_or_else(|| {
            several += 1;
            several - 1
        }));
    }
    sides
}

/// The lab's published addresses: what is behind each.
fn published<'c>(case: &Case<'c>) -> BTreeMap<&'c str, &'c str> {
    let lab = |event: &'c Event| match event {
        Event::Lab { up: true, endpoints } => Some(endpoints),
        _ => None,
    };
    let endpoints = case.entries.iter().filter_map(|entry| lab(&entry.event)).flatten();
    endpoints.map(|(name, at)| (at.as_str(), name.as_str())).collect()
}

/// Hosts and ports that requests go to, each once.
fn places(requests: &[Request]) -> Vec<&str> {
    fn collect<'r>(requests: &'r [Request], places: &mut Vec<&'r str>) {
        for request in requests {
            let urls =
                [&request.get, &request.head, &request.post, &request.put, &request.patch, &request.delete];
            let urls = urls.into_iter().chain([&request.tcp]).flatten();
            for url in urls {
                let rest = url.value.split_once("://").map_or(url.value.as_str(), |(_, rest)| rest);
                let place = rest.split(['/', '?', '#']).next().unwrap_or(rest);
                if !places.contains(&place) {
                    places.push(place);
                }
            }
            collect(&request.steps, places);
        }
    }
    let mut found = Vec::new();
    collect(requests, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(members: usize, reaches: impl Fn(usize, usize) -> bool) -> Vec<usize> {
        let names = (0..members).map(|at| format!("c{at}")).collect();
        sides_of(&Reach::new(names, reaches))
    }

    #[test]
    fn those_who_reach_the_same_are_on_one_side() {
        assert_eq!(sides(4, |_, _| true), [0, 0, 0, 0]);
        assert_eq!(sides(4, |from, to| from / 2 == to / 2), [0, 0, 1, 1]);
        assert_eq!(sides(3, |from, to| (from == 0) == (to == 0)), [0, 1, 1]);
        // One way only: the first can't be heard, and is alone all the same.
        assert_eq!(sides(3, |from, _| from != 0), [0, 1, 1]);
        // A bridge is on no side but its own.
        assert_eq!(sides(5, |from, to| from == 2 || to == 2 || (from < 2) == (to < 2)), [0, 0, 1, 2, 2]);
    }
}
