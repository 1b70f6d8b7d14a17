//! The sections of an EFI program (PE32+): where each is in the file and in memory. This module only reads, and
//! accepts any bytes: invalid programs and offsets out of range are errors.

use core::fmt;

/// Offset of the field that contains the offset of the headers.
const LFANEW: usize = 0x3c;
/// Size of `PE\0\0` and the COFF header after it.
const COFF: usize = 24;
/// Size of one section header.
const SECTION: usize = 40;
/// Size of the PE32+ optional header up to the data directories.
const OPTIONAL: usize = 112;
const PE32_PLUS: u16 = 0x20b;

/// Why bytes are not a valid EFI program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeError {
    /// The bytes end within the headers.
    Short,
    /// `MZ` or `PE` is missing, or the program is not 64-bit.
    Magic,
    /// A section is out of range.
    Outside {
        /// The section's index, from 0.
        section: u16,
    },
}

impl fmt::Display for PeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeError::Short => f.write_str("the headers of the program end too soon"),
            PeError::Magic => f.write_str("not an EFI program for 64 bits (PE32+)"),
            PeError::Outside { section } => {
                write!(f, "section {section} lies outside of the program")
            }
        }
    }
}

impl core::error::Error for PeError {}

/// One section, as described by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    name: [u8; 8],
    /// Size in memory.
    pub virtual_size: u32,
    /// Offset in memory from the program's start.
    pub virtual_address: u32,
    /// Size in the file, including padding.
    pub raw_size: u32,
    /// Offset in the file.
    pub raw_offset: u32,
}

impl Section {
    /// The section's name, such as `.linux`: at most eight bytes.
    pub fn name(&self) -> &[u8] {
        let end = self.name.iter().position(|byte| *byte == 0);
        &self.name[..end.unwrap_or(self.name.len())]
    }
}

/// The headers of a program.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    /// Offset of `PE\0\0`.
    pe: usize,
    /// Offset of the first section header.
    table: usize,
    count: u16,
}

impl<'a> Headers<'a> {
    /// Parses the headers. They are the same in a file and in memory.
    pub fn parse(bytes: &'a [u8]) -> Result<Headers<'a>, PeError> {
        if !bytes.starts_with(b"MZ") {
            return Err(PeError::Magic);
        }
        let pe = word(bytes, LFANEW)? as usize;
        let coff = part(bytes, pe, COFF)?;
        if !coff.starts_with(b"PE\0\0") {
            return Err(PeError::Magic);
        }
        let count = half(coff, 6)?;
        let optional = usize::from(half(coff, 20)?);
        if optional < OPTIONAL {
            return Err(PeError::Short);
        }
        let begin = pe.checked_add(COFF).ok_or(PeError::Short)?;
        if half(part(bytes, begin, optional)?, 0)? != PE32_PLUS {
            return Err(PeError::Magic);
        }
        let table = begin.checked_add(optional).ok_or(PeError::Short)?;
        part(bytes, table, usize::from(count) * SECTION)?;
        Ok(Headers {
            bytes,
            pe,
            table,
            count,
        })
    }

    /// The offset of `PE\0\0` in the file.
    pub fn offset(&self) -> usize {
        self.pe
    }

    /// The offset of the end of the section headers.
    pub fn end(&self) -> usize {
        self.table + usize::from(self.count) * SECTION
    }

    /// The processor architecture: 0x8664 or 0xaa64.
    pub fn machine(&self) -> u16 {
        half(self.bytes, self.pe + 4).unwrap_or_default()
    }

    /// All sections, in the order of their headers.
    pub fn sections(&self) -> impl Iterator<Item = Section> + use<'a> {
        let table = &self.bytes[self.table..self.end()];
        table.chunks_exact(SECTION).map(|header| {
            let word = |at| word(header, at).unwrap_or_default();
            let mut name = [0; 8];
            name.copy_from_slice(&header[..8]);
            Section {
                name,
                virtual_size: word(8),
                virtual_address: word(12),
                raw_size: word(16),
                raw_offset: word(20),
            }
        })
    }

    /// Returns the contents of the first section with this name, in the bytes of a loaded program.
    pub fn in_memory(&self, name: &str) -> Result<Option<&'a [u8]>, PeError> {
        self.find(name, |section| {
            (section.virtual_address, section.virtual_size)
        })
    }

    /// Returns the contents of the first section with this name, in the bytes of a file.
    pub fn in_file(&self, name: &str) -> Result<Option<&'a [u8]>, PeError> {
        let content = |section: &Section| {
            let size = section.virtual_size.min(section.raw_size);
            (section.raw_offset, size)
        };
        self.find(name, content)
    }

    fn find(
        &self,
        name: &str,
        place: impl Fn(&Section) -> (u32, u32),
    ) -> Result<Option<&'a [u8]>, PeError> {
        let named = |section: &Section| section.name() == name.as_bytes();
        let Some((index, section)) = (0..).zip(self.sections()).find(|(_, one)| named(one)) else {
            return Ok(None);
        };
        let (offset, size) = place(&section);
        part(self.bytes, offset as usize, size as usize)
            .map(Some)
            .map_err(|_| PeError::Outside { section: index })
    }
}

fn part(bytes: &[u8], offset: usize, size: usize) -> Result<&[u8], PeError> {
    let end = offset.checked_add(size).ok_or(PeError::Short)?;
    bytes.get(offset..end).ok_or(PeError::Short)
}

fn half(bytes: &[u8], at: usize) -> Result<u16, PeError> {
    match part(bytes, at, 2)? {
        [a, b] => Ok(u16::from_le_bytes([*a, *b])),
        _ => Err(PeError::Short),
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, PeError> {
    match part(bytes, at, 4)? {
        [a, b, c, d] => Ok(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => Err(PeError::Short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::vec::Vec;

    /// A program with one section, whose contents are at 0x200 both in the file and in memory.
    fn program() -> Vec<u8> {
        let mut bytes = std::vec![0; 0x210];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[LFANEW] = 0x40;
        bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
        bytes[0x44..0x46].copy_from_slice(&0x8664_u16.to_le_bytes());
        bytes[0x46] = 1;
        bytes[0x54] = 240;
        bytes[0x58..0x5a].copy_from_slice(&PE32_PLUS.to_le_bytes());
        let header = 0x58 + 240;
        bytes[header..header + 8].copy_from_slice(b".cmdline");
        let words = [5_u32, 0x200, 16, 0x200];
        for (place, word) in (header + 8..).step_by(4).zip(words) {
            bytes[place..place + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes[0x200..0x205].copy_from_slice(b"quiet");
        bytes
    }

    #[test]
    fn sections_are_found_by_name_in_memory_and_in_a_file() {
        let bytes = program();
        let headers = Headers::parse(&bytes).unwrap();
        assert_eq!(headers.machine(), 0x8664);
        let names: Vec<Section> = headers.sections().collect();
        assert_eq!(names.len(), 1);
        assert_eq!(names[0].name(), b".cmdline");
        assert_eq!(headers.in_memory(".cmdline"), Ok(Some(&b"quiet"[..])));
        assert_eq!(headers.in_file(".cmdline"), Ok(Some(&b"quiet"[..])));
        assert_eq!(headers.in_memory(".cmd"), Ok(None));
        assert_eq!(headers.in_memory(".cmdline2"), Ok(None));
    }

    #[test]
    fn what_is_cut_off_or_points_outside_is_an_error() {
        let whole = program();
        for length in 0..0x205 {
            let headers = Headers::parse(&whole[..length]);
            match headers.and_then(|headers| headers.in_memory(".cmdline")) {
                Err(PeError::Magic) => assert!(length < 2, "{length}"),
                Err(PeError::Short) => assert!(length < 0x58 + 240 + SECTION, "{length}"),
                Err(PeError::Outside { section: 0 }) => {
                    assert!(length >= 0x58 + 240 + SECTION, "{length}");
                }
                other => panic!("{length}: {other:?}"),
            }
        }
        for (place, word) in [
            (LFANEW, u32::MAX),
            (LFANEW, 0),
            (0x58, 0x10b),
            (0x40, 0),
            (0x46, 0xffff),
            (0x54, 0),
        ] {
            let mut bytes = whole.clone();
            bytes[place..place + 4].copy_from_slice(&word.to_le_bytes());
            assert!(Headers::parse(&bytes).is_err(), "{place:#x} {word:#x}");
        }
        for place in [8, 12] {
            let mut bytes = whole.clone();
            let place = 0x58 + 240 + place;
            bytes[place..place + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            let headers = Headers::parse(&bytes).unwrap();
            let outside = Err(PeError::Outside { section: 0 });
            assert_eq!(headers.in_memory(".cmdline"), outside);
        }
    }
}
