//! What faults inside a container's own limits come down to, and what is said of those that contradict themselves.

use std::collections::BTreeMap;

use super::{Cast, Fault};
use crate::agent::wire::Kernel;
use crate::spec::decode::Mistakes;
use crate::spec::fragment;

/// Faults that make sense, a line each.
const FAULTS: &str = "\
kill: { on: web, processes: [nginx, worker], signal: SIGTERM }
kill: { on: web, processes: [nginx], every: 5s }
kill: { on: web, processes: [nginx], signal: SIGSTOP }
cpu: { on: web, burn: 50% }
cpu: { on: web, burn: 1.5 }
cpu: { on: web, throttle: 20% }
memory: { on: web, fill: 80%, rate: 50MiB/s, hold: 5s }
memory: { on: web, limit: 64MiB }
processes: { on: web, fill: all }
processes: { on: web, fill: 100 }
processes: { on: web, limit: 20 }
connections: { on: web, reset: 50% }
connections: { on: web, reset: 100%, every: 1s, direction: ingress, ports: [80] }
connections: { on: web, limit: 10, except: [10.0.0.0/8] }
files: { on: web, leave: 0 }
files: { on: web, limit: 20 }
disk: { on: web, path: /data, fill: 90% }
disk: { on: web, path: /data, leave: 100MB }
io: { on: web, path: /data, read: 20MiB/s, write: 5MB/s }
io: { on: web, path: /data, limit_read: 2MiB/s, limit_write: 1MiB/s }
clock: { on: web, offset: -1h }
clock: { on: web, offset: 10s, every: 1s, drift: 500ppm, monotonic: true }
";

/// Faults that contradict themselves, a line each.
const MISTAKEN: &str = "\
kill: { on: web, processes: [nginx], restart: true }
cpu: { on: web }
cpu: { on: web, burn: 50%, throttle: 20% }
cpu: { on: web, burn: 0% }
memory: { on: web }
memory: { on: web, fill: 0% }
memory: { on: web, limit: 64MiB, hold: 5s }
processes: { on: web, fill: 3, limit: 3 }
connections: { on: web }
connections: { on: web, reset: 50%, limit: 3 }
connections: { on: web, reset: 0% }
connections: { on: web, reset: 10%, every: 1ms }
connections: { on: web, limit: 3, every: 1s }
files: { on: web }
files: { on: web, limit: 0 }
disk: { on: web, path: data, fill: 90% }
disk: { on: web, path: /data }
io: { on: web, path: /data }
io: { on: web, path: /data, read: 1MiB/s, limit_read: 1MiB/s }
clock: { on: web }
clock: { on: web, offset: 0s }
clock: { on: web, drift: -2000000ppm, every: 5s }
clock: { on: web, offset: 1h, every: 1ms }
";

fn fault(text: &str) -> Fault {
    fragment(text).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn faults_inside_come_down_to_these_steps() {
    let targets = BTreeMap::from([("web".to_owned(), vec!["web-1".to_owned()])]);
    let services = BTreeMap::new();
    let said = FAULTS.lines().map(|text| {
        let fault = fault(text);
        let kind = fault.kind();
        let mut mistakes = Mistakes::default();
        kind.check(&mut mistakes);
        assert!(mistakes.list.is_empty(), "{text}: {:?}", mistakes.list);
        let engine = kind.engine(&Kernel::none()).map_or("none", |engine| engine.word());
        let changes = kind.changes(&Cast { targets: &targets, services: &services, seed: 1 });
        let steps = changes.iter().map(|change| {
            let undo = change.undo.as_ref().map_or("irreversible".into(), |undo| format!("undo: {undo}"));
            format!("  {}: {}; {undo}", change.container, change.apply)
        });
        format!("{} ({engine})\n{}", kind.summary(), steps.collect::<Vec<_>>().join("\n"))
    });
    insta::assert_snapshot!("steps", said.collect::<Vec<_>>().join("\n"));
}

#[test]
fn faults_inside_that_contradict_themselves_are_refused() {
    let said = MISTAKEN.lines().map(|text| {
        let mut mistakes = Mistakes::default();
        fault(text).kind().check(&mut mistakes);
        assert!(!mistakes.list.is_empty(), "{text} was accepted");
        let list = mistakes
            .list
            .into_iter()
            .map(|problem| format!("  {}\n  hint: {}", problem.message, problem.hint.unwrap_or_default()));
        format!("{text}\n{}", list.collect::<Vec<_>>().join("\n"))
    });
    insta::assert_snapshot!("mistaken", said.collect::<Vec<_>>().join("\n"));
}
