//! What the loop looks at several times a second: the load's figures, guards, alerts, and the steady state.

use super::live::{Live, load_event};
use super::watch::Watch;
use crate::error::Result;
use crate::event::{Event, SteadyWhy};
use crate::load::{Generator, Interval};
use crate::units::{Duration, NS_PER_S};

/// How often people are shown figures.
const TICK_EVERY_NS: u64 = NS_PER_S;
/// The steady state counts as reached once every look at it has held for this long: one good look between
/// two bad ones is luck.
const SETTLED_AFTER: Duration = Duration::from_s(2);

impl Live<'_> {
    /// Everything that is looked at several times a second; true if a guard fired.
    pub fn look(&mut self) -> Result<bool> {
        let now_ns = self.scribe.now_ns();
        let intervals = self.generator.as_ref().map(Generator::drain).unwrap_or_default();
        for interval in intervals {
            self.spending.take(&interval);
            self.watch_alerts(&interval)?;
            if let Some(seek) = &mut self.seek {
                seek.take(&interval);
            }
            self.scribe.note(load_event(interval))?;
        }
        if let (Some(seek), Some(generator)) = (&mut self.seek, &self.generator) {
            for event in seek.look(now_ns, generator) {
                self.scribe.note(event)?;
            }
        }
        let mut guards = self.watch().guards(now_ns);
        guards.extend(self.vitals.guards());
        guards.extend(self.spending.exceeded(now_ns));
        let fired: Vec<_> = guards.iter().filter(|guard| guard.holds == Some(true)).cloned().collect();
        if now_ns >= self.last_tick_ns + TICK_EVERY_NS {
            self.last_tick_ns = now_ns;
            let tick = self.watch().tick(guards);
            self.scribe.note(Event::Tick(tick))?;
        }
        if self.healing {
            return Ok(false);
        }
        let steady = self.watch().steady(now_ns, self.since_ns(), &self.probes);
        // A search goes beyond the steady state on purpose.
        if self.seek.is_none() {
            self.steady_looked(steady.holds, now_ns)?;
        }
        for check in &fired {
            self.scribe.note(Event::Guard { check: check.clone() })?;
        }
        Ok(!fired.is_empty())
    }

    fn watch(&self) -> Watch<'_> {
        Watch { plan: self.plan, generator: self.generator.as_ref(), recent: &self.recent }
    }

    /// Notes the alerts on burn rates that an interval turned.
    fn watch_alerts(&mut self, interval: &Interval) -> Result<()> {
        let Interval { load, from_ns, to_ns, stats } = interval;
        let good = |slo: &str| stats.slo_good.get(slo).copied().unwrap_or_default();
        let turned = self.alerts.take(load, (*from_ns, *to_ns), stats.boxes.known(), good);
        self.note_turned(turned)
    }

    /// Follows the steady state, and notes when it changes after the baseline.
    fn steady_looked(&mut self, holds: Option<bool>, now_ns: u64) -> Result<()> {
        let changed = self.steady.is_none_or(|(before, _)| before != holds);
        if changed {
            let first = self.steady.is_none();
            self.steady = Some((holds, now_ns));
            // No data yet is no news: windows begin anew after every undo.
            if self.gated && holds.is_some() && !(first && holds == Some(true)) {
                self.note_steady(SteadyWhy::Changed)?;
            }
        }
        Ok(())
    }

    /// True if the steady state has held at every look for long enough.
    pub fn settled(&self) -> bool {
        matches!(self.steady, Some((Some(true), since))
            if self.scribe.now_ns().saturating_sub(since) >= SETTLED_AFTER.as_ns())
    }

    pub fn baseline_holds(&mut self) -> Result<bool> {
        if self.plan.steady_state.is_empty() {
            return Ok(true);
        }
        Ok(self.note_steady(SteadyWhy::Baseline)? == Some(true))
    }

    pub fn note_steady(&mut self, why: SteadyWhy) -> Result<Option<bool>> {
        let now_ns = self.scribe.now_ns();
        let watch = self.watch();
        let steady = watch.steady(now_ns, self.since_ns(), &self.probes);
        let since_ns =
            self.steady.filter(|(holds, _)| *holds == steady.holds).map_or(now_ns, |(_, since)| since);
        let holds = steady.holds;
        self.scribe.note(Event::Steady { why, holds, since_ns, checks: steady.checks })?;
        Ok(holds)
    }

    /// How far the steady state's windows may reach back.
    fn since_ns(&self) -> u64 {
        let undone_ns = if self.active.is_empty() { self.last_undo_ns } else { 0 };
        undone_ns.max(self.sought_ns)
    }

    /// Ends the phase's search, if it has one.
    pub fn end_seek(&mut self) -> Result<()> {
        let (Some(seek), Some(generator)) = (self.seek.take(), &self.generator) else { return Ok(()) };
        for event in seek.end(generator) {
            self.scribe.note(event)?;
        }
        self.sought_ns = self.scribe.now_ns();
        self.steady = None;
        Ok(())
    }
}
