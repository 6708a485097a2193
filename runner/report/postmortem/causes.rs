//! What may have caused it, ranked by how many signs speak for each and against it.
//!
//! A sign is something that the journal shows and that would be a coincidence otherwise. Nothing here is a proof: the
//! ranking says where to look first, and shows what it is made of.

use super::super::{Case, text};
use super::{first_onset_ns, last_undo_ns, offset};
use crate::event::Event;
use crate::load::record::Boxes;
use crate::report::sheet::Sheet;
use crate::report::terminal::window;
use crate::units::NS_PER_S;
use crate::verdict::{FaultReport, PhaseReport, Verdict};

/// Something that may have done it.
struct Suspect {
    name: String,
    /// What speaks for it.
    signs: Vec<String>,
    /// What speaks against it.
    doubts: Vec<String>,
}

impl Suspect {
    fn weight(&self) -> usize {
        // Doubts are rarer than signs and weigh as much as two.
        (10 + self.signs.len()).saturating_sub(2 * self.doubts.len())
    }
}

pub(super) fn write(sheet: &mut Sheet, case: &Case<'_>) {
    sheet.raw("## Suspected causes\n\n");
    if case.judgement.verdict == Verdict::Held {
        sheet.raw("Everything that was asked held: there is nothing to find a cause of.\n\n");
        return;
    }
    let mut suspects: Vec<Suspect> =
        case.judgement.faults.iter().map(|fault| fault_of(case, fault)).collect();
    suspects.extend(containers(case));
    suspects.extend(machinery(case));
    suspects.retain(|suspect| !suspect.signs.is_empty());
    suspects.sort_by_key(|suspect| std::cmp::Reverse(suspect.weight()));
    if suspects.is_empty() {
        sheet.raw("The journal shows none.\n\n");
        return;
    }
    sheet.raw("Ranked by what the journal shows for (+) and against (−) each. None of it is a proof.\n\n");
    for suspect in &suspects {
        sheet.raw("1. **").text(&suspect.name).raw("**\n");
        for sign in &suspect.signs {
            sheet.raw("   - \\+ ").prose(sign).raw("\n");
        }
        for doubt in &suspect.doubts {
            sheet.raw("   - − ").prose(doubt).raw("\n");
        }
    }
    sheet.raw("\n");
}

/// A fault that was put in: did things go wrong with it, and right without it?
fn fault_of(case: &Case<'_>, fault: &FaultReport) -> Suspect {
    let on: Vec<&str> = fault.targets.iter().map(|target| target.container.as_str()).collect();
    let name = format!("{} on {}: {}", fault.kind, on.join(", "), fault.summary);
    let mut suspect = Suspect { name, signs: Vec::new(), doubts: Vec::new() };
    let Some((from_s, to_s)) = window(fault) else {
        suspect.doubts.push("it never took effect".into());
        return suspect;
    };
    if fault.proven {
        suspect.signs.push("it is proven: what was seen inside every target shows it".into());
    } else {
        suspect.doubts.push("nothing seen inside its targets proves it".into());
    }
    let ns = |s: f64| (s * NS_PER_S as f64) as u64;
    let from_ns = ns(from_s);
    let to_ns = to_s.map_or(u64::MAX, ns);
    let (before, during, after) =
        (boxes(case, 0, from_ns), boxes(case, from_ns, to_ns), boxes(case, to_ns, u64::MAX));
    let share = |boxes: &Boxes| (boxes.known() > 0).then(|| boxes.errors() as f64 / boxes.known() as f64);
    let shown = |boxes: &Boxes| format!("{} of {}", text::count(boxes.errors()), text::count(boxes.known()));
    if let (Some(was), Some(is)) = (share(&before), share(&during))
        && is.max(was) > 0.0
    {
        let told = format!("{} requests not good during it, {} before", shown(&during), shown(&before));
        if is > was { suspect.signs.push(told) } else { suspect.doubts.push(told) }
    }
    if let (Some(is), Some(then)) = (share(&during), share(&after))
        && is > 0.0
    {
        let told = format!("{} requests not good after it was taken back", shown(&after));
        if then < is { suspect.signs.push(told) } else { suspect.doubts.push(told) }
    }
    slowness(case, fault, &mut suspect);
    let phase = fault.name.split('/').next();
    let in_phase = case.judgement.reasons.iter().filter(|reason| reason.phase.as_deref() == phase);
    let broken: Vec<&str> = in_phase.map(|reason| reason.check.as_str()).collect();
    if !broken.is_empty() {
        suspect.signs.push(format!("what did not hold in its phase: {}", broken.join("; ")));
    }
    suspect
}

/// Whether requests were slower in its phase than in the one before, and faster again in the one after.
fn slowness(case: &Case<'_>, fault: &FaultReport, suspect: &mut Suspect) {
    /// What is no more than this is noise.
    const SLOWER: f64 = 1.5;
    let phases = &case.judgement.phases;
    let Some(at) = phases.iter().position(|phase| fault.name.split('/').next() == Some(&phase.name)) else {
        return;
    };
    let p99 = |phase: &PhaseReport| {
        phase.load.values().filter_map(|load| load.latency_ms).map(|times| times.p99).reduce(f64::max)
    };
    let Some(during) = p99(&phases[at]) else { return };
    let others = [(at.checked_sub(1), "before"), (Some(at + 1), "after")];
    for (other, when) in others.map(|(other, when)| (other.and_then(|other| phases.get(other)), when)) {
        let Some((phase, then)) = other.and_then(|phase| Some((phase, p99(phase)?))) else { continue };
        if during > SLOWER * then {
            let (during, then) = (text::ms(during), text::ms(then));
            let name = &phase.name;
            suspect.signs.push(format!("p99 latency {during} in its phase, {then} in {name} {when} it"));
        }
    }
}

/// Boxes of all loads, of intervals whose middle lies between two instants.
fn boxes(case: &Case<'_>, from_ns: u64, to_ns: u64) -> Boxes {
    let mut sum = Boxes::default();
    for entry in case.entries {
        if let Event::Load { from_ns: begin_ns, to_ns: end_ns, stats, .. } = &entry.event
            && (from_ns..to_ns).contains(&begin_ns.midpoint(*end_ns))
        {
            sum.add(&stats.boxes);
        }
    }
    sum
}

/// Containers that died, ran out of memory or said that they are unwell, by Docker's account.
fn containers(case: &Case<'_>) -> Vec<Suspect> {
    let zero_ns = first_onset_ns(case).unwrap_or(0);
    let mut suspects: Vec<Suspect> = Vec::new();
    for (line, entry) in case.lines() {
        let Event::Container { container, action } = &entry.event else { continue };
        if !["die", "oom", "health_status: unhealthy"].contains(&action.as_str()) {
            continue;
        }
        let hit = case.judgement.faults.iter().any(|fault| {
            fault.targets.iter().any(|target| target.container == *container && target.applied_s.is_some())
        });
        let name = format!("container {container}");
        let told = format!("{action} at {}, journal line {line}", offset(entry.t_ns, zero_ns));
        let known = suspects.iter().position(|suspect| suspect.name == name);
        let at = known.unwrap_or_else(|| {
            let doubts =
                if hit { vec!["a fault was on it: this may be its doing".into()] } else { Vec::new() };
            suspects.push(Suspect { name, signs: Vec::new(), doubts });
            suspects.len() - 1
        });
        suspects[at].signs.push(told);
    }
    suspects
}

/// What the run itself did wrong.
fn machinery(case: &Case<'_>) -> Vec<Suspect> {
    let zero_ns = first_onset_ns(case).unwrap_or(0);
    let mut suspects = Vec::new();
    if let Some(generator) = case.judgement.generator.as_ref().filter(|generator| generator.saturated) {
        let mut signs = vec!["it could not keep its schedule: latencies are partly its own".to_owned()];
        signs.extend(generator.watch.warnings.iter().cloned());
        suspects.push(Suspect { name: "the load generator".into(), signs, doubts: Vec::new() });
    }
    for (line, entry) in case.lines() {
        let told = match &entry.event {
            Event::Broke { why, .. } => why,
            Event::Lost { why, .. } => why,
            Event::Unhealed { why, .. } => why,
            _ => continue,
        };
        let undone = last_undo_ns(case).is_some_and(|undone_ns| entry.t_ns > undone_ns);
        let doubts = if undone { vec!["it came after everything was taken back".into()] } else { Vec::new() };
        suspects.push(Suspect {
            name: "the run itself".into(),
            signs: vec![format!("{told} (at {}, journal line {line})", offset(entry.t_ns, zero_ns))],
            doubts,
        });
    }
    suspects
}
