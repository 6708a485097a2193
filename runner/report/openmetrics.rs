//! metrics.txt: the run's figures in the OpenMetrics text format, for Prometheus and for GitLab's metrics report.
//!
//! A run is over: its counts go up no more and are gauges, of which a push gateway keeps the last. That also makes
//! the file valid as Prometheus' older text format, which names counters otherwise. There are no timestamps, which
//! the two formats count in different units. No data is no line, never a zero.

use std::collections::BTreeSet;

use super::outturns::outturns;
use super::samples::samples;
use super::text::{NAME_MAX_CHARS, clean};
use super::{Case, Ink};
use crate::verdict::{Checked, Judgement, LoadReport, Percentiles, PhaseReport, Verdict};

const VERDICTS: [Verdict; 6] = [
    Verdict::Held,
    Verdict::Failed,
    Verdict::Invalid,
    Verdict::BaselineUnmet,
    Verdict::Aborted,
    Verdict::Unhealed,
];

/// The metrics, a family after the other.
pub fn render(case: &Case<'_>, _: Ink) -> String {
    let judgement = case.judgement;
    let mut page = Exposition::default();
    run(case, &mut page);
    checks(judgement, &mut page);
    requests(judgement, &mut page);
    latencies(judgement, &mut page);
    slos(judgement, &mut page);
    faults(judgement, &mut page);
    timings(judgement, &mut page);
    probes(case, &mut page);
    page.out.push_str("# EOF\n");
    page.out
}

fn run(case: &Case<'_>, page: &mut Exposition) {
    let judgement = case.judgement;
    page.family("chaos_run_info", "", "What was run, and by which version.");
    page.sample(
        &[
            ("experiment", &judgement.experiment),
            ("run", &judgement.run),
            ("started", &judgement.started),
            ("version", &case.started.version),
        ],
        1.0,
    );
    page.family("chaos_run_verdict", "", "1 for the verdict that the run came to, 0 for the others.");
    for verdict in VERDICTS {
        page.sample(&[("verdict", verdict.word())], f64::from(u8::from(verdict == judgement.verdict)));
    }
    page.family("chaos_run_exit_code", "", "The exit code, 0 to 7.");
    page.sample(&[], f64::from(judgement.exit_code));
    page.family("chaos_run_journal_whole", "", "0 if the journal was cut short.");
    page.sample(&[], f64::from(u8::from(case.cut_short.is_none())));
    page.family("chaos_run_duration_seconds", "seconds", "From the start to the journal's last event.");
    page.sample(&[], judgement.duration_s);
    page.family("chaos_phase_duration_seconds", "seconds", "How long a phase lasted, as measured.");
    for phase in &judgement.phases {
        page.sample(&[("phase", &phase.name)], phase.to_s - phase.from_s);
    }
}

fn checks(judgement: &Judgement, page: &mut Exposition) {
    let each = |page: &mut Exposition, value: fn(&Checked) -> Option<f64>| {
        for check in &judgement.checks {
            if let Some(value) = value(check) {
                let phase = check.phase.as_deref().unwrap_or_default();
                page.sample(&[("phase", phase), ("check", &check.check)], value);
            }
        }
    };
    let about = "1 if a check held, 0 if it was broken; without data there is none.";
    page.family("chaos_check_holds", "", about);
    each(page, |check| check.holds.map(|holds| f64::from(u8::from(holds))));
    page.family("chaos_check_decided_seconds", "seconds", "When a check was decided, since the run's start.");
    each(page, |check| check.at_s);
    page.family("chaos_check_evidence", "", "The requests or slices that a check's figures are of.");
    each(page, |check| check.evidence.iter().filter_map(|exhibit| exhibit.n).max().map(|n| n as f64));
}

fn each_load(judgement: &Judgement) -> impl Iterator<Item = (&PhaseReport, &str, &LoadReport)> {
    judgement
        .phases
        .iter()
        .flat_map(|phase| phase.load.iter().map(move |(name, load)| (phase, name.as_str(), load)))
}

fn requests(judgement: &Judgement, page: &mut Exposition) {
    page.family("chaos_phase_requests", "", "Arrivals due in a phase, by how they ended.");
    for (phase, load, report) in each_load(judgement) {
        let boxes = [
            ("good", report.good),
            ("bad", report.bad),
            ("timed_out", report.timed_out),
            ("failed", report.failed),
            ("dropped", report.dropped),
            ("cut_off", report.cut_off),
        ];
        for (outcome, count) in boxes {
            page.sample(&[("phase", &phase.name), ("load", load), ("outcome", outcome)], count as f64);
        }
    }
    page.family("chaos_phase_rate_per_second", "", "Arrivals due in a phase, a second.");
    for (phase, load, report) in each_load(judgement) {
        if let Some(per_s) = report.rate_per_s {
            page.sample(&[("phase", &phase.name), ("load", load)], per_s);
        }
    }
}

type Times = fn(&LoadReport) -> Option<Percentiles>;

fn latencies(judgement: &Judgement, page: &mut Exposition) {
    let families: [(&str, &str, Times); 3] = [
        (
            "chaos_phase_latency_seconds",
            "From the instant a request was due to its end; a lower bound among requests cut off.",
            |report| report.latency_ms,
        ),
        ("chaos_phase_service_seconds", "From sending a request to its end.", |report| report.service_ms),
        ("chaos_phase_send_lag_seconds", "From the instant a request was due to sending it.", |report| {
            report.send_lag_ms
        }),
    ];
    for (name, about, times) in families {
        page.family(name, "seconds", about);
        for (phase, load, report) in each_load(judgement) {
            let Some(times) = times(report) else { continue };
            let of = [
                ("0.5", times.p50),
                ("0.9", times.p90),
                ("0.95", times.p95),
                ("0.99", times.p99),
                ("0.999", times.p999),
                ("1", times.max),
            ];
            for (quantile, ms) in of {
                // Not `quantile`: that label is kept for summaries, which have counts and sums as well.
                page.sample(&[("phase", &phase.name), ("load", load), ("percentile", quantile)], ms / 1e3);
            }
        }
    }
}

fn slos(judgement: &Judgement, page: &mut Exposition) {
    type Figure = fn(&crate::verdict::SloReport) -> Option<f64>;
    let families: [(&str, &str, Figure); 7] = [
        ("chaos_slo_objective_ratio", "The share that must be good.", |slo| Some(slo.objective)),
        ("chaos_slo_good_ratio", "The share that was good, over the whole run.", |slo| slo.good_ratio),
        ("chaos_slo_burn_rate", "Bad ratio over allowed bad ratio, over the whole run.", |slo| slo.burn_rate),
        (
            "chaos_slo_budget_spent_ratio",
            "The share of its window's error budget that the run spent, by events.",
            |slo| slo.budget_spent_ratio,
        ),
        (
            "chaos_slo_budget_spent_by_time_ratio",
            "The share of its window's error budget that the run spent, by time.",
            |slo| slo.budget_spent_by_time_ratio,
        ),
        ("chaos_slo_violation_seconds", "How long it was broken.", |slo| slo.violation_s),
        ("chaos_slo_unknown_seconds", "How long nobody knows what it was.", |slo| Some(slo.unknown_s)),
    ];
    for (name, about, figure) in families {
        let unit = ["ratio", "seconds"].into_iter().find(|unit| name.ends_with(unit)).unwrap_or_default();
        page.family(name, unit, about);
        for slo in &judgement.slos {
            if let Some(value) = figure(slo) {
                page.sample(&[("slo", &slo.name)], value);
            }
        }
    }
}

fn faults(judgement: &Judgement, page: &mut Exposition) {
    page.family("chaos_fault_proven", "", "1 if what was seen inside every target proves a fault.");
    for fault in &judgement.faults {
        page.sample(&[("fault", &fault.name), ("kind", &fault.kind)], f64::from(u8::from(fault.proven)));
    }
    page.family("chaos_capacity_per_second", "", "The highest rate that held and the lowest that did not.");
    for capacity in &judgement.capacities {
        for (end, rate) in [("held", capacity.held_per_s), ("broke", capacity.broke_per_s)] {
            if let Some(per_s) = rate {
                let labels = [("phase", capacity.phase.as_str()), ("load", &capacity.load), ("end", end)];
                page.sample(&labels, per_s);
            }
        }
    }
}

fn timings(judgement: &Judgement, page: &mut Exposition) {
    // Budgets are families of objectives, above.
    for outturn in outturns(judgement).iter().filter(|outturn| outturn.of.is_none()) {
        let (name, unit) = match outturn.name {
            "time_to_breach" => ("chaos_time_to_breach_seconds", "seconds"),
            "time_to_detect" => ("chaos_time_to_detect_seconds", "seconds"),
            "time_to_abort" => ("chaos_time_to_abort_seconds", "seconds"),
            "time_to_heal" => ("chaos_time_to_heal_seconds", "seconds"),
            "time_to_steady" => ("chaos_time_to_steady_seconds", "seconds"),
            "time_in_violation" => ("chaos_time_in_violation_seconds", "seconds"),
            "harmed" => ("chaos_requests_harmed", ""),
            "capacity_lost" => ("chaos_capacity_lost_ratio", "ratio"),
            other => unreachable!("no metric for {other}"),
        };
        page.family(name, unit, outturn.means);
        if let Some(value) = outturn.value {
            page.sample(&[], value);
        }
    }
}

fn probes(case: &Case<'_>, page: &mut Exposition) {
    let samples = samples(case);
    page.family("chaos_probe_answers", "", "Answers of a probe, by what they were.");
    for of in &samples {
        for (answer, ok) in [("yes", Some(true)), ("no", Some(false)), ("no_data", None)] {
            page.sample(&[("probe", of.probe), ("answer", answer)], of.count(ok) as f64);
        }
    }
    page.family("chaos_probe_took_seconds", "seconds", "How long a probe took to answer.");
    for of in &samples {
        for (percentile, share) in [("0.5", 0.5), ("0.99", 0.99), ("1", 1.0)] {
            page.sample(&[("probe", of.probe), ("percentile", percentile)], of.took_ms(share) / 1e3);
        }
    }
}

/// The text under construction: names are ours, label values anyone's.
#[derive(Default)]
struct Exposition {
    out: String,
    /// The family's head, until it has a sample: families without any are left out.
    head: Option<String>,
    name: &'static str,
    /// The label sets of this family so far.
    seen: BTreeSet<String>,
}

impl Exposition {
    /// Begins a family of gauges. `unit` must be the end of its name, or nothing.
    fn family(&mut self, name: &'static str, unit: &'static str, about: &'static str) {
        let unit = if unit.is_empty() { String::new() } else { format!("# UNIT {name} {unit}\n") };
        self.head = Some(format!("# HELP {name} {about}\n# TYPE {name} gauge\n{unit}"));
        self.name = name;
        self.seen.clear();
    }

    fn sample(&mut self, labels: &[(&'static str, &str)], value: f64) {
        let mut labels: Vec<(&str, String)> =
            labels.iter().map(|(name, value)| (*name, escaped(value))).collect();
        // Names that differ only where they were cut, or in what can't be said, are told apart by a number.
        let mut set = joined(&labels);
        for again in 2u32.. {
            if self.seen.insert(set.clone()) {
                break;
            }
            if let Some((_, last)) = labels.last_mut() {
                let kept = last.split_once(" ~").map_or(last.as_str(), |(kept, _)| kept).to_owned();
                *last = format!("{kept} ~{again}");
            }
            set = joined(&labels);
        }
        self.out.push_str(&self.head.take().unwrap_or_default());
        let braced = if set.is_empty() { String::new() } else { format!("{{{set}}}") };
        let value = if value.is_infinite() { "+Inf".into() } else { value.to_string() };
        self.out.push_str(&format!("{}{braced} {value}\n", self.name));
    }
}

fn joined(labels: &[(&str, String)]) -> String {
    let each = |(name, value): &(&str, String)| format!("{name}=\"{value}\"");
    labels.iter().map(each).collect::<Vec<_>>().join(",")
}

/// A label's value. `#` is legal, but GitLab takes what follows one for a comment, on any line.
fn escaped(value: &str) -> String {
    clean(value, NAME_MAX_CHARS).replace('#', "no. ").replace('\\', "\\\\").replace('"', "\\\"")
}
