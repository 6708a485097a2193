//! The two facts of an ELF file that a container needs to start it: its loader's path and its own name.
//!
//! The dynamic loader looks for libraries by the name they were linked under (`DT_SONAME`), which on older
//! systems is only a symbolic link to the file that is mapped. Reads 64-bit little-endian files, which is
//! every platform the program builds for; anything else yields nothing. Never trusts an offset.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Program header: path of the loader.
const PT_INTERP: u32 = 3;
/// Program header: a stretch of the file that is mapped.
const PT_LOAD: u32 = 1;
/// Program header: the dynamic section.
const PT_DYNAMIC: u32 = 2;
/// Dynamic entry: address of the string table.
const DT_STRTAB: u64 = 5;
/// Dynamic entry: offset of the library's name in the string table.
const DT_SONAME: u64 = 14;
/// Real files have about a dozen program headers and fifty dynamic entries.
const MAX_ENTRIES: u64 = 4096;
/// No path or library name is longer (PATH_MAX).
const MAX_NAME_BYTES: usize = 4096;

/// What was read from an ELF file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elf {
    /// The loader that must be at this path; nothing for libraries and static programs.
    pub interpreter: Option<String>,
    /// The name other files link it under; nothing for programs.
    pub soname: Option<String>,
}

impl Elf {
    /// Reads `file`; all fields nothing if it is no 64-bit little-endian ELF file.
    pub fn read(file: &File) -> Self {
        Self { interpreter: interpreter(file), soname: soname(file) }
    }
}

/// One program header, the fields used here.
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

fn segments(file: &File) -> Option<Vec<Segment>> {
    let mut head = [0u8; 64];
    file.read_exact_at(&mut head, 0).ok()?;
    // Magic, 64-bit, little-endian.
    if head[..6] != [0x7f, b'E', b'L', b'F', 2, 1] {
        return None;
    }
    let start = u64_at(&head, 32);
    let size = u64::from(u16_at(&head, 54));
    let count = u64::from(u16_at(&head, 56));
    if size < 56 || count > MAX_ENTRIES {
        return None;
    }
    (0..count)
        .map(|index| {
            let mut entry = [0u8; 56];
            file.read_exact_at(&mut entry, start.checked_add(index * size)?).ok()?;
            Some(Segment {
                kind: u32_at(&entry, 0),
                offset: u64_at(&entry, 8),
                address: u64_at(&entry, 16),
                size: u64_at(&entry, 32),
            })
        })
        .collect()
}

fn interpreter(file: &File) -> Option<String> {
    let segments = segments(file)?;
    let interp = segments.iter().find(|segment| segment.kind == PT_INTERP)?;
    name_at(file, interp.offset)
}

fn soname(file: &File) -> Option<String> {
    let segments = segments(file)?;
    let dynamic = segments.iter().find(|segment| segment.kind == PT_DYNAMIC)?;
    let (mut strings, mut name) = (None, None);
    for index in 0..(dynamic.size / 16).min(MAX_ENTRIES) {
        let mut entry = [0u8; 16];
        file.read_exact_at(&mut entry, dynamic.offset.checked_add(index * 16)?).ok()?;
        match u64_at(&entry, 0) {
            0 => break,
            DT_STRTAB => strings = Some(u64_at(&entry, 8)),
            DT_SONAME => name = Some(u64_at(&entry, 8)),
            _ => {}
        }
    }
    let address = strings?.checked_add(name?)?;
    let load = segments.iter().find(|segment| {
        segment.kind == PT_LOAD
            && (segment.address..segment.address.saturating_add(segment.size)).contains(&address)
    })?;
    name_at(file, load.offset.checked_add(address - load.address)?)
}

/// The text that starts at `offset` and ends with a NUL.
fn name_at(file: &File, offset: u64) -> Option<String> {
    let mut bytes = vec![0u8; MAX_NAME_BYTES];
    let read = file.read_at(&mut bytes, offset).ok()?;
    let end = bytes[..read].iter().position(|byte| *byte == 0)?;
    String::from_utf8(bytes[..end].to_vec()).ok().filter(|name| !name.is_empty())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn reads_the_loader_of_this_program_and_the_names_of_its_libraries() {
        let program = Elf::read(&File::open("/proc/self/exe").unwrap());
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .find(|path| path.contains("libc.so"));
        // A static build has neither.
        assert_eq!(program.interpreter.is_some(), libc.is_some());
        if let Some(libc) = libc {
            assert_eq!(Elf::read(&File::open(libc).unwrap()).soname.as_deref(), Some("libc.so.6"));
        }
        assert_eq!(program.soname, None);
    }

    #[test]
    fn garbage_yields_nothing() {
        let mut hostile = [0xffu8; 200];
        hostile[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        for bytes in [&b""[..], b"#!/bin/sh\n", &hostile] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            assert_eq!(Elf::read(&file), Elf::default());
        }
    }
}
