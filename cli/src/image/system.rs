//! Reads which slot of an image boots, and which system is in it. Writes nothing.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use hearth_image::autoboot::{Slot, choose};
use hearth_image::disk::{self, Scheme, Table};
use hearth_image::layout::{self, MIB, Role};
use hearth_image::uki::Uki;
use hearth_image::{Board, Firmware, fat};

/// The board and version of an image's system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct System {
    pub(crate) board: Board,
    pub(crate) version: String,
}

/// Maximum number of bytes that are read of a partition. The partitions that are read here are smaller.
const LONGEST: u64 = 256 * MIB;

fn partition(file: &mut File, table: &Table, role: Role) -> anyhow::Result<Vec<u8>> {
    let found = table.find(role);
    let span = found
        .with_context(|| format!("no partition {}", role.label()))?
        .span;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(span.start))?;
    file.take(span.len.min(LONGEST)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the system of an image file, or of a disk with an image on it.
pub(crate) fn system(path: &Path) -> anyhow::Result<System> {
    let shown = path.display();
    let mut file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    look(&mut file).with_context(|| format!("{shown} is not an image of an appliance"))
}

fn look(file: &mut File) -> anyhow::Result<System> {
    let table = disk::read(file)?;
    let image = layout::image_len(match table.scheme {
        Scheme::Gpt => Firmware::Uefi,
        Scheme::Mbr => Firmware::Pi,
    });
    let ends = table.partitions.iter().map(|one| one.span.end());
    let (len, least) = (disk::len(file)?, ends.fold(image, u64::max));
    ensure!(
        len >= least,
        "it is cut off: {len} bytes of at least {least}"
    );
    let esp = partition(file, &table, Role::Esp)?;
    let text = fat::read(&esp, "autoboot.txt").context("autoboot.txt")?;
    for slot in choose(&text, false).slots {
        let role = match slot {
            Slot::A => Role::SlotA,
            Slot::B => Role::SlotB,
        };
        let slot = partition(file, &table, role)?;
        let release = match table.scheme {
            Scheme::Mbr => fat::read(&slot, "os-release").ok(),
            Scheme::Gpt => fat::read(&slot, "hearth.efi").ok().and_then(|uki| {
                let uki = Uki::parse(&uki).ok()?;
                uki.section(".osrel").ok().flatten().map(<[u8]>::to_vec)
            }),
        };
        if let Some(system) = release.and_then(|text| read_release(&text)) {
            return Ok(system);
        }
    }
    bail!("no slot has a system in it")
}

/// Parses the text of `os-release`.
fn read_release(text: &[u8]) -> Option<System> {
    let text = std::str::from_utf8(text).ok()?;
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        let (_, value) = lines.find(|(name, _)| *name == key)?;
        Some(value.trim_matches('"'))
    };
    Some(System {
        board: value("HEARTH_BOARD")?.parse().ok()?,
        version: value("VERSION_ID")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn board_and_version_are_read_from_what_the_image_says() {
        let text = b"ID=hearth\nVERSION_ID=\"1.2\"\nHEARTH_BOARD=nuc\nHEARTH_ARCH=x86_64\n";
        let system = read_release(text).unwrap();
        assert_eq!((system.board, &*system.version), (Board::Nuc, "1.2"));
        assert_eq!(read_release(b"ID=debian\nVERSION_ID=12\n"), None);
        assert_eq!(read_release(b"HEARTH_BOARD=nux\nVERSION_ID=12\n"), None);
    }
}
