//! A run in which much happens, to look at: a partition with its matrices, probes that fail, a container that dies, an
//! alert, a guard.

use chaos::event::{Entry, Event};
use chaos::fault::reach::Reach;
use chaos::output::Concluded;
use chaos::units::NS_PER_S;
use chaos::verdict::{AlertReport, Firing};
use serde_json::json;

use super::concluded_from;
use super::sample::Sample;

/// The run, judged.
pub fn showcase() -> Concluded {
    let mut entries = Sample { held: false, ..Sample::default() }.entries();
    let members = || ["api-1", "api-2", "gateway"].map(str::to_owned).to_vec();
    let whole = Reach::new(members(), |_, _| true);
    let cut = Reach::new(members(), |from, to| (from == 0) == (to == 0));
    let Event::Started(started) = &mut entries[0].event else { panic!("starts with `started`") };
    started.plan.faults[0].reach = Some(cut.clone());
    let containers = ["api-1", "api-2", "api-3"].map(str::to_owned).to_vec();
    started.plan.shares = vec![chaos::plan::Share { service: "api".into(), hit: 1, of: 3, containers }];
    let fault = started.plan.faults[0].name.clone();
    let mut note = |at_s: f64, event: serde_json::Value| {
        let event = serde_json::from_value(event).expect("an event");
        entries.push(Entry { t_ns: (at_s * NS_PER_S as f64) as u64, event });
    };
    for (at_s, when, reach) in [(0.3, "before", &whole), (59.9, "during", &cut), (60.1, "after", &whole)] {
        note(at_s, json!({ "event": "reach", "fault": fault, "when": when, "reach": reach }));
    }
    for second in 1..70 {
        let ok = match second {
            24..=31 => Some(false),
            32 => None,
            _ => Some(true),
        };
        note(
            f64::from(second),
            json!({ "event": "probe", "probe": "http GET http://127.0.0.1:8080/health", "ok": ok, "detail": "503 instead of 200", "took_ms": 3.2 }),
        );
    }
    for (at_s, action) in [(31.2, "die"), (33.0, "start"), (36.5, "health_status: healthy")] {
        note(at_s, json!({ "event": "container", "container": "api-2", "action": action }));
    }
    let check =
        json!({ "check": "rate(good) < 90% over 3s", "value": "88.2%", "threshold": "90%", "holds": true });
    note(27.5, json!({ "event": "guard", "check": check }));
    entries.sort_by_key(|entry| entry.t_ns);
    let mut run = concluded_from(entries);
    run.judgement.slos[0].alerts = vec![AlertReport {
        alert: "burn rate 14.4 over 1h and 5m".into(),
        fired: vec![Firing { from_s: 25.0, to_s: Some(52.0), burn: 24.9 }],
    }];
    run
}
