//! Processes of a pid namespace, by `/proc`.
//!
//! A process is known by its id and the instant it was started, so that a signal never reaches another that
//! took its number since.

use std::fs;

/// A process as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id in this pid namespace.
    pub pid: i32,
    /// The kernel's name of it: at most 15 bytes.
    pub name: String,
    /// The base name of its command line's first word; empty for kernel threads and zombies.
    pub program: String,
    /// The kernel's letter for its state: `R`, `S`, `D`, `T`, `t`, `Z`, ….
    pub state: char,
    /// When it was started, in clock ticks since boot.
    pub started: u64,
    /// The id of its parent; 0: none in this pid namespace.
    pub parent: i32,
}

impl Process {
    /// Stopped by a signal, until another lets it go on.
    pub const fn is_stopped(&self) -> bool {
        self.state == 'T'
    }

    /// Sends a signal. One that has ended is no error.
    ///
    /// # Errors
    /// The kernel refused, for people.
    pub fn signal(&self, signal: i32) -> Result<(), String> {
        if look(self.pid).is_none_or(|now| now.started != self.started) {
            return Ok(());
        }
        // SAFETY: no pointers.
        if unsafe { libc::kill(self.pid, signal) } == 0 {
            return Ok(());
        }
        let error = std::io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::ESRCH) {
            return Ok(());
        }
        Err(format!("could not send signal {signal} to process {} ({}): {error}", self.pid, self.name))
    }
}

/// The living processes called so, ourselves left out; sorted by id.
///
/// # Errors
/// `/proc` can't be read, for people.
pub fn named(names: &[String]) -> Result<Vec<Process>, String> {
    let mut found = all()?;
    found.retain(|process| {
        let called = |name: &String| {
            // The kernel keeps 15 bytes of a name.
            process.program == *name || process.name == name[..name.floor_char_boundary(15)]
        };
        process.state != 'Z' && names.iter().any(called)
    });
    Ok(found)
}

/// Every process of this pid namespace but ourselves and other agents' processes, sorted by id.
///
/// # Errors
/// `/proc` can't be read, for people.
pub fn all() -> Result<Vec<Process>, String> {
    let mut found = everyone()?;
    found.retain(|process| !is_agents(process.pid));
    Ok(found)
}

/// True of agents and their hands, by their command line.
fn is_agents(pid: i32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0).skip(1);
    words.next() == Some(b"inside") && matches!(words.next(), Some(b"agent" | b"hand"))
}

/// Every process of this pid namespace but ourselves, sorted by id.
///
/// # Errors
/// `/proc` can't be read, for people.
pub fn everyone() -> Result<Vec<Process>, String> {
    let own = std::process::id().cast_signed();
    let entries = fs::read_dir("/proc").map_err(|error| format!("could not read /proc: {error}"))?;
    let mut pids: Vec<i32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .collect();
    pids.sort_unstable();
    // One that ends between the two looks is not there.
    Ok(pids.into_iter().filter_map(look).collect())
}

/// One process; nothing if there is none with this id.
pub fn look(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let first = command.split(|byte| *byte == 0).next().unwrap_or_default();
    let base = first.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    parse(pid, &stat, &String::from_utf8_lossy(base))
}

/// True if the process does something of its own on this signal. The kernel delivers no other to the first
/// process of its namespace from within.
pub fn handles(pid: i32, signal: u8) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    (1..=64).contains(&signal) && mask & (1 << (signal - 1)) != 0
}

/// Reads `/proc/PID/stat`: the name stands in brackets and may hold anything, brackets included.
fn parse(pid: i32, stat: &str, program: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1;
    let mut fields = tail.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // Fields 4 and 22 of the line; the state is field 3.
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Process { pid, name: name.into(), program: program.into(), state, started, parent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_anything() {
        let line = "7 (a) T (b) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 9 9";
        let process = parse(7, line, "a").unwrap();
        assert_eq!((process.name.as_str(), process.state, process.started), ("a) T (b", 'S', 4711));
        assert_eq!(process.parent, 1);
        assert_eq!(parse(7, "7 (cut", "a"), None);
    }

    #[test]
    fn a_process_is_found_by_its_name_and_stopped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().cast_signed();
        let ours = |process: &Process| process.pid == pid;
        // It bears our name until it has become `sleep`; spawning returns after that.
        let found = named(&["sleep".into()]).unwrap().into_iter().find(ours).unwrap();
        found.signal(libc::SIGSTOP).unwrap();
        let mut status = 0;
        // SAFETY: `status` outlives the call, which returns when the child has stopped.
        unsafe { libc::waitpid(pid, &raw mut status, libc::WUNTRACED) };
        assert!(look(pid).unwrap().is_stopped());
        let other = Process { started: found.started + 1, ..found.clone() };
        other.signal(libc::SIGKILL).unwrap();
        assert!(look(pid).unwrap().is_stopped(), "another process of that number is left alone");
        child.kill().unwrap();
        child.wait().unwrap();
        found.signal(libc::SIGCONT).unwrap();
    }
}
