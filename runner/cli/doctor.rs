//! `chaos doctor`: what this machine can do, and for each thing it can't, how to mend it.
//!
//! Looks only; starts and changes nothing but a file in the state directory that it removes again. A
//! missing kernel mechanism is no failure while another engine does the job. Start at [`checks`], which is
//! pure; everything it goes by is gathered in [`Findings`].

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{print, runtime};
use crate::agent::wire::{Engine, Kernel};
use crate::docker::image::Image;
use crate::docker::{Docker, Facts};
use crate::error::{Error, Exit, Result};
use crate::halt::{self, Halt};
use crate::lab::compose;

/// The format of `--json`.
const SCHEMA: &str = "chaos.doctor/1";
/// A load of a few thousand requests a second against a system that stopped answering needs this many.
const OPEN_FILES: u64 = 10_240;
/// Clock sources that are read without a system call; others cost microseconds a reading.
const FAST_CLOCKS: [&str; 5] = ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen"];

/// Arguments of `chaos doctor`.
#[derive(clap::Args)]
pub struct Args {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// As it should be.
    Ok,
    /// Runs are possible, with less.
    Warn,
    /// No run is possible.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    outcome: Outcome,
    /// What was found.
    found: String,
    /// What mends it; a command where there is one.
    remedy: Option<String>,
}

/// Everything that was found out.
struct Findings {
    docker: Result<(Facts, String)>,
    /// Who has halted runs on the daemon.
    halt: Option<Halt>,
    /// Nothing: could not be tried, or the daemon's kernel is not this one.
    kernel: Option<Kernel>,
    image: std::io::Result<String>,
    compose: Option<String>,
    /// Soft and hard limit.
    open_files: (u64, u64),
    clock_source: Option<String>,
    timer_ns: u64,
    state_dir: (PathBuf, std::io::Result<()>),
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit> {
    let checks = checks(&runtime()?.block_on(gather()));
    let possible = checks.iter().all(|check| check.outcome != Outcome::Fail);
    if args.json {
        let report = serde_json::json!({ "schema": SCHEMA, "ok": possible, "checks": checks });
        print(&format!("{report:#}\n"))?;
    } else {
        print(&render(&checks))?;
    }
    Ok(if possible { Exit::Held } else { Exit::Environment })
}

async fn gather() -> Findings {
    let docker = async {
        let docker = Docker::connect().await?;
        Ok((docker.facts().await?, docker.endpoint().described()))
    };
    let docker: Result<(Facts, String)> = docker.await;
    let halt = async { halt::look(&Docker::connect().await?).await };
    let halt = if docker.is_ok() { halt.await.ok().flatten() } else { None };
    let same_kernel = docker.as_ref().is_ok_and(|(facts, _)| facts.local && facts.kernel == this_kernel());
    let image = tokio::task::spawn_blocking(|| Image::of(Path::new("/proc/self/exe")).map(|image| image.tag));
    let state_dir = crate::ledger::state_dir();
    Findings {
        docker,
        halt,
        kernel: if same_kernel { crate::agent::kernel::probe_kernel() } else { None },
        image: image.await.expect("making an image does not panic"),
        compose: compose::program().await.map(|program| program.join(" ")),
        open_files: open_files(),
        clock_source: std::fs::read_to_string(
            "/sys/devices/system/clocksource/clocksource0/current_clocksource",
        )
        .ok()
        .map(|name| name.trim().to_owned()),
        timer_ns: timer_ns(),
        state_dir: (state_dir.clone(), try_writing(&state_dir)),
    }
}

fn this_kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// Soft and hard limit of open files; 0 where they can't be read.
fn open_files() -> (u64, u64) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let mut numbers = line.split_whitespace().map(|field| field.parse().unwrap_or(u64::MAX));
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

/// How finely the monotonic clock, and so timers, can be set; in nanoseconds.
fn timer_ns() -> u64 {
    let mut resolution = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `resolution` is a valid timespec for the call to fill.
    let failed = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC, &raw mut resolution) };
    assert_eq!(failed, 0, "CLOCK_MONOTONIC exists on every Linux");
    resolution.tv_sec.unsigned_abs() * crate::units::NS_PER_S + resolution.tv_nsec.unsigned_abs()
}

fn try_writing(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let file = directory.join(format!(".doctor-{}", std::process::id()));
    let written = std::fs::File::create(&file).and_then(|file| file.sync_all());
    // One that could not be made need not be removed.
    let _ = std::fs::remove_file(&file);
    written
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Ok, found: found.into(), remedy: None }
    }

    fn bad(
        name: &'static str,
        outcome: Outcome,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name, outcome, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Every check, in the order in which they are printed.
fn checks(findings: &Findings) -> Vec<Check> {
    let mut checks = docker_checks(&findings.docker);
    checks.extend(findings.halt.as_ref().map(|halt| {
        let found = format!("halted by {} since {}", halt.by, halt.since);
        Check::bad("runs", Outcome::Fail, found, "once it is safe again: `chaos halt --release`")
    }));
    checks.push(match &findings.image {
        Ok(tag) => Check::ok("image", format!("{tag}, made from this program")),
        Err(error) => Check::bad(
            "image",
            Outcome::Fail,
            error.to_string(),
            "install this program anew and start it again",
        ),
    });
    checks.extend(kernel_checks(findings));
    checks.push(match &findings.compose {
        Some(program) => Check::ok("compose", format!("`{program}`")),
        None => Check::bad(
            "compose",
            Outcome::Warn,
            "not installed: `lab: {compose: …}` can't be used",
            "https://docs.docker.com/compose/install/linux/",
        ),
    });
    let (soft, hard) = findings.open_files;
    checks.push(if hard >= OPEN_FILES {
        Check::ok("open files", format!("{soft} now, up to {hard}"))
    } else {
        let remedy =
            format!("`ulimit -Hn {OPEN_FILES}` as root, or LimitNOFILE= of the service that starts this");
        Check::bad(
            "open files",
            Outcome::Warn,
            format!("at most {hard}: little for a system that hangs"),
            remedy,
        )
    });
    checks.push(clock_check(findings));
    let (directory, written) = &findings.state_dir;
    checks.push(match written {
        Ok(()) => Check::ok("state", format!("{} can be written", directory.display())),
        Err(error) => {
            let found = format!("{}: {error}", directory.display());
            Check::bad("state", Outcome::Fail, found, "set CHAOS_STATE_DIR to a directory you can write to")
        }
    });
    checks
}

fn docker_checks(docker: &Result<(Facts, String)>) -> Vec<Check> {
    match docker {
        Ok((facts, endpoint)) => vec![
            Check::ok("docker", format!("{}, API {}, at {endpoint}", facts.version, facts.api)),
            Check::ok("cgroup", format!("version {}", facts.cgroup)),
            Check::ok("storage", facts.storage_driver.clone()),
        ],
        Err(error) => {
            let mut found = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                found.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            let remedy = match error {
                Error::Failure { hint: Some(hint), .. } => hint.clone(),
                _ => "see `docker info`".to_owned(),
            };
            vec![Check::bad("docker", Outcome::Fail, found, remedy)]
        }
    }
}

/// The kernel's mechanisms, and the engine each fault would use.
fn kernel_checks(findings: &Findings) -> Vec<Check> {
    let Some(kernel) = &findings.kernel else {
        let local =
            findings.docker.as_ref().is_ok_and(|(facts, _)| facts.local && facts.kernel == this_kernel());
        let (found, remedy) = if local {
            ("its mechanisms can't be tried without root", "`sudo chaos doctor`; a run asks its agents")
        } else {
            (
                "not this machine's: only an agent there can tell",
                "run something; the journal names the engine",
            )
        };
        return vec![Check::bad("kernel", Outcome::Warn, found, remedy)];
    };
    let mechanism = |name, there: bool, remedy: &str| {
        if there {
            Check::ok(name, "there")
        } else {
            Check::bad(name, Outcome::Warn, "not in this kernel", remedy)
        }
    };
    let mut checks = vec![
        Check::ok("kernel", kernel.release.clone()),
        mechanism(
            "netem",
            kernel.netem,
            "`sudo modprobe sch_netem`; some distributions keep it in a package of extra modules",
        ),
        mechanism("ifb", kernel.ifb, "`sudo modprobe ifb`; needed by netem for packets coming in"),
        mechanism("nftables", kernel.nft, "`sudo modprobe nf_tables`"),
        mechanism(
            "nft owner",
            kernel.nft_owner,
            "Linux 5.12 or later; tables are then removed by the agent alone",
        ),
        mechanism("nft queue", kernel.nft_queue, "`sudo modprobe nft_queue`"),
        mechanism("xt queue", kernel.xt_queue, "`sudo modprobe xt_NFQUEUE nft_compat`"),
        mechanism("nfqueue", kernel.nfqueue, "`sudo modprobe nfnetlink_queue`"),
        mechanism("redirect", kernel.nft_redirect, "`sudo modprobe nft_nat nft_redir nft_ct`"),
        mechanism("conntrack", kernel.conntrack, "`sudo modprobe nf_conntrack_netlink`"),
        mechanism("sock diag", kernel.sock_diag, "`sudo modprobe tcp_diag`"),
        mechanism(
            "sock kill",
            kernel.sock_destroy,
            "a kernel with CONFIG_INET_DIAG_DESTROY; `reset` refuses connections without it",
        ),
    ];
    let packets = kernel.packet_engine();
    let rules = kernel.nft.then_some(Engine::Nft);
    let faults = [
        ("latency", packets),
        ("partition", rules),
        ("kill", Some(Engine::Docker)),
        ("pause", Some(Engine::Docker)),
        ("dns", kernel.dns_engine()),
        ("http", kernel.http_engine()),
    ];
    checks.extend(faults.map(|(fault, engine)| match engine {
        Some(engine) => Check::ok(fault, format!("by {}", engine.word())),
        None => {
            Check::bad(fault, Outcome::Warn, "nothing in this kernel can do it", "see the mechanisms above")
        }
    }));
    checks
}

fn clock_check(findings: &Findings) -> Check {
    let source = findings.clock_source.as_deref().unwrap_or("unknown");
    if findings.timer_ns > 1_000 {
        let found = format!("{source}, timers only every {} ns", findings.timer_ns);
        return Check::bad(
            "clock",
            Outcome::Warn,
            found,
            "a kernel with CONFIG_HIGH_RES_TIMERS, without `highres=off`",
        );
    }
    if FAST_CLOCKS.contains(&source) {
        return Check::ok("clock", format!("{source}, timers to {} ns", findings.timer_ns));
    }
    let found = format!("{source}: slow to read, which costs the generator accuracy");
    let remedy = "see /sys/devices/system/clocksource/clocksource0/available_clocksource; on bare metal boot with `tsc=reliable`";
    Check::bad("clock", Outcome::Warn, found, remedy)
}

/// One line a check, and the remedy below what needs one.
fn render(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let outcome = match check.outcome {
            Outcome::Ok => "ok",
            Outcome::Warn => "warn",
            Outcome::Fail => "FAIL",
        };
        text.push_str(&format!("{outcome:<5} {:<11} {}", check.name, check.found));
        if let Some(remedy) = &check.remedy {
            text.push_str(&format!("; mend: {remedy}"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        let facts = Facts {
            version: "20.10.24".into(),
            api: "1.41".into(),
            kernel: this_kernel(),
            cgroup: "2".into(),
            os: "Linux".into(),
            cpus: 2,
            storage_driver: "overlay2".into(),
            local: true,
        };
        Findings {
            docker: Ok((facts, "unix:///var/run/docker.sock".into())),
            halt: None,
            kernel: Some(Kernel {
                release: "6.18.0".into(),
                netem: false,
                ifb: true,
                nft: true,
                nft_owner: true,
                nft_queue: false,
                xt_queue: true,
                nfqueue: true,
                nft_redirect: true,
                conntrack: true,
                tbf: true,
                sock_diag: true,
                sock_destroy: true,
            }),
            image: Ok("chaos:0123456789ab".into()),
            compose: Some("docker compose".into()),
            open_files: (1024, 524_288),
            clock_source: Some("tsc".into()),
            timer_ns: 1,
            state_dir: ("/state".into(), Ok(())),
        }
    }

    #[test]
    fn a_machine_without_netem_is_fine() {
        insta::assert_snapshot!(render(&checks(&findings())), @r#"
    ok    docker      20.10.24, API 1.41, at unix:///var/run/docker.sock
    ok    cgroup      version 2
    ok    storage     overlay2
    ok    image       chaos:0123456789ab, made from this program
    ok    kernel      6.18.0
    warn  netem       not in this kernel; mend: `sudo modprobe sch_netem`; some distributions keep it in a package of extra modules
    ok    ifb         there
    ok    nftables    there
    ok    nft owner   there
    warn  nft queue   not in this kernel; mend: `sudo modprobe nft_queue`
    ok    xt queue    there
    ok    nfqueue     there
    ok    redirect    there
    ok    conntrack   there
    ok    sock diag   there
    ok    sock kill   there
    ok    latency     by nfqueue
    ok    partition   by nft
    ok    kill        by docker
    ok    pause       by docker
    ok    dns         by agent
    ok    http        by agent
    ok    compose     `docker compose`
    ok    open files  1024 now, up to 524288
    ok    clock       tsc, timers to 1 ns
    ok    state       /state can be written
    "#);
    }

    #[test]
    fn each_thing_that_is_wrong_has_a_remedy() {
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let bare = Kernel {
            ifb: false,
            nft: false,
            nft_owner: false,
            xt_queue: false,
            nfqueue: false,
            nft_redirect: false,
            conntrack: false,
            sock_diag: false,
            sock_destroy: false,
            ..findings().kernel.unwrap()
        };
        let wrong = Findings {
            docker: Err(Error::environment("no permission").because(denied()).hint("join the group")),
            halt: None,
            kernel: Some(bare),
            image: Err(denied()),
            compose: None,
            open_files: (1024, 4096),
            clock_source: Some("hpet".into()),
            timer_ns: 1,
            state_dir: ("/state".into(), Err(denied())),
        };
        let checks = checks(&wrong);
        insta::assert_snapshot!(render(&checks), @r#"
    FAIL  docker      no permission: permission denied; mend: join the group
    FAIL  image       permission denied; mend: install this program anew and start it again
    ok    kernel      6.18.0
    warn  netem       not in this kernel; mend: `sudo modprobe sch_netem`; some distributions keep it in a package of extra modules
    warn  ifb         not in this kernel; mend: `sudo modprobe ifb`; needed by netem for packets coming in
    warn  nftables    not in this kernel; mend: `sudo modprobe nf_tables`
    warn  nft owner   not in this kernel; mend: Linux 5.12 or later; tables are then removed by the agent alone
    warn  nft queue   not in this kernel; mend: `sudo modprobe nft_queue`
    warn  xt queue    not in this kernel; mend: `sudo modprobe xt_NFQUEUE nft_compat`
    warn  nfqueue     not in this kernel; mend: `sudo modprobe nfnetlink_queue`
    warn  redirect    not in this kernel; mend: `sudo modprobe nft_nat nft_redir nft_ct`
    warn  conntrack   not in this kernel; mend: `sudo modprobe nf_conntrack_netlink`
    warn  sock diag   not in this kernel; mend: `sudo modprobe tcp_diag`
    warn  sock kill   not in this kernel; mend: a kernel with CONFIG_INET_DIAG_DESTROY; `reset` refuses connections without it
    warn  latency     nothing in this kernel can do it; mend: see the mechanisms above
    warn  partition   nothing in this kernel can do it; mend: see the mechanisms above
    ok    kill        by docker
    ok    pause       by docker
    warn  dns         nothing in this kernel can do it; mend: see the mechanisms above
    warn  http        nothing in this kernel can do it; mend: see the mechanisms above
    warn  compose     not installed: `lab: {compose: …}` can't be used; mend: https://docs.docker.com/compose/install/linux/
    warn  open files  at most 4096: little for a system that hangs; mend: `ulimit -Hn 10240` as root, or LimitNOFILE= of the service that starts this
    warn  clock       hpet: slow to read, which costs the generator accuracy; mend: see /sys/devices/system/clocksource/clocksource0/available_clocksource; on bare metal boot with `tsc=reliable`
    FAIL  state       /state: permission denied; mend: set CHAOS_STATE_DIR to a directory you can write to
    "#);
        assert!(checks.iter().all(|check| check.outcome == Outcome::Ok || check.remedy.is_some()));
    }

    #[test]
    fn says_that_runs_are_halted() {
        let halt = Halt { by: "ann@desk".into(), since: "2026-01-02T03:04:05Z".into() };
        let checks = checks(&Findings { halt: Some(halt), ..findings() });
        let halted: Vec<_> = checks.into_iter().filter(|check| check.name == "runs").collect();
        insta::assert_snapshot!(render(&halted), @"FAIL  runs        halted by ann@desk since 2026-01-02T03:04:05Z; mend: once it is safe again: `chaos halt --release`");
    }

    #[test]
    fn says_when_it_could_not_look_into_the_kernel() {
        let mut unknown = Findings { kernel: None, timer_ns: 4_000_000, ..findings() };
        let line = |findings: &Findings, name: &str| {
            let found: Vec<_> = checks(findings).into_iter().filter(|check| check.name == name).collect();
            render(&found)
        };
        insta::assert_snapshot!(line(&unknown, "kernel") + &line(&unknown, "clock"), @r#"
    warn  kernel      its mechanisms can't be tried without root; mend: `sudo chaos doctor`; a run asks its agents
    warn  clock       tsc, timers only every 4000000 ns; mend: a kernel with CONFIG_HIGH_RES_TIMERS, without `highres=off`
    "#);
        if let Ok((facts, _)) = &mut unknown.docker {
            facts.local = false;
        }
        insta::assert_snapshot!(line(&unknown, "kernel"), @r#"
    warn  kernel      not this machine's: only an agent there can tell; mend: run something; the journal names the engine
    "#);
    }
}
