//! Letting the target have less of a device: the kernel's own limits of its cgroup, for the disk that a folder of the
//! target's lies on.
//!
//! Docker's API sets these limits when a container is made and never again, so the agent writes them: of all that the
//! target's cgroup has, it may write to these files alone. They outlive their writer, so what stood there is found
//! before anything is changed ([`Work::find`]), and stands in the ledger when it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Capability, DAC_OVERRIDE, Place, SYS_PTRACE, Task, TaskKind, Work};
use crate::agent::cgroup::{Cgroup, IoLimits};
use crate::agent::folder::{Backing, Folder};
use crate::agent::wire::Counters;
use crate::clock::mono_ns;
use crate::spec::amount::ByteRate;

/// Lowers how much the target may read from a disk, and write to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// A folder on the disk, as the target names it.
    pub path: String,
    /// The most to read; nothing: as much as before.
    pub read: Option<ByteRate>,
    /// The most to write; nothing: as much as before.
    pub write: Option<ByteRate>,
    /// What it was; nothing until it is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Former>,
}

/// The limits of a disk, as they were found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// The disk's number, `8:0`.
    pub device: String,
    /// What it may read and write.
    pub limits: IoLimits,
}

impl Throttle {
    fn find(&self) -> Result<(Cgroup, Former), String> {
        let folder = Folder::open(&self.path)?;
        let device = match folder.backing()? {
            Backing::Disk(device) => device,
            Backing::Layer => layers_disk()?,
            Backing::Other(what) => {
                return Err(format!(
                    "`{}` of the target lies on no disk of its own ({what}): name a folder of a volume",
                    self.path
                ));
            }
        };
        let (device, cgroup) = (whole_disk(&device), Cgroup::of_target()?);
        let limits = cgroup.io_limits(&device)?;
        Ok((cgroup, Former { device, limits }))
    }

    /// What is to hold on top of what did.
    fn lowered(&self, former: IoLimits) -> IoLimits {
        IoLimits {
            read: self.read.map(ByteRate::bytes_per_s).or(former.read),
            write: self.write.map(ByteRate::bytes_per_s).or(former.write),
        }
    }
}

/// The disk that the container's own layer lies on: where Docker keeps the files that it mounts into each container.
fn layers_disk() -> Result<String, String> {
    match Folder::open_file("/etc/hostname")?.backing()? {
        Backing::Disk(device) => Ok(device),
        _ => {
            Err("it can't be told which disk the container's own files lie on: name a folder of a volume"
                .into())
        }
    }
}

/// Limits are of whole disks: the disk that a partition is a part of.
fn whole_disk(device: &str) -> String {
    let entry = Path::new("/sys/dev/block").join(device);
    let parent = fs::canonicalize(&entry).ok().filter(|path| path.join("partition").exists());
    let whole = parent.and_then(|path| fs::read_to_string(path.parent()?.join("dev")).ok());
    whole.map_or_else(|| device.to_owned(), |number| number.trim().to_owned())
}

impl TaskKind for Throttle {
    fn place(&self) -> Place {
        Place::Devices
    }

    fn capabilities(&self) -> &'static [Capability] {
        // To see the target's files.
        &[DAC_OVERRIDE, SYS_PTRACE]
    }

    fn has_gap(&self) -> bool {
        true
    }

    fn stage(&self, _: &str) -> Result<Box<dyn Work>, String> {
        let (cgroup, former) = self.find()?;
        let less = |asked: Option<ByteRate>, has: Option<u64>| {
            asked.zip(has).is_some_and(|(asked, has)| has <= asked.bytes_per_s())
        };
        if less(self.read, former.limits.read) || less(self.write, former.limits.write) {
            return Err(format!("the target may do no more than that on disk {} already", former.device));
        }
        let throttled = Throttled { task: self.clone(), cgroup, former, fired: None };
        Ok(Box::new(throttled))
    }

    fn restore(&self, _: &str) -> Result<u32, String> {
        let Some(former) = &self.former else { return Ok(0) };
        restore(&Cgroup::of_target()?, former, self.lowered(former.limits))
    }

    fn summary(&self) -> String {
        let read = self.read.map(|rate| format!("read {rate}"));
        let write = self.write.map(|rate| format!("write {rate}"));
        let both: Vec<String> = read.into_iter().chain(write).collect();
        format!("let it {} at most on the disk of {}", both.join(" and "), self.path)
    }
}

/// Writes back what was found, unless somebody else has changed it since. How many limits.
fn restore(cgroup: &Cgroup, former: &Former, lowered: IoLimits) -> Result<u32, String> {
    if cgroup.io_limits(&former.device)? != lowered {
        return Ok(0);
    }
    cgroup.set_io_limits(&former.device, former.limits)?;
    Ok(1)
}

/// The work of throttling.
#[derive(Debug)]
struct Throttled {
    task: Throttle,
    cgroup: Cgroup,
    former: Former,
    /// When, and how many bytes had gone by then.
    fired: Option<(u64, u64)>,
}

impl Work for Throttled {
    fn find(&mut self) -> Result<Option<Task>, String> {
        let (_, former) = self.task.find()?;
        self.former = former.clone();
        Ok(Some(Task::Throttle(Throttle { former: Some(former), ..self.task.clone() })))
    }

    fn fire(&mut self) -> Result<(), String> {
        self.fired = Some((mono_ns(), self.cgroup.io_bytes().unwrap_or_default()));
        self.cgroup.set_io_limits(&self.former.device, self.task.lowered(self.former.limits))
    }

    fn undo(&mut self) -> bool {
        if self.fired.is_none() {
            return true;
        }
        restore(&self.cgroup, &self.former, self.task.lowered(self.former.limits)).is_ok()
            && self.cgroup.io_limits(&self.former.device) == Ok(self.former.limits)
    }

    fn counters(&mut self) -> Counters {
        let Some((at_ns, before)) = self.fired else { return Counters::default() };
        let lowered = self.task.lowered(self.former.limits);
        let in_force = self.cgroup.io_limits(&self.former.device) == Ok(lowered);
        let counted = BTreeMap::from([
            ("in_force".into(), in_force.into()),
            ("effect_ms".into(), (mono_ns() - at_ns) / 1_000_000),
            ("target_io_bytes".into(), self.cgroup.io_bytes().unwrap_or_default().saturating_sub(before)),
        ]);
        Counters { counted, ..Counters::default() }
    }
}
