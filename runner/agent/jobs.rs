//! The tasks of one agent: staged, in effect, taken back. [`super::steps`] does the same for packets.

use std::collections::BTreeMap;

use super::task::{Task, Work};
use super::wire::{Counters, Engine, Undone};
use crate::clock::mono_ns;

/// Tasks that one agent takes; each may have threads and files of its own.
const MAX_JOBS: usize = 64;

/// Every task of this agent.
#[derive(Debug, Default)]
pub struct Jobs {
    jobs: BTreeMap<u32, Job>,
}

#[derive(Debug)]
struct Job {
    work: Box<dyn Work>,
    /// How long after it was fired it undoes itself.
    deadline_ns: u64,
    /// When that is; nothing until it is fired.
    expires_ns: Option<u64>,
}

impl Jobs {
    /// Stages `tasks`, all or none. The engine of each by its number.
    ///
    /// # Errors
    /// Which could not be staged and why.
    pub fn arm(
        &mut self,
        tag: &str,
        tasks: &BTreeMap<u32, Task>,
        deadline_ns: u64,
    ) -> Result<BTreeMap<u32, Engine>, String> {
        if self.jobs.len() + tasks.len() > MAX_JOBS {
            return Err(format!("one agent takes {MAX_JOBS} tasks at most"));
        }
        let mut made = BTreeMap::new();
        for (number, task) in tasks {
            let staged = if self.jobs.contains_key(number) {
                Err("it is armed already".into())
            } else {
                task.kind().stage(tag)
            };
            match staged {
                Ok(work) => drop(made.insert(*number, Job { work, deadline_ns, expires_ns: None })),
                Err(why) => {
                    for job in made.values_mut() {
                        let job: &mut Job = job;
                        job.work.undo();
                    }
                    return Err(format!("step {number}: {why}"));
                }
            }
        }
        self.jobs.append(&mut made);
        Ok(tasks.iter().map(|(number, task)| (*number, task.kind().engine())).collect())
    }

    /// True if this number is a task's.
    pub fn has(&self, number: u32) -> bool {
        self.jobs.contains_key(&number)
    }

    /// What restoring these tasks must know, where only a look can tell.
    ///
    /// # Errors
    /// Which could not be looked at and why.
    pub fn find(&mut self, numbers: &[u32]) -> Result<BTreeMap<u32, Task>, String> {
        let mut found = BTreeMap::new();
        for number in numbers {
            let Some(job) = self.jobs.get_mut(number).filter(|job| job.expires_ns.is_none()) else {
                return Err(format!("step {number}: it is not armed, or in effect already"));
            };
            if let Some(task) = job.work.find().map_err(|why| format!("step {number}: {why}"))? {
                found.insert(*number, task);
            }
        }
        Ok(found)
    }

    /// Puts armed tasks into effect, in order. The instant of each. If one can't be, all of them are taken back.
    ///
    /// # Errors
    /// Which could not be put into effect and why.
    pub fn fire(&mut self, numbers: &[u32]) -> Result<BTreeMap<u32, u64>, String> {
        let mut fired = BTreeMap::new();
        for number in numbers {
            let done = match self.jobs.get_mut(number) {
                None => Err("it is not armed".into()),
                Some(job) if job.expires_ns.is_some() => {
                    return Err(format!("step {number} is in effect already"));
                }
                Some(job) => job.work.fire().map(|()| {
                    let at_ns = mono_ns();
                    job.expires_ns = Some(at_ns.saturating_add(job.deadline_ns));
                    at_ns
                }),
            };
            match done {
                Ok(at_ns) => drop(fired.insert(*number, at_ns)),
                Err(why) => {
                    self.undo(numbers);
                    return Err(format!("step {number}: {why}"));
                }
            }
        }
        Ok(fired)
    }

    /// Takes tasks back, in order; ones that are not there are left out.
    pub fn undo(&mut self, numbers: &[u32]) -> BTreeMap<u32, Undone> {
        let mut undone = BTreeMap::new();
        for number in numbers {
            let Some(mut job) = self.jobs.remove(number) else { continue };
            let counters = job.work.counters();
            let verified = job.work.undo();
            undone.insert(*number, Undone { at_ns: mono_ns(), verified, counters });
        }
        undone
    }

    /// The counters of tasks, by number; ones that are not there are left out.
    pub fn read(&mut self, numbers: &[u32]) -> BTreeMap<u32, Counters> {
        let known =
            numbers.iter().filter_map(|number| Some((*number, self.jobs.get_mut(number)?.work.counters())));
        known.collect()
    }

    /// The instant of the next deadline.
    pub fn next_expiry_ns(&self) -> Option<u64> {
        self.jobs.values().filter_map(|job| job.expires_ns).min()
    }

    /// Undoes the tasks whose deadline has passed; may be empty.
    pub fn expire(&mut self) -> BTreeMap<u32, Undone> {
        let now_ns = mono_ns();
        let passed = |job: &Job| job.expires_ns.is_some_and(|at| at <= now_ns);
        let numbers: Vec<u32> =
            self.jobs.iter().filter(|(_, job)| passed(job)).map(|(number, _)| *number).collect();
        self.undo(&numbers)
    }

    /// Undoes everything, the last first.
    pub fn undo_all(&mut self) {
        let all: Vec<u32> = self.jobs.keys().rev().copied().collect();
        self.undo(&all);
    }
}
