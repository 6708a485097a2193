//! Asking probes as a run goes on: some all along, some during a phase, some at the edges of what is broken.
//!
//! Each repeated probe is a task of its own that tells the loop what it was answered; the loop decides nothing here
//! but whether to go on after those asked before. Whoever asks knows from a channel which phase it is. Start at
//! [`Probing`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::happening::Happening;
use super::live::{Live, Stop};
use crate::clock::Clock;
use crate::docker::Docker;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::inject::Bound;
use crate::load::Endpoints;
use crate::plan::Plan;
use crate::probe::{self, Answer, Asker};
use crate::spec::{Moment, NoData, Probe, unnamed_probes};

/// A probe's answer.
#[derive(Debug)]
pub(super) struct Sample {
    /// The probe's name, or itself where it has none.
    pub probe: String,
    /// When it was asked.
    pub at_ns: u64,
    /// Of one that is asked once: when.
    pub moment: Option<Moment>,
    pub answer: Answer,
}

/// Probes that are asked once, while they are waited for.
#[derive(Default)]
pub(super) struct Asked {
    moment: Option<Moment>,
    waiting: BTreeSet<String>,
    /// True if one did not answer as it should.
    unmet: bool,
}

/// The phase that a run is in.
#[derive(Clone, Debug)]
struct Now {
    /// Its name; nothing before the first and after the last.
    phase: Option<String>,
    /// Since when, by the wall clock.
    since: Timestamp,
}

/// From when on what containers wrote counts, of a probe that is asked all along.
#[derive(Clone, Copy)]
enum Since {
    Run,
    Phase,
}

/// The probes of a run. Asks nothing any more once it is dropped.
pub(super) struct Probing<'p> {
    plan: &'p Plan,
    asker: Arc<Asker>,
    clock: Clock,
    happenings: mpsc::Sender<Happening>,
    now: watch::Sender<Now>,
    began: Timestamp,
    tasks: Vec<JoinHandle<()>>,
}

/// Every probe of a plan, wherever it stands.
fn all(plan: &Plan) -> impl Iterator<Item = &Probe> {
    unnamed(plan).chain(plan.probes.iter().map(|(_, probe)| probe))
}

/// Those of the steady state and the guards.
fn unnamed(plan: &Plan) -> impl Iterator<Item = &Probe> {
    unnamed_probes(&plan.steady_state, &plan.abort)
}

/// The targets that probes and SLOs are about; may repeat.
fn targets(plan: &Plan) -> impl Iterator<Item = &str> {
    let probes = all(plan).filter_map(|probe| probe.target());
    let slos = plan.slos.iter().filter_map(|(_, slo)| slo.sli.target());
    probes.chain(slos).map(|target| target.value.as_str())
}

/// The containers that probes and SLOs are about; may repeat.
pub(super) fn watched(plan: &Plan) -> impl Iterator<Item = &str> {
    targets(plan).filter_map(|target| plan.targets.get(target)).flatten().map(String::as_str)
}

/// Commands on this machine are run only for those who said so on the command line.
pub(super) fn refuse_on_host(plan: &Plan) -> Result<()> {
    match all(plan).find(|probe| probe.is_on_host()) {
        Some(probe) => Err(Error::mistake(format!("a probe runs a command on this machine: {probe}"))
            .hint("look at the experiment; if you trust it, add --allow-host-exec")),
        None => Ok(()),
    }
}

/// Who asks the probes and indicators of a plan: `ahead_ns` is how far the daemon's clock is ahead of ours.
pub(super) async fn asker(
    plan: &Plan,
    docker: &Docker,
    bound: &BTreeMap<String, Bound>,
    ahead_ns: i64,
    endpoints: Endpoints,
) -> Asker {
    let containers = |target: &str| -> Vec<probe::Asked> {
        let names = plan.targets.get(target).into_iter().flatten();
        let asked =
            |name: &String| Some(probe::Asked { name: name.clone(), id: bound.get(name)?.id.clone() });
        names.filter_map(asked).collect()
    };
    let found: BTreeMap<String, Vec<probe::Asked>> =
        targets(plan).map(|target| (target.to_owned(), containers(target))).collect();
    Asker::new(endpoints).with_containers(docker.clone(), found, ahead_ns).await
}

impl<'p> Probing<'p> {
    /// Begins to ask what is asked all along.
    pub fn start(
        plan: &'p Plan,
        asker: Arc<Asker>,
        clock: Clock,
        happenings: mpsc::Sender<Happening>,
    ) -> Self {
        let began = Timestamp::now();
        let (now, _) = watch::channel(Now { phase: None, since: began });
        let mut probing = Self { plan, asker, clock, happenings, now, began, tasks: Vec::new() };
        // One that is both in the steady state and a guard is asked once.
        let mut told = BTreeSet::new();
        for probe in unnamed(plan) {
            if told.insert(probe.to_string()) {
                probing.repeat(&probe.to_string(), probe, Since::Phase);
            }
        }
        for (name, probe) in plan.probes.iter().filter(|(_, probe)| probe.asking().is_repeated()) {
            match &probe.asking().during {
                Some(phase) => probing.repeat_during(name, probe, &phase.value),
                None => probing.repeat(name, probe, Since::Run),
            }
        }
        probing
    }

    /// Tells everybody that a phase began, at an instant of the run's clock; nothing: the last one ended.
    pub fn phase(&self, name: Option<&str>, at_ns: u64) {
        let ago = i64::try_from(self.clock.now_ns().saturating_sub(at_ns)).unwrap_or(0);
        let now = Timestamp::now();
        let since = now.saturating_sub(SignedDuration::from_nanos(ago)).unwrap_or(now);
        self.now.send_replace(Now { phase: name.map(str::to_owned), since });
    }

    /// Tells whoever is asked during a phase that it is over: what comes now is of its being taken back.
    pub fn over(&self) {
        self.now.send_modify(|now| now.phase = None);
    }

    /// Asks what is asked at this moment; the names of those that will answer.
    fn ask_at(&mut self, moment: Moment) -> BTreeSet<String> {
        let due = self.plan.probes.iter().filter(|(_, probe)| probe.asking().is_at(moment));
        let mut names = BTreeSet::new();
        for (name, probe) in due {
            names.insert(name.to_owned());
            let (asks, probe, since) = (self.asks(name, Some(moment)), probe.clone(), self.began);
            self.tasks.push(tokio::spawn(async move {
                tokio::time::sleep(probe.asking().delay.to_std()).await;
                // The loop that would be told is gone only when the run is.
                let _ = asks.once(&probe, since).await;
            }));
        }
        names
    }

    fn asks(&self, name: &str, moment: Option<Moment>) -> Asks {
        Asks {
            name: name.to_owned(),
            moment,
            asker: Arc::clone(&self.asker),
            clock: self.clock,
            happenings: self.happenings.clone(),
        }
    }

    fn repeat(&mut self, name: &str, probe: &Probe, since: Since) {
        let (asks, probe, now, began) =
            (self.asks(name, None), probe.clone(), self.now.subscribe(), self.began);
        self.tasks.push(tokio::spawn(async move {
            let since = || match since {
                Since::Run => began,
                Since::Phase => now.borrow().since,
            };
            let _ = asks.repeatedly(&probe, since).await;
        }));
    }

    fn repeat_during(&mut self, name: &str, probe: &Probe, phase: &str) {
        let (asks, probe, mut now) = (self.asks(name, None), probe.clone(), self.now.subscribe());
        let phase = phase.to_owned();
        self.tasks.push(tokio::spawn(async move {
            let its = |now: &Now| now.phase.as_deref() == Some(&phase);
            let since = match now.wait_for(its).await {
                Ok(now) => now.since,
                Err(_) => return,
            };
            // Whoever waits for an answer when the phase ends will not hear it: it would be of what came after.
            tokio::select! {
                _ = asks.repeatedly(&probe, || since) => {}
                () = async { drop(now.wait_for(|now| !its(now)).await) } => {}
            }
        }));
    }
}

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// One probe's way to be asked, and to tell the loop.
struct Asks {
    name: String,
    moment: Option<Moment>,
    asker: Arc<Asker>,
    clock: Clock,
    happenings: mpsc::Sender<Happening>,
}

/// Nobody listens any more.
struct Deaf;

impl Asks {
    async fn once(&self, probe: &Probe, since: Timestamp) -> Result<(), Deaf> {
        let at_ns = self.clock.now_ns();
        let answer = self.asker.ask(probe, since).await;
        let sample = Sample { probe: self.name.clone(), at_ns, moment: self.moment, answer };
        self.happenings.send(Happening::Probe(sample)).await.map_err(|_| Deaf)
    }

    async fn repeatedly(&self, probe: &Probe, since: impl Fn() -> Timestamp) -> Result<(), Deaf> {
        tokio::time::sleep(probe.asking().delay.to_std()).await;
        let mut every = tokio::time::interval(probe.asking().every.to_std());
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.once(probe, since()).await?;
        }
    }
}

impl Live<'_> {
    /// Takes note of a probe's answer.
    pub(super) fn probed(&mut self, sample: Sample) -> Result<()> {
        if sample.moment.is_some()
            && sample.moment == self.asked.moment
            && self.asked.waiting.remove(&sample.probe)
        {
            self.asked.unmet |= !self.good_enough(&sample);
        }
        let Sample { probe, at_ns, moment, answer } = sample;
        self.probes.insert(probe.clone(), answer.ok);
        self.vitals.answered(&probe, answer.ok);
        self.scribe.note(Event::Probe {
            probe,
            at_ns: Some(at_ns),
            moment,
            ok: answer.ok,
            detail: answer.detail,
            took_ms: answer.took.as_secs_f64() * 1e3,
            attempts: answer.attempts,
        })
    }

    /// Asks what is asked at this moment and waits for the answers, looking at everything else meanwhile. Says to stop
    /// where that does, or where something asked before is not answered with a yes.
    pub(super) async fn ask_at(&mut self, moment: Moment) -> Result<Option<Stop>> {
        let waiting = self.probing.ask_at(moment);
        self.asked = Asked { moment: Some(moment), waiting, unmet: false };
        while !self.asked.waiting.is_empty() {
            let turn = self.turn(u64::MAX).await?;
            if self.turned(turn)? {
                return Ok(Some(Stop::Early));
            }
        }
        Ok(self.asked.unmet.then_some(Stop::Baseline))
    }

    fn good_enough(&self, sample: &Sample) -> bool {
        let ignored = || {
            let probe = self.plan.probes.get(&sample.probe);
            probe.is_some_and(|probe| probe.asking().no_data.value == NoData::Ignore)
        };
        sample.answer.ok.unwrap_or_else(ignored)
    }
}
