//! What selector and stub take from a slot for UEFI firmware, taken by this host instead: so a device is started without
//! its firmware where the firmware is not what is tested. What they do themselves is tested by `cargo xtask test
//! firmware`.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use hearth_image::disk::{self, Partition};
use hearth_image::fat;
use hearth_image::layout::Role;
use hearth_image::uki::{Uki, UkiError};

/// The file that a slot is.
const UKI: &str = "hearth.efi";

/// What a kernel is started with, beside itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its first root, a file of this host.
    pub initramfs: PathBuf,
    /// The slot's command line, with what the stub adds.
    pub command_line: String,
}

/// Why a slot cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The disk, or a file of this host.
    #[error("cannot {attempt} {}", path.display())]
    File {
        /// What was tried.
        attempt: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The disk's table.
    #[error("the disk has no table of partitions")]
    Table(#[from] disk::DiskError),
    /// The table names no slot a.
    #[error("the disk has no slot a")]
    Missing,
    /// The slot's file system, or its file.
    #[error("cannot read {UKI} of slot a")]
    Read(#[source] io::Error),
    /// Its file.
    #[error("{UKI} of slot a is not a kernel image")]
    Uki(#[from] UkiError),
    /// Its file has not all parts.
    #[error("{UKI} of slot a has no section {0}")]
    Section(&'static str),
}

/// Takes slot a of a disk; its initramfs is written to `initramfs`.
///
/// # Errors
/// Whatever would keep the slot from starting.
pub fn take(disk: &Path, initramfs: &Path) -> Result<Taken, SlotError> {
    let mut opened = File::open(disk).map_err(file("open", disk))?;
    let table = disk::read(&mut opened)?;
    let slot = table.find(Role::SlotA).ok_or(SlotError::Missing)?;
    let bytes = read(&mut opened, slot, UKI).map_err(SlotError::Read)?;
    let uki = Uki::parse(&bytes)?;
    let section = |name: &'static str| uki.section(name)?.ok_or(SlotError::Section(name));
    fs::write(initramfs, section(".initrd")?).map_err(file("write", initramfs))?;
    let words = String::from_utf8_lossy(section(".cmdline")?).into_owned();
    let words = words.trim_matches(['\0', '\n', ' ']);
    Ok(Taken {
        initramfs: initramfs.to_owned(),
        command_line: format!("{words} hearth.trial=0 hearth.origin={}", slot.uuid),
    })
}

/// A file of a partition's FAT.
pub(crate) fn read(disk: &mut File, partition: &Partition, path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    disk.seek(SeekFrom::Start(partition.span.start))?;
    disk.take(partition.span.len).read_to_end(&mut bytes)?;
    fat::read(&bytes, path)
}

fn file(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SlotError + use<> {
    let path = path.to_owned();
    move |source| SlotError::File {
        attempt,
        path,
        source,
    }
}
