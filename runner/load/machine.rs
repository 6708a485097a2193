//! What the generator's machine had to spare while it ran, as the kernel tells it.
//!
//! Looked at about once a second by the collecting thread, never by those that send. What the kernel does
//! not tell (another system, a restricted `/proc`) is not known, and said to be.

use std::fs;

use crate::event::Headroom;

/// What was seen so far.
#[derive(Debug)]
pub struct Machine {
    first: Option<Ticks>,
    last: Option<Ticks>,
    open_files: u64,
    ports: u64,
}

/// The machine's CPU time in ticks, from `/proc/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    stolen: u64,
    all: u64,
}

impl Machine {
    /// Begins to watch.
    pub fn watch() -> Self {
        let first = fs::read_to_string("/proc/stat").ok().and_then(|text| ticks(&text));
        Self { first, last: first, open_files: 0, ports: 0 }
    }

    /// Looks again.
    pub fn look(&mut self) {
        if let Some(ticks) = fs::read_to_string("/proc/stat").ok().and_then(|text| ticks(&text)) {
            self.last = Some(ticks);
        }
        self.open_files = self.open_files.max(open_files().unwrap_or(0));
        let sockets = fs::read_to_string("/proc/net/sockstat").ok();
        self.ports = self.ports.max(sockets.and_then(|text| ports_in_use(&text)).unwrap_or(0));
    }

    /// The share of the machine's CPU time that its hypervisor gave to others; nothing if the kernel does
    /// not say or no time has passed.
    pub fn steal_ratio(&self) -> Option<f64> {
        let (first, last) = self.first.zip(self.last)?;
        let all = last.all.checked_sub(first.all).filter(|all| *all > 0)?;
        Some(last.stolen.saturating_sub(first.stolen) as f64 / all as f64)
    }

    /// The most files open at once, against this process's limit.
    pub fn open_files(&self) -> Option<Headroom> {
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        let limit = limit.split_whitespace().next()?.parse().ok()?;
        (self.open_files > 0).then_some(Headroom { most: self.open_files, limit })
    }

    /// The most ports taken by TCP connections of this machine, against those there are towards one address.
    pub fn ports(&self) -> Option<Headroom> {
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
        let mut ends = range.split_whitespace().map(str::parse::<u64>);
        let (from, to) = (ends.next()?.ok()?, ends.next()?.ok()?);
        (self.ports > 0).then_some(Headroom { most: self.ports, limit: to.checked_sub(from)? + 1 })
    }
}

/// The line of all CPUs: `cpu user nice system idle iowait irq softirq steal guest guest_nice`. Guests' time
/// is in that of their users already.
fn ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(Ticks { stolen: *fields.get(7)?, all: fields.iter().sum() })
}

/// Connections in use and those that still keep their port after their end, from `/proc/net/sockstat`.
fn ports_in_use(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let value = |name: &str| {
        words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1)?.parse::<u64>().ok())
    };
    Some(value("inuse")? + value("tw").unwrap_or(0))
}

/// How many files this process has open. Since Linux 6.2 the directory's size says so; before, its entries
/// are counted, which ten thousand connections make slow, but not for those who send.
fn open_files() -> Option<u64> {
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 {
        return Some(size);
    }
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_accounts_are_read() {
        let stat = "cpu  100 2 30 400 5 6 7 80 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n";
        assert_eq!(ticks(stat), Some(Ticks { stolen: 80, all: 630 }));
        assert_eq!(ticks("cpu  1 2 x"), None);
        let sockstat = "sockets: used 295\nTCP: inuse 21 orphan 0 tw 17 alloc 25 mem 2\nUDP: inuse 3 mem 1\n";
        assert_eq!(ports_in_use(sockstat), Some(38));
        assert_eq!(ports_in_use("UDP: inuse 3"), None);
    }

    #[test]
    fn open_files_are_counted_against_the_limit() {
        let mut machine = Machine::watch();
        machine.look();
        let before = machine.open_files().unwrap();
        let held: Vec<_> = (0..20).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        machine.look();
        let after = machine.open_files().unwrap();
        // Other tests of this process open and close files, too.
        assert!(after.most >= before.most && after.most >= held.len() as u64, "{after:?}");
        assert!(after.limit >= after.most);
    }

    #[test]
    fn stolen_time_is_a_share() {
        let ticks = |stolen, all| Some(Ticks { stolen, all });
        let machine = |first, last| Machine { first, last, open_files: 0, ports: 0 };
        assert_eq!(machine(ticks(10, 100), ticks(15, 200)).steal_ratio(), Some(0.05));
        assert_eq!(machine(ticks(10, 100), ticks(10, 100)).steal_ratio(), None);
        assert_eq!(machine(None, ticks(1, 2)).steal_ratio(), None);
    }
}
