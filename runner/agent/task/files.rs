//! Leaving the target's processes no room for open files: the kernel's own limit of each, lowered.
//!
//! A process can't be made to open files from outside, but its limit can be lowered while it runs, and that is the
//! same to it: the next `open`, `accept` or `socket` fails with EMFILE. Only the soft limit is lowered, so that
//! writing it back takes no privilege at all; a process that raises its own again is lowered again.
//!
//! Nothing here vanishes with its owner. What each process had is therefore found before anything is changed
//! ([`Work::find`]), and stands in the ledger when it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::watching::Watching;
use super::{Capability, Place, SETGID, SETUID, Task, TaskKind, Work};
use crate::agent::owner::Owner;
use crate::agent::processes::{self, Process};
use crate::agent::wire::Counters;

/// How often to look for processes that are new, and for those that raised their limit.
const WATCH_EVERY: Duration = Duration::from_millis(20);
/// Looks for processes that are forked while others get their limit back; each finds fewer.
const PASSES: usize = 8;

/// Lowers how many files each process may have open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// What they may have.
    pub room: Room,
    /// What they had; empty until it is found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Former>,
}

/// How many files a process may have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Room {
    /// Descriptors below this number, all together.
    Limit(u32),
    /// So many more than it has.
    Leave(u32),
}

/// A process and its limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Its id in its pid namespace.
    pub pid: i32,
    /// When it was started, in clock ticks since boot.
    pub started: u64,
    /// What its soft limit was.
    pub soft: u64,
    /// What it is to be.
    pub lowered: u64,
}

impl Former {
    fn is_of(&self, process: &Process) -> bool {
        (self.pid, self.started) == (process.pid, process.started)
    }
}

impl TaskKind for Files {
    fn place(&self) -> Place {
        Place::Processes
    }

    fn capabilities(&self) -> &'static [Capability] {
        // Each process's limit is changed as its own user, who may.
        &[SETGID, SETUID]
    }

    fn has_gap(&self) -> bool {
        true
    }

    fn stage(&self, _: &str) -> Result<Box<dyn Work>, String> {
        let mut book = Book::new(self.room);
        book.find()?;
        if book.entries.is_empty() {
            let what = match self.room {
                Room::Limit(most) => format!("may have more than {most} files open"),
                Room::Leave(_) => "could be reached".into(),
            };
            return Err(format!("no process there {what}"));
        }
        Ok(Box::new(Scarcity { book: Arc::new(Mutex::new(book)), watch: None }))
    }

    fn restore(&self, _: &str) -> Result<u32, String> {
        let mut book = Book { entries: self.former.clone(), ..Book::new(self.room) };
        book.restore()
    }

    fn summary(&self) -> String {
        match self.room {
            Room::Limit(most) => format!("let each process have at most {most} files open"),
            Room::Leave(0) => "let no process open another file".into(),
            Room::Leave(more) => format!("let each process open {more} more files"),
        }
    }
}

/// Whose limit was what, and what was seen.
#[derive(Debug)]
struct Book {
    room: Room,
    entries: Vec<Former>,
    counted: Counted,
}

#[derive(Debug, Default)]
struct Counted {
    /// Looks at which some process had no number left.
    full_looks: u64,
    /// Processes that were seen so.
    full: BTreeSet<i32>,
    /// The fewest numbers that any process had left.
    least_left: Option<u64>,
    /// Times that a process had raised its limit by itself.
    raised: u64,
    /// Processes that came while it was in effect.
    came: u64,
    /// Processes that can't be reached.
    unreached: BTreeSet<i32>,
}

impl Book {
    fn new(room: Room) -> Self {
        Self { room, entries: Vec::new(), counted: Counted::default() }
    }

    /// Looks what each process has now, and what it is to have.
    fn find(&mut self) -> Result<(), String> {
        self.entries.clear();
        let mut refused = None;
        for process in living()? {
            match self.entry(&process) {
                Ok(entry) => self.entries.extend(entry),
                Err(why) => refused = Some(why),
            }
        }
        // Some can't be reached; that none can has a reason.
        refused.filter(|_| self.entries.is_empty()).map_or(Ok(()), Err)
    }

    /// What a process is to have; nothing for one that has less already, or has ended.
    fn entry(&self, process: &Process) -> Result<Option<Former>, String> {
        let Some(soft) = soft_limit(process)? else { return Ok(None) };
        let lowered = match self.room {
            Room::Limit(most) => u64::from(most),
            Room::Leave(more) => match open_numbers(process)? {
                Some(open) => free_numbers(&open).nth(more as usize).unwrap_or(u64::MAX),
                None => return Ok(None),
            },
        };
        let Process { pid, started, .. } = *process;
        Ok((lowered < soft).then_some(Former { pid, started, soft, lowered }))
    }

    /// Lowers whatever is not; of processes that came meanwhile too.
    fn lower(&mut self) -> Result<(), String> {
        let all = living()?;
        self.adopt(&all);
        for process in &all {
            let Some(entry) = self.entries.iter().find(|entry| entry.is_of(process)) else { continue };
            match soft_limit(process) {
                Ok(Some(soft)) if soft > entry.lowered => {
                    self.counted.raised += u64::from(soft != entry.soft);
                    if set_soft_limit(process, entry.lowered).is_err() {
                        self.counted.unreached.insert(process.pid);
                    }
                }
                Ok(_) => {}
                Err(_) => drop(self.counted.unreached.insert(process.pid)),
            }
        }
        Ok(())
    }

    /// Enters processes that came meanwhile: with what their parent had, if they have its limit, by birth; with
    /// what they have themselves, otherwise.
    fn adopt(&mut self, all: &[Process]) {
        for process in all {
            if self.entries.iter().any(|entry| entry.is_of(process)) {
                continue;
            }
            let Ok(Some(soft)) = soft_limit(process) else { continue };
            let inherited = ancestor(&self.entries, all, process).filter(|known| known.lowered == soft);
            let Process { pid, started, .. } = *process;
            let entry = match (inherited, self.room) {
                (Some(known), _) => Some(Former { pid, started, ..known.clone() }),
                // Of one that came from elsewhere nobody could tell afterwards what it had.
                (None, Room::Leave(_)) => None,
                (None, Room::Limit(_)) => self.entry(process).ok().flatten(),
            };
            self.counted.came += u64::from(entry.is_some());
            self.entries.extend(entry);
        }
    }

    /// Looks who has no number left.
    fn look(&mut self) {
        let Ok(all) = living() else { return };
        let mut full = false;
        for process in all.iter().filter(|process| self.entries.iter().any(|entry| entry.is_of(process))) {
            let (Ok(Some(soft)), Ok(Some(open))) = (soft_limit(process), open_numbers(process)) else {
                continue;
            };
            let left = free_numbers(&open).take_while(|number| *number < soft).count() as u64;
            self.counted.least_left = Some(self.counted.least_left.map_or(left, |least| least.min(left)));
            if left == 0 {
                full = true;
                self.counted.full.insert(process.pid);
            }
        }
        self.counted.full_looks += u64::from(full);
    }

    /// Gives every process back what it had, those too that inherited what we made of it. How many.
    ///
    /// # Errors
    /// Some could not be reached, or there are ever new ones.
    fn restore(&mut self) -> Result<u32, String> {
        let (mut restored, mut why) = (0, None);
        for _ in 0..PASSES {
            let all = living()?;
            self.adopt_heirs(&all);
            let (mut found, mut failed) = (0, None);
            for process in &all {
                let Some(entry) = self.entries.iter().find(|entry| entry.is_of(process)) else { continue };
                // What somebody else made of it since is not ours.
                if soft_limit(process) != Ok(Some(entry.lowered)) {
                    continue;
                }
                found += 1;
                match set_soft_limit(process, entry.soft) {
                    Ok(()) => restored += 1,
                    Err(why) => failed = Some(why),
                }
            }
            if found == 0 {
                return Ok(restored);
            }
            why = failed;
        }
        let why = why.unwrap_or_else(|| "there are ever new ones".into());
        Err(format!("some processes still may have fewer files open than before: {why}"))
    }

    /// Enters those processes that nobody knows and that have a limit of ours: from their ancestor or, where that
    /// is gone or there is none, as the container's first process had it.
    fn adopt_heirs(&mut self, all: &[Process]) {
        let heirs: Vec<Former> = all
            .iter()
            .filter(|process| !self.entries.iter().any(|entry| entry.is_of(process)))
            .filter_map(|process| {
                let soft = soft_limit(process).ok()??;
                let known = ancestor(&self.entries, all, process)
                    .or_else(|| self.entries.iter().find(|entry| entry.pid == 1))
                    .or_else(|| self.entries.first())
                    .filter(|known| known.lowered == soft)?;
                Some(Former { pid: process.pid, started: process.started, ..known.clone() })
            })
            .collect();
        self.entries.extend(heirs);
    }
}

/// The nearest ancestor of `process` that is in the book.
fn ancestor<'e>(entries: &'e [Former], all: &[Process], process: &Process) -> Option<&'e Former> {
    /// Deeper than any tree of processes; a bound on a list that changes while it is read.
    const DEEPEST: usize = 64;
    let mut at = process.parent;
    for _ in 0..DEEPEST {
        let parent = all.iter().find(|other| other.pid == at)?;
        if let Some(entry) = entries.iter().find(|entry| entry.is_of(parent)) {
            return Some(entry);
        }
        at = parent.parent;
    }
    None
}

fn living() -> Result<Vec<Process>, String> {
    let mut all = processes::all()?;
    all.retain(|process| process.state != 'Z');
    Ok(all)
}

/// A process's limits, written if `new` is given. Nothing if it has ended.
fn limits(process: &Process, new: Option<libc::rlimit>) -> Result<Option<libc::rlimit>, String> {
    // Its number may be another's by now; between this look and the call it can't be helped.
    if processes::look(process.pid).is_none_or(|now| now.started != process.started) {
        return Ok(None);
    }
    let Some(_owner) = Owner::of(process.pid)? else { return Ok(None) };
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let new = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `new` is null or points to an rlimit that outlives the call, and so does `old`.
    if unsafe { libc::prlimit(process.pid, libc::RLIMIT_NOFILE, new, &raw mut old) } == 0 {
        return Ok(Some(old));
    }
    let error = std::io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) {
        return Ok(None);
    }
    Err(format!("the limit of open files of process {} ({}): {error}", process.pid, process.name))
}

fn soft_limit(process: &Process) -> Result<Option<u64>, String> {
    Ok(limits(process, None)?.map(|limits| limits.rlim_cur))
}

fn set_soft_limit(process: &Process, soft: u64) -> Result<(), String> {
    if let Some(now) = limits(process, None)? {
        limits(process, Some(libc::rlimit { rlim_cur: soft.min(now.rlim_max), rlim_max: now.rlim_max }))?;
    }
    Ok(())
}

/// The numbers of its open files. Nothing if it has ended.
fn open_numbers(process: &Process) -> Result<Option<BTreeSet<u64>>, String> {
    let Some(_owner) = Owner::of(process.pid)? else { return Ok(None) };
    let listed = std::fs::read_dir(format!("/proc/{}/fd", process.pid));
    match listed {
        Ok(entries) => {
            Ok(Some(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("the open files of process {} ({}): {error}", process.pid, process.name)),
    }
}

/// The numbers that the next files get, in order; without end.
fn free_numbers(open: &BTreeSet<u64>) -> impl Iterator<Item = u64> + '_ {
    (0..).filter(|number| !open.contains(number))
}

/// The work of keeping files scarce.
#[derive(Debug)]
struct Scarcity {
    book: Arc<Mutex<Book>>,
    /// Looks at all processes again and again.
    watch: Option<Watching>,
}

impl Scarcity {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work for Scarcity {
    fn find(&mut self) -> Result<Option<Task>, String> {
        let mut book = self.book();
        book.find()?;
        Ok(Some(Task::Files(Files { room: book.room, former: book.entries.clone() })))
    }

    fn fire(&mut self) -> Result<(), String> {
        let mut book = self.book();
        // As it was found, whatever it is now: that stands in the ledger.
        book.lower()?;
        if book.counted.unreached.len() >= book.entries.len() {
            return Err("no process would take another limit of open files".into());
        }
        book.counted.came = 0;
        book.look();
        drop(book);
        let shared = Arc::clone(&self.book);
        self.watch = Some(Watching::every(WATCH_EVERY, move || {
            let mut book = shared.lock().unwrap_or_else(PoisonError::into_inner);
            // What can't be read now is looked at again.
            let _ = book.lower();
            book.look();
        }));
        Ok(())
    }

    fn undo(&mut self) -> bool {
        self.watch = None;
        // Before it was fired nobody has a limit of ours.
        self.book().restore().is_ok()
    }

    fn counters(&mut self) -> Counters {
        let book = self.book();
        let lowered = book.entries.iter().filter(|entry| {
            processes::look(entry.pid)
                .filter(|process| entry.is_of(process))
                .is_some_and(|process| soft_limit(&process) == Ok(Some(entry.lowered)))
        });
        let seen = &book.counted;
        let mut counted = BTreeMap::from([
            ("limited_processes".into(), lowered.count() as u64),
            ("full_processes".into(), seen.full.len() as u64),
            ("full_looks".into(), seen.full_looks),
            ("new_processes".into(), seen.came),
            ("raised_limits".into(), seen.raised),
            ("unreached_processes".into(), seen.unreached.len() as u64),
        ]);
        counted.extend(seen.least_left.map(|left| ("least_left".into(), left)));
        Counters { counted, ..Counters::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_where_so_many_numbers_are_left() {
        let open: BTreeSet<u64> = [0, 1, 2, 4, 7].into();
        for (more, limit) in [(0, 3), (1, 5), (2, 6), (3, 8)] {
            assert_eq!(free_numbers(&open).nth(more), Some(limit));
            assert_eq!(free_numbers(&open).take_while(|number| *number < limit).count(), more);
        }
    }

    #[test]
    fn an_heir_is_known_by_its_nearest_ancestor() {
        let process = |pid, parent| Process {
            pid,
            parent,
            name: String::new(),
            program: String::new(),
            state: 'S',
            started: 9,
        };
        let all = [process(1, 0), process(5, 1), process(6, 5), process(7, 0)];
        let entries: Vec<_> =
            [1, 5].map(|pid| Former { pid, started: 9, soft: 100 + pid as u64, lowered: 3 }).into();
        let of = |index: usize| ancestor(&entries, &all, &all[index]).map(|entry| entry.pid);
        assert_eq!([of(1), of(2), of(3)], [Some(1), Some(5), None]);
    }
}
