//! Building the plan: targets chosen, faults turned into steps, limits checked, all reasons to refuse at once.

use std::collections::BTreeMap;

use super::inventory::{Container, Inventory};
use super::limits;
use super::select::{derived_seed, matching, picked};
use super::{FaultPlan, LoadPlan, PhasePlan, Plan, Share};
use crate::agent::task::Place;
use crate::error::{Exit, Problem, Span};
use crate::fault::reach::Reach;
use crate::fault::step::{Op, Step};
use crate::fault::{Cast, Fault, SERVICE_PREFIX, signal};
use crate::load::schedule::Profile;
use crate::spec::{Experiment, Located, Phase, k6};
use crate::units::Duration;

/// Why a plan can't be made, and the exit code that calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// [`Exit::Environment`] if the system lacks something, [`Exit::Mistake`] if the experiment contradicts
    /// itself.
    pub exit: Exit,
    /// Where in the experiment, why, and what mends it.
    pub problem: Problem,
}

/// Plans `experiment` against `inventory`, or says every reason not to; refusals are never empty.
pub fn build(experiment: &Experiment, inventory: &Inventory) -> Result<Plan, Vec<Refusal>> {
    let mut builder = Builder { experiment, inventory, refusals: Vec::new(), notes: Vec::new() };
    let targets = builder.targets();
    let (phases, faults) = builder.phases(&targets);
    let shares = builder.shares(&phases, &faults);
    let loads = builder.loads(&phases);
    builder.check_requests(&loads);
    if !builder.refusals.is_empty() {
        return Err(builder.refusals);
    }
    Ok(Plan {
        experiment: experiment.experiment.value.clone(),
        why: experiment.why.clone(),
        seed: experiment.seed,
        lab: experiment.lab.as_ref().map(|lab| lab.value.clone()),
        targets,
        shares,
        loads,
        slos: experiment.slos.clone(),
        steady_state: experiment.steady_state.clone(),
        probes: experiment.probes.clone(),
        phases,
        faults,
        abort: experiment
            .abort
            .iter()
            .cloned()
            .chain(k6::compiled(experiment).filter_map(|(_, guard)| guard))
            .collect(),
        expect: k6::expectations(experiment),
        limits: experiment.limits.clone(),
        notes: builder.notes,
    })
}

struct Builder<'e> {
    experiment: &'e Experiment,
    inventory: &'e Inventory,
    refusals: Vec<Refusal>,
    notes: Vec<String>,
}

impl<'e> Builder<'e> {
    fn refuse(&mut self, exit: Exit, span: Span, message: String, hint: String) {
        let refusal = Refusal { exit, problem: Problem { span, message, hint: Some(hint) } };
        if !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }

    fn container(&self, name: &str) -> Option<&'e Container> {
        self.inventory.containers.iter().find(|container| container.name == name)
    }

    /// The containers chosen for each target.
    fn targets(&mut self) -> BTreeMap<String, Vec<String>> {
        let mut chosen = BTreeMap::new();
        for (name, target) in &self.experiment.targets.0 {
            let matches = matching(target, self.inventory);
            if !matches.protected.is_empty() {
                self.notes.push(format!(
                    "target `{}` leaves out {}: labelled chaos.protect=true",
                    name.value,
                    matches.protected.join(", ")
                ));
            }
            if matches.free.is_empty() {
                let hint = self.what_exists(!matches.protected.is_empty());
                let message = format!("target `{}` matches no container", name.value);
                self.refuse(Exit::Environment, name.span, message, hint);
                continue;
            }
            match picked(&matches.free, target.pick.value, self.experiment.seed, name) {
                Some(names) if self.held(name, &names) => {}
                Some(names) => drop(chosen.insert(name.value.clone(), names)),
                None => {
                    let found: Vec<_> = matches.free.iter().map(|found| found.name.as_str()).collect();
                    let message = format!(
                        "target `{}` picks {} of {} containers",
                        name.value,
                        String::from(target.pick.value),
                        found.len()
                    );
                    self.refuse(
                        Exit::Environment,
                        target.pick.span,
                        message,
                        format!("matching: {}", found.join(", ")),
                    );
                }
            }
        }
        chosen
    }

    /// Refuses what another run aims at already; true if there was any.
    fn held(&mut self, target: &Located<String>, chosen: &[String]) -> bool {
        let held: Vec<String> = chosen
            .iter()
            .filter_map(|name| self.container(name))
            .filter_map(|container| {
                Some(format!("{}, held by run {}", container.name, container.held_by.as_ref()?))
            })
            .collect();
        if held.is_empty() {
            return false;
        }
        let message = format!("target `{}` picks {}", target.value, held.join("; "));
        let hint = "wait until that run is over, or end it with `chaos stop`; if it is dead, `chaos recover`";
        self.refuse(Exit::Environment, target.span, message, hint.to_owned());
        true
    }

    fn what_exists(&self, protected: bool) -> String {
        /// More names than this help nobody.
        const MOST: usize = 20;
        if protected {
            return "what it matches is labelled chaos.protect=true and never touched".into();
        }
        let mut names: Vec<_> = self
            .inventory
            .containers
            .iter()
            .map(|container| match &container.service {
                Some(service) => format!("{} (service {})", container.name, service.escape_debug()),
                None => container.name.clone(),
            })
            .collect();
        names.sort();
        let more = names.len().saturating_sub(MOST);
        names.truncate(MOST);
        match (names.is_empty(), more) {
            (true, _) => "no container is running; start the system, or name a `lab`".into(),
            (false, 0) => format!("running: {}", names.join(", ")),
            (false, more) => format!("running: {} and {more} more", names.join(", ")),
        }
    }

    fn phases(&mut self, targets: &BTreeMap<String, Vec<String>>) -> (Vec<PhasePlan>, Vec<FaultPlan>) {
        let (mut phases, mut faults) = (Vec::new(), Vec::<FaultPlan>::new());
        let services = self.services();
        let mut starts = Duration::ZERO;
        let mut next_step = 0;
        for (name, phase) in self.experiment.phases.iter() {
            let first_fault = faults.len();
            for (index, fault) in phase.faults.iter().enumerate() {
                let fault_name = fault_name(name, phase, index);
                let seed = derived_seed(self.experiment.seed, &fault_name);
                let cast = Cast { targets, services: &services, seed };
                let changes = fault.kind().changes(&cast);
                let reach = fault.kind().reach(&cast);
                self.check_fit(fault, &cast, reach.as_ref());
                self.check_services(fault, &services);
                let mut steps = Vec::new();
                for change in changes {
                    let step = Step {
                        id: next_step,
                        container: change.container,
                        apply: change.apply,
                        undo: change.undo,
                    };
                    self.check_step(fault, &step);
                    steps.push(step);
                    next_step += 1;
                }
                faults.push(FaultPlan {
                    name: fault_name,
                    kind: fault.word().into(),
                    summary: fault.kind().summary(),
                    fault: fault.value.clone(),
                    engine: self.engine(fault),
                    reach,
                    steps,
                });
            }
            phases.push(PhasePlan {
                name: name.into(),
                starts,
                longest: phase.longest(),
                until_steady: phase.until.is_some(),
                find_rate: phase.find_rate.as_ref().map(|search| search.value.clone()),
                faults: (first_fault..faults.len()).collect(),
                on_restart: phase.on_restart,
            });
            starts = starts + phase.longest();
        }
        (phases, faults)
    }

    /// The running containers of each service.
    fn services(&self) -> BTreeMap<String, Vec<String>> {
        let mut services = BTreeMap::<String, Vec<String>>::new();
        for container in &self.inventory.containers {
            if let Some(service) = &container.service {
                services.entry(service.clone()).or_default().push(container.name.clone());
            }
        }
        services.values_mut().for_each(|names| names.sort());
        services
    }

    /// A filter by a service that is not there would match nobody, or everybody.
    fn check_services(&mut self, fault: &Located<Fault>, services: &BTreeMap<String, Vec<String>>) {
        for peer in fault.kind().peers() {
            let Some(service) = peer.value.strip_prefix(SERVICE_PREFIX) else { continue };
            if !services.contains_key(service) {
                let known: Vec<&str> = services.keys().map(String::as_str).collect();
                let hint = match known.as_slice() {
                    [] => "no running container belongs to a service".to_owned(),
                    known => format!("running: {}", known.join(", ")),
                };
                let message = format!("peer `{}` matches no container", peer.value);
                self.refuse(Exit::Environment, peer.span, message, hint);
            }
        }
    }

    fn engine(&mut self, fault: &Located<Fault>) -> Option<crate::agent::wire::Engine> {
        let Some(kernel) = &self.inventory.kernel else {
            // Only an agent can tell what a remote kernel has, unless the question does not arise.
            return fault.kind().engine(&crate::agent::wire::Kernel::none());
        };
        let engine = fault.kind().engine(kernel);
        if engine.is_none() {
            self.refuse(
                Exit::Environment,
                fault.span,
                format!("this kernel ({}) has no way to do `{}`", kernel.release, fault.word()),
                "`chaos doctor` says what is missing and how to get it".into(),
            );
        }
        engine
    }

    /// Refuses a fault that the chosen containers can't have. One without all its targets is refused already.
    fn check_fit(&mut self, fault: &Located<Fault>, cast: &Cast<'_>, reach: Option<&Reach>) {
        if fault.kind().aims().iter().any(|aim| cast.containers(aim).is_empty()) {
            return;
        }
        if let Some(misfit) = fault.kind().misfit(cast) {
            self.refuse(Exit::Environment, misfit.span, misfit.message, misfit.hint);
        }
        // Every member gets an agent to look with, also one that nothing is done to.
        for name in reach.into_iter().flat_map(|reach| &reach.members) {
            self.check_network(fault, name);
        }
    }

    /// Refuses what would happen in the host's own network namespace.
    fn check_network(&mut self, fault: &Located<Fault>, name: &str) {
        if self.container(name).is_some_and(|container| container.host_network) {
            let message = format!("`{}` would impair the host: {name} uses the host's network", fault.word());
            let hint = "choose a container with a network of its own".to_owned();
            self.refuse(Exit::Environment, fault.span, message, hint);
        }
    }

    fn check_step(&mut self, fault: &Located<Fault>, step: &Step) {
        let Some(container) = self.container(&step.container) else { return };
        if step.apply.place() == Some(Place::Network) {
            self.check_network(fault, &container.name);
        }
        if let Op::Disconnect(network) = &step.apply
            && !container.networks.contains(network)
        {
            let message = format!("{} is not attached to a network `{network}`", container.name);
            let hint = match container.networks.as_slice() {
                [] => "it is attached to none".to_owned(),
                networks => format!("it is attached to: {}", networks.join(", ")),
            };
            self.refuse(Exit::Environment, fault.span, message, hint);
        }
        if step.apply.is_on_host() {
            self.note(format!(
                "{} runs a command on this machine: `chaos run` needs --allow-host-exec",
                fault.word()
            ));
        }
        if matches!(step.apply, Op::Remove) {
            self.note(format!("{} is removed, and nothing brings it back", container.name));
        }
        self.check_policy(fault, step);
        if let (Op::Kill(_) | Op::Beat(_), None) = (&step.apply, &step.undo) {
            let note = match container.restart_policy.as_str() {
                "" | "no" => format!(
                    "{} stays as the signal leaves it: add `restart: true` to start it again",
                    container.name
                ),
                policy => format!(
                    "{} has restart policy `{policy}`, which Docker does not follow after a kill through its API: add `restart: true` to start it again",
                    container.name
                ),
            };
            self.note(note);
        }
    }

    /// Refuses a signal through Docker's API that may leave a container running without its restart policy: Docker takes
    /// any of them for the beginning of a stop by hand, and does not follow the policy again before the next start.
    fn check_policy(&mut self, fault: &Located<Fault>, step: &Step) {
        let signal = match &step.apply {
            Op::Kill(signal) => signal,
            Op::Beat(beat) => &beat.signal,
            _ => return,
        };
        let policy =
            self.container(&step.container).map_or("", |container| container.restart_policy.as_str());
        if signal == "SIGKILL" || signal::asks_to_end(signal) || matches!(policy, "" | "no") {
            return;
        }
        let message = format!(
            "{signal} through Docker's API would leave {} without its restart policy `{policy}` until it is started anew",
            step.container
        );
        let hint =
            "name the `processes` that are to get it, which is done from inside; or use `pause` to stop them";
        self.refuse(Exit::Environment, fault.span, message, hint.to_owned());
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// How much of each service is hit; refuses what `limits` forbid.
    fn shares(&mut self, phases: &[PhasePlan], faults: &[FaultPlan]) -> Vec<Share> {
        let (shares, excesses) =
            limits::shares(&self.experiment.limits, phases, faults, &self.inventory.containers);
        for excess in excesses {
            self.refuse(Exit::Mistake, excess.span, excess.message, excess.hint.to_owned());
        }
        shares
    }

    /// Refuses more requests than `limits.requests` allows, as far as their number is known.
    fn check_requests(&mut self, loads: &[LoadPlan]) {
        let Some(limit) = &self.experiment.limits.requests else { return };
        let expected: u64 = loads.iter().filter_map(|load| load.expected_requests).sum();
        if expected > limit.value {
            let message =
                format!("the loads send up to {expected} requests; `limits.requests` allows {}", limit.value);
            let hint = "lower the rates or shorten the phases, or widen the limit";
            self.refuse(Exit::Mistake, limit.span, message, hint.to_owned());
        }
    }

    fn loads(&self, phases: &[PhasePlan]) -> Vec<LoadPlan> {
        let longest = phases.iter().fold(Duration::ZERO, |sum, phase| sum + phase.longest);
        let slos_on = |load: &str| {
            self.experiment
                .slos
                .iter()
                .filter_map(|(name, slo)| Some((name, slo.sli.load()?)))
                .filter(|(_, sli)| sli.load.value == load)
                .map(|(name, sli)| (name.to_owned(), sli.good.value.clone()))
                .collect()
        };
        let searched = |load: &str| {
            phases.iter().filter_map(|phase| phase.find_rate.as_ref()).any(|search| search.load.value == load)
        };
        self.experiment
            .load
            .iter()
            .map(|(name, load)| LoadPlan {
                name: name.into(),
                load: load.clone(),
                seed: derived_seed(self.experiment.seed, &format!("load {name}")),
                slos: slos_on(name),
                expected_requests: load
                    .rate
                    .as_ref()
                    .filter(|_| !searched(name))
                    .and_then(|rate| Profile::of(rate))
                    .map(|profile| profile.arrivals_until(longest).round() as u64),
            })
            .collect()
    }
}

/// `PHASE/KIND`, numbered where a phase has several of a kind.
fn fault_name(phase_name: &str, phase: &Phase, index: usize) -> String {
    let word = phase.faults[index].word();
    let before = phase.faults[..index].iter().filter(|fault| fault.word() == word).count();
    if before == 0 { format!("{phase_name}/{word}") } else { format!("{phase_name}/{word}#{}", before + 1) }
}
