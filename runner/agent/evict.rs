//! Ending the processes of a container that its daemon has lost: one that is killed while it starts a container takes it
//! for not running ever after, and can't start it again as long as what it started lives.
//!
//! Runs in the machine's own pid namespace, which nothing else of ours does, and only to heal. A container's processes
//! are known by their cgroup, whose name is the container's id.

use std::time::{Duration, Instant};

use super::processes::{self, Process};

/// How long the kernel may take to be done with processes that were killed.
const GONE: Duration = Duration::from_secs(5);
/// How often to look whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Hexadecimal digits of a container's id.
const ID_CHARS: usize = 64;

/// Kills whatever runs in the cgroup of container `id` and returns when it is gone; how many processes that were.
///
/// # Errors
/// `id` is none, or a process can't be killed; for people.
pub fn evict(id: &str) -> Result<usize, String> {
    if id.len() != ID_CHARS || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("`{}` is no container's id", id.escape_debug()));
    }
    let until = Instant::now() + GONE;
    let mut killed = 0;
    loop {
        let left = inside(id)?;
        if left.is_empty() {
            return Ok(killed);
        }
        if Instant::now() > until {
            return Err(format!("{} processes of container {id} do not end", left.len()));
        }
        for process in &left {
            process.signal(libc::SIGKILL)?;
        }
        killed = killed.max(left.len());
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The living processes in the container's cgroup.
fn inside(id: &str) -> Result<Vec<Process>, String> {
    let mut found = processes::everyone()?;
    found.retain(|process| {
        let cgroups = std::fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).unwrap_or_default();
        process.state != 'Z' && is_of(&cgroups, id)
    });
    Ok(found)
}

/// True if `/proc/PID/cgroup` says that the process is in the container's cgroup or below, as Docker's two drivers name
/// them: `docker/ID` and `docker-ID.scope`.
fn is_of(cgroups: &str, id: &str) -> bool {
    let scope = format!("docker-{id}.scope");
    cgroups.split(['/', '\n']).any(|part| part == id || part == scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_cgroup() {
        let id = "0123456789abcdef".repeat(4);
        for (cgroups, expected) in [
            (format!("0::/docker/{id}\n"), true),
            (format!("0::/../{id}/payload\n"), true),
            (format!("12:pids:/docker/{id}\n1:name=systemd:/docker/{id}\n"), true),
            (format!("0::/system.slice/docker-{id}.scope\n"), true),
            (format!("0::/docker/{id}0\n"), false),
            (format!("0::/docker/{}\n", &id[..12]), false),
            ("0::/\n".to_owned(), false),
        ] {
            assert_eq!(is_of(&cgroups, &id), expected, "{cgroups}");
        }
    }

    #[test]
    fn only_an_id_is_taken() {
        for text in ["", "web", &"0".repeat(63), &"g".repeat(64), "/"] {
            assert!(evict(text).is_err(), "{text}");
        }
    }
}
