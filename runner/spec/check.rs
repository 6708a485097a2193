//! What no field can say of itself: that names resolve, that fields agree, that what is asked can be judged.
//!
//! Runs on whatever of an experiment could be read, so that mistakes of one part do not hide those of
//! another. For the same reason known names come from the tree: a load with a typo inside still exists.
//! Requests, probes and SLOs have their own files, `check_requests.rs`, `check_probes.rs` and `check_slos.rs`. Start at [`check`].

use super::decode::{Located, Mistakes, list_of, nearest};
use super::names::Names;
use super::{Experiment, Judging, Lab, Phase, Pick, Replicas, Target, TargetLimit, check_requests};
use crate::error::{Problem, Span};
use crate::fault::SERVICE_PREFIX;
use crate::units::Duration;

/// The most phases of an experiment. Ten times the longest game day.
pub const MAX_PHASES: usize = 100;

/// The most faults of an experiment, all phases together: one agent carries out each container's share.
pub const MAX_FAULTS: usize = 500;

/// The most loads of an experiment: each has its own schedule, histograms and lines in every report.
pub const MAX_LOADS: usize = 50;

/// The most SLOs of an experiment: each is counted for every request of its load.
pub const MAX_SLOS: usize = 100;

/// The most targets of an experiment: a name for every fault, and more.
pub const MAX_TARGETS: usize = 500;

/// The longest name, in characters: names stand in tables, file names and plots.
pub const MAX_NAME_CHARS: usize = 64;

/// The most replicas of the built-in lab's API: each is a container with a process.
pub const MAX_APIS: u32 = 20;

/// Notes everything in `experiment` that does not fit together.
pub fn check(experiment: &Experiment, names: &Names, judging: Judging, mistakes: &mut Mistakes) {
    let mut checker = Checker { experiment, names, mistakes };
    if checker.too_much() {
        return;
    }
    checker.claim();
    checker.names();
    checker.lab();
    for (name, target) in &experiment.targets.0 {
        checker.target(name, target);
    }
    check_requests::loads(experiment, names, checker.mistakes);
    checker.slos();
    checker.phases();
    checker.faults();
    checker.checks();
    if judging == Judging::Needed {
        checker.judged();
    }
}

/// What is checked, and what was found.
pub(super) struct Checker<'e> {
    pub(super) experiment: &'e Experiment,
    pub(super) names: &'e Names,
    pub(super) mistakes: &'e mut Mistakes,
}

impl Checker<'_> {
    /// Notes each kind of thing that there are too many of. Such a file is not looked at further: some of
    /// what follows takes the time of one kind times another.
    fn too_much(&mut self) -> bool {
        let Names { targets, loads, slos, phases, fault_count, .. } = self.names;
        let counts = [
            ("targets", targets.len(), MAX_TARGETS),
            ("loads", loads.len(), MAX_LOADS),
            ("SLOs", slos.len(), MAX_SLOS),
            ("phases", phases.len(), MAX_PHASES),
            ("faults", *fault_count, MAX_FAULTS),
        ];
        let above = counts.into_iter().filter(|(_, count, most)| count > most);
        let before = self.mistakes.list.len();
        for (noun, count, most) in above {
            let message = format!("{count} {noun}; an experiment has at most {most}");
            self.add(self.experiment.experiment.span, message, "split it into several experiments");
        }
        self.mistakes.list.len() > before
    }

    pub(super) fn add(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.mistakes.add(span, message, hint);
    }

    /// Notes that `name` names nothing, unless it does.
    pub(super) fn known(&mut self, name: &str, span: Span, noun: &str, known: &[String]) {
        if self.mistakes.full() || known.iter().any(|known| known == name) {
            return;
        }
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let hint = match nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!("the experiment has no {noun}"),
            None => format!("known: {}", list_of(&known)),
        };
        self.add(span, format!("there is no {noun} `{name}`"), hint);
    }

    pub(super) fn positive(&mut self, field: &str, value: &Located<Duration>, example: &str) {
        if value.is_zero() {
            let message = format!("`{field}` must be positive, got `{}`", value.value);
            self.add(value.span, message, format!("write a duration such as `{example}`"));
        }
    }

    fn claim(&mut self) {
        let claim = &self.experiment.experiment;
        if claim.trim().is_empty() && claim.span != Span::default() {
            self.add(claim.span, "`experiment` is empty", "say in one line what is claimed");
        }
        let limits = &self.experiment.limits;
        if let Some(limit) = &limits.fault {
            self.positive("fault", limit, "5m");
        }
        if let Some(limit) = limits.containers.as_ref().filter(|limit| limit.value == 0) {
            self.add(limit.span, "a limit of `0` containers refuses every fault", "write `1` or more");
        }
        if let (Some(limit), true) = (&limits.error_budget, self.experiment.slos.0.is_empty()) {
            self.add(
                limit.span,
                "there is no SLO whose budget could be spent",
                "write `slos:`, or leave it out",
            );
        }
        if let Some(limit) = &limits.targets
            && matches!(limit.value, TargetLimit::Share(share) if share.get() == 0.0)
        {
            self.add(limit.span, "a limit of `0%` refuses every fault", "write `1` or `50%`");
        }
    }

    fn names(&mut self) {
        let experiment = self.experiment;
        let names = (experiment.targets.0.iter().map(|(name, _)| name))
            .chain(experiment.load.0.iter().map(|(name, _)| name))
            .chain(experiment.slos.0.iter().map(|(name, _)| name))
            .chain(experiment.probes.0.iter().map(|(name, _)| name))
            .chain(experiment.phases.0.iter().map(|(name, _)| name));
        for name in names {
            let text = name.value.as_str();
            let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
            if text.is_empty()
                || text.trim() != text
                || text.chars().count() > MAX_NAME_CHARS
                || !text.chars().all(fits)
            {
                let hint =
                    format!("use at most {MAX_NAME_CHARS} letters, digits, `-`, `_`, `.` and spaces inside");
                self.add(name.span, format!("`{text}` can't be a name"), hint);
            }
        }
    }

    fn lab(&mut self) {
        let Some(lab) = &self.experiment.lab else { return };
        let span = lab.span;
        match &lab.value {
            Lab::Compose(file) => {
                if file.trim().is_empty() {
                    self.add(span, "`compose` is empty", "write the compose file's path");
                }
            }
            Lab::Replicas(Replicas { apis, timeout, hedge, eject_after, eject_for, .. }) => {
                if !(1..=MAX_APIS).contains(apis) {
                    let message = format!("`apis` must be from 1 to {MAX_APIS}, got `{apis}`");
                    self.add(span, message, "three are enough to show most things");
                }
                if eject_after == &Some(0) {
                    self.add(span, "`eject_after` must be positive, got `0`", "leave it out to never eject");
                }
                let durations =
                    [("timeout", Some(timeout)), ("hedge", hedge.as_ref()), ("eject_for", Some(eject_for))];
                for (field, value) in durations {
                    if value.is_some_and(|value| value.is_zero()) {
                        let message = format!("`{field}` must be positive, got `0s`");
                        self.add(span, message, "write a duration such as `200ms`");
                    }
                }
            }
        }
    }

    fn target(&mut self, name: &Located<String>, target: &Target) {
        let Target { name: exact, re, label, service, image, network, pick } = target;
        let texts =
            [("name", exact), ("label", label), ("service", service), ("image", image), ("network", network)];
        for (field, text) in texts {
            let empty = text
                .as_ref()
                .is_some_and(|text| text.is_empty() || field == "label" && text.starts_with('='));
            if empty {
                let message = format!("`{field}` of target `{}` is empty", name.value);
                self.add(name.span, message, "leave it out, or say what must match");
            }
        }
        let none = re.is_none() && texts.iter().all(|(_, text)| text.is_none());
        if none && !self.names.touched("targets", &name.value, self.mistakes) {
            let hint = "give at least one of `name`, `re`, `label`, `service`, `image`, `network`";
            self.add(name.span, format!("target `{}` selects nothing", name.value), hint);
        }
        if let Some(re) = re
            && let Err(error) = regex::Regex::new(re)
        {
            // The first line of a regex error is a headline, the last one says what is wrong.
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let hint = "quote it between single quotes, and escape dots: `'api-[0-9]+'`";
            self.add(re.span, format!("`{}` is not a regular expression: {why}", re.value), hint);
        }
        if matches!(pick.value, Pick::Share(share) if share.get() == 0.0) {
            self.add(pick.span, "`pick: 0%` picks nothing", "write `all`, `1` or `50%`");
        }
    }

    fn phases(&mut self) {
        if self.names.no_phases {
            let span = self.experiment.experiment.span;
            self.add(
                span,
                "the experiment has no phases",
                "write `phases:` with at least one: `baseline: { for: 20s }`",
            );
        }
        for (name, phase) in &self.experiment.phases.0 {
            self.phase(name, phase);
        }
    }

    fn phase(&mut self, name: &Located<String>, phase: &Phase) {
        if let Some(search) = &phase.find_rate {
            self.find_rate(phase, search);
            if let Some(until) = &phase.until {
                let message = format!("phase `{}` has both `until` and `find_rate`", name.value);
                return self.add(until.span, message, "keep one of them: each ends the phase");
            }
        }
        match (&phase.duration, &phase.at_most, &phase.until) {
            (None, Some(_), None) if phase.find_rate.is_some() => {}
            (Some(duration), None, None) if phase.find_rate.is_some() => {
                let message = format!("phase `{}` has `find_rate` without `at_most`", name.value);
                self.add(duration.span, message, "write `at_most` instead of `for`");
            }
            (Some(duration), None, None) => self.positive("for", duration, "30s"),
            (None, Some(at_most), Some(until)) => {
                self.positive("at_most", at_most, "30s");
                if !self.names.steady_state {
                    let hint = "write `steady_state:` with what must hold";
                    self.add(until.span, "`until: steady` waits for a steady state, and there is none", hint);
                }
            }
            (Some(_), Some(at_most), _) => {
                let message = format!("phase `{}` has both `for` and `at_most`", name.value);
                self.add(at_most.span, message, "keep `for`, or `at_most` with `until: steady`");
            }
            (Some(_), None, Some(until)) => {
                let message = format!("phase `{}` has `until` without `at_most`", name.value);
                self.add(until.span, message, "write `at_most` instead of `for`");
            }
            (None, Some(at_most), None) => {
                let message =
                    format!("phase `{}` has `at_most` and nothing that ends it earlier", name.value);
                self.add(at_most.span, message, "add `until: steady`, or write `for` instead");
            }
            (None, None, _) if self.names.touched("phases", &name.value, self.mistakes) => {}
            (None, None, _) => {
                let message = format!("phase `{}` does not say when it ends", name.value);
                self.add(name.span, message, "write `for: 30s`, or `at_most: 30s` with `until: steady`");
            }
        }
    }

    fn faults(&mut self) {
        let experiment = self.experiment;
        for (name, phase) in &experiment.phases.0 {
            if let (Some(limit), Some(_)) = (&experiment.limits.fault, phase.faults.first())
                && phase.longest() > limit.value
            {
                let span =
                    phase.duration.as_ref().or(phase.at_most.as_ref()).map_or(name.span, |given| given.span);
                let message = format!(
                    "the faults of phase `{}` last up to {}, longer than `limits.fault` allows ({})",
                    name.value,
                    phase.longest(),
                    limit.value
                );
                self.add(span, message, "shorten the phase, or raise the limit");
            }
            for fault in &phase.faults {
                let kind = fault.kind();
                if !self.mistakes.within(fault.span) {
                    let before = self.mistakes.list.len();
                    kind.check(self.mistakes);
                    // What is missing stands nowhere: then the fault itself is the place.
                    let placeless = |problem: &&mut Problem| problem.span == Span::default();
                    let found = self.mistakes.list.iter_mut().skip(before);
                    found.filter(placeless).for_each(|problem| problem.span = fault.span);
                }
                for aim in kind.aims() {
                    self.known(aim, aim.span, "target", &self.names.targets);
                }
                for peer in kind.peers() {
                    self.peer(peer);
                }
            }
        }
    }

    /// A peer is a target, a service, an address, a network or a host name.
    fn peer(&mut self, peer: &Located<String>) {
        let text = peer.value.as_str();
        let service = |text: &str| text.strip_prefix(SERVICE_PREFIX).is_some_and(|name| !name.is_empty());
        if self.names.targets.iter().any(|name| name == text) || service(text) {
            return;
        }
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(left, right)| (left, Some(right)));
        let fits = match address.parse::<std::net::IpAddr>() {
            Ok(address) => {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                prefix.is_none_or(|prefix| prefix.parse::<u8>().is_ok_and(|prefix| prefix <= bits))
            }
            Err(_) => {
                let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
                let digits = address.chars().all(|c| c.is_ascii_digit() || c == '.');
                prefix.is_none() && !digits && address.chars().all(named)
            }
        };
        if !fits {
            let known: Vec<&str> = self.names.targets.iter().map(String::as_str).collect();
            let hint = nearest(text, &known).map_or_else(
                || {
                    "write a target's name, a service as `service:api`, an address, a network such as `10.0.0.0/8`, or a host name"
                        .to_owned()
                },
                |near| format!("did you mean the target `{near}`?"),
            );
            self.add(
                peer.span,
                format!("`{text}` is no target, service, address, network or host name"),
                hint,
            );
        }
    }
}
