//! The steps of one agent: staged, in effect, taken back.
//!
//! [`Steps`] owns everything that the agent has in the kernel. Arming does all the work that can fail; firing
//! is one commit for all steps together; undoing takes packets off their detours first, then lets go of what
//! is held, then removes what is left and looks whether it is gone.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use super::netem;
use super::netlink::Refusal;
use super::nft::tables::{self, MAX_STEPS, Tables, table_name, table_prefix};
use super::nft::{self, Batch};
use super::shaper;
use super::step::{Means, Step, Works};
use super::turns::Schedule;
use super::wire::{Counters, Direction, Effect, Engine, Impairment, Kernel, Undone};
use crate::clock::mono_ns;

/// The longest tag, in characters: with two more an interface name (15) is as good as full.
const MAX_TAG_CHARS: usize = 12;

/// Every step of this agent.
#[derive(Debug)]
pub struct Steps {
    means: Means,
    steps: BTreeMap<u32, Step>,
    /// The tag of the last arming.
    tag: Option<String>,
    armed_so_far: u32,
    /// Undone steps whose empty base chains must stay until no queue holds packets.
    shells: Vec<Step>,
}

/// Steps that are about to be put into effect together.
#[derive(Debug)]
pub struct Prepared {
    /// Which ones, in the order asked.
    pub numbers: Vec<u32>,
    batch: Batch,
}

impl Steps {
    /// None yet.
    pub fn new(kernel: Kernel) -> Self {
        let means = Means::find(kernel);
        Self { means, steps: BTreeMap::new(), tag: None, armed_so_far: 0, shells: Vec::new() }
    }

    /// Stages `impairments`, all or none. The engine of each by its number.
    pub fn arm(
        &mut self,
        tag: &str,
        impairments: &[Impairment],
        engine: Option<Engine>,
        deadline_ns: u64,
    ) -> Result<BTreeMap<u32, Engine>, String> {
        check_tag(tag)?;
        if self.steps.len() + impairments.len() > MAX_STEPS as usize {
            return Err(format!("one agent takes {} steps at most", MAX_STEPS));
        }
        let limited = |impairment: &Impairment| matches!(impairment.effect.turns().0, Effect::Bandwidth(_));
        let shaped =
            impairments.iter().any(limited) || self.steps.values().any(|step| limited(&step.impairment));
        let mut made: BTreeMap<u32, Step> = BTreeMap::new();
        for impairment in impairments {
            let number = impairment.step;
            let step = if self.steps.contains_key(&number) || made.contains_key(&number) {
                Err("it is armed already".into())
            } else {
                let engines = self.delay_engines(engine, shaped.then_some(Engine::Tbf), &made);
                let place = self.armed_so_far % MAX_STEPS;
                self.armed_so_far = self.armed_so_far.wrapping_add(1);
                self.check_copies(impairment, &made)
                    .and_then(|()| Step::make(&self.means, tag, impairment, &engines, place))
            };
            match step {
                Ok(step) => drop(made.insert(number, Step { deadline_ns, ..step })),
                Err(why) => {
                    remove_devices(made.values());
                    return Err(format!("step {number}: {why}"));
                }
            }
        }
        let made: Vec<_> = made.into_iter().collect();
        self.stage(&made).map_err(|refusal| format!("could not stage the rules: {refusal}"))?;
        let engines = made.iter().map(|(number, step)| (*number, step.engine())).collect();
        self.steps.extend(made);
        self.tag = Some(tag.to_owned());
        Ok(engines)
    }

    /// Entering packets are copied late on their way, where they can bear one step's mark only.
    fn check_copies(&self, impairment: &Impairment, made: &BTreeMap<u32, Step>) -> Result<(), String> {
        let copies = |one: &Impairment| {
            one.direction != Direction::Egress && matches!(one.effect.turns().0, Effect::Duplicate(_))
        };
        let mut others = self.steps.values().chain(made.values());
        if copies(impairment) && others.any(|step| copies(&step.impairment)) {
            return Err("packets that enter can be sent twice by one fault at a time".into());
        }
        Ok(())
    }

    /// What may carry out the next delay, best first. Two netems on one path would not see the same packet,
    /// so the second delay is our own engine's; and so is the first where `shaper` has that path.
    fn delay_engines(
        &self,
        asked: Option<Engine>,
        shaper: Option<Engine>,
        made: &BTreeMap<u32, Step>,
    ) -> Vec<Engine> {
        let netem = |step: &Step| step.engine() == Engine::Netem;
        let taken = shaper.is_some() || self.steps.values().chain(made.values()).any(netem);
        match (asked, self.means.kernel.packet_engine()) {
            (Some(engine), _) => vec![engine],
            (None, Some(Engine::Netem)) if !taken => vec![Engine::Netem, Engine::Nfqueue],
            (None, _) => vec![Engine::Nfqueue],
        }
    }

    /// Makes the tables of all of `steps` but for their hooks, and has the kernel try those.
    fn stage(&self, steps: &[(u32, Step)]) -> Result<(), Refusal> {
        let (mut stage, mut fire) = (Batch::begin(), Batch::begin());
        let all: Vec<_> = steps.iter().filter_map(|(_, step)| step.tables(&self.means)).collect();
        for one in &all {
            tables::stage(&mut stage, one);
            fire.attach(one);
        }
        let mut staged = self.means.commit(stage);
        if staged.is_ok() && !all.is_empty() {
            staged = self.means.nft().and_then(|nft| fire.try_out(nft));
            if staged.is_err() {
                self.each_or_all(steps, |batch, tables| batch.remove(tables));
            }
        }
        if staged.is_err() {
            remove_devices(steps.iter().map(|(_, step)| step));
        }
        staged
    }

    /// Makes ready what puts armed steps into effect together, so that nothing but asking the kernel is left to do.
    ///
    /// # Errors
    /// One is not armed, or in effect already.
    pub fn prepare(&self, numbers: &[u32]) -> Result<Prepared, String> {
        let mut batch = Batch::begin();
        for number in numbers {
            if let Some(tables) = self.armed(*number)?.tables(&self.means) {
                batch.attach(&tables);
            }
        }
        Ok(Prepared { numbers: numbers.to_vec(), batch })
    }

    /// A step that is armed and not in effect.
    fn armed(&self, number: u32) -> Result<&Step, String> {
        let step = self.steps.get(&number).ok_or_else(|| format!("step {number} is not armed"))?;
        match step.expires_ns {
            None => Ok(step),
            Some(_) => Err(format!("step {number} is in effect already")),
        }
    }

    /// Puts steps into effect together. The instant of each, after the kernel's acknowledgement. If one can't be put
    /// into effect, all of them are taken back.
    ///
    /// # Errors
    /// The kernel refuses; or one was taken back or put into effect since they were made ready.
    pub fn fire(&mut self, prepared: Prepared) -> Result<BTreeMap<u32, u64>, String> {
        let Prepared { numbers, batch } = prepared;
        for number in &numbers {
            self.armed(*number)?;
        }
        let mut fired = BTreeMap::new();
        let mut refused = self.means.commit(batch).err();
        let nft_ns = mono_ns();
        for number in &numbers {
            let step = self.steps.get_mut(number).expect("every step was looked up above");
            let at_ns = match &step.works {
                Works::Netem(netem) if refused.is_none() => {
                    refused = netem.fire().err();
                    mono_ns()
                }
                Works::Shaper(shaper) if refused.is_none() => {
                    refused = shaper.fire(&self.means.edges).err();
                    mono_ns()
                }
                Works::Sever(severing) if refused.is_none() => {
                    refused = severing.begin().err();
                    mono_ns()
                }
                _ => nft_ns,
            };
            step.expires_ns = Some(at_ns.saturating_add(step.deadline_ns));
            if let Some(schedule) = &mut step.schedule {
                schedule.begin(at_ns);
            }
            fired.insert(*number, at_ns);
        }
        match refused {
            None => Ok(fired),
            Some(refusal) => {
                self.undo(&numbers);
                Err(format!("could not put the rules into effect: {refusal}"))
            }
        }
    }

    /// Takes steps back together. One that is not there is no error: a look says whether anything is left.
    pub fn undo(&mut self, numbers: &[u32]) -> BTreeMap<u32, Undone> {
        let going: Vec<(u32, Step)> = numbers
            .iter()
            .filter_map(|number| self.steps.remove(number).map(|step| (*number, step)))
            .collect();
        let left = self.let_go(&going);
        let mut undone: BTreeMap<u32, Undone> = left.into_iter().collect();
        let names = self.table_names(numbers, &going);
        for (_, step) in going {
            if let Works::Rules(hit) | Works::Queue(hit, _) | Works::Gate(hit, _) = step.works {
                self.shells.push(Step { works: Works::Rules(hit), ..step });
            }
        }
        self.sweep();
        let tables = self.tables();
        for (number, name) in numbers.iter().zip(names) {
            let nothing = || Undone { at_ns: mono_ns(), verified: true, counters: Counters::default() };
            let gone = name.is_none_or(|name| match &tables {
                Ok(tables) => !tables.iter().any(|found| found.name == name) || self.is_shell(&name),
                Err(_) => false,
            });
            undone.entry(*number).or_insert_with(nothing).verified &= gone;
        }
        undone
    }

    /// Takes packets off their detours and lets go of those held. Queues are empty and netems gone after this.
    fn let_go(&self, going: &[(u32, Step)]) -> Vec<(u32, Undone)> {
        // Packets must stop coming in before those that are held are let go.
        let fired: Vec<_> = going.iter().filter(|(_, step)| step.expires_ns.is_some()).collect();
        self.each_or_all(&fired, |batch, tables| batch.detach(tables));
        for (_, step) in &fired {
            match &step.works {
                Works::Netem(netem) => netem.detach(),
                Works::Shaper(shaper) => shaper.detach(&self.means.edges),
                Works::Sever(severing) => severing.end(),
                Works::Rules(_) | Works::Queue(..) | Works::Gate(..) => {}
            }
        }
        let did: Vec<_> = going
            .iter()
            .map(|(_, step)| match &step.works {
                Works::Queue(_, queue) => queue.release(),
                _ => None,
            })
            .collect();
        let at_ns = mono_ns();
        let mut left = Vec::new();
        for ((number, step), did) in going.iter().zip(did) {
            match &step.works {
                Works::Netem(netem) => netem.drain(),
                Works::Shaper(shaper) => shaper.drain(),
                _ => {}
            }
            let counters = step.counters(&self.means, did);
            remove_devices(std::iter::once(step));
            let verified = match &step.works {
                Works::Netem(netem) => netem.is_gone(),
                Works::Shaper(shaper) => shaper.is_gone(),
                // Tables are looked at when all of them are gone; what broke off is done with.
                Works::Rules(_) | Works::Queue(..) | Works::Gate(..) | Works::Sever(_) => true,
            };
            left.push((*number, Undone { at_ns, verified, counters }));
        }
        left
    }

    /// The tables that steps have or, where they are not known, would have.
    fn table_names(&self, numbers: &[u32], going: &[(u32, Step)]) -> Vec<Option<String>> {
        let name = |number: &u32| {
            let known = going.iter().find(|(going, _)| going == number).map(|(_, step)| step.table.clone());
            known.or_else(|| self.tag.as_ref().map(|tag| table_name(tag, *number)))
        };
        numbers.iter().map(name).collect()
    }

    /// Every table of this namespace.
    fn tables(&self) -> Result<Vec<nft::Table>, Refusal> {
        if self.means.kernel.nft { nft::tables(self.means.nft()?) } else { Ok(Vec::new()) }
    }

    /// True if the tables called `table` have no rule in any packet's way and wait for their removal.
    fn is_shell(&self, table: &str) -> bool {
        self.shells.iter().any(|step| step.table == table)
            && self
                .means
                .nft()
                .and_then(|nft| nft::read(nft, table))
                .is_ok_and(|counted| counted.attached == 0)
    }

    /// Removes the tables of undone steps, unless that would cost others the packets they hold.
    fn sweep(&mut self) {
        if self.steps.values().any(Step::holds_in_queue) {
            return;
        }
        let shells: Vec<_> = std::mem::take(&mut self.shells).into_iter().map(|step| (0, step)).collect();
        self.each_or_all(&shells, |batch, tables| batch.remove(tables));
    }

    /// One batch for all of `steps`; if the kernel refuses it, one for each, so that what is gone already
    /// (removed by somebody else) does not keep the others.
    fn each_or_all<S: Borrow<(u32, Step)>>(&self, steps: &[S], add: impl Fn(&mut Batch, &Tables<'_>)) {
        let attempt = |steps: &[S]| {
            let mut batch = Batch::begin();
            for tables in steps.iter().filter_map(|step| step.borrow().1.tables(&self.means)) {
                add(&mut batch, &tables);
            }
            self.means.commit(batch)
        };
        if attempt(steps).is_err() {
            for index in 0..steps.len() {
                // What can't be taken back shows when the kernel is looked at.
                let _: Result<(), Refusal> = attempt(&steps[index..=index]);
            }
        }
    }

    /// The counters of steps, by number; steps that are not there are left out.
    pub fn read(&self, numbers: &[u32]) -> BTreeMap<u32, Counters> {
        let known = numbers.iter().filter_map(|number| self.steps.get_key_value(number));
        known.map(|(number, step)| (*number, step.counters(&self.means, None))).collect()
    }

    /// The instant of the next deadline or turn.
    pub fn next_wake_ns(&self) -> Option<u64> {
        let turn = |step: &Step| step.schedule.as_ref().and_then(Schedule::next_ns);
        self.steps.values().flat_map(|step| [step.expires_ns, turn(step)]).flatten().min()
    }

    /// Switches those steps on or off whose turn it is. What is refused stays as it is until the next turn; the
    /// count of turns tells.
    pub fn take_turns(&mut self) {
        let now_ns = mono_ns();
        for step in self.steps.values_mut() {
            let due = |schedule: &&mut Schedule| schedule.next_ns().is_some_and(|at| at <= now_ns);
            let Some(schedule) = step.schedule.as_mut().filter(due) else { continue };
            schedule.change_at(now_ns);
            let on = schedule.on;
            let mut batch = Batch::begin();
            if let Some(tables) = step.tables(&self.means) {
                if on { batch.attach_again(&tables) } else { batch.detach(&tables) }
            }
            // What is held meanwhile goes on when its time comes, as on a path that has become well again.
            let switched = self.means.commit(batch).and_then(|()| match &step.works {
                Works::Netem(netem) if on => netem.resume(),
                Works::Netem(netem) => netem.suspend(),
                Works::Shaper(shaper) if on => shaper.fire(&self.means.edges),
                Works::Shaper(shaper) => {
                    shaper.detach(&self.means.edges);
                    Ok(())
                }
                Works::Sever(severing) if on => severing.begin(),
                Works::Sever(severing) => {
                    severing.end();
                    Ok(())
                }
                Works::Rules(_) | Works::Queue(..) | Works::Gate(..) => Ok(()),
            });
            if let (Err(_), true, Some(schedule)) = (switched, on, &mut step.schedule) {
                schedule.switched_on -= 1;
            }
        }
    }

    /// Undoes the steps whose deadline has passed; may be empty.
    pub fn expire(&mut self) -> BTreeMap<u32, Undone> {
        let now_ns = mono_ns();
        let passed = |step: &Step| step.expires_ns.is_some_and(|at| at <= now_ns);
        let numbers: Vec<u32> =
            self.steps.iter().filter(|(_, step)| passed(step)).map(|(number, _)| *number).collect();
        if numbers.is_empty() { BTreeMap::new() } else { self.undo(&numbers) }
    }

    /// Undoes everything.
    pub fn undo_all(&mut self) {
        let all: Vec<u32> = self.steps.keys().copied().collect();
        self.undo(&all);
    }

    /// Removes what a dead agent with this tag left. How many things.
    pub fn purge(&mut self, tag: &str) -> Result<u32, String> {
        check_tag(tag)?;
        let prefix = table_prefix(tag);
        let mut removed =
            netem::purge(tag).map_err(|refusal| format!("could not remove what netem left: {refusal}"))?;
        removed += shaper::purge(tag)
            .map_err(|refusal| format!("could not remove what a token bucket left: {refusal}"))?;
        if let (true, Ok(nft)) = (self.means.kernel.nft, self.means.nft()) {
            removed += nft::purge(nft, &prefix)?;
        }
        Ok(removed)
    }
}

/// Takes back what making steps for netem and buckets put into the kernel.
fn remove_devices<'a>(steps: impl Iterator<Item = &'a Step>) {
    for step in steps {
        match &step.works {
            Works::Netem(netem) => netem.remove(),
            Works::Shaper(shaper) => shaper.remove(),
            _ => {}
        }
    }
}

fn check_tag(tag: &str) -> Result<(), String> {
    if tag.is_empty() || tag.len() > MAX_TAG_CHARS || !tag.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("a tag is 1 to {MAX_TAG_CHARS} letters and digits, got `{tag}`"));
    }
    Ok(())
}
