//! Measuring a check on a phase: on all of it, or on the worst of its sliding windows, figure by figure.
//!
//! Each figure has its own source: some loads, or requests of one name, in the judged phase or another one; or the run
//! as a whole. What slides is what the judged phase is about; figures of other phases stand still. Start at
//! [`measure_phase`].

use super::Exhibit;
use super::exhibit;
use super::indicators::Counts;
use super::objectives::with_doubt;
use super::outturn;
use super::sliding::{Piece, worst_window};
use super::timeline::{PhaseSpan, Timeline};
use crate::event::Measured;
use crate::load::record::Stats;
use crate::plan::Plan;
use crate::slo::{self, Sample, Value};
use crate::spec::Slo;
use crate::spec::expr::{Check, Figure, Metric};
use crate::spec::expr_scope::{Place, Scope};

/// A check measured.
pub(super) struct Found {
    pub measured: Measured,
    /// The end of what decided.
    pub at_ns: u64,
    /// What it rests on, one for each figure.
    pub exhibits: Vec<Exhibit>,
}

/// Where a figure's value comes from.
enum Source<'j> {
    /// What loads measured between two instants.
    Load { place: Place<'j>, span: (u64, u64), pieces: Vec<Piece<'j>>, slides: Slides },
    /// What an SLO counted that is about time slices, or is measured beside the load.
    Slo { name: &'j str, slo: &'j Slo, span: (u64, u64), counts: Counts<'j> },
    /// What the run came to.
    Run { span: (u64, u64), value: Option<Value> },
    /// A phase that did not take place.
    Nowhere,
}

/// Whether a figure's window moves.
#[derive(Clone, Copy, PartialEq)]
enum Slides {
    Along,
    StandsStill,
}

/// Measures a check on a phase: on all of it, or on the worst of its sliding windows; and at which instant.
pub(super) fn measure_phase(plan: &Plan, line: &Timeline<'_>, check: &Check, phase: &PhaseSpan<'_>) -> Found {
    let scope = scope(plan);
    let figures = check.figures();
    let sources: Vec<_> = figures.iter().map(|figure| source(plan, line, figure, &scope, phase)).collect();
    let length_ns = phase.to_ns - phase.from_ns;
    let over_ns = check.over.map(crate::units::Duration::as_ns).filter(|over_ns| *over_ns < length_ns);
    let sliding: Vec<usize> = (0..sources.len())
        .filter(|at| matches!(&sources[*at], Source::Load { slides: Slides::Along, .. }))
        .collect();
    // What slides is not added up as a whole: each histogram of an hour is opened once.
    let slides = over_ns.is_some() && !sliding.is_empty();
    let totals: Vec<Option<Stats>> = sources
        .iter()
        .map(|source| match source {
            Source::Load { slides: Slides::Along, .. } if slides => None,
            Source::Load { pieces, .. } => Some(total(pieces.iter())),
            _ => None,
        })
        .collect();
    let standing: Vec<Option<Value>> = figures
        .iter()
        .zip(&sources)
        .zip(&totals)
        .map(|((figure, source), total)| match source {
            Source::Load { span, .. } => {
                let sample = Sample::of(total.as_ref()?, seconds(*span), &plan.slos);
                slo::value_of(&figure.metric, &sample)
            }
            Source::Slo { counts, .. } => counts.value(),
            Source::Run { value, .. } => *value,
            Source::Nowhere => None,
        })
        .collect();
    // A figure is told from another by where in the check it stands.
    let place_of = |wanted: &Figure| figures.iter().position(|one| std::ptr::eq(*one, wanted));
    let (measured, span) = match over_ns {
        Some(over_ns) if !sliding.is_empty() => {
            let lists: Vec<&[Piece<'_>]> = sliding
                .iter()
                .filter_map(|at| match &sources[*at] {
                    Source::Load { pieces, .. } => Some(pieces.as_slice()),
                    _ => None,
                })
                .collect();
            let measure = |seen: &[(&Stats, f64)]| {
                slo::measure_by(check, &plan.slos, |figure| {
                    let at = place_of(figure)?;
                    match sliding.iter().position(|one| *one == at) {
                        Some(window) => {
                            let (stats, seconds) = seen[window];
                            slo::value_of(&figure.metric, &Sample::of(stats, seconds, &plan.slos))
                        }
                        None => standing[at],
                    }
                })
            };
            let (measured, end_ns) = worst_window(&lists, over_ns, phase.to_ns, measure);
            (measured, Some((end_ns.saturating_sub(over_ns), end_ns)))
        }
        _ => {
            let mut doubted = sources.iter().filter_map(|source| match source {
                Source::Slo { counts, .. } if counts.unknown_s > 0.0 => Some(counts),
                _ => None,
            });
            let value = |figure: &Figure| standing[place_of(figure)?];
            match doubted.next() {
                Some(counts) => {
                    let measured = slo::measure_unsure(check, &plan.slos, value);
                    (Measured { value: with_doubt(measured.value.clone(), counts), ..measured }, None)
                }
                None => (slo::measure_by(check, &plan.slos, value), None),
            }
        }
    };
    let exhibits = figures
        .iter()
        .zip(&sources)
        .zip(totals)
        .map(|((figure, source), total)| exhibit_of(plan, figure, source, total, span))
        .collect();
    Found { measured, at_ns: span.map_or(phase.to_ns, |(_, end_ns)| end_ns), exhibits }
}

/// The names that there are in a plan.
pub(super) fn scope(plan: &Plan) -> Scope {
    Scope::of(
        plan.loads.iter().map(|load| (load.name.as_str(), &load.load)),
        plan.phases.iter().map(|phase| phase.name.as_str()),
    )
}

fn source<'j>(
    plan: &'j Plan,
    line: &'j Timeline<'_>,
    figure: &'j Figure,
    scope: &Scope,
    judged: &PhaseSpan<'_>,
) -> Source<'j> {
    let own = (judged.from_ns, judged.to_ns);
    match &figure.metric {
        Metric::Outturn(outturn) => {
            let slo = figure.names.first().map(|name| name.text.as_str());
            return Source::Run { span: own, value: outturn::value(plan, line, *outturn, slo, judged) };
        }
        Metric::Slo(name) => {
            if let Some(slo) = plan.slos.get(name)
                && (slo.slices.is_some() || slo.load().is_none())
            {
                let counts = Counts::of(line, plan, (name, slo), &[own]);
                return Source::Slo { name, slo, span: own, counts };
            }
        }
        _ => {}
    }
    let Ok(mut place) = figure.place(scope) else { return Source::Nowhere };
    // An SLO's figures are those of its own load.
    place.load =
        place.load.or_else(|| figure.load(&plan.slos).filter(|_| matches!(figure.metric, Metric::Slo(_))));
    let (span, slides) = match place.phase.filter(|name| *name != judged.name) {
        None => (own, Slides::Along),
        Some(name) => match line.phases.iter().find(|phase| phase.name == name) {
            Some(phase) => ((phase.from_ns, phase.to_ns), Slides::StandsStill),
            None => return Source::Nowhere,
        },
    };
    Source::Load { pieces: pieces(line, &place, span), place, span, slides }
}

/// The intervals of a place.
fn pieces<'j>(line: &'j Timeline<'_>, place: &Place<'_>, (from_ns, to_ns): (u64, u64)) -> Vec<Piece<'j>> {
    let within = line
        .intervals
        .iter()
        .filter(|interval| place.load.is_none_or(|load| load == interval.load))
        .filter(|interval| (from_ns..to_ns).contains(&interval.from_ns.midpoint(interval.to_ns)));
    within
        .map(|interval| {
            let (from_ns, to_ns) = (interval.from_ns, interval.to_ns);
            if place.is_part() {
                Piece::part(from_ns, to_ns, interval.stats.part(place.request, place.outcome))
            } else {
                Piece::whole(from_ns, to_ns, interval.stats)
            }
        })
        .collect()
}

fn total<'p>(pieces: impl Iterator<Item = &'p Piece<'p>>) -> Stats {
    let mut stats = Stats::default();
    pieces.for_each(|piece| stats.merge_total(&piece.stats));
    stats
}

fn seconds((from_ns, to_ns): (u64, u64)) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e9
}

/// What a figure's value rests on: of a window that slides, what that window saw.
fn exhibit_of(
    plan: &Plan,
    figure: &Figure,
    source: &Source<'_>,
    total_of_all: Option<Stats>,
    window: Option<(u64, u64)>,
) -> Exhibit {
    match source {
        Source::Load { place, pieces, span, .. } => {
            let (stats, span, count) = match (total_of_all, window) {
                (None, Some((from_ns, to_ns))) => {
                    let inside = pieces.iter().filter(|piece| (from_ns..to_ns).contains(&piece.from_ns));
                    (total(inside.clone()), (from_ns, to_ns), inside.count())
                }
                (stats, _) => (stats.unwrap_or_default(), *span, pieces.len()),
            };
            let sample = Sample::of(&stats, seconds(span), &plan.slos);
            exhibit::of_load(figure, place, &sample, span, count)
        }
        Source::Slo { name, slo, span, counts } => exhibit::of_slo(figure, (name, slo), counts, *span),
        Source::Run { value, span } => exhibit::of_run(figure, *value, *span),
        Source::Nowhere => exhibit::of_run(figure, None, (0, 0)),
    }
}
