//! A load by itself: no lab, no fault, no daemon and no journal on disk, only requests and what became of them.
//!
//! What happens is noted as the same events as in any run, in a file without a name, so that the judgement and the
//! reports are the same functions of plan and events. Start at [`Adhoc::run`].

use std::num::NonZeroU64;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::happening::{HAPPENINGS, Happening, forward_signals};
use super::live::load_event;
use super::opening::runner_facts;
use super::recent::Recent;
use super::spool::Spool;
use super::watch::Watch;
use crate::clock::Clock;
use crate::error::Result;
use crate::event::{self, Entry, Event, Started};
use crate::load::schedule::Schedule;
use crate::load::{Endpoints, Generator, Interval, Setup};
use crate::plan::Plan;
use crate::units::{Duration, NS_PER_S};
use crate::view::View;

/// How often it is looked whether everything asked for has come: the generator itself reports that often.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(50);

const NS_PER_MS: u64 = 1_000_000;

/// A load to be sent.
pub struct Adhoc {
    /// Of one load and one phase, which lasts as long as the load may.
    pub started: Started,
    /// Hosts that are found elsewhere than their names say.
    pub endpoints: Endpoints,
    /// How the generator works.
    pub setup: Setup,
    /// The load ends after this many arrivals, if the phase is not over before.
    pub requests: Option<NonZeroU64>,
    /// Who watches.
    pub view: View,
}

/// The start of `plan`, whose wall-clock instant is filled in when it starts.
pub fn started(plan: Plan, command: String) -> Started {
    Started {
        schema: event::SCHEMA.into(),
        run: String::new(),
        version: env!("CARGO_PKG_VERSION").into(),
        wall: String::new(),
        file: String::new(),
        command,
        plan,
        lines: Default::default(),
        environment: [("kernel", crate::agent::kernel::release())]
            .into_iter()
            .chain(runner_facts())
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    }
}

/// What came of it so far.
struct Notes {
    spool: Spool,
    view: View,
    clock: Clock,
}

impl Notes {
    fn note(&mut self, event: Event) -> Result<()> {
        let entry = Entry { t_ns: self.clock.now_ns(), event };
        self.view.on(&entry);
        self.spool.add(&entry)
    }

    fn intervals(&mut self, intervals: Vec<Interval>) -> Result<()> {
        intervals.into_iter().try_for_each(|interval| self.note(load_event(interval)))
    }
}

/// Why the load is over.
enum Over {
    /// It lasted as long as it was to, to this instant.
    At(u64),
    /// The user asked, by this signal.
    Interrupted(&'static str),
}

impl Adhoc {
    /// Sends the load to its end and gives every event, as a journal would hold them. Errors are of what
    /// comes before the first request: a host that does not resolve, a machine that can't send.
    pub async fn run(mut self) -> Result<Vec<Entry>> {
        let (sender, mut happenings) = mpsc::channel(HAPPENINGS);
        let signals = forward_signals(sender)?;
        let waiting = self.started.plan.loads.iter().any(|plan| plan.load.users.is_some());
        let setup = Setup { answers: self.requests.filter(|_| waiting), ..self.setup };
        let lasts_ns = match self.requests {
            Some(requests) if !waiting => last_ns(&self.started.plan, requests),
            _ => longest(&self.started.plan).as_ns(),
        };
        for phase in &mut self.started.plan.phases {
            phase.longest = Duration::from_ms(lasts_ns.div_ceil(NS_PER_MS));
        }
        let plan = self.started.plan.clone();
        let clock = Clock::start();
        self.started.wall = jiff::Timestamp::now().to_string();
        let mut notes = Notes { spool: Spool::new()?, view: self.view, clock };
        notes.note(Event::Started(Box::new(self.started)))?;
        let generator = Generator::start(&plan.loads, &self.endpoints, clock, setup).await?;
        let begin_ns = generator.begin_ns();
        // An arrival due at the very end is still one of them, and none is due at the very start.
        let from_ns = begin_ns + 1;
        let ends_ns = from_ns.saturating_add(lasts_ns);
        generator.end_at(ends_ns);
        let phase = plan.phases.first().map(|phase| phase.name.clone());
        notes.note(Event::Phase { name: phase, at_ns: from_ns })?;

        let asked = setup.answers.map_or(u64::MAX, NonZeroU64::get);
        let over = until_over(&plan, &generator, &mut happenings, &mut notes, (ends_ns, asked)).await?;
        let at_ns = match over {
            Over::At(at_ns) => at_ns,
            Over::Interrupted(by) => {
                notes.note(Event::Interrupted { by: by.into() })?;
                clock.now_ns()
            }
        };
        generator.cut(at_ns);
        notes.note(Event::Phase { name: None, at_ns })?;
        let stopped = tokio::select! {
            stopped = generator.stop() => Some(stopped),
            // Asked twice: what is still under way is nobody's business any more.
            _ = happenings.recv() => None,
        };
        if let Some((intervals, about)) = stopped {
            notes.intervals(intervals)?;
            notes.note(Event::Generator(about))?;
            notes.note(Event::Finished)?;
        }
        signals.abort();
        notes.view.finish();
        notes.spool.entries()
    }
}

fn longest(plan: &Plan) -> Duration {
    plan.phases.iter().map(|phase| phase.longest).max().unwrap_or_default()
}

/// When the last of so many arrivals of the first load is due, from its start; the longest that the load may
/// last where there are not as many.
fn last_ns(plan: &Plan, requests: NonZeroU64) -> u64 {
    let longest_ns = longest(plan).as_ns();
    let index = usize::try_from(requests.get() - 1).unwrap_or(usize::MAX);
    let within = |load| Schedule::of(load).take_while(|arrival| arrival.at_ns <= longest_ns);
    let last = plan.loads.first().and_then(|load| within(load).nth(index));
    last.map_or(longest_ns, |arrival| arrival.at_ns)
}

/// Waits until the load is over: at `ends_ns`, once `asked` arrivals have ended, or when the user asks.
async fn until_over(
    plan: &Plan,
    generator: &Generator,
    happenings: &mut mpsc::Receiver<Happening>,
    notes: &mut Notes,
    (ends_ns, asked): (u64, u64),
) -> Result<Over> {
    let clock = notes.clock;
    let mut ticker = interval(LOOK_EVERY);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut shown_ns = generator.begin_ns();
    loop {
        let left = std::time::Duration::from_nanos(ends_ns.saturating_sub(clock.now_ns()));
        tokio::select! {
            happening = happenings.recv() => {
                if let Some(Happening::Interrupt(by)) = happening {
                    return Ok(Over::Interrupted(by));
                }
            }
            _ = ticker.tick() => {
                let (ended, last_ns) = generator.ended();
                if ended >= asked {
                    return Ok(Over::At(last_ns + 1));
                }
                let now_ns = clock.now_ns();
                if now_ns >= shown_ns + NS_PER_S {
                    shown_ns = now_ns;
                    notes.intervals(generator.drain())?;
                    notes.note(Event::Tick(Watch { plan, generator: Some(generator), recent: &Recent::of(plan) }.tick(Vec::new())))?;
                }
            }
            () = tokio::time::sleep(left) => return Ok(Over::At(ends_ns)),
        }
    }
}
