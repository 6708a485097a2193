//! Everything that can happen in a run, as the journal keeps it.
//!
//! Running appends these and nothing else; live views, the verdict and every report read them and nothing
//! else. Each is one JSON object a line with `t_ns` (nanoseconds of the run's one monotonic clock, 0 at the
//! run's start) and `event`. Instants inside an event are of the same clock. Adding a field is compatible;
//! changing one needs a new [`SCHEMA`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::wire::{Counters, Engine, Kernel};
use crate::compare::Comparison;
use crate::error::Exit;
use crate::fault::found::Cgroup;
use crate::fault::reach::Reach;
use crate::load::record::Stats;
use crate::plan::Plan;
use crate::slo::Tally;
use crate::slo::search::End;
use crate::spec::{Moment, OnRestart};
use crate::units::Rate;

/// The journal's format, in its first event.
pub const SCHEMA: &str = "chaos.journal/1";

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was noted, in nanoseconds since the run's start.
    pub t_ns: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run began. Always first.
    Started(Box<Started>),
    /// A dead run's leftovers were healed before this one began.
    Recovered {
        /// The dead run.
        run: String,
        /// What was healed, a line each.
        healed: Vec<String>,
    },
    /// The lab is up or down.
    Lab {
        /// True: up; false: taken down.
        up: bool,
        /// Published address by `SERVICE` or `SERVICE:PORT`, as `127.0.0.1:32768`.
        endpoints: BTreeMap<String, String>,
    },
    /// A step is staged: one message away from taking effect.
    Armed {
        /// The step's number in the plan.
        step: u32,
        /// What will carry it out.
        engine: Engine,
        /// The kernel it will happen in, where an agent looked.
        kernel: Option<Kernel>,
    },
    /// A phase began, or the last one ended (`name` is then nothing).
    Phase {
        /// The phase's name in the plan.
        name: Option<String>,
        /// Its measured start: of a phase with faults the first onset, of one after it the last undo.
        at_ns: u64,
    },
    /// A step took effect.
    Applied {
        /// The step's number in the plan.
        step: u32,
        /// When it was meant to: the instant that all steps of its phase were to take effect at.
        asked_ns: u64,
        /// When it was measured to be in effect.
        at_ns: u64,
    },
    /// A step could not be put into effect.
    NotApplied {
        /// The step's number in the plan.
        step: u32,
        /// Why.
        why: String,
    },
    /// What was seen of a step while it was in effect.
    Evidence {
        /// The step's number in the plan.
        step: u32,
        /// What was seen.
        evidence: Evidence,
    },
    /// Agents looked who reaches whom among the containers of a fault that is about that.
    Reach {
        /// The fault's name in the plan.
        fault: String,
        /// When they looked.
        when: Look,
        /// What they saw.
        reach: Reach,
        /// Before anything is done: pairs of containers that share a network and were not heard of each other, of
        /// which nothing can be said.
        #[serde(default, skip_serializing_if = "is_zero")]
        unheard: u32,
    },
    /// A step is taken back.
    Undone {
        /// The step's number in the plan.
        step: u32,
        /// When it was asked for.
        asked_ns: u64,
        /// When it was measured to be gone.
        at_ns: u64,
        /// True if a look found nothing of it left.
        verified: bool,
    },
    /// A step ended before it was told to: its agent, container or deadline went first.
    Lost {
        /// The step's number in the plan.
        step: u32,
        /// Why.
        why: String,
    },
    /// What a step did went with the processes of its container, which ended.
    Lapsed {
        /// The step's number in the plan.
        step: u32,
        /// Why.
        why: String,
        /// What the experiment wants then: `reapply` is followed by another `applied` once the container runs
        /// again; with `end` that was all of it.
        on_restart: OnRestart,
    },
    /// A step could not be taken back.
    Unhealed {
        /// The step's number in the plan.
        step: u32,
        /// Why.
        why: String,
        /// The command that heals it.
        command: String,
    },
    /// What a load measured in an interval. Intervals of one load may repeat (late answers); they add up.
    /// A request belongs to the interval of its intended instant, whenever it ended.
    Load {
        /// The load's name.
        load: String,
        /// The interval's start.
        from_ns: u64,
        /// The interval's end. Intervals are cut at phase changes and never span one.
        to_ns: u64,
        /// What was measured.
        #[serde(flatten)]
        stats: Box<Stats>,
    },
    /// A load's rate changed: its arrivals from here on are those of a schedule that begins here.
    Rate {
        /// The load's name.
        load: String,
        /// Its rate from now on; nothing: its own again.
        rate: Option<Rate>,
        /// From when on.
        at_ns: u64,
    },
    /// A rate was tried in search of the highest that holds.
    Trial {
        /// The load's name.
        load: String,
        /// The rate tried.
        rate: Rate,
        /// When measuring began, after the rate had settled.
        from_ns: u64,
        /// When it ended; requests intended from the one to the other count.
        to_ns: u64,
        /// So many requests.
        requests: u64,
        /// So many of them did not end well, or hung when the trial was judged.
        not_good: u64,
        /// Did every check hold? Nothing: one had no data and none failed.
        holds: Option<bool>,
        /// Why the generator, not the system, limited the trial; nothing if it did not.
        unfit: Option<String>,
        /// Every check with its value.
        checks: Vec<Measured>,
    },
    /// A search for the highest rate that holds ended.
    Capacity {
        /// The load's name.
        load: String,
        /// How it ended.
        end: End,
        /// The highest rate that held; nothing if none did.
        held: Option<Rate>,
        /// The lowest rate that did not; nothing if all did.
        broke: Option<Rate>,
    },
    /// A look at the live stream, once a second, for people watching. Judgement does not read it.
    Tick(Tick),
    /// The steady state was evaluated: at the baseline gate, when it changed, and at the end.
    Steady {
        /// What asked.
        why: SteadyWhy,
        /// True if every check held; nothing if one had no data and none failed.
        holds: Option<bool>,
        /// Since when it has been so.
        since_ns: u64,
        /// Every check with its value.
        checks: Vec<Measured>,
    },
    /// A probe was answered, or not.
    Probe {
        /// Its name; where it has none, the probe itself, as `http GET http://…`.
        probe: String,
        /// When it was asked, of several attempts the first; journals of older versions don't say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_ns: Option<u64>,
        /// Of one that is asked once: when.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moment: Option<Moment>,
        /// `Some(true)` as expected, `Some(false)` otherwise, nothing: it could not be asked.
        ok: Option<bool>,
        /// What came back, in a few words.
        detail: String,
        /// How long it took, in milliseconds, of several attempts the last.
        took_ms: f64,
        /// How often it was asked until this answer.
        #[serde(default = "once")]
        attempts: u32,
    },
    /// What an SLO measures beside the load came to in a stretch of time, or could not be known.
    Indicator {
        /// The SLO's name.
        slo: String,
        /// The stretch's start.
        from_ns: u64,
        /// Its end: the instant of the sample.
        to_ns: u64,
        /// What was counted; nothing: no data.
        tally: Option<Tally>,
        /// What came back, or why nothing did, in a few words.
        detail: String,
        /// True if it was found out at the run's end, of a stretch that was not known before.
        late: bool,
    },
    /// A guard fired.
    Guard {
        /// The guard with the value that fired it.
        check: Measured,
    },
    /// An alert on a burn rate began or ceased to fire, as far as was known then. Judgement looks anew.
    Alert {
        /// The SLO's name.
        slo: String,
        /// The alert in words.
        alert: String,
        /// True if it began to.
        firing: bool,
        /// The end of the measured stretch that turned it.
        at_ns: u64,
        /// The burn rate over the long window.
        burn: f64,
        /// The burn rate over the short one.
        short: f64,
    },
    /// Something happened to a container, by Docker's account.
    Container {
        /// The container's name.
        container: String,
        /// `die`, `start`, `pause`, `unpause`, `kill`, `oom`, `health_status: healthy`, ….
        action: String,
    },
    /// The user asked to stop.
    Interrupted {
        /// `SIGINT`, `SIGTERM`, ….
        by: String,
    },
    /// The run can't be finished as planned.
    Broke {
        /// What went wrong, the chain of causes in one line.
        why: String,
        /// The exit code it calls for.
        exit: Exit,
    },
    /// The generator about itself, once at the end.
    Generator(Generator),
    /// Everything is healed and nothing more will be measured. Last but for `verdict`; a journal without
    /// it was cut short.
    Finished,
    /// The run was held against a baseline, after it ended. Part of what is judged.
    Compared(Box<Comparison>),
    /// The verdict as it was when the run ended, for people reading the journal. Judging anew ignores it.
    Verdict {
        /// `held`, `failed`, ….
        verdict: String,
        /// The exit code.
        exit_code: u8,
    },
}

/// What journals of versions that asked once meant.
const fn once() -> u32 {
    1
}

/// The start of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// [`SCHEMA`].
    pub schema: String,
    /// The run's id: unique on the daemon, sortable by time.
    pub run: String,
    /// The program's version.
    pub version: String,
    /// Wall-clock time of `t_ns` 0, RFC 3339 in UTC.
    pub wall: String,
    /// The experiment's file as the user named it.
    pub file: String,
    /// The command line that would do it again.
    pub command: String,
    /// What will be done.
    pub plan: Plan,
    /// Lines of the file, from 1, by what stands there (see `spec/lines.rs`). May be empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lines: BTreeMap<String, u32>,
    /// The machine: `kernel`, `docker`, `api`, `cgroup`, `cpus`, `clock`, ….
    pub environment: BTreeMap<String, String>,
}

/// When it was looked who reaches whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// When everything was armed, before anything was done.
    Before,
    /// While the fault was in effect, just before it was taken back.
    During,
    /// After it was taken back.
    After,
}

/// Why the steady state was evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SteadyWhy {
    /// Before anything is broken.
    Baseline,
    /// It held before and no longer does, or the other way round.
    Changed,
    /// A phase waits for it.
    Until,
    /// After the last phase.
    End,
}

/// A check and what it came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The check's text, or the probe's.
    pub check: String,
    /// The value with its unit, as `312ms` or `99.2%`; nothing: no data.
    pub value: Option<String>,
    /// What it was compared with, as `300ms`.
    pub threshold: String,
    /// Did it hold? Nothing: no data.
    pub holds: Option<bool>,
}

/// What was seen of a step in effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Counters from inside the network namespace.
    Packets(Counters),
    /// The container's state by Docker's account and the kernel's.
    State(ContainerState),
    /// The daemon's own event that it sent this signal, by its number, when we had it do so.
    Signalled(String),
    /// Whether the container is attached to a network.
    Network {
        /// The network's name on the daemon.
        network: String,
        /// Is it?
        attached: bool,
        /// Its addresses there.
        addresses: Vec<String>,
    },
    /// The counters and limits of the container's cgroups.
    Cgroup(Cgroup),
    /// The kernel killed a process of the container for lack of memory, by Docker's account.
    OutOfMemory,
    /// A command of the user's was run.
    Ran(Ran),
}

/// How a command of the user's ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// The command, as a list of arguments.
    pub command: Vec<String>,
    /// Its exit code; nothing: it did not end in time, or by a signal.
    pub exit_code: Option<i64>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The beginning of what it wrote to stdout and stderr, control characters replaced.
    pub output: String,
    /// How many bytes it wrote beyond that.
    pub left_out_bytes: u64,
}

/// A container's state when it was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// `running`, `paused`, `exited`, `restarting`, ….
    pub status: String,
    /// The first process's id in the daemon's pid namespace; nothing if it does not run.
    pub pid: Option<u64>,
    /// Exit code of the last run; nothing while it runs.
    pub exit_code: Option<i64>,
    /// How often Docker restarted it.
    pub restarts: u64,
    /// When the process now or last running was started, as Docker says it (RFC 3339).
    pub started_at: String,
    /// True if the kernel killed a process of the last run for lack of memory.
    #[serde(default)]
    pub oom_killed: bool,
}

/// The live stream over the last second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// Arrivals that ended, a second.
    pub rate_per_s: f64,
    /// Share of them that ended well; nothing if none ended.
    pub good_ratio: Option<f64>,
    /// Median latency.
    pub p50_ms: Option<f64>,
    /// 99th percentile of latency.
    pub p99_ms: Option<f64>,
    /// Requests under way.
    pub in_flight: u64,
    /// Each guard with its current value.
    pub guards: Vec<Measured>,
}

/// How well the generator did its own job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// CPU time of the generator's threads over wall time and the cores they may use: 0 to 1.
    pub cpu_ratio: Option<f64>,
    /// True if it could not keep its schedule well enough for the figures to mean anything.
    pub saturated: bool,
    /// Why, with the rate that it could have held; empty if it was not saturated.
    pub why: String,
    /// What else it saw of itself.
    #[serde(default)]
    pub watch: SelfWatch,
}

/// What the generator saw of itself and its machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SelfWatch {
    /// What a reader should know, in sentences; none of it alone makes a run invalid.
    pub warnings: Vec<String>,
    /// CPU time over wall time of each sending thread: 0 to 1.
    pub threads: Vec<f64>,
    /// True if the sending threads had real-time priority; null if not known.
    pub realtime: Option<bool>,
    /// The longest that a sending thread was away from its sockets and its schedule after it should have
    /// looked at them, in milliseconds; null if not known.
    pub longest_stall_ms: Option<f64>,
    /// The share of the machine's CPU time that its hypervisor gave to others; null if not known.
    pub steal_ratio: Option<f64>,
    /// Files open at once; null if not known.
    pub open_files: Option<Headroom>,
    /// Ports of this machine taken by TCP connections; null if not known.
    pub ports: Option<Headroom>,
    /// By load of poisson arrivals, whether they were sent so.
    pub arrivals: BTreeMap<String, ArrivalCheck>,
    /// By load, whether one latency told of the next.
    pub succession: BTreeMap<String, SuccessionCheck>,
}

/// The most that was used of something that there is only so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Headroom {
    /// The most at once.
    pub most: u64,
    /// How much there is.
    pub limit: u64,
}

/// Anderson and Darling's test that the gaps between arrivals, as they were sent, are exponential.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ArrivalCheck {
    /// How many successive gaps were looked at.
    pub gaps: u64,
    /// A², corrected for the mean being estimated.
    pub misfit: f64,
    /// Larger ones are found once in a hundred cases where arrivals are poisson.
    pub critical: f64,
    /// True unless the misfit is larger than that.
    pub poisson: bool,
}

/// Spearman's rank correlation of each latency with that of the next arrival.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuccessionCheck {
    /// How many successive latencies were looked at.
    pub latencies: u64,
    /// The correlation, -1 to 1.
    pub correlation: f64,
    /// True unless there is more of it than chance has in 99 of 100 cases.
    pub independent: bool,
    /// So many independent latencies say as much as one of these, 0 to 1: confidence intervals, which count
    /// each for one, are too narrow by the root of it.
    pub worth: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}
