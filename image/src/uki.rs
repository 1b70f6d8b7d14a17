//! Unified Kernel Images: one EFI program that contains a stub, a kernel, its command line and its initramfs. This
//! module appends sections to the stub, and reads them back. It works on bytes, not on files.
//!
//! The names of sections are those of the UAPI group's specification of Unified Kernel Images.

use hearth_selector::pe::{Headers, PeError};

/// Characteristics of a section with initialised, readable data.
const READ_DATA: u32 = 0x4000_0040;
/// Bytes of one section header.
const HEADER: usize = 40;
/// Offsets of fields from the start of the optional header (PE/COFF specification, PE32+).
const INITIALIZED_DATA: usize = 8;
const SECTION_ALIGNMENT: usize = 32;
const FILE_ALIGNMENT: usize = 36;
const SIZE_OF_IMAGE: usize = 56;
const SIZE_OF_HEADERS: usize = 60;
const CHECKSUM: usize = 64;
const DIRECTORIES: usize = 108;
/// The data directory that says where a signature is: the fifth.
const SIGNATURE: usize = 112 + 4 * 8;

/// Why an image cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum UkiError {
    /// The stub, or the image to read, is not an EFI program.
    #[error("not an EFI program")]
    Program(#[from] PeError),
    /// The stub is signed, and appending sections would invalidate the signature.
    #[error("the stub is signed; a signature belongs on the whole image")]
    Signed,
    /// The linker's headers have an impossible value.
    #[error("the stub's {what} is {value:#x}, which no linker writes")]
    Header {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u32,
    },
    /// There is no room for another header between the headers and the first section.
    #[error("the stub's headers have no room for section {name}")]
    Full {
        /// The section.
        name: String,
    },
    /// The name is invalid, or a section already has it.
    #[error("section {name:?} is there already, or its name is not 1 to 8 letters long")]
    Name {
        /// The name.
        name: String,
    },
    /// The image is larger than 2 GiB.
    #[error("with section {name} the image is larger than 2 GiB")]
    Large {
        /// The section.
        name: String,
    },
}

/// A section's name and contents.
pub type Part<'a> = (&'a str, &'a [u8]);

/// Appends these sections to the stub, in this order.
pub fn assemble(stub: &[u8], sections: &[Part<'_>]) -> Result<Vec<u8>, UkiError> {
    let headers = Headers::parse(stub)?;
    let optional = headers.offset() + 24;
    // `parse` has checked that the optional header is complete up to its directories.
    let field = |at: usize| -> u32 { word(stub, optional + at) };
    let header = |what, value| UkiError::Header { what, value };
    let (in_memory, in_file) = (field(SECTION_ALIGNMENT), field(FILE_ALIGNMENT));
    let sound = in_memory.is_power_of_two() && in_file.is_power_of_two() && in_file <= in_memory;
    // The format allows no larger file alignment than 64 KiB.
    if !sound || in_file > 0x1_0000 {
        return Err(header("alignment", in_file));
    }
    let room = first_content(&headers)
        .min(field(SIZE_OF_HEADERS) as usize)
        .min(stub.len());
    if field(DIRECTORIES) > 4 && word(stub, optional + SIGNATURE + 4) != 0 {
        return Err(UkiError::Signed);
    }
    let ends = headers.sections().map(|one| {
        let size = one.virtual_size.max(one.raw_size);
        u64::from(one.virtual_address) + u64::from(size)
    });
    let mut address = ends.max().unwrap_or(0);
    let (mut table, mut count) = (headers.end(), headers.sections().count());
    let mut names: Vec<Vec<u8>> = headers.sections().map(|one| one.name().to_vec()).collect();
    let mut image = stub.to_vec();
    let mut data = u64::from(field(INITIALIZED_DATA));
    for (name, content) in sections {
        let bytes = name.as_bytes();
        let is_name = (1..=8).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
        if !is_name || names.iter().any(|there| there == bytes) {
            return Err(UkiError::Name {
                name: (*name).to_owned(),
            });
        }
        names.push(bytes.to_vec());
        if table + HEADER > room {
            return Err(UkiError::Full {
                name: (*name).to_owned(),
            });
        }
        let large = || UkiError::Large {
            name: (*name).to_owned(),
        };
        address = address.next_multiple_of(u64::from(in_memory));
        pad(&mut image, in_file);
        let offset = small(image.len() as u64).ok_or_else(large)?;
        image.extend_from_slice(content);
        pad(&mut image, in_file);
        let raw = small(image.len() as u64 - u64::from(offset)).ok_or_else(large)?;
        let size = small(content.len() as u64).ok_or_else(large)?;
        image[table..table + HEADER].fill(0);
        image[table..table + bytes.len()].copy_from_slice(bytes);
        let place = small(address).ok_or_else(large)?;
        for (at, value) in [
            (8, size),
            (12, place),
            (16, raw),
            (20, offset),
            (36, READ_DATA),
        ] {
            put(&mut image, table + at, value);
        }
        address += u64::from(size);
        data += u64::from(raw);
        small(address.next_multiple_of(u64::from(in_memory))).ok_or_else(large)?;
        table += HEADER;
        count += 1;
    }
    let count_at = headers.offset() + 6;
    // Each section has a header of 40 bytes below `SizeOfHeaders`, so there are never 65536 of them.
    let count = u16::try_from(count).map_err(|_| header("number of sections", u32::MAX))?;
    image[count_at..count_at + 2].copy_from_slice(&count.to_le_bytes());
    let whole = address.next_multiple_of(u64::from(in_memory));
    let whole = small(whole).ok_or(header("size", u32::MAX))?;
    let data = small(data).ok_or(header("size of data", u32::MAX))?;
    put(&mut image, optional + SIZE_OF_IMAGE, whole);
    put(&mut image, optional + INITIALIZED_DATA, data);
    put(&mut image, optional + CHECKSUM, 0);
    let sum = checksum(&image);
    put(&mut image, optional + CHECKSUM, sum);
    Ok(image)
}

/// The headers of an existing image.
#[derive(Clone, Copy, Debug)]
pub struct Uki<'a>(Headers<'a>);

impl<'a> Uki<'a> {
    /// Reads a file's headers.
    pub fn parse(file: &'a [u8]) -> Result<Uki<'a>, UkiError> {
        Ok(Uki(Headers::parse(file)?))
    }

    /// Returns the contents of a section, or `None` if no section has this name.
    pub fn section(&self, name: &str) -> Result<Option<&'a [u8]>, UkiError> {
        Ok(self.0.in_file(name)?)
    }

    /// Returns the processor architecture's name, or `None` if the appliance does not support it.
    pub fn arch(&self) -> Option<&'static str> {
        match self.0.machine() {
            0x8664 => Some("x86_64"),
            0xaa64 => Some("aarch64"),
            _ => None,
        }
    }
}

/// Returns names and contents of all sections, except those whose names are not UTF-8.
pub fn sections(file: &[u8]) -> Result<Vec<(String, &[u8])>, UkiError> {
    let headers = Headers::parse(file)?;
    let mut all = Vec::new();
    for section in headers.sections() {
        let Ok(name) = str::from_utf8(section.name()) else {
            continue;
        };
        if let Some(content) = headers.in_file(name)? {
            all.push((name.to_owned(), content));
        }
    }
    Ok(all)
}

/// Returns the file offset of the first section's contents.
fn first_content(headers: &Headers<'_>) -> usize {
    let with_content = headers.sections().filter(|one| one.raw_size > 0);
    with_content
        .map(|one| one.raw_offset as usize)
        .min()
        .unwrap_or(usize::MAX)
}

/// Converts to `u32`. Values must be below 2 GiB, because some firmware uses signed 32-bit numbers.
fn small(value: u64) -> Option<u32> {
    u32::try_from(value)
        .ok()
        .filter(|value| *value <= i32::MAX as u32)
}

fn pad(image: &mut Vec<u8>, alignment: u32) {
    image.resize(image.len().next_multiple_of(alignment as usize), 0);
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let part = bytes.get(at..at + 4).and_then(|part| part.try_into().ok());
    part.map_or(0, u32::from_le_bytes)
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// The PE checksum of a file whose checksum field is zero: the sum of its 16-bit words, with carries added back, plus
/// the file's length.
fn checksum(image: &[u8]) -> u32 {
    let mut sum = 0u32;
    for pair in image.chunks(2) {
        let value = u32::from(pair[0]) | pair.get(1).map_or(0, |high| u32::from(*high) << 8);
        sum += value;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // `small` has checked that the length fits.
    sum.wrapping_add(image.len() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A stub as a linker writes it: two sections, and room for the headers of `room` more.
    fn stub(machine: u16, room: usize) -> Vec<u8> {
        let table = 0x78 + 24 + 240;
        let headers = (table + HEADER * (2 + room)).next_multiple_of(8);
        let first = headers.next_multiple_of(0x200);
        let mut bytes = vec![0; first + 0x400];
        bytes[..2].copy_from_slice(b"MZ");
        put(&mut bytes, 0x3c, 0x78);
        bytes[0x78..0x7c].copy_from_slice(b"PE\0\0");
        bytes[0x7c..0x7e].copy_from_slice(&machine.to_le_bytes());
        put(&mut bytes, 0x7e, 2);
        bytes[0x8c..0x90].copy_from_slice(&[240, 0, 0x22, 0]);
        let optional = 0x78 + 24;
        bytes[optional..optional + 2].copy_from_slice(&[0x0b, 0x02]);
        for (at, value) in [
            (INITIALIZED_DATA, 0x200),
            (16, 0x1000),
            (SECTION_ALIGNMENT, 0x1000),
            (FILE_ALIGNMENT, 0x200),
            (SIZE_OF_IMAGE, 0x3000),
            (SIZE_OF_HEADERS, headers as u32),
            (68, 10),
            (DIRECTORIES, 16),
        ] {
            put(&mut bytes, optional + at, value);
        }
        for (index, (name, address, characteristics)) in [
            (b".text\0\0\0", 0x1000, 0x6000_0020_u32),
            (b".rdata\0\0", 0x2000, READ_DATA),
        ]
        .into_iter()
        .enumerate()
        {
            let at = table + index * HEADER;
            bytes[at..at + 8].copy_from_slice(name);
            put(&mut bytes, at + 8, 0x123);
            put(&mut bytes, at + 12, address);
            put(&mut bytes, at + 16, 0x200);
            put(&mut bytes, at + 20, (first + index * 0x200) as u32);
            put(&mut bytes, at + 36, characteristics);
        }
        bytes
    }

    const PARTS: [Part<'static>; 4] = [
        (".osrel", b"ID=hearth\n"),
        (".cmdline", b"quiet"),
        (".linux", &[7; 5000]),
        (".initrd", &[9; 0x200]),
    ];

    #[test]
    fn what_was_put_together_is_read_again_and_is_the_same_each_time() {
        for (machine, name) in [(0x8664, "x86_64"), (0xaa64, "aarch64")] {
            let stub = stub(machine, 6);
            let image = assemble(&stub, &PARTS).unwrap();
            assert_eq!(image, assemble(&stub, &PARTS).unwrap());
            let uki = Uki::parse(&image).unwrap();
            assert_eq!(uki.arch(), Some(name));
            for (name, content) in PARTS {
                assert_eq!(uki.section(name).unwrap(), Some(content), "{name}");
                // Sections must also be where the firmware loads them.
                let headers = Headers::parse(&image).unwrap();
                let section = headers.sections().find(|one| one.name() == name.as_bytes());
                let section = section.unwrap();
                assert_eq!(section.virtual_address % 0x1000, 0);
                assert_eq!(section.virtual_size as usize, content.len());
            }
            assert_eq!(uki.section(".none").unwrap(), None);
            assert_eq!(sections(&image).unwrap().len(), 6);
            let optional = 0x78 + 24;
            let end = 0x3000 + 0x1000 + 0x1000 + 0x2000 + 0x1000;
            assert_eq!(word(&image, optional + SIZE_OF_IMAGE), end);
        }
    }

    #[test]
    fn what_a_stub_cannot_take_is_refused() {
        let refusal = |stub: &[u8], parts: &[Part<'_>]| match assemble(stub, parts) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("taken"),
        };
        let good = stub(0x8664, 2);
        let said = refusal(&good[..2], &PARTS);
        assert_eq!(said, "not an EFI program");
        // There is room for two more headers before the first section's contents, and perhaps some from the
        // alignment.
        let many: Vec<Part<'_>> = [".a", ".b", ".c", ".d", ".e", ".f", ".g", ".h", ".i"]
            .map(|name| (name, &b""[..]))
            .into();
        let said = refusal(&good, &many);
        assert!(said.contains("no room for section .c"), "{said}");
        for name in ["", ".toolongname", ".text", "with nul\0"] {
            let said = refusal(&good, &[(name, b"")]);
            assert!(said.contains("1 to 8 letters"), "{said}");
        }
        let said = refusal(&good, &[(".a", b""), (".a", b"")]);
        assert!(said.contains("there already"), "{said}");
        let mut signed = good.clone();
        put(&mut signed, 0x78 + 24 + SIGNATURE + 4, 8);
        let said = refusal(&signed, &PARTS);
        assert!(said.contains("signed"), "{said}");
        let mut odd = good.clone();
        put(&mut odd, 0x78 + 24 + FILE_ALIGNMENT, 0x201);
        assert!(refusal(&odd, &PARTS).contains("alignment"));
    }

    #[test]
    fn the_checksum_is_that_of_the_format() {
        assert_eq!(checksum(&[]), 0);
        assert_eq!(checksum(&[1, 2, 3]), 0x0201 + 3 + 3);
        assert_eq!(checksum(&[0xff, 0xff, 2, 0]), 2 + 4);
    }

    /// Binutils must read the same sections.
    #[test]
    fn binutils_see_the_same_sections() {
        let place = std::env::temp_dir().join(format!("hearth-uki-{}.efi", std::process::id()));
        for (machine, format, program) in [
            (0x8664, "pei-x86-64", "objdump"),
            (0xaa64, "pei-aarch64-little", "aarch64-linux-gnu-objdump"),
        ] {
            std::fs::write(&place, assemble(&stub(machine, 6), &PARTS).unwrap()).unwrap();
            let output = Command::new(program).arg("-h").arg(&place).output();
            let output = output.expect("it comes with the compiler (cargo xtask toolchain)");
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.contains(format), "{text}");
            for (name, content) in PARTS {
                let size = format!("{:08x}", content.len());
                let line = text.lines().find(|line| line.contains(name));
                assert!(
                    line.is_some_and(|line| line.contains(&size)),
                    "{name}: {text}"
                );
            }
        }
        std::fs::remove_file(&place).unwrap();
    }
}
