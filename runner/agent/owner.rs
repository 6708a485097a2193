//! Acting as the user that a process belongs to, for a moment, in one thread.
//!
//! The kernel lets a user look at and limit processes of their own, without any privilege. So an agent that may become
//! other users needs nothing more (`CAP_SYS_RESOURCE` would do as well, but holds for much else). The saved ids stay
//! ours, by which the thread comes back.

use std::io;

/// While it lives, this thread acts as the owner of a process.
#[derive(Debug)]
pub struct Owner {
    /// The ids to come back to; nothing where they are the process's own.
    back: Option<(u32, u32)>,
}

impl Owner {
    /// Becomes the owner of process `pid`; nothing if it has ended.
    ///
    /// # Errors
    /// The kernel refuses, for people.
    pub fn of(pid: i32) -> Result<Option<Self>, String> {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return Ok(None) };
        let Some((uid, gid)) = real_ids(&status) else { return Ok(None) };
        // SAFETY: no pointers; these never fail.
        let (our_uid, our_gid) = unsafe { (libc::getuid(), libc::getgid()) };
        if (uid, gid) == (our_uid, our_gid) {
            return Ok(Some(Self { back: None }));
        }
        let owner = Self { back: Some((our_uid, our_gid)) };
        // The group first: who has become another user may not.
        set(libc::SYS_setresgid, gid, our_gid)
            .and_then(|()| set(libc::SYS_setresuid, uid, our_uid))
            .map_err(|error| format!("could not act as user {uid} and group {gid}: {error}"))?;
        Ok(Some(owner))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some((uid, gid)) = self.back {
            // From the saved ids, which are these, it is always allowed.
            let _ = set(libc::SYS_setresuid, uid, uid);
            let _ = set(libc::SYS_setresgid, gid, gid);
        }
    }
}

/// Sets the real and the effective id of this thread alone (the library's functions would set all threads').
fn set(call: libc::c_long, id: u32, saved: u32) -> io::Result<()> {
    // SAFETY: no pointers; concerns this thread alone.
    if unsafe { libc::syscall(call, id, id, saved) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The real user and group in `/proc/PID/status`.
fn real_ids(status: &str) -> Option<(u32, u32)> {
    let first = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some((first("Uid:")?, first("Gid:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_ids_are_the_first_of_their_lines() {
        let status = "Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t33\t0\t0\t0\n";
        assert_eq!(real_ids(status), Some((1000, 33)));
        assert_eq!(real_ids("Name:\tx\n"), None);
    }

    #[test]
    fn a_thread_comes_back_to_its_own_user() {
        // SAFETY: no pointers.
        if unsafe { libc::getuid() } != 0 {
            return;
        }
        let mut child = std::process::Command::new("sleep");
        let mut child = std::os::unix::process::CommandExt::uid(&mut child, 4711).arg("60").spawn().unwrap();
        // SAFETY: no pointers.
        let effective = || unsafe { libc::geteuid() };
        let owner = Owner::of(child.id().cast_signed()).unwrap();
        assert!(owner.is_some() && effective() == 4711);
        drop(owner);
        assert_eq!(effective(), 0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
