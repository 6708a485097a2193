//! The target's cgroup as an agent sees it: its limits and counters, and the doors by which to enter it.
//!
//! Version 1 has a hierarchy for each kind of limit, version 2 one for all of them. The agent's container mounts
//! what it may read of each under [`AT`] as `cpu`, `memory`, …, and the one file that it may write as `join-cpu`,
//! `join-memory`, …. Everything is read anew each time: limits change.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where the target's cgroup is mounted in an agent's container.
pub const AT: &str = "/target-cgroup";
/// The hierarchies of version 1 that matter here.
pub const HIERARCHIES: [&str; 6] = ["cpu", "cpuacct", "cpuset", "memory", "blkio", "pids"];
/// What the one hierarchy of version 2 is called here.
pub const UNIFIED: &str = "unified";
/// The limits on devices that an agent may write, by the names of their files: version 1, and version 2.
pub const IO_LIMITS: [&str; 2] = ["blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device"];
/// See [`IO_LIMITS`].
pub const UNIFIED_IO_LIMITS: [&str; 1] = ["io.max"];
/// A memory limit from here on is none: version 1 says "no limit" by a huge number.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// Under `at`, the folder with a hierarchy's files, to be read.
pub fn view(at: &Path, hierarchy: &str) -> PathBuf {
    at.join(hierarchy)
}

/// Under `at`, the file that takes a process into the target's cgroup of a hierarchy.
pub fn door(at: &Path, hierarchy: &str) -> PathBuf {
    at.join(format!("join-{hierarchy}"))
}

/// Under `at`, a limit that may be written.
pub fn lever(at: &Path, file: &str) -> PathBuf {
    at.join(format!("set-{file}"))
}

/// What may be read from a device and written to it, in bytes a second; nothing: as much as it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoLimits {
    /// From it.
    pub read: Option<u64>,
    /// To it.
    pub write: Option<u64>,
}

/// The target's cgroup.
#[derive(Clone, Debug)]
pub struct Cgroup {
    at: PathBuf,
    unified: bool,
}

impl Cgroup {
    /// The one that this agent's container mounts.
    ///
    /// # Errors
    /// It mounts none, for people.
    pub fn of_target() -> Result<Self, String> {
        Self::mounted_at(AT.as_ref())
    }

    /// The one mounted at `at`.
    ///
    /// # Errors
    /// There is none, for people.
    pub fn mounted_at(at: &Path) -> Result<Self, String> {
        let unified = view(at, UNIFIED).exists();
        if unified || view(at, HIERARCHIES[0]).exists() {
            return Ok(Self { at: at.into(), unified });
        }
        Err(format!("the target's cgroup is not to be seen at {}", at.display()))
    }

    /// Takes this process, all threads of it, into the target's cgroup of these hierarchies of version 1; into
    /// the one there is with version 2.
    ///
    /// # Errors
    /// The kernel refuses, for people.
    pub fn enter(&self, hierarchies: &[&str]) -> Result<(), String> {
        let hierarchies = if self.unified { &[UNIFIED][..] } else { hierarchies };
        for hierarchy in hierarchies {
            let door = door(&self.at, hierarchy);
            // Zero is whoever writes it.
            fs::write(&door, "0")
                .map_err(|error| format!("could not enter the target's cgroup ({hierarchy}): {error}"))?;
        }
        Ok(())
    }

    /// CPU time that everything in it has used, in nanoseconds.
    pub fn cpu_ns(&self) -> Option<u64> {
        if self.unified {
            return Some(self.keyed("cpu", "cpu.stat", "usage_usec")? * 1_000);
        }
        self.number("cpuacct", "cpuacct.usage")
    }

    /// Periods in which the quota ran out.
    pub fn throttled_periods(&self) -> Option<u64> {
        self.keyed("cpu", "cpu.stat", "nr_throttled")
    }

    /// The CPU it may use, in cores; nothing where there is no quota.
    pub fn quota_cores(&self) -> Option<f64> {
        let (quota, period) = if self.unified {
            let text = self.text("cpu", "cpu.max")?;
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.to_owned(), period.to_owned())
        } else {
            (self.text("cpu", "cpu.cfs_quota_us")?, self.text("cpu", "cpu.cfs_period_us")?)
        };
        let quota: f64 = quota.trim().parse().ok()?;
        let period: f64 = period.trim().parse().ok()?;
        (quota > 0.0 && period > 0.0).then(|| quota / period)
    }

    /// The memory it may use, in bytes; nothing where there is no limit.
    pub fn memory_limit_bytes(&self) -> Option<u64> {
        let file = if self.unified { "memory.max" } else { "memory.limit_in_bytes" };
        self.number("memory", file).filter(|limit| *limit < NO_LIMIT_BYTES)
    }

    /// The memory in use, in bytes, without file pages that nobody has asked for lately: those the kernel takes
    /// back before it runs short. What `docker stats` shows.
    pub fn memory_bytes(&self) -> Option<u64> {
        let (usage, idle) = if self.unified {
            ("memory.current", "inactive_file")
        } else {
            ("memory.usage_in_bytes", "total_inactive_file")
        };
        let idle = self.keyed("memory", "memory.stat", idle)?;
        Some(self.number("memory", usage)?.saturating_sub(idle))
    }

    /// Processes in it that the kernel killed for lack of memory.
    pub fn oom_kills(&self) -> Option<u64> {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        self.keyed("memory", file, "oom_kill")
    }

    /// Bytes read from devices and written to them, together.
    pub fn io_bytes(&self) -> Option<u64> {
        if !self.unified {
            return self.keyed("blkio", "blkio.throttle.io_service_bytes", "Total");
        }
        // A line for each device: `8:0 rbytes=1 wbytes=2 …`.
        let text = self.text("io", "io.stat")?;
        let words = text.split_whitespace();
        let bytes = words.filter_map(|word| word.strip_prefix("rbytes=").or(word.strip_prefix("wbytes=")));
        Some(bytes.filter_map(|number| number.parse::<u64>().ok()).sum())
    }

    /// Processes and threads in it.
    pub fn pids(&self) -> Option<u64> {
        self.number("pids", "pids.current")
    }

    /// The most processes and threads it may have; nothing where there is no limit.
    pub fn pids_limit(&self) -> Option<u64> {
        self.number("pids", "pids.max")
    }

    /// The limits on `device` (`8:0`).
    ///
    /// # Errors
    /// The kernel has none, for people.
    pub fn io_limits(&self, device: &str) -> Result<IoLimits, String> {
        const MISSING: &str = "this kernel limits no I/O (CONFIG_BLK_DEV_THROTTLING)";
        if !self.unified {
            let [read, write] = IO_LIMITS.map(|file| {
                self.text("blkio", file).ok_or(MISSING)?;
                Ok::<_, String>(self.keyed("blkio", file, device))
            });
            return Ok(IoLimits { read: read?, write: write? });
        }
        let text = self.text("io", UNIFIED_IO_LIMITS[0]).ok_or(MISSING)?;
        let line = text.lines().find_map(|line| line.strip_prefix(device)?.strip_prefix(' '));
        let of = |key: &str| line?.split(' ').find_map(|word| word.strip_prefix(key)?.parse().ok());
        Ok(IoLimits { read: of("rbps="), write: of("wbps=") })
    }

    /// Writes the limits on `device`.
    ///
    /// # Errors
    /// The kernel refuses, for people.
    pub fn set_io_limits(&self, device: &str, limits: IoLimits) -> Result<(), String> {
        let put = |file: &str, line: String| {
            fs::write(lever(&self.at, file), &line)
                .map_err(|error| format!("could not write `{line}` to the target's {file}: {error}"))
        };
        if self.unified {
            let text = |limit: Option<u64>| limit.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string());
            let line = format!("{device} rbps={} wbps={}", text(limits.read), text(limits.write));
            return put(UNIFIED_IO_LIMITS[0], line);
        }
        // Each is attempted whatever becomes of the other; zero is none.
        let [read, write] = [(IO_LIMITS[0], limits.read), (IO_LIMITS[1], limits.write)]
            .map(|(file, limit)| put(file, format!("{device} {}", limit.unwrap_or_default())));
        read.and(write)
    }

    fn text(&self, hierarchy: &str, file: &str) -> Option<String> {
        let hierarchy = if self.unified { UNIFIED } else { hierarchy };
        fs::read_to_string(view(&self.at, hierarchy).join(file)).ok()
    }

    fn number(&self, hierarchy: &str, file: &str) -> Option<u64> {
        self.text(hierarchy, file)?.trim().parse().ok()
    }

    /// The number behind `key` in a file of a pair a line.
    fn keyed(&self, hierarchy: &str, file: &str, key: &str) -> Option<u64> {
        let text = self.text(hierarchy, file)?;
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let cgroup = Cgroup::mounted_at(folder.path()).unwrap();
        (folder, cgroup)
    }

    #[test]
    fn both_versions_say_the_same() {
        let (_one, one) = made(&[
            ("cpu/cpu.cfs_quota_us", "50000\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("cpu/cpu.stat", "nr_periods 9\nnr_throttled 3\nthrottled_time 7\n"),
            ("cpuacct/cpuacct.usage", "7000\n"),
            ("memory/memory.limit_in_bytes", "1000\n"),
            ("memory/memory.usage_in_bytes", "700\n"),
            ("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 200\n"),
            ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            ("blkio/blkio.throttle.io_service_bytes", "8:0 Read 3\n8:0 Write 4\nTotal 7\n"),
            ("pids/pids.current", "4\n"),
            ("pids/pids.max", "max\n"),
        ]);
        let (_two, two) = made(&[
            ("unified/cpu.max", "50000 100000\n"),
            ("unified/cpu.stat", "usage_usec 7\nnr_throttled 3\n"),
            ("unified/memory.max", "1000\n"),
            ("unified/memory.current", "700\n"),
            ("unified/memory.stat", "anon 500\ninactive_file 200\n"),
            ("unified/memory.events", "oom 2\noom_kill 2\n"),
            ("unified/io.stat", "8:0 rbytes=3 wbytes=4 rios=1 wios=1\n"),
            ("unified/pids.current", "4\n"),
            ("unified/pids.max", "max\n"),
        ]);
        for cgroup in [one, two] {
            assert_eq!(cgroup.quota_cores(), Some(0.5));
            assert_eq!(cgroup.cpu_ns(), Some(7_000));
            assert_eq!(cgroup.throttled_periods(), Some(3));
            assert_eq!((cgroup.memory_limit_bytes(), cgroup.memory_bytes()), (Some(1_000), Some(500)));
            assert_eq!((cgroup.oom_kills(), cgroup.io_bytes()), (Some(2), Some(7)));
            assert_eq!((cgroup.pids(), cgroup.pids_limit()), (Some(4), None));
        }
    }

    #[test]
    fn limits_on_devices_are_read_and_written_in_both_versions() {
        let had = IoLimits { read: None, write: Some(7) };
        let asked = IoLimits { read: Some(9), write: None };
        let (folder, one) = made(&[
            ("cpu/cpu.stat", ""),
            ("blkio/blkio.throttle.read_bps_device", "8:16 5\n"),
            ("blkio/blkio.throttle.write_bps_device", "8:16 5\n8:0 7\n"),
        ]);
        assert_eq!(one.io_limits("8:0"), Ok(had));
        one.set_io_limits("8:0", asked).unwrap();
        let written =
            |folder: &tempfile::TempDir, file: &str| fs::read_to_string(lever(folder.path(), file)).unwrap();
        assert_eq!(IO_LIMITS.map(|file| written(&folder, file)), ["8:0 9", "8:0 0"]);
        let (folder, two) =
            made(&[("unified/io.max", "8:16 rbps=5 wbps=5\n8:0 rbps=max wbps=7 riops=max wiops=max\n")]);
        assert_eq!(two.io_limits("8:0"), Ok(had));
        assert_eq!(two.io_limits("8:32"), Ok(IoLimits::default()));
        two.set_io_limits("8:0", asked).unwrap();
        assert_eq!(written(&folder, "io.max"), "8:0 rbps=9 wbps=max");
    }

    #[test]
    fn no_limit_is_none() {
        let (_folder, one) = made(&[
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!((one.quota_cores(), one.memory_limit_bytes()), (None, None));
        let (_folder, two) = made(&[("unified/cpu.max", "max 100000\n"), ("unified/memory.max", "max\n")]);
        assert_eq!((two.quota_cores(), two.memory_limit_bytes()), (None, None));
    }
}
