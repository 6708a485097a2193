//! Judging probes: those with a name, each by when it was asked, and those of a steady state that judges a phase.
//!
//! A no before anything is broken is a baseline that was not met; any other a broken promise. An answer that nobody
//! could give makes the run invalid, unless the experiment says what it means. Start at [`Court::probes`].

use super::exhibit;
use super::judge::Court;
use super::timeline::{PhaseSpan, SteadyLook};
use crate::error::Exit;
use crate::event::{Measured, SteadyWhy};
use crate::spec::{Moment, NoData, Probe};

/// One answer of a probe.
pub(super) struct ProbeSample<'j> {
    /// When it was asked.
    pub at_ns: u64,
    /// The probe's name, or itself where it has none.
    pub probe: &'j str,
    /// Of one that is asked once: when.
    pub moment: Option<Moment>,
    pub ok: Option<bool>,
    pub detail: &'j str,
}

/// What was answered again and again.
struct Answers<'l, 'j> {
    asked: usize,
    no: Vec<&'l ProbeSample<'j>>,
    unknown: Vec<&'l ProbeSample<'j>>,
}

impl Court<'_> {
    /// Every named probe.
    pub(super) fn probes(&mut self) {
        let plan = self.plan;
        for (name, probe) in plan.probes.iter() {
            for moment in [Moment::Before, Moment::After] {
                if probe.asking().is_at(moment) {
                    self.asked_once(name, probe, moment);
                }
            }
            if probe.asking().is_repeated() {
                self.asked_repeatedly(name, probe);
            }
        }
    }

    fn asked_once(&mut self, name: &str, probe: &Probe, moment: Moment) {
        let line = self.line;
        let asked = line.probes.iter().find(|sample| sample.probe == name && sample.moment == Some(moment));
        if asked.is_none() && !self.was_to_be_asked() {
            return;
        }
        let measured = Measured {
            check: format!("probe {name}, {}: {probe}", moment.word()),
            value: asked.map(|sample| sample.detail.to_owned()),
            threshold: "as expected".into(),
            holds: asked.and_then(|sample| sample.ok),
        };
        let no = if moment == Moment::Before { Exit::BaselineUnmet } else { Exit::Failed };
        self.enter_probe(probe, measured, None, asked.map(|sample| sample.at_ns), no);
    }

    /// True of a run that went its whole way. Why another did not is known, and is reason enough.
    fn was_to_be_asked(&self) -> bool {
        let line = self.line;
        let well = |look: &SteadyLook<'_>| look.why != SteadyWhy::Baseline || look.holds == Some(true);
        line.finished
            && self.undisturbed()
            && line.phases.len() == self.plan.phases.len()
            && line.steady.iter().all(well)
            && self.reasons.iter().all(|(exit, _)| *exit < Exit::Invalid)
    }

    fn asked_repeatedly(&mut self, name: &str, probe: &Probe) {
        let line = self.line;
        let phase = probe.asking().during.as_ref().map(|during| during.value.as_str());
        let span = match phase {
            Some(phase) => match line.phases.iter().find(|span| span.name == phase) {
                Some(span) => (span.from_ns, span.to_ns),
                // The run did not get there.
                None => return,
            },
            None => (0, line.phases.last().map_or(line.end_ns, |last| last.to_ns)),
        };
        let answers = self.answers(name, span);
        if answers.asked == 0 && !self.was_to_be_asked() {
            return;
        }
        let allowed = probe.asking().allowed_failures.value;
        let measured = Measured {
            check: format!("probe {name}: {probe}"),
            value: answers.value(),
            threshold: match allowed.of(answers.asked) {
                0 => "all as expected".into(),
                _ => format!("at most {allowed} not as expected"),
            },
            holds: answers.holds(allowed.of(answers.asked), probe.asking().no_data.value),
        };
        let at_ns = answers.first().map_or(span.1, |first| first.at_ns);
        self.enter_probe(probe, measured, phase, Some(at_ns), Exit::Failed);
    }

    fn answers(&self, name: &str, (from_ns, to_ns): (u64, u64)) -> Answers<'_, '_> {
        let asked = |sample: &&ProbeSample<'_>| {
            sample.probe == name && sample.moment.is_none() && (from_ns..to_ns).contains(&sample.at_ns)
        };
        let asked: Vec<_> = self.line.probes.iter().filter(asked).collect();
        let of = |ok| asked.iter().filter(|sample| sample.ok == ok).copied().collect();
        Answers { asked: asked.len(), no: of(Some(false)), unknown: of(None) }
    }

    /// A probe of the steady state, where that judges a phase.
    pub(super) fn steady_probe(&self, probe: &Probe, phase: &PhaseSpan<'_>) -> Measured {
        let text = probe.to_string();
        let answers = self.answers(&text, (phase.from_ns, phase.to_ns));
        let holds = answers.holds(0, NoData::Invalid);
        Measured { value: answers.value(), check: text, threshold: "all as expected".into(), holds }
    }

    /// Enters what a probe came to: a no with the exit code that it calls for, no data as the experiment has it.
    fn enter_probe(
        &mut self,
        probe: &Probe,
        measured: Measured,
        phase: Option<&str>,
        at_ns: Option<u64>,
        no: Exit,
    ) {
        let exit = match measured.holds {
            Some(true) => None,
            Some(false) => Some(no),
            None if probe.asking().no_data.value == NoData::Ignore => None,
            None => Some(Exit::Invalid),
        };
        let evidence: Vec<_> = at_ns
            .map(|at_ns| exhibit::of_event(&measured.check, "probe", measured.value.clone(), at_ns))
            .into_iter()
            .collect();
        self.record(measured, phase, at_ns, exit, evidence);
    }
}

impl Answers<'_, '_> {
    /// More that failed than is allowed is a no, whatever nobody knows; what nobody knows may not be what tips it.
    fn holds(&self, allowed: usize, no_data: NoData) -> Option<bool> {
        let unknown = if no_data == NoData::Ignore { 0 } else { self.unknown.len() };
        if self.no.len() > allowed {
            Some(false)
        } else if self.asked == self.unknown.len() || self.no.len() + unknown > allowed {
            None
        } else {
            Some(true)
        }
    }

    /// The first that was no yes: a no where there is one.
    fn first(&self) -> Option<&ProbeSample<'_>> {
        self.no.first().or_else(|| self.unknown.first()).copied()
    }

    fn value(&self) -> Option<String> {
        if self.asked == 0 {
            return None;
        }
        let good = self.asked - self.no.len() - self.unknown.len();
        let mut text = format!("{good} of {} as expected", self.asked);
        if !self.unknown.is_empty() {
            text.push_str(&format!(", {} without data", self.unknown.len()));
        }
        if let Some(first) = self.first() {
            let at_s = (first.at_ns as f64 / 1e8).round() / 10.0;
            text.push_str(&format!(", the first other at {at_s}s: {}", first.detail));
        }
        Some(text)
    }
}
