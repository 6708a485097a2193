//! Hands: processes of an agent's that use up what the target has, inside the target's own cgroup.
//!
//! A hand is the same program again, staged beside the agent and outside of the target's limits; when it is let
//! go it enters the target's cgroup and does its [`Chore`] until it is killed. It dies with its agent, however
//! that dies: the kernel kills it ([`libc::PR_SET_PDEATHSIG`]), and the end of its input ends it too. All it
//! holds is the kernel's to take back. What outlives its agent all the same is known by the tag on its command
//! line ([`kill_left`]).
//!
//! Agent and hand say to each other, a line each: the task; `ready`; `go`; `gone`, or `error` and why; then any
//! number of times `read` and the counters.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::cgroup::Cgroup;
use super::processes;
use super::takings;
use super::task::{Task, Work};
use super::wire::Counters;
use crate::clock::{mono_ns, read_ns};

/// The longest a hand may take to be ready and to begin: less than the runner waits for the agent.
const ANSWER: Duration = Duration::from_secs(4);
/// The longest it may take to say what it counted. One that is held by the target's own quota may be late; what it said
/// last is used then.
const COUNTED: Duration = Duration::from_millis(500);
/// How long one that was killed may take to be gone: the kernel frees all it held first.
const GONE: Duration = Duration::from_secs(4);
/// How often to look whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Of a chore's thread, which calls little.
const STACK_BYTES: usize = 256 << 10;
/// How a hand's command line begins after the program's name.
pub const ARGUMENTS: [&str; 2] = ["inside", "hand"];

/// What a hand does once it is let go.
pub trait Chore {
    /// The hierarchies of version 1 in whose cgroups it must be; version 2 has one for all.
    fn hierarchies(&self) -> &'static [&'static str];

    /// Begins, in threads of its own. `tag` names what is made; `cgroup` is the target's, which this process has
    /// entered; what is written to `kept` stays until both this process and the agent are gone ([`takings`]).
    ///
    /// # Errors
    /// Why it can't, for people.
    fn begin(&self, tag: &str, cgroup: Cgroup, kept: File) -> Result<Box<dyn Doing>, String>;
}

/// A chore under way.
pub trait Doing {
    /// What it did so far, by name.
    fn counted(&mut self) -> BTreeMap<String, u64>;
}

/// The life of a hand: `chaos inside hand`.
///
/// # Errors
/// It was not spoken to as agreed, for people.
pub fn serve(tag: &str, kept: i32) -> Result<(), String> {
    die_with_parent();
    let kept = takings::handed_on(kept).map_err(|error| format!("the file to keep memory in: {error}"))?;
    let mut lines = io::stdin().lock().lines().map_while(Result::ok);
    let Some(order) = lines.next() else { return Ok(()) };
    let task: Task = serde_json::from_str(&order).map_err(|error| format!("what to do: {error}"))?;
    let chore = task.kind().chore().ok_or("no chore for a hand")?;
    say("ready");
    if lines.next().as_deref() != Some("go") {
        return Ok(());
    }
    let begun = Cgroup::of_target().and_then(|cgroup| {
        cgroup.enter(chore.hierarchies())?;
        chore.begin(tag, cgroup, kept)
    });
    let mut doing = match begun {
        Ok(doing) => doing,
        Err(why) => {
            say(&format!("error {why}"));
            return Ok(());
        }
    };
    say("gone");
    for line in lines {
        if line == "read" {
            say(&serde_json::to_string(&doing.counted()).expect("counters are plain data"));
        }
    }
    Ok(())
}

/// Starts a thread of a chore's.
///
/// # Errors
/// The kernel gives none, for people.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let spawned = std::thread::Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(body);
    spawned.map(drop).map_err(|error| format!("could not start a thread: {error}"))
}

fn say(line: &str) {
    // Nobody listens only when the agent is gone, and then so are we.
    let _ = writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush());
}

fn die_with_parent() {
    // SAFETY: no pointers; concerns this process alone.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// A hand from the agent's side.
#[derive(Debug)]
pub struct Hand {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    heard: Vec<u8>,
    /// What the hand wrote here is still held if it is killed, as the kernel may where it made memory run short.
    kept: File,
}

impl Hand {
    /// Starts one for `task`, which changes nothing yet.
    fn start(tag: &str, task: &Task) -> Result<Self, String> {
        let failed = |error: io::Error| format!("could not start a process of our own: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let kept = takings::file().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(ARGUMENTS)
            .arg(format!("--tag={tag}"))
            .arg(format!("--kept={}", kept.as_raw_fd()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        takings::hand_on(&kept, &mut command);
        let mut child = command.spawn().map_err(failed)?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).expect("both were asked for");
        let mut hand = Self { child, input, output, heard: Vec::new(), kept };
        let order = serde_json::to_string(task).expect("a task is plain data");
        match hand.ask(&order, ANSWER)?.as_str() {
            "ready" => Ok(hand),
            other => Err(format!("a process of our own said `{other}` instead of being ready")),
        }
    }

    fn ask(&mut self, line: &str, within: Duration) -> Result<String, String> {
        let gone = |error: io::Error| format!("a process of our own is gone: {error}");
        self.input.write_all(format!("{line}\n").as_bytes()).map_err(gone)?;
        let until = Instant::now() + within;
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let left = until.saturating_duration_since(Instant::now());
            let mut watched =
                [libc::pollfd { fd: self.output.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
            super::poll(&mut watched, Some(left));
            if left.is_zero() {
                return Err("a process of our own does not answer".into());
            }
            if watched[0].revents == 0 {
                continue;
            }
            let mut piece = [0; 4_096];
            match self.output.read(&mut piece).map_err(gone)? {
                0 => return Err(format!("a process of our own is gone{}", self.cause_of_death())),
                len => self.heard.extend_from_slice(&piece[..len]),
            }
        }
    }

    fn cause_of_death(&mut self) -> String {
        let status = self.child.try_wait().ok().flatten();
        status.map(|status| format!(": {status}")).unwrap_or_default()
    }

    /// Kills it; true once it is gone and the kernel has everything back.
    fn end(&mut self) -> bool {
        let _ = self.child.kill();
        let until = Instant::now() + GONE;
        loop {
            match self.child.try_wait() {
                // Nobody else writes to it any more.
                Ok(Some(_)) => return self.kept.set_len(0).is_ok(),
                Ok(None) if Instant::now() < until => std::thread::sleep(LOOK_EVERY),
                _ => return false,
            }
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// Stages `task` as a hand's.
///
/// # Errors
/// The target's cgroup is not to be seen, or no process can be started, for people.
pub fn stage(tag: &str, task: &Task) -> Result<Box<dyn Work>, String> {
    let cgroup = Cgroup::of_target()?;
    let hand = Hand::start(tag, task)?;
    let burns = matches!(task, Task::Burn(_));
    Ok(Box::new(Handwork { hand, cgroup, burns, fired: None, begun_ns: None, last: BTreeMap::new() }))
}

/// Kills every hand with this tag that an agent left; how many there were.
///
/// # Errors
/// One can't be killed, for people.
pub fn kill_left(tag: &str) -> Result<u32, String> {
    let tag = format!("--tag={tag}");
    let ours = |process: &processes::Process| {
        let line = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        matches!(&words[..], [_, a, b, c, ..] if [*a, *b] == ARGUMENTS.map(str::as_bytes) && *c == tag.as_bytes())
    };
    let left: Vec<_> = processes::everyone()?.into_iter().filter(ours).collect();
    for process in &left {
        process.signal(libc::SIGKILL)?;
    }
    let until = Instant::now() + GONE;
    for process in &left {
        while processes::look(process.pid)
            .is_some_and(|now| now.started == process.started && now.state != 'Z')
        {
            if Instant::now() > until {
                return Err(format!("process {} of ours does not end", process.pid));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
    Ok(left.len() as u32)
}

/// The target's counters at an instant.
#[derive(Debug)]
struct Before {
    at_ns: u64,
    cpu_ns: Option<u64>,
    throttled: Option<u64>,
    oom_kills: Option<u64>,
}

/// CPU time that a child of ours has used, which must not have been waited for: its number would be anybody's.
fn cpu_ns(child: &Child) -> Option<u64> {
    let mut clock = 0;
    // SAFETY: `clock` outlives the call.
    let failed = unsafe { libc::clock_getcpuclockid(child.id().cast_signed(), &raw mut clock) };
    (failed == 0).then(|| read_ns(clock)).flatten()
}

/// A task that a hand does, and what the target's cgroup says of it meanwhile.
#[derive(Debug)]
struct Handwork {
    hand: Hand,
    cgroup: Cgroup,
    /// CPU time is what it is to use up.
    burns: bool,
    fired: Option<Before>,
    /// CPU time that the hand had used when it had begun: its way into the cgroup is not on the target's account.
    begun_ns: Option<u64>,
    /// What the hand counted when it last answered, and what was last counted of it.
    last: BTreeMap<String, u64>,
}

impl Work for Handwork {
    fn fire(&mut self) -> Result<(), String> {
        self.fired = Some(Before {
            at_ns: mono_ns(),
            cpu_ns: self.cgroup.cpu_ns(),
            throttled: self.cgroup.throttled_periods(),
            oom_kills: self.cgroup.oom_kills(),
        });
        let answer = self.hand.ask("go", ANSWER)?;
        match answer.strip_prefix("error ") {
            None if answer == "gone" => {
                self.begun_ns = cpu_ns(&self.hand.child);
                Ok(())
            }
            None => Err(format!("a process of our own said `{answer}` instead of having begun")),
            Some(why) => Err(why.to_owned()),
        }
    }

    fn undo(&mut self) -> bool {
        self.hand.end()
    }

    fn counters(&mut self) -> Counters {
        let Some(before) = &self.fired else { return Counters::default() };
        if let Ok(answer) = self.hand.ask("read", COUNTED)
            && let Ok(counted) = serde_json::from_str(&answer)
        {
            self.last.extend::<BTreeMap<String, u64>>(counted);
        }
        let ended = self.hand.child.try_wait().ok().flatten();
        // By the kernel's account: a hand that is held by the target's own quota may never get to say it.
        if self.burns
            && ended.is_none()
            && let Some((now, then)) = cpu_ns(&self.hand.child).zip(self.begun_ns)
        {
            self.last.insert("burnt_cpu_ms".into(), now.saturating_sub(then) / 1_000_000);
        }
        let mut counted = self.last.clone();
        counted.insert("effect_ms".into(), (mono_ns() - before.at_ns) / 1_000_000);
        let mut since = |name: &str, now: Option<u64>, then: Option<u64>, unit: u64| {
            if let (Some(now), Some(then)) = (now, then) {
                counted.insert(name.into(), now.saturating_sub(then) / unit);
            }
        };
        since("target_cpu_ms", self.cgroup.cpu_ns(), before.cpu_ns, 1_000_000);
        since("target_throttled_periods", self.cgroup.throttled_periods(), before.throttled, 1);
        since("target_oom_kills", self.cgroup.oom_kills(), before.oom_kills, 1);
        if let Some(status) = ended {
            // Whoever ended it: what it held is gone, and so is the fault.
            let signal = std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or_default();
            counted.insert("ended_by_signal".into(), signal.unsigned_abs().into());
        }
        Counters { counted, ..Counters::default() }
    }
}
