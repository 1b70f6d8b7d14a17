//! Reads the kind of a program from its ELF header (elf(5)), to check that a worker is static and built for the right
//! processor.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// The kind of a program file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// A program for the processor with this number (`e_machine`).
    Elf {
        machine: u16,
        /// Whether the program needs no dynamic linker.
        is_static: bool,
    },
    /// Any other file, such as a script, which needs its interpreter on the machine.
    Other,
}

/// Number of bytes that are read from the start of a file: more than the headers of any worker's program take.
const LONGEST_HEADERS: u64 = 64 * 1024;

/// Type of the program header that names an interpreter, which is the dynamic linker.
const PT_INTERP: u32 = 3;

impl Program {
    /// Reads the headers of a file.
    ///
    /// # Errors
    /// The file cannot be read, or is a broken, a 32-bit or a big-endian ELF file.
    pub(super) fn of(path: &Path) -> io::Result<Program> {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(LONGEST_HEADERS)
            .read_to_end(&mut bytes)?;
        Program::read(&bytes)
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "a broken ELF file"))
    }

    fn read(bytes: &[u8]) -> Option<Program> {
        if !bytes.starts_with(b"\x7fELF") {
            return Some(Program::Other);
        }
        // 64-bit and little-endian, as every processor of the appliance is.
        if bytes.get(4..6)? != [2, 1] {
            return None;
        }
        let half = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let long = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let first = usize::try_from(long(32)?).ok()?;
        let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
        let mut is_static = true;
        for index in 0..count {
            let header = first.checked_add(size.checked_mul(index)?)?;
            is_static &= word(header)? != PT_INTERP;
        }
        Some(Program::Elf {
            machine: half(18)?,
            is_static,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_this_machine_is_read_and_no_cut_of_it_is_taken_for_static() {
        let this = std::env::current_exe().unwrap();
        let machine = match std::env::consts::ARCH {
            "x86_64" => 62,
            "aarch64" => 183,
            other => panic!("{other}"),
        };
        // Test programs are linked to the shared C library.
        let expect = Program::Elf {
            machine,
            is_static: false,
        };
        assert_eq!(Program::of(&this).unwrap(), expect);
        let mut bytes = Vec::new();
        let file = File::open(&this).unwrap();
        file.take(LONGEST_HEADERS).read_to_end(&mut bytes).unwrap();
        for cut in 4..200 {
            assert_eq!(Program::read(&bytes[..cut]), None, "{cut}");
        }
        bytes[4] = 1;
        assert_eq!(Program::read(&bytes), None);
        // The program headers lie beyond the end of the file.
        bytes[4] = 2;
        bytes[32..40].fill(0xff);
        assert_eq!(Program::read(&bytes), None);
    }

    #[test]
    fn a_script_is_no_program_of_a_processor() {
        assert_eq!(Program::read(b"#!/bin/sh\n"), Some(Program::Other));
        assert_eq!(Program::read(b""), Some(Program::Other));
    }
}
