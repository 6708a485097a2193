//! The vDSO: the kernel's own code in every process, by which programs read the clock without a system call.
//!
//! To skew a process's clock, our code ([`super::skewed`]) goes where the vDSO is empty, behind its end, and the
//! first bytes of each function that reads a clock become a jump to it. The kernel gives a process its own copy of a page that a
//! tracer writes to, so no other process sees it. What was there is known: this agent's own vDSO is of the same
//! kernel, and nothing is written to one that differs from it.

use std::collections::BTreeMap;
use std::fs;

use super::ptrace::{self, Stopped};
use super::skewed::{self, Parameters};

/// A jump with a 32-bit distance.
const JUMP: u8 = 0xe9;
/// Its length.
const JUMP_BYTES: usize = 5;
/// Written at once.
const WORD_BYTES: usize = 8;
/// Of a symbol in an ELF table.
const SYMBOL_BYTES: usize = 24;
/// Larger than any vDSO.
const MOST_BYTES: usize = 64 << 10;
/// Looked at of each stack for return addresses: a signal's frame and what its handler calls.
const STACK_BYTES: usize = 16 << 10;
/// Between two tries.
const BREATH: std::time::Duration = std::time::Duration::from_millis(1);
/// Times that a thread may be found in the midst of what is to be changed: it is there for nanoseconds.
const TRIES: usize = 50;
/// From this try on only where threads are counts, not what their stacks hold: that may be long out of use.
const TRIES_WITH_STACKS: usize = 25;

/// A vDSO as the kernel made it, and as it is with our code in it.
#[derive(Clone, Debug)]
pub struct Image {
    pristine: Vec<u8>,
    /// Where functions begin that are to jump, and where to.
    jumps: BTreeMap<usize, usize>,
    /// Where our code begins.
    cave: usize,
}

/// What a process's vDSO is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As the kernel made it.
    Pristine,
    /// With our code, of this owner.
    Skewed(u64),
    /// Another one: of another build, or changed by somebody else.
    Foreign,
}

impl Image {
    /// The one of this process.
    ///
    /// # Errors
    /// It is not as we know vDSOs, for people.
    pub fn own() -> Result<Self, String> {
        let pid = std::process::id().cast_signed();
        let (start, len) =
            mapped(pid).ok_or("this kernel gives processes no vDSO: clocks can't be skewed")?;
        let mut pristine = vec![0; len];
        let read = ptrace::read(pid, start, &mut pristine)
            .map_err(|error| format!("could not read the vDSO: {error}"))?;
        if read != len {
            return Err("could not read all of the vDSO".into());
        }
        Self::of(pristine)
    }

    fn of(pristine: Vec<u8>) -> Result<Self, String> {
        let code = skewed::code()?;
        let end = pristine.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let cave = (end + 1).next_multiple_of(16);
        if cave + code.bytes.len() > pristine.len() {
            return Err("this kernel's vDSO has no room for our code: clocks can't be skewed".into());
        }
        let mut jumps = BTreeMap::new();
        for (name, within) in code.functions {
            match symbol(&pristine, name) {
                // One that starts across two words could not be written at once.
                Some(at) if at % WORD_BYTES <= WORD_BYTES - JUMP_BYTES => {
                    jumps.insert(at, cave + within);
                }
                Some(_) => return Err(format!("`{name}` is oddly placed in this kernel's vDSO")),
                None => return Err(format!("this kernel's vDSO has no `{name}`: clocks can't be skewed")),
            }
        }
        Ok(Self { pristine, jumps, cave })
    }

    /// With our code in it.
    pub fn skewed(&self, parameters: &Parameters) -> Vec<u8> {
        let mut image = self.pristine.clone();
        let code = parameters.written();
        image[self.cave..self.cave + code.len()].copy_from_slice(&code);
        for (from, to) in &self.jumps {
            // Backwards is a huge distance forwards: the processor counts modulo 2³², too.
            let distance = to.wrapping_sub(*from + JUMP_BYTES) as u32;
            image[*from] = JUMP;
            image[*from + 1..*from + JUMP_BYTES].copy_from_slice(&distance.to_le_bytes());
        }
        image
    }

    /// As the kernel made it.
    pub fn pristine(&self) -> &[u8] {
        &self.pristine
    }

    /// Which it is.
    fn kind(&self, seen: &[u8]) -> Kind {
        if seen == self.pristine {
            return Kind::Pristine;
        }
        let Some(parameters) = seen.get(self.cave..).and_then(Parameters::read) else { return Kind::Foreign };
        if self.skewed(&parameters) == seen { Kind::Skewed(parameters.owner) } else { Kind::Foreign }
    }

    /// True if a thread at `address`, or one that will return there, would run bytes of both images.
    fn is_between(&self, address: u64, start: u64) -> bool {
        let Some(at) = address.checked_sub(start).map(|at| at as usize) else { return false };
        let code = self.cave..self.pristine.len();
        code.contains(&at) || self.jumps.keys().any(|from| (from + 1..from + JUMP_BYTES).contains(&at))
    }
}

/// A process's vDSO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pid: i32,
    start: u64,
}

impl Place {
    /// Where process `pid` has it, if it has one as large as ours.
    pub fn of(pid: i32, image: &Image) -> Option<Self> {
        mapped(pid).filter(|(_, len)| *len == image.pristine.len()).map(|(start, _)| Self { pid, start })
    }

    /// What it is; nothing where the process has ended or become another program.
    pub fn kind(self, image: &Image) -> Option<Kind> {
        let mut seen = vec![0; image.pristine.len()];
        let read = ptrace::read(self.pid, self.start, &mut seen).ok()?;
        (read == seen.len()).then(|| image.kind(&seen))
    }

    /// Makes it `wanted`, which is one of this image's, and reads it back.
    ///
    /// # Errors
    /// It is a foreign one, or can't be written now, for people.
    pub fn make(self, image: &Image, wanted: &[u8]) -> Result<(), String> {
        let mut busy = Ok(false);
        for number in 0..TRIES {
            let stack_bytes = if number < TRIES_WITH_STACKS { STACK_BYTES } else { 0 };
            busy =
                ptrace::stopped(self.pid, |process| self.make_stopped(process, image, wanted, stack_bytes));
            match busy {
                Ok(true) => std::thread::sleep(BREATH),
                _ => break,
            }
        }
        match busy {
            Ok(false) => Ok(()),
            Ok(true) => Err(format!("process {} never leaves the vDSO", self.pid)),
            Err(why) => Err(why),
        }
    }

    /// True if a thread is where it must not be; it is worth trying again.
    fn make_stopped(
        self,
        process: &mut Stopped,
        image: &Image,
        wanted: &[u8],
        stack_bytes: usize,
    ) -> Result<bool, String> {
        let mut seen = vec![0; wanted.len()];
        if process.read(self.start, &mut seen)? != seen.len() {
            return Err(format!("the vDSO of process {} is not where it was", self.pid));
        }
        if image.kind(&seen) == Kind::Foreign {
            return Err(format!("the vDSO of process {} is not as the kernel made it", self.pid));
        }
        if self.is_busy(process, image, stack_bytes)? {
            return Ok(true);
        }
        // All threads are stopped: none sees a half of it.
        for (index, (word, now)) in
            wanted.chunks_exact(WORD_BYTES).zip(seen.chunks_exact(WORD_BYTES)).enumerate()
        {
            if word != now {
                let word = u64::from_le_bytes(word.try_into().expect("a word has eight bytes"));
                process.write(self.start + (index * WORD_BYTES) as u64, word)?;
            }
        }
        process.read(self.start, &mut seen)?;
        if seen == wanted {
            Ok(false)
        } else {
            Err(format!("the vDSO of process {} did not take what was written", self.pid))
        }
    }

    fn is_busy(self, process: &mut Stopped, image: &Image, stack_bytes: usize) -> Result<bool, String> {
        let between = |address| image.is_between(address, self.start);
        if !process.step_out(between)? {
            return Ok(true);
        }
        let mut stack = vec![0; stack_bytes];
        for position in process.positions()? {
            // A signal's handler returns to where the thread was.
            let len = process.read(position.stack, &mut stack).unwrap_or_default();
            let words = stack[..len].chunks_exact(WORD_BYTES);
            let mut words =
                words.map(|word| u64::from_le_bytes(word.try_into().expect("a word has eight bytes")));
            if words.any(between) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Where a process has its vDSO, and how long that is.
fn mapped(pid: i32) -> Option<(u64, usize)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let len = usize::try_from(end - start).ok()?;
    (len <= MOST_BYTES).then_some((start, len))
}

/// Where a function begins. The table of symbols ends where that of their names begins, as linkers lay them out.
fn symbol(image: &[u8], name: &str) -> Option<usize> {
    const DYNAMIC: u32 = 2;
    const STRTAB: u64 = 5;
    const SYMTAB: u64 = 6;
    let (headers, size, count) = (word(image, 0x20)? as usize, half(image, 0x36)?, half(image, 0x38)?);
    let headers = (0..count).map(|index| headers + index * size);
    let mut dynamic = headers.filter(|at| half(image, *at).is_some_and(|kind| kind as u32 == DYNAMIC));
    let dynamic = word(image, dynamic.next()? + 0x08)? as usize;
    let entry = |tag: u64| {
        let mut at = (0..image.len() / 16).map(|index| dynamic + index * 16);
        let found = at.find(|at| word(image, *at).is_none_or(|found| found == tag || found == 0))?;
        word(image, found).filter(|found| *found == tag).and_then(|_| word(image, found + 8))
    };
    let (symbols, names) = (entry(SYMTAB)? as usize, entry(STRTAB)? as usize);
    (symbols..names).step_by(SYMBOL_BYTES).find_map(|at| {
        let start = names + (word(image, at)? as u32) as usize;
        let called = image.get(start..)?.split(|byte| *byte == 0).next()?;
        (called == name.as_bytes()).then(|| word(image, at + 8).map(|value| value as usize))?
    })
}

fn word(image: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(image.get(at..at + 8)?.try_into().ok()?))
}

fn half(image: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(image.get(at..at + 2)?.try_into().ok()?).into())
}
