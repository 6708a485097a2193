//! Errands: what the loop has had begun and does not wait for. Each is a task of its own that reports back once.
//!
//! Whatever a daemon, a disk or an agent takes its time for is an errand, so that guards are looked at and users
//! are heard meanwhile. Start at [`Live::turn`].

use tokio::task::JoinSet;

use super::live::Live;
use crate::error::Result;
use crate::event::Evidence;
use crate::inject::{Applied, Lane, TakenBack};

/// What an errand came to.
pub(super) enum Done {
    /// The steps of a lane were put into effect.
    Fired {
        lane: Lane,
        asked_ns: u64,
        applied: Vec<Applied>,
        /// False if one could not and a look says that its container does not run.
        runs: bool,
    },
    /// The agents of a container that started anew were replaced.
    Rearmed {
        container: String,
        /// What the agents of before had seen.
        evidence: Vec<(u32, Evidence)>,
        result: Result<()>,
        /// As above.
        runs: bool,
    },
    /// The steps of a lane were taken back.
    Back { asked_ns: u64, back: Vec<TakenBack> },
}

/// What came next.
pub(super) enum Turn {
    /// Something that changes nothing about how it goes on.
    On,
    /// The run must stop: a guard fired, the user asked, or something in effect was lost.
    Stop,
    /// An errand was done.
    Done(Done),
    /// The time was over.
    Over,
}

impl Live<'_> {
    /// Waits for whatever comes next, at most until `until_ns`, and takes note of it. Dropping it loses nothing.
    pub async fn turn(&mut self, until_ns: u64) -> Result<Turn> {
        let left = std::time::Duration::from_nanos(until_ns.saturating_sub(self.scribe.now_ns()));
        let stop = tokio::select! {
            happening = self.happenings.recv() => match happening {
                Some(happening) => self.happened(happening)?,
                None => false,
            },
            _ = self.ticker.tick() => self.look()? | self.agents_gone()?,
            Some(done) = self.errands.join_next() => match done {
                Ok(done) => return Ok(Turn::Done(done)),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // It was called off.
                Err(_) => false,
            },
            () = tokio::time::sleep(left) => return Ok(Turn::Over),
        };
        Ok(if stop { Turn::Stop } else { Turn::On })
    }

    /// Takes note of a turn while a phase lasts; true if the run must stop.
    pub fn turned(&mut self, turn: Turn) -> Result<bool> {
        match turn {
            Turn::On | Turn::Over => {
                self.begin_reapply();
                Ok(false)
            }
            Turn::Stop => Ok(true),
            Turn::Done(Done::Fired { lane, asked_ns, applied, runs }) => {
                self.fired(&lane, asked_ns, applied, runs)
            }
            Turn::Done(Done::Rearmed { container, evidence, result, runs }) => {
                self.rearmed(&container, evidence, result, runs)
            }
            // Only while healing.
            Turn::Done(Done::Back { .. }) => Ok(false),
        }
    }

    /// Waits for work while everything else goes on; nothing if the run must stop first, and the work is called off.
    pub async fn attend<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<Option<T>> {
        // Aborted when it is dropped.
        let mut task = JoinSet::new();
        task.spawn(work);
        loop {
            tokio::select! {
                Some(done) = task.join_next() => return Ok(Some(done.expect("errands don't panic"))),
                turn = self.turn(u64::MAX) => {
                    if self.turned(turn?)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Waits for work that must be finished while everything else goes on; with it, whether the run must stop.
    pub async fn finish<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> (T, Result<bool>) {
        let mut task = JoinSet::new();
        task.spawn(work);
        let mut stop = Ok(false);
        loop {
            tokio::select! {
                Some(done) = task.join_next() => return (done.expect("errands don't panic"), stop),
                turn = self.turn(u64::MAX) => {
                    let turned = turn.and_then(|turn| self.turned(turn));
                    stop = stop.and_then(|before| turned.map(|now| before | now));
                }
            }
        }
    }

    /// Takes note of what happened while nobody listened, a Ctrl-C above all.
    pub fn catch_up(&mut self) -> Result<()> {
        let mut noted = Ok(());
        while let Ok(happening) = self.happenings.try_recv() {
            noted = noted.and(self.happened(happening).map(drop));
        }
        noted
    }
}
