//! Finds out from a program's first bytes which files of the system it needs to run.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// How many bytes of a program are read. They contain the headers of an ELF file and the name of its interpreter.
const LOOKED_AT: u64 = 4096;

/// The kind of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// An ELF file that needs no other files.
    Static,
    /// An ELF file that this loader links with libraries.
    Dynamic(PathBuf),
    /// A script for this interpreter.
    Script(PathBuf),
}

impl Program {
    /// Reads the beginning of this file, and returns its kind.
    pub fn of(path: &Path) -> io::Result<Program> {
        let mut head = Vec::new();
        File::open(path)?.take(LOOKED_AT).read_to_end(&mut head)?;
        Ok(Program::read(&head))
    }

    /// The kind of a file that begins with `head`. A file that is neither ELF nor a script counts as static: the kernel
    /// refuses to execute it.
    fn read(head: &[u8]) -> Program {
        if let Some(line) = head.strip_prefix(b"#!") {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or(line);
            let line = String::from_utf8_lossy(line);
            let interpreter = line.split_whitespace().next().unwrap_or_default();
            return Program::Script(interpreter.into());
        }
        match interpreter(head) {
            Some(loader) => Program::Dynamic(loader),
            None => Program::Static,
        }
    }
}

/// The loader that a 64-bit little-endian ELF file names in its PT_INTERP (elf(5)).
fn interpreter(head: &[u8]) -> Option<PathBuf> {
    const PT_INTERP: u32 = 3;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let half = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| {
        let bytes = head.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    let long = |at: usize| {
        let bytes = head.get(at..at.checked_add(8)?)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    let (table, size, count) = (long(32)?, usize::from(half(54)?), half(56)?);
    let entries = (0..usize::from(count)).map_while(|index| table.checked_add(index * size));
    for entry in entries {
        if word(entry)? == PT_INTERP {
            let (begin, length) = (long(entry.checked_add(8)?)?, long(entry.checked_add(32)?)?);
            let name = head.get(begin..begin.checked_add(length)?)?;
            let name = name.split(|byte| *byte == 0).next().unwrap_or(name);
            return Some(String::from_utf8_lossy(name).into_owned().into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_is_shows_in_its_first_bytes() {
        assert_eq!(
            Program::read(b"#! /usr/bin/env python3\nimport os"),
            Program::Script("/usr/bin/env".into())
        );
        assert_eq!(Program::read(b"#!"), Program::Script("".into()));
        assert_eq!(Program::read(b""), Program::Static);
        assert_eq!(Program::read(b"\x7fELF\x02\x01"), Program::Static);
        // The test program itself, of any kind: its loader exists.
        match Program::of(&std::env::current_exe().unwrap()).unwrap() {
            Program::Dynamic(loader) => assert!(loader.is_file(), "{loader:?}"),
            other => assert_eq!(other, Program::Static),
        }
        // A header that is cut anywhere causes no panic.
        let mut head = vec![0xff; 256];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        for cut in 0..head.len() {
            let _ = Program::read(&head[..cut]);
        }
        head[32..40].copy_from_slice(&64u64.to_le_bytes());
        head[64..68].copy_from_slice(&3u32.to_le_bytes());
        assert_eq!(Program::read(&head), Program::Static);
    }
}
